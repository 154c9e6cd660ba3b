# frozen_string_literal: true

require_relative "test_helper"
require "bigdecimal"
require "time"

class ClientTest < TimbradoTest
  promises "a submission is one POST with the key, and its answer is the invoice's state" do
    client = client_of { [202, {}, state(status: "accepted")] }

    found = client.submit({ account: "acme", total: "1.00" }, trace_id: "trace-1")

    assert_equal ["accepted", "En la fila para timbrarse", false], [found.status, found.label, found.settled?]
    sent = requests.fetch(0)
    assert_equal ["POST", "/v1/invoices", "Bearer tk_secret"], [sent.method, sent.path, sent.headers["authorization"]]
    assert_equal "trace-1", sent.headers["x-trace-id"]
    assert_equal({ "account" => "acme", "total" => "1.00" }, sent.json)
  end

  promises "amounts are written as texts, instants as RFC 3339, symbols as texts" do
    client = client_of { [202, {}, state] }

    client.submit({ moneda: :MXN, total: BigDecimal("16800.5"), fecha: Time.utc(2026, 11, 23, 16), lines: [nil, 1, true] })

    assert_equal({ "moneda" => "MXN", "total" => "16800.5", "fecha" => "2026-11-23T16:00:00Z", "lines" => [nil, 1, true] },
                 requests[0].json)
  end

  promises "a submission that has to be sent again bears the same Idempotency-Key, the next one another" do
    answers = [nil, [202, {}, state], [202, {}, state]]
    client = client_of { answers.shift }
    2.times { client.submit({}) }

    first, again, other = requests.map { |each| each.headers.fetch("idempotency-key") }
    assert_equal first, again
    refute_equal first, other
  end

  promises "what has no place in JSON is an ArgumentError, and nothing is sent" do
    client = client_of { [202, {}, state] }

    [{ total: Float::NAN }, { total: Rational(1, 3) }, { x: Object.new }, { x: "\xff" }].each do |wrong|
      assert_raises(ArgumentError, wrong.to_s) { client.submit(wrong) }
    end
    assert_empty requests
  end

  promises "a refused invoice raises every fault, and where it stands" do
    refused = problem("rejected", errors: [FAULT], warnings: [FAULT], invoice: state(status: "rejected"))
    client = client_of { [422, { "Content-Type" => "application/problem+json" }, refused] }

    error = assert_raises(Timbrado::InvoiceInvalid) { client.submit({}) }

    fault = error.faults.fetch(0)
    assert_equal %w[CFDI40161 Uso\ del\ CFDI user], [fault.code, fault.label, fault.whose]
    assert_equal "receptor.uso_cfdi: No. Cámbialo.", error.message
    assert_equal ["rejected", 1], [error.invoice.status, error.warnings.size]
  end

  promises "other content of an invoice that is being stamped is a Conflict, which says what is there" do
    client = client_of { [409, {}, problem("conflict", errors: [FAULT], invoice: state(status: "stamped", uuid: "6A5F"))] }

    error = assert_raises(Timbrado::Conflict) { client.submit({}) }

    assert_equal "6A5F", error.invoice.uuid
    assert_kind_of Timbrado::RequestInvalid, error
  end

  promises "a conflict may come without faults: what cannot be retried" do
    client = client_of { [409, {}, problem("nothing_to_retry", "Ya está timbrada.")] }

    assert_equal "Ya está timbrada.", assert_raises(Timbrado::Conflict) { client.retry("acme", "OP-1") }.message
  end

  promises "check returns faults, warnings and totals, whether it is refused or not" do
    client = client_of { [200, {}, { "errors" => [FAULT], "warnings" => [], "totals" => { "total" => "116.00" } }] }
    checked = client.check({})
    assert_equal [false, "116.00", "CFDI40161"], [checked.good?, checked.totals["total"], checked.errors[0].code]

    client = client_of { [422, {}, problem("x", errors: [FAULT])] }
    refute_predicate client.check({}), :good?
    assert_equal "/v1/invoices/check", requests[0].path
  end

  promises "ids are percent encoded, each in its own segment" do
    client = client_of { [200, {}, state] }

    client.read("ñandú/1", "OP 10%?#", story: true)
    client.read(7, 9)

    assert_equal ["/v1/invoices/%C3%B1and%C3%BA%2F1/OP%2010%25%3F%23?story=1", "/v1/invoices/7/9"], requests.map(&:path)
    ["", " ", ".", "..", nil].each { |id| assert_raises(ArgumentError) { client.read("acme", id) } }
  end

  promises "a list is followed page by page, as far as it is read" do
    pages = [{ "items" => [state(external_id: "1"), state(external_id: "2")], "cursor" => "c1" },
             { "items" => [state(external_id: "3")], "cursor" => nil }]
    client = client_of { |request| [200, {}, pages[request.path.include?("cursor=c1") ? 1 : 0]] }

    found = client.invoices(account: "acme", status: %w[stamped differs], since: Time.utc(2026, 11, 1), q: "ñ")

    assert_equal "1", found.first.external_id
    assert_equal 1, requests.size
    assert_equal %w[1 2 3], found.map(&:external_id)
    assert_equal "/v1/invoices?account=acme&status=stamped%2Cdiffers&since=2026-11-01T00%3A00%3A00Z&q=%C3%B1",
                 requests[0].path
  end

  promises "what is operated is a POST to its own path, with what was given" do
    client = client_of { [202, {}, state] }

    client.cancel("acme", "1", "02", reason: "duplicada")
    client.cancel("acme", "1", "01", uuid_sustitucion: "6A5F")
    client.retry("acme", "1")
    client.withdraw("acme", "1")
    client.replace("acme", "1", { external_id: "2" })
    client.accept("acme", "1", reason: "igual")
    client.resolve("acme", "1", reason: "no está")
    client.resolve("acme", "1", reason: "está", stamped_xml: "<x/>")

    assert_equal [
      ["cancel", { "motivo" => "02", "reason" => "duplicada" }],
      ["cancel", { "motivo" => "01", "uuid_sustitucion" => "6A5F" }],
      ["retry", {}], ["withdraw", {}], ["replace", { "invoice" => { "external_id" => "2" } }],
      ["accept", { "reason" => "igual" }], ["resolve", { "not_stamped" => true, "reason" => "no está" }],
      ["resolve", { "xml" => "<x/>", "reason" => "está" }]
    ], (requests.map { |each| [each.path.delete_prefix("/v1/invoices/acme/1/"), each.json] })
  end

  promises "a connection is stored with its key, read, validated and forgotten" do
    broken = { "account" => "acme", "status" => "broken", "reason" => "key_rejected", "fix" => "Cópialo de nuevo.",
               "errors" => [], "version" => 2 }
    client = client_of { |request| request.method == "DELETE" ? [204, {}, ""] : [200, {}, broken] }

    found = client.connect("acme", "k-1", rfc: "EKU9003173C9", razon_social: "ESCUELA", codigo_postal: "42501", serie: nil,
                                          ids: { rfc: 7 })
    client.connection("acme")
    client.validate("acme")

    assert_nil client.disconnect("acme")
    assert_equal ["Conexión con problema", "ContaDigital no acepta el API Key", "Cópialo de nuevo.", false],
                 [found.label, found.reason_label, found.fix, found.active?]
    assert_equal({ "api_key" => "k-1", "rfc" => "EKU9003173C9", "razon_social" => "ESCUELA", "codigo_postal" => "42501",
                   "ids" => { "rfc" => 7 } }, requests[0].json)
    assert_equal ["PUT /v1/connections/acme", "GET /v1/connections/acme", "POST /v1/connections/acme/validate",
                  "DELETE /v1/connections/acme"], (requests.map { |each| "#{each.method} #{each.path}" })
  end

  promises "links, catalogues and the status are returned as they are" do
    answers = { "/v1/invoices/acme/1/links" => { "links" => { "xml" => "https://t/x" } },
                "/v1/catalogs" => { "items" => ["uso_cfdi"] },
                "/v1/catalogs/uso_cfdi?q=gastos&limit=5" => { "items" => [{ "key" => "G03", "name" => "Gastos" }] },
                "/v1/status" => { "provider" => { "answers" => true } } }
    client = client_of { |request| [200, {}, answers.fetch(request.path)] }

    assert_equal({ "xml" => "https://t/x" }, client.links("acme", "1"))
    assert_equal ["uso_cfdi"], client.catalogs
    assert_equal [{ "key" => "G03", "name" => "Gastos" }], client.catalog("uso_cfdi", "gastos", limit: 5)
    assert client.status["provider"]["answers"]
  end

  promises "wait returns what is settled, over an API that is away and an invoice that is not there yet" do
    answers = [[404, {}, problem("not_found")], nil, [200, {}, state(status: "stamping")], [200, {}, state(status: "stamped")]]
    client = client_of(retries: 0) { answers.shift }

    assert_equal "stamped", client.wait("acme", "1").status
    assert_equal [0.5, 1, 2], @slept
  end

  promises "wait gives up with where the invoice stands, or with why it is not known" do
    client = client_of { [200, {}, state(status: "in_doubt")] }
    error = assert_raises(Timbrado::StillOpen) { client.wait("acme", "1", timeout: 0) }
    assert_equal "in_doubt", error.state.status

    client = client_of { [404, {}, problem("not_found")] }
    assert_raises(Timbrado::NotThere) { client.wait("acme", "1", timeout: 0) }
  end

  promises "a client does not show its key" do
    refute_includes client_of { nil }.inspect, "tk_secret"
  end

  promises "an address or a key that is none is an ArgumentError at once" do
    ["", "timbrado.example", "ftp://x", "http://x?y=1", "http://[", nil].each do |url|
      assert_raises(ArgumentError, url.inspect) { Timbrado::Client.new(url, "k") }
    end
    ["", nil, "two words", "k\r\nX: 1"].each do |key|
      assert_raises(ArgumentError, key.inspect) { Timbrado::Client.new("https://x", key) }
    end
  end
end
