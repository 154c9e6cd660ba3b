"""A line as ContaDigital's product: given by hand, or made known once by `productos.json`, where there is such a call.

No call of products was ever seen: the only known integration has the ids typed. An account whose products can't be had
that way needs them by hand, and says so by name; nothing else stops for it.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace

from cfdi.document import Concepto, Invoice
from contadigital.catalogs import Id
from contadigital.dialect import Dialect
from contadigital.errors import AnswerLost, ContaDigitalError, DocumentRejected, NotSent, Refused
from contadigital.records import Credentials, Product
from contadigital.resolve_ids import ResolvedIds, missing_id
from stamping.claims import Claimed
from stamping.provider_refs import make_known
from stamping.tools import Tools

KIND = "product"


def product_of(concepto: Concepto, id_um: Id) -> Product:
    """Return a line as a product of ContaDigital; its `clave` is ours, and always the same for the same product."""
    product = Product(
        clave_prod_serv=concepto.clave_prod_serv,
        nombre=concepto.nombre,
        id_um=id_um,
        objeto_imp=concepto.objeto_imp,
    )
    return replace(product, clave=f"T{key_of(product)[:12].upper()}")


def key_of(product: Product) -> str:
    """Return what distinguishes one product from another."""
    facts = (product.clave_prod_serv, product.nombre, str(product.id_um), product.objeto_imp)
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()


def to_be_made(invoice: Invoice, ids: ResolvedIds, dialect: Dialect) -> list[Product | None]:
    """Return for each line the product that must be known at ContaDigital; None where its id was given by hand.

    Raises DocumentRejected, naming each id, where this provider has no other way.
    """
    products = [
        product_of(concepto, ids.id_ums[place]) if ids.given_productos[place] is None else None
        for place, concepto in enumerate(invoice.conceptos)
    ]
    if dialect["productos"] == "given" and any(products):
        raise _missing(products)
    return products


def make_product_known(claimed: Claimed, credentials: Credentials, product: Product, tools: Tools) -> int:
    """Return ContaDigital's id of a product, found or made there.

    Raises NotReady where somebody else must be done first, DocumentRejected naming the id that must be given by hand
    where the call is of no use, and what the provider's calls raise.
    """
    try:
        return make_known(
            claimed,
            KIND,
            key_of(product),
            "",
            lambda renew, _: _put(credentials, product, renew, tools),
            tools,
        )
    except ContaDigitalError as error:
        if _is_no_use(error, claimed.invoice.tries):
            raise _missing([product]) from error
        raise


NOT_THERE = frozenset({404, 405, 501})
"""What a provider without this call answers, also with a page."""
ODD_ANSWERS = 5
"""Tries of an invoice after which an answer that nobody understands is what this provider always says."""


def _is_no_use(error: ContaDigitalError, tries: int) -> bool:
    """Whether an answer says that products can't be had by this call: it is not there, or its answer has no id.

    A page in the answer's place may be a fault of this moment: the invoice is tried again before it is refused for it.
    """
    if isinstance(error, NotSent) or error.http_status is None or error.is_outage:
        return False
    if isinstance(error, AnswerLost):
        if error.http_status in NOT_THERE:
            return True
        return error.http_status < 500 and (error.is_understood or tries >= ODD_ANSWERS)
    return type(error) in (Refused, DocumentRejected)


def _missing(products: list[Product | None]) -> DocumentRejected:
    faults = [
        missing_id(f"producto.{product.clave_prod_serv}", f"conceptos[{place}].clave_prod_serv")
        for place, product in enumerate(products)
        if product is not None
    ]
    return DocumentRejected("products are made by hand there", faults=tuple(faults))


def _put(credentials: Credentials, product: Product, renew: Callable[[], None], tools: Tools) -> int:
    there = tools.provider.find_product(credentials, product)
    if there is not None:
        return there.id
    renew()
    return tools.provider.put_product(credentials, product)
