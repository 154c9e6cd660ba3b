# frozen_string_literal: true

module Timbrado
  VERSION = "0.1.0"
end
