"""Everything an invoice needs before it is sent: catalogues, the customer, the products, its date.

All of it is remembered, so that the usual invoice costs one query and no call. The date of an invoice is fixed the
first time that it is sent, and never changed while its outcome is unknown.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import structlog

from cfdi import document
from cfdi.amounts import Amounts, compute
from cfdi.document import Invoice
from cfdi.evidence import Expected
from cfdi.faults import Fault
from cfdi.issuer import Issuer
from cfdi.sat import zones
from contadigital import request_body
from contadigital.catalogs import Catalogs
from contadigital.dialect import Dialect
from contadigital.errors import ContaDigitalError, NotSent
from contadigital.records import Credentials
from contadigital.resolve_ids import GivenIds, ResolvedIds, resolve
from models.tables import connections
from net.headers import traced
from stamping import customers, products, provider_refs
from stamping.claims import Claimed
from stamping.connections import providers, remembered
from stamping.connections.credentials import credentials_of
from stamping.connections.remembered import issuer_of
from stamping.deadlines import next_reminder
from stamping.provider_refs import NotReady
from stamping.store_documents import Subject
from stamping.texts import EXPIRED, NEVER_SENT
from stamping.tools import Tools

log = structlog.get_logger(__name__)

UNREADABLE = timedelta(minutes=1)
"""What waits for a key that can't be decrypted looks again after this long."""
BACKDATED = timedelta(minutes=1)
"""An invoice without `fecha` is dated a minute back, so that no clock on the way takes it for the future."""


MOST_TRIES = 700
"""Failed tries in a row to send an invoice that has no `fecha`, and so no 72 hours yet: some three days of them."""


class Expired(Exception):  # named for what happened, like the errors of the other packages
    """Its time is over: it may not be sent any more; `fault` says why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


@dataclass(frozen=True)
class Prepared:
    """An invoice that is ready to be sent, and what its XML must then say."""

    credentials: Credentials
    invoice: Invoice
    amounts: Amounts
    issuer: Issuer
    subject: Subject
    body: dict[str, Any]
    """What is sent, to save and to stamp alike; empty where it may only be looked up."""
    record_id: int
    is_saved: bool
    fixed: dict[str, Any]
    dialect_version: int = 0

    @property
    def id_empresa(self) -> int | None:
        """The company the invoice is saved under."""
        return self.credentials.id_empresa

    def expected(self, uuid: str | None) -> Expected:
        """Return what the XML must say to be believed."""
        return Expected(self.invoice, self.issuer, self.subject.fecha, uuid, self.amounts)


def prepare(claimed: Claimed, tools: Tools) -> Prepared:
    """Make an invoice ready to be sent. Raises what the provider's calls raise, Expired and NotReady."""
    row, connection = claimed.invoice, claimed.connection
    traced(row.trace_id)
    now = tools.clock.now()
    if row.expires_at is not None and now >= row.expires_at:
        raise Expired(EXPIRED)
    if row.fecha is None and row.tries >= MOST_TRIES:
        raise Expired(NEVER_SENT)
    invoice = document.read(row.content)
    fecha, fixed = _dated(row, invoice, tools, now)
    credentials = credentials_of(connection, tools)
    try:
        credentials.decrypt_key()
    except NotSent as unreadable:  # no outage of ContaDigital, and no failed try of this invoice
        raise NotReady(UNREADABLE) from unreadable
    ids = _resolved(connection, catalogs_of(connection, credentials, tools), invoice)
    dialect = providers.dialect_of(connection.base_url, tools)
    ids = learn(claimed, credentials, invoice, ids, dialect, tools)
    return _ready(claimed, credentials, invoice, ids, dialect, fecha, fixed)


Relied = dict[tuple[str, str], tuple[int, str]]
"""The customers and products that a save names: their ids, and the fingerprint of what ContaDigital holds of each."""


def from_memory(claimed: Claimed, invoice: Invoice, tools: Tools) -> tuple[Prepared, Relied] | None:
    """Make an invoice ready to be sent from what this process remembers, before it is taken in.

    None where anything had to be asked for. What it relies on is checked by the statement that takes the invoice in.
    """
    traced(claimed.invoice.trace_id)
    connection, now = claimed.connection, tools.clock.now()
    at = connection.catalogs_at
    if at is None or now - at > tools.policy.catalogs_age:
        return None
    catalogs, known = _kept.get((connection.id, at)), remembered.refs_of(connection, tools)
    if catalogs is None:
        return None
    try:
        fecha, fixed = _dated(claimed.invoice, invoice, tools, now)
        ids = _resolved(connection, catalogs, invoice)
        dialect = providers.dialect_of(connection.base_url, tools)
        customer = customers.customer_of(invoice.receptor, ids)
        to_make = products.to_be_made(invoice, ids, dialect)
        credentials = credentials_of(connection, tools)
        credentials.decrypt_key()
    except ContaDigitalError:  # refused before anything is sent: the usual way says so
        return None
    of_customer = (customers.KIND, customer.rfc)
    keys = [(products.KIND, products.key_of(each)) if each is not None else None for each in to_make]
    relied = {key: known[key] for key in (of_customer, *keys) if key is not None and key in known}
    if customer.rfc in customers.SHARED or any(key is not None and key not in relied for key in keys):
        return None
    if relied.get(of_customer, (0, ""))[1] != customers.fingerprint(customer):
        return None
    ids = replace(
        ids,
        id_cliente=relied[of_customer][0],
        id_productos=tuple(
            relied[key][0] if key is not None else given or 0
            for key, given in zip(keys, ids.given_productos, strict=True)
        ),
    )
    return _ready(claimed, credentials, invoice, ids, dialect, fecha, fixed), relied


def _dated(row: Any, invoice: Invoice, tools: Tools, now: datetime) -> tuple[datetime, dict[str, Any]]:
    """Return an invoice's date, and what is written of it where it is fixed only now."""
    fixed: dict[str, Any] = {}
    fecha: datetime | None = row.fecha
    today = zones.fecha_before(now, invoice.lugar_expedicion, BACKDATED)
    was_ahead = row.record_id is None and invoice.fecha is None and fecha is not None and fecha > today
    if (
        fecha is None or was_ahead
    ):  # dated by us, while the database's clock was wrong, and not saved with that date
        fecha = today
        expires_at = zones.deadline(fecha, invoice.lugar_expedicion)
        delayed_at = row.created_at + tools.policy.delayed_after if row.last_reminder is None else None
        fixed = {
            "fecha": fecha,
            "expires_at": expires_at,
            "reminder_at": next_reminder(now=now, expires_at=expires_at, delayed_at=delayed_at),
        }
    return fecha, fixed


def _resolved(connection: sa.Row[Any], catalogs: Catalogs, invoice: Invoice) -> ResolvedIds:
    return resolve(
        catalogs,
        invoice,
        id_empresa=connection.id_empresa,
        rfc=connection.rfc,
        serie=connection.serie,
        codigo_postal=connection.codigo_postal,
        given=GivenIds.read(connection.ids),
    )


def _ready(
    claimed: Claimed,
    credentials: Credentials,
    invoice: Invoice,
    ids: ResolvedIds,
    dialect: Dialect,
    fecha: datetime,
    fixed: dict[str, Any],
) -> Prepared:
    row, connection = claimed.invoice, claimed.connection
    is_ours = (
        row.record_id is not None
        and row.record_empresa == connection.id_empresa
        and row.record_base_url in (None, connection.base_url)
    )
    amounts = compute(invoice)
    return Prepared(
        credentials=credentials,
        invoice=invoice,
        amounts=amounts,
        issuer=issuer_of(connection) or Issuer(connection.rfc, connection.razon_social),
        subject=Subject(row.account, row.id, fecha),
        body=request_body.invoice_body(
            invoice,
            amounts,
            ids,
            record_id=0,  # the client writes the Id it is given, and whether to save only
            folio_original=row.external_id,
            fecha=fecha,
            solo_guardar=True,
            dialect=dialect,
        ),
        record_id=row.record_id if is_ours else 0,
        is_saved=is_ours and row.record_hash == row.content_hash,
        fixed=fixed,
        dialect_version=dialect.version,
    )


def learn(
    claimed: Claimed,
    credentials: Credentials,
    invoice: Invoice,
    ids: ResolvedIds,
    dialect: Dialect,
    tools: Tools,
) -> ResolvedIds:
    """Return the ids with those of the customer and of each line's product; unknown ones are made known.

    Raises NotReady where somebody else must be done first, and what the provider's calls raise.
    """
    customer = customers.customer_of(invoice.receptor, ids)
    wanted = {(customers.KIND, customer.rfc): customers.fingerprint(customer)}
    to_make = products.to_be_made(invoice, ids, dialect)
    wanted |= {(products.KIND, products.key_of(each)): "" for each in to_make if each is not None}
    found = provider_refs.known(claimed.connection, wanted, tools)
    id_cliente = found.get((customers.KIND, customer.rfc))
    if id_cliente is None or customer.rfc in customers.SHARED:
        id_cliente = customers.make_customer_known(claimed, credentials, customer, dialect, tools)
    for product in to_make:
        if product is not None and (products.KIND, products.key_of(product)) not in found:
            found[products.KIND, products.key_of(product)] = products.make_product_known(
                claimed, credentials, product, tools
            )
    id_productos = tuple(
        found[products.KIND, products.key_of(product)] if product is not None else given or 0
        for product, given in zip(to_make, ids.given_productos, strict=True)
    )
    learnt = {**found, (customers.KIND, customer.rfc): id_cliente}
    remembered.keep_refs(
        claimed.connection, {key: (learnt[key], fingerprint) for key, fingerprint in wanted.items()}, tools
    )
    return replace(ids, id_cliente=id_cliente, id_productos=id_productos)


def prepare_lookup(claimed: Claimed, tools: Tools) -> Prepared:
    """Make ready to look an invoice up: no call is made, and nothing can be sent with what is returned."""
    row, connection = claimed.invoice, claimed.connection
    traced(row.trace_id)
    invoice = document.read(row.content)
    return Prepared(
        credentials=credentials_of(connection, tools, id_empresa=row.record_empresa),
        invoice=invoice,
        amounts=compute(invoice),
        issuer=issuer_of(connection) or Issuer(connection.rfc, connection.razon_social),
        subject=Subject(row.account, row.id, row.fecha),
        body={},
        record_id=row.record_id or 0,
        is_saved=True,
        fixed={},
    )


def forget(claimed: Claimed, what: str, tools: Tools) -> None:
    """Forget remembered ids that ContaDigital does not know any more, so that they are learnt again."""
    with tools.engine.begin() as db:
        if what == "catalogs":
            db.execute(
                sa.update(connections)
                .where(
                    connections.c.id == claimed.connection.id,
                    connections.c.catalogs_at
                    == claimed.connection.catalogs_at,  # unless they are newer by now
                )
                .values(catalogs_at=OUTDATED)
            )
        else:
            provider_refs.forget(db, claimed, what)


# --- catalogues ------------------------------------------------------------------------------------------------------

_kept: "OrderedDict[tuple[UUID, datetime], Catalogs]" = OrderedDict()
_kept_lock = threading.Lock()
OUTDATED = datetime.fromtimestamp(0, UTC)
"""The age of lists from which an id was refused: they will not do, however young they are."""
KEPT = 200  # accounts whose lists one process keeps at hand


def catalogs_of(connection: sa.Row[Any], credentials: Credentials, tools: Tools) -> Catalogs:
    """Return the account's lists: kept with the connection, and asked for again on their age."""
    now = tools.clock.now()
    if connection.catalogs_at is None or now - connection.catalogs_at > tools.policy.catalogs_age:
        fresh = _refresh(connection, credentials, tools, now)
        if fresh is not None:
            return fresh
    key = (connection.id, connection.catalogs_at)
    with _kept_lock:
        if key in _kept:
            _kept.move_to_end(key)
            return _kept[key]
    with tools.engine.begin() as db:
        kept = db.execute(
            sa.select(connections.c.catalogs).where(connections.c.id == connection.id)
        ).scalar_one()
    catalogs = Catalogs.from_json(kept)
    with _kept_lock:
        _kept[key] = catalogs
        while len(_kept) > KEPT:
            _kept.popitem(last=False)
    return catalogs


def _refresh(
    connection: sa.Row[Any], credentials: Credentials, tools: Tools, now: datetime
) -> Catalogs | None:
    """Ask for the lists again, one worker for all; None where the old ones do meanwhile. Raises NotReady where they
    will not do and another is at it."""
    with tools.engine.begin() as db:
        mine = db.execute(
            sa.update(connections)
            .where(connections.c.id == connection.id, connections.c.catalogs_at == connection.catalogs_at)
            .values(catalogs_at=now)
        ).rowcount
    outdated = connection.catalogs_at == OUTDATED
    # unless it was validated meanwhile, perhaps with another key: then these would be another account's
    ours = connections.c.id == connection.id, connections.c.catalogs_at == now
    if not mine:
        if outdated:
            raise NotReady(timedelta(seconds=2))
        return None
    try:
        catalogs = tools.provider.catalogs(credentials)
    except ContaDigitalError:
        with tools.engine.begin() as db:
            later = OUTDATED if outdated else now - tools.policy.catalogs_age / 2
            db.execute(sa.update(connections).where(*ours).values(catalogs_at=later))
        if outdated:
            raise
        return None
    stamps: dict[str, Any] = {}
    if catalogs.stamps_left is not None:
        stamps = {"stamps_left": catalogs.stamps_left, "stamps_left_source": "contadigital"}
    with tools.engine.begin() as db:
        db.execute(
            sa.update(connections)
            .where(*ours)
            # another instant than the one above, under which the old lists may lie in some process's memory by now
            .values(
                catalogs=catalogs.to_json(),
                catalogs_at=max(tools.clock.now(), now + timedelta(milliseconds=1)),
                **stamps,
            )
        )
    return catalogs
