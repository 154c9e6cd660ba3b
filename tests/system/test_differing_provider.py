"""A provider that dates a second later, and one that reads a withholding differently: what everybody sees.

Real workers, the command line, the HTTP API, the panel and a receiver of webhooks. With DIFFERING_TRANSCRIPT=FILE what
they show is written to that file: docs/cuando-el-cfdi-difiere.md quotes it.
"""

import base64
import html
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from devstack.ports import any_port
from tests.support.apunto import Apunto, invoices_of
from tests.support.command_line import CommandLine
from tests.support.receiver import Answer, Receiver

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
SECRET = "whsec_" + base64.b64encode(b"timbrado" * 4).decode()


class Everybody:
    """Apunto with its receiver, an operator's shell, Prometheus, a program with a key, and a person at the panel."""

    def __init__(self, make_stack: Callable[..., Any]) -> None:
        self.receiver = Receiver(lambda _: Answer())
        port, self.metrics_port, api_port = self.receiver.port, any_port(), any_port()
        stack = make_stack(
            env={
                "TIMBRADO_SWEEP_EVERY": "0.5",
                "TIMBRADO_METRICS_PORT": str(self.metrics_port),
                "TIMBRADO_WEBHOOK_URL": f"http://127.0.0.1:{port}/hooks/timbrado",
                "TIMBRADO_WEBHOOK_SECRET": SECRET,
                "TIMBRADO_WEBHOOK_HOSTS": "127.0.0.1",
            }
        )
        self.apunto = Apunto(stack)
        environment = {k: v for k, v in stack.environment.items() if k != "TIMBRADO_METRICS_PORT"}
        self.timbrado = CommandLine(environment)
        self.api_url = f"http://127.0.0.1:{api_port}"
        self.server = subprocess.Popen(
            [str(Path(sys.executable).with_name("timbrado")), "serve", "--bind", f"127.0.0.1:{api_port}"],
            env={**os.environ, **environment},
            stderr=subprocess.DEVNULL,
        )
        key = self.timbrado("keys", "create", "apunto", "--scope", "submit,read,operate", "--json").json
        self.api = httpx.Client(base_url=self.api_url, headers={"Authorization": f"Bearer {key['key']}"})
        self.panel = httpx.Client(base_url=self.api_url, follow_redirects=True)
        self.written: list[str] = []

    def close(self) -> None:
        self.server.terminate()
        self.server.wait(20)
        self.api.close()
        self.panel.close()
        self.apunto.close()
        self.receiver.close()
        if path := os.environ.get("DIFFERING_TRANSCRIPT"):
            Path(path).write_text("\n".join(self.written), encoding="utf-8")

    def log_in(self) -> None:
        for _ in range(100):
            try:
                self.panel.get("/login")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        made = self.timbrado("keys", "create", "ana", "--person", "--role", "operator", "--json").json
        answer = self.panel.post("/login", data={"name": "ana", "key": made["key"], "back": "/"})
        assert answer.status_code == 200

    def webhook(self, external_id: str | None, kind: str, seconds: float = 30) -> dict[str, Any]:
        """The webhook of this type about an invoice (None: about the connection), once it has come."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for request in list(self.receiver.requests):
                event = request.event
                if event["type"] == kind and event["data"].get("external_id") == external_id:
                    self.note(f"webhook {kind}", event["data"]["message"])
                    for error in event["data"].get("errors") or ():
                        self.note(f"  errors[] ({error['whose']})", f"{error['message']} {error['fix']}")
                    data: dict[str, Any] = event["data"]
                    return data
            time.sleep(0.1)
        raise AssertionError(f"no {kind} about {external_id}")

    def status(self, account: str, external_id: str) -> str:
        done = self.timbrado("status", account, external_id)
        self.note(f"$ timbrado status {account} {external_id}", done.out)
        return done.out

    def doctor(self) -> str:
        done = self.timbrado("doctor")
        self.note("$ timbrado doctor", done.out)
        return done.out

    def until_gauge(self, name: str, wanted: float, seconds: float = 30) -> None:
        """Scrape until a gauge has this value: what is scraped was read a moment before."""
        deadline = time.monotonic() + seconds
        while True:
            text = httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics").text
            found = re.search(rf"^{re.escape(name)} ([0-9.e+]+)$", text, re.MULTILINE)
            if found is not None and float(found[1]) == wanted:
                self.note("metric", f"{name} {wanted:g}")
                return
            assert time.monotonic() < deadline, f"{name} is {found and found[1]}, not {wanted}"
            time.sleep(0.5)

    def asked(self, account: str, external_id: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.api.get(f"/v1/invoices/{account}/{external_id}").json()
        self.note(
            "GET /v1/invoices", {k: answer.get(k) for k in ("status", "uuid", "message", "next", "who")}
        )
        return answer

    def page(self, path: str) -> str:
        answer = self.panel.get(path)
        assert answer.status_code == 200
        text = re.sub(r"(?s)<(script|style)\b.*?</\1>", " ", answer.text)
        text = re.sub(r"\s*\n\s*", "\n", html.unescape(re.sub(r"<[^>]+>", "\n", text)))
        self.note(f"panel {path}", text)
        return text

    def note(self, what: str, shown: object) -> None:
        self.written.append(f"\n--- {what}\n{shown}")


@pytest.fixture(scope="module")
def everybody(make_stack: Callable[..., Any]) -> Iterator[Everybody]:
    all_of_them = Everybody(make_stack)
    try:
        all_of_them.log_in()
        yield all_of_them
    finally:
        all_of_them.close()


def test_a_provider_that_dates_a_second_later_is_no_matter_for_anybody(everybody: Everybody) -> None:
    """Each invoice is stamped, the user reads no more than that, and what differs stands in its history."""
    apunto, account = everybody.apunto, everybody.apunto.open_account()
    apunto.stack.sandbox.play("odd_stamp", account=account, call="stamp", form="fecha")
    first, second, third = invoices_of(account, 3)
    names = [each["external_id"] for each in (first, second, third)]
    apunto.submit([first])
    stamped = everybody.webhook(names[0], "invoice.stamped")
    apunto.submit([second, third])
    apunto.until(account, {"stamped"}, 3)

    assert (stamped["message"], stamped["errors"]) == ("Factura timbrada.", [])
    assert "Fecha: en tu factura es" in everybody.status(account, names[0])
    assert everybody.asked(account, names[0])["status"] == "stamped"
    everybody.until_gauge("timbrado_needs_person", 0)
    assert apunto.stack.sandbox.ledger(account)["stamps"] == 3
    assert apunto.query("SELECT status FROM connections WHERE account = :a", a=account)[0].status == "active"


def test_a_provider_that_reads_a_withholding_differently_is_stopped_and_every_stamp_has_an_end(
    everybody: Everybody,
) -> None:
    """It differs, with its folio fiscal; nothing more is stamped; it is accepted or cancelled; the rest goes on."""
    apunto, account = everybody.apunto, everybody.apunto.open_account()
    sandbox = apunto.stack.sandbox
    sandbox.play("odd_stamp", account=account, call="stamp", form="withholding", times=1)
    first, second = invoices_of(account, 2)
    a, b = first["external_id"], second["external_id"]

    # The first stamp: it exists, and it says something else.
    apunto.submit([first])
    differs = everybody.webhook(a, "invoice.differs")
    broken = everybody.webhook(None, "connection.broken")
    assert differs["uuid"]
    assert differs["message"].startswith(
        "La factura se timbró, pero el CFDI dice algo distinto de lo que enviaste."
    )
    assert any("IVA retenido de 4 %" in error["message"] for error in differs["errors"])
    assert {error["whose"] for error in differs["errors"]} == {"user"}
    assert broken["reason"] == "stamps_differ"
    # What comes after it waits, and its user knows why.
    apunto.submit([second])
    paused = everybody.webhook(b, "invoice.on_hold")
    assert "Detuvimos el timbrado de tu cuenta" in paused["message"]
    assert sandbox.ledger(account)["stamps"] == 1

    # The operator, Prometheus, the API and the panel say the same.
    shown = everybody.status(account, a)
    assert "timbrado accept" in shown
    assert "timbrado cancel" in shown
    assert "IVA retenido" in shown
    found = everybody.doctor()
    assert "1 are stamped with a CFDI that differs" in " ".join(found.split())
    assert "stamps_differ" in found
    everybody.until_gauge("timbrado_needs_person", 1)
    answer = everybody.asked(account, a)
    assert (answer["status"], answer["uuid"]) == ("differs", differs["uuid"])
    page = everybody.page(f"/facturas/{account}/{a}")
    assert "aceptarlo o cancelarlo" in page
    assert "IVA retenido de 4 %" in page
    assert "conceptos[0]" not in page

    # It can't be sent again, nor is it called unstamped.
    refused = everybody.api.post(f"/v1/invoices/{account}/{a}/retry", json={})
    everybody.note("POST retry", refused.json())
    assert refused.status_code == 409
    # Cancelled, with the word of the SAT; then it stands before nobody.
    cancelled = everybody.api.post(f"/v1/invoices/{account}/{a}/cancel", json={"motivo": "02"})
    assert cancelled.status_code == 202, cancelled.text
    shown = everybody.webhook(a, "invoice.cancelled")
    assert (shown["message"], shown["errors"]) == ("Factura cancelada ante el SAT.", [])
    everybody.until_gauge("timbrado_needs_person", 0)
    everybody.status(account, a)


def test_a_difference_that_is_accepted_lets_the_account_go_on(everybody: Everybody) -> None:
    """The user takes the CFDI as it is: it is stamped, the account goes on by itself, and the history says who."""
    apunto, account = everybody.apunto, everybody.apunto.open_account()
    apunto.stack.sandbox.play("odd_stamp", account=account, call="stamp", form="withholding", times=1)
    first, second = invoices_of(account, 2)
    a, b = first["external_id"], second["external_id"]
    apunto.submit([first])
    everybody.webhook(a, "invoice.differs")
    apunto.submit([second])
    everybody.webhook(b, "invoice.on_hold")
    done = everybody.timbrado("accept", account, a, "--reason", "el cliente no retiene")
    everybody.note(f"$ timbrado accept {account} {a} --reason 'el cliente no retiene'", done.out)

    assert done.code == 0
    assert everybody.webhook(a, "invoice.stamped")["message"].startswith("Factura timbrada.")
    assert everybody.webhook(b, "invoice.stamped")["message"].startswith("Factura timbrada.")
    assert "el cliente no retiene" in everybody.status(account, a)
    everybody.until_gauge("timbrado_needs_person", 0)
    assert apunto.query("SELECT status FROM connections WHERE account = :a", a=account)[0].status == "active"
