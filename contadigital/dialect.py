"""How ContaDigital is spoken to: each aspect of its wire that nobody has observed, as a name with its choices.

The defaults are what the sources wrote. A dialect is data, kept per provider address (`providers.dialect`) and read
without a restart; wire.py and client.py write by it, and nothing else knows what a choice means on the wire.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Mark = Literal["observed", "written", "inferred", "assumed"]


@dataclass(frozen=True, slots=True)
class Aspect:
    """One thing that may be otherwise."""

    name: str
    choices: Mapping[str, str]
    """What it can be, and what each choice means; the first is the default."""
    meaning: str
    mark: Mark
    """How well the default is known (docs/unknowns.md says what the marks mean)."""
    fields: str
    """The fields of the wire that it decides."""
    is_open: bool = False
    """Whether any other text is a choice as well: a word that nobody knows."""

    @property
    def default(self) -> str:
        """The first choice."""
        return next(iter(self.choices))


ASPECTS: Final = (
    Aspect(
        "importe",
        {
            "net": "cantidad x precio, menos el descuento",
            "gross": "cantidad x precio, sin restar el descuento",
        },
        "What a line's Importe is",
        "written",
        "Productos[].Importe",
    ),
    Aspect(
        "subtotal",
        {
            "net": "suma de las líneas netas, y Descuento 0",
            "gross": "suma antes de descuentos, y Descuento su suma",
        },
        "What the root's Subtotal is, and with it its Descuento",
        "written",
        "Subtotal, Descuento",
    ),
    Aspect(
        "total_linea",
        {
            "without_withholdings": "importe neto + IVA + IEPS",
            "with_withholdings": "importe neto + IVA + IEPS - retenciones",
        },
        "What a line's Total is",
        "written",
        "Productos[].Total",
    ),
    Aspect(
        "tipo_retencion",
        {
            "percent": "el porcentaje: 4",
            "fraction": "la tasa: 0.04",
            "list": "el id de una lista (ids.retencion, o la lista de la cuenta)",
            "word": "el texto de la lista de la cuenta, o `palabra_retencion`; «No aplica» donde no hay",
        },
        "How the rate of withheld IVA is said; the daily case of freight",
        "assumed",
        "Productos[].TipoRetIVA, TipoRetencionIVA",
    ),
    Aspect(
        "palabra_retencion",
        {"{} %": "4 %", "{}%": "4%", "Retención {}%": "Retención 4%"},
        "The word for a rate where `tipo_retencion` is `word` and no list says it; {} is the percentage",
        "assumed",
        "Productos[].TipoRetIVA",
        is_open=True,
    ),
    Aspect(
        "tasas",
        {"percent": "16", "fraction": "0.16"},
        "How the other rates are written",
        "written",
        "PorcentajeIVA, TasaIEPS, TasaISR",
    ),
    Aspect(
        "numeros",
        {"number": "16000.00", "string": '"16000.00"'},
        "Whether amounts, quantities and rates are JSON numbers or texts",
        "written",
        "todos los importes",
    ),
    Aspect(
        "tasa_cero",
        {"flag": "true en una línea gravada al 0 %", "never": "siempre false"},
        "What says 0 % and distinguishes it from exempt",
        "assumed",
        "Productos[].TasaCero",
    ),
    Aspect(
        "palabra_egreso",
        {"Nota de Credito": "", "Nota de Crédito": "", "NotaCredito": "", "Egreso": "", "E": ""},
        "TipoComprobante of a credit note (that of an invoice, Factura, is observed)",
        "assumed",
        "TipoComprobante",
        is_open=True,
    ),
    Aspect(
        "forma_pago",
        {
            "key_and_text": "03 Transferencia electrónica de fondos",
            "key": "03",
            "text": "Transferencia electrónica de fondos",
            "dashed": "03 - Transferencia electrónica de fondos",
        },
        "The text beside IdFormaDePago",
        "written",
        "FormaDePago",
    ),
    Aspect(
        "comentarios",
        {
            "code_and_description": "clave - descripción de la línea",
            "description": "la descripción de la línea",
            "code_and_name": "clave - nombre del producto",
        },
        "What a line's own text carries",
        "written",
        "Productos[].Comentarios",
    ),
    Aspect(
        "relaciones",
        {
            "uuids": '["UUID"]',
            "objects": '[{"UUID": "UUID"}]',
            "text": '"UUID,UUID"',
            "typed": '[{"TipoRelacion": "04", "UUID": "UUID"}], también con varios tipos en una factura',
            "refused": "no se pueden decir: la factura se rechaza antes de enviarla",
        },
        "How related CFDI are said (null where there are none is observed)",
        "assumed",
        "CFDIRelacionados",
    ),
    Aspect(
        "tipo_relacion",
        {"number": "1", "text": '"01"'},
        "How the kind of relation is written; 0 where there is none (written)",
        "assumed",
        "TipoRelacion",
    ),
    Aspect(
        "factura_global",
        {
            "object": "InformacionGlobal {Periodicidad, Meses, Anio}",
            "flat": "Periodicidad, Meses y Anio en la raíz",
            "automatic": "no se envía: ContaDigital la pone por su cuenta",
            "refused": "no se puede decir: la factura se rechaza antes de enviarla",
        },
        "How the period of a global invoice is said",
        "assumed",
        "InformacionGlobal",
    ),
    Aspect(
        "condiciones_de_pago",
        {"field": "en CondicionesDePago", "left_out": "no se envían"},
        "Whether the payment terms have a field",
        "assumed",
        "CondicionesDePago",
    ),
    Aspect(
        "cliente_actualizar",
        {
            "whole": "el objeto completo que dio el GET, con lo que cambia",
            "fields": "solo los campos que conocemos",
        },
        "What a PUT of a customer carries",
        "written",
        "PUT clientes.json",
    ),
    Aspect(
        "cliente_contacto",
        {"filled": "Contacto = nombre, Calle = S/N", "empty": "vacíos"},
        "What stands in the contact fields of a new customer that Apunto has nothing for",
        "written",
        "POST clientes.json: Contacto, Calle",
    ),
    Aspect(
        "cliente_pais",
        {"México": "", "MEX": "", "MX": ""},
        "The country of a new customer",
        "written",
        "POST clientes.json: Pais",
        is_open=True,
    ),
    Aspect(
        "productos",
        {
            "call": "los ids dados por mano, y los demás por productos.json",
            "given": "solo los ids dados por mano (ids.producto)",
        },
        "Where a line's IdProducto comes from",
        "assumed",
        "Productos[].IdProducto",
    ),
)
BY_NAME: Final[Mapping[str, Aspect]] = {aspect.name: aspect for aspect in ASPECTS}
LONGEST_WORD: Final = 60


class UnknownChoice(ValueError):
    """No such aspect, or none of its choices; the text says what there is."""


def check(name: str, value: object) -> str:
    """The choice, where there is such a one. Raises UnknownChoice."""
    aspect = BY_NAME.get(name)
    if aspect is None:
        raise UnknownChoice(f"{name}: no such aspect; there are {', '.join(BY_NAME)}")
    text = value.strip() if isinstance(value, str) else ""
    if text in aspect.choices:
        return text
    if aspect.is_open and 0 < len(text) <= LONGEST_WORD and text.isprintable():
        return text
    more = " or any other text" if aspect.is_open else ""
    raise UnknownChoice(f"{name}: one of {', '.join(aspect.choices)}{more}")


@dataclass(frozen=True, slots=True)
class Dialect:
    """The choices that hold at one address; `version` grows with each change and stands on every attempt."""

    changed: Mapping[str, str] = field(default_factory=dict)
    version: int = 0

    def __getitem__(self, name: str) -> str:
        """The choice of an aspect."""
        return self.changed.get(name) or BY_NAME[name].default

    def having(self, **changes: str) -> "Dialect":
        """Return the same with other choices. Raises UnknownChoice."""
        return Dialect(
            {**self.changed, **{name: check(name, value) for name, value in changes.items()}}, self.version
        )

    @classmethod
    def stored(cls, values: Mapping[str, Any], version: int) -> "Dialect":
        """Read what the database holds; what no version of ours knows any more is left out."""
        known: dict[str, str] = {}
        for name, value in values.items():
            try:
                known[name] = check(name, value)
            except UnknownChoice:
                continue
        return cls(known, version)


DEFAULT: Final = Dialect()
