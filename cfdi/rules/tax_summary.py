"""Rules 51 to 55: the tax summary, where Apunto sends one; ours is added up from the lines and right.

A rule's docstring is Spanish, since `docs/validation.md` prints it. Sums are of rounded lines, never base by
rate. InvoiceRule 50 (no summary in other types) and 56 (anything else) ask nothing of an I or an E.
"""

from decimal import Decimal

from cfdi import wording
from cfdi.amounts import ZERO, Amounts, TrasladoRow
from cfdi.document import FilaTraslado, Impuestos
from cfdi.rules.comprobante import too_fine
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
        "clave_prod_serv": "78141501",
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


# --- totales de impuestos -----------------------------------------------------------------------------


@of_comprobante(
    "CFDI40202",
    52,
    "impuestos.total_impuestos_retenidos",
    fails=_summary(total_impuestos_retenidos="0.801"),
    passes=_summary(total_impuestos_retenidos="0.8000"),
)
def total_retenido_has_the_decimals_of_the_currency(case: InvoiceCase) -> Breaches:
    """El total de impuestos retenidos no tiene más decimales que la moneda."""
    sent = _impuestos(case)
    return None if sent is None else too_fine(case, sent.total_impuestos_retenidos, "El total retenido")


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
    total, right = sent.total_impuestos_retenidos, case.amounts.total_retenidos or ZERO
    if case.agree(total, lambda sums: sums.total_retenidos or ZERO):
        return None
    return Breach(
        f"El total de impuestos retenidos no cuadra: las líneas suman {case.money(right)} "
        f"y la factura dice {case.money(total)}."
    )


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
    fails=_summary(total_impuestos_trasladados="3.201"),
    passes=_summary(total_impuestos_trasladados="3.2000"),
)
def total_trasladado_has_the_decimals_of_the_currency(case: InvoiceCase) -> Breaches:
    """El total de impuestos trasladados no tiene más decimales que la moneda."""
    sent = _impuestos(case)
    return None if sent is None else too_fine(case, sent.total_impuestos_trasladados, "El total trasladado")


@of_comprobante(
    "CFDI40205",
    55,
    "impuestos.total_impuestos_trasladados",
    fails=_summary(total_impuestos_trasladados="3.21"),
    passes=_exempt(total_impuestos_trasladados="0.00"),
)
def total_trasladado_is_the_sum_of_its_rows(case: InvoiceCase) -> Breaches:
    """El total de impuestos trasladados es la suma de los traslados; si todos son exentos, no existe o es cero."""
    sent = _impuestos(case)
    if sent is None or sent.total_impuestos_trasladados is None:
        return None
    total, right = sent.total_impuestos_trasladados, case.amounts.total_trasladados
    if case.agree(total, lambda sums: sums.total_trasladados or ZERO):
        return None
    if right is None:
        return Breach(
            f"Ninguna línea lleva impuestos con importe y la factura dice que suman {case.money(total)}."
        )
    return Breach(
        f"El total de impuestos trasladados no cuadra: las líneas suman {case.money(right)} "
        f"y la factura dice {case.money(total)}."
    )


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
    fails=_summary(retenciones=[_WITHHELD | {"importe": "0.801"}]),
    passes=_summary(retenciones=[_WITHHELD | {"importe": "0.8000"}]),
)
def retencion_row_has_the_decimals_of_the_currency(place: RetencionSummary) -> Breaches:
    """El importe de una retención del resumen no tiene más decimales que la moneda."""
    return too_fine(place.case, place.row.importe, "El importe retenido")


@of_fila_retencion(
    "CFDI40211",
    51,
    "impuestos.retenciones[].importe",
    fails=_summary(retenciones=[_WITHHELD | {"importe": "0.81"}]),
    passes=_summary(retenciones=[_WITHHELD | {"importe": "0.80"}]),
)
def retencion_row_is_the_sum_of_the_lines(place: RetencionSummary) -> Breaches:
    """Una retención del resumen es la suma de las retenciones de los conceptos, ya redondeadas."""
    sent, case = place.row, place.case

    def withheld(sums: Amounts) -> Decimal | None:
        return next((row.importe for row in sums.retenciones if row.impuesto == sent.impuesto), None)

    right, name = withheld(case.amounts), _name(sent.impuesto)
    if right is None:
        if sent.importe == 0:  # the sum of none
            return None
        return Breach(f"El resumen lleva una retención de {name} que no está en ninguna línea.")
    if case.agree(sent.importe, withheld):
        return None
    return Breach(
        f"Las retenciones de {name} de las líneas suman {case.money(right)} "
        f"y el resumen dice {_shown(case, sent.importe)}."
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
    return Breach(f"Al resumen le falta la retención de {' y de '.join(map(_name, missing))}.")


# --- renglones de traslados ---------------------------------------------------------------------------


def _name(impuesto: str, tipo_factor: str = "", tasa: Decimal | None = None) -> str:
    name = wording.IMPUESTOS.get(impuesto, f"impuesto {impuesto[:10]}")
    if tipo_factor == "Exento":
        return f"{name} exento"
    return name if tasa is None else f"{name} de {wording.percent(tasa)}"


def _shown(case: InvoiceCase, amount: Decimal | None) -> str:
    return "nada" if amount is None else case.money(amount)


def _ours(place: TrasladoSummary, sums: Amounts | None = None) -> TrasladoRow | None:
    sums = place.case.amounts if sums is None else sums
    return next((row for row in sums.traslados if _is_same_tax(row, place.row)), None)


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
    fails=_summary(traslados=[_IVA | {"base": "20.061"}]),
    passes=_summary(traslados=[_IVA | {"base": "20.060000"}]),
)
def traslado_row_base_has_the_decimals_of_the_currency(place: TrasladoSummary) -> Breaches:
    """La base de un traslado del resumen no tiene más decimales que la moneda."""
    return too_fine(place.case, place.row.base, "La base")


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
    base, case = place.row.base, place.case

    def base_of(sums: Amounts) -> Decimal | None:
        row = _ours(place, sums)
        return None if row is None else row.base

    if base is None or case.agree(base, base_of):
        return None
    name = _name(place.row.impuesto, place.row.tipo_factor, place.row.tasa_o_cuota)
    return Breach(
        f"La base del {name} no cuadra: las líneas suman {case.money(ours.base)} "
        f"y el resumen dice {case.money(base)}."
    )


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
    """Un traslado del resumen es el de algún concepto: mismo impuesto, factor y tasa; uno en ceros no cuenta."""
    row = place.row
    if _ours(place) is not None or row.base == row.importe == 0:
        return None
    name = _name(row.impuesto, row.tipo_factor, row.tasa_o_cuota)
    return Breach(f"El resumen lleva un {name} que no está en ninguna línea.")


@of_fila_traslado(
    "CFDI40220",
    54,
    "impuestos.traslados[].importe",
    fails=_summary(traslados=[_IVA | {"importe": "3.201"}]),
    passes=_summary(traslados=[_IVA | {"importe": "3.2000"}]),
)
def traslado_row_importe_has_the_decimals_of_the_currency(place: TrasladoSummary) -> Breaches:
    """El importe de un traslado del resumen no tiene más decimales que la moneda."""
    return too_fine(place.case, place.row.importe, "El importe")


@of_fila_traslado(
    "CFDI40221",
    54,
    "impuestos.traslados[].importe",
    fails=_summary(traslados=[_IVA | {"importe": "3.21"}]),
    passes=_summary(),
)
def traslado_row_importe_is_the_sum_of_the_lines(place: TrasladoSummary) -> Breaches:
    """El importe de un traslado del resumen es la suma de los conceptos, ya redondeados; no base por tasa."""
    ours, case = _ours(place), place.case

    def importe_of(sums: Amounts) -> Decimal | None:
        row = _ours(place, sums)
        return None if row is None else row.importe

    if ours is None or case.agree(place.row.importe, importe_of):
        return None
    name = _name(place.row.impuesto, place.row.tipo_factor, place.row.tasa_o_cuota)
    shown = _shown(case, place.row.importe)
    if ours.importe is None:
        return Breach(f"El {name} no lleva importe y el resumen dice {shown}.")
    return Breach(
        f"El {name} no cuadra: las líneas suman {case.money(ours.importe)} y el resumen dice {shown}."
    )


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
    return Breach(f"Al resumen le falta el {' y el '.join(missing)}.")


def _missing(amounts: Amounts, sent: Impuestos) -> list[str]:
    return [
        _name(row.impuesto, row.tipo_factor, row.tasa_o_cuota)
        for row in amounts.traslados
        if not any(_is_same_tax(row, other) for other in sent.traslados)
    ]
