"""The Django kit: webhooks become rows by the version rule, and a page shows them in Spanish."""

import importlib
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

django = pytest.importorskip("django", reason="the client does without Django, and so may this test")

from django.conf import settings  # noqa: E402  # only where Django is
from django.core.management import call_command  # noqa: E402
from timbrado_client import parse  # noqa: E402
from timbrado_client.testing import FakeTimbrado, sign  # noqa: E402

JSON = dict[str, Any]
SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture(scope="module")
def kit() -> Any:
    """The kit in a project of its own, with its tables made by its migrations."""
    settings.configure(
        INSTALLED_APPS=["timbrado_client.django"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        ROOT_URLCONF=urlconf(),
        ALLOWED_HOSTS=["testserver"],
        TIMBRADO_WEBHOOK_SECRET=SECRET,
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
        USE_TZ=True,
    )
    django.setup()
    call_command("migrate", verbosity=0)
    return importlib.import_module("timbrado_client.django.models")


def urlconf() -> type:
    """What `urls.py` of a project says; the view is imported once Django is set up."""

    class Urls:
        @property
        def urlpatterns(self) -> list[Any]:
            from django.urls import path  # noqa: PLC0415  # once Django is set up
            from timbrado_client.django.views import webhook  # noqa: PLC0415  # once Django is set up

            return [path("hooks/timbrado", webhook)]

    return Urls()  # type: ignore[return-value]  # Django asks for its attribute alone


@pytest.fixture
def rows(kit: Any) -> Iterator[Any]:
    yield kit
    kit.InvoiceRow.objects.all().delete()
    kit.ConnectionRow.objects.all().delete()


@pytest.fixture
def browser(kit: Any) -> Any:
    from django.test import Client  # noqa: PLC0415  # once Django is set up

    return Client()


def post(browser: Any, body: bytes, headers: dict[str, str]) -> int:
    answer = browser.post("/hooks/timbrado", body, content_type="application/json", headers=headers)
    return int(answer.status_code)


def stamped(version: int, **data: Any) -> JSON:
    facts = {"account": "acme", "external_id": "OP-1", "invoice_id": "i-1", "version": version}
    return {
        "type": "invoice.stamped",
        "timestamp": "2026-11-23T16:15:03Z",
        "data": {**facts, "status": f"at-{version}", "message": "m", **data},
    }


def test_a_signed_event_becomes_a_row(rows: Any, browser: Any, invoice: JSON) -> None:
    """Through the webhook: 204, and the invoice's own facts."""
    timbrado = FakeTimbrado()
    timbrado.submit(invoice)

    answers = [post(browser, body, headers) for headers, body in timbrado.webhooks(SECRET)]

    assert answers == [204, 204]
    row = rows.InvoiceRow.objects.get()
    known = timbrado.read("acme", invoice["external_id"])
    assert (row.account, row.external_id, row.status, row.version) == ("acme", "OP-10234-1", "stamped", 2)
    assert (row.uuid, row.folio, row.status_label) == (known.uuid, known.folio, "Timbrada")
    assert row.documents[0]["kind"] == "xml"


@pytest.mark.parametrize("wrong", ["signature", "body", "headers", "method"])
def test_what_the_worker_did_not_send_is_refused(rows: Any, browser: Any, wrong: str) -> None:
    """400 (405 for another method), and no row."""
    body = b'{"type": "invoice.stamped"}' if wrong == "body" else b"{}"
    headers = {} if wrong == "headers" else sign(body, SECRET, "m-1")
    if wrong == "signature":
        headers["webhook-signature"] = "v1,AAAA"

    answer = browser.get("/hooks/timbrado").status_code if wrong == "method" else post(browser, body, headers)

    assert answer == (405 if wrong == "method" else 400)
    assert rows.InvoiceRow.objects.count() == 0


def test_in_whatever_order_events_come_the_newest_is_kept(rows: Any) -> None:
    """All 24 orders of four events, each twice."""
    events = [parse(stamped(version)) for version in range(1, 5)]

    for order in itertools.permutations(events):
        rows.InvoiceRow.objects.all().delete()
        for event in (*order, *order):
            rows.record(event)
        assert rows.InvoiceRow.objects.get().status == "at-4"


def test_only_what_changed_is_signalled(rows: Any) -> None:
    """A repeated or late event is no news for the application."""
    from timbrado_client.django.signals import recorded  # noqa: PLC0415  # once Django is set up

    received: list[tuple[int, str]] = []

    def listen(sender: Any, *, event: Any, row: Any, **_: Any) -> None:
        received.append((event.version, row.status))

    recorded.connect(listen)
    try:
        changed = [rows.record(parse(stamped(version))) for version in (2, 2, 1, 3)]
    finally:
        recorded.disconnect(listen)

    assert changed == [True, False, False, True]
    assert received == [(2, "at-2"), (3, "at-3")]


def test_a_refused_request_makes_no_row(rows: Any) -> None:
    """Nor does the provider's state: they are about no invoice."""
    timbrado = FakeTimbrado()
    timbrado.retry("acme", "NO-SUCH")

    assert [rows.record(event) for event in timbrado.events()] == [False]
    assert rows.InvoiceRow.objects.count() == 0


def test_an_invoice_is_shown_in_spanish(rows: Any, invoice: JSON) -> None:
    """Status, message, and each fault with its label; a developer's detail is never shown."""
    from django.template.loader import render_to_string  # noqa: PLC0415  # once Django is set up

    timbrado = FakeTimbrado()
    timbrado.plays[invoice["external_id"]] = "rejected"
    timbrado.submit(invoice)
    for event in timbrado.events():
        rows.record(event)
    row = rows.InvoiceRow.objects.get()
    row.errors[0]["detail"] = "for developers"

    shown = render_to_string("timbrado/invoice.html", {"invoice": row})

    assert "Rechazada: hay que corregirla" in shown
    assert "<strong>Código postal del domicilio fiscal del cliente:</strong>" in shown
    assert "for developers" not in shown


def test_a_broken_connection_is_shown_with_what_to_do(rows: Any) -> None:
    """Reason and correction, once each."""
    from django.template.loader import render_to_string  # noqa: PLC0415  # once Django is set up

    timbrado = FakeTimbrado()
    timbrado.connection("acme", "broken", "key_rejected", "Ya no acepta la llave.", "Pégala de nuevo.")
    for event in timbrado.events():
        rows.record(event)

    shown = render_to_string("timbrado/connection.html", {"connection": rows.ConnectionRow.objects.get()})

    assert "Conexión con problema" in shown
    assert "ContaDigital no acepta el API Key" in shown
    assert shown.count("Pégala de nuevo.") == 1


def test_the_migration_is_the_models_own(rows: Any) -> None:
    """`makemigrations` would change nothing."""
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)
