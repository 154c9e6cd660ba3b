# frozen_string_literal: true

require "json"
require "time"

module Timbrado
  # What became of an invoice, a connection or a request.
  #
  # Events may come twice and out of order. `version` only grows for one subject (an invoice, a connection), so what is
  # kept is the highest of each, never the last to arrive.
  class Event
    # Return the event of a JSON text or a Hash that came over a way you trust. Raises EventUnreadable.
    def self.parse(event, id: nil)
      event = JSON.parse(event) if event.is_a?(String)
      new(event, id)
    rescue JSON::ParserError
      raise EventUnreadable, "the event is not JSON"
    end

    # "invoice.stamped"; the same over all tries; what it says, with string keys
    attr_reader :type, :id, :data
    # A Time: when it became true. It orders nothing, `version` does.
    attr_reader :timestamp

    def initialize(event, id)
      raise EventUnreadable, "the event is not a JSON object" unless event.is_a?(Hash)

      @type, @data, @id = event["type"], event["data"], id || event["id"]
      @timestamp = Time.iso8601(event["timestamp"].to_s)
      wrong = []
      wrong << "type" unless type.is_a?(String)
      wrong << "data" unless data.is_a?(Hash)
      wrong << "data.version" if wrong.empty? && (invoice? || connection?) && !data["version"].is_a?(Integer)
      raise EventUnreadable, "the event is not as the contract has it: #{wrong.join(', ')}" unless wrong.empty?
    rescue ArgumentError
      raise EventUnreadable, "the event is not as the contract has it: timestamp"
    end

    # Whether it is about an invoice that exists. Make or change a row of yours by no other event.
    def invoice? = type.start_with?("invoice.") && !data["invoice_id"].nil?

    # Whether it is about a connection.
    def connection? = type.start_with?("connection.")

    # Whether it refuses a request about no invoice that exists: nothing of yours changed. Show `message` to whoever
    # asked.
    def refused? = type.start_with?("request.") || (type.start_with?("invoice.") && data["invoice_id"].nil?)

    # Whether it says how ContaDigital answers, for everybody at once.
    def provider? = type.start_with?("provider.")

    # Where the invoice stands (Timbrado::InvoiceState), or nil.
    def invoice = invoice? ? InvoiceState.new(data) : nil

    # Where the connection stands (Timbrado::ConnectionState), or nil.
    def connection = connection? ? ConnectionState.new(data) : nil

    def account = data["account"]

    def external_id = data["external_id"]

    def status = data["status"]

    # For the user, in Spanish.
    def message = data["message"]

    # What is wrong, everything at once (Timbrado::Fault).
    def errors = Array(data["errors"]).grep(Hash).map { |each| Fault.new(each) }

    # Only grows for one subject; 0 where the subject is not known here.
    def version = data["version"].is_a?(Integer) ? data["version"] : 0

    # What the version belongs to: keep the highest one of each subject.
    def subject
      if invoice? then "invoice:#{data['invoice_id']}"
      elsif connection? then "connection:#{data['connection_id'] || account}"
      elsif provider? then "provider"
      else "message:#{id}"
      end
    end

    # Whether it is newer than what you hold of its subject; `last_version` is nil where you hold nothing.
    def newer_than?(last_version) = last_version.nil? || version > last_version
  end
end
