"""The client against a ContaDigital over HTTP, and its tokens on the rows of a real PostgreSQL."""

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet, MultiFernet

from cfdi.amounts import compute
from cfdi.document import read
from contadigital.auth import MemoryTokens, TokenStore, slot_of
from contadigital.client import Body, ContaDigital
from contadigital.errors import (
    AlreadyStamped,
    AnswerLost,
    ConnectionRefused,
    ContaDigitalError,
    DocumentRejected,
    IdRefused,
    NotSent,
    Throttled,
    UnknownRecord,
)
from contadigital.inspection import GivenConnection, inspect
from contadigital.records import Credentials, Customer, Product, Session
from contadigital.request_body import invoice_body
from contadigital.resolve_ids import resolve
from models.tables import connections
from net.transport import open_http
from sandbox.serve import RunningSandbox
from stamping.connections.tokens import ConnectionTokens
from tests.support.builders import a_concepto, a_traslado, an_exempt_traslado, an_invoice
from worker.database import open_engine

NUMBERS = itertools.count(1)


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with open_http(read=timedelta(seconds=5)) as client:
        yield client


def a_client(
    http: httpx.Client,
    tokens: TokenStore | None = None,
    *,
    seconds: float = 5,
    clock: Callable[[], datetime] = now,
) -> ContaDigital:
    return ContaDigital(
        http,
        tokens if tokens is not None else MemoryTokens(clock=now),
        call_timeout=timedelta(seconds=seconds),
        max_body=5_000_000,
        clock=clock,
        allowed_hosts=frozenset({"127.0.0.1"}),
    )


@dataclass
class Account:
    """An account of this test's own at the sandbox."""

    sandbox: RunningSandbox
    name: str
    key: str

    @property
    def credentials(self) -> Credentials:
        return Credentials(self.name, self.sandbox.url, None, lambda: self.key)

    def play(self, fault: str, **rule: Any) -> None:
        self.sandbox.play(fault, account=self.name, **rule)

    def calls(self, call: str) -> dict[str, int]:
        counted: dict[str, int] = self.sandbox.ledger(self.name)["calls"].get(self.name, {}).get(call, {})
        return counted


OpenAccount = Callable[..., Account]


@pytest.fixture
def open_account(sandbox: RunningSandbox) -> Iterator[OpenAccount]:
    def open_one(**facts: Any) -> Account:
        name = f"client-{next(NUMBERS)}"
        opened = sandbox.open_account(name, **facts)
        return Account(sandbox, name, opened["api_key"])

    yield open_one
    sandbox.calm()


@pytest.fixture
def account(open_account: OpenAccount) -> Account:
    return open_account()


def a_body(client: ContaDigital, account: Account, **changes: Any) -> Body:
    """Everything that must be known before a save: lists, customer, products."""
    invoice = read(an_invoice(fecha=None, **changes))
    session = client.authenticate(account.credentials)
    assert session.id_empresa is not None
    catalogs = client.catalogs(account.credentials)
    ids = resolve(
        catalogs,
        invoice,
        id_empresa=session.id_empresa,
        rfc="EKU9003173C9",
        serie=None,
        codigo_postal="64000",
    )
    receptor = invoice.receptor
    wanted = Customer(
        receptor.rfc, receptor.nombre, receptor.regimen_fiscal_receptor, receptor.domicilio_fiscal_receptor
    )
    found = client.find_customer(account.credentials, receptor.rfc)
    id_cliente = found.id if found else client.put_customer(account.credentials, wanted)
    id_productos = []
    for place, concepto in enumerate(invoice.conceptos):
        clave = f"{concepto.clave_prod_serv}-{concepto.objeto_imp}-{concepto.nombre}"
        product = Product(
            concepto.clave_prod_serv, concepto.nombre, ids.id_ums[place], concepto.objeto_imp, clave
        )
        known = client.find_product(account.credentials, product)
        id_productos.append(known.id if known else client.put_product(account.credentials, product))
    fecha = (now() - timedelta(hours=6, minutes=2)).replace(tzinfo=None, microsecond=0)
    return invoice_body(
        invoice,
        compute(invoice),
        replace(ids, id_cliente=id_cliente, id_productos=tuple(id_productos)),
        record_id=0,
        folio_original=f"OP-{next(NUMBERS)}",
        fecha=fecha,
        solo_guardar=True,
    )


# --- client and sandbox agree -----------------------------------------------------------------------------

VARIANTS: dict[str, dict[str, Any]] = {
    "freight with 4 % withheld": {},
    "exempt": {"conceptos": [a_concepto(traslados=[an_exempt_traslado()], retenciones=[])]},
    "0 %": {"conceptos": [a_concepto(traslados=[a_traslado(tasa_o_cuota="0.000000")], retenciones=[])]},
    "not subject": {"conceptos": [a_concepto(objeto_imp="01", traslados=[], retenciones=[])]},
    "several lines with discount": {
        "conceptos": [a_concepto(valor_unitario="33.33", cantidad="3"), a_concepto(descuento="150.25")]
    },
    "dollars": {"moneda": "USD", "tipo_cambio": "18.234500"},
    "to be paid later": {"metodo_pago": "PPD", "forma_pago": "99"},
    "to the public, global": {
        "receptor": {
            "rfc": "XAXX010101000", "nombre": "PUBLICO EN GENERAL", "domicilio_fiscal_receptor": "64000",
            "regimen_fiscal_receptor": "616", "uso_cfdi": "S01",
        },
        "informacion_global": {"periodicidad": "04", "meses": f"{now().month:02d}", "anio": now().year},
    },
    "a name with an ampersand": {
        "receptor": {
            "rfc": "L&O950913MSA", "nombre": "LUCES & OBRAS", "domicilio_fiscal_receptor": "60922",
            "regimen_fiscal_receptor": "601", "uso_cfdi": "G03",
        },
    },
}  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_saved_is_stamped_and_found_again(http: httpx.Client, account: Account, variant: str):
    """In each variant the saved Id is the one stamped, and a look-up gives the same UUID and XML."""
    client = a_client(http)
    body = a_body(client, account, **VARIANTS[variant])

    saved = client.save(account.credentials, body)
    before = client.look_up(account.credentials, saved.id)
    stamped = client.stamp(account.credentials, body, saved.id)
    after = client.look_up(account.credentials, saved.id)

    assert (saved.uuid, before.uuid) == (None, None)
    assert stamped.id == saved.id
    assert stamped.uuid is not None
    assert after.uuid == stamped.uuid
    assert after.xml == stamped.xml
    assert (stamped.xml or b"").lstrip().startswith(b"<?xml")
    assert f'Total="{body["Total"]}"'.encode() in (stamped.xml or b"")
    assert account.sandbox.ledger(account.name)["duplicates"] == 0


def test_a_credit_note_refers_to_its_invoice(http: httpx.Client, account: Account):
    """The related UUID stands in the XML that the sandbox stamped."""
    client = a_client(http)
    body = a_body(client, account)
    first = client.stamp(account.credentials, body, client.save(account.credentials, body).id)
    note = a_body(
        client,
        account,
        tipo_de_comprobante="E",
        cfdi_relacionados={"tipo_relacion": "01", "uuids": [first.uuid]},
    )

    stamped = client.stamp(account.credentials, note, client.save(account.credentials, note).id)

    assert (first.uuid or "").encode() in (stamped.xml or b"")


@pytest.mark.parametrize("behaviour", [
    {"bare": ["conectar", "utiles", "clientes", "productos", "save", "stamp", "look_up"]},
    {"token_at_top": True},
    {"token_style": "jwt", "reports_empresa": False},
    {"documents": "links"},
    {"documents": "links", "link_names": "UrlXml"},
    {"unknown_customer": "codigo", "unknown_record": "404"},
    {"unknown_customer": "404"},
    {"reports_stamps": True},
])  # fmt: skip
def test_every_form_that_was_seen_is_read(
    http: httpx.Client, open_account: OpenAccount, behaviour: dict[str, Any]
):
    """Bare bodies, other tokens, links for documents: each shape of answer yields a UUID and its XML."""
    account, client = open_account(behaviour=behaviour), a_client(http)
    body = a_body(client, account)

    stamped = client.stamp(account.credentials, body, client.save(account.credentials, body).id)

    assert stamped.uuid is not None
    xml = stamped.xml or client.document(account.credentials, stamped.xml_link or "")
    assert stamped.uuid.encode() in xml.upper()


def test_a_stamped_record_is_not_stamped_again(http: httpx.Client, open_account: OpenAccount):
    """A second stamp of one Id is AlreadyStamped, with the record where the answer has it."""
    for answer, is_known in (("with_xml", True), ("without_xml", False)):
        account, client = open_account(behaviour={"already_stamped": answer}), a_client(http)
        body = a_body(client, account)
        saved = client.save(account.credentials, body)
        stamped = client.stamp(account.credentials, body, saved.id)

        with pytest.raises(AlreadyStamped) as refused:
            client.stamp(account.credentials, body, saved.id)

        assert (refused.value.record is not None and refused.value.record.uuid == stamped.uuid) is is_known


def test_a_cancellation_goes_its_way(http: httpx.Client, open_account: OpenAccount):
    """Asked for with acceptance it is requested, with an acuse, and cancelled once the receptor accepts."""
    account, client = open_account(behaviour={"acceptance": "always"}), a_client(http)
    body = a_body(client, account)
    record = client.stamp(account.credentials, body, client.save(account.credentials, body).id)

    asked = client.cancel(account.credentials, record.id, "02")
    waiting = client.look_up(account.credentials, record.id)
    account.sandbox.control(
        "POST", f"/accounts/{account.name}/records/{record.id}/cancellation", {"state": "cancelled"}
    )
    done = client.look_up(account.credentials, record.id)

    assert asked.state == "requested"
    assert b"EstatusUUID" in (asked.acuse or b"")
    assert (waiting.cancellation, done.cancellation) == ("requested", "cancelled")


def test_a_cancellation_that_the_sat_refuses_says_why(http: httpx.Client, account: Account):
    """The SAT's code 204 is a DocumentRejected."""
    client = a_client(http)
    body = a_body(client, account)
    record = client.stamp(account.credentials, body, client.save(account.credentials, body).id)
    account.play("cancel_refused", call="cancel", code="204")

    with pytest.raises(DocumentRejected):
        client.cancel(account.credentials, record.id, "02")


def test_a_mail_is_sent(http: httpx.Client, account: Account):
    """A stamped record is mailed to the address given, as the ledger shows."""
    client = a_client(http)
    body = a_body(client, account)
    record = client.stamp(account.credentials, body, client.save(account.credentials, body).id)

    client.send_mail(account.credentials, record.id, "cliente@ejemplo.mx")

    assert account.sandbox.ledger(account.name)["mails"]


def test_a_receptor_the_sat_does_not_know_is_the_users_to_fix(http: httpx.Client, account: Account):
    """A receptor the SAT does not know is the user's to correct."""
    client = a_client(http)
    receptor = {
        "rfc": "XIA190128J61", "nombre": "XENON INDUSTRIAL", "domicilio_fiscal_receptor": "76343",
        "regimen_fiscal_receptor": "601", "uso_cfdi": "G03",
    }  # fmt: skip
    body = a_body(client, account, receptor=receptor)

    with pytest.raises(DocumentRejected) as refused:
        client.stamp(account.credentials, body, client.save(account.credentials, body).id)

    assert [(fault.code, fault.field) for fault in refused.value.faults] == [("CFDI40145", "receptor.nombre")]


def test_an_inactive_customer_is_found_inactive_and_revived(http: httpx.Client, account: Account):
    """A save refused for its customer succeeds after the same customer was made active."""
    client = a_client(http)
    body = a_body(client, account)
    account.sandbox.control("POST", f"/accounts/{account.name}/customers/XIA190128J61", {"Estatus": False})

    with pytest.raises(IdRefused) as refused:
        client.save(account.credentials, body)
    found = client.find_customer(account.credentials, "XIA190128J61")

    assert refused.value.what == "customer"
    assert found is not None
    assert not found.active
    assert client.put_customer(account.credentials, replace(found, active=True), found) == found.id
    assert client.save(account.credentials, body).id > 0


def test_ten_invoices_of_a_new_customer_at_once_make_one(http: httpx.Client, account: Account):
    """Ten threads that create one customer all get the same id."""
    client = a_client(http)
    xenon = Customer("XIA190128J61", "XENON INDUSTRIAL ARTICLES", "601", "76343")
    client.authenticate(account.credentials)

    with ThreadPoolExecutor(10) as pool:
        ids = list(pool.map(lambda _: client.put_customer(account.credentials, xenon), range(10)))

    assert len(set(ids)) == 1


# --- the account says no -----------------------------------------------------------------------------


def test_what_concerns_the_account_has_its_reason(http: httpx.Client, open_account: OpenAccount):
    """No stamps, no API and an inactive series are three reasons of ConnectionRefused."""

    def refused_with(change: dict[str, Any]) -> tuple[str, str]:
        account, client = open_account(), a_client(http)
        body = a_body(client, account)
        saved = client.save(account.credentials, body)
        account.sandbox.change(account.name, **change)
        with pytest.raises(ConnectionRefused) as refused:
            client.stamp(account.credentials, body, saved.id)
        return refused.value.reason, refused.value.cause

    assert refused_with({"stamps": 0}) == ("no_stamps", "")
    assert refused_with({"enabled": False}) == ("api_not_enabled", "")
    assert refused_with({"series": {"A": False}}) == ("serie_inactive", "")


@pytest.mark.parametrize("key_refusal", ["401", "403", "200"])
def test_a_regenerated_key_is_reported_however_it_is_refused(
    http: httpx.Client, open_account: OpenAccount, key_refusal: str
):
    """A regenerated key is recognised however it is refused."""
    account, client = open_account(behaviour={"key_refusal": key_refusal}), a_client(http)
    body = a_body(client, account)
    saved = client.save(account.credentials, body)
    account.sandbox.regenerate_key(account.name)

    with pytest.raises(ConnectionRefused) as refused:
        client.stamp(account.credentials, body, saved.id)

    assert refused.value.reason == "key_rejected"


def test_catalogues_that_changed_are_learnt_again(http: httpx.Client, account: Account):
    """With ids of a new key a save is IdRefused, and it says that the catalogues are stale."""
    client = a_client(http)
    body = a_body(client, account)
    account.key = account.sandbox.regenerate_key(account.name, other_ids=True)

    with pytest.raises(IdRefused) as refused:
        client.save(account.credentials, body)

    assert refused.value.what == "catalogs"


def test_an_inspection_sees_the_whole_account(http: httpx.Client, account: Account):
    """All faults of name, place and series at once; a revoked key alone where nothing else can be seen."""
    client = a_client(http)
    given = GivenConnection("EKU9003173C9", "Escuela Kemper Urgate S.A. de C.V.", "64000")

    good = inspect(client, account.credentials, given)
    account.sandbox.change(
        account.name, series={"A": False}, remove_lugar="64000", razon_social="OTRA EMPRESA"
    )
    bad = inspect(client, account.credentials, given)
    account.sandbox.revoke_key(account.name)
    worse = inspect(client, account.credentials, given)

    assert good.faults == ()
    assert [fault.reason for fault in bad.faults] == [
        "razon_social_mismatch", "lugar_expedicion_unknown", "serie_inactive",
    ]  # fmt: skip
    assert [fault.reason for fault in worse.faults] == ["key_rejected"]


# --- the sandbox's faults -----------------------------------------------------------------------------

LOST: list[tuple[str, dict[str, Any], bool]] = [
    ("drop_before", {}, False),
    ("drop_after", {}, True),
    ("silence_before", {"seconds": 3}, False),
    ("silence_after", {"seconds": 3}, True),
    ("cut_body", {}, True),
    ("slow_drip", {"seconds": 5}, True),
    ("status_before", {"status": 500}, False),
    ("status_after", {"status": 502}, True),
    ("status_after", {"status": 503, "retry_after": 7}, True),
    ("html", {}, True),
    ("html", {"done": False}, False),
    ("not_object", {}, True),
    ("not_json", {}, True),
    ("empty_envelope", {}, True),
    ("no_uuid", {}, True),
    ("unsure_before", {"code": "350"}, False),
    ("unsure_after", {"code": "708"}, True),
]


@pytest.mark.parametrize(
    ("fault", "knobs", "stamped"),
    LOST,
    ids=[f"{fault}-{number}" for number, (fault, _, _) in enumerate(LOST)],
)
def test_an_answer_that_is_lost_is_found_by_its_id(
    http: httpx.Client, account: Account, fault: str, knobs: dict[str, Any], stamped: bool
):
    """AnswerLost names its call, and the look-up by Id says whether it was stamped."""
    client = a_client(http, seconds=0.6)
    body = a_body(client, account)
    saved = client.save(account.credentials, body)
    account.play(fault, call="stamp", times=1, **knobs)

    with pytest.raises(AnswerLost) as lost:
        client.stamp(account.credentials, body, saved.id)
    found = client.look_up(account.credentials, saved.id)

    assert lost.value.call == "timbrar"
    assert lost.value.retry_after == (timedelta(seconds=7) if "retry_after" in knobs else None)
    assert (found.uuid is not None) is stamped


def test_a_throttled_stamp_says_when_to_come_back(http: httpx.Client, account: Account):
    """Retry-After is read in seconds and as a date."""
    client = a_client(http)
    body = a_body(client, account)
    saved = client.save(account.credentials, body)
    account.play("status_before", call="stamp", status=429, retry_after=30, times=1)
    with pytest.raises(Throttled) as seconds:
        client.stamp(account.credentials, body, saved.id)
    account.play("status_before", call="stamp", status=429, retry_after=30, retry_after_date=True, times=1)
    with pytest.raises(Throttled) as date:
        client.stamp(account.credentials, body, saved.id)

    assert seconds.value.retry_after == timedelta(seconds=30)
    assert date.value.retry_after is not None
    assert timedelta(seconds=25) < date.value.retry_after <= timedelta(seconds=31)


def test_what_can_be_noticed_is_visible(http: httpx.Client, account: Account):
    """A save that stamps shows its UUID, and a stamp of another record its own Id."""
    client = a_client(http)
    body = a_body(client, account)
    account.play("stamps_on_save", call="save", times=1)
    at_once = client.save(account.credentials, body)
    saved = client.save(account.credentials, {**body, "FolioOriginal": "OP-X"})
    account.play("ignores_id", call="stamp", times=1)
    elsewhere = client.stamp(account.credentials, {**body, "FolioOriginal": "OP-X"}, saved.id)

    assert at_once.uuid is not None
    assert elsewhere.id != saved.id


@pytest.mark.parametrize("knobs", [{"with_xml": True}, {"with_xml": False}])
def test_a_refusal_that_hides_a_stamp_says_already_stamped(
    http: httpx.Client, account: Account, knobs: dict[str, Any]
):
    """A refusal of something stamped is AlreadyStamped, with or without its XML."""
    client = a_client(http)
    body = a_body(client, account)
    saved = client.save(account.credentials, body)
    account.play("refuses_after", call="stamp", times=1, **knobs)

    with pytest.raises(AlreadyStamped) as refused:
        client.stamp(account.credentials, body, saved.id)

    assert (refused.value.record is not None and refused.value.record.uuid is not None) is knobs["with_xml"]


def test_a_look_up_that_denies_does_not_say_more_than_it_knows(http: httpx.Client, account: Account):
    """A denial gives a record without UUID; only "not found" is UnknownRecord."""
    client = a_client(http)
    body = a_body(client, account)
    saved = client.save(account.credentials, body)
    client.stamp(account.credentials, body, saved.id)
    account.play("deny", call="look_up", seconds=60, times=1)
    denied = client.look_up(account.credentials, saved.id)
    account.play("not_found", call="look_up", times=1)

    assert denied.uuid is None
    with pytest.raises(UnknownRecord):
        client.look_up(account.credentials, saved.id)


def test_a_late_pdf_is_asked_for_again(http: httpx.Client, open_account: OpenAccount):
    """A link that gives 500 is an error, and the same link gives the PDF the next time."""
    account, client = open_account(behaviour={"documents": "links"}), a_client(http)
    body = a_body(client, account)
    record = client.stamp(account.credentials, body, client.save(account.credentials, body).id)
    account.play("pdf_error", status=500, times=1)

    with pytest.raises(ContaDigitalError):
        client.document(account.credentials, record.pdf_link or "")
    assert client.document(account.credentials, record.pdf_link or "").startswith(b"%PDF")


# --- tokens on the connection's row ------------------------------------------------------------------

FERNET = MultiFernet([Fernet(Fernet.generate_key())])


@pytest.fixture(scope="module")
def engine(make_database: Callable[[], str]) -> Iterator[sa.Engine]:
    engine = open_engine(make_database())
    yield engine
    engine.dispose()


@pytest.fixture
def connected(account: Account, engine: sa.Engine) -> Account:
    """An account whose connection has a row."""
    return with_a_row(account, engine)


def with_a_row(account: Account, engine: sa.Engine) -> Account:
    with engine.begin() as db:
        db.execute(
            sa.insert(connections).values(
                account=account.name,
                status="pending",
                rfc="EKU9003173C9",
                razon_social="ESCUELA KEMPER URGATE",
                codigo_postal="64000",
                base_url=account.sandbox.url,
                key_encrypted="sealed",
                created_at=now(),
                updated_at=now(),
            )
        )
    return account


def row_of(account: Account, engine: sa.Engine) -> sa.Row[Any]:
    with engine.begin() as db:
        return db.execute(sa.select(connections).where(connections.c.account == account.name)).one()


def write(account: Account, engine: sa.Engine, **values: Any) -> None:
    with engine.begin() as db:
        db.execute(sa.update(connections).where(connections.c.account == account.name).values(**values))


def stores(engine: sa.Engine, count: int, **how: Any) -> list[ConnectionTokens]:
    """As many processes would have."""
    return [ConnectionTokens(engine, FERNET, **{"clock": now, **how}) for _ in range(count)]


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """Run all of them in threads that start together; what each returned or raised."""
    ready = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        ready.wait(10)
        try:
            return call()
        except ContaDigitalError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


@pytest.mark.parametrize("style", ["expired", "refused"])
def test_fifty_threads_with_an_expired_token_make_one_exchange(
    http: httpx.Client, connected: Account, engine: sa.Engine, style: str
):
    """Fifty threads of five processes whose token is expired or refused make one exchange."""
    later = [timedelta(0)]

    def clock() -> datetime:
        return now() + later[0]

    processes = [a_client(http, store, clock=clock) for store in stores(engine, 5, clock=clock)]
    for process in processes:
        process.authenticate(connected.credentials)
    assert connected.calls("conectar") == {"ok": 1}
    if style == "refused":
        connected.sandbox.kill_tokens(connected.name)
    else:
        later[0] = timedelta(minutes=51)
    connected.play("latency", call="conectar", p50=0.1, p99=0.2)

    at_work = [processes[number % 5] for number in range(50)]
    found = at_once([lambda client=client: client.catalogs(connected.credentials) for client in at_work])  # type: ignore[misc]

    assert [each for each in found if isinstance(each, Exception)] == []
    assert connected.calls("conectar")["ok"] == 2


@pytest.mark.parametrize("key_refusal", ["401", "403", "200"])
def test_fifty_threads_with_a_revoked_key_make_one_refused_exchange(
    http: httpx.Client, open_account: OpenAccount, engine: sa.Engine, key_refusal: str
):
    """Fifty threads of five processes with a revoked key make one refused exchange."""
    account = with_a_row(open_account(behaviour={"key_refusal": key_refusal}), engine)
    processes = [a_client(http, store) for store in stores(engine, 5)]
    processes[0].authenticate(account.credentials)
    account.sandbox.revoke_key(account.name)

    at_work = [processes[number % 5] for number in range(50)]
    found = at_once([lambda client=client: client.look_up(account.credentials, 1) for client in at_work])  # type: ignore[misc]
    again = at_once([lambda client=client: client.look_up(account.credentials, 1) for client in at_work])  # type: ignore[misc]

    assert {each.reason for each in [*found, *again]} == {"key_rejected"}
    assert sum(times for result, times in account.calls("conectar").items() if result != "ok") == 1


def test_an_exchange_that_a_killed_process_claimed_while_the_clock_was_ahead_stops_nobody(
    http: httpx.Client, connected: Account, engine: sa.Engine
):
    """A claim that ends in five hours was taken by a wrong clock, and counts for nothing once the clock is right."""
    (store,) = stores(engine, 1, timeout=timedelta(seconds=0.2))
    client = a_client(http, store)
    write(connected, engine, token_claimed_until=now() + timedelta(seconds=50))
    with pytest.raises(NotSent, match="waited too long"):
        client.authenticate(connected.credentials)
    write(connected, engine, token_claimed_until=now() + timedelta(hours=5))

    client.authenticate(connected.credentials)

    assert connected.calls("conectar") == {"ok": 1}
    assert row_of(connected, engine).token_claimed_until is None


def test_a_refusal_that_comes_between_a_look_and_a_claim_is_not_asked_for_again(
    connected: Account, engine: sa.Engine
):
    """A process that claims the exchange the moment its last holder was refused has looked too early to know."""
    asked = []
    slot = slot_of(connected.credentials, connected.key)

    def refused() -> Session:
        asked.append(1)
        raise ConnectionRefused("key_rejected", "revoked")

    overtaken = open_engine(engine.url.render_as_string(hide_password=False))
    first, second = stores(engine, 1)[0], stores(overtaken, 1)[0]

    @sa.event.listens_for(overtaken, "before_cursor_execute")
    def overtake(_db: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.startswith("UPDATE") and not asked:
            with pytest.raises(ConnectionRefused):
                first.session(slot, refused)

    with pytest.raises(ConnectionRefused):
        second.session(slot, refused)

    overtaken.dispose()
    assert len(asked) == 1


def test_a_new_key_is_tried_at_once(http: httpx.Client, connected: Account, engine: sa.Engine):
    """After a refused key the next call with another one gets a token of its own."""
    client = a_client(http, stores(engine, 1)[0])
    client.authenticate(connected.credentials)
    new = connected.sandbox.regenerate_key(connected.name)
    with pytest.raises(ConnectionRefused):
        client.catalogs(connected.credentials)

    connected.key = new

    assert client.catalogs(connected.credentials).emisores


def test_an_account_switched_on_again_is_noticed_by_who_asks(
    http: httpx.Client, connected: Account, engine: sa.Engine
):
    """An inspection asks anew: `api_not_enabled` is gone once the API is enabled."""
    client = a_client(http, stores(engine, 1)[0])
    given = GivenConnection("EKU9003173C9", "ESCUELA KEMPER URGATE", "64000")
    connected.sandbox.change(connected.name, enabled=False)
    off = inspect(client, connected.credentials, given)
    connected.sandbox.change(connected.name, enabled=True)

    assert [fault.reason for fault in off.faults] == ["api_not_enabled"]
    assert inspect(client, connected.credentials, given).faults == ()


def test_the_row_shows_nothing_of_a_token_or_a_refusal(
    http: httpx.Client, connected: Account, engine: sa.Engine
):
    """What the row keeps of a token and of a refused exchange is encrypted."""
    store = stores(engine, 1)[0]
    client = a_client(http, store)
    token = client.authenticate(connected.credentials).token
    kept = [row_of(connected, engine).token_encrypted]
    store.refuse(
        slot_of(connected.credentials, connected.key),
        ConnectionRefused("key_rejected", "canario EKU9003173C9"),
    )
    kept.append(row_of(connected, engine).token_encrypted)

    assert token in FERNET.decrypt(kept[0]).decode()
    assert "canario" in FERNET.decrypt(kept[1]).decode()
    for secret in (connected.key, connected.name, token, "EKU9003173C9", "canario"):
        assert secret not in "".join(kept)


def test_a_token_outlives_its_process_and_dies_with_its_time(
    http: httpx.Client, connected: Account, engine: sa.Engine
):
    """A token outlives its process, and is used by none after its time."""
    for _ in range(2):
        a_client(http, stores(engine, 1)[0]).authenticate(connected.credentials)
    row = row_of(connected, engine)

    assert connected.calls("conectar") == {"ok": 1}
    assert timedelta(minutes=49) < row.token_expires_at - now() <= timedelta(minutes=50)
    assert row.token_claimed_until is None
    much_later = stores(engine, 1, clock=lambda: now() + timedelta(minutes=51))[0]
    a_client(http, much_later).authenticate(connected.credentials)
    assert connected.calls("conectar") == {"ok": 2}


@pytest.mark.parametrize("nonsense", ["gAAAAAB-nonsense", "another key's"])
def test_a_value_that_nobody_can_read_is_asked_for_anew(
    http: httpx.Client, connected: Account, engine: sa.Engine, nonsense: str
):
    """Where keys were rotated away, or somebody wrote there, the token is asked for anew."""
    a_client(http, stores(engine, 1)[0]).authenticate(connected.credentials)
    if nonsense == "another key's":
        nonsense = Fernet(Fernet.generate_key()).encrypt(b"{}").decode()
    write(connected, engine, token_encrypted=nonsense)

    assert a_client(http, stores(engine, 1)[0]).authenticate(connected.credentials).id_empresa is not None
    assert connected.calls("conectar") == {"ok": 2}


def test_without_a_row_each_process_asks_for_itself(http: httpx.Client, account: Account, engine: sa.Engine):
    """An address that is tried before there is a connection has its tokens in memory."""
    processes = [a_client(http, store) for store in stores(engine, 2)]

    found = at_once([lambda client=client: client.catalogs(account.credentials) for client in processes * 10])  # type: ignore[misc]

    assert [each for each in found if isinstance(each, Exception)] == []
    assert account.calls("conectar") == {"ok": 2}


def test_without_the_database_nothing_is_sent(http: httpx.Client, account: Account):
    """A database that does not answer is NotSent: the call has not left, and no key was exchanged."""
    away = open_engine("postgresql+psycopg://nobody@127.0.0.1:1/nothing")

    with pytest.raises(NotSent):
        a_client(http, stores(away, 1)[0]).catalogs(account.credentials)

    assert account.calls("conectar") == {}


def test_a_token_that_cannot_be_kept_is_used(http: httpx.Client, connected: Account, engine: sa.Engine):
    """A database that fails after the exchange does not cost the token that was brought."""
    failing = open_engine(engine.url.render_as_string(hide_password=False))

    @sa.event.listens_for(failing, "before_cursor_execute")
    def fail(_db: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if "token_encrypted=" in statement:
            raise sa.exc.OperationalError(statement, {}, Exception("gone"))

    client = a_client(http, stores(failing, 1)[0])

    assert (
        client.authenticate(connected.credentials).token == client.authenticate(connected.credentials).token
    )
    assert connected.calls("conectar") == {"ok": 1}
    assert row_of(connected, engine).token_encrypted is None
    failing.dispose()


def test_a_token_of_a_key_that_was_forgotten_meanwhile_is_not_kept(
    http: httpx.Client, connected: Account, engine: sa.Engine
):
    """A connection that was disconnected while its key was exchanged has no token afterwards."""
    write(connected, engine, key_encrypted=None)

    a_client(http, stores(engine, 1)[0]).authenticate(connected.credentials)

    assert row_of(connected, engine).token_encrypted is None


def test_a_claim_that_its_process_never_gave_back_is_taken(
    http: httpx.Client, connected: Account, engine: sa.Engine
):
    """A process that was killed while it asked holds the others up no longer than its claim lasts."""
    write(connected, engine, token_claimed_until=now() + timedelta(milliseconds=300))

    assert a_client(http, stores(engine, 1)[0]).authenticate(connected.credentials).token


def test_a_claim_that_lasts_too_long_is_not_waited_for(
    http: httpx.Client, connected: Account, engine: sa.Engine
):
    """A process that waits too long for another's exchange says that nothing was sent."""
    write(connected, engine, token_claimed_until=now() + timedelta(seconds=60))

    with pytest.raises(NotSent):
        a_client(http, stores(engine, 1, timeout=timedelta(milliseconds=200))[0]).authenticate(
            connected.credentials
        )
    assert connected.calls("conectar") == {}
