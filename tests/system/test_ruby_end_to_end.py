"""The Ruby client against a running timbrado: API, worker, broker, database and sandbox, nothing played."""

import json
import secrets
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from api import keys
from devstack import services
from devstack.ports import any_port
from tests.support.apunto import NAME, POSTCODE, RFC
from tests.support.builders import an_invoice
from tests.support.ruby import needs_ruby, ruby

pytestmark = [needs_ruby, pytest.mark.slow, pytest.mark.timeout(240)]

BEGIN = f"""
require "json"
require "timbrado"
CLIENT = Timbrado::Client.new(ENV.fetch("TIMBRADO_URL"), ENV.fetch("TIMBRADO_API_KEY"))
GIVEN = JSON.parse(ENV.fetch("GIVEN"))
ACCOUNT = GIVEN.fetch("account")
INVOICE = GIVEN["invoice"]

def connect(key) = CLIENT.connect(ACCOUNT, key, rfc: "{RFC}", razon_social: "{NAME}", codigo_postal: "{POSTCODE}")

def settled(external_id) = CLIENT.wait(ACCOUNT, external_id, timeout: 60)

def raised
  yield
rescue Timbrado::Error => error
  error
end

def show(*values) = puts(JSON.generate(values))
"""


@dataclass
class Installation:
    """A stack with its HTTP API, and a key for it."""

    stack: Any
    url: str
    key: str

    def run(self, script: str, **given: Any) -> Any:
        """Run a Ruby script that prints JSON, over this API."""
        env = {"TIMBRADO_URL": self.url, "TIMBRADO_API_KEY": self.key, "GIVEN": json.dumps(given)}
        return json.loads(ruby(f"{BEGIN}\n{script}", env=env))

    def open_account(self) -> tuple[str, str]:
        """Open an account at the sandbox; return its name and its key."""
        name = f"acme-{uuid.uuid4().hex[:8]}"
        opened = self.stack.sandbox.open_account(
            name, rfc=RFC, razon_social=NAME, regimen_fiscal="601", lugares=[POSTCODE, "64000"]
        )
        return name, str(opened["api_key"])


@pytest.fixture(scope="module")
def installation(servers: Any, make_stack: Callable[..., Any]) -> Iterator[Installation]:
    port = any_port()
    url = f"http://127.0.0.1:{port}"
    stack = make_stack(env={"TIMBRADO_PUBLIC_URL": url})
    service = replace(services.api(port, stack.environment), name=f"api-{port}")
    servers.runtime.add(service)
    engine = sa.create_engine(stack.database_url)
    with engine.begin() as db:
        now = db.execute(sa.text("SELECT now()")).scalar_one()
        key = keys.create(db, f"ruby-{secrets.token_hex(4)}", now=now, scopes=keys.SCOPES)
    engine.dispose()
    yield Installation(stack, url, key)
    servers.runtime.stop_service(service.name)


def test_a_wrong_key_is_named_and_what_waited_goes_on_once_it_is_corrected(
    installation: Installation,
) -> None:
    """Connect with half a key, submit, correct it: the invoice on hold is stamped without being sent again."""
    account, key = installation.open_account()
    invoice = an_invoice(account=account, external_id="OP/1 ñ", fecha=None)

    seen = installation.run(
        """
        wrong = connect(GIVEN["key"][0..9])
        waiting = CLIENT.submit(INVOICE)
        corrected = connect(GIVEN["key"])
        state = settled(INVOICE["external_id"])
        show(wrong.label, wrong.reason, wrong.fix, wrong.errors.map(&:label), waiting.label,
             corrected.label, state.label, state.version > waiting.version)
        """,
        account=account,
        key=key,
        invoice=invoice,
    )

    assert seen[:2] == ["Conexión con problema", "key_malformed"]
    assert "Cópialo de nuevo en ContaDigital" in seen[2]
    assert seen[3:] == [
        ["API Key de ContaDigital"],
        "En pausa: revisa la conexión",
        "Conexión exitosa",
        "Timbrada",
        True,
    ]


def test_faults_are_known_before_anything_is_sent(installation: Installation) -> None:
    """`check` says what a submission would get, with its totals, and stores nothing; the submission says the same."""
    account, key = installation.open_account()
    invoice = an_invoice(account=account, external_id="CHECK-1", fecha=None, total="1.00")
    invoice["receptor"] |= {"nombre": "XENON INDUSTRIAL ARTICLES SA DE CV"}

    found = installation.run(
        """
        connect(GIVEN["key"])
        checked = CLIENT.check(INVOICE)
        stored = raised { CLIENT.read(ACCOUNT, "CHECK-1") }.code
        refused = raised { CLIENT.submit(INVOICE) }
        show(checked.errors.map(&:to_h), checked.totals, stored, refused.faults.map(&:to_h),
             refused.invoice.status, CLIENT.check(GIVEN["good"]).good?)
        """,
        account=account,
        key=key,
        invoice=invoice,
        good=an_invoice(account=account, external_id="CHECK-2", fecha=None),
    )

    checked, totals, stored, refused, status, good = found
    assert {each["field"] for each in checked} == {"receptor.nombre", "total"}
    assert all(each["label"] and each["whose"] and each["fix"] for each in checked)
    assert totals["total"] == "16800.00"
    assert (stored, refused, status, good) == ("not_found", checked, "rejected", True)


def test_documents_are_whole_and_a_browser_gets_them_without_a_key(
    installation: Installation, tmp_path: Path
) -> None:
    """XML and PDF as bytes, as files and through links; what is not there says why."""
    account, key = installation.open_account()

    seen = installation.run(
        """
        connect(GIVEN["key"])
        CLIENT.submit(INVOICE)
        state = settled("DOC-1")
        paths = CLIENT.documents(ACCOUNT, "DOC-1", GIVEN["folder"])
        bytes = CLIENT.document(ACCOUNT, "DOC-1", :xml, sha256: state.document(:xml).sha256)
        acuse = raised { CLIENT.document(ACCOUNT, "DOC-1", :acuse) }.code
        show(state.to_h, paths, bytes.force_encoding("UTF-8"), CLIENT.links(ACCOUNT, "DOC-1"), acuse)
        """,
        account=account,
        key=key,
        invoice=an_invoice(account=account, external_id="DOC-1", fecha=None),
        folder=str(tmp_path),
    )

    state, paths, xml, links, acuse = seen
    assert sorted(Path(path).name for path in paths) == [
        f"A-1-{state['uuid']}.{kind}" for kind in ("pdf", "xml")
    ]
    for document in state["documents"]:
        (path,) = [each for each in paths if each.endswith(document["kind"])]
        content = Path(path).read_bytes()
        assert sha256(content).hexdigest() == document["sha256"]
        answer = httpx.get(links[document["kind"]])
        assert (answer.status_code, answer.content) == (200, content)
        assert f'filename="{Path(path).name}"' in answer.headers["content-disposition"]
        assert httpx.get(document["url"]).status_code == 401
    assert xml.encode() == (tmp_path / Path(paths[0]).with_suffix(".xml").name).read_bytes()
    assert acuse == "no_document"


def test_a_regenerated_key_holds_invoices_until_the_new_one_is_given(installation: Installation) -> None:
    """The user reads why, pastes the new key, and the invoice is stamped by itself."""
    account, key = installation.open_account()
    first = an_invoice(account=account, external_id="K-1", fecha=None)
    installation.run(
        'connect(GIVEN["key"]); show CLIENT.connection(ACCOUNT).active?',
        account=account,
        key=key,
    )
    new = installation.stack.sandbox.regenerate_key(account)

    seen = installation.run(
        """
        CLIENT.submit(INVOICE)
        waiting = settled("K-1")
        broken = CLIENT.connection(ACCOUNT)
        connect(GIVEN["new"])
        stamped = settled("K-1")
        stamped = settled("K-1") while stamped.status == "on_hold" && sleep(0.5)
        show(waiting.status, waiting.next["action"], broken.reason, broken.fix, stamped.status)
        """,
        account=account,
        invoice=first,
        new=new,
    )

    assert (seen[0], seen[2], seen[4]) == ("on_hold", "key_rejected", "stamped")
    assert seen[1] == seen[3] != ""


def test_a_stamped_invoice_is_cancelled(installation: Installation) -> None:
    """Each as its state allows; what it does not allow is a Conflict with the reason."""
    account, key = installation.open_account()

    seen = installation.run(
        """
        connect(GIVEN["key"])
        CLIENT.submit(INVOICE)
        settled("C-1")
        other = raised { CLIENT.submit(INVOICE.merge("total" => "2.00")) }
        again = CLIENT.submit(INVOICE).status
        nothing = raised { CLIENT.retry(ACCOUNT, "C-1") }
        wrong = raised { CLIENT.cancel(ACCOUNT, "C-1", "01") }.faults[0].code
        asked = CLIENT.cancel(ACCOUNT, "C-1", "02", reason: "duplicada")
        state = nil
        120.times { break if (state = CLIENT.read(ACCOUNT, "C-1", story: true)).status == "cancelled" || !sleep(0.5) }
        CLIENT.disconnect(ACCOUNT)
        CLIENT.submit(INVOICE.merge("external_id" => "C-2"))
        early = raised { CLIENT.cancel(ACCOUNT, "C-2", "02") }.faults[0].code
        reasons = state.story.select { |each| each["kind"] == "action" }.map { |each| each["reason"] }
        show(other.class, other.faults[0].code, other.invoice.status, again, nothing.class, wrong, asked.status,
             state.status, reasons, early)
        """,
        account=account,
        key=key,
        invoice=an_invoice(account=account, external_id="C-1", fecha=None),
    )

    assert seen[:4] == ["Timbrado::Conflict", "timbrado.conflict", "stamped", "stamped"]
    assert seen[4:6] == ["Timbrado::Conflict", "CANC208"]
    assert seen[6] in {"cancelling", "cancelled"}
    assert seen[7:] == ["cancelled", ["duplicada"], "timbrado.no_timbrada"]


def test_an_invoice_that_waits_is_withdrawn_and_never_stamped(installation: Installation) -> None:
    """One that waits for its connection is taken back; one that is stamped is not."""
    account, key = installation.open_account()

    seen = installation.run(
        """
        waiting = CLIENT.submit(INVOICE.merge("external_id" => "W-1"))
        withdrawn = CLIENT.withdraw(ACCOUNT, "W-1", reason: "ya no la quiere")
        connect(GIVEN["key"])
        CLIENT.submit(INVOICE)
        stamped = settled("W-2")
        refused = raised { CLIENT.withdraw(ACCOUNT, "W-2") }
        unknown = raised { CLIENT.withdraw(ACCOUNT, "W-3") }
        show(waiting.status, withdrawn.label, stamped.status, refused.class, unknown.class,
             CLIENT.read(ACCOUNT, "W-1").status)
        """,
        account=account,
        key=key,
        invoice=an_invoice(account=account, external_id="W-2", fecha=None),
    )

    classes = ["Timbrado::Conflict", "Timbrado::NotThere"]
    assert seen == ["on_hold", "Retirada", "stamped", *classes, "withdrawn"]


def test_a_stamped_invoice_is_replaced_by_a_new_one(installation: Installation) -> None:
    """The new one is stamped with its relation to the old one, which is then cancelled."""
    account, key = installation.open_account()

    seen = installation.run(
        """
        connect(GIVEN["key"])
        CLIENT.submit(INVOICE)
        old = settled("R-1")
        asked = CLIENT.replace(ACCOUNT, "R-1", INVOICE.merge("external_id" => "R-2"))
        new = settled("R-2")
        120.times { break if CLIENT.read(ACCOUNT, "R-1").status == "cancelled" || !sleep(0.5) }
        xml = CLIENT.document(ACCOUNT, "R-2", :xml).force_encoding("UTF-8")
        show(asked.external_id, new.status, CLIENT.read(ACCOUNT, "R-1").status,
             xml.include?('TipoRelacion="04"') && xml.upcase.include?(old.uuid.upcase))
        """,
        account=account,
        key=key,
        invoice=an_invoice(account=account, external_id="R-1", fecha=None),
    )

    assert seen == ["R-2", "stamped", "cancelled", True]


def test_a_person_accepts_what_differs_with_a_reason(installation: Installation) -> None:
    """The stamp that says another total waits for a decision, and is stamped once it is accepted."""
    account, key = installation.open_account()
    installation.run('show connect(GIVEN["key"]).active?', account=account, key=key)
    installation.stack.sandbox.play("wrong_xml", account=account, call="stamp", times=1, form="total")

    seen = installation.run(
        """
        CLIENT.submit(INVOICE)
        differing = settled("D-1")
        nothing = raised { CLIENT.resolve(ACCOUNT, "D-1", reason: "no está") }
        accepted = CLIENT.accept(ACCOUNT, "D-1", reason: "el cliente está de acuerdo")
        again = raised { CLIENT.accept(ACCOUNT, "D-1", reason: "otra vez") }
        show(differing.status, differing.label, nothing.class, accepted.status, again.class)
        """,
        account=account,
        invoice=an_invoice(account=account, external_id="D-1", fecha=None),
    )

    conflict = "Timbrado::Conflict"
    assert seen == ["differs", "Timbrada con diferencias", conflict, "stamped", conflict]


def test_events_are_read_on_from_a_cursor_and_followed(installation: Installation) -> None:
    """The pages and the open line have the same events in the same order."""
    account, key = installation.open_account()

    seen = installation.run(
        """
        connect(GIVEN["key"])
        CLIENT.submit(INVOICE)
        settled("E-1")
        first = CLIENT.events(account: ACCOUNT, limit: 1)
        rest = CLIENT.events(account: ACCOUNT, after: first.cursor)
        followed = CLIENT.follow(account: ACCOUNT, after: first.cursor).first(rest.events.size)
        gone = raised { CLIENT.events(after: "01997f3a-0000-7000-8000-000000000000") }.code
        of = ->(event) { [event.type, event.version, event.subject] }
        show(first.events.map(&:type), rest.events.map(&of), followed.map { |each, _| of.(each) },
             rest.cursor == followed.last[1], gone)
        """,
        account=account,
        key=key,
        invoice=an_invoice(account=account, external_id="E-1", fecha=None),
    )

    first, rest, followed, same, gone = seen
    assert first == ["connection.active"]
    assert [each[0] for each in rest] == ["invoice.accepted", "invoice.stamped"]
    assert rest == followed
    assert (same, gone) == (True, "cursor_gone")


def test_catalogues_status_lists_and_refused_keys(installation: Installation) -> None:
    """What a form offers, how the whole stands, what there is, and what a key may not do."""
    account, key = installation.open_account()

    seen = installation.run(
        """
        connect(GIVEN["key"])
        3.times { |n| CLIENT.submit(INVOICE.merge("external_id" => "L-#{n}")) }
        found = CLIENT.invoices(account: ACCOUNT, since: Time.now - 3600).map(&:external_id)
        by_name = CLIENT.invoices(account: ACCOUNT, q: "xenon").first.account
        refused = raised { Timbrado::Client.new(ENV["TIMBRADO_URL"], "tk_wrong").status }.status
        show(found, by_name, refused, CLIENT.catalog("uso_cfdi", "gastos en general"), CLIENT.catalogs,
             CLIENT.status["provider"]["answers"])
        """,
        account=account,
        key=key,
        invoice=an_invoice(account=account, external_id="L", fecha=None),
    )

    assert seen[:3] == [["L-2", "L-1", "L-0"], account, 401]
    assert [each["key"] for each in seen[3]] == ["G03"]
    assert {
        "clave_prod_serv",
        "clave_unidad",
        "uso_cfdi",
        "regimen_fiscal",
        "forma_pago",
        "codigo_postal",
    } <= set(seen[4])
    assert seen[5] is True
