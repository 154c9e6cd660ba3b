# frozen_string_literal: true

# What can go wrong, cut by what the caller does next:
#
#     Timbrado::Error
#     ├── RequestInvalid       correct what `faults` say, then send it again
#     │   ├── InvoiceInvalid   the same, of an invoice; `invoice` is where it stands, once it is stored
#     │   └── Conflict         its state does not allow that: read it and show its `faults`; never send it again as it is
#     ├── ApiUnavailable       no answer, or not now: do the same again after `retry_after`. Before doing anything else
#     │                        than the same, look what became of it where `may_be_done?`
#     ├── KeyRefused           the API's key is wrong or may not do that: see to the key
#     ├── NotThere             no such thing; or a document that is late: look again after `retry_after`
#     ├── StillOpen            `wait` ended before the invoice did: read it later, nothing is lost
#     ├── UnexpectedAnswer     an answer that the contract does not have: log it for a developer
#     ├── VerificationFailed   a webhook whose sender is not timbrado: answer 400 and do nothing
#     └── EventUnreadable      signed, but no event of the contract: answer 400 and log it for a developer
#
# A wrong setting or argument (an address that is none, a secret that is none, an empty id) is an ArgumentError.
module Timbrado
  class Error < StandardError; end

  # A request that is refused; nothing is done. `faults` is everything that is wrong with it.
  class RequestInvalid < Error
    # Timbrado::Fault each; warnings are what looks wrong and stands in nobody's way
    attr_reader :faults, :warnings
    # Where the invoice stands (Timbrado::InvoiceState), where the answer says it; nil otherwise
    attr_reader :invoice

    def initialize(message, faults: [], warnings: [], invoice: nil)
      @faults, @warnings, @invoice = faults, warnings, invoice
      super(faults.empty? ? message : faults.join("\n"))
    end
  end

  class InvoiceInvalid < RequestInvalid; end

  class Conflict < RequestInvalid; end

  # The API did not answer, or answered that it cannot now.
  class ApiUnavailable < Error
    # Seconds, where the answer says so
    attr_reader :retry_after

    def initialize(message, retry_after: nil, may_be_done: true)
      @retry_after, @may_be_done = retry_after, may_be_done
      super(message)
    end

    # Whether it may have been done all the same: false where it never left this machine.
    def may_be_done? = @may_be_done
  end

  # The key is unknown, expired or revoked (401), or lacks the scope or the account (403).
  class KeyRefused < Error
    attr_reader :status

    def initialize(message, status:)
      @status = status
      super(message)
    end
  end

  # There is none; one that is on its way says in `retry_after` when to look again.
  class NotThere < Error
    # Seconds; nil where waiting does not help
    attr_reader :retry_after
    # The problem's code: not_found, no_document, not_stamped, document_late, link_expired, cursor_gone
    attr_reader :code
    # What a user may read of it, in Spanish; nil where there is nothing. `message` is English, for developers.
    attr_reader :text

    def initialize(message, retry_after: nil, code: nil, text: nil)
      @retry_after, @code, @text = retry_after, code, text
      super(message)
    end
  end

  class StillOpen < Error
    # Where it stood when it was last read; nil where it never was
    attr_reader :state

    def initialize(account, external_id, state)
      @state = state
      super("#{account}/#{external_id} is still #{state ? state.status : 'unknown'}")
    end
  end

  class UnexpectedAnswer < Error
    attr_reader :status

    def initialize(message, status:)
      @status = status
      super("HTTP #{status}: #{message}")
    end
  end

  class VerificationFailed < Error
    # :headers, :too_old, :too_new or :signature
    attr_reader :reason

    def initialize(reason, message)
      @reason = reason
      super(message)
    end
  end

  class EventUnreadable < Error; end
end
