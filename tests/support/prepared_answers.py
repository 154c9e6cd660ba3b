"""A ContaDigital made of prepared answers, for tests of what the client makes of them.

`a_provider({"timbrar": an_answer(...)})` answers each call by its name; a call that is not named answers well.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from contadigital.auth import MemoryTokens, TokenStore
from contadigital.client import ContaDigital
from contadigital.records import Credentials

NOW = datetime(2026, 11, 23, 16, 20, tzinfo=UTC)
KEY = "clave-de-prueba-0123456789"
BASE = "https://app.contadigital.mx/dev/pruebas"
HOSTS = frozenset({"app.contadigital.mx"})
UUID = "6A5F0C0E-1111-4222-8333-444455556666"

Reply = httpx.Response | Exception
Replies = Reply | list[Reply] | Callable[[httpx.Request], httpx.Response]

CALLS = {
    ("POST", "/api/conectar.json"): "conectar",
    ("GET", "/api/cfdi/utiles.json"): "utiles",
    ("GET", "/api/clientes.json"): "cliente",
    ("POST", "/api/clientes.json"): "cliente_guardar",
    ("PUT", "/api/clientes.json"): "cliente_guardar",
    ("GET", "/api/productos.json"): "producto",
    ("POST", "/api/productos.json"): "producto_guardar",
    ("GET", "/api/cfdi/factura.json"): "factura",
    ("DELETE", "/api/cfdi.json"): "cancelar",
    ("GET", "/api/cfdi/enviar.json"): "enviar",
}


def an_answer(
    resultado: Any = None, *, codigo: int | None = 1, mensaje: str = "", status: int = 200, **headers: str
) -> httpx.Response:
    """An envelope; without `codigo` it is the bare object."""
    if codigo is None:
        return httpx.Response(status, content=json.dumps(resultado), headers=headers)
    return httpx.Response(
        status, json={"Codigo": codigo, "Resultado": resultado, "Mensaje": mensaje}, headers=headers
    )


def a_page(status: int = 200, text: str = "<html><body>Bad gateway</body></html>") -> httpx.Response:
    """A page in place of an answer."""
    return httpx.Response(status, html=text)


def a_record(**changes: Any) -> dict[str, Any]:
    """A stamped record."""
    return {"Id": 7, "UUID": UUID, "Serie": "A", "Folio": "1045", "XmlBase64": "PHhtbC8+"} | changes


GOOD: dict[str, Callable[[], httpx.Response]] = {
    "conectar": lambda: an_answer({"Token": "token-1", "IdEmpresa": 12}),
    "utiles": lambda: an_answer({"RFCs": [], "Series": []}),
    "cliente": lambda: an_answer(None),
    "cliente_guardar": lambda: an_answer({"Id": 3}),
    "producto": lambda: an_answer([]),
    "producto_guardar": lambda: an_answer({"Id": 4}),
    "guardar": lambda: an_answer({"Id": 7, "UUID": ""}),
    "timbrar": lambda: an_answer(a_record()),
    "factura": lambda: an_answer(a_record()),
    "cancelar": lambda: an_answer({"AcuseBase64": "PGEvPg=="}),
    "enviar": lambda: an_answer({}),
    "documento": lambda: httpx.Response(200, content=b"<xml/>"),
}


def name_of(request: httpx.Request) -> str:
    """Which call a request is."""
    path = request.url.path.removeprefix("/dev/pruebas")
    if (request.method, path) == ("POST", "/api/cfdi.json"):
        return "guardar" if json.loads(request.content)["SoloGuardar"] else "timbrar"
    for (method, start), name in CALLS.items():
        if request.method == method and path.startswith(start):
            return name
    return "documento"


@dataclass
class Provider:
    """Prepared answers and the requests that came; a list is worked off, its last answer stays."""

    replies: Mapping[str, Replies]
    requests: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        name = name_of(request)
        reply = self.replies.get(name)
        if reply is None:
            return GOOD[name]()
        if isinstance(reply, list):
            reply = reply.pop(0) if len(reply) > 1 else reply[0]
        if isinstance(reply, Exception):
            raise reply
        if not isinstance(reply, httpx.Response):
            return reply(request)
        return httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)

    def names(self) -> list[str]:
        """The calls that came, in order."""
        return [name_of(request) for request in self.requests]


def a_provider(replies: Mapping[str, Replies] | None = None) -> Provider:
    """A provider that answers well but for the calls that are named."""
    return Provider(replies or {})


def a_client(
    provider: Callable[[httpx.Request], httpx.Response],
    *,
    tokens: TokenStore | None = None,
    clock: Callable[[], datetime] = lambda: NOW,
    max_body: int = 100_000,
    hosts: frozenset[str] = HOSTS,
    monotonic: Callable[[], float] = time.monotonic,
) -> ContaDigital:
    """A client whose wire is `provider`."""
    return ContaDigital(
        httpx.MockTransport(provider),
        tokens if tokens is not None else MemoryTokens(clock=clock),
        call_timeout=timedelta(seconds=5),
        max_body=max_body,
        clock=clock,
        allowed_hosts=hosts,
        monotonic=monotonic,
    )


def some_credentials(*, key: str = KEY, base_url: str = BASE, id_empresa: int | None = 12) -> Credentials:
    """A connection of the account acme."""
    return Credentials("acme", base_url, id_empresa, lambda: key)
