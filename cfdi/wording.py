"""How values are written in a sentence for a user: money, keys with their names, dates."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Final

from cfdi.sat import catalogs

_MONTHS: Final = (
    "enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre", "octubre",
    "noviembre", "diciembre",
)  # fmt: skip
METODOS: Final[Mapping[str, str]] = {
    "PUE": "Pago en una sola exhibición",
    "PPD": "Pago en parcialidades o diferido",
}
IMPUESTOS: Final[Mapping[str, str]] = {"001": "ISR", "002": "IVA", "003": "IEPS"}
TIPOS: Final[Mapping[str, str]] = {"I": "Ingreso", "E": "Egreso", "T": "Traslado", "P": "Pago", "N": "Nómina"}
SHOWN: Final = 5
"""Keys that one sentence names; the others are "y otros"."""


def money(amount: Decimal, decimals: int = 2) -> str:
    """Write an amount as a person does: $15,000.00, with every decimal that it has beyond the currency's."""
    exponent = amount.normalize().as_tuple().exponent
    places = max(decimals, -exponent if isinstance(exponent, int) else 0)
    sign = "-" if amount < 0 else ""
    return f"{sign}${abs(amount):,.{places}f}"


def number(value: Decimal) -> str:
    """Write a quantity without idle zeros: 1,000.5."""
    return f"{value.normalize():,f}"


def percent(rate: Decimal) -> str:
    """Write a rate as a person says it: 16 %, 10.6667 %."""
    return f"{(rate * 100).normalize():f} %"


def day(moment: datetime) -> str:
    """Write a day: 15 de enero de 2026."""
    return f"{moment.day} de {_MONTHS[moment.month - 1]} de {moment.year}"


def moment(value: datetime) -> str:
    """Write a moment: 15 de enero de 2026 a las 10:15:42; without its seconds where they are zero."""
    return f"{day(value)} a las {value:%H:%M:%S}" if value.second else f"{day(value)} a las {value:%H:%M}"


_NAMES: Final[Mapping[str, Callable[[str], str | None]]] = {
    "forma_pago": lambda key: catalogs.formas_pago().get(key),
    "metodo_pago": METODOS.get,
    "uso_cfdi": lambda key: catalogs.usos_cfdi().get(key),
    "regimen_fiscal": lambda key: catalogs.regimenes().get(key),
    "regimen_fiscal_receptor": lambda key: catalogs.regimenes().get(key),
    "moneda": lambda key: found.nombre if (found := catalogs.currency(key)) else None,
    "clave_prod_serv": catalogs.clave_prod_serv,
    "clave_unidad": catalogs.clave_unidad,
    "objeto_imp": lambda key: catalogs.objetos_imp().get(key),
    "tipo_relacion": lambda key: catalogs.tipos_relacion().get(key),
    "exportacion": lambda key: catalogs.exportaciones().get(key),
    "impuesto": IMPUESTOS.get,
    "tipo_de_comprobante": TIPOS.get,
    "periodicidad": lambda key: catalogs.periodicidades().get(key),
    "meses": lambda key: catalogs.meses().get(key),
}


def name_of(field: str, key: str) -> str | None:
    """Return what a key of a field stands for, or None where no catalogue of ours names it."""
    find = _NAMES.get(field)
    found = find(key) if find is not None else None
    return found if isinstance(found, str) and found else None


def key(field: str, value: str) -> str:
    """Write a key with its name: 03 (Transferencia electrónica de fondos)."""
    name = name_of(field, value)
    return f"{value} ({name.rstrip('.')})" if name else value


def keys(field: str, values: Iterable[str]) -> str:
    """Write some keys with their names, five at most, then "y otros"."""
    values = list(values)
    shown = [key(field, value) for value in values[:SHOWN]]
    if len(values) > SHOWN:
        shown.append("y otros")
        return f"{', '.join(shown[:-1])} {shown[-1]}"
    return ", ".join(shown[:-1]) + (" o " if len(shown) > 1 else "") + shown[-1] if shown else ""


def quoted(text: str, longest: int = 120) -> str:
    """Write somebody's text between quotation marks, cut where it is too long for a sentence."""
    return f"«{text if len(text) <= longest else text[:longest] + '…'}»"
