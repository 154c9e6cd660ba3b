"""Random courses of many invoices through the real functions, with the clock and ContaDigital's answers in the test's
hand: `World(...).run()` plays them and raises AssertionError for the first invoice that nothing would ever move again.

The provider answers on httpx's transport. Each account has a mood: how often each call of it is lost, refused, put off
or answered with nonsense; some moods never end. Time goes by in leaps of seconds to hours, and between them users and
operators correct, withdraw, cancel, replace, retry, disconnect, reconnect, pause and release, workers die at any call,
and the database is restored.
"""

import base64
import json
import random
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import httpx
import sqlalchemy as sa
from cryptography.fernet import Fernet, MultiFernet
from lxml import etree

from contadigital.auth import MemoryTokens
from contadigital.client import ContaDigital
from models.tables import attempts, connections, history, invoices, providers
from models.vocabulary import ConnectionStatus, InvoiceStatus
from stamping import deadlines, pipeline, reconcile, sweep
from stamping.cancellation import cancel
from stamping.cancellation import replace as replacing
from stamping.clock import Clock
from stamping.connections import connect, suspend
from stamping.failpoints import Failpoints
from stamping.followups import late_pdf, mail
from stamping.intake import decisions, operator_retry, submit, withdraw
from stamping.limits import circuit_breaker
from stamping.recovery import restore
from stamping.timeline.next_action import Actor, InvoiceSnapshot, who_must_act
from stamping.tools import Policy, Tools
from storage import open_store
from tests.support.apunto import NAME, POSTCODE, RFC
from tests.support.builders import an_invoice
from tests.support.prepared_answers import an_answer, name_of
from tests.support.signed_xml import Stamping, stamp, stamped_tree

S = InvoiceStatus
HOST = "contadigital.test"
WRITTEN = "%d-%m-%Y %H:%M:%S"
IDS = {
    "rfc": 1,
    "serie": 2,
    "sucursal": 3,
    "lugar_expedicion": {"64000": 4, POSTCODE: 5},
    "moneda": {"MXN": 6},
    "forma_pago": {"03": 7, "99": 8},
    "unidad": {"E48": 9},
    "producto": {"*": 10},
    "retencion": {"0.04": 11},
}
LONGEST_DELAY = timedelta(hours=2, minutes=1)
"""No due instant is further ahead."""
LONGEST_SILENCE = timedelta(days=9)
"""With nobody doing anything, an invoice has ended by then or stands before somebody: 72 hours, and the seven days of a
cancellation."""
PDF = base64.b64encode(b"%PDF-1.7 one").decode()


# --- ContaDigital ----------------------------------------------------------------------------------------------------


@dataclass
class Books:
    """What ContaDigital holds of one account, and how it answers."""

    account: str
    mood: dict[str, list[tuple[str, float]]]
    records: dict[int, dict[str, Any]] = field(default_factory=dict)
    stamps: Counter[str] = field(default_factory=Counter)


class Wire:
    """ContaDigital on httpx's transport: by the key, an account's books; by its mood, what becomes of each call."""

    def __init__(self, chance: random.Random, now: Callable[[], datetime]) -> None:
        self.books: dict[str, Books] = {}
        self._chance, self._now = chance, now
        self._ids = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        call = name_of(_at_root(request))
        if call == "conectar":
            books = self.books.get(json.loads(request.content)["ApiKey"])
        else:
            books = self.books.get(request.headers.get("authorization", "").removeprefix("Bearer "))
        if books is None:
            return an_answer(None, codigo=10, mensaje="API Key no autorizada", status=401)
        match self._outcome(books, call):
            case "refused_connection":
                raise httpx.ConnectError("refused", request=request)
            case "lost_before":
                raise httpx.ReadTimeout("silence", request=request)
            case "lost_after":
                self._answer(books, call, request)
                raise httpx.ReadTimeout("silence", request=request)
            case "page":
                return httpx.Response(200, html="<html>mantenimiento</html>")
            case "page_after":
                self._answer(books, call, request)
                return httpx.Response(500, html="<html>error</html>")
            case "busy":
                return an_answer(None, codigo=429, status=429, **{"retry-after": "45"})
            case "away":
                return httpx.Response(503, text="down")
            case "key":
                return an_answer(None, codigo=10, mensaje="API Key no autorizada", status=401)
            case "no_stamps":
                return an_answer({"Id": 5}, codigo=3, mensaje="Sin timbres")
            case "document":
                return an_answer(None, codigo=2, mensaje="CFDI40147 - El nombre no corresponde")
            case "catalogs":
                return an_answer(None, codigo=7, mensaje="IdSerie no existe")
            case "gone":
                return an_answer(None, codigo=5, mensaje="La factura no existe", status=404)
            case "already":
                return an_answer(None, codigo=4, mensaje="307 - El CFDI ya fue timbrado previamente")
            case "no_uuid":
                self._answer(books, call, request)
                return an_answer({"Id": 0}, codigo=1)
            case "denied":
                return an_answer({"Id": int(request.url.path.rsplit("/", 1)[1]), "UUID": ""})
            case str(code) if code.isdigit():
                return an_answer(None, codigo=int(code), mensaje=f"{code} - no se puede cancelar")
            case outcome:
                return self._answer(books, call, request, outcome)

    def _outcome(self, books: Books, call: str) -> str:
        at = self._chance.random()
        for outcome, share in books.mood.get(call, ()):
            if at < share:
                return outcome
            at -= share
        return "well"

    def _answer(self, books: Books, call: str, request: httpx.Request, how: str = "well") -> httpx.Response:
        match call:
            case "conectar":
                return an_answer({"Token": json.loads(request.content)["ApiKey"], "IdEmpresa": 12})
            case "utiles":
                return an_answer({"RFCs": [], "Series": []})
            case "cliente" | "producto":
                return an_answer(None)
            case "cliente_guardar":
                return an_answer({"Id": 3})
            case "guardar" | "timbrar":
                return self._take(books, json.loads(request.content), stamps=call == "timbrar", how=how)
            case "factura":
                record = books.records.get(int(request.url.path.rsplit("/", 1)[1]))
                return an_answer(self._shown(record)) if record else an_answer(None, status=404, codigo=5)
            case "cancelar":
                return self._cancel(books, json.loads(request.content), how)
            case _:
                return an_answer({})

    def _take(self, books: Books, body: dict[str, Any], *, stamps: bool, how: str) -> httpx.Response:
        record = books.records.get(body["Id"])
        if record is None or (how == "other_id" and stamps):
            self._ids += 1
            record = books.records[self._ids] = {"Id": self._ids, "UUID": ""}
        if record["UUID"]:
            return an_answer(
                self._shown(record), codigo=4, mensaje="307 - El CFDI ya fue timbrado previamente"
            )
        if stamps or how == "stamps_on_save":
            folio = str(uuid.UUID(int=self._chance.getrandbits(128), version=4)).upper()
            books.stamps[body["FolioOriginal"]] += 1
            record |= {
                "UUID": folio,
                "Serie": "A",
                "Folio": str(record["Id"]),
                "FechaTimbrado": body["Fecha"],
                "Xml": (body["Fecha"], folio, how == "differs"),
            }
        return an_answer(self._shown(record))

    def _shown(self, record: dict[str, Any]) -> dict[str, Any]:
        shown = {name: each for name, each in record.items() if name != "Xml"}
        if record["UUID"]:
            shown["XmlBase64"] = base64.b64encode(xml_of(*record["Xml"])).decode()
            shown["PdfBase64"] = PDF
        return shown

    def _cancel(self, books: Books, body: dict[str, Any], how: str) -> httpx.Response:
        record = books.records.get(body.get("IdFactura") or 0)
        if record is None:
            return an_answer(None, status=404, codigo=5)
        match how:
            case "requested":
                record["EstatusCancelacion"] = "En proceso"
                return an_answer({"EstatusCancelacion": "En proceso"})
            case "nothing":
                return an_answer({})
            case _:
                record["EstatusCancelacion"] = "Cancelado"
                return an_answer({"EstatusCancelacion": "Cancelado"})


@cache
def _sealed(fecha: str, differs: bool) -> bytes:
    """An invoice's XML of this date, sealed by its issuer and not stamped yet."""
    content = an_invoice()
    if differs:
        content["conceptos"][0]["cantidad"] = "2"
    at = datetime.strptime(fecha, WRITTEN)
    how = Stamping(fecha=at, fecha_timbrado=at)
    root = stamped_tree(content, how)
    for complemento in root.findall("{http://www.sat.gob.mx/cfd/4}Complemento"):
        root.remove(complemento)
    return etree.tostring(root)


@cache
def xml_of(fecha: str, folio: str, differs: bool) -> bytes:
    """The XML of a stamp."""
    at = datetime.strptime(fecha, WRITTEN)
    root = etree.fromstring(_sealed(fecha, differs))
    stamp(root, Stamping(fecha=at, fecha_timbrado=at + timedelta(seconds=1), uuid=folio))
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")


def _at_root(request: httpx.Request) -> httpx.Request:
    """The request without the folder of its account: each has an address, and so a breaker, of its own."""
    path = "/" + request.url.path.split("/", 2)[2]
    return httpx.Request(request.method, request.url.copy_with(path=path), content=request.content)


# --- moods -----------------------------------------------------------------------------------------------------------

SENDING = (
    "refused_connection", "lost_before", "lost_after", "page", "page_after", "busy", "away", "key", "no_stamps",
    "document", "catalogs", "gone", "already", "no_uuid",
)  # fmt: skip
OUTCOMES: dict[str, tuple[str, ...]] = {
    "conectar": ("refused_connection", "lost_before", "page", "away", "key", "busy"),
    "cliente": ("lost_before", "page", "away", "busy"),
    "cliente_guardar": ("lost_after", "page", "away", "document"),
    "guardar": (*SENDING, "stamps_on_save"),
    "timbrar": (*SENDING, "other_id", "differs"),
    "factura": ("refused_connection", "lost_before", "page", "away", "busy", "key", "gone", "denied"),
    "cancelar": (
        "refused_connection", "lost_before", "lost_after", "page", "page_after", "busy", "away", "key",
        "requested", "nothing", "203", "204", "205", "206", "999",
    ),
    "enviar": ("lost_before", "away", "page"),
}  # fmt: skip


def a_mood(chance: random.Random) -> dict[str, list[tuple[str, float]]]:
    """How an account's calls end: well, now and then badly, or one of them always in the same way."""
    mood: dict[str, list[tuple[str, float]]] = {}
    for call, outcomes in OUTCOMES.items():
        kind = chance.random()
        if kind < 0.5:
            continue
        if kind < 0.62:
            mood[call] = [(chance.choice(outcomes), 1.0)]
        else:
            mood[call] = [(each, chance.uniform(0.02, 0.3)) for each in chance.sample(outcomes, 2)]
    return mood


OF_INVOICES = [each for each in invoices.c if each.name not in {"content", "warnings", "differences"}]
OF_CONNECTIONS = [each for each in connections.c if each.name not in {"catalogs", "recognised", "ids"}]


# --- the world -------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The worker was killed here."""


class Deadly(Failpoints):
    """Kills whoever comes by, now and then."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance, self.share = chance, 0.0

    def reach(self, place: str) -> None:
        """Die here, or not."""
        if self._chance.random() < self.share:
            raise Killed(place)


class World:
    """So many accounts with so many invoices each, in one database."""

    def __init__(self, engine: sa.Engine, seed: int, *, accounts: int = 20, each: int = 10) -> None:
        self.chance = random.Random(seed)
        self.shift = timedelta()
        self.deadly = Deadly(self.chance)
        clock = Clock(lambda: self.shift)
        self.wire = Wire(self.chance, clock.now)
        policy = Policy(allowed_hosts=frozenset({HOST}), production_url=f"https://{HOST}/none")
        client = ContaDigital(
            httpx.MockTransport(self.wire),
            MemoryTokens(clock=clock.now, timeout=timedelta(seconds=1)),
            call_timeout=timedelta(seconds=5),
            max_body=1_000_000,
            clock=clock.now,
            allowed_hosts=frozenset({HOST}),
            watch=circuit_breaker.watch(engine, clock.now, policy),
        )
        self.tools = Tools(
            engine=engine,
            provider=client,
            store=open_store("memory://"),
            clock=clock,
            fernet=MultiFernet([Fernet(Fernet.generate_key())]),
            worker="host:1",
            policy=policy,
            failpoints=self.deadly,
        )
        self.seed, self.each = seed, each
        self.accounts = [f"w{seed}-{number}" for number in range(accounts)]
        self.names: list[tuple[str, str]] = []
        self.seen: Counter[str] = Counter()

    # -- users and operators

    def connect(self, account: str) -> None:
        """Connect an account with a new key, and its ids given by hand."""
        key = f"{self.chance.getrandbits(128):032x}"
        known = [books for books in self.wire.books.values() if books.account == account]
        books = known[0] if known else Books(account, a_mood(self.chance))
        for old in [each for each, of in self.wire.books.items() if of is books]:
            del self.wire.books[old]
        self.wire.books[key] = books
        request = connect.ConnectRequest(
            account=account,
            api_key_encrypted=self.tools.fernet.encrypt(key.encode()).decode(),
            rfc=RFC,
            razon_social=NAME,
            codigo_postal=POSTCODE,
            serie="A",
            ids=IDS,
            base_url=f"https://{HOST}/{account}",
        )
        connect.connect(request, self.tools)

    def submit(self, account: str, external_id: str, **changes: Any) -> None:
        """Send one, dated or not."""
        fecha = None
        if self.chance.random() < 0.4:
            fecha = (self.tools.clock.now() - timedelta(hours=self.chance.uniform(0, 70))).isoformat()
        raw = an_invoice(account=account, external_id=external_id, **{"fecha": fecha, **changes})
        taken = submit.submit(raw, self.tools, claim=self.chance.random() < 0.3)
        if isinstance(taken, submit.Accepted) and taken.claimed is not None:
            pipeline.stamp_claimed(taken.claimed, self.tools)

    def act(self) -> None:
        """One thing that somebody does."""
        account, external_id = self.chance.choice(self.names)
        tools = self.tools
        match self.chance.randrange(15):
            case 0 | 1 | 2:
                cancel.request(account, external_id, "02", None, tools)
            case 3:
                withdraw.withdraw(account, external_id, tools)
            case 4 | 5:
                operator_retry.retry(account, external_id, tools)
            case 6:
                self.submit(account, external_id)
            case 7 | 8:
                name = f"{external_id}-R{len(self.names)}"
                new = an_invoice(account=account, external_id=name, fecha=None)
                replacing.replace(account, external_id, new, tools)
                self.names.append((account, name))
            case 9:
                connect.disconnect(account, tools)
            case 10 | 11:
                self.connect(account)
            case 12:
                paused = self.chance.random() < 0.5
                with tools.engine.begin() as db:
                    db.execute(
                        sa.update(connections).where(connections.c.account == account).values(paused=paused)
                    )
            case 13:
                with suppress(decisions.NotDecidedError):
                    decisions.accept(account, external_id, reason="r", actor="a", tools=tools)
            case _:
                with suppress(decisions.NotDecidedError):
                    decisions.resolve(
                        account, external_id, stamped_xml=None, reason="r", actor="a", tools=tools
                    )

    # -- workers and beat

    def go_on(self) -> None:
        """Do what workers and beat do, once."""
        due = sweep.sweep(self.tools)
        for task, ids in (
            (deadlines.remind, due.reminders),
            (pipeline.stamp, [*due.stamp, *due.stamp_bulk]),
            (reconcile.reconcile, due.look_up),
            (cancel.settle_cancellation, due.cancel),
            (late_pdf.fetch_pdf, due.documents),
            (mail.send_mail, due.mail),
            (connect.probe, due.probes),
            (suspend.sync_invoices, due.out_of_step),
        ):
            for each in ids:
                with suppress(Killed):
                    task(each, self.tools)

    def pass_time(self, seconds: float) -> None:
        """Let time go by."""
        self.shift += timedelta(seconds=seconds)

    # -- what is looked at

    def run(self) -> Counter[str]:
        """Play it: a lively time, and then one in which nobody does anything. Returns how the invoices ended."""
        for account in self.accounts:
            if self.chance.random() < 0.95:
                self.connect(account)
        for account in self.accounts:
            for number in range(self.each):
                self.names.append((account, f"OP-{number}"))
                with suppress(Killed):
                    self.submit(account, f"OP-{number}")
        self.deadly.share = 0.01
        for _ in range(self.chance.randint(1, 4)):
            self.go_on()
            self.check()
            for _ in range(len(self.names) // 8):
                with suppress(Killed):
                    self.act()
            self.check()
            if self.chance.random() < 0.02:
                restore.recover(self.tools, actor="a", reason="r")
                self.check()
            self.pass_time(10 ** self.chance.uniform(0, 4))
        self.deadly.share = 0.0
        step, passed = timedelta(minutes=10), timedelta()
        while passed < LONGEST_SILENCE:
            for _ in range(2):  # what the first sweep has no place for is due for the second
                self.go_on()
                self.check()
            self.pass_time(step.total_seconds())
            passed += step
            step *= 4
        self.check(at_the_end=True)
        return self.seen

    def check(self, *, at_the_end: bool = False) -> None:
        """See that whatever has not ended is due, claimed, or somebody's; in the end that it has ended or is."""
        now = self.tools.clock.now()
        with self.tools.engine.connect() as db:
            reached = {row.account: row for row in db.execute(sa.select(*OF_CONNECTIONS))}
            open_at = {row.base_url: row for row in db.execute(sa.select(providers))}
            rows = db.execute(
                sa.select(*OF_INVOICES).where(invoices.c.account == sa.any_(sa.literal(self.accounts)))
            ).all()
        in_flight = Counter(row.account for row in rows if row.status == S.STAMPING)
        for row in rows:
            connection = reached.get(row.account)
            snapshot = InvoiceSnapshot(
                row=row._asdict(),
                connection=connection._asdict() if connection is not None else None,
                provider=_facts(open_at.get(connection.base_url)) if connection is not None else None,
                broken=None,
                in_flight=in_flight[row.account],
                under_way=None,
                asked_to_cancel=True,
                dead=0,
                quarantine=self.tools.policy.quarantine,
                now=now,
            )
            act = who_must_act(snapshot)
            is_somebodys = act.who is not Actor.NOBODY
            if at_the_end:
                self.seen[f"{row.status} {row.reason or ''} {act.who if is_somebodys else ''}".strip()] += 1
                assert row.status in ENDED or is_somebodys, self.report(row, connection)
            elif row.status not in ENDED:
                assert is_somebodys or moves(row, connection, now, self.tools.policy), self.report(
                    row, connection
                )

    def report(self, row: Any, connection: Any) -> str:
        """What stands still, and how it came to that."""
        with self.tools.engine.connect() as db:
            moves = db.execute(
                sa.select(history.c.at, history.c.to_status, history.c.reason)
                .where(history.c.invoice_id == row.id)
                .order_by(history.c.id)
            ).all()
            calls = db.execute(
                sa.select(attempts.c.call, attempts.c.outcome, attempts.c.started_at)
                .where(attempts.c.invoice_id == row.id)
                .order_by(attempts.c.number)
            ).all()
        facts = {
            name: each for name, each in row._asdict().items() if name not in {"content", "errors"} and each
        }
        its = {
            name: str(each)[:200]
            for name, each in (connection._asdict() if connection is not None else {}).items()
            if each is not None and name not in {"catalogs", "key_encrypted", "ids"}
        }
        books = [each.mood for each in self.wire.books.values() if each.account == row.account]
        lines = [
            f"seed {self.seed}: nothing moves {row.account} {row.external_id} at {self.tools.clock.now()}"
        ]
        lines += [str(facts), str(its), str(books)]
        lines += [f"{at} {status} {reason or ''}" for at, status, reason in moves[-12:]]
        lines += [f"{at} {call} {outcome}" for call, outcome, at in calls[-12:]]
        return "\n".join(lines)


ENDED = frozenset({S.STAMPED, S.CANCELLED, S.WITHDRAWN})


def _facts(row: Any) -> Any:
    return row._asdict() if row is not None else None


def moves(row: Any, connection: Any, now: datetime, policy: Policy) -> bool:
    """Whether a lease ends or an instant falls due at which something is done to it by itself."""
    is_claimed = row.claimed_until is not None and row.claimed_until <= now + policy.lease
    is_due = row.next_attempt_at is not None and row.next_attempt_at <= now + LONGEST_DELAY
    if row.status == S.STAMPING:
        return is_claimed
    if row.status == S.ON_HOLD and connection is not None:
        probe = connection.next_probe_at
        return connection.status == ConnectionStatus.ACTIVE or (
            probe is not None and probe <= now + LONGEST_DELAY
        )
    return is_claimed or is_due
