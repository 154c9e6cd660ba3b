# frozen_string_literal: true

$VERBOSE = true # a warning is a fault of ours: tests/integration/test_client_ruby.py fails on any

require "minitest/autorun"
require "tmpdir"
require "timbrado"
require_relative "double"

class TimbradoTest < Minitest::Test
  # A test's name says what it promises.
  def self.promises(what, &block)
    define_method("test_#{what.gsub(/[^a-zA-Z0-9]+/, '_')}", &block)
  end

  def setup
    @doubles, @slept = [], []
  end

  def teardown
    @doubles.each(&:close)
  end

  # A client of a double; it never sleeps, and remembers for how long it would have.
  def client_of(retries: 2, timeout: 5, &answers)
    @doubles << Double.new(&answers)
    Timbrado::Client.new(@doubles.last.url, "tk_secret", timeout: timeout, retries: retries, sleep: @slept.method(:<<))
  end

  def requests = @doubles.last.requests

  def state(**more)
    { "account" => "acme", "external_id" => "OP-1", "invoice_id" => "0197", "version" => 2, "status" => "accepted",
      "message" => "", "errors" => [], "warnings" => [], "documents" => [] }.merge(more.transform_keys(&:to_s))
  end

  def problem(code, detail = "no", **more)
    { "type" => "urn:timbrado:problem:#{code}", "title" => "X", "detail" => detail }.merge(more.transform_keys(&:to_s))
  end

  FAULT = { "code" => "CFDI40161", "field" => "receptor.uso_cfdi", "label" => "Uso del CFDI", "message" => "No.",
            "fix" => "Cámbialo.", "source" => "timbrado", "whose" => "user" }.freeze
end
