# frozen_string_literal: true

require_relative "test_helper"
require "bigdecimal"

class ValuesTest < TimbradoTest
  promises "an amount is written with its decimals, half up, and through no Float" do
    { [15_000] => "15000.00", ["15000"] => "15000.00", [BigDecimal("0.005")] => "0.01", [BigDecimal("-0.005")] => "-0.01",
      ["0.16", 6] => "0.160000", [Rational(2, 3), 6] => "0.666667", ["1.5", 0] => "2", ["0.004"] => "0.00",
      [BigDecimal("123456789012345678.995")] => "123456789012345679.00" }.each do |given, written|
      assert_equal written, Timbrado.amount(*given), given.inspect
    end
    [1.5, "1,500.00", "", nil, "1e3", :x].each do |wrong|
      assert_raises(ArgumentError, wrong.inspect) { Timbrado.amount(wrong) }
    end
  end

  promises "a field's label names the node and counts lines from one" do
    { "conceptos[2].nombre" => "Nombre del producto, línea 3", "receptor.uso_cfdi" => Timbrado::Labels::FIELD["receptor.uso_cfdi"],
      "unheard.of" => "", "" => "", nil => "" }.each { |field, label| assert_equal label, Timbrado::Labels.of(field) }
    refute_empty Timbrado::Labels.of("conceptos[0].traslados[1].unheard")
  end

  promises "a fault without label or owner gets them" do
    fault = Timbrado::Fault.new("code" => "x", "field" => "conceptos[0].nombre", "message" => "No.", "source" => "contadigital")

    assert_equal ["Nombre del producto, línea 1", "contadigital"], [fault.label, fault.whose]
    assert_equal "user", Timbrado::Fault.new("source" => "sat").whose
  end

  promises "every status has a label in Spanish, and an unknown one is shown as it is" do
    Timbrado::InvoiceState::SETTLED.each { |status| refute_nil Timbrado::Labels::STATUS[status] }
    assert_equal "framed", Timbrado::InvoiceState.new("status" => "framed").label
  end
end
