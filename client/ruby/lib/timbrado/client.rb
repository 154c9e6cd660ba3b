# frozen_string_literal: true

require "digest"
require "fileutils"
require "json"
require "securerandom"

module Timbrado
  # timbrado's HTTP API. Make one per process and share it between threads.
  #
  # Every method raises the errors of timbrado/errors.rb. What is harmless to do twice (reading, checking, submitting,
  # connecting) is done again by itself when no answer comes or the API says "not now"; cancel, retry, withdraw,
  # replace, accept, resolve and disconnect only where the request did not leave this machine, or was not taken (429).
  class Client
    # Seconds before the second and the third try; the first ones also of `wait` and `follow`
    PAUSES = [0.5, 1, 2, 5].freeze
    # A longer Retry-After is not waited for: ApiUnavailable says it
    LONGEST_PAUSE = 10
    # Seconds for what asks ContaDigital before it answers
    ASKING = 60
    # An open line of events says something each 15 s; one that is silent for so many is dead
    SILENCE = 60

    # `base_url` is what TIMBRADO_PUBLIC_URL names, `key` one of `timbrado keys create`, `timeout` seconds to connect and
    # between two pieces of an answer, `retries` how often a request is sent again, `sleep` what waits.
    def initialize(base_url, key, timeout: 10, retries: 2, sleep: Kernel.method(:sleep))
      @http = Http.new(base_url, key, timeout)
      @retries, @sleep = retries, sleep
      @base_url = base_url
    end

    # The key is not shown.
    def inspect = "#<#{self.class} #{@base_url}>"

    # -- invoices

    # Send an invoice (a Hash) to be stamped; return its InvoiceState. The same one again is harmless: it is stamped once.
    # Raises InvoiceInvalid with every fault, Conflict where it is being stamped, or is, with other content.
    # However often it has to be sent, it goes under one `idempotency_key`, so that a late one undoes no correction.
    def submit(invoice, trace_id: nil, idempotency_key: SecureRandom.uuid)
      headers = { "Idempotency-Key" => idempotency_key, "X-Trace-Id" => trace_id }.compact
      state(:post, "/invoices", body: invoice, headers: headers, refused: InvoiceInvalid)
    end

    # Return what a submission would get (Checked); nothing is stored or sent.
    def check(invoice)
      Checked.new(object(:post, "/invoices/check", body: invoice, refused: InvoiceInvalid))
    rescue InvoiceInvalid => error
      Checked.new("errors" => error.faults.map(&:to_h), "warnings" => error.warnings.map(&:to_h), "totals" => nil)
    end

    # Return where an invoice stands; with `story`, its timeline too. Raises NotThere.
    def read(account, external_id, story: false)
      state(:get, path_of(account, external_id), query: story ? { story: 1 } : {})
    end

    # Yield invoices, the newest first, page by page as they are needed; without a block return an Enumerator.
    # `status` is one or several, `since` a Time, `q` searches folio fiscal, RFC, id, serie and folio, or name.
    def invoices(account: nil, status: nil, since: nil, q: nil)
      return enum_for(:invoices, account: account, status: status, since: since, q: q) unless block_given?

      query = { account: account, status: status && Array(status).join(","), since: since&.iso8601, q: q }
      loop do
        page = object(:get, "/invoices", query: query)
        Array(page["items"]).each { |each| yield InvoiceState.new(each) }
        return self unless page["cursor"]

        query = query.merge(cursor: page["cursor"])
      end
    end

    # Return an invoice's state once it is settled, or raise StillOpen with where it stands after `timeout` seconds. An
    # API that does not answer for a moment, and an invoice that is not there yet, are waited for too.
    def wait(account, external_id, timeout: 120)
      deadline = now + timeout
      state = nil
      (0..).each do |tries|
        pause = PAUSES[[tries, PAUSES.size - 1].min]
        begin
          state = read(account, external_id)
          return state if state.settled?
        rescue ApiUnavailable, NotThere => error
          pause = [pause, error.retry_after || 0].max
          raise if state.nil? && now + pause > deadline
        end
        raise StillOpen.new(account, external_id, state) if now + pause > deadline

        @sleep.call(pause)
      end
    end

    # Ask for the cancellation of a stamped invoice. `motivo` is "01" to "04"; 01 names its substitute's folio fiscal.
    def cancel(account, external_id, motivo, uuid_sustitucion: nil, reason: nil)
      act(account, external_id, "cancel", motivo: motivo, uuid_sustitucion: uuid_sustitucion, reason: reason)
    end

    # Try again an invoice that stopped; one whose outcome is unknown is looked up, never sent again.
    def retry(account, external_id, reason: nil)
      act(account, external_id, "retry", reason: reason)
    end

    # Take back an invoice that is not stamped; one whose outcome is unknown is looked up first.
    def withdraw(account, external_id, reason: nil)
      act(account, external_id, "withdraw", reason: reason)
    end

    # Replace a stamped invoice by a new one, which has an external_id of its own; return the new one's state. Once the
    # new one is safe, the old one is cancelled.
    def replace(account, external_id, invoice, reason: nil)
      act(account, external_id, "replace", refused: InvoiceInvalid, invoice: invoice, reason: reason)
    end

    # Accept a stamp that differs from what was sent.
    def accept(account, external_id, reason:)
      act(account, external_id, "accept", reason: reason)
    end

    # Close what stands before a person: `stamped_xml` is the text of the CFDI that was found; without it, certainly
    # none was stamped.
    def resolve(account, external_id, reason:, stamped_xml: nil)
      outcome = stamped_xml ? { xml: stamped_xml } : { not_stamped: true }
      act(account, external_id, "resolve", **outcome, reason: reason)
    end

    # -- documents

    # Return the bytes of a document (kind xml, pdf or acuse), or write them to the file `to` and return its path. They
    # are checked against their SHA-256, and a file is written whole or not at all. Raises NotThere while it is late
    # (`retry_after` says when to look again) or where there is none.
    def document(account, external_id, kind, to: nil, sha256: nil)
      path = "#{path_of(account, external_id)}/#{part(kind)}"
      to.nil? ? downloaded(path, sha256) : saved(path, sha256) { to.to_s }
    end

    # Download all the documents that there are into a folder, which is made where there is none, under the names that
    # timbrado gives them (serie, folio and folio fiscal); return their paths.
    def documents(account, external_id, folder)
      documents = read(account, external_id).documents
      FileUtils.mkdir_p(folder.to_s)
      documents.map do |document|
        path = "#{path_of(account, external_id)}/#{part(document.kind)}"
        saved(path, document.sha256) { |answer| File.join(folder.to_s, name_of(answer) || File.basename(document.key)) }
      end
    end

    # Return links to its documents by kind ({"xml" => "https://..."}), for a user's browser: they live five minutes
    # and need no key.
    def links(account, external_id)
      object(:post, "#{path_of(account, external_id)}/links", body: {}).fetch("links", {})
    end

    # -- connections

    # Store or replace an account's connection and have it validated; return its ConnectionState. `more` is empresa_id,
    # serie, base_url, ids, move. Raises Conflict where it moves to another address or company and leaves open invoices
    # behind: its `faults` say so to the user, and `move: true` confirms it.
    def connect(account, api_key, rfc:, razon_social:, codigo_postal:, **more)
      facts = { api_key: api_key, rfc: rfc, razon_social: razon_social, codigo_postal: codigo_postal, **more }.compact
      connection_state(:put, "/connections/#{part(account)}", body: facts, timeout: ASKING)
    end

    # Return where an account's connection stands. Raises NotThere.
    def connection(account)
      connection_state(:get, "/connections/#{part(account)}")
    end

    # Have an account's connection validated again.
    def validate(account)
      connection_state(:post, "/connections/#{part(account)}/validate", body: {}, timeout: ASKING)
    end

    # Have an account's key forgotten; its open invoices are put on hold.
    def disconnect(account)
      ask(:delete, "/connections/#{part(account)}", is_repeatable: false)
      nil
    end

    # -- events

    # Return the events that follow a cursor, in order (Page). Keep its `cursor` with what was done about them. Without
    # `after` they begin at the first. Raises NotThere for a cursor that is gone: begin without it.
    def events(after: nil, account: nil, limit: nil)
      page = object(:get, "/events", query: { after: after, account: account, limit: limit })
      Page.new(Array(page["items"]).map { |each| Event.parse(each) }, page["cursor"] || after)
    end

    # Yield events as they happen, each with its cursor, without end; a line that drops is opened again. Without `after`
    # they begin now. An event is done with when the block returns: where it raises ApiUnavailable, it comes again.
    def follow(after: nil, account: nil)
      return enum_for(:follow, after: after, account: account) unless block_given?

      loop do
        pause = PAUSES.first
        begin
          stream(after, account) do |cursor, data|
            yield Event.parse(data), cursor if data
            after = cursor
          end
        rescue ApiUnavailable => error
          pause = [PAUSES.last, error.retry_after || 0].max
        end
        @sleep.call(pause)
      end
    end

    # -- catalogues, status

    # Search one of the SAT's catalogues; return [{"key" => "G03", "name" => "Gastos en general"}].
    def catalog(name, q = nil, limit: nil)
      Array(object(:get, "/catalogs/#{part(name)}", query: { q: q, limit: limit })["items"])
    end

    # Return the names of the catalogues that there are.
    def catalogs = Array(object(:get, "/catalogs")["items"])

    # Return whether ContaDigital answers, how fast, and what waits: a Hash.
    def status = object(:get, "/status")

    private

    def act(account, external_id, verb, refused: RequestInvalid, **body)
      path = "#{path_of(account, external_id)}/#{verb}"
      state(:post, path, body: body.compact, is_repeatable: false, refused: refused)
    end

    def state(method, path, **options)
      record(InvoiceState, "external_id", method, path, **options)
    end

    def connection_state(method, path, **options)
      record(ConnectionState, "account", method, path, **options)
    end

    def record(kind, must_have, method, path, **options)
      found = object(method, path, **options)
      return kind.new(found) if found["status"].is_a?(String) && found.key?(must_have)

      raise UnexpectedAnswer.new("no #{kind.name.split('::').last}", status: 200)
    end

    def object(method, path, **options)
      answer = ask(method, path, **options)
      Http.object(answer) || raise(UnexpectedAnswer.new("no JSON object", status: answer.code.to_i))
    end

    def ask(method, path, body: nil, is_repeatable: true, **options, &block)
      text = body.nil? ? nil : json(body)
      repeating(is_repeatable) { @http.call(method.to_s.upcase, path, body: text, **options, &block) }
    end

    # Do it again while that is harmless and may help.
    def repeating(is_repeatable)
      tries = 0
      begin
        yield
      rescue ApiUnavailable => error
        raise if tries >= @retries || (error.may_be_done? && !is_repeatable)

        pause = [PAUSES[[tries, PAUSES.size - 1].min], error.retry_after || 0].max
        raise if pause > LONGEST_PAUSE

        tries += 1
        @sleep.call(pause)
        retry
      end
    end

    # Return a document, once it is known to be whole.
    def downloaded(path, sha256)
      repeating(true) do
        bytes = String.new(encoding: Encoding::BINARY)
        receive(path, sha256) { |_, piece| bytes << piece }
        bytes
      end
    end

    # Write a document to where the block says, given its answer; return the path.
    def saved(path, sha256)
      repeating(true) do
        target = part_file = file = nil
        begin
          receive(path, sha256) do |answer, piece|
            unless file
              target = yield answer
              part_file = File.join(File.dirname(target), ".#{File.basename(target)}.#{SecureRandom.hex(4)}.part")
              file = File.new(part_file, File::WRONLY | File::CREAT | File::EXCL | File::BINARY)
            end
            file.write(piece)
          end
          file.close
          File.rename(part_file, target)
          target
        ensure
          file&.close
          File.unlink(part_file) if part_file && File.exist?(part_file)
        end
      end
    end

    # Yield a document's answer and pieces; raise where it is not what its hash says, or nothing says its hash.
    def receive(path, sha256)
      digest, expected, size = Digest::SHA256.new, sha256, 0
      @http.call("GET", path, headers: { "Accept" => "*/*" }) do |answer, piece|
        expected ||= answer["etag"].to_s[/\A(?:W\/)?"?(\h{64})"?\z/, 1]
        digest << piece
        size += piece.bytesize
        yield answer, piece
      end
      raise ApiUnavailable, "the document came empty" if size.zero?
      raise UnexpectedAnswer.new("a document whose SHA-256 nothing says", status: 200) if expected.nil?
      return if digest.hexdigest == expected.downcase

      raise ApiUnavailable, "the document came broken: its SHA-256 is another"
    end

    # Return the file name that an answer gives, without any folder; nil where it gives none.
    def name_of(answer)
      name = File.basename(answer["content-disposition"].to_s[/filename="([^"]+)"/, 1].to_s.tr("\\", "/"))
      name unless ["", ".", "..", "/"].include?(name)
    end

    # Yield (cursor, data) of the server-sent events of one connection. The first has no data: where the line begins.
    def stream(after, account)
      headers = { "Accept" => "text/event-stream" }
      headers["Last-Event-ID"] = after if after
      rest, cursor, data = String.new(encoding: Encoding::BINARY), after, []
      @http.call("GET", "/events", query: { account: account }, headers: headers, timeout: SILENCE) do |_, piece|
        rest << piece
        while (line = rest.slice!(/\A[^\n]*\n/))
          name, value = line.force_encoding(Encoding::UTF_8).chomp.split(":", 2)
          value = value.to_s.delete_prefix(" ")
          if name.nil?
            yield cursor, (data.join("\n") if data.any?)
            data = []
          elsif name == "id" then cursor = value
          elsif name == "data" then data << value
          end
        end
      end
    end

    def path_of(account, external_id) = "/invoices/#{part(account)}/#{part(external_id)}"

    # Return a name as one segment of a path.
    def part(name)
      text = name.to_s
      raise ArgumentError, "an id that is empty, or dots alone, has no address" if text.strip.empty? || text.match?(/\A\.+\z/)

      URI.encode_www_form_component(text).gsub("+", "%20")
    end

    def json(body)
      JSON.generate(plain(body))
    rescue JSON::GeneratorError, Encoding::UndefinedConversionError => error
      raise ArgumentError, "this is no JSON: #{error.message}"
    end

    # Return a value as JSON has it: amounts as texts with all their decimals, instants as RFC 3339.
    def plain(value)
      case value
      when Hash then value.to_h { |name, each| [name.to_s, plain(each)] }
      when Array then value.map { |each| plain(each) }
      when String, Numeric, true, false, nil
        value.is_a?(Numeric) && !value.is_a?(Integer) && !value.is_a?(Float) ? decimal(value) : value
      when Symbol then value.to_s
      else
        return value.iso8601 if value.respond_to?(:iso8601)
        raise ArgumentError, "#{value.class} has no place in an invoice" unless value.respond_to?(:to_h)

        plain(value.to_h)
      end
    end

    def decimal(value)
      value.respond_to?(:exponent) ? value.to_s("F") : raise(ArgumentError, "a #{value.class} is no amount: Timbrado.amount")
    end

    def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end
end
