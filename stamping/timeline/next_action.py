"""What happens to an invoice next, when, and who must do something for it.

Returns NOBODY only where the sweep advances the invoice by itself; a person is named only where nothing here would
ever advance it.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from timbrado_client.labels import label_of

from cfdi.faults import NOT_A_USERS, no_users
from contadigital.reasons import Words
from models.vocabulary import DUE, BrokenReason, ConnectionStatus, FailedReason, InvoiceStatus

OVERDUE = timedelta(minutes=2)
"""Past its time by this much without a claim, a process that should run does not."""
LONG_DOUBT = timedelta(hours=1)
"""A doubt this old is looked up on, and a person is named: where nothing proves that looking up works it has no other
end."""
MANY_TRIES = 30
"""Failed tries in a row, some four hours of them, after which somebody should see what keeps failing."""
LONG_OUTAGE = timedelta(hours=24)
"""An outage this long is one about which somebody should call ContaDigital."""


class Actor(StrEnum):
    """Who must act."""

    NOBODY = "nobody"
    USER = "user"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class NextStep:
    """What comes next by itself, and when; `at` None where that depends on a person, or nothing comes."""

    what: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class NextAction:
    """Who must act, why (English, for operators), what to do (the product's Spanish for a user), and with which
    commands."""

    who: Actor
    why: str
    fixes: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InvoiceSnapshot:
    """What decides: the rows of an invoice, of its connection and of its provider, as they are now."""

    row: Mapping[str, Any]
    connection: Mapping[str, Any] | None
    provider: Mapping[str, Any] | None
    broken: Words | None
    """Why its connection is broken, and who can correct it."""
    in_flight: int
    under_way: tuple[str, int] | None
    """Call and number of an attempt without an outcome."""
    asked_to_cancel: bool
    dead: int
    """Deliveries of its events that were given up."""
    quarantine: timedelta
    now: datetime
    store_fault: str | None = None
    """Why documents can't be stored now, by a worker's word of the last minute."""
    lost: tuple[str, ...] = ()
    """Kinds of its documents that are missing from the store, or changed there."""

    @property
    def status(self) -> InvoiceStatus:
        """The invoice's status."""
        return InvoiceStatus(self.row["status"])

    @property
    def is_usable(self) -> bool:
        """Whether its account's connection is active."""
        return self.connection is not None and self.connection["status"] == ConnectionStatus.ACTIVE

    @property
    def may_be_asked(self) -> bool:
        """Whether look-ups and cancellations go through its connection."""
        connection = self.connection
        return self.is_usable or (
            connection is not None and connection["reason"] == BrokenReason.STAMPS_DIFFER
        )

    @property
    def is_paused(self) -> bool:
        """Whether an operator paused the account."""
        return self.connection is not None and bool(self.connection["paused"])

    @property
    def is_long_in_doubt(self) -> bool:
        """Whether its outcome has been unknown for so long that a person is named."""
        since = self.row["doubt_since"]
        return since is not None and since <= self.now - LONG_DOUBT

    @property
    def is_overdue(self) -> bool:
        """Whether its time has passed, and no worker claimed it."""
        due = self.row["next_attempt_at"]
        return (
            due is not None
            and due < self.now - OVERDUE
            and (self.row["claimed_until"] is None or self.row["claimed_until"] < self.now - OVERDUE)
        )


def next_step(snapshot: InvoiceSnapshot) -> NextStep:
    """Return what comes next by itself."""
    row = snapshot.row
    match snapshot.status:
        case InvoiceStatus.ACCEPTED | InvoiceStatus.WAITING:
            return _before_sending(snapshot)
        case InvoiceStatus.STAMPING:
            return _under_way(snapshot)
        case InvoiceStatus.IN_DOUBT:
            return _doubt(snapshot)
        case InvoiceStatus.ON_HOLD:
            return _after_hold(snapshot)
        case InvoiceStatus.CANCELLING if row["claimed_until"] is not None:
            return NextStep("the answer of ContaDigital about its cancellation", row["claimed_until"])
        case InvoiceStatus.CANCELLING if snapshot.asked_to_cancel:
            return NextStep("ContaDigital is asked how the cancellation stands", row["next_attempt_at"])
        case InvoiceStatus.CANCELLING:
            return NextStep("its cancellation is asked for", row["next_attempt_at"])
        case InvoiceStatus.STAMPED if row["pdf_due_at"] is not None:
            return NextStep("its PDF, which was late, is asked for again", row["pdf_due_at"])
        case InvoiceStatus.STAMPED if row["mail_due_at"] is not None:
            return NextStep("ContaDigital is asked to mail the documents", row["mail_due_at"])
        case InvoiceStatus.REJECTED:
            return NextStep("nothing, until it is sent again with other data")
        case InvoiceStatus.FAILED:
            return NextStep("nothing, until a person decides")
        case InvoiceStatus.DIFFERS:
            return NextStep("nothing, until a person accepts or cancels it")
        case InvoiceStatus.STAMPED | InvoiceStatus.CANCELLED | InvoiceStatus.WITHDRAWN:
            return NextStep("nothing: it is done")


def _before_sending(snapshot: InvoiceSnapshot) -> NextStep:
    row, connection, now = snapshot.row, snapshot.connection, snapshot.now
    which = "the first try" if not row["tries"] else f"try {row['tries'] + 1}"
    if connection is not None and connection["status"] == ConnectionStatus.PENDING:
        return NextStep(f"{which}, once its connection is validated")
    if connection is None or not snapshot.is_usable:
        return NextStep("it is put on hold: its connection is not active", row["next_attempt_at"])
    if snapshot.is_paused:
        return NextStep(f"{which}, once an operator releases the account")
    if snapshot.store_fault is not None:
        return NextStep(f"{which}, once documents can be stored again")
    throttled_until = connection["throttled_until"]
    if throttled_until is not None and throttled_until > max(now, row["next_attempt_at"]):
        return NextStep(
            f"{which}, when ContaDigital may be called again for this account (HTTP 429)",
            throttled_until,
        )
    provider = snapshot.provider
    if provider is not None and provider["opened_at"] is not None:
        return NextStep(
            f"{which}, when ContaDigital answers again: one invoice at a time asks", provider["next_probe_at"]
        )
    if row["next_attempt_at"] <= now and snapshot.in_flight:
        return NextStep(
            f"{which}, when the account has a free slot ({snapshot.in_flight} under way)",
            row["next_attempt_at"],
        )
    return NextStep(which, row["next_attempt_at"])


def _under_way(snapshot: InvoiceSnapshot) -> NextStep:
    until = snapshot.row["claimed_until"]
    if snapshot.under_way is None:
        return NextStep("a worker makes it ready; its claim ends", until)
    call, number = snapshot.under_way
    return NextStep(
        f"the answer to call {number} ({call}); without one it is looked up when the claim ends", until
    )


def _doubt(snapshot: InvoiceSnapshot) -> NextStep:
    row = snapshot.row
    if row["doubt"] == "restore":
        return NextStep("nothing, until an audit finds its stamp or proves that there is none")
    number = row["lookups"] + 1
    if row["claimed_until"] is not None and row["claimed_until"] > snapshot.now:
        return NextStep("the answer to a look-up that is under way", row["claimed_until"])
    if not snapshot.is_usable:
        return NextStep("a look-up, once its connection is active again", row["next_attempt_at"])
    if snapshot.store_fault is not None:
        return NextStep(f"look-up {number}, once documents can be stored again")
    if row["record_id"] is not None and row["record_hash"] is None:
        return NextStep(
            f"look-up {number}; ContaDigital has called it stamped, so a no is never believed",
            row["next_attempt_at"],
        )
    believed_at = row["doubt_since"] + snapshot.quarantine
    rest = (
        f"a no is believed from {believed_at:%H:%M:%S} UTC, and not before"
        if believed_at > snapshot.now
        else "a no is believed now, where a look-up of a known stamp answers"
    )
    return NextStep(f"look-up {number}; {rest}", row["next_attempt_at"])


def _after_hold(snapshot: InvoiceSnapshot) -> NextStep:
    connection = snapshot.connection
    if connection is None:
        return NextStep("it goes on by itself once the account is connected")
    if connection["status"] == ConnectionStatus.ACTIVE:
        return NextStep("it goes on by itself within seconds: its connection is active again")
    if connection["next_probe_at"] is not None:
        return NextStep(
            "the connection is tried again; once it is active the invoice goes on by itself",
            connection["next_probe_at"],
        )
    return NextStep("it goes on by itself once the connection is active")


def who_must_act(snapshot: InvoiceSnapshot) -> NextAction:
    """Return who must act, and with what."""
    row = snapshot.row
    name = f"{quoted(row['account'])} {quoted(row['external_id'])}"
    if snapshot.status is InvoiceStatus.FAILED:
        return _failed(snapshot, name)
    if snapshot.status is InvoiceStatus.REJECTED:
        fixes = tuple(
            dict.fromkeys(
                f"{error.get('label') or label_of(error.get('field') or '') or 'Factura'}: "
                f"{error.get('fix') or error.get('message')}"
                for error in row["errors"]
            )
        )
        if no_users(row["errors"]):
            return NextAction(Actor.OPERATOR, "it is refused for something that no user can correct", fixes)
        return NextAction(Actor.USER, "its data is wrong: correct it and send it again", fixes)
    if snapshot.status is InvoiceStatus.DIFFERS:
        return NextAction(
            Actor.OPERATOR,
            "the CFDI exists and says something else than what was sent: accept it, or cancel it",
            commands=(f"timbrado accept {name} --reason ...", f"timbrado cancel {name} --motivo 02"),
        )
    if snapshot.status in DUE and snapshot.is_usable and snapshot.is_paused:
        account = quoted(row["account"])
        return NextAction(
            Actor.OPERATOR, "the account is paused by an operator", commands=(f"timbrado release {account}",)
        )
    if snapshot.status is InvoiceStatus.ON_HOLD and not snapshot.is_usable:
        return _without_connection(snapshot)
    if snapshot.status is InvoiceStatus.IN_DOUBT and row["doubt"] == "restore":
        return NextAction(
            Actor.OPERATOR,
            "the database was restored, and whether it was stamped since is not known: an audit says, and until then "
            "it is not sent",
            commands=(f"timbrado audit {quoted(row['account'])} FILE... --repair --reason TEXT",),
        )
    waits_for_store = (
        snapshot.status in DUE and snapshot.is_usable
    ) or snapshot.status is InvoiceStatus.IN_DOUBT
    if snapshot.store_fault is not None and waits_for_store:
        return NextAction(
            Actor.OPERATOR,
            f"documents can't be stored ({snapshot.store_fault}): make room, or make the store writable; then it goes "
            "on by itself",
            commands=("timbrado doctor",),
        )
    if snapshot.lost:
        return NextAction(
            Actor.OPERATOR,
            f"its {' and '.join(snapshot.lost)} is missing from the document store, or was changed there",
            commands=(f"timbrado documents {name} --repair",),
        )
    if snapshot.status in _LOOKED_UP and not snapshot.may_be_asked:
        return _without_connection(snapshot)
    if snapshot.is_overdue and (snapshot.is_usable or snapshot.status not in DUE) and not _waits(snapshot):
        return NextAction(
            Actor.OPERATOR,
            "it is past its time and no worker claimed it: are workers and beat running?",
            commands=("timbrado doctor",),
        )
    if snapshot.status is InvoiceStatus.IN_DOUBT and snapshot.is_long_in_doubt:
        return _long_doubt(snapshot, name)
    if snapshot.status in DUE and snapshot.is_usable:
        in_vain = _in_vain(snapshot)
        if in_vain is not None:
            return in_vain
    if snapshot.dead:
        return NextAction(
            Actor.OPERATOR,
            f"{snapshot.dead} of its events could not be delivered in three days and were given up",
            commands=(f"timbrado events list --account {quoted(row['account'])} --status dead",),
        )
    return NextAction(Actor.NOBODY, "" if snapshot.status in _DONE else "it goes on by itself")


def _in_vain(snapshot: InvoiceSnapshot) -> NextAction | None:
    """Return who must look where trying alone has not helped for long: it is tried on."""
    provider, account = snapshot.provider, quoted(snapshot.row["account"])
    opened_at = provider["opened_at"] if provider is not None else None
    if opened_at is not None:
        if opened_at > snapshot.now - LONG_OUTAGE:
            return None
        return NextAction(
            Actor.OPERATOR,
            f"ContaDigital has not answered since {opened_at:%Y-%m-%d %H:%M} UTC: ask them; one invoice at a time asks "
            "on by itself",
            commands=("timbrado doctor",),
        )
    if snapshot.row["tries"] < MANY_TRIES:
        return None
    return NextAction(
        Actor.OPERATOR,
        f"it failed {snapshot.row['tries']} times in a row, and is tried on: its last calls say why",
        commands=(f"timbrado connections {account}",),
    )


def _long_doubt(snapshot: InvoiceSnapshot, name: str) -> NextAction:
    row = snapshot.row
    return NextAction(
        Actor.OPERATOR,
        "it has been in doubt for long, and look-ups alone may never end that: look for it at ContaDigital by its "
        f"FolioOriginal {quoted(row['external_id'])}, and do not send it again before you know",
        commands=(
            f"timbrado retry {name}    (looks it up again; sends nothing)",
            f"timbrado resolve {name} --stamped XML --reason ...    (or --not-stamped)",
        ),
    )


_LOOKED_UP = frozenset({InvoiceStatus.IN_DOUBT, InvoiceStatus.CANCELLING})
_DONE = frozenset({InvoiceStatus.STAMPED, InvoiceStatus.CANCELLED, InvoiceStatus.WITHDRAWN})


def _waits(snapshot: InvoiceSnapshot) -> bool:
    """Whether it is past its time for a reason that we know: a throttle, an outage, a full account."""
    connection, provider = snapshot.connection, snapshot.provider
    if snapshot.status not in DUE or connection is None:
        return False
    throttled_until = connection["throttled_until"]
    return (
        (throttled_until is not None and throttled_until > snapshot.now)
        or (provider is not None and provider["opened_at"] is not None)
        or snapshot.in_flight > 0
    )


def _failed(snapshot: InvoiceSnapshot, name: str) -> NextAction:
    row = snapshot.row
    fixes = tuple(dict.fromkeys(error["fix"] for error in row["errors"] if error.get("fix")))
    if row["reason"] == FailedReason.EXPIRED:
        if not no_users(row["errors"]):
            return NextAction(
                Actor.USER, "the SAT's 72 hours are over, and it is certainly not stamped", fixes
            )
        return NextAction(
            Actor.OPERATOR,
            "it could not be sent for three days, and is certainly not stamped: its last calls say why",
            fixes,
            (f"timbrado connections {quoted(row['account'])}",),
        )
    folio = quoted(row["external_id"])
    commands = [f"timbrado documents {name}"]
    if row["reason"] == FailedReason.NOT_STAMPED:
        return NextAction(Actor.USER, "a person found that it is certainly not stamped: send it again", fixes)
    if row["record_id"] is not None:
        commands.append(f"timbrado retry {name}    (looks its Id {row['record_id']} up again; sends nothing)")
    commands.append(f"timbrado resolve {name} --stamped XML --reason ...    (or --not-stamped)")
    return NextAction(
        Actor.OPERATOR,
        "it cannot be known from here whether it is stamped: look for it at ContaDigital by its "
        f"FolioOriginal {folio}, and do not send it again before you know",
        fixes,
        tuple(commands),
    )


def _without_connection(snapshot: InvoiceSnapshot) -> NextAction:
    connection = snapshot.connection
    account = quoted(snapshot.row["account"])
    connect = f"timbrado connect {account}"
    if connection is None or connection["status"] == ConnectionStatus.DISCONNECTED:
        return NextAction(
            Actor.USER,
            "the account is not connected to ContaDigital",
            ("Conecta la cuenta en Apunto (Configuración > Integraciones > ContaDigital).",),
            (connect,),
        )
    if connection["status"] == ConnectionStatus.PENDING:
        return NextAction(
            Actor.NOBODY, "its connection is being validated", commands=(f"timbrado validate {account}",)
        )
    words = snapshot.broken or Words("", "")
    fixes = tuple(filter(None, (words.message, words.fix)))
    if words.whose in NOT_A_USERS:
        commands = [f"timbrado connections {account}"]
        if connection["reason"] == BrokenReason.STAMPS_DIFFER:
            commands.append(f"timbrado list --account {account} --status differs")
        return NextAction(
            Actor.OPERATOR, f"the connection is broken: {connection['reason']}", fixes, tuple(commands)
        )
    if connection["reason"] == "unreachable" and connection["next_probe_at"] is not None:
        broken_at = connection["broken_at"]
        if broken_at is None or broken_at > snapshot.now - LONG_OUTAGE:
            return NextAction(
                Actor.NOBODY, "ContaDigital cannot be reached; it is tried again by itself", fixes[:1]
            )
        return NextAction(
            Actor.OPERATOR,
            f"ContaDigital has not been reached since {broken_at:%Y-%m-%d %H:%M} UTC: ask them; it is still tried",
            fixes[:1],
            (f"timbrado validate {account}",),
        )
    return NextAction(Actor.USER, f"the connection is broken: {connection['reason']}", fixes)


def quoted(text: str) -> str:
    """Return text as a shell takes it for one word."""
    return shlex.quote(text)
