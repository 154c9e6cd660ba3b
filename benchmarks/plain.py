"""The plain implementation that ours is measured beside: what a competent team writes without our guarantees.

One Celery task with autoretry, pydantic, ORM rows, one httpx.Client a process, two files, one unsigned webhook as a
task of its own. It commits no intent before a call, looks no lost answer up, checks no XML, syncs no file: a timeout
may stamp twice here. Run by benchmarks/beside_plain.py:

    PLAIN='{"broker": ..., "database": ..., "documents": ..., "accounts": ..., "webhook": ...}' \\
        celery -A benchmarks.plain worker --pool threads -c 50 -Q plain
"""

import base64
import json
import os
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pydantic
from celery import Celery
from sqlalchemy import JSON, DateTime, Engine, UniqueConstraint, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

OPTIONS: dict[str, Any] = json.loads(os.environ["PLAIN"])
ACCOUNTS: dict[str, Any] = OPTIONS["accounts"]
CENT = Decimal("0.01")

app: "Celery[Any]" = Celery("plain", broker=OPTIONS["broker"], set_as_current=True)
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    worker_send_task_events=True,
    task_send_sent_event=True,
    task_default_queue="plain",
    broker_connection_retry_on_startup=True,
    broker_transport_options={"socket_timeout": 5, "socket_keepalive": True, "health_check_interval": 10},
)


class Base(DeclarativeBase):
    pass


class PlainInvoice(Base):
    __tablename__ = "plain_invoices"
    __table_args__ = (UniqueConstraint("account", "external_id"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    account: Mapped[str] = mapped_column(index=True)
    external_id: Mapped[str]
    status: Mapped[str] = mapped_column(index=True, default="pending")
    content: Mapped[dict[str, Any]] = mapped_column(JSON)
    record_id: Mapped[int | None]
    uuid: Mapped[str | None] = mapped_column(unique=True)
    folio: Mapped[str | None]
    xml_path: Mapped[str | None]
    pdf_path: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=lambda: datetime.now(UTC))
    updated_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), default=lambda: datetime.now(UTC), onupdate=lambda: datetime.now(UTC)
    )


class PlainTax(pydantic.BaseModel):
    impuesto: str
    tipo_factor: str
    tasa_o_cuota: Decimal = Decimal(0)


class PlainLine(pydantic.BaseModel):
    clave_prod_serv: str = pydantic.Field(pattern=r"^\d{8}$")
    cantidad: Decimal
    clave_unidad: str
    nombre: str = pydantic.Field(min_length=2, max_length=50)
    descripcion: str
    valor_unitario: Decimal
    descuento: Decimal = Decimal(0)
    objeto_imp: str
    no_identificacion: str | None = None
    traslados: list[PlainTax] = []
    retenciones: list[PlainTax] = []


class PlainReceptor(pydantic.BaseModel):
    rfc: str = pydantic.Field(min_length=12, max_length=13)
    nombre: str
    domicilio_fiscal_receptor: str
    regimen_fiscal_receptor: str
    uso_cfdi: str


class PlainDocument(pydantic.BaseModel):
    account: str
    external_id: str
    tipo_de_comprobante: str
    forma_pago: str | None
    metodo_pago: str
    moneda: str
    lugar_expedicion: str
    receptor: PlainReceptor
    conceptos: list[PlainLine]
    subtotal: Decimal
    total: Decimal


@cache
def engine() -> Engine:
    return create_engine(OPTIONS["database"], pool_size=50, max_overflow=10)


@cache
def http() -> httpx.Client:
    return httpx.Client(
        timeout=30, limits=httpx.Limits(max_connections=100, max_keepalive_connections=60), trust_env=False
    )


@cache
def token_of(base_url: str, api_key: str) -> str:
    return str(answered(http().post(f"{base_url}/api/conectar.json", json={"ApiKey": api_key}))["Token"])


def answered(response: httpx.Response) -> Any:
    response.raise_for_status()
    data = response.json()
    if data.get("Codigo") != 1:
        raise RuntimeError(str(data)[:300])
    return data["Resultado"]


def tax(base: Decimal, taxes: list[PlainTax]) -> Decimal:
    return sum(
        ((base * each.tasa_o_cuota).quantize(CENT) for each in taxes if each.impuesto == "002"), Decimal(0)
    )


def body_of(invoice: PlainDocument, account: dict[str, Any]) -> dict[str, Any]:
    lines, subtotal, iva, retention = [], Decimal(0), Decimal(0), Decimal(0)
    for each in invoice.conceptos:
        net = (each.cantidad * each.valor_unitario).quantize(CENT) - each.descuento
        line_iva, line_retention = tax(net, each.traslados), tax(net, each.retenciones)
        subtotal, iva, retention = subtotal + net, iva + line_iva, retention + line_retention
        lines.append(
            {
                "IdProducto": account["product"],
                "IdUM": account["unit"],
                "Cantidad": float(each.cantidad),
                "Precio": float(each.valor_unitario),
                "Descuento": float(each.descuento),
                "PorcentajeIVA": 16,
                "IVA": float(line_iva),
                "TasaCero": False,
                "TasaIEPS": 0,
                "ImporteIEPS": 0,
                "BaseRetIVA": float(net) if line_retention else 0,
                "TipoRetIVA": 4 if line_retention else 0,
                "RetIVA": float(line_retention),
                "TasaISR": 0,
                "RetISR": 0,
                "Importe": float(net),
                "Total": float(net + line_iva),
                "Comentarios": each.descripcion,
                "ClaveIdentificacion": each.no_identificacion or "",
            }
        )
    local = datetime.now(UTC) - timedelta(hours=6, minutes=1)
    return {
        "Id": 0,
        "IdEmpresa": account["id_empresa"],
        "IdRFC": account["rfc"],
        "FolioOriginal": invoice.external_id,
        "Fecha": f"{local:%d-%m-%Y %H:%M:%S}",
        "TipoComprobante": "Factura",
        "IdSerie": account["serie"],
        "IdSucursal": account["sucursal"],
        "IdLugarDeExpedicion": account["place"],
        "LugarDeExpedicion": invoice.lugar_expedicion,
        "IdCliente": account["customer"],
        "IdSucursalCliente": 0,
        "UsoCFDI": invoice.receptor.uso_cfdi,
        "TipoRelacion": 0,
        "CFDIRelacionados": None,
        "TipoDeCambio": 1,
        "IdMoneda": account["currency"],
        "IdBanco": 0,
        "MetodoDePago": invoice.metodo_pago,
        "IdFormaDePago": account["payment_form"],
        "FormaDePago": "03 Transferencia electrónica de fondos",
        "Descuento": 0,
        "PorcentajeIVA": 16,
        "IVA": float(iva),
        "RetencionISR": 0,
        "TipoRetencionIVA": 4 if retention else 0,
        "RetencionIVA": float(retention),
        "IEPS": 0,
        "TotalImpuestosLocalesRetenidos": 0,
        "TotalImpuestosLocalesTrasladados": 0,
        "Subtotal": float(subtotal),
        "Total": float(subtotal + iva - retention),
        "Productos": lines,
        "AgregarLeyendasFiscales": False,
        "TipoComplementoAddenda": 0,
        "SoloGuardar": True,
    }


def document(answer: dict[str, Any], name: str, headers: dict[str, str], base_url: str) -> bytes:
    if answer.get(f"{name}Base64"):
        return base64.b64decode(answer[f"{name}Base64"])
    link = answer.get(f"{name}Link") or answer[f"Url{name}"]
    return http().get(httpx.URL(base_url).join(link), headers=headers).raise_for_status().content


@app.task(
    name="plain.stamp",
    autoretry_for=(httpx.HTTPError,),
    retry_backoff=True,
    retry_jitter=True,
    max_retries=10,
)
def stamp(invoice: dict[str, Any]) -> None:
    account = ACCOUNTS[invoice["account"]]
    with Session(engine()) as session:
        row = session.scalar(
            select(PlainInvoice).where(
                PlainInvoice.account == invoice["account"], PlainInvoice.external_id == invoice["external_id"]
            )
        )
        if row is None:
            row = PlainInvoice(
                account=invoice["account"], external_id=invoice["external_id"], content=invoice, attempts=0
            )
            session.add(row)
        elif row.status == "stamped":
            return
        row.status, row.attempts = "processing", row.attempts + 1
        session.commit()
        row_id = row.id
    base_url = account["base_url"]
    headers = {"Authorization": f"Bearer {token_of(base_url, account['api_key'])}"}
    body = body_of(PlainDocument.model_validate(invoice), account)
    url = f"{base_url}/api/cfdi.json"
    body["Id"] = answered(http().post(url, json=body, headers=headers))["Id"]
    answer = answered(http().post(url, json=body | {"SoloGuardar": False}, headers=headers))
    folder = Path(OPTIONS["documents"]) / invoice["account"]
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for name in ("Xml", "Pdf"):
        paths[name] = folder / f"{answer['UUID']}.{name.lower()}"
        paths[name].write_bytes(document(answer, name, headers, base_url))
    with Session(engine()) as session:
        stamped = session.get_one(PlainInvoice, row_id)
        stamped.status, stamped.uuid, stamped.record_id = "stamped", answer["UUID"], answer["Id"]
        stamped.folio = str(answer.get("Folio"))
        stamped.xml_path, stamped.pdf_path = str(paths["Xml"]), str(paths["Pdf"])
        session.commit()
    if OPTIONS.get("webhook"):
        notify.delay(str(row_id), answer["UUID"])


@app.task(name="plain.notify", autoretry_for=(httpx.HTTPError,), retry_backoff=True, max_retries=10)
def notify(row_id: str, folio_fiscal: str) -> None:
    event = {"type": "invoice.stamped", "id": row_id, "uuid": folio_fiscal}
    http().post(OPTIONS["webhook"], json=event).raise_for_status()
