"""What a saved record says of itself, compared with what was meant: a difference that is seen here costs no stamp.

What a look-up reports is unknown. Every name that may say an amount, a party, the series or the currency is looked for;
what is not said is not compared.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from cfdi import wording
from cfdi.amounts import Amounts
from cfdi.document import Invoice
from cfdi.faults import Fault
from contadigital.recognise import LETTER, currency_of, plain_name

_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "total": ("total", "totalfactura", "importetotal"),
    "subtotal": ("subtotal",),
    "iva": ("iva", "ivatotal", "totaliva"),
    "retencion_iva": ("retencioniva", "ivaretenido"),
    "retencion_isr": ("retencionisr", "isrretenido"),
    "moneda": ("moneda", "monedaclave"),
    "rfc_emisor": ("rfcemisor", "emisorrfc"),
    "rfc_receptor": ("rfcreceptor", "receptorrfc", "clienterfc", "rfccliente"),
    "serie": ("serie",),
}
_RICH: Final = frozenset({"subtotal", "iva", "moneda", "rfc_emisor", "rfc_receptor"})
"""What makes a look-up worth a call before each stamp; a total alone is compared where it comes anyway."""
_CENT: Final = Decimal("0.01")


def facts_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a record says, by our names."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            flat |= {plain_name(f"{name}{inner}"): each for inner, each in value.items()}
        else:
            flat[plain_name(name)] = value
    found = {
        name: next((flat[key] for key in keys if flat.get(key) not in (None, "")), None)
        for name, keys in _NAMES.items()
    }
    return {name: value for name, value in found.items() if value is not None}


def is_rich(record: Mapping[str, Any]) -> bool:
    """Whether a record says enough of itself to be asked before each stamp."""
    return bool(_RICH & facts_of(record).keys())


def differences(
    record: Mapping[str, Any], invoice: Invoice, amounts: Amounts, *, rfc: str, serie: str | None
) -> tuple[Fault, ...]:
    """Every difference between what a saved record says and what was meant."""
    facts = facts_of(record)
    meant: dict[str, tuple[Any, ...]] = {
        "total": (amounts.total,),
        "subtotal": (amounts.subtotal, amounts.subtotal - amounts.descuento),  # gross or net: the dialect's
        "iva": (_sum(amounts, "traslados", "002"),),
        "retencion_iva": (_sum(amounts, "retenciones", "002"),),
        "retencion_isr": (_sum(amounts, "retenciones", "001"),),
    }
    faults = []
    for name, values in meant.items():
        numbers = _readings(facts.get(name))
        if name.startswith("retencion"):  # some show what is taken off as a negative number
            numbers = tuple(map(abs, numbers))
        if numbers and all(abs(number - value) >= _CENT for number in numbers for value in values):
            faults.append(_fault(name, _money(values[0]), _money(numbers[0])))
    for name, value in (("rfc_emisor", rfc), ("rfc_receptor", invoice.receptor.rfc), ("serie", serie)):
        text = facts.get(name)
        if not value or not isinstance(text, str) or (name == "serie" and not LETTER.fullmatch(text.strip())):
            continue  # the name that a series goes by there may be another than the CFDI's Serie (observed)
        if _bare(text) != _bare(value):
            faults.append(_fault(name, value, text.strip()[:40]))
    currency = currency_of(facts.get("moneda"))
    if currency is not None and currency != invoice.moneda:
        faults.append(_fault("moneda", invoice.moneda, currency))
    return tuple(faults)


def _sum(amounts: Amounts, node: str, impuesto: str) -> Decimal:
    taxes = (tax for line in amounts.lines for tax in getattr(line, node) if tax.impuesto == impuesto)
    return sum((tax.importe for tax in taxes if tax.importe is not None), Decimal(0))


def _readings(value: object) -> tuple[Decimal, ...]:
    """What a number may mean: a server that counts as Spain does writes 16.800,00, and 16,800 may be both."""
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return (Decimal(value),)
    text = re.sub(r"(?i)[$\s]|mxn|usd", "", value) if isinstance(value, str) else ""
    found = []
    if re.fullmatch(r"-?(?:\d{1,20}|\d{1,3}(?:,\d{3}){1,6})(?:\.\d{1,20})?", text):
        found.append(Decimal(text.replace(",", "")))
    if re.fullmatch(r"-?(?:\d{1,20}|\d{1,3}(?:\.\d{3}){1,6}),\d{1,20}", text):
        found.append(Decimal(text.replace(".", "").replace(",", ".")))
    return tuple(found)


def _bare(text: str) -> str:
    """A series or an RFC as it is compared: some write EKU-900317-3C9."""
    return re.sub(r"[\s-]", "", text).upper()


def _money(value: Decimal) -> str:
    return wording.money(value)


_LABELS: Final = {
    "total": ("total", "el total"),
    "subtotal": ("subtotal", "el subtotal"),
    "iva": ("conceptos", "el IVA"),
    "retencion_iva": ("conceptos", "la retención de IVA"),
    "retencion_isr": ("conceptos", "la retención de ISR"),
    "moneda": ("moneda", "la moneda"),
    "rfc_emisor": ("emisor.rfc", "el RFC del emisor"),
    "rfc_receptor": ("receptor.rfc", "el RFC del cliente"),
    "serie": ("serie", "la serie"),
}


def _fault(name: str, meant: str, saved: str) -> Fault:
    field, what = _LABELS[name]
    return Fault(
        code="contadigital.guardado_distinto",
        field=field,
        message=f"ContaDigital guardó {what} como {saved} en lugar de {meant}, así que no se timbró.",
        fix="Soporte de Apunto lo revisa: no tienes que corregir nada en la factura.",
        source="contadigital",
        whose="support",
    )
