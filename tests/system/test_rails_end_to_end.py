"""The code of docs/connect-rails.md under Rails, as Apunto, in front of a running timbrado; the test is its user."""

import json
import os
import re
import secrets
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import standardwebhooks

from api import keys
from devstack import services
from devstack.ports import any_port
from tests.support.apunto import NAME, POSTCODE, RFC
from tests.support.doc_examples import examples
from tests.support.ruby import needs_rails

pytestmark = [needs_rails, pytest.mark.slow, pytest.mark.timeout(240)]

APP = Path(__file__).parents[1] / "support" / "rails_app.rb"
SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def write_the_page(folder: Path) -> None:
    """Write each piece of the page's code into the file that its first line names."""
    for text in examples("connect-rails.md").values():
        found = re.match(r"(?:# |<%# )(\S+)", text)
        assert found is not None, text
        path = folder / found[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@dataclass
class Apunto:
    """The Rails application, with somebody logged in to an account of their own."""

    url: str
    stack: Any
    account: str = ""

    def __call__(self, method: str, path: str, body: Any = None) -> httpx.Response:
        headers = {"X-Account": self.account}
        return httpx.request(method, self.url + path, headers=headers, json=body, timeout=60)

    def logged_in(self) -> tuple["Apunto", str]:
        """Open an account at the sandbox; return its user, and the key that it may paste."""
        name = f"acme-{uuid.uuid4().hex[:8]}"
        opened = self.stack.sandbox.open_account(
            name, rfc=RFC, razon_social=NAME, regimen_fiscal="601", lugares=[POSTCODE]
        )
        return replace(self, account=name), str(opened["api_key"])

    def draft(self, external_id: str, legal_name: str = "XENON INDUSTRIAL ARTICLES") -> int:
        """Have a draft of an invoice; return its contact's id."""
        line = {
            "sat_product_code": "78141501",
            "sat_unit_code": "E48",
            "name": "Flete terrestre",
            "description": "Flete Monterrey - Laredo",
            "quantity": "1",
            "price": "15000",
            "iva_rate": "0.16",
            "iva_withheld": "0.04",
        }
        answer = self(
            "POST",
            "/test/invoices",
            {
                "account": {"id": self.account, "rfc": RFC, "legal_name": NAME, "postal_code": POSTCODE},
                "contact": {
                    "identification": "XIA190128J61",
                    "legal_name": legal_name,
                    "postal_code": "76343",
                    "regimen_fiscal": "601",
                },
                "invoice": {
                    "id": external_id,
                    "payment_method_code": "03",
                    "payment_type_code": "PUE",
                    "cfdi_use_code": "G03",
                    "currency_code": "MXN",
                    "subtotal": "15000",
                    "total": "16800",
                },
                "lines": [line],
            },
        )
        return int(answer.json()["contact"])

    def paste(self, key: str) -> dict[str, Any]:
        """Paste a key into the form of the connection."""
        shown: dict[str, Any] = self("PATCH", "/timbrado_connection", {"api_key": key}).json()
        return shown

    def until_shown(self, external_id: str, label: str) -> str:
        """Look at an invoice's page until its status is this; only webhooks change it."""
        deadline = time.monotonic() + 60
        while True:
            page = self("GET", f"/invoices/{external_id}").text
            if f"<strong>{label}</strong>" in page:
                return page
            assert time.monotonic() < deadline, page
            time.sleep(0.1)


@pytest.fixture(scope="module")
def installed(
    servers: Any, make_stack: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Apunto]:
    api_port, rails_port = any_port(), any_port()
    url = f"http://127.0.0.1:{api_port}"
    stack = make_stack(
        env={
            "TIMBRADO_PUBLIC_URL": url,
            "TIMBRADO_WEBHOOK_URL": f"http://127.0.0.1:{rails_port}/hooks/timbrado",
            "TIMBRADO_WEBHOOK_SECRET": SECRET,
            "TIMBRADO_WEBHOOK_HOSTS": "127.0.0.1",
        }
    )
    service = replace(services.api(api_port, stack.environment), name=f"api-{api_port}")
    servers.runtime.add(service)
    engine = sa.create_engine(stack.database_url)
    with engine.begin() as db:
        now = db.execute(sa.text("SELECT now()")).scalar_one()
        key = keys.create(db, f"apunto-{secrets.token_hex(4)}", now=now, scopes=keys.SCOPES)
    engine.dispose()

    folder = tmp_path_factory.mktemp("apunto")
    write_the_page(folder)
    with (folder / "stderr").open("w") as errors:
        rails = subprocess.Popen(
            ["ruby", "-W0", "-Eutf-8", str(APP), str(folder), str(rails_port)],
            cwd=folder,
            env={
                **os.environ,
                "TIMBRADO_URL": url,
                "TIMBRADO_API_KEY": key,
                "TIMBRADO_WEBHOOK_SECRET": f"whsec_{'b' * 32},{SECRET}",
            },
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        assert rails.stdout is not None
        try:
            assert rails.stdout.readline() == "ready\n", (folder / "stderr").read_text()
            yield Apunto(f"http://127.0.0.1:{rails_port}", stack)
        finally:
            rails.kill()
            rails.wait(10)
            rails.stdout.close()
            servers.runtime.stop_service(service.name)
    print((folder / "rails.log").read_text()[-4_000:])


def test_from_a_wrong_key_to_the_documents_in_a_browser(installed: Apunto) -> None:
    """Connect, wrong key, corrected, faults before Facturar, stamped, XML and PDF without a key, cancelled."""
    user, key = installed.logged_in()
    contact = user.draft("1045", legal_name="Xenon Industrial Articles, S.A. de C.V.")

    assert user("GET", "/timbrado_connection").json() == {"label": "Sin conectar"}
    wrong = user.paste(key[:-1])
    assert wrong["label"] == "Conexión con problema"
    assert "API Key" in wrong["message"]
    assert "ContaDigital" in wrong["fix"]
    active = {"message": "Tu conexión con ContaDigital funciona. Ya puedes facturar.", "fix": None}
    assert user.paste(key) == {"label": "Conexión exitosa", **active}

    refused = user("POST", "/invoices/1045/stamp")
    assert refused.status_code == 422
    assert refused.json()["errors"].keys() == {"Nombre o razón social del cliente"}
    assert user("GET", "/invoices/1045").status_code == 204
    user("PATCH", f"/test/contacts/{contact}", {"legal_name": "Xenon Industrial Articles"})
    assert user("POST", "/invoices/1045/stamp").json()["label"] == "En la fila para timbrarse"

    page = user.until_shown("1045", "Timbrada")
    links = re.findall(r'href="([^"]+)"', page)
    assert [link.rpartition("/")[2] for link in links] == ["xml", "pdf"]
    for link, begins in zip(links, (b"<?xml", b"%PDF"), strict=True):
        given = user("GET", link)
        assert given.status_code == 302
        document = httpx.get(given.headers["location"])
        assert document.status_code == 200
        assert document.content.startswith(begins)
    assert user("GET", "/invoices/1045/documents/acuse").status_code == 404

    assert user("DELETE", "/invoices/1045/stamp", {"motivo": "02"}).status_code == 202
    user.until_shown("1045", "Cancelada")
    seen = [each[0][1] for each in user("GET", "/test/broadcasts").json() if each[0][0] == "TimbradoInvoice"]
    assert seen[-1] == "cancelled"


def test_a_regenerated_key_is_shown_and_the_invoice_goes_on_by_itself(installed: Apunto) -> None:
    """The page says so by a webhook alone, and the user pastes the new key once."""
    user, key = installed.logged_in()
    user.draft("2001")
    user.paste(key)
    new = user.stack.sandbox.regenerate_key(user.account)

    user("POST", "/invoices/2001/stamp")
    user.until_shown("2001", "En pausa: revisa la conexión")
    broken = user("GET", "/timbrado_connection").json()
    assert "fue revocado o regenerado" in broken["message"]
    assert user.paste(new)["label"] == "Conexión exitosa"

    user.until_shown("2001", "Timbrada")


def test_an_invoice_that_is_not_stamped_is_taken_back(installed: Apunto) -> None:
    """The same button as Cancelar: without a connection it waits, and is withdrawn."""
    user, _ = installed.logged_in()
    user.draft("2501")

    assert user("POST", "/invoices/2501/stamp").json()["label"] == "En pausa: revisa la conexión"
    assert user("DELETE", "/invoices/2501/stamp").json()["label"] == "Retirada"


def test_a_late_event_changes_nothing_and_a_false_one_is_refused(installed: Apunto) -> None:
    """The version rule, an event about no invoice, and a webhook that nobody signed."""
    user, key = installed.logged_in()
    user.draft("3001")
    user.paste(key)
    user("POST", "/invoices/3001/stamp")
    user.until_shown("3001", "Timbrada")

    def send(kind: str, secret: str = SECRET, **data: Any) -> int:
        now = "2026-11-23T16:15:03Z"
        body = json.dumps({"type": kind, "timestamp": now, "data": {"account": user.account, **data}})
        at = datetime.now(UTC)
        headers = {
            "webhook-id": "msg_1",
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": standardwebhooks.Webhook(secret).sign("msg_1", at, body),
        }
        return httpx.post(f"{user.url}/hooks/timbrado", content=body, headers=headers).status_code

    late = {"external_id": "3001", "invoice_id": "0197", "version": 1, "status": "accepted"}
    assert send("invoice.accepted", **late) == 204
    assert send("request.refused", external_id="9999", invoice_id=None, version=1, errors=[]) == 204
    assert send("weather.changed") == 204
    assert send("invoice.cancelled", secret="whsec_" + "c" * 32, **{**late, "version": 99}) == 400

    user.until_shown("3001", "Timbrada")
    assert user("GET", "/invoices/9999").status_code == 204


def test_where_no_webhook_arrives_the_events_are_followed(installed: Apunto) -> None:
    """All rows are forgotten, and come back as they were from the event line."""
    user, key = installed.logged_in()
    user.draft("4001")
    user.paste(key)
    user("POST", "/invoices/4001/stamp")
    user.until_shown("4001", "Timbrada")

    assert [user.account, "4001", "stamped"] in user("POST", "/test/follow").json()
