"""Valid things for tests; a test names only what differs.

`an_invoice(metodo_pago="PPD", forma_pago="99")` is a whole invoice as Apunto sends it (a dict of plain
JSON). Amounts follow the lines: subtotal and total are computed unless the test names them.
"""

import copy
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from cfdi.amounts import ZERO, UnknownCurrency, compute
from cfdi.document import Invoice, Unreadable, Unseen, read
from cfdi.issuer import Issuer

NOW = datetime(2026, 11, 23, 16, 20, tzinfo=UTC)
"""The instant at which the invoice of the contract is five minutes old."""

UUID = "9932113E-09AC-47BA-8E8C-6F83100C814F"

JSON = dict[str, Any]


def a_traslado(**changes: Any) -> JSON:
    """IVA of 16 %."""
    return {"impuesto": "002", "tipo_factor": "Tasa", "tasa_o_cuota": "0.160000"} | changes


def an_exempt_traslado() -> JSON:
    """IVA, exempt."""
    return {"impuesto": "002", "tipo_factor": "Exento"}


def a_retencion(**changes: Any) -> JSON:
    """IVA withheld at 4 %, as autotransporte has it."""
    return {"impuesto": "002", "tipo_factor": "Tasa", "tasa_o_cuota": "0.040000"} | changes


def a_concepto(**changes: Any) -> JSON:
    """A freight forwarder's service of 15,000.00 with 16 % IVA and 4 % withheld: no carrier's, so no Carta Porte."""
    return {
        "clave_prod_serv": "78141501",
        "no_identificacion": "FLT-01",
        "cantidad": "1",
        "clave_unidad": "E48",
        "nombre": "Flete terrestre",
        "descripcion": "Flete Monterrey - Laredo, OP-10234",
        "valor_unitario": "15000.00",
        "descuento": "0.00",
        "objeto_imp": "02",
        "traslados": [a_traslado()],
        "retenciones": [a_retencion()],
    } | changes


def a_receptor(**changes: Any) -> JSON:
    """XENON INDUSTRIAL ARTICLES, a persona moral of the SAT's test list."""
    return {
        "rfc": "XIA190128J61",
        "nombre": "XENON INDUSTRIAL ARTICLES",
        "domicilio_fiscal_receptor": "76343",
        "regimen_fiscal_receptor": "601",
        "uso_cfdi": "G03",
        "email": None,
    } | changes


def publico_en_general(lugar_expedicion: str = "64000", **changes: Any) -> JSON:
    """The receptor of a global invoice."""
    return {
        "rfc": "XAXX010101000",
        "nombre": "PUBLICO EN GENERAL",
        "domicilio_fiscal_receptor": lugar_expedicion,
        "regimen_fiscal_receptor": "616",
        "uso_cfdi": "S01",
        "email": None,
    } | changes


def an_invoice(**changes: Any) -> JSON:
    """The invoice of the contract: freight of 15,000.00, total 16,800.00, MXN, PUE, paid by transfer."""
    invoice: JSON = {
        "version": 1,
        "account": "acme",
        "external_id": "OP-10234-1",
        "tipo_de_comprobante": "I",
        "fecha": "2026-11-23T10:15:00-06:00",
        "forma_pago": "03",
        "metodo_pago": "PUE",
        "moneda": "MXN",
        "tipo_cambio": None,
        "lugar_expedicion": "64000",
        "receptor": a_receptor(),
        "conceptos": [a_concepto()],
        "informacion_global": None,
        "cfdi_relacionados": None,
        "subtotal": "15000.00",
        "total": "16800.00",
        "send_to": [],
    } | changes
    return with_totals(invoice, keep=frozenset(changes))


def a_credit_note(**changes: Any) -> JSON:
    """An egreso over one earlier invoice."""
    return an_invoice(
        **{
            "tipo_de_comprobante": "E",
            "cfdi_relacionados": {"tipo_relacion": "01", "uuids": [UUID]},
            "receptor": a_receptor(uso_cfdi="G02"),
            "conceptos": [
                a_concepto(
                    clave_prod_serv="84111506", clave_unidad="ACT", nombre="Bonificación", retenciones=[]
                )
            ],
        }
        | changes
    )


def a_global_invoice(**changes: Any) -> JSON:
    """A month's sales to the public."""
    return an_invoice(
        **{
            "receptor": publico_en_general(),
            "informacion_global": {"periodicidad": "04", "meses": "11", "anio": 2026},
            "forma_pago": "01",
            "conceptos": [
                a_concepto(
                    clave_prod_serv="01010101",
                    clave_unidad="ACT",
                    nombre="Venta",
                    descripcion="Venta",
                    retenciones=[],
                )
            ],
        }
        | changes
    )


def with_totals(invoice: JSON, keep: frozenset[str] = frozenset()) -> JSON:
    """Write subtotal and total as the lines have them; those in `keep` stay, and what cannot be added."""
    try:
        amounts = compute(readable(invoice))
    except (UnknownCurrency, Unseen):
        return invoice
    sums: dict[str, Decimal] = {"subtotal": amounts.subtotal, "total": amounts.total}
    return invoice | {name: f"{max(value, ZERO):f}" for name, value in sums.items() if name not in keep}


def readable(invoice: JSON) -> Invoice:
    """Read what can be read of an invoice that may be faulty on purpose."""
    try:
        return read(invoice)
    except Unreadable as error:
        if error.readable is None:
            raise Unseen("invoice") from None
        return error.readable


def an_issuer(**changes: Any) -> Issuer:
    """ESCUELA KEMPER URGATE, the issuer of the SAT's test certificates."""
    facts: JSON = {
        "rfc": "EKU9003173C9",
        "nombre": "ESCUELA KEMPER URGATE",
        "regimen_fiscal": "601",
        "serie": "A",
    }
    return Issuer(**(facts | changes))


def changed(changes: JSON, base: JSON | None = None) -> tuple[JSON, Issuer]:
    """Apply a rule's example to a valid invoice: values by path, `emisor.` paths to the issuer.

    Amounts follow the lines again, unless the example names them.
    """
    invoice: JSON = copy.deepcopy(an_invoice() if base is None else base)
    issuer: JSON = {}
    for path, value in changes.items():
        if path.startswith("emisor."):
            issuer[path.removeprefix("emisor.")] = value
            continue
        *parents, last = [int(number) if number else name for name, number in _STEP.findall(path)]
        node: Any = invoice
        for step in parents:
            node = node[step]
        node[last] = copy.deepcopy(value)
    return with_totals(invoice, keep=frozenset(changes)), an_issuer(**issuer)


_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
