"""The receptor as ContaDigital's customer: made known once, and changed with care.

ContaDigital holds one customer per RFC, and stamps with the data it holds at that moment. So a customer is changed only
while no invoice that relies on the data of now is on its way.
"""

import hashlib
from collections.abc import Callable

import sqlalchemy as sa

from cfdi import document
from cfdi.document import Receptor
from cfdi.rfc import EXTRANJERO, PUBLICO_EN_GENERAL
from contadigital.dialect import Dialect
from contadigital.errors import ContaDigitalError
from contadigital.records import Credentials, Customer
from contadigital.resolve_ids import ResolvedIds
from models.tables import invoices, provider_refs
from models.vocabulary import InvoiceStatus
from stamping.claims import Claimed
from stamping.provider_refs import UNSURE, make_known
from stamping.tools import Tools

KIND = "customer"
SHARED = frozenset({PUBLICO_EN_GENERAL, EXTRANJERO})
"""RFCs of many customers at once. Whoever invoices by hand in ContaDigital changes the name behind them too, and the
SAT does not object to a wrong one; so what is there is looked at each time."""


def make_customer_known(
    claimed: Claimed, credentials: Credentials, customer: Customer, dialect: Dialect, tools: Tools
) -> int:
    """Return ContaDigital's id of a customer, found, made, or brought up to date there.

    Raises NotReady where somebody else must be done first, and what the provider's calls raise.
    """
    return make_known(
        claimed,
        KIND,
        customer.rfc,
        fingerprint(customer),
        lambda renew, is_unsure: _put(credentials, customer, dialect, renew, tools, exactly=is_unsure),
        tools,
        is_shared=customer.rfc in SHARED,
        may_change=lambda before: not _is_relied_on(claimed, customer.rfc, before, tools),
    )


def invalidate_customer(claimed: Claimed, rfc: str, tools: Tools) -> None:
    """Look a customer up again before the next invoice to it: the SAT refused what ContaDigital holds of it."""
    relied_on = provider_refs.c.fingerprint
    with tools.engine.begin() as db:
        db.execute(
            sa.update(provider_refs)
            .where(
                provider_refs.c.connection_id == claimed.connection.id,
                provider_refs.c.kind == KIND,
                provider_refs.c.key == rfc,
                provider_refs.c.claimed_until.is_(None),
                relied_on.not_like(f"{UNSURE}%"),
            )
            .values(fingerprint=UNSURE + relied_on, updated_at=tools.clock.now())
        )


def is_kept_otherwise(credentials: Credentials, receptor: Receptor, tools: Tools) -> bool:
    """Whether ContaDigital holds other fiscal data of a customer than the invoice has, be it the letter case alone."""
    try:
        there = tools.provider.find_customer(credentials, receptor.rfc)
    except ContaDigitalError:
        return False
    return there is not None and customer_of(receptor, None).differs_from(there, exactly=True)


def _is_relied_on(claimed: Claimed, rfc: str, relied_on: str, tools: Tools) -> bool:
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
        if receptor.rfc == rfc and fingerprint(customer_of(receptor, None)) == relied_on:
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


def fingerprint(customer: Customer) -> str:
    """Return the fingerprint of what the SAT compares; nothing of it can be read back from it."""
    facts = (customer.razon_social, customer.regimen_fiscal, customer.codigo_postal)
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()


def _put(
    credentials: Credentials,
    customer: Customer,
    dialect: Dialect,
    renew: Callable[[], None],
    tools: Tools,
    *,
    exactly: bool,
) -> int:
    """Find the customer, and create, update or revive it where ContaDigital's differs from Apunto's."""
    there = tools.provider.find_customer(credentials, customer.rfc)
    if there is not None and not customer.differs_from(there, exactly=exactly):
        return there.id
    renew()
    return tools.provider.put_customer(credentials, customer, there, dialect)
