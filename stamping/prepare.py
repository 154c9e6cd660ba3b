"""Everything an invoice needs before it is sent: catalogues, the customer, the products, its date.

All of it is remembered, so that the usual invoice costs one query and no call. What a newcomer would get wrong:
ContaDigital holds one customer per RFC, and stamps with the data it holds at that moment. So a customer is changed
only while no invoice that relies on the data of now is on its way.
"""

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cfdi import document, zones
from cfdi.amounts import compute
from cfdi.document import Concepto, Invoice, Receptor
from cfdi.evidence import Expected
from cfdi.issuer import Issuer
from contadigital import wire
from contadigital.catalogs import Catalogs, ResolvedIds, resolve
from contadigital.errors import ContaDigitalError
from contadigital.records import Customer, Door, Product
from contadigital.transport import traced
from models.compiled import Compiled, param
from models.status import InvoiceStatus
from models.tables import connections, invoices, provider_refs
from stamping.accept import issuer_of
from stamping.claims import Claimed
from stamping.keep import Subject
from stamping.tools import Tools
from stamping.urgency import next_notice

BACKDATED = timedelta(minutes=1)
"""An invoice without `fecha` is dated a minute back, so that no clock on the way takes it for the future."""
REF_LEASE = timedelta(seconds=60)
PATIENCE = 8.0  # seconds for which an invoice waits for another that is making its customer known
POLL = 0.1


class Expired(Exception):  # named for what happened, like the errors of the other rooms
    """The 72 hours are over: it may not be sent any more."""


class NotReady(Exception):  # as above
    """Somebody else is at work on something this invoice needs: come back after `wait`."""

    def __init__(self, wait: timedelta) -> None:
        super().__init__(f"come back in {wait}")
        self.wait = wait


@dataclass(frozen=True)
class Prepared:
    """An invoice that is ready to be sent, and what its XML must then say."""

    door: Door
    invoice: Invoice
    issuer: Issuer
    subject: Subject
    body: dict[str, Any]
    """What is sent, to save and to stamp alike; empty where it may only be looked up."""
    record_id: int
    is_saved: bool
    fixed: dict[str, Any]

    @property
    def id_empresa(self) -> int | None:
        """The company the invoice is saved under."""
        return self.door.id_empresa

    def expected(self, uuid: str | None) -> Expected:
        """Return what the XML must say to be believed."""
        return Expected(self.invoice, self.issuer, self.subject.fecha, uuid)


def door_of(connection: sa.Row[Any], tools: Tools, *, id_empresa: int | None = None) -> Door:
    """Return the connection as the client needs it; the key is decrypted only when it is asked for."""
    encrypted: str = connection.key_encrypted or ""
    return Door(
        account=connection.account,
        base_url=connection.base_url,
        id_empresa=id_empresa or connection.id_empresa,
        reveal_key=lambda: tools.fernet.decrypt(encrypted.encode()).decode(),
    )


def prepare(claimed: Claimed, tools: Tools) -> Prepared:
    """Make an invoice ready to be sent. Raises what the provider's calls raise, Expired and NotReady."""
    row, connection = claimed.invoice, claimed.connection
    traced(row.trace_id)
    now = tools.clock.now()
    if row.expires_at is not None and now >= row.expires_at:
        raise Expired(row.id)
    invoice = document.read(row.content)
    fixed: dict[str, Any] = {}
    fecha: datetime | None = row.fecha
    if fecha is None:
        fecha = zones.local(now - BACKDATED, invoice.lugar_expedicion)
        expires_at = zones.deadline(fecha, invoice.lugar_expedicion)
        delayed_at = row.created_at + tools.policy.delayed_after if row.told is None else None
        fixed = {
            "fecha": fecha,
            "expires_at": expires_at,
            "notice_at": next_notice(now=now, expires_at=expires_at, delayed_at=delayed_at),
        }
    door = door_of(connection, tools)
    catalogs = catalogs_of(connection, door, tools)
    ids = resolve(
        catalogs,
        invoice,
        id_empresa=connection.id_empresa,
        rfc=connection.rfc,
        serie=connection.serie,
        codigo_postal=connection.codigo_postal,
    )
    customer, products = _refs(claimed, door, invoice, ids, tools)
    is_ours = row.record_id is not None and row.record_empresa == connection.id_empresa
    return Prepared(
        door=door,
        invoice=invoice,
        issuer=issuer_of(connection) or Issuer(connection.rfc, connection.razon_social),
        subject=Subject(row.account, row.id, fecha),
        body=wire.invoice_body(
            invoice,
            compute(invoice),
            replace(ids, id_cliente=customer, id_productos=products),
            record_id=0,  # the client writes the Id it is given, and whether to save only
            folio_original=row.external_id,
            fecha=fecha,
            solo_guardar=True,
        ),
        record_id=row.record_id if is_ours else 0,
        is_saved=is_ours and row.record_hash == row.content_hash,
        fixed=fixed,
    )


def prepare_to_look(claimed: Claimed, tools: Tools) -> Prepared:
    """Make ready to look an invoice up: no call is made, and nothing can be sent with what is returned."""
    row, connection = claimed.invoice, claimed.connection
    traced(row.trace_id)
    return Prepared(
        door=door_of(connection, tools, id_empresa=row.record_empresa),
        invoice=document.read(row.content),
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
                .where(connections.c.id == claimed.connection.id)
                .values(catalogs_at=sa.func.to_timestamp(0))
            )
        else:
            db.execute(
                sa.delete(provider_refs).where(
                    provider_refs.c.connection_id == claimed.connection.id, provider_refs.c.kind == what
                )
            )


# --- catalogues ------------------------------------------------------------------------------------------------------

_kept: "OrderedDict[tuple[UUID, datetime], Catalogs]" = OrderedDict()
_kept_lock = threading.Lock()
KEPT = 200  # accounts whose lists one process keeps at hand


def catalogs_of(connection: sa.Row[Any], door: Door, tools: Tools) -> Catalogs:
    """Return the account's lists: kept with the connection, and asked for again on their age."""
    now = tools.clock.now()
    if connection.catalogs_at is None or now - connection.catalogs_at > tools.policy.catalogs_age:
        fresh = _refresh(connection, door, tools, now)
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


def _refresh(connection: sa.Row[Any], door: Door, tools: Tools, now: datetime) -> Catalogs | None:
    """Ask for the lists again, one worker for all; None where another does, or the old ones must still do."""
    with tools.engine.begin() as db:
        mine = db.execute(
            sa.update(connections)
            .where(connections.c.id == connection.id, connections.c.catalogs_at == connection.catalogs_at)
            .values(catalogs_at=now)
        ).rowcount
    if not mine:
        return None
    outdated = connection.catalogs_at.timestamp() == 0  # an id was refused: the old lists will not do
    try:
        catalogs = tools.provider.catalogs(door)
    except ContaDigitalError:
        with tools.engine.begin() as db:
            later = sa.func.to_timestamp(0) if outdated else now - tools.policy.catalogs_age / 2
            db.execute(
                sa.update(connections).where(connections.c.id == connection.id).values(catalogs_at=later)
            )
        if outdated:
            raise
        return None
    with tools.engine.begin() as db:
        db.execute(
            sa.update(connections)
            .where(connections.c.id == connection.id)
            .values(catalogs=catalogs.to_json(), catalogs_at=now)
        )
    return catalogs


# --- customers and products ------------------------------------------------------------------------------------------


def _refs(
    claimed: Claimed, door: Door, invoice: Invoice, ids: ResolvedIds, tools: Tools
) -> tuple[int, tuple[int, ...]]:
    """Return ContaDigital's ids of the customer and of each line's product; unknown ones are made known."""
    connection_id = claimed.connection.id
    customer = customer_of(invoice.receptor, ids)
    products = [product_of(each, ids.id_ums[place]) for place, each in enumerate(invoice.conceptos)]
    wanted: dict[tuple[str, str], str] = {("customer", customer.rfc): _print(customer)}
    for product in products:
        wanted["product", _product_key(product)] = ""
    known = _known_refs(connection_id, wanted, tools)
    if known is None or len(known) < len(wanted):
        known = known or {}
        for (kind, key), fingerprint in wanted.items():
            if (kind, key) in known:
                continue
            if kind == "customer":
                make: Callable[[int | None], int] = lambda ref: _put_customer(door, customer, ref, tools)  # noqa: E731
            else:
                product = next(each for each in products if _product_key(each) == key)
                make = lambda _, product=product: _put_product(door, product, tools)  # type: ignore[misc]  # noqa: E731
            known[kind, key] = _make_known(claimed, kind, key, fingerprint, make, tools)
    return known["customer", customer.rfc], tuple(
        known["product", _product_key(product)] for product in products
    )


_KNOWN = Compiled(
    lambda: sa.select(
        provider_refs.c.kind,
        provider_refs.c.key,
        provider_refs.c.provider_id,
        provider_refs.c.fingerprint,
        provider_refs.c.claimed_until,
    ).where(
        provider_refs.c.connection_id == param("connection_id"),
        sa.tuple_(provider_refs.c.kind, provider_refs.c.key).in_(
            sa.select(
                sa.func.unnest(param("kinds", sa.ARRAY(sa.Text))),
                sa.func.unnest(param("keys", sa.ARRAY(sa.Text))),
            )
        ),
    )
)


def _known_refs(
    connection_id: UUID, wanted: dict[tuple[str, str], str], tools: Tools
) -> dict[tuple[str, str], int]:
    now = tools.clock.now()
    kinds, keys = zip(*wanted, strict=True)
    with tools.at_once.begin() as db:
        rows = _KNOWN.run(db, connection_id=connection_id, kinds=list(kinds), keys=list(keys)).all()
    return {
        (row.kind, row.key): row.provider_id
        for row in rows
        if row.provider_id is not None
        and row.fingerprint == wanted[row.kind, row.key]
        and (row.claimed_until is None or row.claimed_until <= now)
    }


def _make_known(
    claimed: Claimed,
    kind: str,
    key: str,
    fingerprint: str,
    make: Callable[[int | None], int],
    tools: Tools,
) -> int:
    """Make one customer or product known at ContaDigital, one worker for all; the others wait for it."""
    connection_id = claimed.connection.id
    deadline = time.monotonic() + PATIENCE
    while True:
        now = tools.clock.now()
        with tools.engine.begin() as db:
            mine = db.execute(
                insert(provider_refs)
                .values(
                    connection_id=connection_id,
                    kind=kind,
                    key=key,
                    claim=1,
                    claimed_until=now + REF_LEASE,
                    updated_at=now,
                )
                .on_conflict_do_update(
                    index_elements=[provider_refs.c.connection_id, provider_refs.c.kind, provider_refs.c.key],
                    set_={"claim": provider_refs.c.claim + 1, "claimed_until": now + REF_LEASE},
                    where=sa.or_(
                        provider_refs.c.claimed_until.is_(None), provider_refs.c.claimed_until <= now
                    ),
                )
                .returning(provider_refs.c.claim, provider_refs.c.provider_id, provider_refs.c.fingerprint)
            ).one_or_none()
        if mine is not None:
            return _with_ref(claimed, kind, key, fingerprint, mine, make, tools)
        if time.monotonic() > deadline:
            raise NotReady(timedelta(seconds=2))
        time.sleep(POLL)
        known = _known_refs(connection_id, {(kind, key): fingerprint}, tools)
        if known:
            return known[kind, key]


def _with_ref(
    claimed: Claimed,
    kind: str,
    key: str,
    fingerprint: str,
    mine: sa.Row[Any],
    make: Callable[[int | None], int],
    tools: Tools,
) -> int:
    provider_id, keep_print = mine.provider_id, mine.fingerprint
    try:
        if provider_id is not None and mine.fingerprint == fingerprint:
            return provider_id  # type: ignore[no-any-return]  # made known while we waited for our turn
        if provider_id is not None and _is_relied_on(claimed, key, mine.fingerprint, tools):
            raise NotReady(timedelta(seconds=2))
        provider_id = make(mine.provider_id)
        keep_print = fingerprint
        return provider_id
    finally:
        with tools.engine.begin() as db:
            db.execute(
                sa.update(provider_refs)
                .where(
                    provider_refs.c.connection_id == claimed.connection.id,
                    provider_refs.c.kind == kind,
                    provider_refs.c.key == key,
                    provider_refs.c.claim == mine.claim,
                )
                .values(
                    provider_id=provider_id,
                    fingerprint=keep_print,
                    claimed_until=None,
                    updated_at=tools.clock.now(),
                )
            )


def _is_relied_on(claimed: Claimed, rfc: str, fingerprint: str | None, tools: Tools) -> bool:
    """Whether another invoice on its way counts on the data that ContaDigital holds of this customer now."""
    with tools.engine.begin() as db:
        contents = (
            db.execute(
                sa.select(invoices.c.content).where(
                    invoices.c.account == claimed.account,
                    invoices.c.status == InvoiceStatus.STAMPING,
                    invoices.c.id != claimed.id,
                )
            )
            .scalars()
            .all()
        )
    for content in contents:
        receptor = document.read(content).receptor
        if receptor.rfc == rfc and _print(customer_of(receptor, None)) == fingerprint:
            return True
    return False


def customer_of(receptor: Receptor, ids: ResolvedIds | None) -> Customer:
    """Return the receptor as a customer of ContaDigital."""
    return Customer(
        rfc=receptor.rfc,
        razon_social=receptor.nombre,
        regimen_fiscal=receptor.regimen_fiscal_receptor,
        codigo_postal=receptor.domicilio_fiscal_receptor,
        uso_cfdi=receptor.uso_cfdi,
        email=receptor.email or "",
        id_forma_pago=ids.id_forma_pago if ids is not None else 0,
    )


def product_of(concepto: Concepto, id_um: int) -> Product:
    """Return a line as a product of ContaDigital; its `clave` is ours, and always the same for the same product."""
    product = Product(
        clave_prod_serv=concepto.clave_prod_serv,
        nombre=concepto.nombre,
        id_um=id_um,
        objeto_imp=concepto.objeto_imp,
    )
    return replace(product, clave=f"T{_product_key(product)[:12].upper()}")


def _product_key(product: Product) -> str:
    facts = (product.clave_prod_serv, product.nombre, str(product.id_um), product.objeto_imp)
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()


def _print(customer: Customer) -> str:
    """Return the fingerprint of what the SAT compares; nothing of it can be read back from it."""
    facts = (customer.razon_social, customer.regimen_fiscal, customer.codigo_postal)
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()


def _put_customer(door: Door, customer: Customer, ref: int | None, tools: Tools) -> int:
    """Find the customer, and create, update or revive it where ContaDigital's differs from Apunto's."""
    there = tools.provider.find_customer(door, customer.rfc)
    if there is None:
        return tools.provider.put_customer(door, customer, None)
    if customer.differs_from(there):
        return tools.provider.put_customer(door, customer, there.id)
    return there.id


def _put_product(door: Door, product: Product, tools: Tools) -> int:
    there = tools.provider.find_product(door, product)
    if there is not None:
        return there.id
    return tools.provider.put_product(door, product)
