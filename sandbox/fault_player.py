"""Plays a plan of faults around one call, down to the bytes on the socket.

An ASGI application cannot hang up. The connection itself is put into the
scope by `Protocol`, and closed here; ASGI's own rules (an answer must be started) no longer matter after
that.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Final, Self

import brotli
from starlette.types import Receive, Scope, Send

from sandbox.faults import FaultRule, Plan

TRANSPORT: Final = "sandbox.transport"
_PAGE: Final = b"<!DOCTYPE html><html><head><title>Mantenimiento</title></head><body></body></html>"

_MARK: Final = "@odd@"
# How ASP.NET answers a path with an escaped & in its default settings.
_DANGEROUS: Final = (
    b"<!DOCTYPE html><html><head><title>A potentially dangerous Request.Path value was detected from the client"
    b" (&amp;).</title></head><body><h1>Server Error in '/' Application.</h1></body></html>"
)


@dataclass(frozen=True)
class HttpAnswer:
    """An HTTP answer, and the word under which the ledger counts it."""

    status: int
    body: bytes
    media_type: str
    result: str
    headers: tuple[tuple[bytes, bytes], ...] = ()

    @classmethod
    def of_json(cls, status: int, content: Any, result: str) -> Self:
        """An answer in JSON, in UTF-8."""
        body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
        return cls(status, body, "application/json; charset=utf-8", result)

    async def send(self, send: Send, *, body: bool = True) -> None:
        """Send the head, and the body unless `body` is false."""
        headers = [
            (b"content-type", self.media_type.encode()),
            (b"content-length", str(len(self.body)).encode()),
            *self.headers,
        ]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        if body:
            await send({"type": "http.response.body", "body": self.body})


BAD_REQUEST: Final = HttpAnswer(400, _DANGEROUS, "text/html; charset=utf-8", "http:400")


async def play(
    plan: Plan, perform: Callable[[], HttpAnswer], scope: Scope, receive: Receive, send: Send
) -> str | None:
    """Answer one call with the faults of its plan; gives the fault's name where one was played."""
    if not plan.rules:
        await perform().send(send)
        return None
    if plan.get("down"):
        await _hang_up(scope, receive)  # the server broke the connection already
        return "fault:down"
    if plan.delay:
        await asyncio.sleep(plan.delay / 2)
    before = await _before(plan, scope, receive, send)
    if before is not None:
        return before
    mangled = plan.mangled()
    if mangled is not None and not mangled.done:
        await _mangle(mangled).send(send)
        return f"fault:{mangled.fault}"
    answer = perform()
    if plan.delay:
        await asyncio.sleep(plan.delay / 2)
    return await _after(plan, answer, scope, receive, send)


async def _before(plan: Plan, scope: Scope, receive: Receive, send: Send) -> str | None:
    if plan.get("drop_before"):
        await _hang_up(scope, receive)
        return "fault:drop_before"
    silence = plan.get("silence_before")
    if silence:
        await asyncio.sleep(silence.seconds)
        await _hang_up(scope, receive)
        return "fault:silence_before"
    status = plan.get("status_before")
    if status:
        await _status(status).send(send)
        return f"fault:status_before:{status.status}"
    unsure = plan.get("unsure_before")
    if unsure:
        await _unsure(unsure).send(send)
        return "fault:unsure_before"
    return None


async def _after(plan: Plan, answer: HttpAnswer, scope: Scope, receive: Receive, send: Send) -> str | None:
    if plan.get("drop_after"):
        await _hang_up(scope, receive)
        return "fault:drop_after"
    silence = plan.get("silence_after")
    if silence:
        await asyncio.sleep(silence.seconds)
        await _hang_up(scope, receive)
        return "fault:silence_after"
    status = plan.get("status_after")
    if status:
        await _status(status).send(send)
        return f"fault:status_after:{status.status}"
    mangled, unsure = plan.mangled(), plan.get("unsure_after")
    if mangled is not None:
        await _mangle(mangled).send(send)
        return f"fault:{mangled.fault}"
    if unsure:
        await _unsure(unsure).send(send)
        return "fault:unsure_after"
    answer, played = _rewritten(plan, answer)
    odd, compressed = plan.get("odd_values"), plan.get("compressed")
    if odd:
        answer, played = _with_odd_value(answer, odd.form), "fault:odd_values"
    if compressed:
        answer, played = _compressed(answer, compressed), "fault:compressed"
    if plan.get("cut_body"):
        await answer.send(send, body=False)
        await send(
            {"type": "http.response.body", "body": answer.body[: len(answer.body) // 2], "more_body": True}
        )
        await _hang_up(scope, receive, flush=True)
        return "fault:cut_body"
    drip = plan.get("slow_drip")
    if drip:
        await _drip(answer, drip.seconds, send)
        return "fault:slow_drip"
    await answer.send(send)
    return played


def _rewritten(plan: Plan, answer: HttpAnswer) -> tuple[HttpAnswer, str | None]:
    """Answers that were done and say something else."""
    refuses, no_uuid = plan.get("refuses_after"), plan.get("no_uuid")
    if answer.result != "ok" or not (refuses or no_uuid):
        return answer, None
    content = json.loads(answer.body)
    if no_uuid:
        result = content.get("Resultado", content)
        result["UUID"] = ""
        for name in ("XmlBase64", "PdfBase64", "XmlLink", "PdfLink", "UrlXml", "UrlPdf"):
            result.pop(name, None)
        return HttpAnswer.of_json(200, content, "ok"), "fault:no_uuid"
    result = content.get("Resultado") if refuses and refuses.with_xml else None
    again = {"Codigo": 4, "Resultado": result, "Mensaje": "307 - CFDI previamente timbrado"}
    return HttpAnswer.of_json(200, again, "ok"), "fault:refuses_after"


# What stands in the place of a field, as JSON text: Python's own writer would not let most of it out.
_ODD_VALUES: Final = {
    "huge_id": ("Id", "92233720368547758089"),
    "text_id": ("Id", '"12-AB"'),
    "huge_codigo": ("Codigo", "99999999999"),
    "exponent": ("Total", "1e999999999"),
    "nan": ("Total", "NaN"),
    "nul": ("Serie", '"A\\u0000B"'),
    "surrogate": ("Folio", '"\\ud83d"'),
    "control": ("Serie", '"A\\u001b[31m\\u009b"'),
    "long": ("Serie", '"' + "A" * 300_000 + '"'),
    "deep": ("Serie", "[" * 5000 + "]" * 5000),
}


def _with_odd_value(answer: HttpAnswer, form: str) -> HttpAnswer:
    """The same answer with one value that no column, or no parser, was made for."""
    try:
        content = json.loads(answer.body)
    except ValueError:
        return answer
    if form == "double_key":
        body = answer.body.replace(b'{"', b'{"Resultado":{"Id":1,"UUID":""},"', 1)
        return replace(answer, body=body)
    name, text = _ODD_VALUES[form]
    target = content if name == "Codigo" else content.get("Resultado")
    if not isinstance(target, dict):
        target = content
    target[name] = _MARK
    written = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return replace(answer, body=written.replace(f'"{_MARK}"', text).encode())


def _compressed(answer: HttpAnswer, rule: FaultRule) -> HttpAnswer:
    """The answer as few bytes that inflate to `megabytes` (blanks, which JSON allows after its end)."""
    coding = {"deflate": "deflate", "twice": "gzip, gzip", "br": "br"}.get(rule.form, "gzip")
    content = answer.body + b" " * (rule.megabytes * 1_000_000)
    match rule.form:
        case "br":
            body = brotli.compress(content, quality=5, lgwin=24)
        case "deflate":
            body = zlib.compress(content, 9)
        case "twice":
            body = gzip.compress(gzip.compress(content))
        case _:
            body = gzip.compress(content)
    return replace(answer, body=body, headers=(*answer.headers, (b"content-encoding", coding.encode())))


async def _drip(answer: HttpAnswer, seconds: float, send: Send) -> None:
    pieces = 20
    size = max(1, -(-len(answer.body) // pieces))
    await answer.send(send, body=False)
    for start in range(0, len(answer.body), size):
        await asyncio.sleep(seconds / pieces)
        await send(
            {"type": "http.response.body", "body": answer.body[start : start + size], "more_body": True}
        )
    await send({"type": "http.response.body", "body": b""})


async def _hang_up(scope: Scope, receive: Receive, *, flush: bool = False) -> None:
    transport = scope["extensions"][TRANSPORT]
    if flush:
        transport.close()
    else:
        transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass


def _status(rule: FaultRule) -> HttpAnswer:
    wait = rule.retry_after_text
    if rule.retry_after is not None:
        wait = str(round(rule.retry_after))
        if rule.retry_after_date:
            wait = format_datetime(datetime.now(UTC) + timedelta(seconds=rule.retry_after), usegmt=True)
    headers = ((b"retry-after", wait.encode()),) if wait else ()
    content = {"Codigo": rule.status, "Resultado": None, "Mensaje": "Servicio no disponible"}
    plain = HttpAnswer.of_json(rule.status, content, f"http:{rule.status}")
    return HttpAnswer(plain.status, plain.body, plain.media_type, plain.result, headers)


def _unsure(rule: FaultRule) -> HttpAnswer:
    """Looks like a refusal; PACs use such codes for trouble between them and the SAT, stamped or not."""
    text = f"{rule.code or '350'} - Error de comunicación con el servicio de timbrado, intente más tarde"
    return HttpAnswer.of_json(200, {"Codigo": 2, "Resultado": None, "Mensaje": text}, "unsure")


def _mangle(rule: FaultRule) -> HttpAnswer:
    match rule.fault:
        case "html":
            return HttpAnswer(200, _PAGE, "text/html", "html")
        case "not_object":
            return HttpAnswer(200, b'["error"]', "application/json", "not_object")
        case "not_json":
            return HttpAnswer(200, b'{"Codigo": 1, "Resul', "application/json", "not_json")
        case _:
            return HttpAnswer(200, b'{"Resultado": {}}', "application/json", "empty_envelope")
