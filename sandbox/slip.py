"""The PDF of most accounts: UUID, serie, folio and total on a page, in a few microseconds.

The page is `data/slip.pdf`, which `pdf.slip_template` draws; its placeholders are replaced by texts of the same length,
so that every offset of the file stays valid.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Final

from lxml import etree

from cfdi.sat import files as sat_files

FIELDS: Final = {
    "uuid": "#uuid".ljust(36, "#"),
    "folio": "#folio".ljust(40, "#"),
    "total": "#total".ljust(24, "#"),
}
"""The placeholder of each text."""
TEMPLATE: Final = Path(__file__).parent / "data" / "slip.pdf"
_TEMPLATE: Final = TEMPLATE.read_bytes()
_TIPOS: Final = {"I": "FACTURA", "E": "NOTA DE CRÉDITO"}


def slip(xml: bytes) -> bytes:
    """The PDF of a stamped XML that says which invoice it is, and no more."""
    root = etree.fromstring(xml)
    timbre = root.find(f".//{sat_files.TIMBRE}")
    if timbre is None:
        raise LookupError("the XML is not stamped")
    total = f"{Decimal(root.get('Total', '0')):,} {root.get('Moneda')}"
    made = _TEMPLATE
    for name, text in {"uuid": timbre.get("UUID", ""), "folio": title(root), "total": total}.items():
        placeholder = FIELDS[name].encode()
        written = text.encode("cp1252", "replace")[: len(placeholder)].ljust(len(placeholder))
        for special in (b"\\", b"(", b")"):  # they would need an escape, and with it another length
            written = written.replace(special, b" ")
        made = made.replace(placeholder, written)
    return made


def title(root: etree._Element) -> str:
    """Kind, serie and folio of a Comprobante."""
    return f"{_TIPOS[root.get('TipoDeComprobante', 'I')]} {root.get('Serie', '')} {root.get('Folio', '')}".strip()
