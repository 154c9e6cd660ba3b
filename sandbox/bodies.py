"""Reads the body of POST /api/cfdi.json and resolves its ids: JSON in, a `Comprobante` out.

An amount is read from the text it was sent as. `1250.35` and `"1250.35"`
are the same here, and neither ever passes through a binary float.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from sandbox import fields, refusals
from sandbox.accounts import Account, Catalogue, Row
from sandbox.refusals import Codigo, Refusal
from sandbox.store import Store

_ROOT: Final = frozenset(
    [
        "Id",
        "IdEmpresa",
        "IdRFC",
        "FolioOriginal",
        "Fecha",
        "TipoComprobante",
        "IdSerie",
        "IdSucursal",
        "IdLugarDeExpedicion",
        "LugarDeExpedicion",
        "IdCliente",
        "IdSucursalCliente",
        "UsoCFDI",
        "TipoRelacion",
        "CFDIRelacionados",
        "TipoDeCambio",
        "IdMoneda",
        "IdBanco",
        "MetodoDePago",
        "IdFormaDePago",
        "FormaDePago",
        "Descuento",
        "PorcentajeIVA",
        "IVA",
        "RetencionISR",
        "TipoRetencionIVA",
        "RetencionIVA",
        "IEPS",
        "TotalImpuestosLocalesRetenidos",
        "TotalImpuestosLocalesTrasladados",
        "Subtotal",
        "Total",
        "Productos",
        "AgregarLeyendasFiscales",
        "TipoComplementoAddenda",
        "SoloGuardar",
    ]
)
_OPTIONAL: Final = frozenset({"InformacionGlobal", "CondicionesDePago"})
_LINE: Final = frozenset(
    [
        "IdProducto",
        "IdUM",
        "Cantidad",
        "Precio",
        "Descuento",
        "PorcentajeIVA",
        "IVA",
        "TasaCero",
        "TasaIEPS",
        "ImporteIEPS",
        "BaseRetIVA",
        "TipoRetIVA",
        "RetIVA",
        "TasaISR",
        "RetISR",
        "Importe",
        "Total",
        "Comentarios",
        "ClaveIdentificacion",
    ]
)
_TIPOS: Final = {"Factura": "I", "Nota de Credito": "E", "Nota de Crédito": "E"}


@dataclass(frozen=True)
class Linea:
    """One line, product and unit looked up; rates are fractions (0.16), None where there is no such tax."""

    clave_prod_serv: str
    no_identificacion: str
    cantidad: Decimal
    clave_unidad: str
    unidad: str
    descripcion: str
    valor_unitario: Decimal
    importe: Decimal
    descuento: Decimal
    objeto_imp: str
    exento: bool
    tasa_iva: Decimal | None
    iva: Decimal
    tasa_ret_iva: Decimal | None
    base_ret_iva: Decimal
    ret_iva: Decimal
    tasa_ret_isr: Decimal | None
    ret_isr: Decimal
    total: Decimal

    @property
    def base(self) -> Decimal:
        """What its taxes are reckoned on."""
        return self.importe - self.descuento


@dataclass(frozen=True)
class Comprobante:
    """An invoice as ContaDigital understands it, before it has a folio, a seal and a UUID."""

    folio_original: str
    tipo: str
    fecha: datetime
    serie: str
    emisor_rfc: str
    emisor_nombre: str
    emisor_regimen: str
    lugar_expedicion: str
    receptor_rfc: str
    receptor_nombre: str
    receptor_cp: str
    receptor_regimen: str
    uso_cfdi: str
    moneda: str
    tipo_cambio: Decimal
    forma_pago: str
    metodo_pago: str
    condiciones_de_pago: str
    tipo_relacion: str | None
    relacionados: tuple[str, ...]
    informacion_global: tuple[str, str, str] | None
    lineas: tuple[Linea, ...]
    subtotal: Decimal
    descuento: Decimal
    iva: Decimal
    ret_iva: Decimal
    ret_isr: Decimal
    total: Decimal


def read(raw: Mapping[str, Any], account: Account, store: Store) -> Comprobante:
    """Understand a body; raises `Refusal` naming the first field that is wrong for this account."""
    fields.names(raw, _ROOT, _OPTIONAL, "")
    if raw["CFDIRelacionados"] == []:
        # Seen: an empty list is answered with an internal error; null is how to say "none".
        raise Refusal(Codigo.INTERNAL, "Error interno del servidor", status=500)
    if raw["IdEmpresa"] != account.id_empresa:
        raise Refusal(Codigo.NOT_FOUND, "IdEmpresa no corresponde a la cuenta")
    serie = _known(account, "Series", raw, "IdSerie")
    if not serie["Activa"]:
        raise Refusal(Codigo.SERIE, f"La serie {serie['Serie']} no está activa")
    emisor = _known(account, "RFCs", raw, "IdRFC")
    _known(account, "Sucursales", raw, "IdSucursal")
    lugar = _known(account, "LugaresDeExpedicion", raw, "IdLugarDeExpedicion")["CP"]
    if fields.text(raw, "LugarDeExpedicion") != lugar:
        raise refusals.body("LugarDeExpedicion no corresponde a IdLugarDeExpedicion")
    forma = _known(account, "FormasDePago", raw, "IdFormaDePago")["Clave"]
    if not fields.text(raw, "FormaDePago").startswith(forma):
        raise refusals.body("FormaDePago no corresponde a IdFormaDePago")
    customer = store.customer_by_id(account.name, fields.whole(raw, "IdCliente"))
    if customer is None:
        raise Refusal(Codigo.UNKNOWN_ID, f"IdCliente {raw['IdCliente']} no existe en la cuenta")
    if not customer["Estatus"]:
        raise Refusal(Codigo.CUSTOMER_INACTIVE, f"El cliente {customer['RFC']} está inactivo")
    tipo = _TIPOS.get(fields.text(raw, "TipoComprobante"))
    if tipo is None:
        raise refusals.body("TipoComprobante debe ser Factura o Nota de Credito")
    for field in ("IEPS", "TotalImpuestosLocalesRetenidos", "TotalImpuestosLocalesTrasladados"):
        if fields.amount(raw, field):
            raise refusals.body(f"{field} no está habilitado en la cuenta")
    return Comprobante(
        folio_original=fields.text(raw, "FolioOriginal"),
        tipo=tipo,
        fecha=_fecha(raw),
        serie=serie["Serie"],
        emisor_rfc=emisor["RFC"],
        emisor_nombre=emisor["RazonSocial"],
        emisor_regimen=emisor["RegimenFiscal"],
        lugar_expedicion=lugar,
        receptor_rfc=customer["RFC"],
        receptor_nombre=customer["RazonSocial"],
        receptor_cp=customer["CP"],
        receptor_regimen=customer["RegimenFiscal"],
        uso_cfdi=fields.text(raw, "UsoCFDI"),
        moneda=_known(account, "Monedas", raw, "IdMoneda")["Clave"],
        tipo_cambio=fields.amount(raw, "TipoDeCambio"),
        forma_pago=forma,
        metodo_pago=fields.text(raw, "MetodoDePago"),
        condiciones_de_pago=fields.optional({"CondicionesDePago": None} | dict(raw), "CondicionesDePago", ""),
        tipo_relacion=_relation(raw),
        relacionados=_related(raw),
        informacion_global=_global(raw),
        lineas=_lines(raw, account, store),
        subtotal=fields.amount(raw, "Subtotal"),
        descuento=fields.amount(raw, "Descuento"),
        iva=fields.amount(raw, "IVA"),
        ret_iva=fields.amount(raw, "RetencionIVA"),
        ret_isr=fields.amount(raw, "RetencionISR"),
        total=fields.amount(raw, "Total"),
    )


def _lines(raw: Mapping[str, Any], account: Account, store: Store) -> tuple[Linea, ...]:
    rows = raw["Productos"]
    if not isinstance(rows, list) or not rows:
        raise refusals.body("Productos debe tener al menos una partida")
    return tuple(_line(row, f"Productos[{place}].", account, store) for place, row in enumerate(rows))


def _line(raw: Any, at: str, account: Account, store: Store) -> Linea:
    if not isinstance(raw, dict):
        raise refusals.body(f"{at[:-1]} no es un objeto")
    fields.names(raw, _LINE, frozenset(), at)
    product = store.product_by_id(account.name, fields.whole(raw, "IdProducto", at))
    if product is None:
        raise Refusal(Codigo.UNKNOWN_ID, f"{at}IdProducto {raw['IdProducto']} no existe en la cuenta")
    unit = _known(account, "UnidadesDeMedida", raw, "IdUM", at)
    if fields.amount(raw, "TasaIEPS", at) or fields.amount(raw, "ImporteIEPS", at):
        raise refusals.body(f"{at}ImporteIEPS no está habilitado en la cuenta")
    subject = product["ObjetoImp"] == "02"
    percent = fields.amount(raw, "PorcentajeIVA", at)
    zero = raw["TasaCero"]
    if not isinstance(zero, bool):
        raise refusals.body(f"{at}TasaCero debe ser true o false")
    # The API has no word for "exento" (assumed: subject to IVA, 0 %, and not "tasa cero").
    exento = subject and percent == 0 and not zero
    withheld_iva, withheld_isr = fields.rate(raw, "TipoRetIVA", at), fields.rate(raw, "TasaISR", at)
    return Linea(
        clave_prod_serv=product["ClaveProdServ"],
        no_identificacion=fields.optional(raw, "ClaveIdentificacion", at),
        cantidad=fields.amount(raw, "Cantidad", at),
        clave_unidad=unit["Clave"],
        unidad=unit["Descripcion"][:20],
        descripcion=fields.optional(raw, "Comentarios", at) or product["Nombre"],
        valor_unitario=fields.amount(raw, "Precio", at),
        importe=fields.amount(raw, "Importe", at),
        descuento=fields.amount(raw, "Descuento", at),
        objeto_imp=product["ObjetoImp"],
        exento=exento,
        tasa_iva=None if exento or (not subject and not percent) else fields.rate(raw, "PorcentajeIVA", at),
        iva=fields.amount(raw, "IVA", at),
        tasa_ret_iva=withheld_iva or None,
        base_ret_iva=fields.amount(raw, "BaseRetIVA", at),
        ret_iva=fields.amount(raw, "RetIVA", at),
        tasa_ret_isr=withheld_isr or None,
        ret_isr=fields.amount(raw, "RetISR", at),
        total=fields.amount(raw, "Total", at),
    )


def _known(account: Account, catalogue: Catalogue, raw: Mapping[str, Any], field: str, at: str = "") -> Row:
    row = account.row(catalogue, fields.whole(raw, field, at))
    if row is None:
        raise Refusal(Codigo.UNKNOWN_ID, f"{at}{field} {raw[field]} no existe en los catálogos de la cuenta")
    return row


def _fecha(raw: Mapping[str, Any]) -> datetime:
    try:
        return datetime.strptime(fields.text(raw, "Fecha"), "%d-%m-%Y %H:%M:%S")  # noqa: DTZ007 - local, as CFDI's Fecha is
    except ValueError:
        raise refusals.body("Fecha debe tener el formato dd-MM-yyyy HH:mm:ss") from None


def _relation(raw: Mapping[str, Any]) -> str | None:
    number = fields.whole(raw, "TipoRelacion")
    return f"{number:02d}" if number else None


def _related(raw: Mapping[str, Any]) -> tuple[str, ...]:
    uuids = raw["CFDIRelacionados"]
    if uuids is None:
        return ()
    if not isinstance(uuids, list) or not all(isinstance(uuid, str) for uuid in uuids):
        raise refusals.body("CFDIRelacionados debe ser una lista de UUID o null")
    return tuple(uuids)


def _global(raw: Mapping[str, Any]) -> tuple[str, str, str] | None:
    period = raw.get("InformacionGlobal")
    if period is None:
        return None
    if not isinstance(period, dict) or set(period) != {"Periodicidad", "Meses", "Anio"}:
        raise refusals.body("InformacionGlobal debe tener Periodicidad, Meses y Anio")
    return str(period["Periodicidad"]), str(period["Meses"]), str(period["Anio"])
