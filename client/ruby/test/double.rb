# frozen_string_literal: true

require "json"
require "socket"

# An HTTP API that answers what a test says, over a real socket: `requests` remembers what came.
class Double
  Request = Struct.new(:method, :path, :headers, :body) do
    def json = JSON.parse(body)
  end

  attr_reader :requests

  # The block gets each request and returns [status, headers, body], where a body that is no String is sent as JSON;
  # nil closes the connection without an answer, a Proc gets the socket and answers by itself.
  def initialize(&answers)
    @answers = answers
    @requests = []
    @server = TCPServer.new("127.0.0.1", 0)
    @threads = [Thread.new { accept }]
  end

  def url = "http://127.0.0.1:#{@server.addr[1]}"

  def close
    @server.close
    @threads.each(&:kill).each(&:join)
  end

  private

  def accept
    loop do
      socket = @server.accept
      @threads << Thread.new { serve(socket) }
    end
  rescue IOError
    nil # closed
  end

  def serve(socket)
    request = read(socket)
    @requests << request
    answer = @answers.call(request)
    return answer.call(socket) if answer.is_a?(Proc)

    write(socket, *answer) if answer
  rescue SystemCallError
    nil # a client that gives up is what some tests are about
  ensure
    socket.close
  end

  def read(socket)
    method, path, = socket.gets.split
    headers = {}
    while (line = socket.gets.chomp) != ""
      name, value = line.split(": ", 2)
      headers[name.downcase] = value
    end
    Request.new(method, path, headers, socket.read(headers["content-length"].to_i).force_encoding("UTF-8"))
  end

  def write(socket, status, headers, body)
    body = JSON.generate(body) unless body.is_a?(String)
    headers = { "Content-Type" => "application/json", "Content-Length" => body.bytesize, "Connection" => "close" }
              .merge(headers).compact
    socket.write("HTTP/1.1 #{status} X\r\n", headers.map { |name, value| "#{name}: #{value}\r\n" }.join, "\r\n", body)
  end
end
