"""What a complement that nobody asked for does to an invoice: nothing, or something.

No schema is needed to judge it: those that only add a text, or local taxes of zero, change neither parties, amounts
nor duties. Every other one makes the CFDI another document.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Final

from lxml import etree

_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "http://www.sat.gob.mx/leyendasFiscales": "leyendas fiscales",
        "http://www.sat.gob.mx/implocal": "impuestos locales",
        "http://www.sat.gob.mx/registrofiscal": "el registro fiscal",
        "http://www.sat.gob.mx/CartaPorte": "el complemento Carta Porte",
        "http://www.sat.gob.mx/CartaPorte20": "el complemento Carta Porte",
        "http://www.sat.gob.mx/CartaPorte30": "el complemento Carta Porte",
        "http://www.sat.gob.mx/CartaPorte31": "el complemento Carta Porte",
        "http://www.sat.gob.mx/ComercioExterior11": "el complemento de comercio exterior",
        "http://www.sat.gob.mx/ComercioExterior20": "el complemento de comercio exterior",
        "http://www.sat.gob.mx/Pagos20": "el complemento de pagos",
        "http://www.sat.gob.mx/nomina12": "el complemento de nómina",
        "http://www.sat.gob.mx/ine": "el complemento del INE",
        "http://www.sat.gob.mx/donat": "el complemento de donatarias",
    }
)
_TEXT_ONLY: Final = frozenset(
    {"http://www.sat.gob.mx/leyendasFiscales", "http://www.sat.gob.mx/registrofiscal"}
)
_LOCAL_TAXES: Final = "http://www.sat.gob.mx/implocal"
_OF_A_LINE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ACuentaTerceros": "operación a cuenta de terceros",
        "InformacionAduanera": "un número de pedimento",
        "CuentaPredial": "una cuenta predial",
        "ComplementoConcepto": "un complemento",
        "Parte": "partes",
    }
)


def is_harmless(complement: etree._Element) -> bool:
    """Whether it leaves parties, amounts and duties of the invoice as they are."""
    namespace = etree.QName(complement).namespace
    if namespace == _LOCAL_TAXES:
        return all(
            _is_zero(complement.get(name)) for name in ("TotaldeRetenciones", "TotaldeTraslados")
        ) and all(_is_zero(row.get("Importe")) for row in complement.iterchildren("*"))
    return namespace in _TEXT_ONLY


def name_of(complement: etree._Element) -> str:
    """What it is called, for a sentence: "el complemento Carta Porte"."""
    name = etree.QName(complement)
    return _NAMES.get(name.namespace or "") or f"el complemento {name.localname[:60]}"


def name_in_concepto(node: etree._Element) -> str:
    """The same of what stands in a concepto."""
    name = etree.QName(node).localname
    return _OF_A_LINE.get(name) or f"el nodo {name[:60]}"


def _is_zero(text: str | None) -> bool:
    try:
        return text is not None and Decimal(text) == 0
    except InvalidOperation:
        return False
