"""Reading answers: the envelope or the bare object, and what is inside, in all the forms that were seen.

Every name of a field in an answer of ContaDigital stands here, once. `Codigo` 1 says that *something* was done; only
a UUID says that an invoice was stamped.
"""

import base64
import binascii
import json
import re
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any
from uuid import UUID

from cfdi.codes import from_text
from cfdi.evidence.examination import MAX_BYTES
from cfdi.faults import Fault, Whose
from contadigital import catalogs
from contadigital.errors import (
    AUTH,
    FISCAL,
    OF_THE_SYSTEM,
    READS,
    STAMPING,
    AlreadyStamped,
    AnswerLost,
    ConnectionRefused,
    ContaDigitalError,
    DocumentRejected,
    IdRefused,
    Refused,
    Rule,
    Throttled,
    TokenRefused,
    UnknownRecord,
    matrix_codes,
    pac_code,
    recognise,
)
from contadigital.records import Cancellation, CancellationState, Customer, Product, Record
from contadigital.text import MAX_WORDS, clean, describe, fold, is_off
from net.headers import LONGEST_WAIT, retry_after

DONE = 1
"""`Codigo` of a call that was done (seen)."""
NO_STAMPS = 3
"""`Codigo` of an invoice that was saved and not stamped, since no stamps are left (seen)."""
WORDS = ("Mensaje", "Message", "Error", "Mensajes", "Errores", "Errors")
"""Where an answer's words are looked for: `Mensaje` is assumed, the others are what frameworks say."""
OF_THE_ENVELOPE = frozenset({"codigo", *(name.lower() for name in WORDS)})


@dataclass(frozen=True, slots=True)
class Answer:
    """What came over the wire, whole."""

    call: str
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What an answer says. `payload` is `Resultado`, or the whole object where there is no envelope."""

    call: str
    status: int
    codigo: int | None
    words: str
    text: str
    payload: Any
    understood: bool
    is_html: bool
    retry_after: timedelta | None
    is_login: bool = False
    """Whether it sends to a log-in page: .NET's answer to a token that it does not take, in the place of a 401."""

    @property
    def is_done(self) -> bool:
        """Whether it claims that the call was done."""
        return 200 <= self.status < 300 and self.understood and self.codigo in (DONE, None)

    @property
    def has_words_to_trust(self) -> bool:
        """Whether its words may decide: on a fiscal call only inside an envelope with a `Codigo`."""
        return self.understood and (self.codigo is not None or self.call not in FISCAL)


def parse(
    answer: Answer, *, now: datetime, secrets: tuple[str, ...] = (), longest_wait: timedelta = LONGEST_WAIT
) -> Reply:
    """Take an answer apart; never fails, whatever came."""
    body = _decoded(answer)
    top, understood = _parsed(body)
    if not understood and answer.call in LISTS:
        top, understood = _parsed_lines(body)
    top = _envelope_in(top)
    codigo, words, payload = None, "", top
    if isinstance(top, dict):
        codigo = _codigo_of(top)
        names = {letters_of(name) for name in top}
        payload = value_of(top, "Resultado") if names & {"resultado", "codigo"} else top
        if "codigo" in names and "resultado" not in names:  # an envelope without its letter
            payload = {name: value for name, value in top.items() if letters_of(name) not in OF_THE_ENVELOPE}
        words = _words_of(top)
        if isinstance(payload, str) and payload.lstrip()[:1] in ("{", "[", "<"):  # data, and nobody's words
            payload, _ = _parsed(payload)
        if isinstance(payload, str):
            words, payload = f"{words} {payload}".strip(), None
        elif isinstance(payload, dict) and not words:
            words = text_of(payload, "Mensaje")
    if answer.call not in LISTS:
        payload = _object_in(payload, answer.call)
    return Reply(
        call=answer.call,
        status=answer.status,
        codigo=codigo,
        words=words[:MAX_WORDS],
        text=clean(words, secrets) or describe(answer.headers, answer.status),
        payload=payload,
        understood=understood,
        is_html=_is_page(answer),
        retry_after=retry_after(answer.headers.get("retry-after"), now, longest=longest_wait),
        is_login=answer.status in (301, 302, 303, 307, 308)
        and _LOGIN.search(answer.headers.get("location", "")) is not None,
    )


_LOGIN = re.compile(r"(?i)log-?[io]n|sign-?in|returnurl|iniciar-?sesion")


def _decoded(answer: Answer) -> str | None:
    """An answer's text: in UTF-8, or as its header or its first bytes say; None where it is none.

    What is not UTF-8 although nothing else was said is what Windows writes in Spanish.
    """
    body, declared = answer.body, _CHARSET.search(answer.headers.get("content-type", ""))
    encoding = (
        "utf-16" if body[:2] in (b"\xff\xfe", b"\xfe\xff") else declared[1].lower() if declared else "utf-8"
    )
    is_utf8 = encoding in ("utf-8", "utf8")
    for each in ("utf-8-sig", "windows-1252") if is_utf8 else (encoding,):
        with suppress(UnicodeDecodeError, LookupError):
            return body.decode(each)
    return None


_CHARSET = re.compile(
    r"""charset\s*=\s*["']?(utf-?8|iso-8859-1|latin-?1|windows-1252|utf-16(?:le|be)?)\b""", re.IGNORECASE
)
"""The encodings that are believed; another name is read as UTF-8."""


def _parsed(body: str | None) -> tuple[Any, bool]:
    """The JSON object, list or null of a body, and whether it is one; numbers stay exact.

    What no column of ours could hold (an id beyond bigint, 1e999999, NUL, half a surrogate) is an answer that was not
    understood, and never an error of the database's later on.
    """
    try:
        top = json.loads(body or "", parse_float=_decimal, parse_int=_integer, parse_constant=_no_number)
        if isinstance(top, str) and top.lstrip()[:1] in (
            "{",
            "[",
        ):  # the whole answer once more inside a text
            return _parsed(top)
        if "\\u" in (body or ""):
            _refuse_half_characters(top)
    except (ValueError, RecursionError):
        return None, False
    if isinstance(top, dict) and abs(whole(value_of(top, "Codigo")) or 0) > MAX_CODIGO:
        return None, False
    return top, top is None or isinstance(top, dict | list)


def _codigo_of(top: Mapping[str, Any]) -> int | None:
    """An envelope's `Codigo`; 0, which is no success, for one that a text or a false says is a failure."""
    value = value_of(top, "Codigo")
    is_failure = value is False or (isinstance(value, str) and _FAILURE.match(fold(value)) is not None)
    return 0 if is_failure else whole(value)


_FAILURE = re.compile(r"err|e[- _]?\d|cfdi[- _]?\d|fail|fall|rechaz|inval")


def _envelope_in(top: Any) -> Any:
    """The envelope of an answer, where it stands inside another: ASP.NET's `{"d": ...}`, a list of one, or its own."""
    for _ in range(MOST_WRAPPINGS):
        inner, is_whole = None, False
        if isinstance(top, list) and len(top) == 1:
            inner = top[0]
        elif isinstance(top, dict) and list(top) == ["d"]:
            inner, is_whole = top["d"], True
        elif isinstance(top, dict) and whole(value_of(top, "Codigo")) in (DONE, None):
            inner = value_of(top, "Resultado")
        if isinstance(inner, str) and inner.lstrip()[:1] in ("{", "["):
            inner, _ = _parsed(inner)
        is_envelope = isinstance(inner, dict) and {"codigo", "resultado"} <= set(map(letters_of, inner))
        if not is_envelope and not (is_whole and isinstance(inner, dict | list)):
            break
        top = inner
    return top


def _object_in(payload: Any, call: str) -> Any:
    """A payload bare of what holds it alone: `{"Factura": {...}}`, or a list of one where no rows were asked for.

    Only under a name that says what was asked for: the `Id` of a customer in an answer to a save is no invoice's.
    """
    names = ANYTHING | OF_CALL.get(call, OF_INVOICES)
    for _ in range(MOST_WRAPPINGS):
        inner = None
        if isinstance(payload, dict) and len(payload) == 1:
            [(name, value)] = payload.items()
            inner = value if letters_of(name) in names else None
        elif isinstance(payload, list) and len(payload) == 1 and call not in ROWS:
            inner = payload[0]
        if not isinstance(inner, dict):
            break
        payload = inner
    return payload


ANYTHING = frozenset({"data", "dato", "datos", "item", "objeto", "registro", "result", "resultado"})
OF_INVOICES = frozenset({"cfdi", "comprobante", "documento", "factura"})
_CUSTOMER, _PRODUCT = frozenset({"cliente"}), frozenset({"producto"})
OF_CALL = {
    "cliente": _CUSTOMER,
    "cliente_guardar": _CUSTOMER,
    "producto": _PRODUCT,
    "producto_guardar": _PRODUCT,
    "conectar": frozenset({"sesion", "token"}),
}
"""Names under which what a call asks for may stand alone (assumed); those of all other calls are an invoice's."""
MOST_WRAPPINGS = 3
"""Objects that an answer is looked for in, one inside the other."""
ROWS = frozenset({"cliente", "producto"})
"""Calls that look for one among rows: that a list holds one row does not make it the one."""
LISTS = frozenset({"utiles"})
"""Calls whose answer may be an object a line: elsewhere a second one would be half of an answer, or two."""


def _parsed_lines(body: str | None) -> tuple[Any, bool]:
    """The objects of a body that has one a line, and whether it is such a one."""
    lines = [_parsed(line) for line in (body or "").splitlines() if line.strip()]
    are_objects = len(lines) > 1 and all(isinstance(value, dict) for value, _ in lines)
    return ([value for value, _ in lines], True) if are_objects else (None, False)


MAX_CODIGO = 2**31 - 1
MAX_ID = 2**63 - 1
"""What the columns hold that answers are kept in."""
MAX_DIGITS = 40
"""No amount has more digits, before and behind its point together."""


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS or abs(int(text)) > MAX_ID:
        raise ValueError("a number that is none of ours")
    return int(text)


def _decimal(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except ArithmeticError:
        raise ValueError("a number that is none of ours") from None
    if len(text) > MAX_DIGITS or (number and abs(number.adjusted()) > MAX_DIGITS):
        raise ValueError("a number that is none of ours")
    return number


def _no_number(text: str) -> None:
    raise ValueError(text)  # NaN and Infinity, which are no JSON


def _refuse_half_characters(value: Any) -> None:
    """Raise ValueError for a text with NUL or half of a surrogate pair, wherever it stands."""
    match value:
        case str():
            if "\x00" in value:
                raise ValueError("NUL in a text")
            value.encode()
        case dict():
            for name, item in value.items():
                _refuse_half_characters(name)
                _refuse_half_characters(item)
        case list():
            for item in value:
                _refuse_half_characters(item)
        case _:
            pass


def value_of(payload: Mapping[str, Any], name: str) -> Any:
    """The field of this name, however its letters are written; None for none."""
    if name in payload:
        return payload[name]
    wanted = letters_of(name)
    for key, value in payload.items():
        if letters_of(key) == wanted:
            return value
    return None


@lru_cache(maxsize=4_096)
def letters_of(name: str) -> str:
    """A field's name by its letters alone: `IdEmpresa`, `id_empresa` and `ID EMPRESA` are one."""
    return re.sub(r"[^a-z0-9]", "", fold(name))


def _words_of(top: Mapping[str, Any]) -> str:
    """An answer's words: a text, or a list of texts or of objects that hold them."""
    found: list[str] = []
    for name in WORDS:
        value = value_of(top, name)
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, Mapping):
                found.append(_words_of(each) or text_of(each, "Descripcion", "Detalle"))
            elif isinstance(each, str | int) and not isinstance(each, bool):
                found.append(str(each))
    return " ".join(filter(None, found))


def is_understood(answer: Answer) -> bool:
    """Whether an answer looks like one of ContaDigital's: a document, or JSON, whatever it says."""
    return not _is_page(answer) and (
        answer.call == "documento" or (_decoded(answer) or "").lstrip()[:1] in ("{", "[", "n")
    )


def _is_page(answer: Answer) -> bool:
    """Whether it is a page; .NET calls whatever a handler writes text/html, unless that says otherwise."""
    start = answer.body[:1_000].lstrip(_BLANKS).lower()
    if start.startswith((b"<!doctype", b"<html")):
        return True
    is_data = start.startswith((b"{", b"[", b"%pdf-", b"<?xml", b"<cfdi:")) and b"<html" not in start
    return "html" in answer.headers.get("content-type", "").lower() and not is_data


def refusal(reply: Reply) -> ContaDigitalError:
    """What an answer without the awaited result means (see the table in `errors.py`)."""
    error = _refusal(reply)
    error.has_words, error.is_understood = bool(reply.words), reply.understood
    return error


def _refusal(reply: Reply) -> ContaDigitalError:
    call, status, codigo, text = reply.call, reply.status, reply.codigo, reply.text
    if reply.is_done and (reply.codigo == DONE or not reply.words):
        # It was done, and what came of it cannot be read: on a stamp that is a lost answer.
        return AnswerLost(f"done, but not readable: {text}", call=call, http_status=status, codigo=codigo)
    rule = row_for(reply)
    kind = rule.kind if rule is not None else _unknown_kind(reply)
    if reply.is_login and call not in AUTH:
        kind = "token"
    if kind in FINAL and call in STAMPING and isinstance(reply.payload, dict) and stamp_of(reply.payload):
        kind = "lost"  # a refusal that names a UUID contradicts itself: look it up
    match kind:
        case "throttled":
            return Throttled(
                text, call=call, http_status=status, codigo=codigo, retry_after=reply.retry_after
            )
        case "token":
            return TokenRefused(text, call=call, http_status=status, codigo=codigo)
        case "connection" if rule is not None and rule.reason is not None:
            return ConnectionRefused(
                rule.reason, text, cause=rule.cause, call=call, http_status=status, codigo=codigo
            )
        case "key":
            return ConnectionRefused("key_rejected", text, call=call, http_status=status, codigo=codigo)
        case "customer" | "product" | "catalogs":
            return IdRefused(kind, text, call=call, http_status=status, codigo=codigo)
        case "already_stamped":
            record = record_of(reply) if isinstance(reply.payload, dict) else None
            return AlreadyStamped(text, record=record, call=call, http_status=status, codigo=codigo)
        case "unknown_record":
            return UnknownRecord(text, call=call, http_status=status, codigo=codigo)
        case "document":
            faults = _faults(reply, rule.field if rule else "", rule.fix if rule else "")
            return DocumentRejected(text, faults=faults, call=call, http_status=status, codigo=codigo)
        case "refused":
            return Refused(text, call=call, http_status=status, codigo=codigo)
        case _:
            return AnswerLost(
                text, call=call, http_status=status, codigo=codigo, retry_after=reply.retry_after
            )


FINAL = frozenset({"connection", "document", "customer", "product", "catalogs"})
"""Refusals after which a stamp would be asked for anew, or never: not to be believed beside a UUID."""


def row_for(reply: Reply) -> Rule | None:
    """The row of the table that an answer fits."""
    return recognise(
        reply.call,
        http_status=reply.status,
        codigo=reply.codigo,
        mensaje=reply.words if reply.has_words_to_trust else "",
        is_html=reply.is_html,
    )


def _unknown_kind(reply: Reply) -> str:
    """What an answer is that no row of the table knows."""
    if not reply.understood or reply.codigo is None:
        return "lost"
    if reply.call in AUTH:
        return "key"  # another Codigo and no token (assumed): better one connection too many on hold than a locked key
    if reply.call in READS:
        return "lost"  # a look-up that failed is no word about the invoice
    if reply.call == "enviar":
        return "refused"
    return "document"


WHOSE_FIELD = {"cliente_guardar": "receptor", "producto_guardar": "conceptos"}


WORDS_OF = {
    "": ("la factura", "Corrige lo que indica el mensaje y envía la factura de nuevo."),
    "cancelar": ("la cancelación", "Corrige lo que indica el mensaje y solicita la cancelación de nuevo."),
}
"""What was refused and what to do, by the call; "" is any other."""


def whose_of_fix(fix: str) -> Whose:
    """Who can correct a refusal, by what a row of the table says to do; words that none knows are ContaDigital's."""
    if not fix:
        return "contadigital"
    return "support" if fix == OF_THE_SYSTEM else "user"


def _faults(reply: Reply, field: str, fix: str) -> tuple[Fault, ...]:
    """The refusal as faults: by the SAT's codes where it names them, else as it came, cleaned."""
    if matrix_codes(reply.words):
        return from_text(reply.text, "sat")
    pac = pac_code(reply.codigo, reply.words)
    what, default_fix = WORDS_OF.get(reply.call, WORDS_OF[""])
    if not reply.words:
        return (refused_without_words(what),)
    return (
        Fault(
            code=f"sat.{pac}" if pac is not None and field else f"contadigital.{reply.codigo}",
            field=field or WHOSE_FIELD.get(reply.call, ""),
            message=f"ContaDigital no aceptó {what}: {reply.text}",
            fix=fix or default_fix,
            source="contadigital",
            whose=whose_of_fix(fix),
        ),
    )


def refused_without_words(what: str = "la factura") -> Fault:
    """The fault of a refusal that says nothing: its technical facts stand in the attempt, and are nobody's to read."""
    return Fault(
        code="contadigital.sin_motivo",
        field="",
        message=f"ContaDigital no aceptó {what} y no dijo por qué.",
        fix="Compara la factura con tu cuenta de ContaDigital; si todo coincide, contacta al soporte de Apunto.",
        source="contadigital",
    )


# --- records -----------------------------------------------------------------------------------------

_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_BARE_UUID = re.compile(r"[0-9A-F]{32}")
_NO_UUID = "00000000-0000-0000-0000-000000000000"


def whole(value: object) -> int | None:
    """A whole number, also one written as text; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, Decimal) and abs(value) <= MAX_ID and value == int(value):  # 7.0
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value.strip()):
        return int(value)
    return None


def text_of(payload: Mapping[str, Any], *names: str) -> str:
    """The first of these fields that holds a text or a number, as text; empty for none."""
    for name in names:
        value = value_of(payload, name)
        if isinstance(value, str | int | Decimal) and not isinstance(value, bool) and str(value).strip():
            return str(value).strip()
    return ""


def uuid_of(payload: Mapping[str, Any]) -> str | None:
    """The UUID of a payload in upper case; None where it is empty, all zeros or no UUID.

    .NET may write one in braces or without its hyphens, and the SAT's word for it is folio fiscal.
    """
    uuid = text_of(payload, "UUID", "FolioFiscal").strip("{}()").upper()
    if _BARE_UUID.fullmatch(uuid):
        uuid = str(UUID(uuid)).upper()
    return uuid if _UUID.fullmatch(uuid) and uuid != _NO_UUID else None


_TIMBRE = re.compile(rb"""TimbreFiscalDigital\s[^<>]*?\bUUID\s*=\s*["']([0-9A-Fa-f-]{36})["']""")


def stamp_of(payload: Mapping[str, Any]) -> str | None:
    """The UUID of a payload, or that of the XML it carries: who gives a stamped XML has stamped."""
    uuid = uuid_of(payload)
    if uuid is not None:
        return uuid
    found = _TIMBRE.search(document_of(payload, "XmlBase64") or b"")
    return uuid_of({"UUID": found[1].decode()}) if found is not None else None


def is_called_stamped(payload: Mapping[str, Any]) -> bool:
    """Whether its status says that it is stamped, in words that are assumed."""
    return fold(text_of(payload, "Estado", "Estatus")).startswith(("timbrad", "vigente"))


def stamps_of(payload: Mapping[str, Any]) -> int | None:
    """The stamps left, where it reports them; -1 and numbers that nobody buys mean "no limit" (assumed), so unknown."""
    left = whole(value_of(payload, "TimbresDisponibles"))
    return left if left is not None and 0 <= left < 1_000_000_000 else None


def record_of(reply: Reply, *, asked: int = 0) -> Record | None:
    """The record in an answer; `asked` is its id where the answer does not repeat it. None for no record."""
    payload = reply.payload
    if not isinstance(payload, dict):
        return None
    named, uuid = value_of(payload, "Id"), stamp_of(payload)
    if named is None:
        named = value_of(payload, "IdFactura")
    record_id = whole(named) or asked
    if record_id <= 0 or (named is None and uuid is None):
        return None
    return Record(
        id=record_id,
        uuid=uuid,
        serie=text_of(payload, "Serie") or None,
        folio=text_of(payload, "Folio") or None,
        xml=document_of(payload, "XmlBase64"),
        pdf=document_of(payload, "PdfBase64"),
        xml_link=text_of(payload, "XmlLink", "UrlXml") or None,
        pdf_link=text_of(payload, "PdfLink", "UrlPdf") or None,
        codigo=reply.codigo,
        mensaje=reply.text if reply.words else "",
        folio_original=text_of(payload, "FolioOriginal") or None,
        cancellation=cancellation_state(payload),
        stamps_left=stamps_of(payload),
        whole=payload,
    )


def document_of(payload: Mapping[str, Any], name: str) -> bytes | None:
    """A document sent in a text, usually in base64."""
    value = value_of(payload, name)
    if not isinstance(value, str) or not value.strip():
        return None
    raw = value.encode("utf-8", "surrogatepass")
    return unpacked(_from_base64(raw) or raw)


def unpacked(data: bytes) -> bytes:
    """An XML or PDF out of base64 (also for addresses, behind a data URI's head, without its end, twice) and gzip.

    Where none comes out it is as it came: the evidence has the last word.
    """
    inner: bytes | None = data
    for _ in range(1 + MOST_WRAPPINGS):
        if not inner:
            break
        if inner[:20].lstrip(_BLANKS).startswith((b"<", b"%PDF-")):
            return inner
        inner = _gunzipped(inner) if inner[:2] == b"\x1f\x8b" else _from_base64(inner)
    return data


_BLANKS = b"\xef\xbb\xbf \t\r\n"


def _from_base64(data: bytes) -> bytes | None:
    text = b"".join(data.split()).strip(b'"')
    head, comma, rest = text.partition(b";base64,")
    text = (rest if comma and head.startswith(b"data:") else text).translate(_OF_ADDRESSES).rstrip(b"=")
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


_OF_ADDRESSES = bytes.maketrans(b"-_", b"+/")


def _gunzipped(data: bytes) -> bytes | None:
    """The document, if it is whole and no larger than one that is looked at."""
    stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        inner = stream.decompress(data, MAX_BYTES)
    except zlib.error:
        return None
    return inner if stream.eof else None


# --- cancellation ------------------------------------------------------------------------------------

TAKEN = frozenset({201, 202})
"""EstatusUUID of a request that the SAT has taken (202: taken before)."""
_ACUSE_STATUS = re.compile(rb"EstatusUUID(?:\s[^<>]*)?>\s*(\d{3})\s*<")


def cancellation_state(payload: Mapping[str, Any]) -> CancellationState | None:
    """How far a cancellation is, where that is reported at all: in the SAT's words or plain ones (all assumed)."""
    for name in ("EstatusCancelacion", "Estado", "Estatus"):
        words = fold(text_of(payload, name))
        if "rechazad" in words:
            return "rejected"
        if words.startswith(("cancelad", "plazo vencido")):
            return "cancelled"
        if words.startswith(("en proceso", "cancelacion solicitada", "solicitud", "pendiente")):
            return "requested"
    return None


def cancellation_of(reply: Reply) -> Cancellation:
    """What a request to cancel was answered; raises what the answer means otherwise."""
    payload = reply.payload if isinstance(reply.payload, dict) else {}
    pac = pac_code(reply.codigo, reply.words)
    if re.search(r"ya (?:esta|fue|se encuentra|habia sido) cancelad|previamente cancelad", fold(reply.words)):
        return Cancellation(document_of(payload, "AcuseBase64"), "cancelled")
    if not reply.is_done and not (200 <= reply.status < 300 and pac in TAKEN):
        raise refusal(reply)
    acuse = document_of(payload, "AcuseBase64")
    # .NET writes namespaces into each element, and UTF-16 unless another encoding is set
    found = _ACUSE_STATUS.search(acuse.replace(b"\x00", b"")) if acuse is not None else None
    estatus = int(found[1]) if found is not None else whole(value_of(payload, "EstatusUUID"))
    if estatus is not None and estatus not in TAKEN:
        # the envelope says done, and the SAT's acuse inside says no (seen of a PAC for a CFDI just stamped: 205)
        raise refusal(replace(reply, codigo=estatus, words=reply.words or f"EstatusUUID {estatus}"))
    is_taken = pac in TAKEN or estatus in TAKEN
    match cancellation_state(payload):
        case "cancelled":
            return Cancellation(acuse, "cancelled")
        case "requested":
            return Cancellation(acuse, "requested")
        case _ if is_taken:
            return Cancellation(acuse, "requested")
        case _:
            return Cancellation(acuse, "unknown")


# --- customers and products --------------------------------------------------------------------------


def customer_of(payload: object, rfc: str) -> Customer | None:
    """The customer with this RFC in an answer: one object, or one of a list; of several the one that is active."""
    rows = rows_of(payload)
    rfcs = ("", rfc) if rows in ([payload], payload) and len(rows) == 1 else (rfc,)
    found = [
        _customer(row, rfc)
        for row in rows
        if (whole(value_of(row, "Id")) or 0) > 0 and text_of(row, "RFC").upper() in rfcs
    ]
    return next((each for each in found if each.active), found[0] if found else None)


def _customer(row: Mapping[str, Any], rfc: str) -> Customer:
    postcode = text_of(row, "CP")
    return Customer(
        rfc=rfc,
        razon_social=text_of(row, "RazonSocial"),
        regimen_fiscal=text_of(row, "RegimenFiscal")[:3],
        codigo_postal=postcode.zfill(5) if postcode.isdecimal() else postcode,
        uso_cfdi=text_of(row, "UsoCFDIDefault"),
        email=text_of(row, "Email"),
        id_forma_pago=catalogs.id_of(value_of(row, "IdFormaPagoDefault")) or 0,
        id=whole(value_of(row, "Id")) or 0,
        active=not is_off(value_of(row, "Estatus")),
        whole=row,
    )


def rows_of(payload: object) -> list[dict[str, Any]]:
    """The rows of an answer: one object, a list of them, or the list of a page ({"Total": 1, "Registros": [...]})."""
    if isinstance(payload, dict) and value_of(payload, "Id") is None:
        lists = [value for value in payload.values() if isinstance(value, list)]
        payload = lists[0] if len(lists) == 1 else payload
    return [row for row in (payload if isinstance(payload, list) else [payload]) if isinstance(row, dict)]


def is_empty(payload: object) -> bool:
    """Whether it has nothing but numbers: an empty object, or a page without rows ({"Total": 0, "Registros": []})."""
    if not isinstance(payload, dict):
        return payload in (None, [])
    blank = [value for value in payload.values() if value in (None, "", [], {})]
    others = [value for value in payload.values() if value not in (None, "", [], {})]
    return (not payload or bool(blank)) and all(
        isinstance(value, int) or whole(value) is not None for value in others
    )


def products_of(payload: object) -> tuple[Product, ...]:
    """The products in an answer: one object, or a list of them."""
    return tuple(
        Product(
            clave_prod_serv=text_of(row, "ClaveProdServ"),
            nombre=text_of(row, "Nombre"),
            id_um=catalogs.id_of(value_of(row, "IdUM")) or 0,
            objeto_imp=text_of(row, "ObjetoImp"),
            clave=text_of(row, "Clave"),
            id=whole(value_of(row, "Id")) or 0,
        )
        for row in rows_of(payload)
        if (whole(value_of(row, "Id")) or 0) > 0
    )


def id_of(payload: object) -> int | None:
    """The id that a saved customer or product was given."""
    found = whole(value_of(payload, "Id")) if isinstance(payload, dict) else whole(payload)
    return found if found is not None and found > 0 else None


def is_nothing(reply: Reply) -> bool:
    """Whether a look-up was done and found nothing: an empty `Resultado` inside an envelope."""
    return reply.is_done and reply.codigo == DONE and reply.payload in (None, [], {})
