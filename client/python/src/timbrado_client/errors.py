"""What can go wrong on the application's side.

TimbradoError
├── RequestInvalid       it would be refused: correct what `faults` say, then send it again
│   └── InvoiceInvalid   the same, of an invoice
├── BrokerUnavailable    perhaps not sent: send it again, twice is harmless
├── ApiUnavailable       the HTTP API did not answer, or not now: send the same again after `retry_after`
├── KeyRefused           the HTTP API's key is wrong, or may not do that: see to the key
├── NotThere             no such invoice or connection; or a document that is late: look again after `retry_after`
├── StillOpen            `wait` (in `http`) ended before the invoice did: read it later, nothing is lost
├── UnexpectedAnswer     an answer that the contract does not have: log it for a developer
├── VerificationFailed   a webhook whose sender is not the worker: answer 400 and do nothing
└── EventUnreadable      signed, but no event of the contract: answer 400 and log it for a developer

A wrong setting (a key that is no Fernet key, a secret that is none) is a ValueError where it is given.
"""

from collections.abc import Sequence

from timbrado_client.faults import Fault


class TimbradoError(Exception):
    """The root: everything that this package raises on purpose at run time."""


class RequestInvalid(TimbradoError):
    """A request that would be refused, or was; nothing is done. `faults` is everything that is wrong with it."""

    def __init__(self, faults: Sequence[Fault], warnings: Sequence[Fault] = ()) -> None:
        self.faults, self.warnings = tuple(faults), tuple(warnings)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class InvoiceInvalid(RequestInvalid):
    """An invoice that is refused: for its shape before it is sent, over HTTP for everything at once."""


class BrokerUnavailable(TimbradoError):
    """The broker did not confirm a message: it may or may not have it.

    Send the same again later: the pair (account, external_id) makes a repetition harmless. What must not depend
    on the broker at all goes through `submit_in`. The broker's own error is `__cause__`.
    """

    def __init__(self, task: str, account: str, external_id: str | None, tries: int) -> None:
        self.task, self.account, self.external_id, self.tries = task, account, external_id, tries
        what = f"{account}/{external_id}" if external_id else account
        super().__init__(
            f"{task} for {what} may not have been sent: the broker did not answer ({tries} tries). "
            "Send it again later; sending twice is harmless."
        )


class ApiUnavailable(TimbradoError):
    """The HTTP API did not answer, or answered that it cannot now; what was sent may have been done."""

    def __init__(self, text: str, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        """Seconds, where it said so."""
        super().__init__(text)


class KeyRefused(TimbradoError):
    """The key is unknown or revoked (401), or lacks the scope or the account (403)."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        super().__init__(text)


class NotThere(TimbradoError):
    """There is none; a document that is on its way says in `retry_after` when to look again."""

    def __init__(self, detail: str, retry_after: float | None = None, text: str | None = None) -> None:
        self.retry_after = retry_after
        """Seconds; None where waiting does not help."""
        self.text = text
        """What a user may read of it, in Spanish; None where there is nothing."""
        super().__init__(detail)


class UnexpectedAnswer(TimbradoError):
    """The HTTP API answered something that is not in the contract."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        super().__init__(f"HTTP {status}: {text}")


class VerificationFailed(TimbradoError):
    """A webhook whose signature does not hold. `reason` is `headers`, `too_old`, `too_new` or `signature`."""

    def __init__(self, reason: str, text: str) -> None:
        self.reason = reason
        super().__init__(text)


class EventUnreadable(TimbradoError, ValueError):
    """It is not an event of the contract; the text says what is missing."""
