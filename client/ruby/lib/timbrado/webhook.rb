# frozen_string_literal: true

require "openssl"

module Timbrado
  # Whether a webhook is timbrado's: Standard Webhooks (standardwebhooks.com), over the body's bytes as they came.
  module Webhook
    # Seconds that a webhook's timestamp may lie from now, either way: what Standard Webhooks says
    TOLERANCE = 300
    NAMES = %w[webhook-id webhook-timestamp webhook-signature].freeze
    private_constant :NAMES

    class << self
      # Return the Timbrado::Event of a webhook that is timbrado's own, or raise VerificationFailed.
      #
      # `body` is the raw body (in Rails `request.raw_post`), never what was parsed from it. `headers` is Rails'
      # `request.headers`, a Rack env, or a Hash or pairs in any letter case. `secrets` is one "whsec_...", or two while
      # rotating (comma separated, or an Array). Raises ArgumentError for a secret that is none, and EventUnreadable for
      # a signed body that is no event.
      def verify(body, headers, secrets, tolerance: TOLERANCE, now: Time.now)
        raise ArgumentError, "body must be the raw body, a String" unless body.is_a?(String)

        keys = (secrets.is_a?(String) ? secrets.split(",") : Array(secrets)).map { |secret| key_of(secret) }
        raise ArgumentError, "verify needs a secret" if keys.empty?

        id, timestamp, signatures = signed(headers)
        timely(timestamp, now.to_i, tolerance)
        text = "#{id}.#{timestamp}.".b << body.b
        expected = keys.map { |key| OpenSSL::HMAC.digest("SHA256", key, text) }
        # every pair is compared, and each in constant time: how long it takes says nothing
        matching = expected.product(offered(signatures)).count { |ours, theirs| same?(ours, theirs) }
        raise VerificationFailed.new(:signature, "no signature of this webhook is of a secret we know") if matching.zero?

        Event.parse(body.dup.force_encoding(Encoding::UTF_8), id: id)
      end

      # Return the headers of a webhook, signed: for the tests of your own receiver.
      def headers(body, secret, id: "msg_test", now: Time.now)
        text = "#{id}.#{now.to_i}.".b << body.b
        signature = [OpenSSL::HMAC.digest("SHA256", key_of(secret), text)].pack("m0")
        { "webhook-id" => id, "webhook-timestamp" => now.to_i.to_s, "webhook-signature" => "v1,#{signature}" }
      end

      private

      def signed(headers)
        found = {}
        headers.each do |name, value|
          name = name.to_s.downcase.tr("_", "-").delete_prefix("http-") # a Rack env has HTTP_WEBHOOK_ID
          found[name] = Array(value).first.to_s if NAMES.include?(name)
        end
        missing = NAMES.reject { |name| found[name].to_s != "" }
        return found.values_at(*NAMES) if missing.empty?

        raise VerificationFailed.new(:headers, "not a Standard Webhook: no #{missing.join(', ')}")
      end

      def timely(timestamp, now, tolerance)
        unless timestamp.match?(/\A\d{1,15}\z/)
          raise VerificationFailed.new(:headers, "webhook-timestamp is no number of seconds")
        end

        age = now - timestamp.to_i
        if age > tolerance
          raise VerificationFailed.new(:too_old, "sent #{age} s ago: an old message played again, or a slow clock")
        end
        raise VerificationFailed.new(:too_new, "sent #{-age} s in the future: a clock is wrong") if age < -tolerance
      end

      # Return the v1 signatures of the header; other schemes and broken ones are passed over.
      def offered(signatures)
        signatures.split.filter_map do |each|
          scheme, encoded = each.split(",", 2)
          decoded(encoded.to_s) if scheme == "v1"
        end
      end

      def same?(ours, theirs)
        ours.bytesize == theirs.bytesize && OpenSSL.fixed_length_secure_compare(ours, theirs)
      end

      def key_of(secret)
        encoded = secret.to_s.strip[/\Awhsec_(.+)\z/m, 1]
        key = encoded ? decoded(encoded) : ""
        return key if key.bytesize.between?(24, 64)

        raise ArgumentError, "a webhook secret is whsec_ followed by 24 to 64 bytes in base64"
      end

      # Return the bytes of strict base64; none where it is not.
      def decoded(text)
        text.unpack1("m0")
      rescue ArgumentError
        ""
      end
    end
  end
end
