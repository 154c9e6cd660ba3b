"""The panel as a browser gets it: who may see and do what, and the questions that a bookkeeper comes with."""

import asyncio
import html
import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from models.tables import connections
from tests.support.api import URL, AskedApi, api_over
from tests.support.builders import a_receptor
from tests.support.harness import Harness
from tests.support.panel_questions import questions

pytestmark = pytest.mark.one_database


@pytest.fixture(scope="module")
def database(make_database: Any) -> str:
    url: str = make_database()
    return url


@dataclass
class Browser:
    """Keeps cookies, follows no redirect by itself, and finds the form's token as a browser would send it."""

    api: AskedApi
    cookies: dict[str, str] = field(default_factory=dict)

    def __call__(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.api.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url=URL, cookies=self.cookies) as client:
                answer = await client.request(method, path, **options)
                self.cookies = dict(client.cookies)
                return answer

        return asyncio.run(ask())

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self("GET", path, **options)

    def send(self, path: str, *, page: str, **fields: str) -> httpx.Response:
        """Send a form of a page, with its token."""
        token = re.search(r'name="csrf" value="([0-9a-f]+)"', self.get(page).text)
        assert token is not None, f"{page} has no form"
        return self("POST", path, data={"csrf": token[1], **fields}, headers={"Origin": URL})


@pytest.fixture
def nobody(harness: Harness) -> Browser:
    return Browser(api_over(harness.tools))


def logged_in(nobody: Browser, name: str, role: str, **facts: Any) -> Browser:
    key = nobody.api.as_(name, role=role, **facts).key
    browser = Browser(nobody.api)
    answer = browser("POST", "/login", data={"name": name, "key": key, "back": "/"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    return browser


@pytest.fixture
def operator(nobody: Browser, harness: Harness) -> Browser:
    return logged_in(nobody, f"ana-{harness.account}", "operator")


@pytest.fixture
def viewer(nobody: Browser, harness: Harness) -> Browser:
    return logged_in(nobody, f"luis-{harness.account}", "viewer")


def page_of(harness: Harness, external_id: str) -> str:
    return f"/facturas/{harness.account}/{quote(external_id, safe='')}"


# --- logging in ------------------------------------------------------------------------------------------------------


def test_whoever_is_not_logged_in_is_led_to_the_log_in_page_and_back(nobody, harness):
    """Each page; and never to another site."""
    for path in ("/", "/facturas?q=x", page_of(harness, "A"), "/conexiones", "/avisos"):
        answer = nobody.get(path)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/login?back=")
    key = nobody.api.as_(f"back-{harness.account}", role="viewer").key
    for back in ("https://evil.example/", "//evil.example", "/\\evil.example", "/a\r\nb"):
        form = {"name": f"back-{harness.account}", "key": key, "back": back}
        assert Browser(nobody.api)("POST", "/login", data=form).headers["location"] == "/"


def test_a_session_is_a_cookie_that_scripts_and_other_sites_do_not_get(nobody, harness):
    """HttpOnly, Secure behind https, SameSite; it ends when its owner leaves, after its hours, and with its key."""
    key = nobody.api.as_(f"eva-{harness.account}", role="viewer").key
    answer = nobody("POST", "/login", data={"name": f"eva-{harness.account}", "key": key})
    cookie = answer.headers["set-cookie"].lower()
    assert {"httponly", "secure", "samesite=lax"} <= {each.strip() for each in cookie.split(";")}
    assert nobody.get("/").status_code == 200
    kept = dict(nobody.cookies)
    nobody("POST", "/logout", headers={"Origin": URL})
    assert Browser(nobody.api, kept).get("/").status_code == 303

    again = logged_in(nobody, f"eva2-{harness.account}", "viewer")
    harness.later(hours=13)
    assert again.get("/").status_code == 303


def test_who_sends_a_form_after_the_session_is_over_learns_that_nothing_was_done(operator, harness):
    """And is led back to the page that it was on, where it is sent again."""
    harness.submit("LATE-1")
    page = page_of(harness, "LATE-1")
    harness.later(hours=13)
    answer = operator(
        "POST", f"{page}/withdraw", data={"reason": "x"}, headers={"Referer": f"{URL}{page}?a=1"}
    )
    assert answer.status_code == 303
    shown = html.unescape(operator.get(answer.headers["location"]).text)
    assert "no se hizo lo que enviaste" in shown
    assert f'name="back" value="{page}?a=1"' in shown
    assert "no se hizo" not in operator.get("/login").text


def test_a_wrong_key_a_programs_key_and_a_wrong_name_are_refused(nobody, harness):
    """And guessing is slowed down."""
    program = nobody.api.as_(f"prog-{harness.account}", scopes=("read", "operate")).key
    person = nobody.api.as_(f"pia-{harness.account}", role="viewer").key
    for name, key in (("x", "y"), (f"prog-{harness.account}", program), ("otra", person)):
        assert nobody("POST", "/login", data={"name": name, "key": key}).status_code == 401
    statuses = [nobody("POST", "/login", data={"name": "x", "key": "y"}).status_code for _ in range(10)]
    assert statuses[-1] == 429


# --- who may do what -------------------------------------------------------------------------------------------------


def test_a_viewer_gets_no_action(viewer, operator, harness):
    """Neither a form, nor by sending one anyhow."""
    harness.stamp(harness.submit("V-1"))
    assert "Cancelar ante el SAT" in operator.get(page_of(harness, "V-1")).text
    assert '<form method="post" action="/facturas' not in viewer.get(page_of(harness, "V-1")).text
    assert "Guardar y validar" not in viewer.get(f"/conexiones/{harness.account}").text
    stolen = re.search(r'value="([0-9a-f]{64})"', operator.get(page_of(harness, "V-1")).text)
    assert stolen is not None
    answer = viewer("POST", f"{page_of(harness, 'V-1')}/retry", data={"csrf": stolen[1], "reason": "x"})
    assert answer.status_code == 403


def test_a_form_of_another_site_is_refused(operator, harness):
    """Without the token, with another's, or from another origin."""
    harness.submit("X-1")
    path = f"{page_of(harness, 'X-1')}/retry"
    token = re.search(r'value="([0-9a-f]{64})"', operator.get(page_of(harness, "X-1")).text)
    assert token is not None

    assert operator("POST", path, data={"reason": "x"}).status_code == 403
    assert operator("POST", path, data={"reason": "x", "csrf": "0" * 64}).status_code == 403
    other = operator(
        "POST", path, data={"reason": "x", "csrf": token[1]}, headers={"Origin": "https://evil.example"}
    )
    assert other.status_code == 403
    assert operator("POST", path, data={"reason": "x", "csrf": token[1]}).status_code == 303


def test_a_person_sees_only_the_accounts_of_its_key(nobody, harness):
    """In lists, by address, and in what it may do."""
    harness.submit("MINE-1")
    other = logged_in(nobody, f"otro-{harness.account[-6:]}", "operator", account_glob="other-*")

    for path in (
        page_of(harness, "MINE-1"),
        f"/conexiones/{harness.account}",
        f"{page_of(harness, 'MINE-1')}/xml",
    ):
        assert other.get(path).status_code == 404
    for path in ("/", "/facturas", "/conexiones", "/avisos"):
        assert harness.account not in other.get(path).text


# --- what a bookkeeper asks ------------------------------------------------------------------------------------------


def test_is_it_stamped_and_where_is_the_pdf(viewer, harness):
    """Found by its number in the search box; the page has its folio fiscal and both documents."""
    invoice_id = harness.submit("ASK-1")
    harness.stamp(invoice_id)
    row = harness.row(invoice_id)

    found = viewer.get("/facturas", params={"q": "ASK-1"}).text
    assert page_of(harness, "ASK-1") in found
    shown = viewer.get(page_of(harness, "ASK-1")).text
    assert "Timbrada" in shown
    assert row.uuid in shown
    pdf = viewer.get(f"{page_of(harness, 'ASK-1')}/pdf")
    assert pdf.content.startswith(b"%PDF")
    assert row.uuid in pdf.headers["content-disposition"]


def test_an_invoice_that_is_sent_again_counts_once_among_the_days_stamps(nobody, harness):
    """Its second event tells its status, not another stamp; nor does one of a day before count again."""
    mine = logged_in(nobody, f"mia-{harness.account}", "viewer", account_glob=harness.account)
    harness.stamp(harness.submit("DAY-1"))
    harness.submit("DAY-1")
    assert "<strong>1</strong> timbradas hoy" in mine.get("/").text

    harness.later(days=1)
    harness.submit("DAY-1")
    mine = logged_in(nobody, f"otra-{harness.account}", "viewer", account_glob=harness.account)
    assert "<strong>0</strong> timbradas hoy" in mine.get("/").text


def test_why_is_it_not_stamped_and_what_do_i_do(viewer, harness):
    """Each fault with the field's name, and its correction; who must act is said."""
    harness.submit("ASK-2", receptor=a_receptor(uso_cfdi="ZZZ"))

    shown = viewer.get(page_of(harness, "ASK-2")).text
    assert "Rechazada" in shown
    assert "Uso del CFDI" in shown
    assert "El usuario: Corregir los datos señalados" in shown


def test_a_document_that_is_late_says_so(viewer, harness):
    """On the invoice's own page, not as an empty file."""
    harness.submit("ASK-3")

    answer = viewer.get(f"{page_of(harness, 'ASK-3')}/pdf")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")


def test_what_waits_and_why_is_on_the_first_page(viewer, harness):
    """By account, with the reason in its owner's words and what to do."""
    harness.submit("WAIT-1")
    with harness.tools.engine.begin() as db:
        db.execute(connections.update().where(connections.c.account == harness.account).values(paused=True))

    shown = viewer.get("/").text
    assert harness.account in shown
    assert "Soporte pausó la cuenta." in shown


def test_what_waits_for_one_reason_is_one_line(viewer, harness):
    """What is on hold and what is still in the line wait for the same key: one line, with their number."""
    for number in range(4):
        harness.submit(f"LINE-{number}")
    harness.sandbox.revoke_key(harness.account)
    harness.stamp(harness.submit("LINE-4"))

    assert {row.status for row in harness.all("SELECT status FROM invoices WHERE account = :account",
                                             account=harness.account)} == {"accepted", "on_hold"}  # fmt: skip
    section = viewer.get("/").text.partition('id="waiting"')[2].partition("</section>")[0]
    rows = re.findall(r"<tr>.*?</tr>", section, re.DOTALL)
    mine = [each for each in rows if harness.account in each]
    assert len(mine) == 1
    assert 'data-label="Facturas" class="number">5<' in mine[0]


def link(page: str, name: str) -> str:
    """Where the page's first link of this name leads; a name is the whole text of a link."""
    found = re.search(rf'<a [^>]*href="([^"]+)"[^>]*>\s*{re.escape(name)}\s*</a>', page)
    assert found is not None, f"no link {name!r} on the page"
    return html.unescape(found[1])


def walk(viewer: Browser, *clicks: str) -> str:
    """Follow links by their names from the first page, or search (`?TEXT`); return what the last page shows."""
    shown = viewer.get("/").text
    for click in clicks:
        if click.startswith("?"):
            assert 'class="find" action="/facturas"' in shown
            shown = viewer.get("/facturas", params={"q": click[1:]}).text
        else:
            answer = viewer.get(link(shown, click))
            assert answer.status_code == 200, click
            shown = answer.headers.get("content-disposition", answer.text)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", shown)))


def test_the_questions_of_a_bookkeeper_take_two_clicks_each(viewer, harness):
    """From the first page, by links and the search box alone."""
    for question, (clicks, answer) in questions(harness).items():
        assert len(clicks) <= 2
        assert answer in walk(viewer, *clicks), question


# --- acting ----------------------------------------------------------------------------------------------------------


def test_an_operator_cancels_with_a_reason_that_is_kept(operator, harness):
    """Without one nothing is done."""
    invoice_id = harness.submit("ACT-1")
    harness.stamp(invoice_id)
    page = page_of(harness, "ACT-1")

    assert operator.send(f"{page}/cancel", page=page, motivo="02", reason=" ").status_code == 400
    assert harness.row(invoice_id).status == "stamped"
    refused = operator.send(f"{page}/cancel", page=page, motivo="01", reason="se repitió")
    assert refused.status_code == 422
    assert 'role="alert"' in refused.text
    done = operator.send(f"{page}/cancel", page=page, motivo="02", reason="se repitió")
    assert (done.status_code, done.headers["location"]) == (303, f"{page}?hecho=cancel")
    assert harness.row(invoice_id).status == "cancelling"
    shown = operator.get(f"{page}?hecho=cancel").text
    assert "La cancelación está en proceso." in shown
    assert "«se repitió»" in shown
    assert f"ana-{harness.account}" in shown


def test_an_operator_replaces_a_stamped_invoice(operator, harness):
    """The form begins with what was sent; what is refused is shown with its fault, and what was typed is kept."""
    invoice_id = harness.submit("REP-1")
    harness.stamp(invoice_id)
    page = page_of(harness, "REP-1")
    begun = html.unescape(operator.get(page).text.split('spellcheck="false">')[1].split("</textarea>")[0])
    new = {**json.loads(begun), "external_id": "REP-2"}
    same = operator.send(f"{page}/replace", page=page, invoice=begun, reason="precio")
    wrong = operator.send(f"{page}/replace", page=page, invoice="{", reason="precio")
    faulty = operator.send(
        f"{page}/replace", page=page, invoice=json.dumps({**new, "total": "1.00"}), reason="precio"
    )
    done = operator.send(
        f"{page}/replace", page=page, invoice=json.dumps({**new, "external_id": "REP-3"}), reason="precio"
    )

    assert same.status_code == 422
    assert 'role="alert"' in same.text
    assert "La factura nueva debe ser un objeto JSON." in wrong.text
    assert faulty.status_code == 422
    assert "El total no cuadra" in faulty.text
    assert "&#34;1.00&#34;" in faulty.text
    assert (done.status_code, done.headers["location"]) == (303, f"{page}?hecho=replace")
    assert (
        harness.one("SELECT replaces_id FROM invoices WHERE external_id = 'REP-3'").replaces_id == invoice_id
    )


def test_what_is_refused_is_a_page_in_spanish(operator, viewer, nobody, harness):
    """Whatever the API would answer in English: a document that is not there, an action too late, a bad address."""
    harness.stamp(harness.submit("ES-1"))
    page = page_of(harness, "ES-1")
    accept = {"Accept": "text/html"}
    late = operator.send(f"{page}/retry", page=page, reason="x")
    pages = [
        late,
        operator.get(f"{page}/acuse"),
        operator.get("/no-such-page", headers=accept),
        operator.get("/facturas?cursor=x", headers=accept),
        viewer("POST", f"{page}/retry", data={"csrf": "0", "reason": "x"}, headers=accept),
    ]

    assert [each.status_code for each in pages] == [409, 404, 404, 400, 403]
    assert "No hay nada que reintentar." in late.text
    for each in pages:
        assert each.headers["content-type"].startswith("text/html"), each.text
        alert = each.text.split('role="alert">')[1].split("</div>")[0]
        assert not re.search(r"\b(the|is|not|must|There)\b", alert), alert


def test_an_operator_corrects_a_connection(operator, harness, sandbox):
    """A wrong key is said where it was typed; the right one makes it active; pause and release are kept."""
    name = f"{harness.account}-p"
    opened = sandbox.open_account(name, rfc="EKU9003173C9", razon_social="ESCUELA KEMPER URGATE",
                                regimen_fiscal="601", lugares=["42501"])  # fmt: skip
    page = f"/conexiones/{name}"
    facts = {
        "rfc": "EKU9003173C9",
        "razon_social": "ESCUELA KEMPER URGATE",
        "codigo_postal": "42501",
        "serie": "A",
    }

    operator.send(f"{page}/connect", page=page, api_key="no-such-key-0000", **facts)
    shown = operator.get(page).text
    assert "Conexión con problema" in shown
    operator.send(f"{page}/connect", page=page, api_key=opened["api_key"], **facts)
    shown = operator.get(page).text
    assert "Conexión exitosa" in shown
    assert opened["api_key"] not in shown
    assert operator.send(f"{page}/hold", page=page, reason="mantenimiento").status_code == 303
    assert "Pausada" in operator.get("/conexiones").text
    assert operator.send(f"{page}/release", page=page, reason="listo").status_code == 303
    assert "«mantenimiento»" in operator.get(page).text
    bad = operator.send(f"{page}/connect", page=page, api_key="x", ids="{", **facts)
    assert bad.status_code == 400


def test_a_new_key_moves_no_account_and_another_company_is_confirmed_first(operator, harness):
    """The form asks for no address, so it keeps the connection's; what was typed is still there when it asks."""
    elsewhere, key = f"{harness.sandbox.url}/at/another", harness.sandbox.account(harness.account)["api_key"]
    harness.connect(key, base_url=elsewhere)
    harness.stamped("MV-1")
    harness.sandbox.play("drop_after", account=harness.account, call="stamp", times=1)
    harness.stamp(harness.submit("MV-2"))
    page = f"/conexiones/{quote(harness.account)}"
    facts = {
        "rfc": "EKU9003173C9",
        "razon_social": "ESCUELA KEMPER URGATE",
        "codigo_postal": "42501",
        "serie": "A",
    }

    kept = operator.send(f"{page}/connect", page=page, api_key=key, **facts)
    assert (kept.status_code, harness.connection().base_url) == (303, elsewhere)
    asked = operator.send(f"{page}/connect", page=page, api_key=key, **facts, empresa_id="424242")
    assert asked.status_code == 409
    assert "ya no se podría consultar en ContaDigital" in asked.text
    assert 'value="424242"' in asked.text
    assert 'name="move"' in asked.text
    assert harness.connection().status == "active"
    moved = operator.send(f"{page}/connect", page=page, api_key=key, **facts, empresa_id="424242", move="1")
    assert (moved.status_code, harness.connection().id_empresa_asked) == (303, 424242)


def test_every_page_is_whole_and_says_its_language(operator, harness):
    """Spanish, one h1, a way to the content, labels for each field, and no script or style of its own in it."""
    harness.stamp(harness.submit("WHOLE-1"))
    for path in (
        "/",
        "/facturas",
        page_of(harness, "WHOLE-1"),
        "/conexiones",
        f"/conexiones/{harness.account}",
        "/avisos",
    ):
        html = operator.get(path).text
        assert '<html lang="es-MX">' in html
        assert html.count("<h1") == 1
        assert 'class="skip"' in html
        for field_id in re.findall(r'<(?:input|select|textarea) id="([^"]+)"', html):
            assert f'for="{field_id}"' in html, (path, field_id)
        assert "<style" not in html
        assert " style=" not in html
        assert not re.search(r"<script(?! src)", html)
        ids = re.findall(r' id="([^"]+)"', html)
        assert len(ids) == len(set(ids)), path
