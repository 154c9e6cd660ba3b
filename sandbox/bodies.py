"""Reads the body of POST /api/cfdi.json as the account's dialect does, and resolves its ids: a `Comprobante` comes out.

An amount is read from the text it was sent as and never passes through a binary float. What the amounts mean is
for `amounts.py` to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from sandbox import amounts, refusals
from sandbox.accounts import Account, Catalogue, Row
from sandbox.amounts import LineSums, Sums
from sandbox.dialects import SandboxDialect
from sandbox.fields import Fields
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
_OPTIONAL: Final = frozenset({"InformacionGlobal", "Periodicidad", "Meses", "Anio", "CondicionesDePago"})
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
_PUBLIC: Final = "PUBLICO EN GENERAL"


@dataclass(frozen=True)
class Linea(LineSums):
    """One line, product and unit looked up."""

    clave_prod_serv: str
    no_identificacion: str
    clave_unidad: str
    unidad: str
    descripcion: str
    objeto_imp: str


@dataclass(frozen=True)
class Comprobante(Sums):
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
    relaciones: tuple[tuple[str, tuple[str, ...]], ...]
    """TipoRelacion ("" where it is missing) and the UUIDs of each node."""
    informacion_global: tuple[str, str, str] | None
    lineas: tuple[Linea, ...]


def read(raw: Mapping[str, Any], account: Account, store: Store, *, stored: bool = False) -> Comprobante:
    """Understand a body; raises `Refusal` naming the first field that is wrong for this account.

    A body that comes from the store (`stored`) has its decimals as texts, whatever the dialect asks for.
    """
    dialect = account.dialect
    body = Fields(raw, numbers="either" if stored else dialect.numbers)
    body.names(_ROOT, _OPTIONAL, ignore_unknown=dialect.unknown_fields == "ignored")
    if dialect.payment_terms == "refused" and body.raw.get("CondicionesDePago"):
        raise refusals.body("Campo desconocido: CondicionesDePago")
    if raw["CFDIRelacionados"] == []:
        # Observed: an empty list is answered with an internal error; null is how to say "none".
        raise Refusal(Codigo.INTERNAL, "Error interno del servidor", status=500)
    if raw["IdEmpresa"] != account.id_empresa:
        raise Refusal(Codigo.NOT_FOUND, "IdEmpresa no corresponde a la cuenta")
    serie = _known(account, "Series", body, "IdSerie")
    if not serie["Activa"]:
        raise Refusal(Codigo.SERIE, f"La serie {serie['Serie']} no está activa")
    emisor = _known(account, "RFCs", body, "IdRFC")
    _known(account, "Sucursales", body, "IdSucursal")
    lugar = _known(account, "LugaresDeExpedicion", body, "IdLugarDeExpedicion")["CP"]
    if body.text("LugarDeExpedicion") != lugar:
        raise refusals.body("LugarDeExpedicion no corresponde a IdLugarDeExpedicion")
    forma = _known(account, "FormasDePago", body, "IdFormaDePago")
    _check_forma(forma, body, dialect)
    customer = store.customer_by_id(account.name, body.whole("IdCliente"))
    if customer is None:
        raise Refusal(Codigo.UNKNOWN_ID, f"IdCliente {raw['IdCliente']} no existe en la cuenta")
    if not customer["Estatus"]:
        raise Refusal(Codigo.CUSTOMER_INACTIVE, f"El cliente {customer['RFC']} está inactivo")
    tipo = {"Factura": "I", dialect.tipo_egreso: "E"}.get(body.text("TipoComprobante"))
    if tipo is None:
        raise refusals.body(f"TipoComprobante debe ser Factura o {dialect.tipo_egreso}")
    for field in ("IEPS", "TotalImpuestosLocalesRetenidos", "TotalImpuestosLocalesTrasladados"):
        if body.amount(field):
            raise refusals.body(f"{field} no está habilitado en la cuenta")
    fecha = _fecha(body)
    moneda = _known(account, "Monedas", body, "IdMoneda")["Clave"]
    places = amounts.decimals_of(moneda)
    lineas = _lines(body, account, store, places)
    totals = amounts.totals(body, lineas, dialect, places)
    return Comprobante(
        folio_original=body.text("FolioOriginal"),
        tipo=tipo,
        fecha=fecha,
        serie=serie["Serie"],
        emisor_rfc=emisor["RFC"],
        emisor_nombre=emisor["RazonSocial"],
        emisor_regimen=emisor["RegimenFiscal"],
        lugar_expedicion=lugar,
        receptor_rfc=customer["RFC"],
        receptor_nombre=customer["RazonSocial"],
        receptor_cp=customer["CP"],
        receptor_regimen=customer["RegimenFiscal"],
        uso_cfdi=body.text("UsoCFDI"),
        moneda=moneda,
        tipo_cambio=body.amount("TipoDeCambio"),
        forma_pago=forma["Clave"],
        metodo_pago=body.text("MetodoDePago"),
        condiciones_de_pago=body.optional("CondicionesDePago"),
        relaciones=_relations(body, dialect),
        informacion_global=_global(body, dialect, customer, tipo, fecha),
        lineas=lineas,
        **vars(totals),
    )


def _lines(body: Fields, account: Account, store: Store, places: int) -> tuple[Linea, ...]:
    rows = body.raw["Productos"]
    if not isinstance(rows, list) or not rows:
        raise refusals.body("Productos debe tener al menos una partida")
    return tuple(
        _line(row, f"Productos[{place}].", body, account, store, places) for place, row in enumerate(rows)
    )


def _line(raw: Any, at: str, body: Fields, account: Account, store: Store, places: int) -> Linea:
    if not isinstance(raw, dict):
        raise refusals.body(f"{at[:-1]} no es un objeto")
    dialect = account.dialect
    line = body.inside(raw, at)
    line.names(_LINE, frozenset(), ignore_unknown=dialect.unknown_fields == "ignored")
    product = store.product_by_id(account.name, line.whole("IdProducto"))
    if product is None:
        raise Refusal(Codigo.UNKNOWN_ID, f"{at}IdProducto {raw['IdProducto']} no existe en la cuenta")
    unit = _known(account, "UnidadesDeMedida", line, "IdUM")
    if line.amount("TasaIEPS") or line.amount("ImporteIEPS"):
        raise refusals.body(f"{at}ImporteIEPS no está habilitado en la cuenta")
    return Linea(
        clave_prod_serv=product["ClaveProdServ"],
        no_identificacion=line.optional("ClaveIdentificacion"),
        clave_unidad=unit["Clave"],
        unidad=unit["Descripcion"][:20],
        descripcion=_descripcion(product["Nombre"], line.optional("Comentarios"), dialect),
        objeto_imp=product["ObjetoImp"],
        **vars(amounts.of_line(line, dialect, subject=product["ObjetoImp"] == "02", places=places)),
    )


def _descripcion(nombre: str, comentarios: str, dialect: SandboxDialect) -> str:
    if not comentarios or dialect.comentarios == "ignored":
        return nombre
    return comentarios if dialect.comentarios == "replaces" else f"{nombre} {comentarios}"


def _check_forma(forma: Row, body: Fields, dialect: SandboxDialect) -> None:
    if dialect.forma_pago == "ignored":
        return
    text, key, words = body.text("FormaDePago"), forma["Clave"], forma["Descripcion"]
    wanted = {"exact": f"{key} {words}", "dashed": f"{key} - {words}", "key": key, "description": words}.get(
        dialect.forma_pago
    )
    if text != wanted if wanted is not None else not text.startswith(key):
        raise refusals.body("FormaDePago no corresponde a IdFormaDePago")


def _known(account: Account, catalogue: Catalogue, body: Fields, field: str) -> Row:
    is_text = account.dialect.catalogue_ids == "guid"
    row = account.row(catalogue, body.text(field) if is_text else body.whole(field))
    if row is None:
        raise Refusal(
            Codigo.UNKNOWN_ID, f"{body.at}{field} {body.raw[field]} no existe en los catálogos de la cuenta"
        )
    return row


def _fecha(body: Fields) -> datetime:
    try:
        return datetime.strptime(body.text("Fecha"), "%d-%m-%Y %H:%M:%S")  # noqa: DTZ007 - local, as CFDI's Fecha is
    except ValueError:
        raise refusals.body("Fecha debe tener el formato dd-MM-yyyy HH:mm:ss") from None


def _relations(body: Fields, dialect: SandboxDialect) -> tuple[tuple[str, tuple[str, ...]], ...]:
    kind = _relation(body, dialect)
    sent = body.raw["CFDIRelacionados"]
    if dialect.relations == "typed" and sent is not None:
        if not _are_rows(sent, {"TipoRelacion", "UUID"}, dialect):
            raise refusals.body("CFDIRelacionados no tiene el formato esperado")
        nodes: dict[str, list[str]] = {}
        for row in sent:
            nodes.setdefault(str(row.get("TipoRelacion", kind)), []).append(str(row["UUID"]))
        return tuple((kind, tuple(uuids)) for kind, uuids in nodes.items())
    uuids = _related(body, dialect)
    return ((kind or "", uuids),) if kind is not None or uuids else ()


def _are_rows(sent: Any, names: set[str], dialect: SandboxDialect) -> bool:
    """Whether these are rows of exactly these fields; of a UUID at least, where unknown fields are ignored."""
    is_lax = dialect.unknown_fields == "ignored"
    return isinstance(sent, list) and all(
        isinstance(row, dict) and ("UUID" in row if is_lax else row.keys() == names) for row in sent
    )


def _relation(body: Fields, dialect: SandboxDialect) -> str | None:
    number = _relation_number(body, dialect)
    if number and dialect.relations == "refused":
        raise refusals.body("Los documentos relacionados se capturan en el portal")
    return f"{number:02d}" if number else None


def _relation_number(body: Fields, dialect: SandboxDialect) -> int:
    """0, which says that there is none, is a number in both forms (written)."""
    if dialect.relation_type == "number" or body.raw["TipoRelacion"] == 0:
        return body.whole("TipoRelacion")
    text = body.text("TipoRelacion")
    if len(text) != 2 or not text.isascii() or not text.isdigit():
        raise refusals.body("TipoRelacion debe ser la clave de c_TipoRelacion")
    return int(text)


def _related(body: Fields, dialect: SandboxDialect) -> tuple[str, ...]:
    sent = body.raw["CFDIRelacionados"]
    if sent is None:
        return ()
    match dialect.relations:
        case "text" if isinstance(sent, str):
            return tuple(part.strip() for part in sent.split(","))
        case "objects" if _are_rows(sent, {"UUID"}, dialect):
            return tuple(str(row["UUID"]) for row in sent)
        case "uuids" if isinstance(sent, list) and all(isinstance(uuid, str) for uuid in sent):
            return tuple(sent)
        case "refused":
            raise refusals.body("Los documentos relacionados se capturan en el portal")
        case _:
            raise refusals.body("CFDIRelacionados no tiene el formato esperado")


def _global(
    body: Fields, dialect: SandboxDialect, customer: Row, tipo: str, fecha: datetime
) -> tuple[str, str, str] | None:
    names = ("Periodicidad", "Meses", "Anio")
    period = body.raw.get("InformacionGlobal")
    match dialect.global_invoice:
        case "automatic":
            public = customer["RazonSocial"] == _PUBLIC and tipo == "I"
            return ("04", f"{fecha.month:02d}", str(fecha.year)) if public else None
        case "flat" if period is None:
            given = [body.raw.get(name) for name in names]
            return (str(given[0]), str(given[1]), str(given[2])) if None not in given else None
        case "object" if period is None:
            return None
        case "object" if isinstance(period, dict) and set(period) == set(names):
            return str(period["Periodicidad"]), str(period["Meses"]), str(period["Anio"])
        case "object":
            raise refusals.body("InformacionGlobal debe tener Periodicidad, Meses y Anio")
        case _ if period is None and not any(name in body.raw for name in names):
            return None
        case "refused":
            raise refusals.body("La factura global se emite en el portal")
        case _ if dialect.unknown_fields == "ignored":
            return None
        case _:
            raise refusals.body("Campo desconocido: InformacionGlobal")
