# frozen_string_literal: true

require "json"
require "net/http"
require "openssl"
require "time"
require "uri"

module Timbrado
  # The wire: one request, one connection; and what each refusal means for the caller.
  #
  # Net::HTTP's own repetition is off: what is sent again is Client's to decide. Redirects are not followed, since the
  # key would go with them.
  class Http # :nodoc:
    # What a connection that was open can fail with. Before it is open, nothing has left.
    LOST = [Net::ReadTimeout, Net::WriteTimeout, Net::ProtocolError, Net::HTTPBadResponse, IOError, SystemCallError,
            OpenSSL::SSL::SSLError, Zlib::Error].freeze
    UNOPENED = [Net::OpenTimeout, SocketError, SystemCallError, IOError, OpenSSL::SSL::SSLError].freeze
    LONGEST_WAIT = 3600 # seconds of Retry-After that are believed

    def initialize(base_url, key, timeout)
      @uri = URI.parse(base_url.to_s.chomp("/"))
      unless @uri.is_a?(URI::HTTP) && @uri.hostname && @uri.query.nil?
        raise ArgumentError, "not the address of an HTTP API: #{base_url}"
      end
      raise ArgumentError, "the API needs a key" if key.to_s.strip.empty? || key.match?(/[[:space:]]/)

      @key, @timeout = key, timeout
    rescue URI::InvalidURIError
      raise ArgumentError, "not the address of an HTTP API: #{base_url}"
    end

    # Send a request and return its answer, a Net::HTTPResponse whose body is read. With a block, its body is not kept:
    # the block gets the response and each piece of it. Raises what a refusal means; `refused` is the class of faults.
    def call(method, path, query: {}, body: nil, headers: {}, timeout: nil, refused: RequestInvalid, &block)
      request = request_for(method, path, query, body, headers)
      connection = open(timeout || @timeout, "#{method} #{path}")
      begin
        answer_of(connection, request, refused, &block)
      ensure
        connection.finish if connection.started?
      end
    end

    private

    def request_for(method, path, query, body, headers)
      query = query.compact
      target = "#{@uri.path}/v1#{path}#{"?#{URI.encode_www_form(query)}" unless query.empty?}"
      request = Net::HTTPGenericRequest.new(method, !body.nil?, true, target)
      request["Authorization"] = "Bearer #{@key}"
      request["User-Agent"] = "timbrado-ruby/#{VERSION}"
      request["Accept"] = "application/json"
      request["Accept-Encoding"] = "identity" # so that an answer that is cut short is known by its length
      headers.each { |name, value| request[name] = value }
      if body
        request["Content-Type"] = "application/json"
        request.body = body
      end
      request
    end

    def open(timeout, what)
      connection = Net::HTTP.new(@uri.hostname, @uri.port)
      connection.use_ssl = @uri.scheme == "https"
      connection.open_timeout = connection.write_timeout = [timeout, @timeout].min
      connection.read_timeout = timeout
      connection.max_retries = 0
      connection.start
    rescue *UNOPENED => error
      raise ApiUnavailable.new("#{what}: #{error.class}: #{error.message}", may_be_done: false)
    end

    def answer_of(connection, request, refused)
      in_block = false
      connection.request(request) do |answer|
        unless answer.is_a?(Net::HTTPSuccess)
          answer.read_body
          raise refusal(answer, refused)
        end
        size = 0
        if block_given?
          answer.read_body do |piece|
            size += piece.bytesize
            in_block = true
            yield answer, piece
            in_block = false
          end
        else
          size = answer.read_body.to_s.bytesize
        end
        # Net::HTTP takes what is shorter for whole before Ruby 3.2
        raise EOFError if answer.content_length && answer.content_length != size
      end
    rescue *LOST => error
      raise if in_block # the caller's own: a full disk, a database that is away

      raise ApiUnavailable, "#{request.method} #{request.path}: #{error.class}"
    end

    def refusal(answer, refused)
      status, problem = answer.code.to_i, Http.object(answer) || {}
      code = problem["type"].to_s[/\Aurn:timbrado:problem:(.+)\z/, 1]
      text = problem["detail"] || problem["title"] || answer.message
      wait = retry_after(answer["retry-after"])
      case status
      when 401, 403 then KeyRefused.new(text, status: status)
      when 404, 410 then NotThere.new(text, retry_after: wait, code: code, text: problem["message"])
      when 429 then ApiUnavailable.new("HTTP 429: #{text}", retry_after: wait, may_be_done: false)
      when 500.. then ApiUnavailable.new("HTTP #{status}: #{text}", retry_after: wait)
      else refusal_of_faults(status, problem, text, status == 409 ? Conflict : refused)
      end
    end

    def refusal_of_faults(status, problem, text, kind)
      faults, warnings = %w[errors warnings].map { |name| Array(problem[name]).grep(Hash).map { |each| Fault.new(each) } }
      return UnexpectedAnswer.new(text, status: status) if faults.empty? && kind != Conflict

      invoice = problem["invoice"].is_a?(Hash) ? InvoiceState.new(problem["invoice"]) : nil
      kind.new(text, faults: faults, warnings: warnings, invoice: invoice)
    end

    # Return the seconds of Retry-After; nil where it says nothing.
    def retry_after(text)
      return if text.nil?
      return [text.to_i, LONGEST_WAIT].min if text.match?(/\A\d+\z/)

      (Time.httpdate(text) - Time.now).clamp(0, LONGEST_WAIT)
    rescue ArgumentError
      nil
    end

    # Return the JSON object of an answer, or nil.
    def self.object(answer)
      found = JSON.parse(answer.body.to_s.dup.force_encoding(Encoding::UTF_8))
      found if found.is_a?(Hash)
    rescue JSON::ParserError
      nil
    end
  end
end
