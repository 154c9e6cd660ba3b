"""What can go wrong on the application's side.

TimbradoError
├── RequestInvalid       it would be refused: correct what `faults` say, then send it again
│   └── InvoiceInvalid   the same, of an invoice
├── BrokerUnavailable    perhaps not sent: send it again, twice is harmless
├── VerificationFailed   a webhook whose sender is not the worker: answer 400 and do nothing
└── EventUnreadable      signed, but no event of the contract: answer 400 and log it for a developer

A wrong setting (a key that is no Fernet key, a secret that is none) is a ValueError where it is given.
"""

from collections.abc import Sequence

from timbrado_client.faults import Fault


class TimbradoError(Exception):
    """The root: everything that this package raises on purpose at run time."""


class RequestInvalid(TimbradoError):
    """A request that would be refused; nothing was sent. `faults` is everything that is wrong with it."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class InvoiceInvalid(RequestInvalid):
    """An invoice that has not the shape of the contract; nothing was sent."""


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


class VerificationFailed(TimbradoError):
    """A webhook whose signature does not hold. `reason` is `headers`, `too_old`, `too_new` or `signature`."""

    def __init__(self, reason: str, text: str) -> None:
        self.reason = reason
        super().__init__(text)


class EventUnreadable(TimbradoError, ValueError):
    """It is not an event of the contract; the text says what is missing."""
