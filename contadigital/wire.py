"""The body of `POST /api/cfdi.json`, and how its numbers are written.

Every field has the name that was seen; what each one means beyond its name is assumed here and nowhere else
(see docs/unknowns.md). The one thing a newcomer would get wrong: ContaDigital makes the CFDI out of its own
customer, product and series records. The body only points at them by their ids, so those must be right
*before* it is sent.
"""

import json
from datetime import datetime
from decimal import Decimal
from typing import Any

from cfdi.amounts import Amounts, LineAmounts, LineTax
from cfdi.document import Concepto, Invoice
from cfdi.faults import Fault
from contadigital.catalogs import ResolvedIds
from contadigital.errors import DocumentRejected

NUMBERS_AS_STRINGS = False
"""How amounts go out: as JSON numbers, as the seen integration most likely sends them (assumed).

They are written digit by digit from Decimal and never pass through a float, so `0.160000` keeps its zeros.
Should ContaDigital read numbers through a float (CFDI40179 on good rates would show it), strings are one
edit away.
"""

TIPOS_DE_COMPROBANTE = {"I": "Factura", "E": "Nota de Credito"}
"""`Factura` is seen, `Nota de Credito` assumed."""

IVA, ISR, IEPS = "002", "001", "003"
ZERO = Decimal(0)


def invoice_body(
    invoice: Invoice,
    amounts: Amounts,
    ids: ResolvedIds,
    *,
    record_id: int,
    folio_original: str,
    fecha: datetime,
    solo_guardar: bool,
) -> dict[str, Any]:
    """The body that saves (`solo_guardar`) or stamps an invoice.

    `fecha` is local time at the place of issue, without a zone and to the second. Raises DocumentRejected
    for taxes that the API has no field for, naming the line.
    """
    _refuse_what_cannot_be_said(invoice, amounts)
    lines = [
        _line(invoice.conceptos[place], line, ids.id_productos[place], ids.id_ums[place])
        for place, line in enumerate(amounts.lines)
    ]
    related = invoice.cfdi_relacionados
    uuids = [uuid for relation in related for uuid in relation.uuids]
    body: dict[str, Any] = {
        "Id": record_id,
        "IdEmpresa": ids.id_empresa,
        "IdRFC": ids.id_rfc,
        "FolioOriginal": folio_original,
        "Fecha": fecha.strftime("%d-%m-%Y %H:%M:%S"),
        "TipoComprobante": TIPOS_DE_COMPROBANTE[invoice.tipo_de_comprobante],
        "IdSerie": ids.id_serie,
        "IdSucursal": ids.id_sucursal,
        "IdLugarDeExpedicion": ids.id_lugar_expedicion,
        "LugarDeExpedicion": invoice.lugar_expedicion,
        "IdCliente": ids.id_cliente,
        "IdSucursalCliente": 0,
        "UsoCFDI": invoice.receptor.uso_cfdi,
        # The SAT's two digits as a number, and plain UUIDs (both assumed). Never an empty list: that is
        # answered with an internal error (seen).
        "TipoRelacion": int(related[0].tipo_relacion) if related else 0,
        "CFDIRelacionados": uuids or None,
        # In pesos 1 or nothing (CFDI40114), however it was written.
        "TipoDeCambio": invoice.tipo_cambio
        if invoice.moneda != "MXN" and invoice.tipo_cambio
        else Decimal(1),
        "IdMoneda": ids.id_moneda,
        "IdBanco": 0,
        "MetodoDePago": invoice.metodo_pago,
        "IdFormaDePago": ids.id_forma_pago,
        "FormaDePago": ids.forma_pago,
        "Descuento": amounts.descuento,
        "PorcentajeIVA": max((line["PorcentajeIVA"] for line in lines), default=ZERO),
        "IVA": _sum(_importe(line.traslados, IVA) for line in amounts.lines),
        "RetencionISR": _sum(_importe(line.retenciones, ISR) for line in amounts.lines),
        "TipoRetencionIVA": max((line["TipoRetIVA"] for line in lines), default=ZERO),
        "RetencionIVA": _sum(_importe(line.retenciones, IVA) for line in amounts.lines),
        "IEPS": _sum(_importe(line.traslados, IEPS) for line in amounts.lines),
        "TotalImpuestosLocalesRetenidos": ZERO,
        "TotalImpuestosLocalesTrasladados": ZERO,
        "Subtotal": amounts.subtotal,
        "Total": amounts.total,
        "Productos": lines,
        "AgregarLeyendasFiscales": False,
        "TipoComplementoAddenda": 0,
        "SoloGuardar": solo_guardar,
    }
    if invoice.informacion_global is not None:  # the field is assumed, and only sent where it is needed
        body["InformacionGlobal"] = {
            "Periodicidad": invoice.informacion_global.periodicidad,
            "Meses": invoice.informacion_global.meses,
            "Anio": invoice.informacion_global.anio,
        }
    if invoice.condiciones_de_pago:  # likewise
        body["CondicionesDePago"] = invoice.condiciones_de_pago
    return body


def _line(concepto: Concepto, line: LineAmounts, id_producto: int, id_um: int) -> dict[str, Any]:
    iva, ieps = _tax(line.traslados, IVA), _tax(line.traslados, IEPS)
    ret_iva, ret_isr = _tax(line.retenciones, IVA), _tax(line.retenciones, ISR)
    charged = _importe(line.traslados, IVA) + _importe(line.traslados, IEPS)
    withheld = _importe(line.retenciones, IVA) + _importe(line.retenciones, ISR)
    return {
        "IdProducto": id_producto,
        "IdUM": id_um,
        "Cantidad": concepto.cantidad,
        "Precio": concepto.valor_unitario,
        "Descuento": line.descuento,
        "PorcentajeIVA": _percent(iva),
        "IVA": _importe(line.traslados, IVA),
        # 0 % says so here; a subject line with neither a rate nor this is exempt (assumed: there is no
        # other word).
        "TasaCero": iva is not None and iva.tipo_factor == "Tasa" and iva.tasa_o_cuota == ZERO,
        "TasaIEPS": _percent(ieps),
        "ImporteIEPS": _importe(line.traslados, IEPS),
        "BaseRetIVA": ret_iva.base if ret_iva is not None else ZERO,
        "TipoRetIVA": _percent(ret_iva),
        "RetIVA": _importe(line.retenciones, IVA),
        "TasaISR": _percent(ret_isr),
        "RetISR": _importe(line.retenciones, ISR),
        "Importe": line.importe,
        "Total": line.importe - line.descuento + charged - withheld,
        "Comentarios": concepto.descripcion,
        "ClaveIdentificacion": concepto.no_identificacion or "",
    }


def _refuse_what_cannot_be_said(invoice: Invoice, amounts: Amounts) -> None:
    """A line has room for one tax of each kind, an invoice for one kind of relation: what is more is refused."""
    faults = []
    if len({relation.tipo_relacion for relation in invoice.cfdi_relacionados}) > 1:
        faults.append(
            Fault(
                code="contadigital.varias_relaciones",
                field="cfdi_relacionados",
                message="ContaDigital solo admite un tipo de relación por factura, y esta lleva varios.",
                fix="Deja un solo tipo de relación, o haz esta factura en ContaDigital.",
                source="contadigital",
                whose="user",
            )
        )
    for place, line in enumerate(amounts.lines):
        for node, taxes, known in (
            ("traslados", line.traslados, (IVA, IEPS)),
            ("retenciones", line.retenciones, (IVA, ISR)),
        ):
            kinds = [tax.impuesto for tax in taxes]
            if len(set(kinds)) == len(kinds) and set(kinds) <= set(known):
                continue
            faults.append(
                Fault(
                    code="contadigital.impuesto_sin_campo",
                    field=f"conceptos[{place}].{node}",
                    message=f"ContaDigital no puede timbrar los impuestos de la línea {place + 1}.",
                    fix="Deja en cada línea un solo impuesto de cada clase; si hace falta, divide la línea.",
                    source="contadigital",
                )
            )
    if invoice.tipo_de_comprobante not in TIPOS_DE_COMPROBANTE:
        faults.append(
            Fault(
                code="contadigital.tipo_sin_nombre",
                field="tipo_de_comprobante",
                message="Por ContaDigital solo se timbran facturas (I) y notas de crédito (E).",
                fix="Usa I o E.",
                source="contadigital",
            )
        )
    if faults:
        raise DocumentRejected("the API has no field for it", faults=tuple(faults))


def _tax(taxes: tuple[LineTax, ...], impuesto: str) -> LineTax | None:
    return next((tax for tax in taxes if tax.impuesto == impuesto), None)


def _importe(taxes: tuple[LineTax, ...], impuesto: str) -> Decimal:
    tax = _tax(taxes, impuesto)
    return tax.importe if tax is not None and tax.importe is not None else ZERO


def _percent(tax: LineTax | None) -> Decimal:
    """A rate as ContaDigital writes it (assumed): 0.160000 is 16, 0.106667 is 10.6667; 0 for none."""
    if tax is None or tax.tasa_o_cuota is None:
        return ZERO
    percent = (tax.tasa_o_cuota * 100).normalize()
    return percent or ZERO


def _sum(amounts: Any) -> Decimal:
    return sum(amounts, ZERO)


_plain = json.JSONEncoder(ensure_ascii=False).encode


def dumps(value: Any) -> bytes:
    """Write JSON with every Decimal digit by digit; a float is a bug, and raises TypeError."""
    return _written(value).encode()


def _written(value: Any) -> str:
    match value:
        case Decimal():
            number = format(value, "f")
            return f'"{number}"' if NUMBERS_AS_STRINGS else number
        case float():
            raise TypeError("a float on its way to ContaDigital")
        case dict():
            return "{" + ",".join(f"{_plain(name)}:{_written(item)}" for name, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ",".join(_written(item) for item in value) + "]"
        case _:
            return _plain(value)
