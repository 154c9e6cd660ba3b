"""The client: one method a call, plain values in, typed records out, failures cut by what comes next.

No database, no settings, no retries: whether to call again is the pipeline's decision. The only thing done twice here
is a call whose *token* was refused, since that one was not carried out. `stamp` is given the id of a record saved
before, never 0. That id is what makes a lost answer a question that can be asked again.
"""

import functools
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from copy import copy
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, urljoin

import httpx

from contadigital.auth import Slot, TokenStore, session_of, slot_of
from contadigital.catalogs import Catalogs
from contadigital.dialect import DEFAULT, Dialect
from contadigital.errors import (
    AWAY,
    READS,
    STAMPING,
    AnswerLost,
    ConnectionRefused,
    ContaDigitalError,
    DocumentRejected,
    LinkRefused,
    NotSent,
    Refused,
    TokenRefused,
    UnknownRecord,
    from_transport,
)
from contadigital.recognise import recognise
from contadigital.records import Cancellation, Credentials, Customer, Product, Record, Session
from contadigital.replies import (
    NO_STAMPS,
    Answer,
    Reply,
    cancellation_of,
    customer_of,
    id_of,
    is_called_stamped,
    is_empty,
    is_nothing,
    is_understood,
    letters_of,
    parse,
    products_of,
    record_of,
    refusal,
    row_for,
    text_of,
    unpacked,
    value_of,
    whole,
)
from contadigital.request_body import dumps
from contadigital.text import fold
from net.addresses import address_fault, base_address_fault, host_of, is_same_origin
from net.headers import LONGEST_WAIT, trace_headers
from net.may_send import may_send
from net.sockets import until
from net.transport import first_bytes, is_encoded

Body = dict[str, Any]

HEADERS = {"User-Agent": "timbrado", "Accept": "application/json", "Accept-Encoding": "identity"}
"""What goes along with every call."""
LONGEST = 4
"""No method takes longer than so many times `call_timeout`: leases want to outlast that."""
NEEDED_TO_STAMP = STAMPING | {"utiles", "cliente", "cliente_guardar", "producto", "producto_guardar"}
"""Calls without which no invoice is stamped: who may not make one of them can't invoice."""
UNSURE = frozenset({401, 403, 408, 423, 425, 429})
"""Statuses of a 4xx that say nothing about what was asked for."""
ROUNDS, FRESH_REFUSED = 4, 2
"""Times a call is made while its token is refused: with the kept one, two new ones, and once for bad luck."""


class Watch(Protocol):
    """Who wants to know after each exchange whether the provider is there."""

    def __call__(self, base_url: str, *, is_usable: bool) -> None:
        """Note an answer that was understood, or that there was none; what lies between is noted as neither."""


def _nobody(base_url: str, *, is_usable: bool) -> None:
    """Nobody watches."""


KeepSample = Callable[[Credentials, Reply], None]
"""Keeps what an answer that was not understood looked like (redacted)."""


def _nowhere(credentials: Credentials, reply: Reply) -> None:
    """Keep no sample."""


T = TypeVar("T")


class ContaDigital:
    """ContaDigital over HTTP, for every connection of a process; safe to share between its threads."""

    def __init__(
        self,
        http: httpx.BaseTransport,
        tokens: TokenStore,
        *,
        call_timeout: timedelta,
        max_body: int,
        clock: Callable[[], datetime],
        allowed_hosts: frozenset[str],
        monotonic: Callable[[], float] = time.monotonic,
        longest_wait: timedelta = LONGEST_WAIT,
        watch: Watch = _nobody,
        keep_sample: KeepSample = _nowhere,
    ) -> None:
        """`call_timeout` bounds a whole call and `max_body` its answer (bytes); `clock` returns aware instants.

        `allowed_hosts` (`host` or `host:port`) is everywhere that this client may go, documents' links
        included. No `Retry-After` is heeded for longer than `longest_wait`.
        """
        self._http = http
        self._tokens = tokens
        self._call_timeout = call_timeout.total_seconds()
        self._max_body = max_body
        self._clock = clock
        self._allowed_hosts = allowed_hosts
        self._monotonic = monotonic
        self._longest_wait = longest_wait
        self._watch = watch
        self._keep_sample = keep_sample
        self._see: KeepSample = _nowhere

    # --- the account ---------------------------------------------------------------------------------

    def authenticate(self, credentials: Credentials, *, afresh: bool = False) -> Session:
        """A token of the connection, exchanged now if need be.

        `afresh` is for a person or a probe who asks again: a refusal remembered from before is then not
        repeated but tried once. Raises ConnectionRefused, Throttled or NotSent; never AnswerLost.
        """
        self._check_address(credentials)
        key = credentials.decrypt_key()
        return self._session(credentials, key, slot_of(credentials, key), refused=None, afresh=afresh)

    def catalogs(self, credentials: Credentials) -> Catalogs:
        """The account's lists, as far as they were recognised."""
        reply = self._ask(credentials, "utiles", "GET", "/api/cfdi/utiles.json/{empresa}")
        return self._result(
            credentials, reply, lambda payload: recognise(payload, id_empresa=credentials.id_empresa)
        )

    # --- customers and products ----------------------------------------------------------------------

    def find_customer(self, credentials: Credentials, rfc: str) -> Customer | None:
        """The customer with this RFC, active or not; None where ContaDigital has none.

        Unknown RFCs are answered in ways that nobody wrote down; the known integration takes whatever is no customer
        for "not there" (written). So any refusal that the table does not know is a "no", and a 4xx of any form.
        """
        reply = self._ask(
            credentials, "cliente", "GET", f"/api/clientes.json/{{empresa}}/{quote(rfc, safe='')}"
        )
        found = customer_of(reply.payload, rfc) if reply.is_done else None
        if found is None and not _is_a_no(reply):
            raise self._refusal(credentials, reply)
        return found

    def put_customer(
        self,
        credentials: Credentials,
        customer: Customer,
        there: Customer | None = None,
        dialect: Dialect = DEFAULT,
    ) -> int:
        """Create a customer, or bring the one that is there up to date and to life; its id.

        An update carries back everything that ContaDigital holds of it (written), with what the SAT compares changed:
        what an accountant keeps there stays.

        Several invoices of a new customer may come at once: who gets "it exists" updates the one that
        exists.
        """
        body = _updated(customer, there, dialect) if there is not None else _new_customer(customer, dialect)
        reply = self._ask(
            credentials,
            "cliente_guardar",
            "PUT" if there is not None else "POST",
            "/api/clientes.json",
            body,
            empresa_field="IdEmpresaCliente",
        )
        if there is not None:
            if reply.is_done:
                return id_of(reply.payload) or there.id
            raise self._refusal(credentials, reply)
        created = id_of(reply.payload) if reply.is_done else None
        if created is not None:
            return created
        if reply.is_done or _says_it_exists(reply):
            found = self.find_customer(credentials, customer.rfc)
            if found is not None:
                return (
                    self.put_customer(credentials, customer, found, dialect)
                    if found.differs_from(customer)
                    else found.id
                )
        raise self._refusal(credentials, reply)

    def find_product(self, credentials: Credentials, wanted: Product) -> Product | None:
        """The product with this ClaveProdServ, name, unit and ObjetoImp; None where ContaDigital has none."""
        path = f"/api/productos.json/{{empresa}}/{quote(wanted.clave_prod_serv, safe='')}"
        reply = self._ask(credentials, "producto", "GET", path)
        if not reply.is_done:
            if _is_a_no(reply):
                return None
            raise self._refusal(credentials, reply)
        for found in products_of(reply.payload):
            if replace(found, id=0, clave=wanted.clave) == replace(wanted, id=0):
                return found
        return None

    def put_product(self, credentials: Credentials, product: Product) -> int:
        """Create a product; its id. One that exists under the same `clave` is found instead."""
        reply = self._ask(
            credentials,
            "producto_guardar",
            "POST",
            "/api/productos.json",
            {
                "Clave": product.clave,
                "Nombre": product.nombre,
                "ClaveProdServ": product.clave_prod_serv,
                "IdUM": product.id_um,
                "ObjetoImp": product.objeto_imp,
            },
            empresa_field="IdEmpresa",
        )
        created = id_of(reply.payload) if reply.is_done else None
        if created is not None:
            return created
        if reply.is_done or _says_it_exists(reply):
            found = self.find_product(credentials, product)
            if found is not None:
                return found.id
        raise self._refusal(credentials, reply)

    # --- invoices ------------------------------------------------------------------------------------

    def save(self, credentials: Credentials, body: Body, record_id: int = 0) -> Record:
        """Save an invoice without stamping it; `record_id` rewrites one that was saved before.

        A record with a UUID means that ContaDigital stamped at once. AnswerLost may have left a record
        behind that nobody knows; it is no CFDI unless ContaDigital stamps on save.
        """
        reply = self._ask(
            credentials, "guardar", "POST", "/api/cfdi.json", {**body, "Id": record_id, "SoloGuardar": True}
        )
        record = record_of(reply, asked=record_id) if 200 <= reply.status < 300 else None
        # Code 3 is "saved, no stamps": for a save that is a success (seen on stamping).
        if record is not None and (reply.is_done or reply.codigo == NO_STAMPS or record.uuid is not None):
            return record
        raise self._refusal(credentials, reply)

    def stamp(self, credentials: Credentials, body: Body, record_id: int) -> Record:
        """Stamp a record saved before; the answer's own id stands in the record, the same or not.

        AnswerLost may hide a stamp: look the record up. A record comes back only with its UUID.
        """
        if record_id <= 0:
            raise ValueError("a stamp is asked for by the id of a saved record")
        reply = self._ask(
            credentials, "timbrar", "POST", "/api/cfdi.json", {**body, "Id": record_id, "SoloGuardar": False}
        )
        record = record_of(reply, asked=record_id) if 200 <= reply.status < 300 else None
        if record is not None and record.uuid is not None and reply.is_done:
            return record
        raise self._refusal(credentials, reply)

    def look_up(self, credentials: Credentials, record_id: int) -> Record:
        """A record as it stands now, its UUID None while ContaDigital says it is not stamped.

        Raises UnknownRecord where ContaDigital knows of none. Neither is proof: providers deny real stamps
        for a while. Never DocumentRejected; an answer about another record, or one that calls it stamped and has no
        UUID, is AnswerLost.
        """
        reply = self._ask(credentials, "factura", "GET", f"/api/cfdi/factura.json/{{empresa}}/{record_id}")
        if is_nothing(reply):
            raise UnknownRecord(
                "no such record", call="factura", http_status=reply.status, codigo=reply.codigo
            )
        record = record_of(reply, asked=record_id) if 200 <= reply.status < 300 else None
        if record is None:
            raise self._refusal(credentials, reply)
        if record.id != record_id:
            raise AnswerLost("the answer is about another record", call="factura", http_status=reply.status)
        if record.uuid is None and is_called_stamped(record.whole):
            raise AnswerLost("called stamped, without its UUID", call="factura", http_status=reply.status)
        return record

    def cancel(
        self, credentials: Credentials, record_id: int, motivo: str, uuid_sustitucion: str | None = None
    ) -> Cancellation:
        """Ask for a stamped invoice to be cancelled before the SAT, for one of its motivos 01 to 04."""
        body: Body = {"IdFactura": record_id, "Motivo": motivo}
        if uuid_sustitucion:
            body["UUIDSustitucion"] = uuid_sustitucion
        reply = self._ask(
            credentials, "cancelar", "DELETE", "/api/cfdi.json", body, empresa_field="IdEmpresa"
        )
        return cancellation_of(reply)

    def send_mail(self, credentials: Credentials, record_id: int, email: str) -> None:
        """Have ContaDigital mail the documents of a stamped invoice."""
        path = f"/api/cfdi/enviar.json/{{empresa}}/{record_id}/{quote(email, safe='')}"
        reply = self._ask(credentials, "enviar", "GET", path)
        if not reply.is_done:
            raise self._refusal(credentials, reply)

    def document(self, credentials: Credentials, link: str) -> bytes:
        """The bytes behind a document's link; the token goes along only to ContaDigital's own address.

        Raises LinkRefused for a link that leads elsewhere than allowed, AnswerLost where the document is
        not there (yet): a page or an envelope in its place is not a document.
        """
        self._check_address(credentials)
        url = urljoin(credentials.base_url.rstrip("/") + "/", link)
        if url.startswith("http://") and address_fault(url, self._allowed_hosts) is not None:
            url = f"https://{url.removeprefix('http://')}"  # a server behind a proxy does not know that it has TLS
        fault = address_fault(url, self._allowed_hosts)
        if fault is not None:
            host = host_of(url) or "nowhere"
            raise LinkRefused(
                f"its link leads to {host}: {fault} (TIMBRADO_CONTADIGITAL_HOSTS)", call="documento"
            )
        if not is_same_origin(url, credentials.base_url):
            answer = self._send("documento", "GET", url, None, None)
            reply = self._parse(answer)
        else:
            answer, reply = self._with_token(
                credentials,
                "documento",
                lambda token: self._exchange(credentials, "documento", "GET", url, token, None),
            )
        if answer.status == 200 and answer.body and not reply.is_html and not reply.understood:
            return unpacked(answer.body)
        denial = refusal(reply)
        if isinstance(denial, TokenRefused):  # another host: our token was not asked for there
            raise AnswerLost(reply.text, call="documento", http_status=answer.status)
        raise denial

    def observed(self, see: KeepSample) -> "ContaDigital":
        """The same client, and every answer it gets is shown to `see` as well: for whoever looks at the wire."""
        other = copy(self)
        other._see = see
        return other

    # --- how a call is made --------------------------------------------------------------------------

    def _ask(
        self,
        credentials: Credentials,
        call: str,
        method: str,
        path: str,
        body: Body | None = None,
        *,
        empresa_field: str | None = None,
    ) -> Reply:
        """Make one call and take its answer apart; `{empresa}` in the path is the account's IdEmpresa."""
        self._check_address(credentials)
        empresa = (
            credentials.id_empresa
            if credentials.id_empresa is not None
            else self.authenticate(credentials).id_empresa
        )
        if empresa is None:
            raise ConnectionRefused("empresa_unknown", "ContaDigital did not report the IdEmpresa", call=call)
        if body is not None and empresa_field:
            body = {empresa_field: empresa, **body}
        content = dumps(body) if body is not None else None
        url = credentials.base_url.rstrip("/") + path.replace("{empresa}", str(empresa))
        _, reply = self._with_token(
            credentials, call, lambda token: self._exchange(credentials, call, method, url, token, content)
        )
        return reply

    def _with_token(
        self, credentials: Credentials, call: str, send: Callable[[str], Answer]
    ) -> tuple[Answer, Reply]:
        """Send with a token; one that is refused is renewed, and two fresh ones that are refused mean the key.

        One alone may have been revoked together with another call's: a provider may keep one token a key.
        A call whose token was refused was not carried out, so it may be made again, a stamp too (assumed). A redirect
        to a log-in page says less than a 401: a stamp is not made again on its word, and the look-up renews the token.
        """
        key = credentials.decrypt_key()
        slot = slot_of(credentials, key)
        began, refused, give_up = self._clock(), None, self._monotonic() + self._call_timeout
        fresh = 0
        for _ in range(ROUNDS):
            if refused is not None and self._monotonic() > give_up:
                raise NotSent("the token was refused, and no time is left for another", call=call)
            session = self._session(credentials, key, slot, refused=refused)
            answer = send(session.token)
            reply = self._parse(answer, session.token, key)
            self._see(credentials, reply)
            denial = refusal(reply) if not reply.is_done else None
            if not isinstance(denial, TokenRefused):
                return answer, reply
            fresh += refused is not None and session.issued_at >= began
            if fresh == FRESH_REFUSED or (fresh and reply.status == 403):
                break
            if reply.is_login and call == "timbrar":
                break
            refused = session.token
        if reply.is_login:  # that says nothing about the key: everything may be sent there just now
            raise AnswerLost(reply.text, call=call, http_status=reply.status)
        if (reply.status == 403 and call not in NEEDED_TO_STAMP) or call == "documento":
            # the key is good and can invoice; that this is not its to do is no reason to hold a single invoice
            kind = AnswerLost if call in READS else Refused
            raise kind(reply.text, call=call, http_status=reply.status, codigo=reply.codigo)
        # 401 is about who we are. 403 after a good exchange: the key is good, and may not do this (assumed).
        error = (
            ConnectionRefused("api_not_enabled", reply.text, cause="forbidden", call=call, http_status=403)
            if reply.status == 403
            else ConnectionRefused(
                "key_rejected", reply.text, call=call, http_status=reply.status, codigo=reply.codigo
            )
        )
        self._tokens.refuse(slot, error)
        raise error

    def _session(
        self, credentials: Credentials, key: str, slot: Slot, *, refused: str | None, afresh: bool = False
    ) -> Session:
        """A token from the store. A lost answer here is NotSent: nothing of the caller's call has left."""
        try:
            return self._tokens.session(
                slot, lambda: self._conectar(credentials, key), refused=refused, afresh=afresh
            )
        except AnswerLost as lost:
            raise NotSent(
                lost.text,
                call=lost.call,
                http_status=lost.http_status,
                codigo=lost.codigo,
                retry_after=lost.retry_after,
            ) from lost

    def _conectar(self, credentials: Credentials, key: str) -> Session:
        """Exchange the key for a token (`POST /api/conectar.json`, seen)."""
        url = credentials.base_url.rstrip("/") + "/api/conectar.json"
        answer = self._exchange(credentials, "conectar", "POST", url, None, dumps({"ApiKey": key}))
        now = self._clock()
        return self._result(credentials, self._parse(answer, key), lambda payload: _session_in(payload, now))

    def _result(self, credentials: Credentials, reply: Reply, read: Callable[[Any], T | None]) -> T:
        """What a done call brought, read by `read`; raises what the answer means otherwise."""
        value = read(reply.payload) if reply.is_done else None
        if value is None:
            raise self._refusal(credentials, reply)
        return value

    def _refusal(self, credentials: Credentials, reply: Reply) -> ContaDigitalError:
        """What an answer without the awaited result means; one that was not understood is kept as a sample."""
        error = refusal(reply)
        if isinstance(error, AnswerLost) and not error.is_outage:
            self._keep_sample(credentials, reply)
        return error

    def _parse(self, answer: Answer, *secrets: str) -> Reply:
        return parse(answer, now=self._clock(), secrets=secrets, longest_wait=self._longest_wait)

    def _exchange(
        self,
        credentials: Credentials,
        call: str,
        method: str,
        url: str,
        token: str | None,
        content: bytes | None,
    ) -> Answer:
        """One request to ContaDigital and its whole answer; whether it is there is noted."""
        if not may_send():
            raise NotSent("the claim under which it was to be sent is too old", call=call)
        try:
            answer = self._send(call, method, url, token, content)
        except (NotSent, AnswerLost) as error:
            if error.is_outage:
                self._watch(credentials.base_url, is_usable=False)
            raise
        if answer.status in AWAY:
            self._watch(credentials.base_url, is_usable=False)
        elif answer.status < 500 and is_understood(answer):
            self._watch(credentials.base_url, is_usable=True)
        return answer

    def _send(self, call: str, method: str, url: str, token: str | None, content: bytes | None) -> Answer:
        """One request and its whole answer, within the time and size a call may take."""
        headers = HEADERS | trace_headers()
        if content is not None:
            headers["Content-Type"] = "application/json"
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        end = self._monotonic() + self._call_timeout
        try:
            request = httpx.Request(method, _url(url), headers=headers, content=content)
            with until(end), closing(self._http.handle_request(request)) as response:
                # of a header that comes twice the last: httpx joins them, at the cost of a search for each name
                headers_seen = {
                    name.decode("latin-1").lower(): value.decode("latin-1")
                    for name, value in response.headers.raw
                }
                return Answer(call, response.status_code, headers_seen, self._body(call, response))
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, httpx.CookieConflict) as error:
            raise from_transport(error, call=call) from error

    def _body(self, call: str, response: httpx.Response) -> bytes:
        """The body as it came; one that is compressed or too big is lost, and one too slow ends with the call."""

        def lost(why: str) -> AnswerLost:
            return AnswerLost(why, call=call, http_status=response.status_code)

        if is_encoded(response):  # nobody asked for it, and 758 bytes may unpack to a gigabyte
            raise lost("the answer is compressed")
        body = first_bytes(response, self._max_body)
        if len(body) > self._max_body:
            raise lost("the answer is too big")
        return body

    def _check_address(self, credentials: Credentials) -> None:
        """Refuse a connection whose address is not ContaDigital's, before its key is even decrypted."""
        fault = base_address_fault(credentials.base_url, self._allowed_hosts)
        if fault is not None:
            raise ConnectionRefused("unreachable", fault, cause="address_forbidden")


@functools.lru_cache(maxsize=4_096)
def _url(address: str) -> httpx.URL:
    """Take an address apart once: that of a company's saves is the same each time. Raises httpx.InvalidURL."""
    return httpx.URL(address)


def _session_in(payload: object, now: datetime) -> Session | None:
    """The token of an answer to `conectar`; `IdEmpresa` beside it is assumed."""
    token = text_of(payload, "Token") if isinstance(payload, Mapping) else ""
    id_empresa = whole(value_of(payload, "IdEmpresa")) if isinstance(payload, Mapping) else None
    return session_of(token, id_empresa if id_empresa and id_empresa > 0 else None, now) if token else None


def _new_customer(customer: Customer, dialect: Dialect) -> Body:
    """A customer as the known integration makes one (written): contact and street are never empty there."""
    is_filled = dialect["cliente_contacto"] == "filled"
    return {
        "RFC": customer.rfc,
        "RazonSocial": customer.razon_social,
        "RegimenFiscal": customer.regimen_fiscal,
        "Email": customer.email,
        "UsoCFDIDefault": customer.uso_cfdi,
        "CP": customer.codigo_postal,
        "IdFormaPagoDefault": customer.id_forma_pago,
        "Contacto": customer.razon_social if is_filled else "",
        "Calle": "S/N" if is_filled else "",
        "Ciudad": "",
        "Pais": dialect["cliente_pais"],
        "Estatus": True,
    }


def _updated(customer: Customer, there: Customer, dialect: Dialect) -> Body:
    """The customer that is there, with what must differ; under the very names that ContaDigital wrote them."""
    if dialect["cliente_actualizar"] == "fields" or not there.whole:
        return {"Id": there.id, **_new_customer(customer, dialect)}
    changes: Body = {
        "RazonSocial": customer.razon_social,
        "RegimenFiscal": customer.regimen_fiscal,
        "CP": customer.codigo_postal,
        "Estatus": True,
    }
    if customer.email and not there.email:
        changes["Email"] = customer.email
    names = {letters_of(name): name for name in there.whole}
    return {
        **there.whole,
        **{names.get(letters_of(name), name): value for name, value in changes.items()},
    }


def _is_a_no(reply: Reply) -> bool:
    """Whether a look-up of a customer or product was answered "there is none", in any of its ways."""
    if reply.is_done:
        return is_empty(reply.payload) or (isinstance(reply.payload, list) and reply.codigo == 1)
    is_theirs = 400 <= reply.status < 500 and reply.status not in UNSURE  # HTTP
    return is_theirs or (reply.codigo is not None and row_for(reply) is None)


def _says_it_exists(reply: Reply) -> bool:
    """Whether a new customer or product was refused because there is one already (assumed words)."""
    denial = refusal(reply)
    words = fold(reply.words)
    return isinstance(denial, DocumentRejected | AnswerLost) and (
        reply.status == 409 or "ya existe" in words or "ya esta registrad" in words or "duplicad" in words
    )
