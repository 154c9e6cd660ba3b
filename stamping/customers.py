"""Customers and products as ContaDigital knows them: made known once, remembered, and changed with care.

What a newcomer would get wrong: ContaDigital holds one customer per RFC, and stamps with the data it holds at that
moment. So a customer is changed only while no invoice that relies on the data of now is on its way, and what was asked
to be changed is not believed, either way, before ContaDigital has answered.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cfdi import document
from cfdi.document import Concepto, Invoice, Receptor
from cfdi.rfc import EXTRANJERO, PUBLICO_EN_GENERAL
from contadigital.catalogs import ResolvedIds
from contadigital.records import Credentials, Customer, Product
from models.compiled import Compiled, param
from models.tables import connections, invoices, provider_refs
from models.vocabulary import InvoiceStatus
from stamping.claims import Claimed
from stamping.tools import Tools

PATIENCE = 8.0  # seconds for which an invoice waits for another that is making its customer known
POLL = 0.1
SHARED = frozenset({PUBLICO_EN_GENERAL, EXTRANJERO})
"""RFCs of many customers at once. Whoever invoices by hand in ContaDigital changes the name behind them too, and the
SAT does not object to a wrong one; so what is there is looked at each time."""
UNSURE = "?"
"""Stands before the fingerprint of data that were asked to be changed and may be changed by now."""
BUSY = timedelta(seconds=2)
STUCK = timedelta(seconds=20)
"""How long to stay away from what somebody has been at for longer than that usually takes: most likely he is dead."""

Make = Callable[[Callable[[], None]], int]
"""Finds something at ContaDigital, or makes it; what it is given is called between the two calls, and may raise."""


class NotReady(Exception):  # named for what happened, like the errors of the other rooms
    """Somebody else is at work on something this invoice needs: come back after `wait`."""

    def __init__(self, wait: timedelta) -> None:
        super().__init__(f"come back in {wait}")
        self.wait = wait


def learn(
    claimed: Claimed, credentials: Credentials, invoice: Invoice, ids: ResolvedIds, tools: Tools
) -> tuple[int, tuple[int, ...]]:
    """Return ContaDigital's ids of the customer and of each line's product; unknown ones are made known.

    Raises NotReady where somebody else must be done first, and what the provider's calls raise.
    """
    customer = customer_of(invoice.receptor, ids)
    products = [product_of(each, ids.id_ums[place]) for place, each in enumerate(invoice.conceptos)]
    wanted: dict[tuple[str, str], str] = {("customer", customer.rfc): _print(customer)}
    for product in products:
        wanted["product", _product_key(product)] = ""
    known = _known_refs(claimed.connection, wanted, tools)
    if customer.rfc in SHARED:
        known.pop(("customer", customer.rfc), None)
    if len(known) < len(wanted):
        for (kind, key), fingerprint in wanted.items():
            if (kind, key) in known:
                continue
            if kind == "customer":
                make: Make = lambda renew: _put_customer(credentials, customer, renew, tools)  # noqa: E731
            else:
                product = next(each for each in products if _product_key(each) == key)
                make = lambda renew, product=product: _put_product(credentials, product, renew, tools)  # type: ignore[misc]  # noqa: E731
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
        sa.exists().where(
            connections.c.id == provider_refs.c.connection_id,
            connections.c.key_fingerprint == param("key_fingerprint"),
        ),
        sa.tuple_(provider_refs.c.kind, provider_refs.c.key).in_(
            sa.select(
                sa.func.unnest(param("kinds", sa.ARRAY(sa.Text))),
                sa.func.unnest(param("keys", sa.ARRAY(sa.Text))),
            )
        ),
    )
)


def _known_refs(
    connection: sa.Row[Any], wanted: dict[tuple[str, str], str], tools: Tools
) -> dict[tuple[str, str], int]:
    """Return the ids that are known for the key of this connection: with another one, another account's would do."""
    now = tools.clock.now()
    kinds, keys = zip(*wanted, strict=True)
    with tools.at_once.begin() as db:
        rows = _KNOWN.run(
            db,
            connection_id=connection.id,
            key_fingerprint=connection.key_fingerprint,
            kinds=list(kinds),
            keys=list(keys),
        ).all()
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
    make: Make,
    tools: Tools,
) -> int:
    """Make one customer or product known at ContaDigital, one worker for all; the others wait for it.

    It is ours for a lease, which outlasts any one call, and is renewed between two.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        now = tools.clock.now()
        until = now + tools.policy.lease
        with tools.engine.begin() as db:
            _same_key(db, claimed)
            mine = db.execute(
                insert(provider_refs)
                .values(
                    connection_id=claimed.connection.id,
                    kind=kind,
                    key=key,
                    claim=1,
                    claimed_until=until,
                    updated_at=now,
                )
                .on_conflict_do_update(
                    index_elements=[provider_refs.c.connection_id, provider_refs.c.kind, provider_refs.c.key],
                    set_={"claim": provider_refs.c.claim + 1, "claimed_until": until},
                    where=sa.or_(
                        provider_refs.c.claimed_until.is_(None), provider_refs.c.claimed_until <= now
                    ),
                )
                .returning(provider_refs.c.claim, provider_refs.c.provider_id, provider_refs.c.fingerprint)
            ).one_or_none()
        if mine is not None:
            return _with_ref(claimed, kind, key, fingerprint, mine, make, tools)
        if time.monotonic() > deadline:
            raise NotReady(BUSY)
        if _is_stuck(claimed, kind, key, tools):
            raise NotReady(STUCK)  # and keep none of the account's places meanwhile
        time.sleep(POLL)
        known = _known_refs(claimed.connection, {(kind, key): fingerprint}, tools)
        if known and key not in SHARED:
            return known[kind, key]


def _is_stuck(claimed: Claimed, kind: str, key: str, tools: Tools) -> bool:
    """Whether somebody is at it for longer than anybody waits: slow as never, or killed."""
    with tools.at_once.begin() as db:
        until = db.execute(
            sa.select(provider_refs.c.claimed_until).where(
                provider_refs.c.connection_id == claimed.connection.id,
                provider_refs.c.kind == kind,
                provider_refs.c.key == key,
            )
        ).scalar_one_or_none()
    if until is None:
        return False
    return bool(until - tools.policy.lease + timedelta(seconds=PATIENCE) < tools.clock.now())


def _same_key(db: sa.Connection, claimed: Claimed) -> None:
    """See that the connection still has the key that we work with, and hold it so until the commit.

    What is learnt with an old key, which may go on working for a while, is true of the old account only.
    """
    connection = claimed.connection
    same = db.execute(
        sa.select(connections.c.id)
        .where(connections.c.id == connection.id, connections.c.key_fingerprint == connection.key_fingerprint)
        .with_for_update(read=True)
    ).one_or_none()
    if same is None:
        raise NotReady(BUSY)


def _with_ref(
    claimed: Claimed,
    kind: str,
    key: str,
    fingerprint: str,
    mine: sa.Row[Any],
    make: Make,
    tools: Tools,
) -> int:
    """Do what is to be done under our claim of a customer or product, and let go of it."""
    facts: dict[str, Any] = {}
    try:
        if mine.provider_id is not None and mine.fingerprint == fingerprint and key not in SHARED:
            return mine.provider_id  # type: ignore[no-any-return]  # made known while we waited for our turn
        before = (mine.fingerprint or "").removeprefix(UNSURE)
        if kind == "customer" and mine.provider_id is not None:
            if before != fingerprint and _is_relied_on(claimed, key, before, tools):
                raise NotReady(BUSY)
            _write(claimed, kind, key, mine, tools, fingerprint=UNSURE + before)
        made = make(lambda: _renew(claimed, kind, key, mine, tools))
        facts = {"provider_id": made, "fingerprint": fingerprint}
    finally:
        is_ours = _write(claimed, kind, key, mine, tools, claimed_until=None, **facts)
    if not is_ours:
        raise NotReady(BUSY)  # it took so long that somebody else is at it, perhaps with other data
    return made


def _renew(claimed: Claimed, kind: str, key: str, mine: sa.Row[Any], tools: Tools) -> None:
    """Keep it for another call; NotReady where it took so long that somebody else is at it."""
    if not _write(claimed, kind, key, mine, tools, claimed_until=tools.clock.now() + tools.policy.lease):
        raise NotReady(BUSY)


def _write(claimed: Claimed, kind: str, key: str, mine: sa.Row[Any], tools: Tools, **values: Any) -> bool:
    with tools.engine.begin() as db:
        written = db.execute(
            sa.update(provider_refs)
            .where(
                provider_refs.c.connection_id == claimed.connection.id,
                provider_refs.c.kind == kind,
                provider_refs.c.key == key,
                provider_refs.c.claim == mine.claim,
            )
            .values(updated_at=tools.clock.now(), **values)
        )
    return written.rowcount == 1


def forget(db: sa.Connection, claimed: Claimed, kind: str) -> None:
    """Forget the ids of every customer, or product, of a connection."""
    forget_all(db, claimed.connection.id, provider_refs.c.kind == kind)


def forget_all(db: sa.Connection, connection_id: UUID, *which: sa.ColumnElement[bool]) -> None:
    """Forget ids of a connection. Their rows stay, so that whoever is learning one at this moment comes too late."""
    db.execute(
        sa.update(provider_refs)
        .where(provider_refs.c.connection_id == connection_id, *which)
        .values(provider_id=None, fingerprint=None, claim=provider_refs.c.claim + 1, claimed_until=None)
    )


def invalidate_customer(claimed: Claimed, rfc: str, tools: Tools) -> None:
    """Look a customer up again before the next invoice to it: the SAT refused what ContaDigital holds of it."""
    print_ = provider_refs.c.fingerprint
    with tools.engine.begin() as db:
        db.execute(
            sa.update(provider_refs)
            .where(
                provider_refs.c.connection_id == claimed.connection.id,
                provider_refs.c.kind == "customer",
                provider_refs.c.key == rfc,
                provider_refs.c.claimed_until.is_(None),
                print_.not_like(f"{UNSURE}%"),
            )
            .values(fingerprint=UNSURE + print_, updated_at=tools.clock.now())
        )


def _is_relied_on(claimed: Claimed, rfc: str, fingerprint: str, tools: Tools) -> bool:
    """Whether another invoice on its way counts on the data that ContaDigital holds of this customer now.

    One whose answer was lost a moment ago may still be on its way there.
    """
    lately = tools.clock.now() - tools.policy.lease
    with tools.engine.begin() as db:
        contents = (
            db.execute(
                sa.select(invoices.c.content).where(
                    invoices.c.account == claimed.account,
                    sa.or_(
                        invoices.c.status == InvoiceStatus.STAMPING,
                        sa.and_(invoices.c.status == InvoiceStatus.IN_DOUBT, invoices.c.doubt_since > lately),
                    ),
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


def _put_customer(
    credentials: Credentials, customer: Customer, renew: Callable[[], None], tools: Tools
) -> int:
    """Find the customer, and create, update or revive it where ContaDigital's differs from Apunto's."""
    there = tools.provider.find_customer(credentials, customer.rfc)
    if there is not None and not customer.differs_from(there):
        return there.id
    renew()
    return tools.provider.put_customer(credentials, customer, there.id if there is not None else None)


def _put_product(credentials: Credentials, product: Product, renew: Callable[[], None], tools: Tools) -> int:
    there = tools.provider.find_product(credentials, product)
    if there is not None:
        return there.id
    renew()
    return tools.provider.put_product(credentials, product)
