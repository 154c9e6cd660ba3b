"""The sandbox over HTTP: ContaDigital's paths, and /sandbox/* to steer it.

Faults are played here and nowhere else. A call is read, the scenarios say
what shall go wrong with it, it waits, it takes effect in one step (`_perform`), it waits again, and then
its answer is sent, spoilt or swallowed. So "before" and "after" mean before and after that one step.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final

from starlette.applications import Starlette
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from sandbox import control, fault_player
from sandbox.accounts import Account, Behaviour
from sandbox.cancelling import Cancelling
from sandbox.fault_player import BAD_REQUEST, HttpAnswer
from sandbox.faults import Plan
from sandbox.invoicing import Invoicing
from sandbox.provider import Provider
from sandbox.refusals import Codigo, Refusal
from sandbox.sat_status import PATH as SAT_STATUS_PATH
from sandbox.sat_status import SandboxSat

Handler = Callable[["Request", Account], Any]
Owner = Callable[["Request"], Account | None]
_LARGEST_BODY: Final = 4_000_000


@dataclass(frozen=True)
class Request:
    """One call, read."""

    path: Mapping[str, str]
    body: Any
    raw: bytes
    plan: Plan = field(default_factory=Plan)


class Operation:
    """One of ContaDigital's paths and methods, as an ASGI application."""

    def __init__(
        self, name: str, provider: Provider, handler: Handler, *, owner: Owner | None = None
    ) -> None:
        """Where `owner` finds out whose call it is, no token is asked for."""
        self._name = name
        self._provider = provider
        self._handler = handler
        self._owner = owner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        provider = self._provider
        raw = await read_body(receive)
        if raw is None:
            return
        request = Request(scope["path_params"], _parse(raw), raw)
        name = _name_of(self._name, request.body)
        token = _token(scope)
        account = provider.account_of_token(token) if self._owner is None else self._owner(request)
        owner = account.name if account is not None else "?"
        request = replace(request, plan=provider.scenarios.plan(name, owner, provider.clock.running()))

        def perform() -> HttpAnswer:
            answer = self._perform(request, account, token, name, scope["raw_path"])
            provider.store.ledger.count(owner, name, answer.result)
            return answer

        played = await fault_player.play(request.plan, perform, scope, receive, send)
        if played is not None:
            provider.store.ledger.count(owner, name, played)

    def _perform(
        self, request: Request, account: Account | None, token: str, name: str, raw_path: bytes
    ) -> HttpAnswer:
        """The one step in which a call takes effect."""
        if account is not None and account.dialect.ampersand == "400" and b"%26" in raw_path:
            return BAD_REQUEST
        try:
            if account is not None:
                self._prelude(request.plan, account)
            caller = (account or _NOBODY) if self._owner is not None else self._provider.authorize(token)
            result = self._handler(request, caller)
            return result if isinstance(result, HttpAnswer) else _envelope(result, caller, name)
        except Refusal as no:
            return _refused(no, account or _NOBODY)

    def _prelude(self, plan: Plan, account: Account) -> None:
        if plan.get("token_dies"):
            self._provider.kill_tokens(account)
        if plan.get("stamps_end"):
            self._provider.set_stamps(account, 0)
        regenerated = plan.get("key_regenerated")
        if regenerated:
            self._provider.regenerate_key(
                account, other_ids=regenerated.other_ids, other_empresa=regenerated.other_empresa
            )


def make_app(provider: Provider, *, links_to: str, open_control: bool = False) -> Starlette:
    """The whole sandbox as an ASGI application; `links_to` is the address document links begin with."""
    cancelling = Cancelling(provider)
    api = _api(provider, Invoicing(provider, links_to), cancelling)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        writing = asyncio.create_task(_write_calls(provider))
        try:
            yield
        finally:
            writing.cancel()
            provider.store.close()

    steering = Mount("/sandbox", routes=control.routes(provider, cancelling, open_control=open_control))
    # ContaDigital's address for tests has a path of its own (written); a client that builds paths must keep it.
    # Under /at/ANYTHING the same provider answers at as many addresses as a test needs.
    at = Mount("/at/{address}", routes=api)
    return Starlette(
        routes=[*api, _sat_status(provider, cancelling), steering, Mount("/dev/pruebas", routes=api), at],
        lifespan=lifespan,
    )


def _api(provider: Provider, invoicing: Invoicing, cancelling: Cancelling) -> list[Route]:
    """Every path of ContaDigital, with the name of its call in the scenarios and the ledger."""

    def look_up(request: Request, account: Account) -> Any:
        provider.check_empresa(account, request.path["empresa"])
        record_id = _number(request.path["id"])
        record = provider.store.records.find(account.name, record_id)
        if record is not None:
            cancelling.settle(account, record)
        return invoicing.look_up(account, record_id, request.plan)

    def mail(request: Request, account: Account) -> None:
        provider.check_empresa(account, request.path["empresa"])
        if request.plan.get("mail_fails"):
            raise Refusal(Codigo.MAIL, "No se pudo enviar el correo")
        cancelling.mail(account, _number(request.path["id"]), request.path["email"])

    def document(request: Request, _: Account) -> HttpAnswer:
        error = request.plan.get("pdf_error")
        if error and request.path["name"].endswith(".pdf"):
            return HttpAnswer(error.status, b"", "text/plain", f"http:{error.status}")
        content, media_type = invoicing.document(request.path["name"], request.plan)
        return HttpAnswer(200, content, media_type, "ok")

    def utiles(request: Request, account: Account) -> Any:
        return provider.utiles(account, request.path["empresa"])

    def customer(request: Request, account: Account) -> Any:
        return provider.customer(account, request.path["empresa"], request.path["rfc"])

    def products(request: Request, account: Account) -> Any:
        return provider.products(account, request.path["empresa"], request.path["clave"])

    table: list[tuple[str, str, str, Handler]] = [
        ("conectar", "POST", "/conectar.json", lambda r, _: provider.conectar(r.body)),
        ("utiles", "GET", "/cfdi/utiles.json/{empresa}", utiles),
        ("clientes", "GET", "/clientes.json/{empresa}/{rfc}", customer),
        ("clientes", "POST", "/clientes.json", lambda r, a: provider.add_customer(a, _object(r.body))),
        ("clientes", "PUT", "/clientes.json", lambda r, a: provider.change_customer(a, _object(r.body))),
        ("productos", "GET", "/productos.json/{empresa}/{clave}", products),
        ("productos", "POST", "/productos.json", lambda r, a: provider.add_product(a, _object(r.body))),
        ("stamp", "POST", "/cfdi.json", lambda r, a: invoicing.submit(a, r.body, r.plan)),
        ("cancel", "DELETE", "/cfdi.json", lambda r, a: cancelling.cancel(a, r.body, r.plan)),
        ("look_up", "GET", "/cfdi/factura.json/{empresa}/{id}", look_up),
        ("mail", "GET", "/cfdi/enviar.json/{empresa}/{id}/{email}", mail),
    ]
    owners: dict[str, Owner] = {"conectar": lambda r: provider.account_of_key(r.body)}
    routes = [
        Route(f"/api{path}", Operation(name, provider, handler, owner=owners.get(name)), methods=[method])
        for name, method, path, handler in table
    ]

    def owner_of_document(request: Request) -> Account | None:
        return provider.account_of_document(request.path["name"])

    links = Operation("document", provider, document, owner=owner_of_document)
    return [*routes, Route("/documentos/{name}", links, methods=["GET"])]


def _sat_status(provider: Provider, cancelling: Cancelling) -> Route:
    """The SAT's own service, which is none of ContaDigital's: public, and beside it in one process."""
    service = SandboxSat(provider, cancelling)

    def owner(request: Request) -> Account | None:
        record = service.record_of(request.raw)
        return None if record is None else provider.account(record.account)

    call = Operation("sat_status", provider, lambda request, _: service.answer(request.raw), owner=owner)
    return Route(SAT_STATUS_PATH, call, methods=["POST"])


async def _write_calls(provider: Provider) -> None:
    while True:
        await asyncio.sleep(1)
        provider.store.ledger.write()


async def read_body(receive: Receive) -> bytes | None:
    """The whole body of a request; None where the client went away or sent too much."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > _LARGEST_BODY:
            return None
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)


_NOBODY: Final = Account(name="?", api_key=None, id_empresa=0, catalogues={}, behaviour=Behaviour())


def _parse(raw: bytes) -> Any:
    if not raw:
        return None
    try:
        return json.loads(raw, parse_float=Decimal)
    except ValueError:
        return None


def _object(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise Refusal(Codigo.BODY, "El cuerpo debe ser un objeto")
    return body


def _name_of(name: str, body: Any) -> str:
    """POST /api/cfdi.json is two calls: a save and a stamp."""
    if name == "stamp" and isinstance(body, dict) and body.get("SoloGuardar") is True:
        return "save"
    return name


def _token(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"authorization":
            text: str = value.decode("latin-1")
            return text[7:] if text[:7].lower() == "bearer " else ""
    return ""


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Refusal(Codigo.NOT_FOUND, "No se encontró la factura")
    return int(text)


def _envelope(result: Any, account: Account, name: str) -> HttpAnswer:
    behaviour = account.behaviour
    if account.dialect.id_type == "text":
        result = _with_text_ids(result)
    bare = name in behaviour.bare or (name == "conectar" and behaviour.token_at_top)
    content = result if bare else _enclosed(account, Codigo.DONE, result, "OK")
    return HttpAnswer.of_json(200, content, "ok")


def _refused(no: Refusal, account: Account) -> HttpAnswer:
    result = _with_text_ids(no.resultado) if account.dialect.id_type == "text" else no.resultado
    content = _enclosed(account, no.codigo, result, no.mensaje)
    return HttpAnswer.of_json(no.status, content, f"refused:{int(no.codigo)}")


def _with_text_ids(result: Any) -> Any:
    """The same answer with each `Id` of an object, or of the objects of a list, as a text."""
    if isinstance(result, list):
        return [_with_text_ids(row) for row in result]
    if isinstance(result, dict) and isinstance(result.get("Id"), int):
        return result | {"Id": str(result["Id"])}
    return result


def _enclosed(account: Account, codigo: Codigo, result: Any, mensaje: str) -> dict[str, Any]:
    """The envelope as the account's dialect names its parts."""
    dialect = account.dialect
    content: dict[str, Any] = {"Codigo": str(int(codigo)) if dialect.envelope == "text" else int(codigo)}
    content["Resultado"] = result
    match dialect.mensaje:
        case "none":
            pass
        case "Errores":
            content["Errores"] = [] if codigo == Codigo.DONE else [mensaje]
        case name:
            content[name] = mensaje
    return {name.lower(): part for name, part in content.items()} if dialect.envelope == "codigo" else content
