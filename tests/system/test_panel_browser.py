"""The panel in a real browser: each action by clicking and typing, what a viewer gets, and whether it can be read.

It needs Debian's chromium and chromium-driver, which `.ci/run` installs; elsewhere it skips and says so.
"""

import asyncio
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import uvicorn

from api.app import create_app
from devstack.ports import any_port
from events import channels
from models.vocabulary import Channel
from tests.support.api import AskedApi
from tests.support.browser import ENTER, Browser, missing, open_browser
from tests.support.harness import Harness, open_harness
from tests.support.panel_questions import questions

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")
PICTURES = os.environ.get("TIMBRADO_TEST_PICTURES")
"""A folder that pictures of the pages are saved in, for a person to look at."""

AXE = os.environ.get("TIMBRADO_TEST_AXE")
"""axe-core's axe.min.js, where a person has it: its whole set of rules is then asked too."""


@pytest.fixture(scope="module")
def harness(make_database: Any, sandbox: Any) -> Iterator[Harness]:
    with open_harness(make_database(), sandbox) as opened:
        yield opened


@pytest.fixture(scope="module")
def api(harness: Harness) -> Iterator[tuple[str, AskedApi]]:
    """The application on a port of this machine, and its address."""
    url = f"http://127.0.0.1:{any_port()}"
    app = create_app(harness.tools, enqueue=lambda *_: None, public_url=url)
    port = int(url.rpartition(":")[2])
    server = uvicorn.Server(
        uvicorn.Config(app, port=port, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield url, AskedApi(app, harness.tools)
    server.should_exit = True
    thread.join(30)


@pytest.fixture(scope="module")
def window(tmp_path_factory: Any) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture(scope="module")
def operator(window: Browser, api: tuple[str, AskedApi], harness: Harness) -> Browser:
    log_in(window, api, f"ana-{harness.account}", "operator")
    return window


def log_in(window: Browser, api: tuple[str, AskedApi], name: str, role: str) -> None:
    url, asked = api
    window.open(f"{url}/login")
    window.forget()
    window.type("name", name)
    window.type("key", str(asked.as_(name, role=role).key))
    window.press("Entrar")
    window.wait_for("Timbradas por hora")


def show(window: Browser, api: tuple[str, AskedApi], harness: Harness, external_id: str) -> None:
    window.open(f"{api[0]}/facturas/{harness.account}/{quote(external_id, safe='')}")


def act(window: Browser, heading: str, button: str, reason: str, **fields: str) -> None:
    """Open an action, fill it in, and send it."""
    box = f"//details[summary[normalize-space()='{heading}']]"
    window.press(heading, within=box)
    for name, text in fields.items():
        window.type(name, text, within=box)
    window.type("reason", reason, within=box)
    window.press(button, within=f"{box}//form")


def set_status(harness: Harness, invoice_id: Any, values: str) -> None:
    harness.all(f"UPDATE invoices SET {values} WHERE id = :id RETURNING id", id=invoice_id)


# --- each action -----------------------------------------------------------------------------------------------------


def test_what_is_not_stamped_is_retried_and_taken_back(operator, api, harness):
    """Each with its reason, which the history shows with the name of who did it."""
    invoice_id = harness.submit("B-RETRY")
    show(operator, api, harness, "B-RETRY")
    act(operator, "Reintentar", "Reintentar", "el cliente insiste")
    operator.wait_for("Se intentará de nuevo.")
    assert f"ana-{harness.account}: Reintentar — «el cliente insiste»" in operator.text
    act(operator, "Retirar", "Retirar", "se canceló el viaje")
    assert operator.question() == "¿Retirar esta factura? No se va a timbrar."
    operator.wait_for("La factura se está retirando.")
    assert harness.row(invoice_id).status == "withdrawn"


def test_a_stamped_one_is_replaced_and_another_cancelled(operator, api, harness):
    """The form of a substitute begins with what was sent; the SAT's motivo is chosen from a list."""
    old = harness.stamped("B-OLD")
    show(operator, api, harness, "B-OLD")
    sent = json.loads(operator.run("return document.getElementById('invoice').value"))
    new = json.dumps({**sent, "external_id": "B-NEW"})
    act(operator, "Sustituir por otra", "Sustituir", "cambió el precio", invoice=new)
    assert operator.question().startswith("¿Sustituir esta factura?")
    operator.wait_for("La nueva factura se recibió")
    assert harness.one("SELECT replaces_id FROM invoices WHERE external_id = 'B-NEW'").replaces_id == old

    other = harness.stamped("B-CANCEL")
    show(operator, api, harness, "B-CANCEL")
    operator.press("Cancelar ante el SAT")
    operator.choose("motivo", "02")
    box = "//details[summary[normalize-space()='Cancelar ante el SAT']]"
    operator.type("reason", "se repitió", within=box)
    operator.press("Pedir la cancelación", within=box)
    assert operator.question() == "¿Pedir al SAT la cancelación de este CFDI?"
    operator.wait_for("La cancelación está en proceso.")
    assert (harness.row(other).status, harness.row(other).motivo) == ("cancelling", "02")


def test_a_difference_is_accepted_and_a_case_is_closed(operator, api, harness):
    """What stands before a person is on the first page, and one click leads to it."""
    person = harness.submit("B-PERSON")
    harness.sandbox.play("wrong_xml", account=harness.account, call="stamp", times=1, form="total")
    differs = harness.submit("B-DIFFERS")
    harness.stamp(differs)
    set_status(harness, person, "status = 'failed', reason = 'needs_person', next_attempt_at = NULL")
    operator.open(api[0])
    operator.press("B-DIFFERS", within="//section[@aria-labelledby='persons']")
    act(operator, "Aceptar la diferencia", "Aceptar", "solo cambia la descripción")
    operator.wait_for("La diferencia quedó aceptada.")
    assert harness.row(differs).status == "stamped"
    operator.open(api[0])
    operator.press("B-PERSON", within="//section[@aria-labelledby='persons']")
    act(operator, "Resolver: no se timbró", "No se timbró", "no está en el SAT")
    assert operator.question() == "¿Seguro que no está en ContaDigital ni en el SAT?"
    operator.wait_for("La factura quedó resuelta.")
    assert harness.row(person).reason == "not_stamped"


def test_a_connection_is_made_corrected_paused_and_continued(operator, api, harness, sandbox):
    """A wrong key is explained where it was typed; the right one and ids by hand make it active."""
    account = f"{harness.account}-b"
    key = sandbox.open_account(
        account, rfc="EKU9003173C9", razon_social="ESCUELA KEMPER URGATE", regimen_fiscal="601", lugares=["42501"]
    )["api_key"]  # fmt: skip
    operator.open(f"{api[0]}/conexiones")
    operator.type("account", account, within="//main")
    operator.press("Abrir")
    operator.wait_for("Esta cuenta no está conectada a ContaDigital.")
    facts = {"rfc": "EKU9003173C9", "razon_social": "ESCUELA KEMPER URGATE", "codigo_postal": "42501"}
    for name, text in {**facts, "api_key": "no-such-key-0000", "serie": "A"}.items():
        operator.type(name, text, within="//main")
    operator.press("Guardar y validar")
    operator.wait_for("Conexión con problema")
    assert "pégalo en Apunto" in operator.text
    operator.type("api_key", key, within="//main")
    operator.type("ids", '{"forma_pago": {"03": 3}}', within="//main")
    operator.press("Guardar y validar")
    operator.wait_for("Conexión exitosa")
    assert key not in operator.run("return document.documentElement.outerHTML")
    row = harness.one("SELECT ids FROM connections WHERE account = :account", account=account)
    assert row.ids == {"forma_pago": {"03": 3}}
    act(operator, "Pausar", "Pausar", "mantenimiento")
    operator.wait_for("La cuenta quedó en pausa.")
    box = "//details[summary[normalize-space()='Reanudar']]"
    operator.type("reason", "ya quedó", within=box)
    operator.press("Reanudar", within=f"{box}//form")
    operator.wait_for("La cuenta continúa.")
    assert "«mantenimiento»" in operator.text


def test_an_event_is_sent_again(operator, api, harness):
    """Over the installation's channels, with the reason kept."""
    with harness.tools.engine.begin() as db:
        channels.set_current(db, (Channel.WEBHOOK,), harness.tools.clock.now())
    harness.stamped("B-EVENT")
    operator.open(f"{api[0]}/avisos")
    row = "//tr[.//a[normalize-space()='B-EVENT']][1]"
    operator.press("Reenviar", within=f"({row})[1]")
    operator.type("reason", "no llegó", within=f"({row})[1]")
    operator.press("Reenviar", within=f"({row})[1]//form")
    operator.wait_for("El aviso se envía de nuevo.")
    assert harness.one("SELECT reason FROM actions WHERE action = 'replay'").reason == "no llegó"


def test_the_page_follows_what_happens(operator, api, harness):
    """Without being loaded again: what a worker does shows within seconds."""
    invoice_id = harness.submit("B-LIVE")
    show(operator, api, harness, "B-LIVE")
    operator.wait_for("En la fila para timbrarse")
    harness.stamp(invoice_id)
    operator.wait_for("Factura timbrada.")


def test_a_link_opens_in_a_browser_and_is_dead_after_five_minutes(operator, api, harness):
    """Without a key or a log-in; then it says in Spanish what to do."""
    url, asked = api
    harness.stamped("B-LINK")
    reader = asked.as_(f"reader-{harness.account}", scopes=("read",))
    links = reader.post(f"/v1/invoices/{harness.account}/B-LINK/links").json()["links"]
    with httpx.Client() as anybody:
        assert anybody.get(links["xml"]).status_code == 200
    harness.later(minutes=4, seconds=50)
    with httpx.Client() as anybody:
        assert anybody.get(links["pdf"]).content.startswith(b"%PDF")
    harness.later(seconds=20)
    operator.open(links["xml"])
    operator.wait_for("Este enlace ya no es válido")
    operator.open(url)


def test_the_questions_of_a_bookkeeper_take_two_clicks_each(operator, api, harness):
    """From the first page, by links, and by the search box and its Enter."""
    shown: dict[tuple[str, ...], str] = {}
    for question, (clicks, answer) in questions(harness).items():
        if clicks not in shown:
            shown[clicks] = walk(operator, api[0], clicks)
        assert answer in shown[clicks], question


def walk(window: Browser, url: str, clicks: tuple[str, ...]) -> str:
    """Click from the first page on; return what the last page shows, or the name of the file that is downloaded."""
    window.open(url)
    window.one("//h1")
    for click in clicks:
        if click.startswith("?"):
            window.type("q", click[1:] + ENTER)
            window.wait_for("Serie y folio")
        elif click in {"PDF", "XML"}:
            return str(window.run(FILE_OF, click))
        else:
            window.press(click)
            window.one(f"//h1[contains(., '{click}')]")
    return re.sub(r"\s+", " ", window.text)


# --- reading it ------------------------------------------------------------------------------------------------------

CONTRAST = r"""
const luminance = (rgb) => rgb.slice(0, 3).map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const parse = (text) => (text.match(/[\d.]+/g) || []).map(Number);
const opaque = (c) => c.length === 3 || c[3] === 1;
const behind = (el) => { for (; el; el = el.parentElement) { const c = parse(getComputedStyle(el).backgroundColor);
  if (c.length && opaque(c)) return c; } return [255, 255, 255]; };
const poor = [];
for (const el of document.querySelectorAll("body *")) {
  if (![...el.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || !el.checkVisibility()) continue;
  if (el.closest("svg") || el.closest(".hidden, .skip")) continue;
  const [a, b] = [luminance(parse(getComputedStyle(el).color)), luminance(behind(el))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) poor.push(`${el.tagName} ${el.textContent.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
}
return poor;
"""
UNNAMED = r"""
return [...document.querySelectorAll("a, button, input:not([type=hidden]), select, textarea, summary")].filter((el) =>
  !(el.labels?.length || el.textContent.trim() || el.getAttribute("aria-label") || el.title)).map((el) => el.outerHTML);
"""
VIOLATIONS = "return axe.run().then((all) => all.violations.map((each) => [each.id, each.nodes[0].html]))"
LEVELS = 'return [...document.querySelectorAll("h1, h2, h3, h4")].map((el) => Number(el.tagName[1]))'
WIDER = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"


FILE_OF = """
const link = [...document.querySelectorAll("main a")].find((each) => each.textContent.trim() === arguments[0]);
return fetch(link.href).then((answer) => answer.headers.get("content-disposition"));
"""


def pages_of(harness: Harness) -> dict[str, str]:
    return {
        "hoy": "/",
        "facturas": "/facturas",
        "factura": f"/facturas/{harness.account}/B-A11Y",
        "conexiones": "/conexiones",
        "conexion": f"/conexiones/{harness.account}",
        "avisos": "/avisos",
    }


MODES = [(1280, False), (1280, True), (390, False), (390, True)]


@pytest.mark.parametrize("name", ["hoy", "facturas", "factura", "conexiones", "conexion", "avisos"])
def test_every_page_can_be_read(operator, api, harness, name):
    """Contrast of 4.5 to 1, each control named, headings in order, a language, and nothing wider than the window: wide
    and narrow, light and dark."""
    if not harness.all("SELECT 1 FROM invoices WHERE external_id = 'B-A11Y'"):
        harness.stamped("B-A11Y")
    operator.open(api[0] + pages_of(harness)[name])
    operator.one("//h1")
    for width, dark in MODES:
        operator.look(width=width, dark=dark)
        operator.run("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        assert operator.run(CONTRAST) == [], name
        assert operator.run(UNNAMED) == [], name
        levels = operator.run(LEVELS)
        assert levels[0] == 1, name
        assert all(after - before <= 1 for before, after in pairwise(levels)), name
        assert operator.run("return document.documentElement.lang") == "es-MX"
        assert operator.run(WIDER) <= 0, name
        if AXE:
            operator.run(Path(AXE).read_text(encoding="utf-8"))
            found = operator.run(
                "return axe.run().then((all) => all.violations.map((each) => [each.id, each.nodes.length]))"
            )
            assert found == [], name
        if PICTURES:
            operator.run(
                "document.querySelectorAll('.acts details').forEach((each) => { each.open = false; })"
            )
            operator.picture(Path(PICTURES) / f"{name}-{width}-{'dark' if dark else 'light'}.png")
    operator.look()


def test_the_keyboard_alone_reaches_everything(operator, api, harness):
    """Tab goes through the page from its top, the first stop leads to the content, and what has the focus shows it."""
    operator.open(api[0])
    operator.one("//h1")
    seen = []
    for _ in range(9):
        operator.keys("\ue004")
        seen.append(operator.run("const e = document.activeElement; return (e.textContent.trim() || e.name)"))
        assert operator.run("return getComputedStyle(document.activeElement).outlineStyle") != "none", seen
    assert seen[:6] == ["Ir al contenido", "timbrado", "Hoy", "Facturas", "Conexiones", "Avisos"]
    assert seen[6] == "q"
    operator.run("document.activeElement.blur()")
    operator.keys("gf")
    operator.wait_for("Serie y folio")


def test_a_viewer_gets_no_action(window, api, harness):
    """No button but the search and leaving, on any page; and a form sent anyhow is refused."""
    harness.submit("B-VIEW")
    log_in(window, api, f"luis-{harness.account}", "viewer")
    for path in [*pages_of(harness).values(), f"/facturas/{harness.account}/B-VIEW"]:
        window.open(api[0] + path)
        window.one("//h1")
        assert window.find("//main//form[@method='post']") == [], path
        assert "Acciones" not in window.text
    status = window.run(
        "return fetch(arguments[0], {method: 'POST', body: new URLSearchParams({reason: 'x', csrf: '0'})})"
        ".then((answer) => answer.status)",
        f"{api[0]}/facturas/{harness.account}/B-VIEW/withdraw",
    )
    assert status == 403
    window.press("Salir")
    window.one("//input[@name='key']")
    assert re.search(r"/login$", window.url)
