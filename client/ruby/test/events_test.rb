# frozen_string_literal: true

require_relative "test_helper"

class EventsTest < TimbradoTest
  def event(type, id: "e1", **data)
    { "id" => id, "type" => type, "timestamp" => "2026-11-23T16:15:03Z",
      "data" => { "account" => "acme", "version" => 4 }.merge(data.transform_keys(&:to_s)) }
  end

  def stamped(**more) = event("invoice.stamped", invoice_id: "0197", external_id: "OP-1", status: "stamped", **more)

  promises "an event says what it is about, and what its version belongs to" do
    found = Timbrado::Event.parse(JSON.generate(stamped(message: "Factura timbrada.")))

    assert_equal [true, "invoice:0197", 4, "acme", "OP-1", "stamped", "Factura timbrada."],
                 [found.invoice?, found.subject, found.version, found.account, found.external_id, found.status, found.message]
    assert_equal [Time.utc(2026, 11, 23, 16, 15, 3), "stamped"], [found.timestamp, found.invoice.status]
    assert_equal [true, true, false, false], [nil, 3, 4, 5].map { |version| found.newer_than?(version) }

    connection = Timbrado::Event.parse(event("connection.broken", reason: "no_stamps"))
    assert_equal ["connection:acme", "No quedan timbres"], [connection.subject, connection.connection.reason_label]
    assert_predicate Timbrado::Event.parse(event("provider.degraded")), :provider?
  end

  promises "a request about no invoice that exists makes no invoice" do
    [event("request.refused", external_id: "OP-9", invoice_id: nil, errors: [FAULT]),
     event("invoice.rejected", external_id: "OP-9", invoice_id: nil)].each do |each|
      found = Timbrado::Event.parse(each)

      assert_equal [false, true, nil], [found.invoice?, found.refused?, found.invoice]
      assert_equal "message:e1", found.subject
    end
  end

  promises "types, fields and statuses that are new pass" do
    found = Timbrado::Event.parse(event("weather.changed", version: nil, wind: 3).merge("more" => 1))
    assert_equal [false, false, false, 0, 3], [found.invoice?, found.connection?, found.refused?, found.version, found.data["wind"]]

    invoice = Timbrado::Event.parse(stamped(status: "framed", colour: "red")).invoice
    assert_equal %w[framed red], [invoice.label, invoice["colour"]]
  end

  promises "what is no event of the contract is EventUnreadable" do
    ["", "{", "[]", "null", {}, event("x").merge("timestamp" => "today"), event("x").merge("data" => []),
     event(nil), stamped(version: "4")].each do |wrong|
      assert_raises(Timbrado::EventUnreadable, wrong.inspect) { Timbrado::Event.parse(wrong) }
    end
  end

  promises "a page has its events in order, and the cursor that the next ones follow" do
    client = client_of do |request|
      request.path.include?("after=e1") ? [200, {}, { "items" => [], "cursor" => nil }] :
                                          [200, {}, { "items" => [stamped], "cursor" => "e1" }]
    end

    page = client.events(account: "acme")
    assert_equal [["invoice.stamped"], "e1"], [page.events.map(&:type), page.cursor]
    assert_equal [[], "e1"], client.events(after: page.cursor).to_a
    assert_equal "/v1/events?account=acme", requests[0].path
  end

  promises "a cursor that is gone is NotThere" do
    client = client_of { [410, {}, problem("cursor_gone")] }

    assert_equal "cursor_gone", assert_raises(Timbrado::NotThere) { client.events(after: "old") }.code
  end

  def lines(*events, break_at: nil)
    text = ": ping\r\n\r\n#{events.map { |each| "id: #{each['id']}\r\nevent: x\r\ndata: #{JSON.generate(each)}\r\n\r\n" }.join}"
    lambda do |socket|
      socket.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
      (break_at ? text[0...break_at] : text).b.scan(/.{1,7}/mn) { |piece| socket.write("#{piece.bytesize.to_s(16)}\r\n#{piece}\r\n") }
      socket.write("0\r\n\r\n") unless break_at
    end
  end

  promises "events are followed over a line that drops, from the last one on" do
    first, second = stamped(id: "e1", message: "Ñ"), stamped(id: "e2")
    answers = [lines(first, second, break_at: -20), [503, { "Retry-After" => "7" }, problem("unavailable")], lines(second)]
    client = client_of { answers.shift }

    found = client.follow(after: "e0", account: "acme").first(2)

    assert_equal [["e1", "Ñ", "e1"], ["e2", nil, "e2"]], (found.map { |each, cursor| [each.id, each.message, cursor] })
    assert_equal %w[e0 e1 e1], (requests.map { |each| each.headers["last-event-id"] })
    assert_equal ["/v1/events?account=acme", "text/event-stream"], [requests[0].path, requests[0].headers["accept"]]
    assert_equal [5, 7], @slept
  end

  promises "a line that drops before its first event goes on from where it began" do
    begun = ->(socket) { socket.write("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nid: e7\r\n\r\n") }
    answers = [begun, lines(stamped(id: "e8"))]
    client = client_of { answers.shift }

    assert_equal ["e8"], client.follow.first(1).map { |_, cursor| cursor }
    assert_equal [nil, "e7"], (requests.map { |each| each.headers["last-event-id"] })
  end

  promises "an event whose block could not reach the API comes again" do
    client = client_of { lines(stamped) }
    seen = 0

    client.follow do |event, _|
      seen += 1
      raise Timbrado::ApiUnavailable, "away" if seen == 1

      break assert_equal "e1", event.id
    end
    assert_equal [2, nil], [seen, requests[1].headers["last-event-id"]]
  end

  promises "an error of the block ends the following" do
    client = client_of { lines(stamped) }

    assert_raises(Errno::ENOSPC) { client.follow { raise Errno::ENOSPC } }
  end

  promises "a key that is refused ends the following" do
    client = client_of { [401, {}, problem("key_refused")] }

    assert_raises(Timbrado::KeyRefused) { client.follow { flunk } }
  end
end
