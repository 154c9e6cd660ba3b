"""The body of `POST /api/cfdi.json`, and how its numbers are written.

Every field has the name that the known integration writes; what each one means beyond its name is the dialect's
(dialect.py). ContaDigital makes the CFDI out of its own customer, product and series records: the body only points at
them by their ids, so those must be right *before* it is sent.
"""

import json
from datetime import datetime
from decimal import Decimal
from typing import Any

from cfdi.amounts import Amounts, LineAmounts, LineTax
from cfdi.document import Concepto, Invoice
from cfdi.faults import Fault
from contadigital.dialect import DEFAULT, Dialect
from contadigital.errors import DocumentRejected
from contadigital.resolve_ids import ResolvedIds, missing_id, rate_key, withheld_rates

FACTURA = "Factura"
"""The word for an invoice (observed); that for a credit note is the dialect's `palabra_egreso`."""
NO_WITHHOLDING = "No aplica"
"""The word for no withholding in ContaDigital's bulk template (observed there)."""
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
    dialect: Dialect = DEFAULT,
) -> dict[str, Any]:
    """The body that saves (`solo_guardar`) or stamps an invoice.

    `fecha` is local time at the place of issue, without a zone and to the second. Raises DocumentRejected for what
    the API has no field for, or no known word, naming the line.
    """
    _refuse_inexpressible(invoice, amounts, ids, dialect)
    lines = [
        _line(invoice.conceptos[place], line, ids, place, dialect) for place, line in enumerate(amounts.lines)
    ]
    is_net = dialect["subtotal"] == "net"
    withheld = [tax for line in amounts.lines if (tax := _tax(line.retenciones, IVA)) is not None]
    body: dict[str, Any] = {
        "Id": record_id,
        "IdEmpresa": ids.id_empresa,
        "IdRFC": ids.id_rfc,
        "FolioOriginal": folio_original,
        "Fecha": fecha.strftime("%d-%m-%Y %H:%M:%S"),
        "TipoComprobante": FACTURA if invoice.tipo_de_comprobante == "I" else dialect["palabra_egreso"],
        "IdSerie": ids.id_serie,
        "IdSucursal": ids.id_sucursal,
        "IdLugarDeExpedicion": ids.id_lugar_expedicion,
        "LugarDeExpedicion": invoice.lugar_expedicion,
        "IdCliente": ids.id_cliente,
        "IdSucursalCliente": 0,
        "UsoCFDI": invoice.receptor.uso_cfdi,
        **_relations(invoice, dialect),
        # in pesos 1 or nothing (CFDI40114), however it was written
        "TipoDeCambio": invoice.tipo_cambio
        if invoice.moneda != "MXN" and invoice.tipo_cambio
        else Decimal(1),
        "IdMoneda": ids.id_moneda,
        "IdBanco": 0,
        "MetodoDePago": invoice.metodo_pago,
        "IdFormaDePago": ids.id_forma_pago,
        "FormaDePago": _forma_pago(invoice.forma_pago, ids.forma_pago, dialect),
        "Descuento": ZERO if is_net else amounts.descuento,
        "PorcentajeIVA": max((line["PorcentajeIVA"] for line in lines), default=ZERO),
        "IVA": _sum(_importe(line.traslados, IVA) for line in amounts.lines),
        "RetencionISR": _sum(_importe(line.retenciones, ISR) for line in amounts.lines),
        "TipoRetencionIVA": _withholding(
            max(withheld, key=lambda tax: tax.tasa_o_cuota or ZERO, default=None), ids, dialect
        ),
        "RetencionIVA": _sum(_importe(line.retenciones, IVA) for line in amounts.lines),
        "IEPS": _sum(_importe(line.traslados, IEPS) for line in amounts.lines),
        "TotalImpuestosLocalesRetenidos": ZERO,
        "TotalImpuestosLocalesTrasladados": ZERO,
        "Subtotal": amounts.subtotal - amounts.descuento if is_net else amounts.subtotal,
        "Total": amounts.total,
        "Productos": lines,
        "AgregarLeyendasFiscales": False,
        "TipoComplementoAddenda": 0,
        "SoloGuardar": solo_guardar,
        **_global(invoice, dialect),
    }
    if invoice.condiciones_de_pago and dialect["condiciones_de_pago"] == "field":
        body["CondicionesDePago"] = invoice.condiciones_de_pago
    return _as_texts(body) if dialect["numeros"] == "string" else body


def _line(
    concepto: Concepto, line: LineAmounts, ids: ResolvedIds, place: int, dialect: Dialect
) -> dict[str, Any]:
    iva, ieps = _tax(line.traslados, IVA), _tax(line.traslados, IEPS)
    ret_iva, ret_isr = _tax(line.retenciones, IVA), _tax(line.retenciones, ISR)
    charged = _importe(line.traslados, IVA) + _importe(line.traslados, IEPS)
    withheld = _importe(line.retenciones, IVA) + _importe(line.retenciones, ISR)
    net = line.importe - line.descuento
    is_zero = iva is not None and iva.tipo_factor == "Tasa" and iva.tasa_o_cuota == ZERO
    return {
        "IdProducto": ids.id_productos[place],
        "IdUM": ids.id_ums[place],
        "Cantidad": concepto.cantidad,
        "Precio": concepto.valor_unitario,
        "Descuento": line.descuento,
        "PorcentajeIVA": _rate(iva, dialect),
        "IVA": _importe(line.traslados, IVA),
        # a subject line with neither a rate nor this is exempt (assumed: there is no other word)
        "TasaCero": is_zero and dialect["tasa_cero"] == "flag",
        "TasaIEPS": _rate(ieps, dialect),
        "ImporteIEPS": _importe(line.traslados, IEPS),
        "BaseRetIVA": ret_iva.base if ret_iva is not None else ZERO,
        "TipoRetIVA": _withholding(ret_iva, ids, dialect),
        "RetIVA": _importe(line.retenciones, IVA),
        "TasaISR": _rate(ret_isr, dialect),
        "RetISR": _importe(line.retenciones, ISR),
        "Importe": net if dialect["importe"] == "net" else line.importe,
        "Total": net + charged - (withheld if dialect["total_linea"] == "with_withholdings" else ZERO),
        "Comentarios": _comment(concepto, dialect),
        "ClaveIdentificacion": concepto.no_identificacion or "",
    }


def _comment(concepto: Concepto, dialect: Dialect) -> str:
    text = concepto.nombre if dialect["comentarios"] == "code_and_name" else concepto.descripcion
    if dialect["comentarios"] == "description" or not concepto.no_identificacion:
        return text
    return f"{concepto.no_identificacion} - {text}"


def _forma_pago(clave: str, text: str, dialect: Dialect) -> str:
    match dialect["forma_pago"]:
        case "key":
            return clave
        case "text":
            return text or clave
        case "dashed":
            return f"{clave} - {text}" if text else clave
        case _:
            return f"{clave} {text}".strip()


def _relations(invoice: Invoice, dialect: Dialect) -> dict[str, Any]:
    """Never an empty list: that is answered with an internal error (observed)."""
    relations = invoice.cfdi_relacionados
    listed = [uuid for relation in relations for uuid in relation.uuids]
    if not listed:
        return {"TipoRelacion": 0, "CFDIRelacionados": None}
    kind = relations[0].tipo_relacion
    related: Any = listed
    if dialect["relaciones"] == "objects":
        related = [{"UUID": uuid} for uuid in listed]
    elif dialect["relaciones"] == "typed":
        related = [
            {"TipoRelacion": relation.tipo_relacion, "UUID": uuid}
            for relation in relations
            for uuid in relation.uuids
        ]
    elif dialect["relaciones"] == "text":
        related = ",".join(listed)
    return {
        "TipoRelacion": kind if dialect["tipo_relacion"] == "text" else int(kind),
        "CFDIRelacionados": related,
    }


def _global(invoice: Invoice, dialect: Dialect) -> dict[str, Any]:
    if invoice.informacion_global is None or dialect["factura_global"] == "automatic":
        return {}
    period = {
        "Periodicidad": invoice.informacion_global.periodicidad,
        "Meses": invoice.informacion_global.meses,
        "Anio": invoice.informacion_global.anio,
    }
    return period if dialect["factura_global"] == "flat" else {"InformacionGlobal": period}


def _withholding(tax: LineTax | None, ids: ResolvedIds, dialect: Dialect) -> Any:
    """The rate of withheld IVA as this dialect says it."""
    way = dialect["tipo_retencion"]
    rate = tax.tasa_o_cuota if tax is not None and tax.tasa_o_cuota is not None else ZERO
    entry = ids.retenciones.get(rate_key(rate))
    if way == "list":
        return entry.id if entry is not None else 0
    if way == "word":
        if entry is not None and entry.descripcion:
            return entry.descripcion
        return (
            dialect["palabra_retencion"].replace("{}", _plain_number(rate * 100)) if rate else NO_WITHHOLDING
        )
    return rate if way == "fraction" else _percent(rate)


def _plain_number(value: Decimal) -> str:
    return format(value.normalize(), "f")


def inexpressible(invoice: Invoice, dialect: Dialect) -> tuple[Fault, ...]:
    """Return what an invoice asks for that no body in this dialect can say: known before anything is sent or saved."""
    faults = []
    if invoice.tipo_de_comprobante not in ("I", "E"):
        faults.append(
            _fault(
                "tipo_sin_nombre",
                "tipo_de_comprobante",
                "Por ContaDigital solo se timbran facturas (I) y notas de crédito (E).",
                "Usa I (ingreso) o E (egreso, nota de crédito).",
            )
        )
    kinds = {relation.tipo_relacion for relation in invoice.cfdi_relacionados}
    if len(kinds) > 1 and dialect["relaciones"] not in {"typed", "refused"}:
        faults.append(
            _fault(
                "varias_relaciones",
                "cfdi_relacionados",
                "Desde aquí no se sabe timbrar por ContaDigital una factura con varios tipos de relación.",
                "Deja un solo tipo de relación, o haz esta factura en ContaDigital.",
            )
        )
    if invoice.cfdi_relacionados and dialect["relaciones"] == "refused":
        faults.append(
            _fault(
                "relacion_sin_campo",
                "cfdi_relacionados",
                "Desde aquí no se puede timbrar por ContaDigital una factura con CFDI relacionados.",
                "Haz esta factura en ContaDigital.",
            )
        )
    if invoice.informacion_global is not None and dialect["factura_global"] == "refused":
        faults.append(
            _fault(
                "global_sin_campo",
                "informacion_global",
                "Desde aquí no se puede timbrar por ContaDigital una factura global.",
                "Haz la factura global en ContaDigital.",
            )
        )
    return tuple(faults)


def _refuse_inexpressible(invoice: Invoice, amounts: Amounts, ids: ResolvedIds, dialect: Dialect) -> None:
    """A line has room for one tax of each kind: a second one, or what has no field or word, is refused."""
    faults = list(inexpressible(invoice, dialect))
    for place, line in enumerate(amounts.lines):
        for node, taxes, known in (
            ("traslados", line.traslados, (IVA, IEPS)),
            ("retenciones", line.retenciones, (IVA, ISR)),
        ):
            kinds = [tax.impuesto for tax in taxes]
            if len(set(kinds)) == len(kinds) and set(kinds) <= set(known):
                continue
            faults.append(
                _fault(
                    "impuesto_sin_campo",
                    f"conceptos[{place}].{node}",
                    f"ContaDigital no puede timbrar los impuestos de la línea {place + 1}.",
                    f"Deja un solo IVA y una sola retención de cada tipo en la línea {place + 1}, o divídela en dos.",
                )
            )
    if dialect["tipo_retencion"] == "list":
        missing = sorted(withheld_rates(amounts) - set(ids.retenciones))
        faults += [missing_id(f"retencion.{rate}", "conceptos") for rate in missing]
    if faults:
        raise DocumentRejected("the API has no field for it", faults=tuple(faults))


def _fault(code: str, field: str, message: str, fix: str) -> Fault:
    return Fault(
        code=f"contadigital.{code}",
        field=field,
        message=message,
        fix=fix,
        source="contadigital",
        whose="user",
    )


def _tax(taxes: tuple[LineTax, ...], impuesto: str) -> LineTax | None:
    return next((tax for tax in taxes if tax.impuesto == impuesto), None)


def _importe(taxes: tuple[LineTax, ...], impuesto: str) -> Decimal:
    tax = _tax(taxes, impuesto)
    return tax.importe if tax is not None and tax.importe is not None else ZERO


def _rate(tax: LineTax | None, dialect: Dialect) -> Decimal:
    if tax is None or tax.tasa_o_cuota is None:
        return ZERO
    return tax.tasa_o_cuota if dialect["tasas"] == "fraction" else _percent(tax.tasa_o_cuota)


def _percent(rate: Decimal) -> Decimal:
    """A rate as a percentage: 0.160000 is 16, 0.106667 is 10.6667; 0 for none."""
    return (rate * 100).normalize() or ZERO


def _sum(amounts: Any) -> Decimal:
    return sum(amounts, ZERO)


def _as_texts(value: Any) -> Any:
    """The same body with every amount, quantity and rate as a text; ids stay numbers."""
    match value:
        case Decimal():
            return format(value, "f")
        case dict():
            return {name: _as_texts(item) for name, item in value.items()}
        case list():
            return [_as_texts(item) for item in value]
        case _:
            return value


_plain = json.JSONEncoder(ensure_ascii=False).encode
_text = json.encoder.encode_basestring
"""What the encoder writes a text by, without its look at what else a value may be."""


_WORDS = {None: "null", True: "true", False: "false"}


def dumps(value: Any) -> bytes:
    """Write JSON with every Decimal digit by digit; a float is a bug, and raises TypeError."""
    return _written(value).encode()


def _written(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    if value is None or value is True or value is False:
        return _WORDS[value]
    if type(value) is int:
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join([f"{_text(name)}:{_written(item)}" for name, item in value.items()]) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join([_written(item) for item in value]) + "]"
    if isinstance(value, float):
        raise TypeError("a float on its way to ContaDigital")
    return _plain(value)
