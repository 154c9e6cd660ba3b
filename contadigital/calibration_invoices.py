"""The invoices that a calibration saves, each designed so that its answers decide some aspects of the wire.

Only what decides differs from the base, a good invoice of the account; its amounts are computed, never copied.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import product
from typing import Any, Final

from cfdi import document
from cfdi.amounts import compute
from cfdi.document import Invoice
from cfdi.rfc import PUBLICO_EN_GENERAL
from contadigital.dialect import BY_NAME, Dialect


@dataclass(frozen=True, slots=True)
class Stage:
    """A designed invoice, and the aspects that its answers decide."""

    name: str
    aspects: tuple[str, ...]
    line: Mapping[str, Any]
    """What its line has otherwise than the base's."""
    root: Mapping[str, Any] = field(default_factory=dict)
    """What the invoice has otherwise than the base."""


TERMS: Final = "condiciones_de_pago"
AMOUNTS: Final = frozenset({"importe", "subtotal", "total_linea", "tipo_retencion", "tasas", "numeros"})
_IVA = {"impuesto": "002", "tipo_factor": "Tasa", "tasa_o_cuota": "0.160000"}
_ZERO_RATE = {**_IVA, "tasa_o_cuota": "0.000000"}
_RETENTION = {"impuesto": "002", "tipo_factor": "Tasa", "tasa_o_cuota": "0.040000"}
_PLAIN: Final[Mapping[str, Any]] = {
    "cantidad": "2",
    "valor_unitario": "500.00",
    "descuento": "0.00",
    "traslados": [_IVA],
    "retenciones": [],
}
STAGES: Final = (
    Stage("simple", ("numeros", "forma_pago", "tasas"), _PLAIN),
    Stage("con descuento", ("importe", "subtotal"), {**_PLAIN, "descuento": "130.00"}),
    Stage("con retención", ("total_linea", "tipo_retencion", "palabra_retencion"),
           {**_PLAIN, "retenciones": [_RETENTION]}),
)  # fmt: skip
ALL: Final = Stage(
    "todo junto", tuple(name for stage in STAGES for name in stage.aspects if name != "palabra_retencion"),
    {**_PLAIN, "descuento": "130.00", "retenciones": [_RETENTION]},
)  # fmt: skip
"""What the first stamp is spent on: one invoice that shows every amount."""
AT_ZERO: Final = Stage(
    "al 0 %, con condiciones", ("tasa_cero", TERMS), {**_PLAIN, "traslados": [_ZERO_RATE]}, {TERMS: "30 dias"}
)
CREDIT_NOTE: Final = Stage("nota de crédito", ("palabra_egreso",), _PLAIN, {"tipo_de_comprobante": "E"})
SOME_UUID: Final = "5A1D7C3E-0B52-4C1B-9E0A-6F7D3B2C1A90"
"""Of no invoice: what a draft is related to while no stamp of this account is known."""


def related(uuid: str | None, *, is_note: bool) -> Stage:
    """An invoice related to the stamp of this UUID, or to none that exists; a credit note where its word is known."""
    root = {
        "tipo_de_comprobante": "E" if is_note else "I",
        "cfdi_relacionados": {"tipo_relacion": "01" if is_note else "07", "uuids": [uuid or SOME_UUID]},
    }
    return Stage("con una relación", ("relaciones", "tipo_relacion"), _PLAIN, root)


def related_twice(stage: Stage) -> Stage:
    """The same with a second kind of relation."""
    one = stage.root["cfdi_relacionados"]
    root = {**stage.root, "cfdi_relacionados": [one, {**one, "tipo_relacion": "04"}]}
    return replace(stage, name="con dos tipos de relación", root=root)


def of_the_public(lugar_expedicion: str, today: datetime) -> Stage:
    """A global invoice of one day, whose period no provider makes of the date by itself."""
    public = {
        "rfc": PUBLICO_EN_GENERAL, "nombre": "PUBLICO EN GENERAL", "domicilio_fiscal_receptor": lugar_expedicion,
        "regimen_fiscal_receptor": "616", "uso_cfdi": "S01",
    }  # fmt: skip
    period = {"periodicidad": "01", "meses": f"{today.month:02d}", "anio": today.year}
    return Stage(
        "factura global", ("factura_global",), _PLAIN, {"receptor": public, "informacion_global": period}
    )


def invoice_of(base: Mapping[str, Any], stage: Stage) -> Invoice:
    """The base as a stage wants it."""
    rest = dict(base)
    line = {**rest["conceptos"][0], **stage.line}
    line["descripcion"] = f"{line['nombre']}, prueba de configuración"
    for name in (
        "subtotal", "total", "fecha", "informacion_global", "cfdi_relacionados", "condiciones_de_pago", "send_to",
    ):  # fmt: skip
        rest.pop(name, None)
    plain = {"tipo_de_comprobante": "I", "moneda": "MXN", "tipo_cambio": None}
    raw = {**rest, **plain, "conceptos": [line], **stage.root}
    draft = {**raw, "subtotal": "0.00", "total": "0.00"}
    amounts = compute(document.read(draft))
    return document.read({**raw, "subtotal": str(amounts.subtotal), "total": str(amounts.total)})


def readings(dialect: Dialect, aspects: tuple[str, ...]) -> Iterator[Dialect]:
    """Every reading of these aspects, what is set first; words only where the reading says words."""
    choices = [
        [dialect[name], *(choice for choice in BY_NAME[name].choices if choice != dialect[name])]
        for name in aspects
    ]
    for picked in product(*choices):
        reading = dict(zip(aspects, picked, strict=True))
        is_idle = "palabra_retencion" in reading and reading["tipo_retencion"] != "word"
        if is_idle and reading["palabra_retencion"] != dialect["palabra_retencion"]:
            continue
        yield dialect.having(**reading)


def says_words(good: Iterable[Dialect]) -> bool:
    """Whether any of these readings says a withholding in words."""
    return any(each["tipo_retencion"] == "word" for each in good)
