# frozen_string_literal: true

# How an application sends its invoices to timbrado, and reads what becomes of them:
#
#     client = Timbrado::Client.new("https://timbrado.example", ENV.fetch("TIMBRADO_API_KEY"))
#     client.submit(invoice)
#     client.read("acme", "OP-10234-1").status  # => "stamped"
#
#     event = Timbrado::Webhook.verify(request.raw_post, request.headers, ENV.fetch("TIMBRADO_WEBHOOK_SECRET"))
#
# The README has the reference; docs/connect-rails.md of timbrado the way into a Rails application.
module Timbrado
end

require_relative "timbrado/version"
require_relative "timbrado/errors"
require_relative "timbrado/labels"
require_relative "timbrado/amounts"
require_relative "timbrado/records"
require_relative "timbrado/event"
require_relative "timbrado/webhook"
require_relative "timbrado/http"
require_relative "timbrado/client"
