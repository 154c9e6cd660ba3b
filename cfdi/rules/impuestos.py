"""Rules 51 to 55: the tax summary, where Apunto sends one; ours is added up from the lines and right.

A rule's docstring is Spanish, since `docs/validation.md` prints it. Sums are of rounded lines, never base by
rate. Rule 50 (no summary in other types) and 56 (anything else) ask nothing of an I or an E.
"""

from decimal import Decimal

from cfdi.amounts import Amounts, TrasladoRow, decimals_of
from cfdi.document import FilaTraslado, Impuestos
from cfdi.rules.rulebook import (
    BROKEN,
    Breach,
    Breaches,
    Changes,
    InvoiceCase,
    RetencionSummary,
    TrasladoSummary,
    of_comprobante,
    of_fila_retencion,
    of_fila_traslado,
)

_LINES = [
    {
        "clave_prod_serv": "78101802",
        "cantidad": "1",
        "clave_unidad": "E48",
        "nombre": "Flete terrestre",
        "descripcion": "Flete terrestre",
        "valor_unitario": price,
        "objeto_imp": "02",
        "traslados": [{"impuesto": "002", "tipo_factor": "Tasa", "tasa_o_cuota": "0.160000"}],
        "retenciones": [{"impuesto": "002", "tipo_factor": "Tasa", "tasa_o_cuota": "0.040000"}],
    }
    for price in ("10.03", "10.03")
]
# 10.03 x 0.16 = 1.6048, so 1.60 a line and 3.20 in all; 20.06 x 0.16 would be 3.21.
_IVA: Changes = {
    "impuesto": "002",
    "tipo_factor": "Tasa",
    "tasa_o_cuota": "0.160000",
    "base": "20.06",
    "importe": "3.20",
}
_WITHHELD: Changes = {"impuesto": "002", "importe": "0.80"}
_EXEMPT_LINES = [
    line | {"traslados": [{"impuesto": "002", "tipo_factor": "Exento"}], "retenciones": []} for line in _LINES
]
_EXEMPT: Changes = {"impuesto": "002", "tipo_factor": "Exento", "base": "20.06"}


def _summary(**changes: object) -> Changes:
    right = {
        "total_impuestos_trasladados": "3.20",
        "total_impuestos_retenidos": "0.80",
        "traslados": [_IVA],
        "retenciones": [_WITHHELD],
    }
    return {
        "conceptos": _LINES,
        "moneda": "MXN",
        "tipo_cambio": None,
        "descuento": None,
        "impuestos": right | changes,
    }


def _exempt(**changes: object) -> Changes:
    right: Changes = {"traslados": [_EXEMPT], "retenciones": []}
    return _summary() | {"conceptos": _EXEMPT_LINES, "impuestos": right | changes}


def _impuestos(case: InvoiceCase) -> Impuestos | None:
    return case.invoice.impuestos


def _too_fine(case: InvoiceCase, amount: Decimal | None, what: str) -> Breaches:
    if amount is None or decimals_of(amount) <= case.decimals:
        return None
    return Breach(f"{what} {amount} tiene más de {case.decimals} decimales, los de {case.invoice.moneda}.")


# --- totales de impuestos -----------------------------------------------------------------------------


@of_comprobante(
    "CFDI40202",
    52,
    "impuestos.total_impuestos_retenidos",
    fails=_summary(total_impuestos_retenidos="0.800"),
    passes=_summary(total_impuestos_retenidos="0.8"),
)
def total_retenido_has_the_decimals_of_the_currency(case: InvoiceCase) -> Breaches:
    """El total de impuestos retenidos no tiene más decimales que la moneda."""
    sent = _impuestos(case)
    return None if sent is None else _too_fine(case, sent.total_impuestos_retenidos, "El total retenido")


@of_comprobante(
    "CFDI40203",
    52,
    "impuestos.total_impuestos_retenidos",
    fails=_summary(total_impuestos_retenidos="0.81"),
    passes=_summary(),
)
def total_retenido_is_the_sum_of_its_rows(case: InvoiceCase) -> Breaches:
    """El total de impuestos retenidos es la suma de las retenciones."""
    sent = _impuestos(case)
    if sent is None or sent.total_impuestos_retenidos is None:
        return None
    right = case.amounts.total_retenidos or Decimal(0)
    if sent.total_impuestos_retenidos == right:
        return None
    return Breach(f"Las retenciones suman {right}, se recibió {sent.total_impuestos_retenidos}.")


@of_comprobante(
    "CFDI40206",
    52,
    "impuestos.total_impuestos_retenidos",
    fails=_summary(total_impuestos_retenidos=None),
    passes=_summary(),
)
def retenciones_come_with_their_total(case: InvoiceCase) -> Breaches:
    """Si el resumen lleva retenciones, lleva su total."""
    sent = _impuestos(case)
    if sent is None or not sent.retenciones or sent.total_impuestos_retenidos is not None:
        return None
    return BROKEN


@of_comprobante(
    "CFDI40204",
    55,
    "impuestos.total_impuestos_trasladados",
    fails=_summary(total_impuestos_trasladados="3.200"),
    passes=_summary(total_impuestos_trasladados="3.2"),
)
def total_trasladado_has_the_decimals_of_the_currency(case: InvoiceCase) -> Breaches:
    """El total de impuestos trasladados no tiene más decimales que la moneda."""
    sent = _impuestos(case)
    return None if sent is None else _too_fine(case, sent.total_impuestos_trasladados, "El total trasladado")


@of_comprobante(
    "CFDI40205",
    55,
    "impuestos.total_impuestos_trasladados",
    fails=_summary(total_impuestos_trasladados="3.21"),
    passes=_summary(),
)
def total_trasladado_is_the_sum_of_its_rows(case: InvoiceCase) -> Breaches:
    """El total de impuestos trasladados es la suma de los traslados; si todos son exentos, no existe."""
    sent = _impuestos(case)
    if sent is None or sent.total_impuestos_trasladados is None:
        return None
    total, right = sent.total_impuestos_trasladados, case.amounts.total_trasladados
    if total == right:
        return None
    if right is None:
        return Breach(
            f"Ningún concepto traslada impuestos con importe, y se recibió un total de {total}.",
            "Quita el total.",
        )
    return Breach(f"Los traslados suman {right}, se recibió {total}.")


@of_comprobante(
    "CFDI40212",
    55,
    "impuestos.total_impuestos_trasladados",
    fails=_summary(total_impuestos_trasladados=None),
    passes=_summary(),
)
def traslados_come_with_their_total(case: InvoiceCase) -> Breaches:
    """Si el resumen lleva traslados con importe, lleva su total."""
    sent = _impuestos(case)
    if sent is None or sent.total_impuestos_trasladados is not None:
        return None
    return BROKEN if any(row.tipo_factor != "Exento" for row in sent.traslados) else None


# --- renglones de retenciones -------------------------------------------------------------------------


@of_fila_retencion(
    "CFDI40208",
    51,
    "impuestos.retenciones[].impuesto",
    fails=_summary(retenciones=[_WITHHELD, _WITHHELD]),
    passes=_summary(),
)
def a_retencion_has_one_row(place: RetencionSummary) -> Breaches:
    """El resumen lleva un solo renglón por impuesto retenido."""
    return BROKEN if any(row.impuesto == place.row.impuesto for row in place.before) else None


@of_fila_retencion(
    "CFDI40210",
    51,
    "impuestos.retenciones[].importe",
    fails=_summary(retenciones=[_WITHHELD | {"importe": "0.800"}]),
    passes=_summary(retenciones=[_WITHHELD | {"importe": "0.8"}]),
)
def retencion_row_has_the_decimals_of_the_currency(place: RetencionSummary) -> Breaches:
    """El importe de una retención del resumen no tiene más decimales que la moneda."""
    return _too_fine(place.case, place.row.importe, "El importe retenido")


@of_fila_retencion(
    "CFDI40211",
    51,
    "impuestos.retenciones[].importe",
    fails=_summary(retenciones=[_WITHHELD | {"importe": "0.81"}]),
    passes=_summary(retenciones=[_WITHHELD | {"importe": "0.80"}]),
)
def retencion_row_is_the_sum_of_the_lines(place: RetencionSummary) -> Breaches:
    """Una retención del resumen es la suma de las retenciones de los conceptos, ya redondeadas."""
    sent = place.row
    right = next(
        (row.importe for row in place.case.amounts.retenciones if row.impuesto == sent.impuesto), None
    )
    if right is None:
        return Breach(f"Ningún concepto retiene el impuesto {sent.impuesto}.", "Quita el renglón.")
    if sent.importe == right:
        return None
    return Breach(
        f"Las retenciones del impuesto {sent.impuesto} suman {right}, se recibió {_shown(sent.importe)}."
    )


@of_comprobante(
    "CFDI40211",
    51,
    "impuestos.retenciones",
    fails=_summary(retenciones=[{"impuesto": "001", "importe": "0.80"}]),
    passes=_summary(retenciones=[]),
)
def no_retencion_row_is_missing(case: InvoiceCase) -> Breaches:
    """Si el resumen lleva retenciones, las lleva todas."""
    sent = _impuestos(case)
    if sent is None or not sent.retenciones:
        return None
    there = {row.impuesto for row in sent.retenciones}
    missing = [row.impuesto for row in case.amounts.retenciones if row.impuesto not in there]
    if not missing:
        return None
    return Breach(
        f"Al resumen le falta la retención del impuesto {', '.join(missing)}.", "Agrega el renglón que falta."
    )


# --- renglones de traslados ---------------------------------------------------------------------------


def _shown(amount: Decimal | None) -> str:
    return "nada" if amount is None else str(amount)


def _ours(place: TrasladoSummary) -> TrasladoRow | None:
    return next((row for row in place.case.amounts.traslados if _is_same_tax(row, place.row)), None)


def _is_same_tax(ours: TrasladoRow, sent: FilaTraslado) -> bool:
    same = (ours.impuesto, ours.tipo_factor) == (sent.impuesto, sent.tipo_factor)
    return same and (ours.tipo_factor == "Exento" or ours.tasa_o_cuota == sent.tasa_o_cuota)


@of_fila_traslado(
    "CFDI40213",
    53,
    "impuestos.traslados[].base",
    fails=_summary(traslados=[_IVA | {"base": None}]),
    passes=_summary(),
)
def traslado_row_has_its_base(place: TrasladoSummary) -> Breaches:
    """Un traslado del resumen lleva su base."""
    return BROKEN if place.row.base is None else None


@of_fila_traslado(
    "CFDI40214",
    54,
    "impuestos.traslados[].base",
    fails=_summary(traslados=[_IVA | {"base": "20.060"}]),
    passes=_summary(traslados=[_IVA | {"base": "20.06"}]),
)
def traslado_row_base_has_the_decimals_of_the_currency(place: TrasladoSummary) -> Breaches:
    """La base de un traslado del resumen no tiene más decimales que la moneda."""
    return _too_fine(place.case, place.row.base, "La base")


@of_fila_traslado(
    "CFDI40215",
    54,
    "impuestos.traslados[].base",
    fails=_summary(traslados=[_IVA | {"base": "20.05"}]),
    passes=_summary(),
)
def traslado_row_base_is_the_sum_of_the_lines(place: TrasladoSummary) -> Breaches:
    """La base de un traslado del resumen es la suma de las bases de los conceptos."""
    ours = _ours(place)
    return None if ours is None or place.row.tipo_factor == "Exento" else _base(place, ours)


@of_fila_traslado(
    "CFDI40216",
    54,
    "impuestos.traslados[].base",
    fails=_exempt(traslados=[_EXEMPT | {"base": "20.05"}]),
    passes=_exempt(),
)
def exempt_row_base_is_the_sum_of_the_lines(place: TrasladoSummary) -> Breaches:
    """La base exenta del resumen es la suma de las bases exentas de los conceptos."""
    ours = _ours(place)
    return None if ours is None or place.row.tipo_factor != "Exento" else _base(place, ours)


def _base(place: TrasladoSummary, ours: TrasladoRow) -> Breaches:
    if place.row.base is None or place.row.base == ours.base:
        return None
    return Breach(f"Las bases de los conceptos suman {ours.base}, se recibió {place.row.base}.")


@of_fila_traslado(
    "CFDI40218",
    53,
    "impuestos.traslados[].impuesto",
    fails=_summary(traslados=[_IVA, _IVA]),
    passes=_summary(),
)
def a_traslado_has_one_row(place: TrasladoSummary) -> Breaches:
    """El resumen lleva un solo renglón por impuesto, factor y tasa."""
    row = place.row
    same = (row.impuesto, row.tipo_factor, row.tasa_o_cuota)
    return BROKEN if any((r.impuesto, r.tipo_factor, r.tasa_o_cuota) == same for r in place.before) else None


@of_fila_traslado(
    "CFDI40219",
    53,
    "impuestos.traslados[].tasa_o_cuota",
    fails=_summary(traslados=[_IVA, _IVA | {"tasa_o_cuota": "0.000000", "importe": "0.00"}]),
    passes=_summary(),
)
def traslado_row_is_of_some_line(place: TrasladoSummary) -> Breaches:
    """Un traslado del resumen es el de algún concepto: mismo impuesto, factor y tasa."""
    if _ours(place) is not None:
        return None
    row = place.row
    what = " ".join(part for part in (row.impuesto, row.tipo_factor, str(row.tasa_o_cuota or "")) if part)
    return Breach(f"Ningún concepto lleva el traslado {what} del resumen.", "Quita el renglón.")


@of_fila_traslado(
    "CFDI40220",
    54,
    "impuestos.traslados[].importe",
    fails=_summary(traslados=[_IVA | {"importe": "3.200"}]),
    passes=_summary(traslados=[_IVA | {"importe": "3.2"}]),
)
def traslado_row_importe_has_the_decimals_of_the_currency(place: TrasladoSummary) -> Breaches:
    """El importe de un traslado del resumen no tiene más decimales que la moneda."""
    return _too_fine(place.case, place.row.importe, "El importe")


@of_fila_traslado(
    "CFDI40221",
    54,
    "impuestos.traslados[].importe",
    fails=_summary(traslados=[_IVA | {"importe": "3.21"}]),
    passes=_summary(),
)
def traslado_row_importe_is_the_sum_of_the_lines(place: TrasladoSummary) -> Breaches:
    """El importe de un traslado del resumen es la suma de los conceptos, ya redondeados; no base por tasa."""
    ours = _ours(place)
    if ours is None or place.row.importe == ours.importe:
        return None
    right = "sin importe, por ser exento" if ours.importe is None else str(ours.importe)
    return Breach(f"Los importes de los conceptos suman {right}, se recibió {_shown(place.row.importe)}.")


@of_comprobante(
    "CFDI40221",
    54,
    "impuestos.traslados",
    fails=_summary(traslados=[_IVA | {"tasa_o_cuota": "0.000000"}]),
    passes=_summary(traslados=[]),
)
def no_traslado_row_is_missing(case: InvoiceCase) -> Breaches:
    """Si el resumen lleva traslados, los lleva todos."""
    sent = _impuestos(case)
    if sent is None or not sent.traslados:
        return None
    missing = _missing(case.amounts, sent)
    if not missing:
        return None
    return Breach(f"Al resumen le falta el traslado {', '.join(missing)}.", "Agrega el renglón que falta.")


def _missing(amounts: Amounts, sent: Impuestos) -> list[str]:
    return [
        f"{row.impuesto} {row.tipo_factor} {row.tasa_o_cuota or ''}".strip()
        for row in amounts.traslados
        if not any(_is_same_tax(row, other) for other in sent.traslados)
    ]
