"""A client of the sandbox for its own tests: makes customers, products and bodies, and sends them.

`a_line(precio="100.00")` is a line as the API wants it, taxes computed; `client.body(lines=[...])` a whole body whose
sums follow its lines. `SandboxClient` talks to a provider in this process, `HttpSandboxClient` over HTTP: the same
methods.
"""

import base64
import http.client
import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any
from urllib.parse import quote, urlsplit
from zoneinfo import ZoneInfo

from sandbox.cancelling import Cancelling
from sandbox.faults import Plan
from sandbox.invoicing import Invoicing
from sandbox.provider import Provider

JSON = dict[str, Any]
CALM = Plan()
XIA = ("XIA190128J61", "XENON INDUSTRIAL ARTICLES", "76343", "601")
CENT = Decimal("0.01")


def cents(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, ROUND_HALF_UP)


def a_line(
    *,
    cantidad: str = "1",
    precio: str = "1250.35",
    descuento: str = "0.00",
    iva: str | None = "16",
    ret_iva: str = "0",
    ret_isr: str = "0",
    objeto: str = "02",
    clave: str = "78101802",
    unidad: str = "E48",
    nombre: str = "Flete terrestre",
    comentarios: str = "Flete Monterrey - Laredo",
    **changes: Any,
) -> JSON:
    """One line; `iva` is the percentage ("0" is tasa cero, None exempt). `clave`, `objeto`, `nombre` and `unidad`
    are resolved to ids by the client."""
    importe = cents(Decimal(cantidad) * Decimal(precio))
    base = importe - Decimal(descuento)
    charged = cents(base * Decimal(iva or 0) / 100) if objeto == "02" else Decimal("0.00")
    withheld_iva, withheld_isr = (cents(base * Decimal(rate) / 100) for rate in (ret_iva, ret_isr))
    return {
        "product": (clave, nombre, objeto, unidad),
        "Cantidad": cantidad,
        "Precio": precio,
        "Descuento": descuento,
        "PorcentajeIVA": int(iva or 0) if objeto == "02" else 0,
        "IVA": str(charged),
        "TasaCero": iva == "0",
        "TasaIEPS": 0,
        "ImporteIEPS": 0,
        "BaseRetIVA": str(base) if Decimal(ret_iva) else 0,
        "TipoRetIVA": Decimal(ret_iva),
        "RetIVA": str(withheld_iva),
        "TasaISR": Decimal(ret_isr),
        "RetISR": str(withheld_isr),
        "Importe": str(base),
        "Total": str(base + charged),
        "Comentarios": comentarios,
        "ClaveIdentificacion": "FLT-01",
    } | changes


@dataclass
class SandboxClient:
    """One account of a provider in this process."""

    provider: Provider
    name: str = "demo"
    plan: Plan = CALM
    _products: dict[tuple[str, str, str, str], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.account = self.provider.account(self.name)
        self.account.behaviour.pdf = (
            "slip"  # the demo account's whole page takes as long as all else of a stamp
        )
        self.invoicing = Invoicing(self.provider, "http://127.0.0.1:1")
        self.cancelling = Cancelling(self.provider)

    @property
    def utiles(self) -> JSON:
        """The account's catalogues, whatever utiles.json makes of them."""
        return self.account.catalogues

    @property
    def id_empresa(self) -> int:
        return self.account.id_empresa

    def id_of(self, catalogue: str, value: str) -> int | str:
        """The id of a catalogue's entry by its key, series, CP or name, as the account's dialect writes it."""
        rows = self.utiles[catalogue]
        keys = ("Clave", "Serie", "CP")
        return self.shown_id(next(row["Id"] for row in rows if value in map(row.get, keys)))

    def shown_id(self, number: int) -> int | str:
        """An id of the account's lists as answers say it."""
        return self.account.shown_id(number)

    def customer(self, rfc: str, nombre: str, cp: str, regimen: str) -> int:
        """A customer's id, made or changed as needed."""
        body = {
            "IdEmpresaCliente": self.id_empresa,
            "RFC": rfc,
            "RazonSocial": nombre,
            "RegimenFiscal": regimen,
            "Email": "",
            "UsoCFDIDefault": "G03",
            "CP": cp,
            "IdFormaPagoDefault": 0,
            "Contacto": nombre,
            "Calle": "S/N",
            "Ciudad": "",
            "Pais": "México",
            "Estatus": True,
        }
        return int(self._customer(rfc, body)["Id"])

    def product(self, clave: str, nombre: str, objeto: str, unidad: str) -> int:
        """A product's id, made as needed."""
        key = (clave, nombre, objeto, unidad)
        if key not in self._products:
            body = {
                "IdEmpresa": self.id_empresa,
                "Clave": f"P{len(self._products)}-{clave}-{objeto}",
                "Nombre": nombre,
                "ClaveProdServ": clave,
                "IdUM": self.id_of("UnidadesDeMedida", unidad),
                "ObjetoImp": objeto,
            }
            self._products[key] = int(self._product(body)["Id"])
        return self._products[key]

    def body(
        self,
        *lines: JSON,
        receptor: tuple[str, str, str, str] = XIA,
        serie: str = "A",
        lugar: str = "64000",
        moneda: str = "MXN",
        forma: str = "03",
        fecha: datetime | None = None,
        record: int = 0,
        only_save: bool = False,
        **changes: Any,
    ) -> JSON:
        """A whole body; without lines, one of freight with 4 % IVA withheld. `changes` are root fields."""
        chosen = [dict(line) for line in lines] or [a_line(ret_iva="4")]
        for line in chosen:
            clave, nombre, objeto, unidad = line.pop("product")
            line["IdProducto"] = self.product(clave, nombre, objeto, unidad)
            line["IdUM"] = self.id_of("UnidadesDeMedida", unidad)

        def total(name: str) -> Decimal:
            return sum((Decimal(line[name]) for line in chosen), Decimal("0.00"))

        if fecha is None:
            fecha = datetime.now(ZoneInfo("America/Tijuana")) - timedelta(minutes=2)
        body = {
            "Id": record,
            "IdEmpresa": self.id_empresa,
            "IdRFC": self.shown_id(self.utiles["RFCs"][0]["Id"]),
            "FolioOriginal": "OP-1",
            "Fecha": fecha.strftime("%d-%m-%Y %H:%M:%S"),
            "TipoComprobante": "Factura",
            "IdSerie": self.id_of("Series", serie),
            "IdSucursal": self.shown_id(self.utiles["Sucursales"][0]["Id"]),
            "IdLugarDeExpedicion": self.id_of("LugaresDeExpedicion", lugar),
            "LugarDeExpedicion": lugar,
            "IdCliente": self.customer(*receptor),
            "IdSucursalCliente": 0,
            "UsoCFDI": "G03",
            "TipoRelacion": 0,
            "CFDIRelacionados": None,
            "TipoDeCambio": 1,
            "IdMoneda": self.id_of("Monedas", moneda),
            "IdBanco": 0,
            "MetodoDePago": "PUE",
            "IdFormaDePago": self.id_of("FormasDePago", forma),
            "FormaDePago": f"{forma} lo que sea",
            "Descuento": 0,
            "PorcentajeIVA": 16,
            "IVA": str(total("IVA")),
            "RetencionISR": str(total("RetISR")),
            "TipoRetencionIVA": 0,
            "RetencionIVA": str(total("RetIVA")),
            "IEPS": 0,
            "TotalImpuestosLocalesRetenidos": 0,
            "TotalImpuestosLocalesTrasladados": 0,
            "Subtotal": str(total("Importe")),
            "Total": str(total("Total") - total("RetIVA") - total("RetISR")),
            "Productos": chosen,
            "AgregarLeyendasFiscales": False,
            "TipoComplementoAddenda": 0,
            "SoloGuardar": only_save,
        }
        return dict(_as_numbers(body | changes))

    def submit(self, body: JSON) -> JSON:
        """`Resultado` of POST /api/cfdi.json; raises Refusal."""
        return self.invoicing.submit(self.account, json.loads(dumps(body), parse_float=Decimal), self.plan)

    def stamped_xml(self, *lines: JSON, **changes: Any) -> bytes:
        """The XML of an invoice that was saved and stamped."""
        record = self.submit(self.body(*lines, only_save=True, **changes))["Id"]
        return base64.b64decode(self.submit(self.body(*lines, record=record, **changes))["XmlBase64"])

    def _customer(self, rfc: str, body: JSON) -> JSON:
        if self.provider.store.customer(self.account.name, rfc) is None:
            return self.provider.add_customer(self.account, body)
        return self.provider.change_customer(self.account, body)

    def _product(self, body: JSON) -> JSON:
        known = self.provider.store.products(self.account.name, body["ClaveProdServ"])
        same = (row for row in known if row["Clave"] == body["Clave"])
        return next(same, None) or self.provider.make_product(self.account, body)


class HttpSandboxClient(SandboxClient):
    """One account of a provider over HTTP; every call is a connection of its own."""

    def __init__(self, url: str, key: str) -> None:
        self._host = urlsplit(url).netloc
        self._key = key
        self._token = ""
        self._empresa = 0
        self._utiles: JSON | None = None
        self._products = {}

    def shown_id(self, number: int) -> int | str:
        """The lists came over HTTP: their ids are as answers say them."""
        return number

    def connect(self) -> "HttpSandboxClient":
        answer = self.call("POST", "/api/conectar.json", {"ApiKey": self._key})["Resultado"]
        self._token, self._empresa = answer["Token"], answer["IdEmpresa"]
        self._utiles = None
        return self

    @property
    def id_empresa(self) -> int:
        return self._empresa

    @property
    def utiles(self) -> JSON:
        if self._utiles is None:
            self._utiles = self.call("GET", f"/api/cfdi/utiles.json/{self._empresa}")["Resultado"]
        return self._utiles

    def send(
        self, method: str, path: str, body: Any = None, *, timeout: float = 10
    ) -> tuple[int, bytes, Any]:
        """Status, raw body and headers of a call."""
        connection = http.client.HTTPConnection(self._host, timeout=timeout)
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        try:
            connection.request(method, path, None if body is None else dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            connection.close()

    def call(self, method: str, path: str, body: Any = None) -> JSON:
        """The envelope of a call, whatever its status."""
        return json.loads(self.send(method, path, body)[1])

    def submit(self, body: JSON) -> JSON:
        """The whole envelope of POST /api/cfdi.json."""
        return self.call("POST", "/api/cfdi.json", body)

    def save(self, **changes: Any) -> int:
        """The Id of a new draft."""
        return int(self.submit(self.body(only_save=True, **changes))["Resultado"]["Id"])

    def look_up(self, record: int) -> JSON:
        """The envelope of a look-up."""
        return self.call("GET", f"/api/cfdi/factura.json/{self._empresa}/{record}")

    def cancel(self, record: int, motivo: str = "02", **more: Any) -> JSON:
        """The envelope of a cancellation."""
        body = {"IdEmpresa": self._empresa, "IdFactura": record, "Motivo": motivo} | more
        return self.call("DELETE", "/api/cfdi.json", body)

    def _customer(self, rfc: str, body: JSON) -> JSON:
        path = f"/api/clientes.json/{self._empresa}/{quote(rfc, safe='')}"
        known = self.call("GET", path)["Resultado"]
        return self.call("POST" if known is None else "PUT", "/api/clientes.json", body)["Resultado"]

    def _product(self, body: JSON) -> JSON:
        made = self.call("POST", "/api/productos.json", body)["Resultado"]
        path = f"/api/productos.json/{self._empresa}/{body['ClaveProdServ']}"
        return made or next(
            row for row in self.call("GET", path)["Resultado"] if row["Clave"] == body["Clave"]
        )


_AMOUNTS = frozenset(
    [
        "TipoDeCambio",
        "Descuento",
        "PorcentajeIVA",
        "IVA",
        "RetencionISR",
        "RetencionIVA",
        "IEPS",
        "Subtotal",
        "Total",
        "Cantidad",
        "Precio",
        "TasaIEPS",
        "TotalImpuestosLocalesRetenidos",
        "TotalImpuestosLocalesTrasladados",
        "ImporteIEPS",
        "BaseRetIVA",
        "RetIVA",
        "TasaISR",
        "RetISR",
        "Importe",
        "TipoRetIVA",
    ]
)


def _as_numbers(body: Any) -> Any:
    """The same body, its amounts JSON numbers where they were written as texts for their digits."""
    if isinstance(body, list):
        return [_as_numbers(row) for row in body]
    if not isinstance(body, dict):
        return body
    return {name: _number(value) if name in _AMOUNTS else _as_numbers(value) for name, value in body.items()}


def _number(value: Any) -> Any:
    try:
        return Decimal(value) if isinstance(value, str) and value != "NaN" else value
    except InvalidOperation:
        return value


def dumps(body: Any) -> str:
    """A body as JSON text; decimals are numbers."""
    return json.dumps(body, default=lambda value: float(value) if isinstance(value, Decimal) else str(value))
