# frozen_string_literal: true

require_relative "test_helper"

class WebhookTest < TimbradoTest
  SECRET = "whsec_#{"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}" # the example of the standard
  OTHER = "whsec_#{['o' * 24].pack('m0')}"
  NOW = Time.at(1_614_265_330)
  BODY = { "type" => "invoice.stamped", "timestamp" => "2026-11-23T16:15:03Z",
           "data" => { "account" => "acme", "invoice_id" => "0197", "version" => 4, "message" => "Ñ" } }.to_json

  def signed(body = BODY, secret = SECRET, now: NOW) = Timbrado::Webhook.headers(body, secret, id: "msg_1", now: now)

  def verify(body = BODY, headers = signed, secrets = SECRET, now: NOW)
    Timbrado::Webhook.verify(body, headers, secrets, now: now)
  end

  def refused(...) = assert_raises(Timbrado::VerificationFailed) { verify(...) }.reason

  promises "the example that Standard Webhooks publishes verifies" do
    # standard-webhooks/standard-webhooks, libraries/*/test: the vector that all its libraries share
    headers = { "webhook-id" => "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp" => "1614265330",
                "webhook-signature" => "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" }

    assert_raises(Timbrado::EventUnreadable) { verify('{"test": 2432232314}', headers) } # verified, and no event of ours
    assert_equal :signature, refused('{"test": 2432232315}', headers)
  end

  promises "a webhook of timbrado is its event, with the id that stays the same over all tries" do
    event = verify

    assert_equal ["invoice.stamped", "msg_1", "Ñ"], [event.type, event.id, event.message]
  end

  promises "headers are read in any letter case, from a Rack env and from lists" do
    id, timestamp, signature = signed.values
    [signed.transform_keys(&:upcase), signed.transform_values { |value| [value] }, signed.to_a,
     { "rack.input" => Object.new, "HTTP_WEBHOOK_ID" => id, "HTTP_WEBHOOK_TIMESTAMP" => timestamp,
       "HTTP_WEBHOOK_SIGNATURE" => signature }].each { |headers| assert_equal "msg_1", verify(BODY, headers).id }
  end

  promises "while a secret is rotated either of two verifies, in any order" do
    ["#{SECRET},#{OTHER}", "#{OTHER}, #{SECRET}", [OTHER, SECRET]].each { |secrets| assert verify(BODY, signed, secrets) }
    both = signed.merge("webhook-signature" => "v2,x v1,broken! #{signed(BODY, OTHER)['webhook-signature']} " \
                                               "#{signed['webhook-signature']}")

    assert verify(BODY, both)
    assert_equal :signature, refused(BODY, signed(BODY, OTHER))
  end

  promises "a changed body, id or time is refused" do
    assert_equal :signature, refused(BODY.sub("acme", "acne"))
    assert_equal :signature, refused(BODY, signed.merge("webhook-id" => "msg_2"))
    assert_equal :signature, refused(BODY, signed.merge("webhook-timestamp" => (NOW.to_i + 1).to_s))
    ["v1,", "v1", "v1a,#{signed['webhook-signature'][3..]}", "garbage", "v1,AAAA"].each do |signature|
      assert_equal :signature, refused(BODY, signed.merge("webhook-signature" => signature)), signature
    end
  end

  promises "what is older than five minutes, or from the future, is refused" do
    assert verify(now: NOW + 300)
    assert verify(now: NOW - 300)
    assert_equal :too_old, refused(now: NOW + 301)
    assert_equal :too_new, refused(now: NOW - 301)
  end

  promises "headers that are missing or no number are refused" do
    signed.each_key { |name| assert_equal :headers, refused(BODY, signed.reject { |each,| each == name }) }
    ["x", "-1", "1e9", "1614265330\n1", "٣", "9" * 16].each do |timestamp|
      assert_equal :headers, refused(BODY, signed.merge("webhook-timestamp" => timestamp)), timestamp
    end
  end

  promises "a secret that is none is an ArgumentError, whatever came" do
    ["", [], "whsec_", "whsec_!!!", "whsec_c2hvcnQ=", SECRET.delete_prefix("whsec_"), nil, "#{SECRET},x"].each do |secret|
      error = assert_raises(ArgumentError, secret.inspect) { verify(BODY, signed, secret) }
      refute_includes error.message, "c2hvcnQ"
    end
    assert_raises(ArgumentError) { verify(JSON.parse(BODY)) }
  end
end
