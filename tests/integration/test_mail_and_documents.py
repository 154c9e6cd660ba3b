"""What comes after the stamp and never touches it: the mail to the customer, and the PDF that was late."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from stamping.cancellation import cancel
from stamping.followups import late_pdf, mail
from tests.support.harness import Harness, sweep

pytestmark = pytest.mark.one_database

ANA, BEA, CECILIA = "ana@ejemplo.mx", "bea@ejemplo.mx", "cecilia@ejemplo.mx"


def stamped(harness: Harness, external_id: str = "OP-1", **changes: Any) -> UUID:
    invoice_id = harness.submit(external_id, **changes)
    harness.stamp(invoice_id)
    assert harness.row(invoice_id).status == "stamped", harness.row(invoice_id).errors
    return invoice_id


def mails(harness: Harness) -> list[str]:
    return [mail["email"] for mail in harness.sandbox.ledger(harness.account)["mails"]]


def mail_until_settled(harness: Harness, invoice_id: UUID, most: int = 40) -> int:
    """Mail whenever that is due, until nothing is; return how many rounds that took."""
    for count in range(most):
        due = harness.row(invoice_id).mail_due_at
        if due is None:
            return count
        wait = due - harness.tools.clock.now()
        if wait > timedelta():
            harness.later(seconds=wait.total_seconds() + 0.01)
        mail.send_mail(invoice_id, harness.tools)
    raise AssertionError(f"mail is still due after {most} rounds")


def last(harness: Harness, invoice_id: UUID) -> Any:
    return harness.all("SELECT * FROM events WHERE subject_id = :id ORDER BY version DESC", id=invoice_id)[0]


# --- mail ------------------------------------------------------------------------------------------------------------


def test_each_address_gets_one_mail_once_it_is_stamped(harness: Harness) -> None:
    """Twice the same address is one; two that begin alike are two. The sweep finds the duty by itself."""
    invoice_id = stamped(harness, send_to=[CECILIA, "carla@ejemplo.mx", CECILIA.upper(), ANA, ANA])
    assert mails(harness) == []

    assert invoice_id in sweep.sweep(harness.tools).mail
    assert mail.send_mail(invoice_id, harness.tools)
    assert not mail.send_mail(invoice_id, harness.tools)

    assert mails(harness) == [CECILIA, "carla@ejemplo.mx", ANA]
    assert harness.event_types() == ["connection.active", "invoice.accepted", "invoice.stamped"]
    assert harness.row(invoice_id).mail_due_at is None


def test_nothing_is_mailed_that_is_not_stamped(harness: Harness) -> None:
    """`send_to` waits for the stamp, and nothing at all comes of it where nobody is named."""
    waiting = harness.submit("WAITING", send_to=[ANA])
    plain = stamped(harness, "PLAIN", send_to=[])

    due = sweep.sweep(harness.tools).mail

    assert not {waiting, plain} & set(due)
    assert not mail.send_mail(waiting, harness.tools)
    assert mails(harness) == []


def test_an_address_that_has_its_mail_is_left_alone_while_another_is_tried_again(harness: Harness) -> None:
    """The second call fails once: only that address is tried again."""
    harness.sandbox.play("mail_fails", account=harness.account, call="mail", after=1, times=1)
    invoice_id = stamped(harness, send_to=[ANA, BEA, CECILIA])

    rounds = mail_until_settled(harness, invoice_id)

    assert rounds == 2
    assert sorted(mails(harness)) == [ANA, BEA, CECILIA]
    assert harness.event_types()[-1] == "invoice.stamped"


def test_a_mail_that_is_refused_is_reported_once_after_its_tries_and_the_stamp_stands(
    harness: Harness,
) -> None:
    """Six refusals within a quarter of an hour; then the user reads which address had no mail, and never again."""
    harness.sandbox.play("mail_fails", account=harness.account, call="mail")
    invoice_id = stamped(harness, send_to=[ANA, BEA])
    before, began = harness.row(invoice_id), harness.tools.clock.now()

    rounds = mail_until_settled(harness, invoice_id)

    after, emitted = harness.row(invoice_id), last(harness, invoice_id)
    assert rounds == mail.MOST_REFUSALS
    assert harness.tools.clock.now() - began < timedelta(minutes=15)
    assert (after.status, after.uuid, after.stamped_at) == ("stamped", before.uuid, before.stamped_at)
    assert after.version == before.version + 1
    assert (emitted.type, emitted.data["status"]) == ("invoice.stamped", "stamped")
    assert "no pudo enviarla por correo" in emitted.data["message"]
    assert [error["field"] for error in emitted.data["errors"]] == ["send_to[0]", "send_to[1]"]
    assert len(emitted.data["documents"]) == 2
    assert invoice_id not in sweep.sweep(harness.tools).mail


def test_an_outage_does_not_use_up_the_tries_of_a_mail(harness: Harness) -> None:
    """While ContaDigital does not answer nobody is bothered; once it does, the mail goes."""
    invoice_id = stamped(harness, send_to=[ANA])
    harness.sandbox.play("status_before", account=harness.account, call="mail", status=503, times=8)

    rounds = mail_until_settled(harness, invoice_id)

    assert rounds == 9
    assert mails(harness) == [ANA]
    assert harness.event_types()[-1] == "invoice.stamped"
    assert harness.row(invoice_id).version == 2


def test_an_outage_of_a_day_is_reported(harness: Harness) -> None:
    """Nobody goes on trying for ever in silence."""
    invoice_id = stamped(harness, send_to=[ANA])
    harness.sandbox.play("status_before", account=harness.account, call="mail", status=503)

    mail_until_settled(harness, invoice_id)

    assert last(harness, invoice_id).data["errors"][0]["code"] == "timbrado.correo_no_enviado"
    assert (
        timedelta(hours=23)
        < harness.tools.clock.now() - harness.row(invoice_id).stamped_at
        < timedelta(hours=31)
    )


def test_two_workers_at_once_send_one_mail(harness: Harness) -> None:
    """A call that takes longer than the next sweep is not made a second time beside it."""
    invoice_id = stamped(harness, send_to=[ANA])
    harness.sandbox.play("latency", account=harness.account, call="mail", p50=0.5, p99=0.5)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(mail.send_mail, invoice_id, harness.tools)
        while not harness.all(
            "SELECT 1 FROM attempts WHERE invoice_id = :id AND call = 'mail'", id=invoice_id
        ):
            pass
        harness.later(seconds=30)  # the message is sent again, the first call is still under way
        second = pool.submit(mail.send_mail, invoice_id, harness.another_worker().tools)

    assert (first.result(), second.result()) == (True, False)
    assert mails(harness) == [ANA]


def test_a_worker_that_dies_while_mailing_leaves_the_mail_to_the_next(harness: Harness) -> None:
    """Its lease runs out and another goes on: those that have their mail are left alone."""
    invoice_id = stamped(harness, send_to=[ANA, BEA])
    harness.sandbox.play("mail_fails", account=harness.account, call="mail", after=1, times=1)
    mail.send_mail(invoice_id, harness.tools)
    harness.all(
        "UPDATE attempts SET outcome = NULL, finished_at = NULL WHERE invoice_id = :id AND outcome = 'refused'"
        " RETURNING id",
        id=invoice_id,
    )

    mail_until_settled(harness, invoice_id)

    assert mails(harness) == [ANA, BEA]


def test_a_refused_key_breaks_the_connection_and_is_not_tried_again_for_a_mail(harness: Harness) -> None:
    """A duty that kept trying a refused key could have the account locked."""
    invoice_id = stamped(harness, send_to=[ANA])
    key = harness.sandbox.regenerate_key(harness.account)
    mail.send_mail(invoice_id, harness.tools)
    assert harness.connection().reason == "key_rejected"

    for _ in range(5):
        harness.later(minutes=11)
        mail.send_mail(invoice_id, harness.tools)
    refused = harness.sandbox.ledger(harness.account)["calls"][harness.account]["conectar"]
    harness.connect(key)
    mail_until_settled(harness, invoice_id)

    assert sum(times for result, times in refused.items() if result.startswith("refused")) == 1
    assert harness.event_types().count("connection.broken") == 1
    assert mails(harness) == [ANA]


def test_a_late_pdf_does_not_use_up_the_tries_of_a_mail(harness: Harness) -> None:
    """Each duty counts its own."""
    harness.sandbox.play("pdf_late", account=harness.account, seconds=3600)
    harness.sandbox.play("mail_fails", account=harness.account, call="mail", times=2)
    invoice_id = stamped(harness, send_to=[ANA])
    for _ in range(7):
        harness.later(hours=0.1)
        late_pdf.fetch_pdf(invoice_id, harness.tools)

    mail_until_settled(harness, invoice_id)

    assert mails(harness) == [ANA]


def test_a_cancelled_invoice_is_not_mailed(harness: Harness) -> None:
    """Nobody wants it."""
    invoice_id = stamped(harness, send_to=[ANA])
    cancel.request(harness.account, "OP-1", "02", None, harness.tools)
    cancel.settle_cancellation(invoice_id, harness.tools)

    assert harness.row(invoice_id).status == "cancelled"
    assert invoice_id not in sweep.sweep(harness.tools).mail
    assert mails(harness) == []


def test_the_timeline_of_a_mail_does_not_write_the_address_down(harness: Harness) -> None:
    """The attempt names it well enough to be distinguished, and no better."""
    harness.sandbox.play("mail_fails", account=harness.account, call="mail", times=1)
    invoice_id = stamped(harness, send_to=[CECILIA])
    mail_until_settled(harness, invoice_id)

    details = [
        row.detail
        for row in harness.all(
            "SELECT detail FROM attempts WHERE invoice_id = :id AND call = 'mail' ORDER BY number",
            id=invoice_id,
        )
    ]
    assert details[-1] == "send_to[0] c***@ejemplo.mx"
    assert details[0].startswith("send_to[0] c***@ejemplo.mx: ")
    assert not any("cecilia" in detail for detail in details)


# --- documents -------------------------------------------------------------------------------------------------------


def fetch_until_settled(harness: Harness, invoice_id: UUID, most: int = 60) -> int:
    for count in range(most):
        due = harness.row(invoice_id).pdf_due_at
        if due is None:
            return count
        wait = due - harness.tools.clock.now()
        if wait > timedelta():
            harness.later(seconds=wait.total_seconds() + 0.01)
        late_pdf.fetch_pdf(invoice_id, harness.tools)
    raise AssertionError(f"a PDF is still due after {most} rounds")


@pytest.mark.parametrize("documents", ["base64", "links"])
def test_a_late_pdf_is_fetched_by_the_sweep_and_reported(harness: Harness, documents: str) -> None:
    """Stamped at once with its XML; the PDF comes by itself, and touches nothing but the list of documents."""
    harness.sandbox.change(harness.account, behaviour={"documents": documents})
    harness.sandbox.play("pdf_late", account=harness.account, seconds=100)
    invoice_id = stamped(harness)
    before = harness.row(invoice_id)
    emitted = last(harness, invoice_id)
    assert [document["kind"] for document in emitted.data["documents"]] == ["xml"]
    assert "PDF estará listo" in emitted.data["message"]
    assert invoice_id in sweep.sweep(harness.tools).documents

    rounds = fetch_until_settled(harness, invoice_id)

    after, emitted = harness.row(invoice_id), last(harness, invoice_id)
    assert 3 <= rounds <= 6
    assert (after.status, after.uuid, after.stamped_at) == ("stamped", before.uuid, before.stamped_at)
    assert (emitted.type, emitted.data["status"]) == ("invoice.documents_ready", "stamped")
    keys = {document["kind"]: document["key"] for document in emitted.data["documents"]}
    assert set(keys) == {"xml", "pdf"}
    assert harness.tools.store.get(keys["pdf"]).startswith(b"%PDF-")
    assert harness.event_types().count("invoice.documents_ready") == 1


@pytest.mark.parametrize("status", [404, 500])
def test_a_pdf_link_that_fails_is_asked_again(harness: Harness, status: int) -> None:
    """The link of the PDF answers with an error for a while: the XML is safe, so it is stamped."""
    harness.sandbox.change(harness.account, behaviour={"documents": "links", "link_names": "UrlXml"})
    harness.sandbox.play("pdf_error", account=harness.account, call="document", status=status)
    invoice_id = stamped(harness)
    late_pdf.fetch_pdf(invoice_id, harness.tools)
    assert harness.row(invoice_id).pdf_due_at is not None
    harness.sandbox.calm()

    fetch_until_settled(harness, invoice_id)

    assert harness.event_types()[-2:] == ["invoice.stamped", "invoice.documents_ready"]


def test_another_invoices_pdf_is_not_taken_for_this_ones(harness: Harness) -> None:
    """Under its Id stands something else by now (the connection has another address): nothing is stored or sent."""
    other = stamped(harness, "OTHER")
    harness.sandbox.play("pdf_late", account=harness.account, seconds=100)
    invoice_id = stamped(harness)
    harness.all(
        "UPDATE invoices SET record_id = :other WHERE id = :id RETURNING id",
        other=harness.row(other).record_id,
        id=invoice_id,
    )
    harness.later(minutes=10)

    assert not late_pdf.fetch_pdf(invoice_id, harness.tools)

    kinds = harness.all("SELECT kind FROM documents WHERE invoice_id = :id", id=invoice_id)
    assert [row.kind for row in kinds] == ["xml"]
    assert last(harness, invoice_id).type == "invoice.stamped"


def test_a_pdf_that_never_comes_is_given_up_after_a_week_and_reported(harness: Harness) -> None:
    """Some forty look-ups and no more; the invoice is stamped all the same."""
    harness.sandbox.play("pdf_late", account=harness.account, seconds=10_000_000)
    invoice_id = stamped(harness)

    rounds = fetch_until_settled(harness, invoice_id)

    emitted = last(harness, invoice_id)
    assert 25 <= rounds <= 45
    assert (emitted.type, emitted.data["status"]) == ("invoice.stamped", "stamped")
    assert emitted.data["errors"][0]["code"] == "timbrado.pdf_no_disponible"
    assert invoice_id not in sweep.sweep(harness.tools).documents


def test_a_cancelled_invoice_still_gets_its_pdf(harness: Harness) -> None:
    """Its papers are kept for the books, and the event says where it stands."""
    harness.sandbox.play("pdf_late", account=harness.account, seconds=100)
    invoice_id = stamped(harness)
    cancel.request(harness.account, "OP-1", "02", None, harness.tools)
    cancel.settle_cancellation(invoice_id, harness.tools)

    fetch_until_settled(harness, invoice_id)

    emitted = last(harness, invoice_id)
    assert (emitted.type, emitted.data["status"]) == ("invoice.documents_ready", "cancelled")
    assert {document["kind"] for document in emitted.data["documents"]} == {"xml", "pdf", "acuse"}
