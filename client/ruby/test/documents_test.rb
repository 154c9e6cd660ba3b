# frozen_string_literal: true

require_relative "test_helper"
require "digest"

class DocumentsTest < TimbradoTest
  XML = "<cfdi:Comprobante Nombre=\"Ñandú\"/>\n".b * 5_000
  HASH = Digest::SHA256.hexdigest(XML)

  def headers(sha256: HASH, name: "A-1045-6A5F.xml")
    { "ETag" => "\"#{sha256}\"", "Content-Disposition" => "attachment; filename=\"#{name}\"", "Content-Type" => "application/xml" }
  end

  promises "a document's bytes come as they are, checked against the hash of its ETag" do
    client = client_of { [200, headers, XML] }

    bytes = client.document("acme", "1", :xml)

    assert_equal [XML, Encoding::BINARY], [bytes, bytes.encoding]
    assert_equal "/v1/invoices/acme/1/xml", requests[0].path
  end

  promises "a document that is not what its hash says is asked for again, and never returned" do
    answers = [XML.sub("a", "b"), XML[0..-2], XML]
    client = client_of { [200, headers, answers.shift] }
    assert_equal XML, client.document("acme", "1", :xml)

    client = client_of { [200, headers, "other"] }
    assert_raises(Timbrado::ApiUnavailable) { client.document("acme", "1", :xml) }
    client = client_of { [200, headers, XML] }
    assert_raises(Timbrado::ApiUnavailable) { client.document("acme", "1", :xml, sha256: "0" * 64) }
  end

  promises "a document whose hash nothing says is refused" do
    client = client_of { [200, { "ETag" => "\"v1\"" }, XML] }

    assert_raises(Timbrado::UnexpectedAnswer) { client.document("acme", "1", :xml) }
    assert_equal XML, client.document("acme", "1", :xml, sha256: HASH.upcase)
  end

  promises "a file is written whole or not at all" do
    Dir.mktmpdir do |folder|
      path = File.join(folder, "a.xml")
      client = client_of { [200, headers, XML] }
      assert_equal path, client.document("acme", "1", :xml, to: path)
      assert_equal XML, File.binread(path)

      client = client_of(retries: 0) { [200, headers, "other"] }
      assert_raises(Timbrado::ApiUnavailable) { client.document("acme", "1", :xml, to: path) }
      client = client_of(retries: 0) { [200, headers.merge("Content-Length" => XML.bytesize + 1), XML] }
      assert_raises(Timbrado::ApiUnavailable) { client.document("acme", "1", :xml, to: path) }

      assert_equal [["a.xml"], XML], [Dir.children(folder), File.binread(path)]
    end
  end

  promises "all documents go into a folder, under the names of the API and never outside it" do
    documents = %w[xml pdf].map { |kind| { "kind" => kind, "key" => "acme/2026/#{kind}.#{kind}", "sha256" => HASH } }
    names = { "xml" => "../../etc/A-1.xml", "pdf" => ".." }
    client = client_of do |request|
      kind = request.path.split("/").last
      kind == "1" ? [200, {}, state(documents: documents)] : [200, headers(name: names[kind]), XML]
    end

    Dir.mktmpdir do |made|
      folder = File.join(made, "2026", "facturas") # is made
      assert_equal %w[A-1.xml pdf.pdf], client.documents("acme", "1", folder).map { |path| File.basename(path) }
      assert_equal %w[A-1.xml pdf.pdf], Dir.children(folder).sort
    end
  end

  promises "an error of the file system is the caller's own, and no answer that was lost" do
    client = client_of { [200, headers, XML] }

    assert_raises(Errno::ENOENT) { client.document("acme", "1", :xml, to: "/nowhere/a.xml") }
    assert_equal 1, requests.size
  end

  promises "a document that is late says when to look again" do
    client = client_of { [404, { "Retry-After" => "30" }, problem("document_late", "El PDF tarda.")] }

    assert_equal 30, assert_raises(Timbrado::NotThere) { client.document("acme", "1", :pdf) }.retry_after
  end
end
