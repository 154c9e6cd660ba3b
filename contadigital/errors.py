"""What can go wrong between us and ContaDigital, and the one table that says how each thing is recognised.

ContaDigitalError
├── NotSent                nothing of this call left this machine: safe to send again
├── Refused                ContaDigital answered, and did not do it
│   ├── DocumentRejected   the invoice is wrong (`faults`): never send it again unchanged
│   ├── ConnectionRefused  the account cannot invoice (`reason`): break the connection, not the invoice
│   ├── IdRefused          an id we had remembered is refused (`what`): learn it again, then send again
│   ├── Throttled          too fast: send again after `retry_after`
│   ├── AlreadyStamped     the record has a stamp (`record` if the answer has it): look it up and adopt it
│   ├── UnknownRecord      ContaDigital has no such record (which is no proof that it never had)
│   ├── LinkRefused        ours: a document's link leads where we do not go
│   └── TokenRefused       the token, not the key; the client renews it, callers never see this
└── AnswerLost             it may have been done: look it up before anything else

Classes are cut by what the caller does next. A failure while fetching a *token* for a stamp is NotSent, not
AnswerLost, since nothing of the stamp itself had left.

Nothing here holds a key or a token: every text goes through `clean` first.
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import httpx

from cfdi.faults import Fault
from contadigital.reasons import Reason, explain
from contadigital.records import Record
from contadigital.text import clean, fold
from net import descriptors


class ContaDigitalError(Exception):
    """Anything that went wrong in one call; `text` is what was reply, cleaned of secrets and bounded."""

    def __init__(
        self,
        text: str,
        *,
        call: str = "",
        http_status: int | None = None,
        codigo: int | None = None,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(text)
        self.text = text
        self.call = call
        self.http_status = http_status
        self.codigo = codigo
        self.retry_after = retry_after
        self.has_words = True
        """Whether `text` is what ContaDigital said, and not only how it answered."""
        self.is_understood = False
        """Whether there was an answer that looks like one of ContaDigital's, whatever it says."""

    @property
    def is_outage(self) -> bool:
        """Whether nobody answered: silence, or a gateway that says so. A useless answer is no outage."""
        return False


AWAY = frozenset({502, 503, 504})
"""What a gateway says for a provider that is not there: as good as no answer."""


class NotSent(ContaDigitalError):
    """Nothing of this call left this machine: safe to send again."""

    is_ours = False
    """Whether the fault is this process's own: it says nothing of the provider."""

    @property
    def is_outage(self) -> bool:
        """See ContaDigitalError."""
        return not self.is_ours and (self.http_status is None or self.http_status in AWAY)


class AnswerLost(ContaDigitalError):
    """It may have been done: look it up before anything else. On a mere look-up: ask again later."""

    @property
    def is_outage(self) -> bool:
        """See ContaDigitalError."""
        return self.http_status is None or self.http_status in AWAY


class Refused(ContaDigitalError):
    """ContaDigital answered, and did not do what was asked."""


class DocumentRejected(Refused):
    """The invoice itself is wrong: never send it again unchanged."""

    def __init__(
        self, text: str, *, faults: tuple[Fault, ...], call: str = "", http_status: int | None = None,
        codigo: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(text, call=call, http_status=http_status, codigo=codigo)
        self.faults = faults


class ConnectionRefused(Refused):
    """The account cannot invoice: `reason` is the contract's word, `cause` ours, `detail` what was reply."""

    def __init__(
        self, reason: Reason, detail: str, *, cause: str = "", call: str = "", http_status: int | None = None,
        codigo: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(detail, call=call, http_status=http_status, codigo=codigo)
        self.reason: Reason = reason
        self.cause = cause
        self.detail = detail
        self.message, self.fix = explain(reason, cause).message, explain(reason, cause).fix


class IdRefused(Refused):
    """An id we had remembered is not good any more: `what` says whose, and what must be learnt again."""

    def __init__(
        self, what: Literal["customer", "product", "catalogs"], text: str, *, call: str = "",
        http_status: int | None = None, codigo: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(text, call=call, http_status=http_status, codigo=codigo)
        self.what = what


class Throttled(Refused):
    """Too fast: send again after `retry_after` (None where ContaDigital gave no time)."""


class AlreadyStamped(Refused):
    """The record was stamped before; `record` is what the refusal has of it, if anything."""

    def __init__(
        self, text: str, *, record: Record | None, call: str = "", http_status: int | None = None,
        codigo: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(text, call=call, http_status=http_status, codigo=codigo)
        self.record = record


class UnknownRecord(Refused):
    """ContaDigital knows no such record now; providers deny real ones for a while."""


class LinkRefused(Refused):
    """A document's link leads to an address that is not allowed: not followed."""


class TokenRefused(Refused):
    """The token is refused: renew it once. Raised and handled inside this room."""


# --- transport --------------------------------------------------------------------------------

NOT_SENT: tuple[type[Exception], ...] = (
    httpx.ConnectError,  # no connection, or no TLS on it
    httpx.ConnectTimeout,
    httpx.PoolTimeout,  # no connection was free
    httpx.ProxyError,  # we use none; it is raised while a tunnel is opened, before the request
    httpx.UnsupportedProtocol,  # the address is not http(s)
    httpx.InvalidURL,
)
"""What provably happened before the first byte of the request left."""

MAY_HAVE_ARRIVED: tuple[type[Exception], ...] = (
    httpx.ReadTimeout,
    httpx.ReadError,
    httpx.WriteTimeout,  # part of the request had left; how much of it arrived is unknown
    httpx.WriteError,
    httpx.CloseError,
    httpx.RemoteProtocolError,  # among them "Server disconnected without sending a response"
    httpx.LocalProtocolError,  # also raised in the middle of a body
    httpx.DecodingError,  # an answer came and could not be unpacked
    httpx.TooManyRedirects,
    httpx.HTTPStatusError,
    # The families: what a later httpx adds to one of them is lost until somebody decides otherwise.
    httpx.NetworkError,
    httpx.TimeoutException,
    httpx.ProtocolError,
    httpx.TransportError,
    httpx.RequestError,
    httpx.HTTPError,
    httpx.StreamError,  # our own misuse of a stream: an answer was being read
    httpx.StreamConsumed,
    httpx.StreamClosed,
    httpx.ResponseNotRead,
    httpx.RequestNotRead,
    httpx.CookieConflict,
)


def from_transport(error: Exception, *, call: str = "") -> NotSent | AnswerLost:
    """Say which side of the wire a failure happened on; when unsure, say AnswerLost.

    The text is the class of the failure; its words only where the operating system spoke, since others can
    hold an address with an RFC or an e-mail in it.
    """
    text = type(error).__name__
    if isinstance(error, httpx.ConnectError):
        text = f"{text}: {clean(str(error))}"
    if isinstance(error, NOT_SENT):
        ours = descriptors.fault_of(error) or descriptors.fault()
        not_sent = NotSent(ours or text, call=call)
        not_sent.is_ours = ours is not None
        return not_sent
    return AnswerLost(text, call=call)


# --- what an answer means ---------------------------------------------------------------------

READS = frozenset({"utiles", "cliente", "producto", "factura", "documento"})
"""Calls that change nothing: they are never a word about the invoice, so never DocumentRejected."""
FISCAL = frozenset({"guardar", "timbrar", "cancelar"})
"""Calls after which something may exist that the SAT knows of."""
STAMPING = frozenset({"guardar", "timbrar"})
ACCOUNT = FISCAL | {"utiles"}
"""Calls whose words about a series, an RFC or a company are about the account's own."""
NOT_AUTH = READS | FISCAL | {"cliente_guardar", "producto_guardar", "enviar"}
CANCELLING = frozenset({"cancelar"})
AUTH = frozenset({"conectar"})

Kind = Literal[
    "lost", "throttled", "token", "connection", "document", "customer", "product", "catalogs",
    "already_stamped", "unknown_record",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table: every condition that is given must hold; the first row that holds decides."""

    kind: Kind
    reason: Reason | None = None
    cause: str = ""
    field: str = ""
    fix: str = ""
    calls: frozenset[str] | None = None
    http: frozenset[int] | None = None
    codigo: frozenset[int] | None = None
    pac: frozenset[int] | None = None
    matrix: frozenset[int] | None = None
    any_matrix: bool = False
    html: bool | None = None
    words: re.Pattern[str] | None = None
    also: re.Pattern[str] | None = None


def _http(*statuses: int) -> frozenset[int]:
    return frozenset(statuses)


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


_DENIED = (
    r"no (?:es |esta |se (?:encuentra )?|son )?"
    r"(?:valid|activ|vigente|existe|encontr|registrad|corresponde|pertenece|dad[oa] de)|"
    r"invalid|inactiv|desactivad|inexistente|desconocid|de baja"
)
OF_THE_SYSTEM = "Comunícate con soporte de Apunto: es una falla del sistema, no de tus datos."

RULES: tuple[Rule, ...] = (
    # Too fast; and what may have been done all the same: a 5xx is lost even where it sounds like a refusal.
    Rule("throttled", http=_http(429)),
    Rule("lost", http=frozenset({*range(100, 200), *range(300, 400), 202, 408, 425, *range(500, 600)})),
    Rule("lost", http=_http(403), html=True),  # a firewall's page, not ContaDigital's word
    # The SAT's matrix of errors, wherever it stands in the text (cfdi rules 1.1-1.4 and 2.1).
    Rule("connection", "razon_social_mismatch", "sat", matrix=frozenset({40138, 40139}), calls=FISCAL),
    Rule("connection", "api_not_enabled", "csd", matrix=frozenset({40106}), calls=FISCAL),
    Rule("document", any_matrix=True, calls=FISCAL),
    # ContaDigital's own code 3: saved, not stamped, no stamps left (seen).
    Rule("connection", "no_stamps", codigo=frozenset({3}), calls=STAMPING),
    # PAC numbers (cfdi rules 2.1). D: a stamp exists. T: unknown outcome. K: the account. U: the invoice.
    Rule("already_stamped", pac=frozenset({307, 506, 707, 736, 98}), calls=STAMPING),
    Rule("lost", pac=frozenset({350, 351, 352, 622, 708, 709, 817, 999, 5124}), calls=FISCAL),
    Rule("connection", "api_not_enabled", "csd",
         pac=frozenset({303, 304, 305, 306, 308, 309, 310, 704, 711, 712, 719, 720}), calls=FISCAL),
    # an envelope that repeats HTTP's 402, "payment required"
    Rule("connection", "no_stamps", pac=frozenset({402}), calls=FISCAL,
         words=_words(r"timbre|credito|folio|saldo|pago")),
    Rule("connection", "api_not_enabled", "lco", pac=frozenset({402}), calls=FISCAL),
    Rule("connection", "api_not_enabled", "pac", pac=frozenset({96, 300, 501, 702, 713, 721}), calls=FISCAL),
    Rule("connection", "no_stamps", pac=frozenset({97, 701, 718, 5300}), calls=FISCAL,
         words=_words(r"timbre|credito|folio|saldo")),
    Rule("connection", "no_stamps", pac=frozenset({97, 718, 5300}), calls=FISCAL),
    Rule("connection", "no_stamps", "monthly_limit", pac=frozenset({714}), calls=FISCAL),
    Rule("connection", "api_not_enabled", "suspended", pac=frozenset({701, 703}), calls=FISCAL),
    Rule("document", field="fecha", fix="Envía la factura de nuevo con la fecha y hora de ahora.",
         pac=frozenset({401, 403, 404}), calls=FISCAL),
    Rule("document", field="receptor.rfc",
         fix="Revisa el RFC del cliente con su Constancia de Situación Fiscal.",
         pac=frozenset({607}), calls=FISCAL),
    Rule("document", fix=OF_THE_SYSTEM, pac=frozenset({301, 302, 349, 601, 705, 722}), calls=FISCAL),
    Rule("unknown_record", pac=frozenset({602, 603}), calls=FISCAL | {"factura"}),
    # Cancelling has numbers of its own (cfdi rules 6); 205 is also what a CFDI of a minute ago gets.
    Rule("unknown_record", pac=frozenset({205}), calls=CANCELLING),
    Rule("document", field="motivo", fix="Elige otro motivo de cancelación.",
         pac=frozenset({207}), calls=CANCELLING),
    Rule("document", field="uuid_sustitucion",
         fix="Con el motivo 01 (otra factura la sustituye) captura el folio fiscal de esa factura; con los demás, "
         "ninguno.",
         pac=frozenset({208, 209}), calls=CANCELLING),
    Rule("document", fix="El SAT no permite cancelarla así: revisa sus facturas relacionadas y su plazo.",
         pac=frozenset({203, 204, 206, 210, 211, 212}), calls=CANCELLING),
    # Words (all assumed), compared in lower case and without accents.
    Rule("lost", words=_words(
        r"mantenimiento|intente? (?:de nuevo )?mas tarde|intentalo mas tarde|temporalmente|fuera de servicio|"
        r"servicio .*no (?:esta )?disponible|error (?:interno|inesperado)|tiempo de espera|timeout")),
    Rule("throttled", words=_words(
        r"demasiadas (?:peticiones|solicitudes)|too many requests|limite de peticiones")),
    Rule("connection", "api_not_enabled", words=_words(
        r"(?:cuenta|empresa|usuario|rfc|api|facturacion|timbrado|servicio)\b.*"
        r"(?:no (?:esta |se encuentra |ha sido )?(?:habilitad|activad|contratad|permitid)|deshabilitad|"
        r"no tiene (?:permiso|acceso))|no (?:esta |tiene )?(?:habilitad|permiso|acceso)\w* .*"
        r"(?:\bapi\b|factura|timbra)")),
    Rule("connection", "api_not_enabled", "suspended",
         words=_words(r"cuenta .*(?:suspendid|bloquead|cancelad)")),
    Rule("connection", "key_rejected", calls=AUTH, http=_http(401, 403)),
    Rule("token", calls=NOT_AUTH, http=_http(401, 403)),
    Rule("connection", "key_rejected", calls=AUTH,
         words=_words(r"api ?key|llave|clave|credencial|no autorizad|unauthorized|revocad|acceso denegado")),
    Rule("token", calls=NOT_AUTH, words=_words(
        r"token .*(?:invalid|expirad|vencid|caducad|no valid|no autorizad|revocad)|(?:invalid|expired) token|"
        r"sesion .*(?:expirad|caducad|invalid)|no autorizad|unauthorized")),
    Rule("connection", "no_stamps", calls=STAMPING, words=_words(
        r"(?:sin|no (?:tiene|cuenta con|hay|quedan|dispone de)|se (?:te )?(?:agotaron|terminaron)|agotad)"
        r".*(?:timbre|credito|folios? disponible|saldo)|(?:timbre|credito)s? (?:insuficiente|agotado)")),
    Rule("document", fix=OF_THE_SYSTEM, calls=FISCAL, words=_words(r"campo desconocido|falta el campo")),
    Rule("already_stamped", calls=STAMPING, words=_words(
        r"ya (?:esta|fue|se encuentra|habia sido|ha sido) timbrad|timbrad[oa] (?:previamente|anteriormente)|"
        r"previamente timbrad|duplicad")),
    Rule("catalogs", calls=STAMPING | {"producto_guardar", "cliente_guardar"}, words=_words(
        r"\bid ?(?:serie|rfc|sucursal|lugar ?de ?expedicion|moneda|forma ?(?:de ?)?pago(?:default)?|um)\b")),
    Rule("product", calls=STAMPING, words=_words(r"\bid ?producto\b|\b(?:el|un) producto\b"),
         also=_words(_DENIED)),
    Rule("customer", calls=frozenset({"cliente_guardar"}), http=_http(404)),
    Rule("customer", calls=STAMPING, words=_words(r"\bid ?cliente\b"), also=_words(_DENIED)),
    Rule("customer", calls=STAMPING | {"cliente_guardar"}, words=_words(r"\bcliente\b"),
         also=_words(r"inactiv|desactivad|de baja|no existe|no (?:se )?encontr")),
    Rule("connection", "serie_inactive", calls=ACCOUNT, words=_words(r"\bserie\b"),
         also=_words(_DENIED)),
    Rule("connection", "lugar_expedicion_unknown", calls=ACCOUNT, words=_words(r"lugar de expedicion"),
         also=_words(_DENIED)),
    Rule("connection", "rfc_mismatch", calls=ACCOUNT,
         words=_words(r"rfc.*(?:emisor|cuenta|empresa)|emisor.*rfc"),
         also=_words(_DENIED)),
    Rule("connection", "empresa_unknown", calls=ACCOUNT,
         words=_words(r"\bid ?empresa\b|\bempresa\b"), also=_words(_DENIED)),
    # beside a customer or a product "empresa" may be theirs, and its number is ours
    Rule("connection", "empresa_unknown", calls=frozenset({"cliente", "cliente_guardar", "producto_guardar"}),
         words=_words(r"\bid ?empresa(?:cliente)?\b|\bempresa \d"), also=_words(_DENIED)),
    Rule("unknown_record", calls=frozenset({"factura"}), http=_http(404, 410)),
    Rule("unknown_record", calls=FISCAL | {"factura"},
         words=_words(r"(?:factura|comprobante|cfdi|registro|\bid\b)(?!s? relacionad).*no (?:se )?(?:existe|encontr)|"
                      r"no (?:se )?(?:existe|encontro).*(?:factura|comprobante|cfdi|registro|\bid\b)"
                      r"(?!s? relacionad)")),
    Rule("lost", http=_http(409, 423)),  # somebody is at it this very moment, perhaps ourselves
    Rule("lost", codigo=frozenset({500, 502, 503, 504})),  # the envelope repeats an HTTP status
)  # fmt: skip
"""How a refusal is recognised: read it from the top, the first row that holds decides.

Nothing of it is seen but code 3. On the first day with real credentials this table is what gets edited.
"""

_MATRIX = re.compile(r"CFDI[ _:.-]{0,2}(1?4\d{4})(?!\d)", re.IGNORECASE)
_PAC_IN_WORDS = re.compile(
    r"(?:^\W{0,3}|\b(?:error|codigo|codestatus|incidencia|pac|sat)\W{0,3}(?:no\.? ?)?)(\d{2,4})\b(?!/|[.,]\d)"
)
_ABOUT_THE_DATE = re.compile(r"fecha|72 ?h|horas|rango|vigencia|certificado")
_LIKE_HTTP = frozenset({401, 403, 404})
"""PAC numbers that read like an HTTP status: believed only where the words speak of the date."""


def pac_code(codigo: int | None, mensaje: str) -> int | None:
    """The PAC's number of an answer: the envelope's own (200 and above, assumed) or one in its words."""
    words = fold(mensaje)
    found = _PAC_IN_WORDS.search(words)
    number = codigo if codigo is not None and codigo >= 200 else int(found[1]) if found else None
    if number in _LIKE_HTTP and not _ABOUT_THE_DATE.search(words):
        return None
    return number


def matrix_codes(mensaje: str) -> tuple[int, ...]:
    """Every code of the SAT's matrix (40101 to 40999, and 140223 to 140227) named in a text, in its order."""
    return tuple(dict.fromkeys(int(code) for code in _MATRIX.findall(mensaje)))


def recognise(
    call: str, *, http_status: int, codigo: int | None, mensaje: str, is_html: bool = False
) -> Rule | None:
    """The first row that fits an answer that is not a success; None when nothing is known of it."""
    words, pac, matrix = fold(mensaje), pac_code(codigo, mensaje), frozenset(matrix_codes(mensaje))
    for rule in RULES:
        fits = (
            (rule.calls is None or call in rule.calls)
            and (rule.http is None or http_status in rule.http)
            and (rule.codigo is None or codigo in rule.codigo)
            and (rule.pac is None or pac in rule.pac)
            and (rule.matrix is None or bool(rule.matrix & matrix))
            and (not rule.any_matrix or bool(matrix))
            and (rule.html is None or rule.html == is_html)
            and (rule.words is None or rule.words.search(words) is not None)
            and (rule.also is None or rule.also.search(words) is not None)
        )
        if fits:
            return rule
    return None
