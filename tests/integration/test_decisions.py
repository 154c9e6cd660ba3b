"""What a person decides about an invoice: a difference is accepted, what nobody could tell is closed."""

from typing import Any
from uuid import UUID

import pytest

from stamping import sweep
from stamping.connections import connect
from stamping.intake import decisions, operator_retry
from stamping.intake.decisions import NotDecidedError
from tests.support.builders import a_concepto
from tests.support.harness import Harness

WHO: dict[str, Any] = {"reason": "el cliente lo aceptó", "actor": "cli:ana"}


def differing(harness: Harness, external_id: str = "OP-1") -> UUID:
    harness.sandbox.play("wrong_xml", account=harness.account, call="stamp", times=1, form="total")
    invoice_id = harness.submit(external_id, send_to=["cliente@ejemplo.mx"])
    harness.stamp(invoice_id)
    assert harness.row(invoice_id).status == "differs"
    return invoice_id


def stands_before_a_person(harness: Harness, external_id: str = "OP-1") -> UUID:
    """One whose stamp's answer was lost, at a provider that stamps under Ids of its own."""
    harness.sandbox.play("ignores_id", account=harness.account, call="stamp", times=2)
    harness.stamped("TEACHES")
    invoice_id = harness.submit(external_id)
    harness.sandbox.play("drop_after", account=harness.account, call="stamp", times=1)
    harness.stamp(invoice_id)
    harness.look_until(invoice_id, "failed")
    assert harness.row(invoice_id).reason == "needs_person"
    return invoice_id


def xml_of(harness: Harness, external_id: str) -> bytes:
    """The XML that ContaDigital has of an invoice, as a person downloads it there."""
    (row,) = [
        each
        for each in harness.sandbox.control("GET", f"/accounts/{harness.account}/cfdis")
        if each["folio_original"] == external_id
    ]
    return str(row["xml"]).encode()


def act(harness: Harness, invoice_id: UUID) -> list[tuple[str, str, str]]:
    rows = harness.all(
        "SELECT action, actor, reason FROM actions WHERE subject_id = :id ORDER BY id", id=invoice_id
    )
    return [(row.action, row.actor, row.reason) for row in rows]


def test_a_difference_that_is_accepted_is_a_stamp(harness: Harness) -> None:
    """It says so, with who decided and why; its mail leaves now, and what differed stays to be read."""
    invoice_id = differing(harness)

    decision = decisions.accept(harness.account, "OP-1", tools=harness.tools, **WHO)

    row = harness.row(invoice_id)
    assert (row.status, row.errors, decision.uuid) == ("stamped", [], row.uuid)
    assert row.mail_due_at is not None
    assert row.differences
    assert harness.event_types()[-1] == "invoice.stamped"
    assert act(harness, invoice_id) == [("accept", "cli:ana", WHO["reason"])]


def test_accepting_lets_a_stopped_account_go_on_even_where_nobody_answers_at_once(harness: Harness) -> None:
    """Its first stamp differed and stopped it; the decision is kept until a validation is answered."""
    differing(harness)
    assert harness.connection().reason == "stamps_differ"
    waiting = harness.submit("OP-2")
    harness.stamp(waiting)
    assert harness.row(waiting).status == "on_hold"

    decision = decisions.accept(harness.account, "OP-1", tools=harness.tools, **WHO)

    assert decision.lets_account_go_on
    harness.sandbox.play("drop_before", account=harness.account, call="utiles", times=1)
    (connection,) = sweep.sweep(harness.tools).probes
    assert not connect.probe(connection, harness.tools)
    assert harness.connection().reason == "stamps_differ"
    harness.later(seconds=600)
    (connection,) = sweep.sweep(harness.tools).probes
    assert connect.probe(connection, harness.tools)
    harness.later(seconds=1)
    harness.stamp(waiting)
    assert harness.row(waiting).status == "stamped"


def test_only_a_difference_is_accepted_and_only_with_a_reason(harness: Harness) -> None:
    """Anything else is refused in words, and changes nothing."""
    stamped = harness.stamped("OP-0")
    before = harness.row(stamped)

    with pytest.raises(NotDecidedError, match="it is stamped"):
        decisions.accept(harness.account, "OP-0", tools=harness.tools, **WHO)
    with pytest.raises(NotDecidedError, match="no invoice"):
        decisions.accept(harness.account, "nobody's", tools=harness.tools, **WHO)
    differing(harness)
    with pytest.raises(NotDecidedError, match="reason"):
        decisions.accept(harness.account, "OP-1", reason=" ", actor="x", tools=harness.tools)
    assert harness.row(stamped) == before


def test_what_was_found_stamped_is_adopted_by_its_xml(harness: Harness) -> None:
    """The XML that a person brings is examined as an answer's is, stored, and the invoice is stamped."""
    invoice_id = stands_before_a_person(harness)

    decision = decisions.resolve(
        harness.account, "OP-1", stamped_xml=xml_of(harness, "OP-1"), tools=harness.tools, **WHO
    )

    row = harness.row(invoice_id)
    (document,) = harness.all("SELECT * FROM documents WHERE invoice_id = :id", id=invoice_id)
    assert (row.status, row.reason, row.uuid) == ("stamped", None, decision.uuid)
    assert harness.tools.store.get(document.key) == xml_of(harness, "OP-1")
    assert harness.event_types()[-1] == "invoice.stamped"
    assert act(harness, invoice_id) == [("resolve", "cli:ana", WHO["reason"])]


def test_an_xml_that_proves_nothing_is_not_adopted(harness: Harness) -> None:
    """Cut, with a broken seal, or another invoice's stamp: refused with what is wrong, and nothing changed."""
    invoice_id = stands_before_a_person(harness)
    before = harness.row(invoice_id)
    right = xml_of(harness, "OP-1")

    for wrong in (b"", b"no XML", right[:500], right.replace(b'Descripcion="', b'Descripcion="X', 1)):
        with pytest.raises(NotDecidedError, match="proves no stamp") as refused:
            decisions.resolve(harness.account, "OP-1", stamped_xml=wrong, tools=harness.tools, **WHO)
        assert refused.value.faults
    with pytest.raises(NotDecidedError, match="'TEACHES'"):
        decisions.resolve(
            harness.account, "OP-1", stamped_xml=xml_of(harness, "TEACHES"), tools=harness.tools, **WHO
        )
    assert harness.row(invoice_id) == before


def test_an_xml_that_says_something_else_is_adopted_as_differing(harness: Harness) -> None:
    """It exists, so it is not lost: whoever brought it goes on to accept or cancel it."""
    invoice_id = stands_before_a_person(harness)
    with harness.tools.engine.begin() as db:
        db.exec_driver_sql(
            "UPDATE invoices SET content = jsonb_set(content, '{conceptos,0,cantidad}', '\"2\"')"
            " WHERE external_id = 'OP-1'"
        )

    decision = decisions.resolve(
        harness.account, "OP-1", stamped_xml=xml_of(harness, "OP-1"), tools=harness.tools, **WHO
    )

    assert (decision.status, harness.row(invoice_id).status) == ("differs", "differs")
    assert decision.differences


@pytest.mark.parametrize("how", ["retried", "sent again as it was", "sent again with other data"])
def test_what_is_certainly_not_stamped_may_be_sent_again(harness: Harness, how: str) -> None:
    """A person looked and found nothing: it is closed so, and starts anew without the Id of the lost try."""
    harness.stamped("CONTROL")
    invoice_id = harness.submit()
    harness.sandbox.play("drop_before", account=harness.account, call="stamp", times=1)
    harness.stamp(invoice_id)
    assert harness.row(invoice_id).status == "in_doubt"

    decisions.resolve(harness.account, "OP-1", stamped_xml=None, tools=harness.tools, **WHO)
    closed = harness.row(invoice_id)
    assert (closed.status, closed.reason, closed.record_id) == ("failed", "not_stamped", None)
    assert harness.event_types()[-1] == "invoice.failed"

    if how == "retried":
        assert operator_retry.retry(harness.account, "OP-1", harness.tools).done
    else:
        harness.submit(conceptos=[a_concepto(cantidad="2")] if "other" in how else [a_concepto()])
    harness.stamp(invoice_id)

    assert harness.row(invoice_id).status == "stamped"
    assert (harness.stamps(), harness.duplicates()) == (2, 0)


def test_nothing_is_closed_while_a_worker_is_at_it(harness: Harness) -> None:
    """Nor what is not open: a stamped invoice, or one that waits its turn."""
    harness.stamped("CONTROL")
    waiting = harness.submit("WAITS")
    for name in ("CONTROL", "WAITS"):
        with pytest.raises(NotDecidedError, match="nothing is open"):
            decisions.resolve(harness.account, name, stamped_xml=None, tools=harness.tools, **WHO)
    harness.claim(waiting)
    with pytest.raises(NotDecidedError, match="nothing is open"):
        decisions.resolve(harness.account, "WAITS", stamped_xml=None, tools=harness.tools, **WHO)
