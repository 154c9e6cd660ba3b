# frozen_string_literal: true

module Timbrado
  # Write an amount as the invoice wants it: a string with that many decimals, rounded half up and never through a
  # Float. `amount(1_500)` is "1500.00", `amount("0.16", 6)` the `tasa_o_cuota` "0.160000".
  #
  # Takes an Integer, a BigDecimal, a Rational or a decimal String; a Float is an ArgumentError, since what it was
  # before it became one is not known any more.
  def self.amount(value, decimals = 2)
    raise ArgumentError, "an amount is no Float: take BigDecimal or String" if value.is_a?(Float)
    raise ArgumentError, "not a decimal: #{value.inspect}" unless value.is_a?(Numeric) || decimal?(value)

    scaled = (Rational(value.is_a?(Numeric) ? value.to_r : value) * 10**decimals).round(half: :up)
    return scaled.to_s if decimals.zero?

    digits = scaled.abs.to_s.rjust(decimals + 1, "0")
    "#{'-' if scaled.negative?}#{digits[0...-decimals]}.#{digits[-decimals..]}"
  end

  def self.decimal?(value)
    value.is_a?(String) && value.match?(/\A-?\d+(\.\d+)?\z/)
  end
  private_class_method :decimal?
end
