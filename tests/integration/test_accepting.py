"""How an invoice comes in: stored before anything is done with it, once for each (account, external_id), reported."""

import itertools
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from lxml import etree

from cfdi.document import MAX_BYTES, MAX_LINES
from stamping.cancellation import cancel
from stamping.claims import take
from stamping.connections import providers
from stamping.intake import dead_letters, operator_retry
from stamping.intake import submit as intake
from stamping.intake.check import check
from stamping.intake.submit import Accepted, Settled
from stamping.intake.withdraw import withdraw
from stamping.outcome import Stamped
from tests.support.builders import a_concepto, a_receptor, an_invoice
from tests.support.harness import Harness, open_harness

pytestmark = pytest.mark.one_database


@pytest.fixture
def unconnected(database: str, sandbox: Any) -> Iterator[Harness]:
    with open_harness(database, sandbox, connected=False) as opened:
        yield opened


def invoice_of(harness: Harness, **changes: Any) -> dict[str, Any]:
    return an_invoice(**{"account": harness.account, "external_id": "OP-1", "fecha": None, **changes})


def submit(harness: Harness, raw: Any) -> Accepted | Settled:
    return intake.submit(raw, harness.tools)


def emitted(harness: Harness) -> list[Any]:
    """Every event of the account's invoices, oldest first."""
    return harness.all(
        "SELECT * FROM events WHERE account = :account AND subject_kind = 'invoice' ORDER BY id",
        account=harness.account,
    )


TWO_KINDS = [
    {"tipo_relacion": "04", "uuids": ["9932113E-09AC-47BA-8E8C-6F83100C814F"]},
    {"tipo_relacion": "07", "uuids": ["AA32113E-09AC-47BA-8E8C-6F83100C814F"]},
]


def test_what_no_body_can_say_is_refused_before_anything_is_saved(harness: Harness) -> None:
    """A dry run, the submission and its event say the same, and ContaDigital is not called."""
    raw = invoice_of(harness, cfdi_relacionados=TWO_KINDS)
    dry = check(raw, harness.tools)
    taken = submit(harness, raw)

    assert [fault.code for fault in dry.faults] == ["contadigital.varias_relaciones"]
    assert isinstance(taken, Settled)
    assert taken.what == "rejected"
    (event,) = emitted(harness)
    assert [error["code"] for error in event.data["errors"]] == ["contadigital.varias_relaciones"]
    assert (event.data["errors"][0]["whose"], event.data["errors"][0]["label"]) == (
        "user",
        "CFDI relacionados",
    )
    assert "save" not in harness.sandbox.ledger(harness.account)["calls"].get(harness.account, {})


def test_relations_of_several_kinds_are_stamped_where_the_dialect_has_a_way(harness: Harness) -> None:
    """Two nodes in the CFDI, and it is what was sent."""
    harness.sandbox.change(harness.account, dialect={"relations": "typed"})
    providers.set_dialect(harness.sandbox.url, {"relaciones": "typed"}, harness.tools)
    try:
        invoice_id = harness.submit("OP-1", cfdi_relacionados=TWO_KINDS)
        harness.stamp(invoice_id)
    finally:
        providers.reset_dialect(harness.sandbox.url, harness.tools)

    row = harness.row(invoice_id)
    assert (row.status, row.errors) == ("stamped", [])
    document = harness.one("SELECT key FROM documents WHERE invoice_id = :id AND kind = 'xml'", id=invoice_id)
    root = etree.fromstring(harness.tools.store.get(document.key))
    assert [node.get("TipoRelacion") for node in root.iterfind("{*}CfdiRelacionados")] == ["04", "07"]


def dead_letter(harness: Harness) -> Any:
    """The last dead letter, and the event about it."""
    row = harness.one("SELECT * FROM dead_letters ORDER BY created_at DESC, id DESC LIMIT 1")
    event = harness.one("SELECT * FROM events WHERE subject_id = :id", id=row.id)
    return row, event


# --- the same invoice, and other content -----------------------------------------------------------------------------


def test_the_same_invoice_is_the_same_however_its_json_is_written(harness: Harness) -> None:
    """The order of fields, and fields that say null, make no other content."""
    first = invoice_of(harness)
    shuffled = dict(reversed([(name, value) for name, value in first.items() if value is not None]))
    shuffled["receptor"] = dict(reversed(list(first["receptor"].items())))
    more_nulls = {**first, "condiciones_de_pago": None, "send_to": first["send_to"]}

    submit(harness, first)
    again = [
        submit(harness, shuffled),
        submit(harness, more_nulls),
        submit(harness, json.loads(json.dumps(first))),
    ]

    assert [taken.what for taken in again if isinstance(taken, Settled)] == ["known"] * 3
    assert [event.type for event in emitted(harness)] == ["invoice.accepted"] * 4
    assert len(harness.all("SELECT 1 FROM invoices WHERE account = :account", account=harness.account)) == 1


def test_the_same_invoice_sent_twenty_times_at_once_is_one(harness: Harness) -> None:
    """Whoever comes second, at the same instant too, gets the status: one row, one stamp, versions that grow."""
    raw = invoice_of(harness)

    with ThreadPoolExecutor(10) as pool:
        taken = list(pool.map(lambda _: submit(harness, raw), range(20)))

    (invoice_id,) = {each.invoice_id for each in taken}
    assert sum(isinstance(each, Accepted) for each in taken) == 1
    assert isinstance(harness.stamp(invoice_id), Stamped)
    assert harness.stamps() == 1
    assert sorted(event.version for event in emitted(harness)) == list(range(1, 22))


OTHER = {"forma_pago": "01"}


def rejected(harness: Harness) -> UUID:
    return harness.submit(total="1.00")


def on_hold(harness: Harness) -> UUID:
    key = harness.sandbox.regenerate_key(harness.account)
    invoice_id = harness.submit()
    harness.stamp(invoice_id)
    harness.sandbox.change(harness.account, api_key=key)
    return invoice_id


def waiting(harness: Harness) -> UUID:
    invoice_id = harness.submit()
    harness.sandbox.play("status_before", account=harness.account, call="stamp", status=429, times=1)
    harness.stamp(invoice_id)
    harness.later(minutes=5)
    return invoice_id


def accepted(harness: Harness) -> UUID:
    return harness.submit()


def expired(harness: Harness) -> UUID:
    fecha = harness.tools.clock.now() - timedelta(hours=60)
    invoice_id = harness.submit(fecha=fecha.isoformat())
    harness.later(hours=12.1)
    harness.expire(invoice_id)
    return invoice_id


@pytest.mark.parametrize(
    ("arrange", "stands", "becomes"),
    [
        (rejected, "rejected", "accepted"),
        (accepted, "accepted", "accepted"),
        (waiting, "waiting", "accepted"),
        (on_hold, "on_hold", "on_hold"),
        (expired, "failed", "accepted"),
    ],
    ids=["rejected", "accepted", "waiting", "on hold", "expired"],
)
def test_what_is_certainly_not_stamped_may_be_corrected(
    harness: Harness, arrange: Callable[[Harness], UUID], stands: str, becomes: str
) -> None:
    """Other content under the same identifier starts it anew, and it is the other content that is stamped, once."""
    invoice_id = arrange(harness)
    before = harness.row(invoice_id)
    assert before.status == stands

    taken = submit(harness, invoice_of(harness, **OTHER))

    after = harness.row(invoice_id)
    assert (taken.invoice_id, after.status, after.errors) == (invoice_id, becomes, [])
    assert after.version == before.version + 1
    assert emitted(harness)[-1].version == after.version
    if becomes == "on_hold":
        harness.connect(harness.sandbox.account(harness.account)["api_key"])
        harness.later(seconds=1)
    assert isinstance(harness.stamp(invoice_id), Stamped)
    body = harness.sandbox.control(
        "GET", f"/accounts/{harness.account}/records/{harness.row(invoice_id).record_id}"
    )["body"]
    assert body["FormaDePago"].startswith("01")
    assert (harness.stamps(), harness.duplicates()) == (1, 0)


def test_a_correction_may_be_wrong_too(harness: Harness) -> None:
    """An invoice on its way that is corrected into a wrong one is rejected, and not sent."""
    invoice_id = harness.submit()

    submit(harness, invoice_of(harness, total="1.00"))

    assert harness.row(invoice_id).status == "rejected"
    assert emitted(harness)[-1].data["errors"][0]["field"] == "total"
    assert harness.stamps() == 0


def being_stamped(harness: Harness) -> UUID:
    invoice_id = harness.submit()
    take(invoice_id, harness.tools)
    return invoice_id


def in_doubt(harness: Harness) -> UUID:
    invoice_id = harness.submit()
    harness.sandbox.play("drop_before", account=harness.account, call="stamp", times=1)
    harness.stamp(invoice_id)
    return invoice_id


def stamped(harness: Harness) -> UUID:
    return harness.stamped("OP-1")


def needs_a_person(harness: Harness) -> UUID:
    invoice_id = harness.submit()
    harness.sandbox.play("wrong_xml", account=harness.account, call="stamp", times=1, form="broken_seal")
    harness.stamp(invoice_id)
    return invoice_id


def taken_back(harness: Harness) -> UUID:
    invoice_id = harness.submit()
    withdraw(harness.account, "OP-1", harness.tools)
    return invoice_id


def being_cancelled(harness: Harness) -> UUID:
    invoice_id = harness.stamped("OP-1")
    cancel.request(harness.account, "OP-1", "02", None, harness.tools)
    return invoice_id


@pytest.mark.parametrize(
    ("arrange", "status"),
    [(being_stamped, "stamping"), (in_doubt, "in_doubt"), (stamped, "stamped"), (needs_a_person, "failed")],
    ids=["being stamped", "in doubt", "stamped", "needs a person"],
)
def test_other_content_of_what_is_or_may_be_stamped_is_a_conflict(
    harness: Harness, arrange: Callable[[Harness], UUID], status: str
) -> None:
    """Nothing is changed, and the user reads how to go on."""
    invoice_id = arrange(harness)
    before = harness.row(invoice_id)

    taken = submit(harness, invoice_of(harness, **OTHER))

    after, event = harness.row(invoice_id), emitted(harness)[-1]
    assert isinstance(taken, Settled)
    assert taken.what == "conflict"
    assert (after.status, after.content, after.record_id) == (status, before.content, before.record_id)
    assert [error["code"] for error in event.data["errors"]] == ["timbrado.conflict"]
    assert (event.data["status"], event.version) == (status, before.version + 1)


@pytest.mark.parametrize(
    ("arrange", "words"),
    [
        (stamped, "ya se timbró (o se está timbrando) con otros datos"),
        (needs_a_person, "No se sabe si esta factura quedó timbrada"),
        (taken_back, "se retiró antes de timbrarla"),
        (being_cancelled, "ya está cancelada o en proceso de cancelación"),
    ],
)
def test_a_conflict_says_nothing_that_is_false_of_the_invoice(
    harness: Harness, arrange: Callable[[Harness], UUID], words: str
) -> None:
    """One that was taken back was never stamped; one that is cancelled is not cancelled again."""
    arrange(harness)

    submit(harness, invoice_of(harness, **OTHER))

    [error] = emitted(harness)[-1].data["errors"]
    assert words in error["message"]


# --- what arrives may be anything ------------------------------------------------------------------------------------

ODD = [
    "ac\x00me",
    "\ud800",
    "fin\udfff",
    float("nan"),
    float("inf"),
    10**40,
    True,
    [[[]]],
    {"": None},
]


@pytest.mark.parametrize("odd", ODD, ids=[ascii(odd) for odd in ODD])
def test_a_value_that_the_database_refuses_is_a_wrong_value_like_any_other(
    harness: Harness, odd: Any
) -> None:
    """Stored, reported at its field, and no traceback: in a text, an amount, a name that nobody knows."""
    raw = invoice_of(
        harness, receptor=a_receptor(nombre=odd), conceptos=[a_concepto(descripcion=odd)], nuevo=odd
    )

    taken = submit(harness, raw)

    assert isinstance(taken, Settled)
    assert taken.what == "rejected"
    event = emitted(harness)[-1]
    assert {"receptor.nombre", "nuevo"} <= {error["field"] for error in event.data["errors"]}


def test_an_invoice_of_five_thousand_lines_is_taken_and_one_more_is_not(harness: Harness) -> None:
    """The limits are said at the place where they are passed, and nothing is cut off in silence."""
    whole = invoice_of(harness, external_id="WHOLE", conceptos=[a_concepto()] * MAX_LINES)
    too_many = invoice_of(
        harness, external_id="LINES", conceptos=[{"clave_prod_serv": "78101802"}] * (MAX_LINES + 1)
    )
    too_big = invoice_of(harness, external_id="BYTES", conceptos=[a_concepto(descripcion="x" * MAX_BYTES)])
    assert len(json.dumps(whole)) > 1_500_000  # ordinary lines

    assert isinstance(submit(harness, whole), Accepted)
    assert submit(harness, too_many).what == "rejected"
    assert submit(harness, too_big).what == "rejected"

    by_name = {event.external_id: event.data["errors"] for event in emitted(harness)}
    assert any(f"{MAX_LINES:,}" in error["message"] for error in by_name["LINES"])
    assert any(f"{MAX_BYTES:,}" in error["detail"] for error in by_name["BYTES"])


NO_INVOICE: list[tuple[str, Any]] = [
    ("a list", ["account", "external_id"]),
    ("a text", "timbra esto"),
    ("half a pair in a text", "\ud800"),
    ("a number", 7),
    ("nothing", None),
    ("an empty object", {}),
    ("no account", an_invoice(account=None)),
    ("no external_id", {k: v for k, v in an_invoice().items() if k != "external_id"}),
    ("an account that is a number", an_invoice(account=7)),
    ("NUL in the account", an_invoice(account="ac\x00me", external_id="\ud800")),
    ("blanks for an account", an_invoice(account="   ")),
    ("too long", an_invoice(account="x" * 201, external_id="OP-1")),
]


@pytest.mark.parametrize("raw", [row[1] for row in NO_INVOICE], ids=[row[0] for row in NO_INVOICE])
def test_a_message_that_names_no_invoice_is_kept_and_reported(harness: Harness, raw: Any) -> None:
    """Nobody's invoice, and yet nothing is lost: an operator finds it, Apunto gets one event."""
    assert submit(harness, raw) == Settled(None, None, "unreadable")
    assert submit(harness, raw) == Settled(None, None, "unreadable")

    row, event = dead_letter(harness)
    kept = row.message if isinstance(raw, dict) else row.message["message"]
    if isinstance(raw, dict):
        assert set(kept) == set(raw)
    assert row.errors
    assert (event.type, event.data["invoice_id"], event.data["errors"]) == (
        "request.refused",
        None,
        row.errors,
    )
    assert len(harness.all("SELECT 1 FROM events WHERE subject_id = :id", id=row.id)) == 1


def test_a_message_a_thousand_levels_deep_is_kept_and_reported(harness: Harness) -> None:
    """No JSON bomb stops a worker."""
    deep: Any = "x"
    for _ in range(700):
        deep = [deep]

    assert submit(harness, invoice_of(harness, conceptos=deep)).what == "unreadable"

    row, event = dead_letter(harness)
    assert "external_id" in str(row.message)
    assert event.data["errors"][0]["code"] == "timbrado.demasiados_niveles"


def test_a_message_that_met_a_bug_is_kept_without_its_key(harness: Harness) -> None:
    """Whatever could not be done with it is there to be found; a key, encrypted as it is, is not kept twice."""
    dead_letters.store(
        {"task": "connect", "account": harness.account, "api_key_encrypted": "gAAAA"}, harness.tools
    )

    row, event = dead_letter(harness)
    assert row.message == {"task": "connect", "account": harness.account}
    assert event.data["errors"][0]["code"] == "timbrado.error_interno"


def test_no_key_is_stored_as_a_dead_letter_wherever_its_sender_put_it(harness: Harness) -> None:
    """By place instead of by name, inside something else, in the clear under a name of its own, or too deep to read."""
    token = harness.tools.fernet.encrypt(b"a-good-key-of-thirty-characters").decode()
    deep: Any = token
    for _ in range(700):
        deep = [deep]
    for each in (
        {"task": "stamping.connect", "args": [harness.account, token]},
        {
            "task": "stamping.connect",
            "request": {"api_key_encrypted": token, "ApiKey": "clear-key-0123456789"},
        },
        {"task": "stamping.connect", "body": f'[[], {{"x": "{token}"}}'},
        {
            "task": "stamping.connect",
            "account": harness.account,
            "api_key": "clear-key-0123456789",
        },
        {"account": harness.account, "deep": deep},
    ):
        dead_letters.store(each, harness.tools)

    kept = harness.all("SELECT message FROM dead_letters ORDER BY id DESC LIMIT 5")
    text = json.dumps([row.message for row in kept])
    assert len(kept) == 5
    assert token[:20] not in text
    assert "clear-key" not in text
    assert text.count(harness.account) >= 2


# --- an account that is not there yet --------------------------------------------------------------------------------


def test_an_invoice_of_an_unknown_account_waits_and_goes_on_once_it_is_connected(
    unconnected: Harness,
) -> None:
    """On hold with words that say why; the connection made, it is stamped by itself."""
    invoice_id = unconnected.submit()
    assert unconnected.row(invoice_id).status == "on_hold"
    assert "no está conectada" in emitted(unconnected)[-1].data["message"]

    unconnected.connect(unconnected.sandbox.account(unconnected.account)["api_key"])
    unconnected.later(seconds=1)

    assert isinstance(unconnected.stamp(invoice_id), Stamped)


def test_versions_only_grow_whatever_happens(harness: Harness) -> None:
    """Sent, repeated, in conflict, corrected, stamped, asked again: whoever applies by version ends with the truth."""
    steps = [
        lambda: submit(harness, invoice_of(harness, total="1.00")),
        lambda: submit(harness, invoice_of(harness, total="1.00")),
        lambda: submit(harness, invoice_of(harness)),
        lambda: submit(harness, invoice_of(harness)),
        lambda: harness.stamp(
            harness.one("SELECT id FROM invoices WHERE account = :a", a=harness.account).id
        ),
        lambda: submit(harness, invoice_of(harness, **OTHER)),
        lambda: submit(harness, invoice_of(harness)),
        lambda: operator_retry.retry(harness.account, "OP-1", harness.tools),
    ]
    for step in steps:
        step()

    events = emitted(harness)
    versions = [event.version for event in events]
    assert versions == list(range(1, len(steps) + 1))
    assert [event.data["version"] for event in events] == versions
    assert [event.data["status"] for event in events] == [
        "rejected", "rejected", "accepted", "accepted", "stamped", "stamped", "stamped", "stamped"
    ]  # fmt: skip
    for one, other in itertools.pairwise(events):
        assert one.created_at <= other.created_at


# --- retrying --------------------------------------------------------------------------------------------------------


def test_what_only_the_sat_refused_may_be_tried_again_as_it_is(harness: Harness) -> None:
    """A postcode may be registered there meanwhile; the same Id is stamped."""
    invoice_id = harness.submit(receptor=a_receptor(domicilio_fiscal_receptor="64000"))
    harness.stamp(invoice_id)
    assert harness.row(invoice_id).errors[0]["code"] == "CFDI40148"
    harness.sandbox.control(
        "POST",
        "/taxpayers",
        {"rfc": "XIA190128J61", "name": "XENON INDUSTRIAL ARTICLES", "postcode": "64000"},
    )
    try:
        verdict = operator_retry.retry(harness.account, "OP-1", harness.tools)
        outcome = harness.stamp(invoice_id)
    finally:
        harness.sandbox.control(
            "POST",
            "/taxpayers",
            {"rfc": "XIA190128J61", "name": "XENON INDUSTRIAL ARTICLES", "postcode": "76343"},
        )

    assert (verdict.done, verdict.task) == (True, "stamping.stamp_invoice")
    assert isinstance(outcome, Stamped)
    assert [call for call, _ in harness.attempts(invoice_id)].count("save") == 1


@pytest.mark.parametrize(
    ("arrange", "done", "words"),
    [
        (rejected, False, "its data is wrong"),
        (on_hold, False, "its connection is not active"),
        (expired, False, "72 hours are over"),
        (being_stamped, False, "a worker is at it"),
        (stamped, False, "nothing to do"),
        (in_doubt, True, "looked up first"),
        (needs_a_person, True, "looked up first"),
        (waiting, True, "due now"),
    ],
    ids=[
        "rejected",
        "on hold",
        "expired",
        "being stamped",
        "stamped",
        "in doubt",
        "needs a person",
        "waiting",
    ],
)
def test_a_retry_does_what_is_safe_and_says_why_it_does_not(
    harness: Harness, arrange: Callable[[Harness], UUID], done: bool, words: str
) -> None:
    """One whose outcome is unknown is never sent; what has nothing to gain tells its status again."""
    invoice_id = arrange(harness)
    sends = [call for call, _ in harness.attempts(invoice_id)]

    verdict = operator_retry.retry(harness.account, "OP-1", harness.tools)

    assert (verdict.done, words in verdict.text) == (done, True), verdict.text
    assert [call for call, _ in harness.attempts(invoice_id)] == sends
    if not done:
        assert emitted(harness)[-1].version == harness.row(invoice_id).version


@pytest.mark.parametrize("external_id", ["NONE", None, 7, "\x00"])
def test_retrying_what_there_is_none_of_is_reported(harness: Harness, external_id: Any) -> None:
    """Whoever asked is answered."""
    verdict = operator_retry.retry(harness.account, external_id, harness.tools)

    event = harness.one("SELECT * FROM events WHERE subject_kind = 'message' ORDER BY id DESC LIMIT 1")
    assert not verdict.done
    assert event.data["errors"][0]["code"] == "timbrado.no_existe"
