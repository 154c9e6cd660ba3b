"""What a failed call means is one table: each class of error has one row, and says the same to every caller."""

import pytest

from contadigital import errors
from contadigital.errors import (
    AlreadyStamped,
    AnswerLost,
    ConnectionRefused,
    ContaDigitalError,
    DocumentRejected,
    IdRefused,
    LinkRefused,
    NotSent,
    Refused,
    Throttled,
    UnknownRecord,
)
from models.vocabulary import AttemptOutcome, BrokenReason
from stamping import retries
from stamping.retries import Next
from storage import StorageUnavailable

READ: list[tuple[Exception, Next, AttemptOutcome]] = [
    (NotSent("x"), Next.AGAIN, AttemptOutcome.NOT_SENT),
    (DocumentRejected("x", faults=()), Next.REFUSE, AttemptOutcome.REFUSED),
    (ConnectionRefused("key_rejected", "x"), Next.HOLD, AttemptOutcome.REFUSED),
    (IdRefused("customer", "x"), Next.LEARN_AGAIN, AttemptOutcome.REFUSED),
    (Throttled("x"), Next.SLOW_DOWN, AttemptOutcome.REFUSED),
    (AlreadyStamped("x", record=None), Next.ADOPT, AttemptOutcome.LOST),
    (UnknownRecord("x"), Next.GONE, AttemptOutcome.REFUSED),
    (LinkRefused("x"), Next.REFUSE, AttemptOutcome.REFUSED),
    (Refused("x"), Next.REFUSE, AttemptOutcome.REFUSED),
    (AnswerLost("x"), Next.LOOK_UP, AttemptOutcome.LOST),
    (AnswerLost("x", http_status=503), Next.LOOK_UP, AttemptOutcome.LOST),
    (AnswerLost("x", http_status=200), Next.LOOK_UP, AttemptOutcome.UNUSABLE),
    (AnswerLost("x", http_status=500), Next.LOOK_UP, AttemptOutcome.UNUSABLE),
    (StorageUnavailable("put", "no room"), Next.LOOK_UP, AttemptOutcome.LOST),
]


@pytest.mark.parametrize(("error", "following", "outcome"), READ, ids=lambda each: str(each)[:20])
def test_a_failed_call_is_read_in_one_way(error: Exception, following: Next, outcome: AttemptOutcome) -> None:
    """What comes next and how the attempt ended follow from the error's class alone."""
    read = retries.decide(error)

    assert (read.next, read.outcome) == (following, outcome)


def test_every_class_of_error_is_read() -> None:
    """Whoever adds a class to the tree says what comes next; a refused token never leaves the client."""
    tree = {
        each
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, ContaDigitalError)
    }

    assert tree - {ContaDigitalError, errors.TokenRefused} == {
        type(error) for error, *_ in READ if isinstance(error, ContaDigitalError)
    }


def test_only_a_refused_connection_breaks_one() -> None:
    """It says why, in the contract's word, and what its owner reads."""
    broken = [retries.decide(error).breaks for error, *_ in READ]

    (reason, detail) = next(each for each in broken if each is not None)
    assert len([each for each in broken if each is not None]) == 1
    assert reason is BrokenReason.KEY_REJECTED
    assert detail["fix"]
