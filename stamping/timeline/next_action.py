"""Whose turn it is: what happens to an invoice next, when, and who must do something for it.

The one thing a newcomer would get wrong: "nobody" is the usual answer, and it is a promise. Wherever it is given, the
sweep brings the invoice on by itself; a person is named only where nothing here would ever move it again.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from models.vocabulary import DUE, ConnectionStatus, FailedReason, InvoiceStatus

OVERDUE = timedelta(minutes=2)
"""Past its time by this much with nobody at work on it, something that should run does not."""
SOON = timedelta(hours=24)
"""Of the 72 hours: with less left, whoever can help should hurry."""


class Actor(StrEnum):
    """Who must act."""

    NOBODY = "nobody"
    USER = "user"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Step:
    """What comes next by itself, and when; `at` None where that depends on somebody, or nothing comes."""

    what: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Act:
    """Who must act, why (English, for operators), what to do (the product's Spanish for a user), and with which
    commands."""

    who: Actor
    why: str
    fixes: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """What decides: the rows of an invoice, of its connection and of its provider, as they are now."""

    row: Mapping[str, Any]
    connection: Mapping[str, Any] | None
    provider: Mapping[str, Any] | None
    words: tuple[str, str] | None
    """(message, fix) of a broken connection."""
    in_flight: int
    under_way: tuple[str, int] | None
    """Call and number of an attempt without an outcome."""
    asked_to_cancel: bool
    dead: int
    """Deliveries of its notices that were given up."""
    quarantine: timedelta
    now: datetime

    @property
    def status(self) -> InvoiceStatus:
        """Where the invoice stands."""
        return InvoiceStatus(self.row["status"])

    @property
    def is_usable(self) -> bool:
        """Whether its account's connection is active."""
        return self.connection is not None and self.connection["status"] == ConnectionStatus.ACTIVE

    @property
    def is_held(self) -> bool:
        """Whether an operator holds the account."""
        return self.connection is not None and bool(self.connection["paused"])

    @property
    def is_overdue(self) -> bool:
        """Whether its time has passed, and nobody took it."""
        due = self.row["next_attempt_at"]
        return (
            due is not None
            and due < self.now - OVERDUE
            and (self.row["claimed_until"] is None or self.row["claimed_until"] < self.now - OVERDUE)
        )


def next_step(standing: Standing) -> Step:
    """Say what comes next by itself."""
    row = standing.row
    match standing.status:
        case InvoiceStatus.ACCEPTED | InvoiceStatus.WAITING:
            return _before_sending(standing)
        case InvoiceStatus.STAMPING:
            return _under_way(standing)
        case InvoiceStatus.IN_DOUBT:
            return _doubt(standing)
        case InvoiceStatus.ON_HOLD:
            return _held(standing)
        case InvoiceStatus.CANCELLING if row["claimed_until"] is not None:
            return Step("the answer of ContaDigital about its cancellation", row["claimed_until"])
        case InvoiceStatus.CANCELLING if standing.asked_to_cancel:
            return Step("ContaDigital is asked how the cancellation stands", row["next_attempt_at"])
        case InvoiceStatus.CANCELLING:
            return Step("its cancellation is asked for", row["next_attempt_at"])
        case InvoiceStatus.STAMPED if row["pdf_due_at"] is not None:
            return Step("its PDF, which was late, is asked for again", row["pdf_due_at"])
        case InvoiceStatus.STAMPED if row["mail_due_at"] is not None:
            return Step("ContaDigital is asked to mail the documents", row["mail_due_at"])
        case InvoiceStatus.REJECTED:
            return Step("nothing, until it is sent again with other data")
        case InvoiceStatus.FAILED:
            return Step("nothing, until a person decides")
        case InvoiceStatus.DIFFERS:
            return Step("nothing, until a person accepts or cancels it")
        case InvoiceStatus.STAMPED | InvoiceStatus.CANCELLED | InvoiceStatus.WITHDRAWN:
            return Step("nothing: it is done")


def _before_sending(standing: Standing) -> Step:
    row, connection, now = standing.row, standing.connection, standing.now
    which = "the first try" if not row["tries"] else f"try {row['tries'] + 1}"
    if connection is not None and connection["status"] == ConnectionStatus.PENDING:
        return Step(f"{which}, once its connection is validated")
    if connection is None or not standing.is_usable:
        return Step("it is put on hold: its connection is not active", row["next_attempt_at"])
    if standing.is_held:
        return Step(f"{which}, once an operator releases the account")
    tap = connection["throttled_until"]
    if tap is not None and tap > max(now, row["next_attempt_at"]):
        return Step(f"{which}, when ContaDigital may be called again for this account (it said: slower)", tap)
    provider = standing.provider
    if provider is not None and provider["opened_at"] is not None:
        return Step(
            f"{which}, when ContaDigital answers again: one invoice at a time asks", provider["next_probe_at"]
        )
    if row["next_attempt_at"] <= now and standing.in_flight:
        return Step(
            f"{which}, when the account has a free place ({standing.in_flight} under way)",
            row["next_attempt_at"],
        )
    return Step(which, row["next_attempt_at"])


def _under_way(standing: Standing) -> Step:
    until = standing.row["claimed_until"]
    if standing.under_way is None:
        return Step("a worker makes it ready; its claim ends", until)
    call, number = standing.under_way
    return Step(
        f"the answer to call {number} ({call}); without one it is looked up when the claim ends", until
    )


def _doubt(standing: Standing) -> Step:
    row = standing.row
    number = row["lookups"] + 1
    if row["claimed_until"] is not None and row["claimed_until"] > standing.now:
        return Step("the answer to a look-up that is under way", row["claimed_until"])
    if not standing.is_usable:
        return Step("a look-up, once its connection is active again", row["next_attempt_at"])
    if row["record_id"] is not None and row["record_hash"] is None:
        return Step(
            f"look-up {number}; ContaDigital has called it stamped, so a no is never believed",
            row["next_attempt_at"],
        )
    believed_at = row["doubt_since"] + standing.quarantine
    rest = (
        f"a no is believed from {believed_at:%H:%M:%S} UTC, and not before"
        if believed_at > standing.now
        else "a no is believed now, where a look-up of a known stamp answers"
    )
    return Step(f"look-up {number}; {rest}", row["next_attempt_at"])


def _held(standing: Standing) -> Step:
    connection = standing.connection
    if connection is None:
        return Step("it goes on by itself once the account is connected")
    if connection["status"] == ConnectionStatus.ACTIVE:
        return Step("it goes on by itself within seconds: its connection is active again")
    if connection["next_probe_at"] is not None:
        return Step(
            "the connection is tried again; once it is active the invoice goes on by itself",
            connection["next_probe_at"],
        )
    return Step("it goes on by itself once the connection is active")


def who_acts(standing: Standing) -> Act:
    """Say who must act, and with what."""
    row = standing.row
    name = f"{quoted(row['account'])} {quoted(row['external_id'])}"
    if standing.status is InvoiceStatus.FAILED:
        return _failed(standing, name)
    if standing.status is InvoiceStatus.REJECTED:
        fixes = tuple(
            dict.fromkeys(
                f"{error.get('field') or 'factura'}: {error.get('fix') or error.get('message')}"
                for error in row["errors"]
            )
        )
        return Act(Actor.USER, "its data is wrong: correct it and send it again", fixes)
    if standing.status in DUE and standing.is_usable and standing.is_held:
        account = quoted(row["account"])
        return Act(
            Actor.OPERATOR, "the account is held by an operator", commands=(f"timbrado release {account}",)
        )
    if standing.status is InvoiceStatus.ON_HOLD and not standing.is_usable:
        return _on_hold(standing)
    if standing.is_overdue and (standing.is_usable or standing.status not in DUE) and not _waits(standing):
        return Act(
            Actor.OPERATOR,
            "it is past its time and nobody took it: are workers and beat running?",
            commands=("timbrado doctor",),
        )
    if standing.dead:
        return Act(
            Actor.OPERATOR,
            f"{standing.dead} of its notices could not be delivered in three days and were given up",
            commands=(f"timbrado events list --account {quoted(row['account'])} --status dead",),
        )
    return Act(Actor.NOBODY, "" if standing.status in _DONE else "it goes on by itself")


_DONE = frozenset({InvoiceStatus.STAMPED, InvoiceStatus.CANCELLED})


def _waits(standing: Standing) -> bool:
    """Whether it is past its time for a reason that we know: a closed tap, an outage, a full account."""
    connection, provider = standing.connection, standing.provider
    if standing.status not in DUE or connection is None:
        return standing.status is InvoiceStatus.IN_DOUBT and not standing.is_usable
    tap = connection["throttled_until"]
    return (
        (tap is not None and tap > standing.now)
        or (provider is not None and provider["opened_at"] is not None)
        or standing.in_flight > 0
    )


def _failed(standing: Standing, name: str) -> Act:
    row = standing.row
    fixes = tuple(dict.fromkeys(error["fix"] for error in row["errors"] if error.get("fix")))
    if row["reason"] == FailedReason.EXPIRED:
        return Act(Actor.USER, "the SAT's 72 hours are over, and it is certainly not stamped", fixes)
    folio = quoted(row["external_id"])
    commands = [f"timbrado documents {name}"]
    if row["record_id"] is not None:
        commands.append(f"timbrado retry {name}    (looks its Id {row['record_id']} up again; sends nothing)")
    return Act(
        Actor.OPERATOR,
        "nobody can tell from here whether it is stamped: look for it at ContaDigital by its "
        f"FolioOriginal {folio}, and do not send it again before you know",
        fixes,
        tuple(commands),
    )


def _on_hold(standing: Standing) -> Act:
    connection = standing.connection
    account = quoted(standing.row["account"])
    connect = f"timbrado connect {account}"
    if connection is None or connection["status"] == ConnectionStatus.DISCONNECTED:
        return Act(
            Actor.USER,
            "the account is not connected to ContaDigital",
            ("Conecta la cuenta en Apunto (Configuración > Integraciones > ContaDigital).",),
            (connect,),
        )
    if connection["status"] == ConnectionStatus.PENDING:
        return Act(
            Actor.NOBODY, "its connection is being validated", commands=(f"timbrado validate {account}",)
        )
    why, fix = standing.words or ("", "")
    if connection["reason"] == "unreachable" and connection["next_probe_at"] is not None:
        return Act(Actor.NOBODY, "ContaDigital cannot be reached; it is tried again by itself", (why,))
    return Act(
        Actor.USER, f"the connection is broken: {connection['reason']}", tuple(filter(None, (why, fix)))
    )


def quoted(text: str) -> str:
    """Return text as a shell takes it for one word."""
    return shlex.quote(text)
