"""Replacing a stamped invoice: the new one first, related with 04, and the old one cancelled with motivo 01."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest

from stamping.cancellation import cancel
from stamping.cancellation.replace import replace
from stamping.intake.operator_retry import retry
from stamping.intake.submit import Accepted, Settled
from stamping.intake.withdraw import withdraw
from tests.support.builders import a_concepto, a_receptor, an_invoice
from tests.support.harness import Harness, sweep


def substitute(harness: Harness, external_id: str = "NEW", **changes: Any) -> Any:
    new = an_invoice(**{"account": harness.account, "external_id": external_id, "fecha": None, **changes})
    return replace(harness.account, "OLD", new, harness.tools)


def go_on(harness: Harness, *ids: UUID) -> None:
    """What the workers do by themselves."""
    for _ in range(6):
        due = sweep.sweep(harness.tools)
        for invoice_id in due.stamp:
            harness.stamp(invoice_id)
        for invoice_id in due.cancel:
            cancel.settle_cancellation(invoice_id, harness.tools)
        harness.later(seconds=90)


def test_the_old_one_is_cancelled_once_the_new_one_is_safe(harness: Harness) -> None:
    """Related with 04, in one commit with the stamp; the SAT gets to know which folio fiscal substitutes it."""
    old = harness.row(harness.stamped("OLD"))

    taken = substitute(harness)
    assert isinstance(taken, Accepted)
    assert harness.row(old.id).status == "stamped"
    harness.stamp(taken.invoice_id)
    new = harness.row(taken.invoice_id)
    assert (new.status, harness.row(old.id).status) == ("stamped", "cancelling")
    go_on(harness)

    row = harness.row(old.id)
    assert (row.status, row.motivo, row.uuid_sustitucion) == ("cancelled", "01", new.uuid)
    assert new.content["cfdi_relacionados"] == {"tipo_relacion": "04", "uuids": [old.uuid]}
    record = harness.sandbox.control("GET", f"/accounts/{harness.account}/records/{old.record_id}")
    assert record["cancellation"]["uuid_sustitucion"] == new.uuid


def test_a_substitute_that_is_refused_leaves_the_old_one_valid(harness: Harness) -> None:
    """Nothing is cancelled for it; corrected, it goes on to replace."""
    old = harness.stamped("OLD")

    taken = substitute(harness, conceptos=[a_concepto(clave_unidad="XXXX")])
    assert isinstance(taken, Settled)
    assert taken.what == "rejected"
    go_on(harness)
    assert harness.row(old).status == "stamped"

    uuid = harness.row(old).uuid
    corrected = harness.submit("NEW", cfdi_relacionados={"tipo_relacion": "04", "uuids": [uuid]})
    harness.stamp(corrected)
    assert harness.row(old).status == "cancelling"


def test_a_lost_answer_is_looked_up_before_the_old_one_is_cancelled(harness: Harness) -> None:
    """While nobody knows whether the new one is stamped, the old one stays; found, it is cancelled."""
    old = harness.stamped("OLD")
    taken = substitute(harness)
    assert taken.invoice_id is not None
    harness.sandbox.play("drop_after", account=harness.account, call="stamp", times=1)

    harness.stamp(taken.invoice_id)
    assert (harness.row(taken.invoice_id).status, harness.row(old).status) == ("in_doubt", "stamped")
    harness.look_until(taken.invoice_id, "stamped")

    assert harness.row(old).status == "cancelling"
    assert harness.duplicates() == 0


def test_a_substitute_that_differs_cancels_nothing_before_it_is_accepted(harness: Harness) -> None:
    """Two that are valid are better than a wrong one alone: a person decides first."""
    old = harness.stamped("OLD")
    taken = substitute(harness)
    assert taken.invoice_id is not None
    harness.sandbox.play("wrong_xml", account=harness.account, call="stamp", times=1, form="total")

    harness.stamp(taken.invoice_id)
    go_on(harness)

    assert (harness.row(taken.invoice_id).status, harness.row(old).status) == ("differs", "stamped")


def test_the_same_request_again_changes_nothing(harness: Harness) -> None:
    """Before and after the old one is cancelled: the substitute's status is reported, and one was stamped."""
    harness.stamped("OLD")
    first = substitute(harness)
    assert first.invoice_id is not None
    assert isinstance(substitute(harness), Settled)
    harness.stamp(first.invoice_id)
    go_on(harness)

    again = substitute(harness)

    assert isinstance(again, Settled)
    assert again.invoice_id == first.invoice_id
    assert (harness.stamps(), harness.duplicates()) == (2, 0)


@pytest.mark.parametrize("wrong", ["unstamped", "cancelled", "itself", "nothing", "unknown", "another's"])
def test_what_cannot_be_replaced_is_refused_in_words(harness: Harness, wrong: str) -> None:
    """The old one stays as it is, and nothing is stamped."""
    old = harness.submit("OLD") if wrong == "unstamped" else harness.stamped("OLD")
    if wrong == "cancelled":
        cancel.request(harness.account, "OLD", "02", None, harness.tools)
        go_on(harness)
    stamps, before = harness.stamps(), harness.row(old).status

    if wrong == "nothing":
        taken = replace(harness.account, "OLD", None, harness.tools)
    elif wrong == "unknown":
        taken = replace(harness.account, "nobody's", {}, harness.tools)
    elif wrong == "another's":
        taken = substitute(harness, "NEW", account="another")
    else:
        taken = substitute(harness, "OLD" if wrong == "itself" else "NEW")

    assert isinstance(taken, Settled)
    assert (harness.stamps(), harness.row(old).status) == (stamps, before)
    assert harness.all("SELECT 1 FROM invoices WHERE external_id = 'NEW'") == []
    last = harness.all("SELECT data FROM events ORDER BY id DESC LIMIT 1")[0].data
    assert last["errors"]


@pytest.mark.parametrize("external_id", ["a\0b", "a\ud800", "a" * 300, 5])
def test_a_substitute_whose_id_no_column_holds_is_unreadable_and_no_bug(
    harness: Harness, external_id: Any
) -> None:
    """The old one stays as it is; a message like that ends, too."""
    old = harness.stamped("OLD")

    taken = substitute(harness, external_id)

    assert isinstance(taken, Settled)
    assert taken.what == "unreadable"
    assert harness.row(old).status == "stamped"


def test_an_invoice_is_replaced_by_one_and_never_by_two(harness: Harness) -> None:
    """A second substitute is refused while the first may be stamped, and taken once the first is given up."""
    old = harness.stamped("OLD")
    first = substitute(harness, "FIRST")
    assert isinstance(first, Accepted)

    refused = substitute(harness, "SECOND")

    assert isinstance(refused, Settled)
    assert (refused.invoice_id, refused.what) == (old, "conflict")
    assert harness.all("SELECT 1 FROM invoices WHERE external_id = 'SECOND'") == []
    last = harness.all("SELECT type, data FROM events ORDER BY id DESC LIMIT 1")[0]
    assert (last.type, last.data["errors"][0]["code"]) == ("invoice.stamped", "timbrado.no_sustituible")

    withdraw(harness.account, "FIRST", harness.tools)
    second = substitute(harness, "SECOND")
    assert isinstance(second, Accepted)
    go_on(harness)
    assert [harness.row(each).status for each in (old, second.invoice_id)] == ["cancelled", "stamped"]


def test_two_substitutes_sent_at_once_are_one(harness: Harness) -> None:
    """Whichever comes first is taken, and the other refused."""
    harness.stamped("OLD")
    workers = [harness.another_worker() for _ in range(4)]

    with ThreadPoolExecutor(len(workers)) as threads:
        taken = list(threads.map(substitute, workers, [f"NEW-{each}" for each in range(len(workers))]))

    assert sorted(type(each).__name__ for each in taken) == ["Accepted", "Settled", "Settled", "Settled"]


def test_a_corrected_substitute_is_still_related_to_the_old_one(harness: Harness) -> None:
    """Sent again under its id, as it would be sent if it replaced nothing; and once more, which changes nothing."""
    old = harness.row(harness.stamped("OLD"))
    taken = substitute(harness, conceptos=[a_concepto(clave_unidad="XXXX")])
    assert isinstance(taken, Settled)

    new = harness.submit("NEW")
    assert harness.row(new).content["cfdi_relacionados"] == {"tipo_relacion": "04", "uuids": [old.uuid]}
    harness.stamp(new)
    version = harness.row(new).version
    go_on(harness)

    assert (harness.row(new).status, harness.row(old.id).status) == ("stamped", "cancelled")
    harness.submit("NEW")
    last = harness.all("SELECT data FROM events ORDER BY id DESC LIMIT 1")[0].data
    assert (last["errors"], last["version"]) == ([], version + 1)


def test_a_substitute_that_was_refused_comes_too_late_once_there_is_another(harness: Harness) -> None:
    """Corrected it would be a second one: it is refused in words, and stays as it is."""
    harness.stamped("OLD")
    substitute(harness, "FIRST", conceptos=[a_concepto(clave_unidad="XXXX")])
    assert isinstance(substitute(harness, "SECOND"), Accepted)

    late = harness.submit("FIRST")

    assert harness.row(late).status == "rejected"
    last = harness.all("SELECT data FROM events ORDER BY id DESC LIMIT 1")[0].data
    assert last["errors"][0]["code"] == "timbrado.no_sustituible"


def test_a_substitute_that_the_sat_refused_is_not_retried_beside_another(harness: Harness) -> None:
    """Both would be stamped, and the second substitutes nothing."""
    harness.stamped("OLD")
    first = substitute(harness, "FIRST", receptor=a_receptor(domicilio_fiscal_receptor="64000"))
    harness.stamp(first.invoice_id)
    assert harness.row(first.invoice_id).errors[0]["source"] != "timbrado"
    assert isinstance(substitute(harness, "SECOND"), Accepted)

    verdict = retry(harness.account, "FIRST", harness.tools)

    assert not verdict.done
    assert [fault.code for fault in verdict.faults] == ["timbrado.no_sustituible"]
    assert harness.row(first.invoice_id).status == "rejected"


@pytest.mark.parametrize("is_stamped", [False, True])
def test_an_invoice_that_was_sent_by_itself_becomes_the_substitute_or_says_that_it_cannot(
    harness: Harness, is_stamped: bool
) -> None:
    """Never an answer as if the old one were cancelled, where nothing cancels it."""
    old = harness.row(harness.stamped("OLD"))
    relation = {"tipo_relacion": "04", "uuids": [old.uuid]}
    new = harness.submit("NEW", cfdi_relacionados=relation)
    if is_stamped:
        harness.stamp(new)

    taken = substitute(harness, cfdi_relacionados=relation)
    go_on(harness)

    assert taken.invoice_id == new
    if is_stamped:
        assert harness.row(old.id).status == "stamped"
        last = harness.all("SELECT data FROM events ORDER BY id DESC LIMIT 1")[0].data
        assert last["errors"][0]["fix"].startswith(
            "Cuando esté timbrada, cancela la anterior con el motivo 01"
        )
    else:
        assert harness.row(old.id).status == "cancelled"


@pytest.mark.parametrize("uuids", [5, "x", {}, [None, {}], None])
def test_relations_of_another_shape_are_a_fault_and_no_bug(harness: Harness, uuids: Any) -> None:
    """The old one stays as it is."""
    old = harness.stamped("OLD")

    taken = substitute(harness, cfdi_relacionados={"tipo_relacion": "04", "uuids": uuids})

    assert isinstance(taken, Settled)
    assert (taken.what, harness.row(old).status) == ("rejected", "stamped")
