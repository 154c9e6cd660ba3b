"""`Api`: the worker's HTTP API, for what a message cannot do: read, download, wait, and check before sending.

    from timbrado_client.http import Api

    with Api("https://timbrado.example", key=os.environ["TIMBRADO_API_KEY"]) as api:
        state = api.wait("acme", "OP-10234-1")

Needs httpx (`pip install timbrado-client[http]`). Every method raises the errors of `timbrado_client.errors`:
ApiUnavailable where the same can be sent again later, KeyRefused, NotThere, RequestInvalid and InvoiceInvalid with
their faults.

On the wire a list is `{"items": [...], "cursor": "..."}`, `cursor` null at its end (of events: the last one's); a
refusal is a problem object (RFC 9457) with `errors` and `warnings`; links are `{"links": {"xml": "https://..."}}`; a
server-sent event has its cursor as `id`.
"""

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from timbrado_client import requests
from timbrado_client.errors import (
    ApiUnavailable,
    InvoiceInvalid,
    KeyRefused,
    NotThere,
    RequestInvalid,
    TimbradoError,
    UnexpectedAnswer,
)
from timbrado_client.events import Event, InvoiceData, parse
from timbrado_client.faults import Fault
from timbrado_client.invoice import Invoice
from timbrado_client.kinds import plain
from timbrado_client.reading import check

Kind = Literal["xml", "pdf", "acuse"]
SETTLED = frozenset({"stamped", "differs", "rejected", "on_hold", "failed", "cancelled", "withdrawn"})
"""Statuses that somebody has to read: either nothing more happens, or not without a person."""
PAUSES = (0.5, 1.0, 2.0, 5.0)
"""Seconds between one look and the next of `wait`; the last one repeats."""

_FAULTS = TypeAdapter(tuple[Fault, ...])
_NAME = re.compile(r'filename="([^"]+)"')
_HASH = re.compile(r'"?([0-9a-f]{64})"?')


class InvoiceState(InvoiceData):
    """Where an invoice stands, as its events say it, with what comes next and, where asked for, its timeline."""

    version: int = 0
    next: Any = None
    """What comes next and who must act."""
    story: Any = None
    """The timeline, with `read(..., story=True)`."""


class Checked(BaseModel):
    """What a submission would get: the same faults and warnings, and the totals as the worker computes them."""

    model_config = ConfigDict(extra="allow", frozen=True)

    errors: tuple[Fault, ...] = ()
    warnings: tuple[Fault, ...] = ()
    totals: dict[str, Any] | None = None

    @property
    def good(self) -> bool:
        """Whether it would be accepted."""
        return not self.errors


class StillOpen(TimbradoError):
    """An invoice was not settled in the time that was given; `state` is where it stood."""

    def __init__(self, account: str, external_id: str, state: InvoiceState | None) -> None:
        self.account, self.external_id, self.state = account, external_id, state
        status = state.status if state is not None else "unknown"
        super().__init__(f"{account}/{external_id} is still {status}")


@dataclass(frozen=True, slots=True)
class Page:
    """Some events in their order, and the cursor that the next ones follow."""

    events: tuple[Event, ...]
    cursor: str | None


class Api:
    """One installation's HTTP API. Make one per process and share it between threads."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        timeout: timedelta = timedelta(seconds=10),
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Take the address that TIMBRADO_PUBLIC_URL names, and a key of `timbrado keys create`."""
        self._http = httpx.Client(
            base_url=url.rstrip("/") + "/v1",
            headers={"Authorization": f"Bearer {key}", "User-Agent": "timbrado-client"},
            timeout=timeout.total_seconds(),
            transport=transport,
        )

    # -- invoices

    def submit(
        self, invoice: Invoice | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> InvoiceState:
        """Send an invoice to be stamped. The same one again is harmless: it is stamped once.

        A request that is sent again with the same `idempotency_key` never undoes a correction that came between.
        """
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else None
        return self._state("POST", "/invoices", check(invoice), headers=headers)

    def check(self, invoice: Invoice | Mapping[str, Any]) -> Checked:
        """Return every fault and warning that a submission would get; nothing is stored or sent.

        The worker is asked also where the shape is wrong: what the SAT would refuse is reported beside it.
        """
        try:
            answer = self._ask("POST", "/invoices/check", json=_sendable(invoice))
        except InvoiceInvalid as error:
            return Checked(errors=error.faults, warnings=error.warnings)
        return Checked.model_validate(_object(answer))

    def read(self, account: str, external_id: str, *, story: bool = False) -> InvoiceState:
        """Return where an invoice stands. Raises NotThere for one that the worker does not have."""
        return self._state("GET", _path(account, external_id), params={"story": "1"} if story else None)

    def invoices(
        self,
        *,
        account: str | None = None,
        status: str | None = None,
        since: datetime | None = None,
        q: str | None = None,
    ) -> Iterator[InvoiceState]:
        """Yield invoices, newest first, page by page as they are needed."""
        asked = {"account": account, "status": status, "since": since and since.isoformat(), "q": q}
        params = {name: value for name, value in asked.items() if value is not None}
        while True:
            answer = _object(self._ask("GET", "/invoices", params=params))
            for each in answer.get("items", ()):
                yield InvoiceState.model_validate(each)
            if not answer.get("cursor"):
                return
            params["cursor"] = answer["cursor"]

    def wait(
        self,
        account: str,
        external_id: str,
        *,
        timeout: timedelta = timedelta(minutes=2),
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> InvoiceState:
        """Return an invoice once it is settled (SETTLED), or raise StillOpen with where it stands after `timeout`.

        An API that does not answer for a moment, and an invoice that is not there yet, are waited for too.
        """
        deadline = clock() + timeout.total_seconds()
        state: InvoiceState | None = None
        lookups = 0
        while True:
            pause = PAUSES[min(lookups, len(PAUSES) - 1)]
            lookups += 1
            lost: Exception | None = None
            try:
                state = self.read(account, external_id)
            except (ApiUnavailable, NotThere) as error:
                lost, pause = error, max(pause, error.retry_after or 0)
            if state is not None and lost is None and state.status in SETTLED:
                return state
            if clock() + pause > deadline:
                if state is None and lost is not None:
                    raise lost
                raise StillOpen(account, external_id, state)
            sleep(pause)

    def cancel(
        self,
        account: str,
        external_id: str,
        motivo: str,
        uuid_sustitucion: str | None = None,
        *,
        reason: str | None = None,
    ) -> InvoiceState:
        """Ask for the cancellation of a stamped invoice; `motivo` is "01" to "04", and 01 names its substitute.

        Here and below `reason` is kept in the invoice's history.
        """
        payload = requests.cancellation(account, external_id, motivo, uuid_sustitucion)
        return self._operate("cancel", account, external_id, payload, reason=reason)

    def retry(self, account: str, external_id: str, *, reason: str | None = None) -> InvoiceState:
        """Try again an invoice that stopped; one whose outcome is unknown is looked up, never sent again."""
        return self._operate("retry", account, external_id, reason=reason)

    def withdraw(self, account: str, external_id: str, *, reason: str | None = None) -> InvoiceState:
        """Take back an invoice that is not stamped; one whose outcome is unknown is looked up first."""
        return self._operate("withdraw", account, external_id, reason=reason)

    def replace(
        self,
        account: str,
        external_id: str,
        invoice: Invoice | Mapping[str, Any],
        *,
        reason: str | None = None,
    ) -> InvoiceState:
        """Replace a stamped invoice by a new one, which has an external_id of its own; return the new one's state."""
        payload = requests.replacement(account, external_id, invoice)
        return self._operate("replace", account, external_id, payload, reason=reason)

    def accept(self, account: str, external_id: str, reason: str) -> InvoiceState:
        """Accept a stamp that differs from what was sent."""
        return self._operate("accept", account, external_id, reason=reason)

    def resolve(
        self, account: str, external_id: str, reason: str, *, stamped_xml: str | None = None
    ) -> InvoiceState:
        """Close what stands before a person: stamped, by the CFDI that was found, or (None) certainly not."""
        outcome = {"xml": stamped_xml} if stamped_xml is not None else {"not_stamped": True}
        return self._operate("resolve", account, external_id, outcome, reason=reason)

    def _operate(
        self,
        verb: str,
        account: str,
        external_id: str,
        payload: Mapping[str, Any] | None = None,
        *,
        reason: str | None,
    ) -> InvoiceState:
        body = {
            name: each for name, each in (payload or {}).items() if name not in {"account", "external_id"}
        }
        if reason is not None:
            body["reason"] = reason
        return self._state("POST", f"{_path(account, external_id)}/{verb}", body)

    # -- documents

    def document(self, account: str, external_id: str, kind: Kind) -> bytes:
        """Return a document, checked against its SHA-256.

        Raises NotThere while it is late (`retry_after` says when to look again) or where there is none.
        """
        with self._stream(f"{_path(account, external_id)}/{kind}") as (answer, _):
            return b"".join(_checked(answer))

    def documents(self, account: str, external_id: str, folder: str | Path) -> list[Path]:
        """Download all the documents that there are into a folder, made where there is none; return their paths.

        Each is checked against its SHA-256 and written whole or not at all, under the name that the worker gives it
        (serie, folio and UUID).
        """
        documents = self.read(account, external_id).documents
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        saved = []
        for document in documents:
            with self._stream(f"{_path(account, external_id)}/{document.kind}") as (answer, name):
                path = folder / (name or f"{document.key.rpartition('/')[2]}")
                part = path.with_name(f".{path.name}.part")
                try:
                    with part.open("wb") as file:
                        for piece in _checked(answer, document.sha256):
                            file.write(piece)
                    part.replace(path)
                finally:
                    part.unlink(missing_ok=True)
            saved.append(path)
        return saved

    def links(self, account: str, external_id: str) -> dict[str, str]:
        """Return links to its documents by kind, for a user's browser: they live five minutes and need no key."""
        answer = _object(self._ask("POST", f"{_path(account, external_id)}/links"))
        return {str(kind): str(url) for kind, url in answer.get("links", answer).items()}

    # -- events

    def events(self, *, after: str | None = None, account: str | None = None) -> Page:
        """Return events that follow a cursor, in order; keep `cursor` with what was done about them."""
        params = _given(after=after, account=account)
        answer = _object(self._ask("GET", "/events", params=params))
        found = tuple(parse(each) for each in answer.get("items", ()))
        return Page(found, answer.get("cursor") or after)

    def follow(
        self,
        *,
        after: str | None = None,
        account: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> Iterator[tuple[str, Event]]:
        """Yield events as they happen, each with its cursor, without end; a line that drops is opened again."""
        while True:
            try:
                for cursor, data in self._sse(after, account):
                    after = cursor
                    if data:
                        yield cursor, parse(data)
                pause = PAUSES[0]
            except ApiUnavailable as error:
                pause = max(PAUSES[-1], error.retry_after or 0)
            sleep(pause)

    def _sse(self, after: str | None, account: str | None) -> Iterator[tuple[str, str]]:
        """Yield (id, data) of the server-sent events of one connection; the first, without data, is its beginning."""
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": after} if after else {})}
        # the server sends a comment now and then: a minute without any is a line that is dead
        timeout = httpx.Timeout(self._http.timeout.connect, read=60)
        with self._opened(
            "GET", "/events", params=_given(account=account), headers=headers, timeout=timeout
        ) as answer:
            cursor, data, is_new = after or "", "", False
            for line in answer.iter_lines():
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if not line and is_new:
                    yield cursor, data
                    data, is_new = "", False
                elif name == "id":
                    cursor, is_new = value, True
                elif name == "data":
                    data += value

    # -- connections, catalogues, status

    def connect(
        self,
        account: str,
        api_key: str,
        rfc: str,
        razon_social: str,
        codigo_postal: str,
        **more: Any,
    ) -> dict[str, Any]:
        """Store or replace an account's connection; `more` is empresa_id, serie, base_url, ids, move.

        Raises RequestInvalid also where it moves to another address or company and leaves open invoices behind: its
        faults say so to the user, and `move=True` confirms it.
        """
        facts = {"rfc": rfc, "razon_social": razon_social, "codigo_postal": codigo_postal, **more}
        payload = requests.connection(account, api_key, facts)
        del payload["account"]
        return _object(
            self._ask("PUT", f"/connections/{_part(account)}", json={**payload, "api_key": api_key})
        )

    def connection(self, account: str) -> dict[str, Any]:
        """Return where an account's connection stands. Raises NotThere."""
        return _object(self._ask("GET", f"/connections/{_part(account)}"))

    def validate_connection(self, account: str) -> dict[str, Any]:
        """Have an account's connection validated again."""
        return _object(self._ask("POST", f"/connections/{_part(account)}/validate"))

    def disconnect(self, account: str) -> None:
        """Have an account's key forgotten; its open invoices are put on hold."""
        self._ask("DELETE", f"/connections/{_part(account)}")

    def catalog(self, name: str, q: str = "", *, limit: int | None = None) -> list[dict[str, Any]]:
        """Search one of the SAT's catalogues: clave_prod_serv, clave_unidad, uso_cfdi, regimen_fiscal, forma_pago..."""
        params = _given(q=q, limit=limit if limit is None else str(limit))
        found = _object(self._ask("GET", f"/catalogs/{_part(name)}", params=params)).get("items", ())
        return [dict(each) for each in found]

    def catalogs(self) -> list[str]:
        """Return the names of the catalogues that there are."""
        return [str(each) for each in _object(self._ask("GET", "/catalogs")).get("items", ())]

    def status(self) -> dict[str, Any]:
        """Return whether ContaDigital answers, how fast, and what waits."""
        return _object(self._ask("GET", "/status"))

    # -- the wire

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def _state(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> InvoiceState:
        answer = self._ask(method, path, json=body, params=params, headers=headers)
        try:
            return InvoiceState.model_validate(_object(answer))
        except ValidationError as error:
            raise UnexpectedAnswer(answer.status_code, "no state of an invoice") from error

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        with self._opened(method, path, **options) as answer:
            answer.read()
            return answer

    @contextmanager
    def _stream(self, path: str) -> Iterator[tuple[httpx.Response, str | None]]:
        """Open a document: the answer, and the file name that the worker gives it, without any folder."""
        with self._opened("GET", path) as answer:
            named = _NAME.search(answer.headers.get("content-disposition", ""))
            name = Path(named[1].replace("\\", "/")).name if named else ""
            yield answer, name if name not in {"", ".", ".."} else None

    @contextmanager
    def _opened(self, method: str, path: str, **options: Any) -> Iterator[httpx.Response]:
        """Send a request and yield its answer, its body unread; raise for one that is a refusal."""
        try:
            with self._http.stream(method, path, **options) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _refusal(answer)
                yield answer
        except httpx.TransportError as error:
            raise ApiUnavailable(f"{method} {path}: {type(error).__name__}") from error


def _refusal(answer: httpx.Response) -> Exception:
    """Return what an answer that is no success means for the caller."""
    problem = _problem(answer)
    text = str(problem.get("detail") or problem.get("title") or answer.reason_phrase)
    status, wait = answer.status_code, _retry_after(answer)
    if status in {401, 403}:
        return KeyRefused(status, text)
    if status in {404, 410}:
        return NotThere(text, wait, problem.get("message"))
    if status in {429, 502, 503, 504} or status >= 500:
        return ApiUnavailable(f"HTTP {status}: {text}", wait)
    try:
        faults = _FAULTS.validate_python(problem.get("errors") or ())
        warnings = _FAULTS.validate_python(problem.get("warnings") or ())
    except ValidationError:
        faults, warnings = (), ()
    if not faults:
        return UnexpectedAnswer(status, text)
    return InvoiceInvalid(faults, warnings) if status == 422 else RequestInvalid(faults, warnings)


def _problem(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UnexpectedAnswer(answer.status_code, "no JSON object")
    return found


def _retry_after(answer: httpx.Response) -> float | None:
    """Return the seconds of Retry-After, at most an hour; None where it says nothing."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), 3600.0)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    seconds = (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), 3600.0)


def _checked(answer: httpx.Response, expected: str | None = None) -> Iterator[bytes]:
    """Yield the body, and raise ApiUnavailable at its end where it is not what its hash says."""
    tag = _HASH.fullmatch(answer.headers.get("etag", "").removeprefix("W/"))
    wanted = expected or (tag[1] if tag else None)
    digest = hashlib.sha256()
    for piece in answer.iter_bytes():
        digest.update(piece)
        yield piece
    if wanted is not None and digest.hexdigest() != wanted:
        raise ApiUnavailable("the document came broken: its SHA-256 is another")


def _sendable(invoice: Invoice | Mapping[str, Any]) -> Any:
    """Return an invoice as JSON has it, though its shape may be wrong."""
    raw = plain(invoice)
    try:
        json.dumps(raw)
    except (TypeError, ValueError, RecursionError):
        check(invoice)  # says why it is no JSON
    return {"version": 1, **raw} if isinstance(invoice, Invoice) else raw


def _given(**params: str | None) -> dict[str, str]:
    return {name: value for name, value in params.items() if value is not None and value != ""}


def _part(text: str) -> str:
    if text in {".", ".."}:
        raise ValueError("an id of dots alone has no address")
    return quote(text, safe="")


def _path(account: str, external_id: str) -> str:
    requests.of_invoice(account, external_id)  # an empty one would be another path
    return f"/invoices/{_part(account)}/{_part(external_id)}"
