# frozen_string_literal: true

# Apunto, as small as docs/connect-rails.md needs it: its own tables and pages, the page's files (ARGV[0]), and a server
# on port ARGV[1]. Under Rails' own ActiveRecord, ActionController and routes; Turbo alone is played.

require "logger"
require "json"
require "pathname"
require "socket"
require "active_record"
require "action_controller"
require "rack/mock"

FILES = Pathname.new(ARGV.fetch(0))
LOG = Logger.new(FILES.join("rails.log"))
BROADCASTS = []

ActiveRecord::Base.establish_connection(adapter: "sqlite3", database: ":memory:")
ActiveRecord::Migration.verbose = false
[ActionController::Base, ActionController::API].each { |each| each.logger = LOG }
ActionController::Base.append_view_path(FILES.join("app/views").to_s)

ActiveRecord::Schema.define do
  create_table(:accounts, id: :string) { |t| t.string :rfc, :legal_name, :postal_code }
  create_table(:contacts) { |t| t.string :identification, :legal_name, :postal_code, :regimen_fiscal }
  create_table(:invoices, id: :string) do |t|
    t.string :account_id, :payment_method_code, :payment_type_code, :cfdi_use_code, :currency_code
    t.integer :contact_id
    t.decimal :exchange_rate, :subtotal, :total
  end
  create_table(:line_items) do |t|
    t.string :invoice_id, :sat_product_code, :sat_unit_code, :name, :description
    t.decimal :quantity, :price, :iva_rate, :iva_withheld
  end
end

class ApplicationRecord < ActiveRecord::Base
  self.abstract_class = true

  # Turbo's
  def broadcast_replace_to(*of) = BROADCASTS << of.map { |each| [each.class.name, each.status] }
end

class Account < ApplicationRecord
  has_many :invoices
end

class Contact < ApplicationRecord; end

class LineItem < ApplicationRecord; end

class Invoice < ApplicationRecord
  belongs_to :account
  belongs_to :contact
  has_many :line_items
end

class ApplicationController < ActionController::Base
  def current_account = Account.find(request.headers["X-Account"]) # who is logged in
end

# Apunto's page of an invoice, and what a test sets up
class ApuntoController < ApplicationController
  def show
    row = TimbradoInvoice.find_by(account: current_account.id, external_id: params[:id])
    row ? render(partial: row, content_type: "text/html") : head(:no_content)
  end

  def create
    given = JSON.parse(request.raw_post)
    account = Account.find_or_create_by!(given.fetch("account"))
    contact = Contact.create!(given.fetch("contact"))
    invoice = account.invoices.create!(given.fetch("invoice").merge(contact: contact))
    given.fetch("lines").each { |line| invoice.line_items.create!(line) }
    render json: { contact: contact.id }
  end

  def correct
    Contact.find(params[:id]).update!(JSON.parse(request.raw_post))
    head :no_content
  end

  def broadcasts = render(json: BROADCASTS)

  # Forget every row, and have the follower make them anew from the events that follow the first one
  def follow
    TimbradoInvoice.delete_all
    first = TIMBRADO.events(limit: 1).cursor
    left = TIMBRADO.events(after: first, limit: 500).events.size
    catch(:all) { TimbradoFollower.run(Cursor.new(first, left)) }
    render json: TimbradoInvoice.pluck(:account, :external_id, :status)
  end
end

# What the follower keeps its place in, until there is nothing left to follow
Cursor = Struct.new(:read, :left) do
  def exist? = true

  def write(position)
    self.read = position
    self.left -= 1
    throw :all if left.zero?
  end
end

$LOAD_PATH.unshift(File.expand_path("../../client/ruby/lib", __dir__))
ActiveSupport::Dependencies.autoload_paths = [] if ActiveSupport::Dependencies.respond_to?(:autoload_paths=)
%w[config/initializers app/models/concerns db/migrate app/models app/controllers].each do |folder|
  FILES.join(folder).glob("*.rb").sort.each { |file| require file.to_s }
end
CreateTimbradoRows.new.change

ROUTES = ActionDispatch::Routing::RouteSet.new
ROUTES.draw do
  get "/invoices/:id", to: "apunto#show"
  post "/test/invoices", to: "apunto#create"
  patch "/test/contacts/:id", to: "apunto#correct"
  get "/test/broadcasts", to: "apunto#broadcasts"
  post "/test/follow", to: "apunto#follow"
  instance_eval(FILES.join("config/routes.rb").read)
end

def answer(socket)
  method, path, = socket.gets.split
  headers = {}
  while (line = socket.gets.chomp) != ""
    name, value = line.split(": ", 2)
    headers["HTTP_#{name.upcase.tr('-', '_')}"] = value
  end
  body = socket.read(headers["HTTP_CONTENT_LENGTH"].to_i)
  env = Rack::MockRequest.env_for(path, { method: method, input: body }.merge(headers))
  env["CONTENT_TYPE"] = headers["HTTP_CONTENT_TYPE"] if headers["HTTP_CONTENT_TYPE"]
  status, given, pieces = ROUTES.call(env)
  text = +""
  pieces.each { |piece| text << piece }
  [status, given, text]
rescue StandardError => error
  LOG.error(error.full_message(highlight: false))
  [500, {}, error.message]
end

server = TCPServer.new("127.0.0.1", Integer(ARGV.fetch(1)))
$stdout.puts "ready"
$stdout.flush
loop do
  socket = server.accept
  status, headers, body = answer(socket)
  headers = headers.merge("Content-Length" => body.bytesize, "Connection" => "close")
  socket.write("HTTP/1.1 #{status} X\r\n", headers.map { |name, value| "#{name}: #{value}\r\n" }.join, "\r\n", body)
rescue SystemCallError, IOError => error
  LOG.warn(error.message)
ensure
  socket&.close
end
