# frozen_string_literal: true

require "json"

module Timbrado
  # Spanish labels of statuses, reasons and fields, for whoever shows them to a person.
  #
  # labels.json is made from the Python client's (`./dev golden tests/unit/test_client_ruby_labels.py`), so that both
  # say the same of an invoice.
  module Labels
    made = JSON.parse(File.read(File.expand_path("labels.json", __dir__), encoding: "UTF-8"))
    made.each_value { |labels| labels.each_value(&:freeze).freeze }

    # What a user reads for each status of an invoice
    STATUS = made.fetch("status")
    # ... for each status of a connection
    CONNECTION = made.fetch("connection")
    # ... for each reason why a connection is broken; its `fix` says what to do
    REASON = made.fetch("reason")
    # The label of each field by its path, `[]` for any element of a list: FIELD["conceptos[].nombre"]
    FIELD = made.fetch("field")

    # Return the label of a path as faults have it: "conceptos[2].nombre" is "Nombre del producto, línea 3". Of an
    # unknown field it is that of the node it stands in, or "".
    def self.of(field)
      path = label = line = place = ""
      field.to_s.scan(/([^.\[\]]+)|\[(\d*)\]/) do |name, number|
        if name
          path = path.empty? ? name : "#{path}.#{name}"
          break unless FIELD.key?(path)

          label, place = FIELD[path], ""
        else
          path = "#{path}[]"
          nth = number.empty? ? next : number.to_i + 1
          path == "conceptos[]" ? line = ", línea #{nth}" : place = ", número #{nth}"
        end
      end
      label.empty? ? "" : "#{label}#{place}#{line}"
    end
  end
end
