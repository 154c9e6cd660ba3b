"""What the client's tests share. They need no server and nothing of the worker's."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from kombu import Connection
from kombu.transport.memory import Transport

INVOICE: dict[str, Any] = {
    "version": 1,
    "account": "acme",
    "external_id": "OP-10234-1",
    "tipo_de_comprobante": "I",
    "fecha": "2026-11-23T10:15:00-06:00",
    "forma_pago": "03",
    "metodo_pago": "PUE",
    "moneda": "MXN",
    "tipo_cambio": None,
    "lugar_expedicion": "64000",
    "receptor": {
        "rfc": "XIA190128J61",
        "nombre": "XENON INDUSTRIAL ARTICLES",
        "domicilio_fiscal_receptor": "76343",
        "regimen_fiscal_receptor": "601",
        "uso_cfdi": "G03",
        "email": None,
    },
    "conceptos": [
        {
            "clave_prod_serv": "78101802",
            "no_identificacion": "FLT-01",
            "cantidad": "1",
            "clave_unidad": "E48",
            "nombre": "Flete terrestre",
            "descripcion": "Flete Monterrey - Laredo, OP-10234",
            "valor_unitario": "15000.00",
            "descuento": "0.00",
            "objeto_imp": "02",
            "traslados": [{"impuesto": "002", "tipo_factor": "Tasa", "tasa_o_cuota": "0.160000"}],
            "retenciones": [{"impuesto": "002", "tipo_factor": "Tasa", "tasa_o_cuota": "0.040000"}],
        }
    ],
    "informacion_global": None,
    "cfdi_relacionados": None,
    "subtotal": "15000.00",
    "total": "16800.00",
    "send_to": ["cliente@ejemplo.mx"],
}


@pytest.fixture
def invoice() -> dict[str, Any]:
    """The invoice of the contract, to be changed at will."""
    return copy.deepcopy(INVOICE)


@pytest.fixture
def memory_broker() -> tuple[str, Callable[[], list[Any]]]:
    """A broker in this process, and what takes the messages of its intake queue."""
    Transport.global_state.clear()
    Transport.Channel.queues.clear()
    url = "memory://"

    def taken() -> list[Any]:
        with Connection(url) as connection:
            queue = connection.default_channel
            return list(iter(lambda: queue.basic_get("intake", no_ack=True), None))

    return url, taken
