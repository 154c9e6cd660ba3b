"""What the one known integration sends, as contadigital-api.md writes it down, stamps in the sandbox.

The strictest provider that it could have met: net amounts, JSON numbers, customers with contact and country, products
made by hand, a PUT that replaces. No line here is our client's.
"""

import base64
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from lxml import etree

from sandbox.serve import RunningSandbox
from tests.support.sandbox_client import HttpSandboxClient

JSON = dict[str, Any]


def a_typed_form(sandbox: RunningSandbox, name: str) -> JSON:
    """The numbers that a person types into its form, with one product made in the portal."""
    path = f"/accounts/{name}"
    unit = sandbox.control("GET", f"{path}/ids")["UnidadesDeMedida"]["E48"]
    product = {
        "Clave": "GEN",
        "Nombre": "Producto",
        "ClaveProdServ": "78101802",
        "ObjetoImp": "02",
        "IdUM": unit,
    }
    sandbox.control("POST", f"{path}/products", product)
    return dict(sandbox.control("GET", f"{path}/ids"))


def a_customer(empresa: int, forma_03: int) -> JSON:
    return {
        "IdEmpresaCliente": empresa,
        "RFC": "XIA190128J61",
        "RazonSocial": "XENON INDUSTRIAL ARTICLES",
        "RegimenFiscal": "601",
        "Email": "",
        "UsoCFDIDefault": "G01",
        "CP": "76343",
        "IdFormaPagoDefault": forma_03,
        "Contacto": "XENON INDUSTRIAL ARTICLES",
        "Calle": "S/N",
        "Ciudad": "",
        "Pais": "México",
        "Estatus": True,
    }


def a_body(form: JSON, customer: int) -> JSON:
    """Two pieces at 150.50, 10 % off: amounts as `toFixed(2)` numbers, net of the discount."""
    fecha = datetime.now(ZoneInfo("America/Mexico_City")) - timedelta(minutes=1)
    return {
        "Id": 0,
        "IdEmpresa": form["IdEmpresa"],
        "IdRFC": form["RFCs"]["EKU9003173C9"],
        "FolioOriginal": "SL-2026-0001",
        "Fecha": fecha.strftime("%d-%m-%Y %H:%M:%S"),
        "TipoComprobante": "Factura",
        "IdSerie": form["Series"]["A"],
        "IdSucursal": form["Sucursales"]["Matriz"],
        "IdLugarDeExpedicion": form["LugaresDeExpedicion"]["42501"],
        "LugarDeExpedicion": "42501",
        "IdCliente": customer,
        "IdSucursalCliente": 0,
        "UsoCFDI": "G01",
        "TipoRelacion": 0,
        "CFDIRelacionados": None,
        "TipoDeCambio": 1,
        "IdMoneda": 1,
        "IdBanco": 0,
        "MetodoDePago": "PUE",
        "IdFormaDePago": form["FormasDePago"]["03"],
        "FormaDePago": "03 Transferencia electrónica de fondos",
        "Descuento": 0,
        "PorcentajeIVA": 16,
        "IVA": 43.34,
        "RetencionISR": 0,
        "TipoRetencionIVA": 0,
        "RetencionIVA": 0,
        "IEPS": 0,
        "TotalImpuestosLocalesRetenidos": 0,
        "TotalImpuestosLocalesTrasladados": 0,
        "Subtotal": 270.9,
        "Total": 314.24,
        "Productos": [
            {
                "IdProducto": form["Productos"][0]["Id"],
                "IdUM": form["UnidadesDeMedida"]["E48"],
                "Cantidad": 2,
                "Precio": 150.5,
                "Descuento": 30.1,
                "PorcentajeIVA": 16,
                "IVA": 43.34,
                "TasaCero": False,
                "TasaIEPS": 0,
                "ImporteIEPS": 0,
                "BaseRetIVA": 0,
                "TipoRetIVA": 0,
                "RetIVA": 0,
                "TasaISR": 0,
                "RetISR": 0,
                "Importe": 270.9,
                "Total": 314.24,
                "Comentarios": "FLT-01 - Flete",
                "ClaveIdentificacion": "FLT-01",
            }
        ],
        "AgregarLeyendasFiscales": False,
        "TipoComplementoAddenda": 0,
        "SoloGuardar": False,
    }


def test_the_known_integrations_way_ends_in_a_stamp(sandbox: RunningSandbox) -> None:
    """Connect, customer, stamp, look up, mail, cancel: every call as it is written."""
    account = sandbox.open_account("written-1", dialect="as_written")
    client = HttpSandboxClient(sandbox.url, account["api_key"]).connect()
    form = a_typed_form(sandbox, "written-1")
    empresa = form["IdEmpresa"]
    path = f"/api/clientes.json/{empresa}/XIA190128J61"

    assert client.call("GET", path)["Resultado"] is None
    made = client.call("POST", "/api/clientes.json", a_customer(empresa, form["FormasDePago"]["03"]))
    found = client.call("GET", path)["Resultado"]
    assert made["Resultado"]["Id"] == found["Id"]
    assert client.call("PUT", "/api/clientes.json", found | {"Estatus": True})["Codigo"] == 1

    stamped = client.call("POST", "/api/cfdi.json", a_body(form, found["Id"]))
    record = stamped["Resultado"]["Id"]
    again = client.call("GET", f"/api/cfdi/factura.json/{empresa}/{record}")["Resultado"]
    root = etree.fromstring(base64.b64decode(again["XmlBase64"]))
    assert stamped["Codigo"] == 1
    assert stamped["Resultado"].keys() >= {"Id", "UUID", "Serie", "Folio", "XmlBase64", "PdfBase64"}
    assert [root.get(name) for name in ("SubTotal", "Descuento", "Total")] == ["301.00", "30.10", "314.24"]

    mailed = client.call("GET", f"/api/cfdi/enviar.json/{empresa}/{record}/cliente@ejemplo.mx")
    cancelled = client.cancel(record, "02")
    assert mailed["Codigo"] == 1
    assert cancelled["Resultado"]["AcuseBase64"]


def test_without_stamps_the_invoice_is_saved_under_codigo_3(sandbox: RunningSandbox) -> None:
    """Observed; and the Id stamps it once stamps are there (inferred)."""
    account = sandbox.open_account("written-2", dialect="as_written", stamps=0)
    client = HttpSandboxClient(sandbox.url, account["api_key"]).connect()
    form = a_typed_form(sandbox, "written-2")
    customer = a_customer(form["IdEmpresa"], form["FormasDePago"]["03"])
    body = a_body(form, client.call("POST", "/api/clientes.json", customer)["Resultado"]["Id"])
    saved = client.call("POST", "/api/cfdi.json", body)
    sandbox.change("written-2", stamps=1)
    stamped = client.call("POST", "/api/cfdi.json", body | {"Id": saved["Resultado"]["Id"]})

    assert (saved["Codigo"], saved["Resultado"]["UUID"]) == (3, "")
    assert (stamped["Codigo"], stamped["Resultado"]["Id"]) == (1, saved["Resultado"]["Id"])


def test_an_empty_list_for_null_is_an_internal_error_of_that_body_alone(sandbox: RunningSandbox) -> None:
    """Observed: CFDIRelacionados must be null; the same body with null is taken a moment later."""
    account = sandbox.open_account("written-3", dialect="as_written")
    client = HttpSandboxClient(sandbox.url, account["api_key"]).connect()
    form = a_typed_form(sandbox, "written-3")
    customer = a_customer(form["IdEmpresa"], form["FormasDePago"]["03"])
    body = a_body(form, client.call("POST", "/api/clientes.json", customer)["Resultado"]["Id"])

    assert client.send("POST", "/api/cfdi.json", body | {"CFDIRelacionados": []})[0] == 500
    assert client.call("POST", "/api/cfdi.json", body)["Codigo"] == 1
