# frozen_string_literal: true

module Timbrado
  # An answer's object, read only. What a newer worker adds is in `record["name"]` and `to_h`.
  class Record
    def self.fields(*names)
      names.each { |name| define_method(name) { @facts[name.to_s] } }
    end

    def self.lists(**classes)
      classes.each do |name, of|
        define_method(name) { Array(@facts[name.to_s]).grep(Hash).map { |each| of.new(each) } }
      end
    end

    def initialize(facts)
      @facts = facts
    end

    # Return any field by its name.
    def [](name) = @facts[name.to_s]

    def to_h = @facts

    def ==(other) = other.instance_of?(self.class) && other.to_h == to_h

    alias eql? ==

    def hash = @facts.hash

    def inspect = "#<#{self.class} #{@facts.inspect}>"
  end

  # One thing to correct: where, what is wrong, what to do about it, and who can do it.
  class Fault < Record
    # The SAT's code (CFDI40161) or timbrado's (timbrado.nombre_largo)
    # The path in the invoice as sent: conceptos[2].nombre; "" where the whole of it is meant
    # Mexican Spanish for users
    # timbrado, contadigital or sat: who says so
    # For the application's developers, never for its users
    fields :code, :field, :message, :fix, :source, :detail

    # Its field's name for a person, in Spanish.
    def label = given(:label) || Labels.of(field)

    # Who can correct it: "user", "apunto" (its developers: what it sent is wrong), "contadigital" or "support".
    def whose = given(:whose) || (source == "contadigital" ? "contadigital" : "user")

    def to_s
      [given(:field) && "#{field}:", message, fix, given(:detail) && "[#{detail}]"].select { |each| each && each != "" }.join(" ")
    end

    private

    def given(name) = self[name].to_s.empty? ? nil : self[name]
  end

  # A stored document: `kind` is "xml", "pdf" or "acuse", `bytes` its size, `url` where it is read with a key.
  class Document < Record
    fields :kind, :key, :sha256, :bytes, :url
  end

  # Where an invoice stands.
  class InvoiceState < Record
    # Statuses that somebody has to read: either nothing more happens, or not without a person.
    SETTLED = %w[stamped differs rejected on_hold failed cancelled withdrawn].freeze

    fields :account, :external_id, :invoice_id, :version, :status, :reason, :message, :uuid, :serie, :folio,
           :fecha_timbrado, :next, :story
    lists errors: Fault, warnings: Fault, documents: Document

    # Whether nothing more happens without a person.
    def settled? = SETTLED.include?(status)

    # Its status in Spanish, for the user.
    def label = Labels::STATUS.fetch(status, status)

    # The document of that kind, or nil.
    def document(kind) = documents.find { |each| each.kind == kind.to_s }
  end

  # A stamped invoice whose CFDI says something else than what was sent.
  class DifferingInvoice < Record
    fields :external_id, :uuid, :serie, :folio
  end

  # Where an account's connection to ContaDigital stands. `reason`, `message` and `fix` say what is wrong while it is
  # broken; the last two are Spanish, for the user.
  class ConnectionState < Record
    fields :account, :connection_id, :version, :status, :reason, :message, :fix, :stamps_left, :key_last4
    lists errors: Fault, invoices: DifferingInvoice

    def active? = status == "active"

    # Its status in Spanish, for the user.
    def label = Labels::CONNECTION.fetch(status, status)

    # Why it is broken, in Spanish; nil where it is not.
    def reason_label = reason && Labels::REASON.fetch(reason, reason)
  end

  # What a submission would get: its faults and warnings, and the totals as the worker computes them.
  class Checked < Record
    fields :totals
    lists errors: Fault, warnings: Fault

    # Whether it would be accepted.
    def good? = errors.empty?
  end

  # Some events in their order, and the cursor that the next ones follow.
  Page = Struct.new(:events, :cursor)
end
