# frozen_string_literal: true

require_relative "test_helper"
require "time"

# What goes wrong on the wire, and what is sent again.
class TroubleTest < TimbradoTest
  promises "a submission is sent again when no answer came: it is idempotent" do
    answers = [nil, [503, {}, problem("unavailable")], [202, {}, state]]
    client = client_of { answers.shift }

    assert_equal "accepted", client.submit({ external_id: "1" }).status
    assert_equal [0.5, 1], @slept
    assert_equal 1, requests.map(&:body).uniq.size
  end

  promises "what operates on an invoice is not sent again when it may have been done" do
    client = client_of { nil }

    [-> { client.cancel("acme", "1", "02") }, -> { client.retry("acme", "1") }, -> { client.withdraw("acme", "1") },
     -> { client.replace("acme", "1", {}) }, -> { client.accept("acme", "1", reason: "x") },
     -> { client.resolve("acme", "1", reason: "x") }, -> { client.disconnect("acme") }].each do |act|
      assert_predicate assert_raises(Timbrado::ApiUnavailable, &act), :may_be_done?
    end
    assert_equal [7, []], [requests.size, @slept]
  end

  promises "what was not taken is sent again, also a cancellation" do
    answers = [[429, { "Retry-After" => "3" }, problem("too_many_requests")], [202, {}, state]]
    client = client_of { answers.shift }

    client.cancel("acme", "1", "02")

    assert_equal [3], @slept
  end

  promises "an address where nothing listens is tried three times, and nothing was done" do
    server = TCPServer.new("127.0.0.1", 0)
    client = Timbrado::Client.new("http://127.0.0.1:#{server.addr[1]}", "k", sleep: @slept.method(:<<))
    server.close

    error = assert_raises(Timbrado::ApiUnavailable) { client.cancel("acme", "1", "02") }

    refute_predicate error, :may_be_done?
    assert_equal [0.5, 1], @slept
  end

  promises "a long Retry-After is not waited for but raised, in seconds or as a date" do
    client = client_of { [503, { "Retry-After" => "600" }, problem("unavailable")] }
    assert_equal 600, assert_raises(Timbrado::ApiUnavailable) { client.read("acme", "1") }.retry_after

    client = client_of { [503, { "Retry-After" => (Time.now + 300).httpdate }, "<html>"] }
    assert_in_delta 300, assert_raises(Timbrado::ApiUnavailable) { client.read("acme", "1") }.retry_after, 5

    client = client_of { [404, { "Retry-After" => "soon" }, problem("document_late", "Late.", message: "Tarda.")] }
    error = assert_raises(Timbrado::NotThere) { client.document("acme", "1", :pdf) }
    assert_equal [nil, "document_late", "Late.", "Tarda."], [error.retry_after, error.code, error.message, error.text]
    assert_empty @slept
  end

  promises "an answer that never comes ends with the timeout" do
    client = client_of(timeout: 0.1, retries: 0) { ->(_) { sleep } }

    assert_raises(Timbrado::ApiUnavailable) { client.read("acme", "1") }
  end

  promises "an answer that is cut short is none" do
    client = client_of(retries: 0) { [200, { "Content-Length" => "9999" }, "{"] }

    assert_raises(Timbrado::ApiUnavailable) { client.read("acme", "1") }
  end

  promises "a key that is wrong or may not do it is KeyRefused, and is not tried again" do
    [401, 403].each do |status|
      client = client_of { [status, {}, problem("key_refused")] }

      assert_equal status, assert_raises(Timbrado::KeyRefused) { client.read("acme", "1") }.status
      assert_equal 1, requests.size
    end
  end

  promises "a redirect is not followed: the key stays here" do
    client = client_of { [307, { "Location" => "http://127.0.0.1:1/" }, ""] }

    assert_equal 307, assert_raises(Timbrado::UnexpectedAnswer) { client.submit({}) }.status
  end

  promises "what the contract does not have is UnexpectedAnswer: for a developer" do
    ["<html>", "[]", '"x"', "{}", "\xff"].each do |body|
      client = client_of { [200, {}, body] }
      assert_raises(Timbrado::UnexpectedAnswer, body) { client.read("acme", "1") }
    end
    client = client_of { [400, {}, problem("bad_request", "motivo must be a text.")] }
    assert_includes assert_raises(Timbrado::UnexpectedAnswer) { client.cancel("a", "1", "9") }.message, "motivo"
  end

  promises "faults of a request that is no invoice are RequestInvalid" do
    client = client_of { [422, {}, problem("cancellation", errors: [FAULT])] }

    assert_instance_of Timbrado::RequestInvalid, assert_raises(Timbrado::RequestInvalid) { client.cancel("acme", "1", "01") }
  end

  promises "forty calls at once from one client each get their own answer" do
    client = client_of { |request| [200, {}, state(external_id: request.path.split("/").last)] }

    found = Array.new(40) { |n| Thread.new { client.read("acme", n).external_id } }.map(&:value)

    assert_equal Array.new(40, &:to_s), found
  end
end
