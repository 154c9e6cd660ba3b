"""`./dev dialects`: for each seed a provider that nobody has met, and what the product makes of it.

Three accounts share one address. The first knows nothing: what it reads must be true. The second is given its ids and
not calibrated. The third is given its ids, calibrates with 20 stamps at most, sets what that found and nothing else,
and stamps every good example: one half alone, the other half in turn with what the first two send. The pipeline runs
in this process over a real PostgreSQL and the sandbox, so that a run is exact: no worker's timing decides anything, and
the third account's rate is counted in turns of the pipeline an invoice.

Exit code 0 only if, for every seed: no invoice was stamped twice; no account has more than two stamps that differ from
what was sent; the third account's invoices are all stamped, with the right amounts in the XML that the sandbox holds,
in as many turns beside its neighbours as alone; a customer kept by hand lost nothing; nobody reads that a provider does
not answer which does.
"""

import argparse
import json
import logging
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog
from lxml import etree

from cfdi import document
from cfdi.amounts import compute
from cfdi.sat import zones
from contadigital.calibrate import UNKNOWN, Calibrator, TrialAccount
from contadigital.catalogs import Catalogs
from contadigital.resolve_ids import GivenIds
from devstack.stack import throw_away_servers
from migrations import upgrade
from sandbox.accounts import random_behaviour
from sandbox.dialects import SandboxDialect, random_dialect
from sandbox.serve import RunningSandbox
from stamping import pipeline, reconcile
from stamping.connections.credentials import credentials_of
from stamping.connections.providers import dialect_of, set_dialect
from stamping.connections.remembered import issuer_of
from stamping.intake import submit
from tests.support.harness import Harness, open_harness

JSON = dict[str, Any]
EXAMPLES = sorted((Path(__file__).parents[1] / "examples" / "good").glob("*.json"))
BY_HAND = {"Email": "cxp@xenon.mx", "Contacto": "Lic. Perez", "Calle": "Av. Uno 1", "Ciudad": "Queretaro"}
BY_HAND |= {"Telefono": "442 555 0000", "DiasCredito": 30, "Pais": "México"}
CUSTOMER = {"RFC": "XIA190128J61", "RazonSocial": "XENON INDUSTRIAL", "RegimenFiscal": "601", "CP": "76343"}
CALIBRATION, SPEND = "TIMBRADO-CALIBRA", 20
TRUE_REASONS = {"ids_missing"}
"""Why an account may not be active that knows nothing: ids that no list says."""
TELLING = ("01", "03", "08", "20", "24")
"""What the uncalibrated account sends: withholdings, a rate of 0 %, a discount, a credit note, a global invoice."""
SWEPT_EVERY = 5
"""Invoices after which a neighbour is swept: a sweep costs as much as five invoices, and finds the same."""
FALSE_WORDS = ("no responde", "tardando más de lo normal")
"""What must not be reported of a provider that answers every call."""


@dataclass
class Finding:
    """What one seed came to."""

    seed: int
    dialect: SandboxDialect
    wrong: dict[str, list[str]] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)


def examples(account: str, dialect: SandboxDialect) -> Iterator[JSON]:
    """The good examples that this provider can stamp at all."""
    for path in EXAMPLES:
        invoice = json.loads(path.read_text("utf-8")) | {"account": account, "external_id": path.stem}
        if invoice.get("cfdi_relacionados") and dialect.relations == "refused":
            continue
        if invoice.get("informacion_global") and dialect.global_invoice in ("refused", "automatic"):
            continue  # automatic is monthly, the example is not
        for line in invoice["conceptos"]:
            line["no_identificacion"] = own_key(line)
        yield invoice


def own_key(line: JSON) -> str:
    """Apunto's own code of a product, one for each that the examples know."""
    facts = [line[name] for name in ("clave_prod_serv", "objeto_imp", "clave_unidad", "nombre")]
    return f"P{zlib.crc32('|'.join(facts).encode()):08x}"


def make_products(sandbox: RunningSandbox, account: str) -> JSON:
    """The account's products as a person makes them in the portal, by Apunto's own codes."""
    path = f"/accounts/{account}"
    units = sandbox.control("GET", f"{path}/ids")["UnidadesDeMedida"]
    ids: JSON = {}
    for example in EXAMPLES:
        for line in json.loads(example.read_text("utf-8"))["conceptos"]:
            key = own_key(line)
            if key in ids:
                continue
            product = {
                "Clave": key,
                "Nombre": line["nombre"],
                "ClaveProdServ": line["clave_prod_serv"],
                "ObjetoImp": line["objeto_imp"],
                "IdUM": units[line["clave_unidad"]],
            }
            ids[key] = sandbox.control("POST", f"{path}/products", product)["Id"]
    return ids


def ids_by_hand(sandbox: RunningSandbox, account: str) -> JSON:
    """Every id, as a person reads them off the portal and types them (contract, section 7)."""
    shown = sandbox.control("GET", f"/accounts/{account}/ids")
    return {
        "rfc": next(iter(shown["RFCs"].values())),
        "serie": shown["Series"]["A"],
        "sucursal": shown["Sucursales"]["Matriz"],
        "lugar_expedicion": shown["LugaresDeExpedicion"],
        "moneda": shown["Monedas"],
        "forma_pago": shown["FormasDePago"],
        "unidad": shown["UnidadesDeMedida"],
        "producto": make_products(sandbox, account),
        "retencion": {"0.04": 2, "0.106667": 1, "0.06": 3},
    }


class Trial:
    """One seed: two accounts at one address."""

    def __init__(self, seed: int, database_url: str, sandbox: RunningSandbox) -> None:
        self.found = Finding(seed, random_dialect(seed))
        self._database_url, self._sandbox = database_url, sandbox
        self._base_url = f"{sandbox.url}/at/seed-{seed}"
        self._steps = 0

    def run(self) -> Finding:
        """Play it; what is wrong stands in the finding."""
        with self._account() as unknowing, self._account() as untried, self._account() as knowing:
            self._lost(unknowing, "first contact")
            self._uncalibrated(untried)
            self._calibrated(knowing, unknowing, untried)
            self._lost(unknowing, "after the other calibrated")
        return self.found

    @contextmanager
    def _account(self) -> Iterator[Harness]:
        facts = {
            "dialect": self.found.dialect.model_dump(),
            "behaviour": random_behaviour(self.found.seed).model_dump(exclude_unset=True),
            "lugares": ["42501", "64000", "22000", "77500"],
        }
        with open_harness(self._database_url, self._sandbox, connected=False, **facts) as harness:
            yield harness

    def _connect(self, harness: Harness, **facts: Any) -> Any:
        account = self._sandbox.account(harness.account)
        empresa = None if account["behaviour"]["reports_empresa"] else account["id_empresa"]
        return harness.connect(account["api_key"], base_url=self._base_url, empresa_id=empresa, **facts)

    def _lost(self, harness: Harness, when: str) -> None:
        """Nothing is given: three invoices, as often as they want to be tried within an hour."""
        row = self._connect(harness)
        self.found.seen[f"{when}: {row.status} {row.reason or ''}".strip()] += 1
        if row.status == "broken" and row.reason not in TRUE_REASONS:
            self._wrong(f"{when}: the connection is broken for {row.reason}, which is not so")
        for fault in (row.detail or {}).get("faults", ()):
            self.found.seen[f"{when}: {fault['message']}"] += 1
        if row.status == "active":
            invoices = list(examples(harness.account, self.found.dialect))[:3]
            for end, count in self._stamp(harness, invoices, timedelta(hours=1)).items():
                self.found.seen[f"{when}: invoice {end}"] += count
        self._check_truth(harness, when)

    def _uncalibrated(self, harness: Harness) -> None:
        """Its ids are typed and nothing is tried: refusals are true, and two wrong stamps are the most."""
        row = self._connect(harness, ids=ids_by_hand(self._sandbox, harness.account))
        if row.status != "active":
            self._wrong(f"uncalibrated: the connection is {row.status} {row.reason}: {row.detail}")
        invoices = [
            each
            for each in examples(harness.account, self.found.dialect)
            if each["external_id"][:2] in TELLING
        ]
        for end, count in self._stamp(harness, invoices, timedelta(hours=1)).items():
            self.found.seen[f"uncalibrated: {end}"] += count
        self._check_truth(harness, "uncalibrated")

    def _calibrated(self, harness: Harness, *neighbours: Harness) -> None:
        """Its ids are typed and its dialect is found; then every good example, at first alone."""
        self._sandbox.control("PUT", f"/accounts/{harness.account}/customers", CUSTOMER | BY_HAND)
        row = self._connect(harness, ids=ids_by_hand(self._sandbox, harness.account))
        if row.status != "active":
            self._wrong(f"with its ids the connection is {row.status} {row.reason}: {row.detail}")
            return
        self._find_dialect(harness)
        invoices = list(examples(harness.account, self.found.dialect))
        alone = sum(self._one(harness, invoice) for invoice in invoices[::2])
        beside = 0
        for place, invoice in enumerate(invoices[1::2]):
            for neighbour in neighbours:
                self._disturb(neighbour, invoice | {"account": neighbour.account}, place)
            beside += self._one(harness, invoice)
        sound = alone / len(invoices[::2])
        disturbed = beside / len(invoices[1::2])
        self.found.seen["turns alone"] += alone
        self.found.seen["turns beside neighbours"] += beside
        if disturbed > sound:
            self._wrong(f"{disturbed:.2f} turns an invoice beside its neighbours, and {sound:.2f} alone")
        self._check_amounts(harness)
        customer = self._customer(harness)
        lost = {name: customer.get(name) for name, value in BY_HAND.items() if customer.get(name) != value}
        if lost:
            self._wrong(f"the customer kept by hand lost {lost}")
        self._check_truth(harness, "calibrated")

    def _disturb(self, neighbour: Harness, invoice: JSON, place: int) -> None:
        """Another account sends something of its own, and it is tried; at times so is whatever else it has due."""
        taken = submit.submit(invoice | {"external_id": f"N-{place}"}, neighbour.tools)
        if taken.invoice_id is not None:
            pipeline.stamp(taken.invoice_id, neighbour.tools)
        if place % SWEPT_EVERY == 0:
            neighbour.go_on()

    def _find_dialect(self, harness: Harness) -> None:
        """Calibrate and set what it says; only what it calls undecidable is set by somebody who knows this provider."""
        row, place = harness.connection(), "42501"
        issuer = issuer_of(row)
        if issuer is None:
            raise RuntimeError("the connection has no RFC")
        found = Calibrator(
            harness.tools.provider,
            TrialAccount(
                credentials_of(row, harness.tools),
                Catalogs.from_json(row.catalogs),
                GivenIds.read(row.ids),
                issuer,
                row.codigo_postal,
                row.serie_asked,
            ),
            next(examples(harness.account, self.found.dialect)) | {"external_id": CALIBRATION},
            dialect_of(self._base_url, harness.tools),
            spend=SPEND,
            fecha=lambda: zones.local(harness.tools.clock.now() - timedelta(minutes=2), place),
        ).run()
        if found.interrupted:
            self._wrong(f"calibrate was interrupted: {found.interrupted}")
        stamps = len(
            self._sandbox.ledger(harness.account)["folios"].get(harness.account, {}).get(CALIBRATION, [])
        )
        self.found.seen["stamps spent by calibrating"] += stamps
        if found.stamps > SPEND or stamps != found.stamps:
            self._wrong(f"calibrate says {found.stamps} stamps and spent {stamps}")
        for each in found.findings:
            self.found.seen[f"calibrate: {each.aspect} {each.verdict}"] += 1
            if each.verdict == UNKNOWN:
                self.found.seen[f"calibrate: {each.aspect} is open: {each.evidence}"] += 1
        set_dialect(self._base_url, found.changes, harness.tools)

    def _one(self, harness: Harness, invoice: JSON) -> int:
        """Stamp one; return in how many turns of the pipeline."""
        name = invoice["external_id"]
        taken = submit.submit(invoice, harness.tools)
        if taken.invoice_id is None:
            self._wrong(f"refused: {taken}", name)
            return 1
        before = self._steps
        status = self._settle(harness, taken.invoice_id, timedelta(hours=1))
        self.found.seen[f"calibrated: {status}"] += 1
        if status != "stamped":
            self._wrong(f"{status}: {_why(harness, harness.row(taken.invoice_id))}", name)
        return self._steps - before

    def _check_amounts(self, harness: Harness) -> None:
        """Each stamp says the amounts that were meant, by what the sandbox stamped, not by its answers."""
        meant = {}
        for raw in examples(harness.account, self.found.dialect):
            invoice = document.read(raw)
            meant[raw["external_id"]] = compute(invoice)
        uuids = {
            row.uuid: row.external_id
            for row in harness.all(
                "SELECT external_id, uuid FROM invoices WHERE account = :account AND uuid IS NOT NULL",
                account=harness.account,
            )
        }
        for cfdi in self._sandbox.control("GET", f"/accounts/{harness.account}/cfdis"):
            name = uuids.get(cfdi["uuid"])
            if cfdi["folio_original"] == CALIBRATION:
                continue
            if name is None:
                self._wrong("a stamp that no invoice has")
                continue
            root, amounts = etree.fromstring(cfdi["xml"].encode()), meant[name]
            taxes = root.find("{*}Impuestos")
            found = [root.get("SubTotal"), root.get("Descuento"), root.get("Total")]
            found += [
                None if taxes is None else taxes.get(f"TotalImpuestos{kind}")
                for kind in ("Trasladados", "Retenidos")
            ]
            wanted = [amounts.subtotal, amounts.descuento or None, amounts.total]
            wanted += [amounts.total_trasladados, amounts.total_retenidos]
            if [None if text is None else Decimal(text) for text in found] != wanted:
                self._wrong(f"the amounts are {found} and should be {wanted}", name)

    def _customer(self, harness: Harness) -> JSON:
        found = self._sandbox.control("GET", f"/accounts/{harness.account}/customers")
        return next(dict(row) for row in found if row["RFC"] == CUSTOMER["RFC"])

    def _check_ledger(self, harness: Harness, when: str) -> None:
        ledger = self._sandbox.ledger(harness.account)
        folios = ledger["folios"].get(harness.account, {})
        twice = [folio for folio, uuids in folios.items() if len(uuids) > 1 and folio != CALIBRATION]
        if twice:
            self._wrong(f"{when}: stamped twice", " ".join(twice))
        rows = harness.all(
            "SELECT status, count(*) AS many FROM invoices WHERE account = :account GROUP BY status",
            account=harness.account,
        )
        differ = sum(row.many for row in rows if row.status in ("differs", "failed"))
        if differ > 2:
            self._wrong(f"{when}: {differ} stamps differ from what was sent")

    def _check_truth(self, harness: Harness, when: str) -> None:
        self._check_ledger(harness, when)
        rows = harness.all("SELECT data FROM events WHERE account = :account", account=harness.account)
        text = json.dumps([str(row) for row in rows], ensure_ascii=False).lower()
        for words in FALSE_WORDS:
            if words in text:
                self._wrong(f"{when}: it is text that the provider «{words}»")

    def _wrong(self, text: str, example: str = "") -> None:
        self.found.wrong.setdefault(text, []).append(example)

    def _stamp(self, harness: Harness, invoices: Sequence[JSON], timeout: timedelta) -> Counter[str]:
        ends = Counter[str]()
        for invoice in invoices:
            taken = submit.submit(invoice, harness.tools)
            if taken.invoice_id is None:
                ends["refused"] += 1
                continue
            ends[self._settle(harness, taken.invoice_id, timeout)] += 1
        return ends

    def _settle(self, harness: Harness, invoice_id: Any, timeout: timedelta) -> str:
        deadline = harness.tools.clock.now() + timeout
        while True:
            row = harness.row(invoice_id)
            self._steps += 1
            if row.status == "in_doubt":
                reconcile.reconcile(invoice_id, harness.tools)
            elif row.status in ("accepted", "waiting"):
                pipeline.stamp(invoice_id, harness.tools)
            else:
                self._steps -= 1
                return str(row.status)
            row = harness.row(invoice_id)
            if row.next_attempt_at is None or row.next_attempt_at > deadline:
                return str(row.status)
            wait = row.next_attempt_at - harness.tools.clock.now()
            if wait > timedelta():
                harness.later(seconds=wait.total_seconds() + 0.01)


def _why(harness: Harness, row: Any) -> str:
    """What an invoice that is not stamped says of itself."""
    text = [f"{error['code']} {error['message']}" for error in row.errors]
    calls = harness.all(
        "SELECT call, outcome, http_status, detail FROM attempts WHERE invoice_id = :id ORDER BY number",
        id=row.id,
    )
    return f"{' / '.join(text)} {[tuple(call) for call in calls[-3:]]}"


@contextmanager
def a_database() -> Iterator[str]:
    """An empty database of this run on servers that go with it."""
    with throw_away_servers() as stack:
        admin = sa.create_engine(stack.database_url, isolation_level="AUTOCOMMIT")
        with admin.connect() as db:
            db.execute(sa.text("CREATE DATABASE dialects"))
        url = sa.make_url(stack.database_url).set(database="dialects").render_as_string(hide_password=False)
        upgrade(url)
        try:
            yield url
        finally:
            admin.dispose()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the seeds and print what was wrong with each."""
    parser = argparse.ArgumentParser(prog="./dev dialects", description="Providers that nobody has met.")
    parser.add_argument("--seeds", type=int, default=300)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    seen, bad, began = Counter[str](), 0, time.monotonic()
    with a_database() as database_url, RunningSandbox(demo=False) as sandbox:
        for seed in range(options.first, options.first + options.seeds):
            found = Trial(seed, database_url, sandbox).run()
            seen += found.seen
            bad += bool(found.wrong)
            for line, names in found.wrong.items():
                print(f"seed {seed}: {' '.join(name[:2] for name in names)} {line}", flush=True)
            if found.wrong:
                print(f"  dialect: {found.dialect.model_dump_json(exclude_defaults=True)}")
    took = time.monotonic() - began
    print(f"{took / options.seeds:.1f} s a seed")
    for name, count in sorted(seen.items()):
        print(f"{count:6}  {name}")
    print(f"{options.seeds - bad} of {options.seeds} seeds as they should be")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
