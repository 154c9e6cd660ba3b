# frozen_string_literal: true

require_relative "lib/timbrado/version"

Gem::Specification.new do |spec|
  spec.name = "timbrado"
  spec.version = Timbrado::VERSION
  spec.summary = "How a Ruby application sends its invoices (CFDI 4.0) to timbrado, and reads what becomes of them."
  spec.description = "A client of timbrado's HTTP API and a verifier of its webhooks, with the standard library alone."
  spec.authors = ["timbrado"]
  spec.licenses = []
  spec.required_ruby_version = ">= 3.0"
  spec.files = Dir.chdir(__dir__) { Dir["lib/**/*.{rb,json}", "README.md"] }
  spec.require_paths = ["lib"]
  spec.metadata["rubygems_mfa_required"] = "true"
end
