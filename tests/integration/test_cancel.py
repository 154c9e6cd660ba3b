"""Cancelling before the SAT: asked for once, looked up when the answer is lost, reported only when it is true."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from models.tables import invoices
from stamping import reconcile
from stamping.cancellation import cancel, reasons
from stamping.cancellation import replace as replace_invoice
from stamping.connections import suspend
from stamping.failpoints import Failpoints
from stamping.followups import late_pdf, mail
from stamping.intake import operator_retry, submit, withdraw
from storage import StorageUnavailable
from tests.support.builders import an_invoice
from tests.support.harness import Harness, open_harness, sweep

OTHER_UUID = "11111111-2222-3333-4444-555555555555"


@dataclass
class Canceller:
    """A harness, and what one does at it to cancel."""

    harness: Harness

    def ask(self, external_id: str = "OP-1", motivo: Any = "02", sustitucion: Any = None) -> UUID | None:
        harness = self.harness
        return cancel.request(harness.account, external_id, motivo, sustitucion, harness.tools)

    def step(self, invoice_id: UUID) -> None:
        """Take the cancellation a step on, whenever that is due."""
        wait = self.harness.row(invoice_id).next_attempt_at - self.harness.tools.clock.now()
        if wait > timedelta():
            self.harness.later(seconds=wait.total_seconds() + 0.01)
        cancel.settle_cancellation(invoice_id, self.harness.tools)

    def step_until(self, invoice_id: UUID, status: str, most: int = 60) -> int:
        for count in range(1, most + 1):
            self.step(invoice_id)
            if self.harness.row(invoice_id).status == status:
                return count
        raise AssertionError(f"still {self.harness.row(invoice_id).status} after {most} steps")

    def cancelled(self, external_id: str = "OP-1", motivo: str = "02", **more: Any) -> UUID:
        invoice_id = self.ask(external_id, motivo, **more)
        assert invoice_id is not None
        self.step_until(invoice_id, "cancelled", most=3)
        return invoice_id

    def requests(self) -> int:
        """How many DELETE calls reached ContaDigital, whatever came of them."""
        calls = self.harness.sandbox.ledger(self.harness.account)["calls"]
        results = calls.get(self.harness.account, {}).get("cancel", {})
        return sum(
            times
            for result, times in results.items()
            if not result.startswith("fault:") or "before" in result
        )

    def emitted(self, invoice_id: UUID) -> list[tuple[str, str]]:
        """Type and status of each event since the stamp."""
        rows = self.harness.all(
            "SELECT type, data FROM events WHERE subject_id = :id ORDER BY version", id=invoice_id
        )
        emitted = [(row.type, row.data["status"]) for row in rows]
        return emitted[emitted.index(("invoice.stamped", "stamped")) + 1 :]

    def last(self, invoice_id: UUID) -> Any:
        return self.harness.all(
            "SELECT data FROM events WHERE subject_id = :id ORDER BY version DESC LIMIT 1", id=invoice_id
        )[0].data

    def swap_record(self, ours: UUID, other: UUID) -> None:
        """From now on our Id is another invoice's, as after a move to another address of ContaDigital's."""
        with self.harness.tools.engine.begin() as db:
            db.execute(
                sa.update(invoices)
                .where(invoices.c.id == ours)
                .values(record_id=self.harness.row(other).record_id)
            )

    def acuses(self, invoice_id: UUID) -> list[Any]:
        return self.harness.all(
            "SELECT * FROM documents WHERE invoice_id = :id AND kind = 'acuse' ORDER BY id", id=invoice_id
        )

    def behave(self, **behaviour: Any) -> None:
        self.harness.sandbox.change(self.harness.account, behaviour=behaviour)

    def receptor(self, invoice_id: UUID, state: str) -> None:
        """The receptor answers: cancelled (he accepts) or refused."""
        record = self.harness.row(invoice_id).record_id
        self.harness.sandbox.control(
            "POST", f"/accounts/{self.harness.account}/records/{record}/cancellation", {"state": state}
        )


@pytest.fixture
def canceller(database: str, sandbox: Any) -> Iterator[Canceller]:
    with open_harness(database, sandbox) as opened:
        yield Canceller(opened)


def substitute_of(canceller: Canceller, uuid: str, external_id: str = "NEW", relation: str = "04") -> str:
    """Stamp an invoice that is related to another one; return its folio fiscal."""
    invoice_id = canceller.harness.submit(
        external_id, cfdi_relacionados={"tipo_relacion": relation, "uuids": [uuid.lower()]}
    )
    canceller.harness.stamp(invoice_id)
    assert canceller.harness.row(invoice_id).status == "stamped", canceller.harness.row(invoice_id).errors
    return str(canceller.harness.row(invoice_id).uuid)


# --- motivos ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("motivo", ["02", "03", "04"])
def test_a_stamped_invoice_is_cancelled_and_its_acuse_kept(canceller: Canceller, motivo: str) -> None:
    """One request, the SAT's acuse stored and named in the event, and `invoice.cancelled` emitted once it is true."""
    harness = canceller.harness
    harness.stamped("OP-1")

    invoice_id = canceller.cancelled(motivo=motivo)

    row, (acuse,) = harness.row(invoice_id), canceller.acuses(invoice_id)
    assert (row.status, row.motivo, row.next_attempt_at) == ("cancelled", motivo, None)
    assert row.cancelled_at is not None
    assert b"<UUID>" + row.uuid.encode() + b"</UUID>" in harness.tools.store.get(acuse.key)
    assert canceller.emitted(invoice_id) == [("invoice.cancelled", "cancelled")]
    assert {each["kind"] for each in canceller.last(invoice_id)["documents"]} == {"xml", "pdf", "acuse"}
    assert canceller.requests() == 1
    assert harness.sandbox.ledger(harness.account)["cancelled"] == 1


def test_motivo_01_names_the_invoice_that_substitutes_it(canceller: Canceller) -> None:
    """The substitute is stamped first, related with 04; a folio fiscal in lower case is the same one."""
    harness = canceller.harness
    old = harness.row(harness.stamped("OP-1"))
    new = substitute_of(canceller, old.uuid)

    canceller.cancelled(motivo="01", sustitucion=f" {new.lower()} ")

    record = harness.sandbox.control("GET", f"/accounts/{harness.account}/records/{old.record_id}")
    assert (record["cancellation"]["motivo"], record["cancellation"]["uuid_sustitucion"]) == ("01", new)
    assert harness.row(old.id).uuid_sustitucion == new


WRONG_REQUESTS: list[tuple[str, Any, str, str, str]] = [
    ("no such motivo", "05", "none", "CANC207", "motivo"),
    ("one digit", "1", "none", "CANC207", "motivo"),
    ("a number", 2, "none", "CANC207", "motivo"),
    ("nothing", None, "none", "CANC207", "motivo"),
    ("a list", ["02"], "none", "CANC207", "motivo"),
    ("01 alone", "01", "none", "CANC208", "uuid_sustitucion"),
    ("01 with an empty one", "01", "empty", "CANC208", "uuid_sustitucion"),
    ("01 with no UUID", "01", "garbage", "CANC208", "uuid_sustitucion"),
    ("01 with a number", "01", "number", "CANC208", "uuid_sustitucion"),
    ("01 with itself", "01", "itself", "CANC208", "uuid_sustitucion"),
    ("01 with one nobody knows", "01", "unknown", "CANC208", "uuid_sustitucion"),
    ("01 with an unrelated one", "01", "unrelated", "CANC208", "uuid_sustitucion"),
    ("01 with one related by 02", "01", "related by 02", "CANC208", "uuid_sustitucion"),
    ("02 with a substitute", "02", "related by 04", "CANC209", "uuid_sustitucion"),
    ("03 with a substitute", "03", "unknown", "CANC209", "uuid_sustitucion"),
    ("04 with a substitute", "04", "itself", "CANC209", "uuid_sustitucion"),
]


def test_a_request_against_the_rules_is_refused_without_a_call(canceller: Canceller) -> None:
    """The invoice stays stamped, the user reads which field is wrong and how to fix it."""
    harness = canceller.harness
    old = harness.row(harness.stamped("OP-1"))
    substitutes: dict[str, Any] = {
        "none": None,
        "empty": "  ",
        "garbage": "ABC",
        "number": 7,
        "itself": old.uuid,
        "unknown": OTHER_UUID,
        "unrelated": harness.row(harness.stamped("OTHER")).uuid,
        "related by 02": substitute_of(canceller, old.uuid, "NEW-02", relation="02"),
        "related by 04": substitute_of(canceller, old.uuid, "NEW-04", relation="04"),
    }

    for name, motivo, which, code, field in WRONG_REQUESTS:
        assert canceller.ask("OP-1", motivo, substitutes[which]) is None, name
        emitted = canceller.last(old.id)
        assert [(error["code"], error["field"]) for error in emitted["errors"]] == [(code, field)], name
        assert emitted["errors"][0]["message"], name
        assert emitted["errors"][0]["fix"], name
        assert "no se canceló" in emitted["message"], name
        assert "None" not in str(emitted["errors"]), name

    assert harness.row(old.id).status == "stamped"
    assert len(canceller.emitted(old.id)) == len(WRONG_REQUESTS)
    assert canceller.requests() == 0


def test_a_substitute_that_was_cancelled_substitutes_nothing(canceller: Canceller) -> None:
    """It must stand when the old one falls, or nothing would be left of the sale."""
    harness = canceller.harness
    old = harness.row(harness.stamped("OP-1"))
    new = substitute_of(canceller, old.uuid)
    canceller.cancelled("NEW")

    assert canceller.ask("OP-1", "01", new) is None

    assert canceller.last(old.id)["errors"][0]["code"] == "CANC208"
    assert harness.row(old.id).status == "stamped"


def test_the_substitute_must_be_of_the_same_account(
    canceller: Canceller, database: str, sandbox: Any
) -> None:
    """Another emisor's invoice can't take the place of this one, even when it says that it does."""
    old = canceller.harness.row(canceller.harness.stamped("OP-1"))
    with open_harness(database, sandbox) as beside:
        new = substitute_of(Canceller(beside), old.uuid)

    assert canceller.ask("OP-1", "01", new) is None

    assert canceller.last(old.id)["errors"][0]["code"] == "CANC208"


# --- requested is not cancelled --------------------------------------------------------------------------------------


def test_a_request_that_waits_for_the_receptor_is_reported_and_then_followed_to_its_end(
    canceller: Canceller,
) -> None:
    """The invoice stays in force until he accepts; it is asked for once, and looked up ever less often."""
    harness = canceller.harness
    canceller.behave(acceptance="always")
    invoice_id = harness.stamped("OP-1")
    assert canceller.ask() == invoice_id

    for _ in range(4):
        canceller.step(invoice_id)
    assert harness.row(invoice_id).status == "cancelling"
    assert canceller.emitted(invoice_id) == [("invoice.stamped", "cancelling")]
    assert "tres días hábiles" in canceller.last(invoice_id)["message"]
    canceller.receptor(invoice_id, "cancelled")
    canceller.step_until(invoice_id, "cancelled", most=1)

    assert canceller.emitted(invoice_id)[1:] == [("invoice.cancelled", "cancelled")]
    assert len(canceller.acuses(invoice_id)) == 1
    assert canceller.requests() == 1


def test_a_receptor_who_says_nothing_has_accepted(canceller: Canceller) -> None:
    """His time over, it is cancelled ("plazo vencido"); a day of waiting takes some thirty look-ups and one request."""
    harness = canceller.harness
    canceller.behave(acceptance="always", acceptance_seconds=24 * 3600)
    invoice_id = harness.stamped("OP-1")
    canceller.ask()

    asked = canceller.step_until(invoice_id, "cancelled", most=40)

    assert 24 <= asked <= 35
    assert harness.row(invoice_id).cancelled_at - harness.row(invoice_id).stamped_at < timedelta(hours=25.1)
    assert canceller.requests() == 1


def test_a_receptor_who_refuses_leaves_the_invoice_in_force_and_may_be_asked_again(
    canceller: Canceller,
) -> None:
    """The refusal is reported as the receptor's; a second request has an acuse of its own, and both are kept."""
    harness = canceller.harness
    canceller.behave(acceptance="always")
    invoice_id = harness.stamped("OP-1")
    canceller.ask()
    canceller.step(invoice_id)
    canceller.receptor(invoice_id, "refused")
    canceller.step(invoice_id)

    assert harness.row(invoice_id).status == "stamped"
    assert canceller.last(invoice_id)["errors"][0]["code"] == "timbrado.cancelacion_rechazada"
    harness.later(minutes=5)
    assert canceller.ask(motivo="03") == invoice_id
    canceller.step(invoice_id)
    assert canceller.requests() == 2
    canceller.receptor(invoice_id, "cancelled")
    canceller.step_until(invoice_id, "cancelled", most=1)

    first, second = canceller.acuses(invoice_id)
    assert first.quarantined_reason is None
    assert second.quarantined_reason == "the acuse of a later request"
    assert harness.tools.store.get(first.key) != harness.tools.store.get(second.key)
    assert harness.row(invoice_id).motivo == "03"


def test_what_the_sat_does_not_let_go_stays_stamped_and_says_why(canceller: Canceller) -> None:
    """A refusal ends the cancellation, not the invoice; it may be asked for again."""
    harness = canceller.harness
    invoice_id = harness.stamped("OP-1")
    codes = ("203", "204", "206", "210", "211", "212")

    for place, code in enumerate(codes, 1):
        harness.sandbox.play("cancel_refused", account=harness.account, call="cancel", code=code, times=1)
        canceller.ask()
        canceller.step(invoice_id)
        assert harness.row(invoice_id).status == "stamped", code
        assert canceller.emitted(invoice_id) == [("invoice.cancel_refused", "stamped")] * place, code
        (error,) = canceller.last(invoice_id)["errors"]
        assert error["source"] == "contadigital", code
        assert code in error["message"]
        assert "cancelación" in error["message"], code
        assert "envía la factura" not in error["fix"], code

    canceller.cancelled()
    assert canceller.requests() == len(codes) + 1


# --- the SAT does not know it yet -----------------------------------------------------------------------------------


def test_an_unknown_uuid_just_after_the_stamp_is_asked_again_minutes_later(canceller: Canceller) -> None:
    """205 says that the SAT is behind, not that anything is wrong: nobody is troubled with it."""
    harness = canceller.harness
    canceller.behave(unknown_uuid_seconds=400)
    invoice_id = harness.stamped("OP-1")
    canceller.ask()

    steps = canceller.step_until(invoice_id, "cancelled", most=5)

    assert steps == 4  # at once, and after 3, 6 and 9 minutes
    assert [outcome for call, outcome in harness.attempts(invoice_id) if call == "cancel"] == [
        "refused", "refused", "refused", "done"
    ]  # fmt: skip
    assert canceller.emitted(invoice_id) == [("invoice.cancelled", "cancelled")]


def test_a_uuid_that_is_still_unknown_after_a_day_is_reported(canceller: Canceller) -> None:
    """By then it is no lag: a person must look."""
    harness = canceller.harness
    canceller.behave(unknown_uuid_seconds=10_000_000)
    invoice_id = harness.stamped("OP-1")
    harness.later(hours=25)
    canceller.ask()

    canceller.step(invoice_id)

    assert harness.row(invoice_id).status == "stamped"
    assert "205" in canceller.last(invoice_id)["errors"][0]["message"]


# --- lost answers ----------------------------------------------------------------------------------------------------


LOST_AFTER: list[dict[str, Any]] = [
    {"fault": "drop_after"},
    {"fault": "cut_body"},
    {"fault": "status_after", "status": 500},
    {"fault": "status_after", "status": 504},
    {"fault": "html"},
    {"fault": "not_json"},
    {"fault": "unsure_after", "code": "708"},
]


@pytest.mark.parametrize("rule", LOST_AFTER, ids=lambda rule: f"{rule['fault']}{rule.get('status', '')}")
def test_a_cancellation_whose_answer_was_lost_is_looked_up_and_not_asked_again(
    canceller: Canceller, rule: dict[str, Any]
) -> None:
    """The doubt is reported once, one look-up ends it, and one request was made."""
    harness = canceller.harness
    invoice_id = harness.stamped("OP-1")
    harness.sandbox.play(account=harness.account, call="cancel", times=1, **rule)
    canceller.ask()

    canceller.step(invoice_id)
    assert (harness.row(invoice_id).status, harness.row(invoice_id).doubt) == ("cancelling", "cancel")
    assert canceller.emitted(invoice_id) == [("invoice.in_doubt", "cancelling")]
    assert "no la solicites de nuevo" in canceller.last(invoice_id)["message"]
    canceller.step_until(invoice_id, "cancelled", most=2)

    assert canceller.emitted(invoice_id)[1:] == [("invoice.cancelled", "cancelled")]
    assert canceller.requests() == 1
    assert ("cancel", "done") in harness.attempts(invoice_id)
    assert harness.row(invoice_id).doubt is None


def test_a_doubt_that_proves_to_be_a_request_is_reported_and_followed(canceller: Canceller) -> None:
    """The user read of a doubt, and reads that it is over, and the receptor's three days go on."""
    harness = canceller.harness
    canceller.behave(acceptance="always")
    invoice_id = harness.stamped("OP-1")
    harness.sandbox.play("drop_after", account=harness.account, call="cancel", times=1)
    canceller.ask()

    canceller.step(invoice_id)
    canceller.step(invoice_id)
    canceller.step(invoice_id)

    assert canceller.emitted(invoice_id) == [
        ("invoice.in_doubt", "cancelling"),
        ("invoice.stamped", "cancelling"),
    ]
    assert harness.row(invoice_id).doubt is None
    canceller.receptor(invoice_id, "cancelled")
    canceller.step_until(invoice_id, "cancelled", most=1)
    assert canceller.requests() == 1


LOST_BEFORE: list[dict[str, Any]] = [
    {"fault": "drop_before"},
    {"fault": "status_before", "status": 503},
    {"fault": "unsure_before", "code": "708"},
]


@pytest.mark.parametrize("rule", LOST_BEFORE, ids=lambda rule: rule["fault"])
def test_a_request_that_never_arrived_is_made_again_after_a_whole_quarantine(
    canceller: Canceller, rule: dict[str, Any]
) -> None:
    """While look-ups have not denied it for fifteen minutes, no second request leaves."""
    harness = canceller.harness
    invoice_id = harness.stamped("OP-1")
    harness.sandbox.play(account=harness.account, call="cancel", times=1, **rule)
    canceller.ask()
    canceller.step(invoice_id)
    began = harness.tools.clock.now()

    while [call for call, _ in harness.attempts(invoice_id)].count("cancel") == 1:
        canceller.step(invoice_id)

    assert harness.tools.clock.now() - began >= harness.tools.policy.quarantine
    assert harness.row(invoice_id).status == "cancelled"
    assert canceller.requests() == 2
    assert ("cancel", "proven_no") in harness.attempts(invoice_id)
    assert canceller.emitted(invoice_id) == [
        ("invoice.in_doubt", "cancelling"),
        ("invoice.cancelled", "cancelled"),
    ]


def test_look_ups_that_are_not_answered_deny_nothing(canceller: Canceller) -> None:
    """An outage of an hour is no quarantine: the no must come from ContaDigital, and for fifteen minutes."""
    harness = canceller.harness
    invoice_id = harness.stamped("OP-1")
    harness.sandbox.play("drop_before", account=harness.account, call="cancel", times=1)
    canceller.ask()
    canceller.step(invoice_id)
    harness.sandbox.play("status_before", account=harness.account, call="look_up", status=500)
    for _ in range(12):
        canceller.step(invoice_id)
    harness.later(hours=1)
    harness.sandbox.calm()

    canceller.step(invoice_id)
    canceller.step(invoice_id)

    assert [call for call, _ in harness.attempts(invoice_id)].count("cancel") == 1
    assert harness.row(invoice_id).status == "cancelling"


def test_an_old_refusal_of_the_receptor_is_not_taken_for_an_answer_to_a_new_request(
    canceller: Canceller,
) -> None:
    """His no was about the request before; whether the lost one arrived, the look-ups have to say."""
    harness = canceller.harness
    canceller.behave(acceptance="always")
    invoice_id = harness.stamped("OP-1")
    canceller.ask()
    canceller.step(invoice_id)
    canceller.receptor(invoice_id, "refused")
    canceller.step(invoice_id)
    harness.sandbox.play("drop_before", account=harness.account, call="cancel", times=1)
    canceller.ask()
    canceller.step(invoice_id)

    canceller.step(invoice_id)

    assert (harness.row(invoice_id).status, harness.row(invoice_id).doubt) == ("cancelling", "cancel")
    while harness.row(invoice_id).doubt:
        canceller.step(invoice_id)
    canceller.step(invoice_id)
    assert canceller.requests() == 3
    assert canceller.emitted(invoice_id)[-1] == ("invoice.stamped", "cancelling")


# --- a worker that dies ----------------------------------------------------------------------------------------------


class Killed(BaseException):
    """What a killed process looks like from inside: nothing after it happens."""


class Deadly(Failpoints):
    """Kills the worker at one place."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place

    def reach(self, place: str) -> None:
        if place == self.place:
            raise Killed(place)


@pytest.mark.parametrize(
    ("place", "requests"), [("before_cancel", 0), ("after_cancel", 1), ("before_settle", 1)]
)
def test_a_worker_that_dies_in_the_middle_leaves_a_doubt_that_another_ends(
    canceller: Canceller, place: str, requests: int
) -> None:
    """Its claim runs out, the sweep enqueues it, and whoever comes next looks first: the SAT is asked once in all."""
    harness = canceller.harness
    invoice_id = harness.stamped("OP-1")
    canceller.ask()
    doomed = harness.another_worker(failpoints=Deadly(place))
    with pytest.raises(Killed):
        cancel.settle_cancellation(invoice_id, doomed.tools)
    assert canceller.requests() == requests

    assert invoice_id not in sweep.sweep(harness.tools).cancel  # the claim still holds
    harness.later(seconds=harness.tools.policy.lease.total_seconds() + 1)
    due = sweep.sweep(harness.tools)
    assert due.rescued >= 1
    assert invoice_id in due.cancel
    canceller.step_until(invoice_id, "cancelled", most=30)

    assert canceller.requests() == 1
    assert [outcome for call, outcome in harness.attempts(invoice_id) if call == "cancel"][-1] == "done"
    assert None not in [outcome for _, outcome in harness.attempts(invoice_id)]


class TakenOver(Failpoints):
    """What happens while one worker stands at a place, the first time that it comes by."""

    def __init__(self, meanwhile: Any, place: str = "after_cancel") -> None:
        super().__init__()
        self.meanwhile, self.place = meanwhile, place

    def reach(self, place: str) -> None:
        if place == self.place:
            self.place = ""
            self.meanwhile()


def test_a_worker_that_comes_back_late_changes_nothing(canceller: Canceller) -> None:
    """What it holds was found out by whoever has the claim now; its own answer only marks the attempt."""
    harness = canceller.harness
    invoice_id = harness.stamped("OP-1")
    canceller.ask()

    def meanwhile() -> None:
        harness.later(seconds=harness.tools.policy.lease.total_seconds() + 1)
        sweep.sweep(harness.tools)
        cancel.settle_cancellation(invoice_id, harness.tools)

    slow = harness.another_worker(failpoints=TakenOver(meanwhile))
    cancel.settle_cancellation(invoice_id, slow.tools)

    assert harness.row(invoice_id).status == "cancelled"
    assert canceller.emitted(invoice_id) == [("invoice.cancelled", "cancelled")]
    assert canceller.requests() == 1


# --- what can't be cancelled, and what is already --------------------------------------------------------------------


def test_what_is_not_stamped_has_nothing_to_cancel(canceller: Canceller) -> None:
    """Rejected, waiting or in doubt: the user reads where it stands, and nothing is asked of the SAT."""
    harness = canceller.harness
    rejected = harness.submit("REJECTED", total="1.00")
    accepted = harness.submit("ACCEPTED")
    doubtful = harness.submit("DOUBTFUL")
    harness.sandbox.play("drop_after", account=harness.account, call="stamp", times=1)
    harness.stamp(doubtful)

    for external_id in ("REJECTED", "ACCEPTED", "DOUBTFUL"):
        assert canceller.ask(external_id) is None

    for invoice_id, status, words in (
        (rejected, "rejected", "no está timbrada"),
        (accepted, "accepted", "no está timbrada"),
        (doubtful, "in_doubt", "Todavía no se sabe"),
    ):
        emitted = harness.all(
            "SELECT data FROM events WHERE subject_id = :id ORDER BY version DESC LIMIT 1", id=invoice_id
        )[0].data
        assert (emitted["status"], harness.row(invoice_id).status) == (status, status)
        assert words in emitted["errors"][0]["message"]
    assert canceller.requests() == 0


@pytest.mark.parametrize(
    ("account", "external_id"),
    [
        ("acme", "NONE"),
        ("nobody", "OP-1"),
        (None, "OP-1"),
        (7, ["OP-1"]),
        ("ac\x00me", "\ud800"),
        ("", "x" * 500),
    ],
    ids=[
        "no such invoice",
        "no such account",
        "no account",
        "numbers and lists",
        "NUL and half a pair",
        "too long",
    ],
)
def test_a_request_about_nothing_we_know_is_reported_as_such(
    canceller: Canceller, account: Any, external_id: Any
) -> None:
    """Whoever asked learns that there is no such invoice, also where what was sent could not be a name; the type says
    that it is about no invoice, so that no receiver makes one of it."""
    assert cancel.request(account, external_id, "02", None, canceller.harness.tools) is None

    (event,) = canceller.harness.all(
        "SELECT * FROM events WHERE subject_kind = 'message' ORDER BY id DESC LIMIT 1"
    )
    assert event.type == "request.refused"
    assert event.data["invoice_id"] is None
    assert event.data["errors"][0]["code"] == "timbrado.no_existe"
    assert "No encontramos" in event.data["message"]


def test_cancelling_twice_asks_once(canceller: Canceller) -> None:
    """A second request, while the first is under way or after it ended, is answered with how it stands."""
    harness = canceller.harness
    canceller.behave(acceptance="always")
    invoice_id = harness.stamped("OP-1")
    canceller.ask()
    canceller.step(invoice_id)

    assert canceller.ask(motivo="03") is None
    assert canceller.emitted(invoice_id)[-1] == ("invoice.stamped", "cancelling")
    assert "está solicitada" in canceller.last(invoice_id)["message"]
    canceller.receptor(invoice_id, "cancelled")
    canceller.step_until(invoice_id, "cancelled", most=1)
    assert canceller.ask() is None

    assert canceller.emitted(invoice_id)[-2:] == [("invoice.cancelled", "cancelled")] * 2
    assert harness.row(invoice_id).motivo == "02"
    assert canceller.requests() == 1


def test_two_requests_at_once_are_one_request(canceller: Canceller) -> None:
    """Two workers hold the same message: one has the claim, the other finds nothing to do."""
    harness = canceller.harness
    invoice_id = harness.stamped("OP-1")
    canceller.ask()
    beside = harness.another_worker()

    slow = harness.another_worker(
        failpoints=TakenOver(lambda: cancel.settle_cancellation(invoice_id, beside.tools))
    )
    cancel.settle_cancellation(invoice_id, slow.tools)

    assert harness.row(invoice_id).status == "cancelled"
    assert canceller.requests() == 1


RIVALS: dict[str, Callable[[Harness, UUID], object]] = {
    "another request": lambda harness, _: cancel.request(harness.account, "OP-1", "03", None, harness.tools),
    "a retry": lambda harness, _: operator_retry.retry(harness.account, "OP-1", harness.tools),
    "a withdrawal": lambda harness, _: withdraw.withdraw(harness.account, "OP-1", harness.tools),
    "a correction": lambda harness, _: submit.submit(
        an_invoice(account=harness.account, external_id="OP-1", fecha=None, forma_pago="01"), harness.tools
    ),
    "a substitute": lambda harness, _: replace_invoice.replace(
        harness.account,
        "OP-1",
        an_invoice(account=harness.account, external_id="SUBSTITUTE", fecha=None),
        harness.tools,
    ),
    "a stamp": lambda harness, invoice_id: harness.stamp(invoice_id),
    "a look-up of a doubt": lambda harness, invoice_id: reconcile.reconcile(invoice_id, harness.tools),
    "the late PDF": lambda harness, invoice_id: late_pdf.fetch_pdf(invoice_id, harness.tools),
    "the mail": lambda harness, invoice_id: mail.send_mail(invoice_id, harness.tools),
    "a sweep": lambda harness, _: harness.go_on(),
    "a pause of its account": lambda harness, _: harness.all(
        "UPDATE connections SET paused = true WHERE account = :account RETURNING 1", account=harness.account
    ),
}


@pytest.mark.parametrize("place", ["before_cancel", "after_cancel", "before_settle"])
@pytest.mark.parametrize("rival", RIVALS)
def test_whatever_races_with_a_cancellation_it_is_asked_for_once(
    canceller: Canceller, rival: str, place: str
) -> None:
    """Each rival comes in the middle of the call: one request, one acuse, and it ends as cancelled."""
    harness = canceller.harness
    invoice_id = harness.stamped("OP-1")
    canceller.ask()
    beside = harness.another_worker()
    between = harness.another_worker(
        failpoints=TakenOver(lambda: RIVALS[rival](beside, invoice_id), place=place)
    )
    cancel.settle_cancellation(invoice_id, between.tools)
    if harness.row(invoice_id).status != "cancelled":
        canceller.step_until(invoice_id, "cancelled")

    acuses = harness.all(
        "SELECT 1 FROM documents WHERE invoice_id = :id AND kind = 'acuse' AND quarantined_reason IS NULL",
        id=invoice_id,
    )
    assert canceller.requests() == 1
    assert len(acuses) == 1
    assert (harness.stamps(), harness.duplicates()) == (1, 0)


def test_the_record_of_another_invoice_is_never_cancelled(canceller: Canceller) -> None:
    """The account was connected to another address after the stamp: the same Id is somebody else's invoice there."""
    harness = canceller.harness
    ours, other = harness.stamped("OP-1"), harness.stamped("OP-2")
    canceller.swap_record(ours, other)
    canceller.ask("OP-1")
    canceller.step(ours)

    assert harness.row(ours).status == "stamped"
    assert [fault["code"] for fault in canceller.last(ours)["errors"]] == [
        "timbrado.registro_de_otra_factura"
    ]
    assert canceller.requests() == 0


def test_an_answer_about_another_invoice_ends_no_cancellation(canceller: Canceller) -> None:
    """Its receptor's answer is not the one that was waited for."""
    harness = canceller.harness
    canceller.behave(acceptance="always")
    ours, other = harness.stamped("OP-1"), harness.stamped("OP-2")
    canceller.ask("OP-1")
    canceller.step(ours)
    canceller.swap_record(ours, other)
    canceller.step_until(ours, "stamped", most=1)

    assert [fault["code"] for fault in canceller.last(ours)["errors"]] == [
        "timbrado.registro_de_otra_factura"
    ]


def test_a_look_up_that_denies_a_new_stamp_only_makes_its_cancellation_wait(canceller: Canceller) -> None:
    """Nobody asks for what can't be seen; once it is seen, it is cancelled."""
    harness = canceller.harness
    invoice_id = harness.stamped("OP-1")
    denied = harness.sandbox.play(
        "deny", account=harness.account, call="look_up", seconds=3600, form="not_found"
    )
    canceller.ask("OP-1")
    canceller.step(invoice_id)
    canceller.step(invoice_id)
    assert (harness.row(invoice_id).status, canceller.requests()) == ("cancelling", 0), denied
    harness.sandbox.calm()
    canceller.step_until(invoice_id, "cancelled", most=1)

    assert canceller.requests() == 1


# --- around it -------------------------------------------------------------------------------------------------------


def test_a_request_that_did_not_leave_is_made_again_without_a_doubt(canceller: Canceller) -> None:
    """No connection, or too fast: certainly not asked, so no event is emitted."""
    harness = canceller.harness
    invoice_id = harness.stamped("OP-1")
    canceller.ask()
    harness.sandbox.play("down", seconds=600)
    canceller.step(invoice_id)
    harness.sandbox.calm()
    harness.sandbox.play(
        "status_before", account=harness.account, call="cancel", times=1, status=429, retry_after=30
    )
    while harness.attempts(invoice_id)[-1] != ("cancel", "refused"):  # the server takes a moment to be back
        canceller.step(invoice_id)
    waited = harness.row(invoice_id).next_attempt_at - harness.tools.clock.now()
    canceller.step_until(invoice_id, "cancelled", most=1)

    assert waited > timedelta(seconds=29)
    outcomes = [outcome for call, outcome in harness.attempts(invoice_id) if call == "cancel"]
    assert outcomes[-2:] == ["refused", "done"]
    assert set(outcomes[:-2]) <= {"not_sent"}
    assert canceller.emitted(invoice_id) == [("invoice.cancelled", "cancelled")]


def test_a_refused_key_breaks_the_connection_and_the_cancellation_waits_for_a_new_one(
    canceller: Canceller,
) -> None:
    """Once, as for any other call; meanwhile nothing is asked, and once fixed it goes on by itself."""
    harness = canceller.harness
    invoice_id = harness.stamped("OP-1")
    key = harness.sandbox.regenerate_key(harness.account)
    canceller.ask()

    canceller.step(invoice_id)
    assert (harness.connection().status, harness.connection().reason) == ("broken", "key_rejected")
    harness.later(minutes=11)
    assert invoice_id in sweep.sweep(harness.tools).cancel
    cancel.settle_cancellation(invoice_id, harness.tools)
    assert harness.row(invoice_id).next_attempt_at - harness.tools.clock.now() > suspend.CONNECTION_BACK * 0.9
    refused = harness.sandbox.ledger(harness.account)["calls"][harness.account]["conectar"]
    harness.connect(key)
    canceller.step_until(invoice_id, "cancelled", most=1)

    assert harness.event_types().count("connection.broken") == 1
    assert sum(times for result, times in refused.items() if result.startswith("refused")) == 1
    assert canceller.requests() <= 2  # one of them with a token that was refused: it did nothing


def test_retrying_one_that_is_being_cancelled_asks_at_once(canceller: Canceller) -> None:
    """A person need not wait for the next look, and no second request comes of it."""
    harness = canceller.harness
    canceller.behave(acceptance="always")
    invoice_id = harness.stamped("OP-1")
    canceller.ask()
    canceller.step(invoice_id)
    canceller.receptor(invoice_id, "cancelled")

    verdict = operator_retry.retry(harness.account, "OP-1", harness.tools)
    cancel.settle_cancellation(invoice_id, harness.tools)

    assert (verdict.done, verdict.task) == (True, "stamping.settle_cancellation")
    assert harness.row(invoice_id).status == "cancelled"
    assert canceller.requests() == 1


def test_versions_only_grow_over_a_whole_cancellation(canceller: Canceller) -> None:
    """Whoever applies events by version ends with the truth, whatever happened in between."""
    harness = canceller.harness
    canceller.behave(acceptance="always", unknown_uuid_seconds=200)
    invoice_id = harness.stamped("OP-1")
    canceller.ask(motivo="09")
    canceller.ask()
    harness.sandbox.play("drop_after", account=harness.account, call="cancel", times=1, after=2)
    for _ in range(6):
        canceller.step(invoice_id)
    canceller.receptor(invoice_id, "cancelled")
    canceller.step_until(invoice_id, "cancelled", most=2)
    canceller.ask()

    rows = harness.all("SELECT version, data FROM events WHERE subject_id = :id ORDER BY id", id=invoice_id)
    versions = [row.version for row in rows]
    assert versions == sorted(set(versions))
    assert [row.data["version"] for row in rows] == versions
    assert rows[-1].data["status"] == harness.row(invoice_id).status == "cancelled"
    assert harness.row(invoice_id).version == versions[-1]


def test_an_acuse_that_can_not_be_stored_now_does_not_hold_up_the_truth(canceller: Canceller) -> None:
    """The CFDI is cancelled whether or not our disk is full."""
    harness = canceller.harness
    harness.stamped("OP-1")

    class Full:
        def __getattr__(self, name: str) -> Any:
            return getattr(harness.tools.store, name)

        def put(self, key: str, data: bytes) -> Any:
            raise StorageUnavailable(key, "the disk is full")

    unlucky = Canceller(replace(harness, tools=replace(harness.tools, store=Full())))  # type: ignore[arg-type]
    invoice_id = unlucky.cancelled()

    assert harness.row(invoice_id).status == "cancelled"
    assert canceller.acuses(invoice_id) == []


# --- what the acuse says, and what nobody ever says ------------------------------------------------------------------


class Silent:
    """ContaDigital whose look-ups never name the state of a cancellation, as no answer was ever seen to; each answer
    to a request says `state`."""

    def __init__(self, real: Any, state: str) -> None:
        self._real, self._state = real, state

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def look_up(self, *args: Any) -> Any:
        return replace(self._real.look_up(*args), cancellation=None)

    def cancel(self, *args: Any) -> Any:
        return replace(self._real.cancel(*args), state=self._state)


@pytest.mark.parametrize("code", ["203", "204", "206", "207", "210", "211", "212"])
def test_a_no_of_the_sat_inside_the_acuse_is_a_refusal(canceller: Canceller, code: str) -> None:
    """The envelope says done and the acuse inside says no: the invoice is valid still, and the user learns why."""
    harness = canceller.harness
    canceller.behave(cancel_refusal="acuse")
    invoice_id = harness.stamped("OP-1")
    harness.sandbox.play("cancel_refused", account=harness.account, call="cancel", code=code, times=1)
    canceller.ask()

    canceller.step(invoice_id)

    assert harness.row(invoice_id).status == "stamped"
    assert canceller.emitted(invoice_id) == [("invoice.cancel_refused", "stamped")]
    assert canceller.last(invoice_id)["errors"]
    assert canceller.acuses(invoice_id) == []
    canceller.cancelled()  # and the acuse of a request that was taken is the acuse
    assert [each.quarantined_reason for each in canceller.acuses(invoice_id)] == [None]


def test_a_205_inside_the_acuse_is_asked_again_minutes_later(canceller: Canceller) -> None:
    """The SAT does not know the CFDI yet: nobody is troubled, and only the real acuse is stored as one."""
    harness = canceller.harness
    canceller.behave(cancel_refusal="acuse", unknown_uuid_seconds=400)
    invoice_id = harness.stamped("OP-1")
    canceller.ask()

    canceller.step_until(invoice_id, "cancelled", most=5)

    assert canceller.emitted(invoice_id) == [("invoice.cancelled", "cancelled")]
    assert [each.quarantined_reason for each in canceller.acuses(invoice_id)] == [None]


@pytest.mark.parametrize("form", ["null", "none", "empty", "garbage"])
def test_an_answer_that_says_nothing_is_looked_up(canceller: Canceller, form: str) -> None:
    """It may have been done: one request, and a look-up says what became of it."""
    harness = canceller.harness
    invoice_id = harness.stamped("OP-1")
    harness.sandbox.play("odd_acuse", account=harness.account, call="cancel", times=1, form=form)
    canceller.ask()

    canceller.step_until(invoice_id, "cancelled", most=5)

    assert canceller.requests() == 1


@pytest.mark.parametrize("state", ["requested", "unknown"])
def test_a_cancellation_of_which_nobody_says_anything_ends_before_a_person(
    canceller: Canceller, state: str
) -> None:
    """No state in any look-up: after a bound the user is sent to the SAT's own page. A request that was taken is not
    made twice; one that nobody confirms is made a few times at most."""
    harness = canceller.harness
    silent: Any = Silent(harness.tools.provider, state)
    harness.tools = replace(harness.tools, provider=silent)
    invoice_id = harness.stamped("OP-1")
    canceller.ask()

    canceller.step_until(invoice_id, "stamped", most=300)

    assert harness.shift[0] <= cancel.LONGEST + timedelta(hours=2)
    assert canceller.emitted(invoice_id)[-1] == ("invoice.cancel_refused", "stamped")
    last = canceller.last(invoice_id)
    assert [error["code"] for error in last["errors"]] == ["timbrado.cancelacion_sin_confirmar"]
    assert "sigue vigente" in last["message"]
    assert "no se canceló" not in last["message"]
    assert canceller.requests() == (1 if state == "requested" else cancel.MOST_REQUESTS)


def test_what_differs_is_cancelled_and_a_refusal_leaves_it_so(canceller: Canceller) -> None:
    """A CFDI that says something else than what was sent exists before the SAT: cancelling is its way out."""
    harness = canceller.harness
    harness.sandbox.play("wrong_xml", account=harness.account, call="stamp", times=1, form="total")
    invoice_id = harness.submit("OP-1")
    harness.stamp(invoice_id)
    harness.sandbox.play("cancel_refused", account=harness.account, call="cancel", code="204", times=1)
    canceller.ask()
    canceller.step(invoice_id)

    assert harness.row(invoice_id).status == "differs"
    assert harness.event_types()[-1] == "invoice.cancel_refused"
    canceller.cancelled()
    assert harness.event_types()[-1] == "invoice.cancelled"


@pytest.mark.parametrize(
    ("status", "reason", "message", "whose"),
    [
        ("on_hold", None, "no está timbrada", "user"),
        ("withdrawn", None, "no se timbró", "user"),
        ("failed", "expired", "no se timbró", "user"),
        ("failed", "not_stamped", "no se timbró", "user"),
        ("failed", "needs_person", "No se sabe si", "support"),
        ("stamping", None, "Todavía no se sabe", "user"),
    ],
)
def test_what_has_no_folio_fiscal_is_never_called_what_it_is_not(
    status: str, reason: str | None, message: str, whose: str
) -> None:
    """Not stamped, never stamped, and unknown are three things; an unknown one is support's matter."""
    fault = reasons.not_stamped(status, reason)

    assert message in fault.message
    assert fault.whose == whose


@pytest.mark.parametrize("motivo", ["\ud800", "a\0b"])
def test_a_motivo_of_broken_text_is_refused_in_words(harness: Harness, motivo: str) -> None:
    """It is quoted in the event, which must be stored: a message like that ends, too."""
    harness.stamped("BROKEN-1")

    assert cancel.request(harness.account, "BROKEN-1", motivo, None, harness.tools) is None

    last = harness.all("SELECT data FROM events ORDER BY id DESC LIMIT 1")[0].data
    assert [each["code"] for each in last["errors"]] == ["CANC207"]
