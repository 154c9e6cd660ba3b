"""How a CFDI stands at the SAT, by its public status service: Vigente, Cancelado, cancelable or not, in process.

Apart from ContaDigital, free and without an account (ConsultaCFDIService, SOAP). It is asked only where
TIMBRADO_SAT_STATUS_URL names it, and no faster than `per_second`: it serves the whole country.
"""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from xml.sax.saxutils import escape

from lxml import etree

from net.transport import NoAnswer, Transport, post

_REQUEST = (
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>'
    '<Consulta xmlns="http://tempuri.org/"><expresionImpresa>{}</expresionImpresa></Consulta>'
    "</s:Body></s:Envelope>"
)
_HEADERS = {
    "Content-Type": "text/xml; charset=utf-8",
    "SOAPAction": "http://tempuri.org/IConsultaCFDIService/Consulta",
}
_FIELD = re.compile(r"\{[^}]*\}")
MAX_BYTES = 100_000
"""An answer is about a kilobyte."""


class StatusUnknown(Exception):
    """The SAT's service gave no answer, or none that can be read: it says nothing about the CFDI."""


@dataclass(frozen=True, slots=True)
class SatStatus:
    """How a CFDI stands; `estado` is Vigente, Cancelado, or No Encontrado (also said for minutes after a stamp)."""

    codigo: str
    estado: str
    es_cancelable: str
    estatus_cancelacion: str

    @property
    def is_found(self) -> bool:
        """Whether the SAT knows it."""
        return self.estado in {"Vigente", "Cancelado"}

    @property
    def is_cancelled(self) -> bool:
        """Whether it is cancelled."""
        return self.estado == "Cancelado"

    @property
    def is_cancelable(self) -> bool:
        """Whether it may be cancelled at all; not with living CFDI related to it, or past its term."""
        return not self.es_cancelable.casefold().startswith("no ")

    @property
    def is_in_process(self) -> bool:
        """Whether its receptor has yet to answer a request for cancellation."""
        return not self.is_cancelled and "proceso" in self.estatus_cancelacion.casefold()

    @property
    def is_refused(self) -> bool:
        """Whether the receptor refused the cancellation."""
        return not self.is_cancelled and "rechazada" in self.estatus_cancelacion.casefold()


class SatStatusService:
    """The SAT's service, shared by the threads of a process."""

    def __init__(
        self,
        url: str,
        http: Transport,
        *,
        per_second: float = 5.0,
        timeout: float = 15.0,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`timeout` in seconds bounds a whole question."""
        self._url = url
        self._http = http
        self._every = 1 / per_second
        self._timeout = timeout
        self._monotonic = monotonic
        self._sleep = sleep
        self._lock = threading.Lock()
        self._next = 0.0

    def ask(self, emisor: str, receptor: str, total: Decimal, uuid: str) -> SatStatus:
        """Ask how a CFDI stands: RFC of both parties, its total, its folio fiscal. Raises StatusUnknown."""
        self._wait()
        expression = f"?re={escape(emisor)}&rr={escape(receptor)}&tt={total:f}&id={uuid}"
        body = _REQUEST.format(escape(expression)).encode()
        try:
            status, answer = post(
                self._http, self._url, body, headers=_HEADERS, timeout=self._timeout, max_bytes=MAX_BYTES
            )
        except NoAnswer as error:
            raise StatusUnknown(str(error)) from error
        if status != 200:
            raise StatusUnknown(f"HTTP {status}")
        return read(answer)

    def _wait(self) -> None:
        with self._lock:
            now = self._monotonic()
            at = max(self._next, now)
            self._next = at + self._every
        if at > now:
            self._sleep(at - now)


def read(answer: bytes) -> SatStatus:
    """Read an answer of the service. Raises StatusUnknown."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    try:
        root = etree.fromstring(answer, parser)
    except etree.XMLSyntaxError as error:
        raise StatusUnknown("the answer is no XML") from error
    found = {
        _FIELD.sub("", each.tag): (each.text or "").strip()
        for each in root.iter()
        if isinstance(each.tag, str)
    }
    if not {"CodigoEstatus", "Estado"} <= found.keys():
        raise StatusUnknown("the answer holds no status")
    return SatStatus(
        found["CodigoEstatus"],
        found["Estado"],
        found.get("EsCancelable", ""),
        found.get("EstatusCancelacion", ""),
    )
