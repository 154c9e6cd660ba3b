"""Validating a connection: everything that can be wrong with it at once, or what it resolves to.

The order is that of the screen: the key, the company's id, the lists, the RFC, the razón social, the place of issue,
the series. A first fault does not end the inspection. A user who fixes one thing and then learns of the next, four
times over, has lost a morning.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cfdi.names import is_same_company
from contadigital.catalogs import Catalogs, Emisor, Id, listed
from contadigital.client import ContaDigital
from contadigital.errors import ConnectionRefused, ContaDigitalError, NotSent, Throttled
from contadigital.reasons import WHERE_IT_GOES, Reason, explain
from contadigital.records import Credentials
from contadigital.resolve_ids import NAMES, GivenIds, of_account


@dataclass(frozen=True, slots=True)
class GivenConnection:
    """The account as Apunto gave it."""

    rfc: str
    razon_social: str
    codigo_postal: str
    serie: str | None = None
    empresa_id: int | None = None
    ids: GivenIds = field(default_factory=GivenIds)
    """Ids given by hand: they win over ContaDigital's lists."""


@dataclass(frozen=True, slots=True)
class ConnectionFault:
    """One thing wrong with a connection; `detail` is what ContaDigital answered, or both sides of a difference."""

    reason: Reason
    message: str
    fix: str
    detail: str
    cause: str = ""
    field: str = ""

    @classmethod
    def of(cls, error: ConnectionRefused) -> "ConnectionFault":
        """The fault that a refusal names."""
        return cls(error.reason, error.message, error.fix, error.detail, error.cause)


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """What a good connection resolves to, to be kept with it."""

    id_empresa: int
    id_rfc: Id
    serie: str
    id_serie: Id
    rfc: str
    razon_social: str
    """As registered at ContaDigital: what the CFDI will say."""
    regimen_fiscal: str
    codigo_postal: str
    id_lugar_expedicion: Id
    stamps_left: int | None
    catalogs: Catalogs


@dataclass(frozen=True, slots=True)
class Inspection:
    """Either `settings`, or at least one fault: the first is the one to show where there is room for one."""

    faults: tuple[ConnectionFault, ...]
    settings: ConnectionSettings | None
    recognised: Mapping[str, Any] | None = None
    """What the lists were recognised as; None where the inspection did not come so far."""

    @property
    def is_unread(self) -> bool:
        """Whether the lists were answered with something that can't be read."""
        return "unread" in (self.recognised or {})


def inspect(client: ContaDigital, credentials: Credentials, given: GivenConnection) -> Inspection:
    """Validate a connection against what Apunto holds, in two calls; no answer makes it raise."""
    try:
        session = client.authenticate(credentials, afresh=True)
    except ContaDigitalError as error:
        return _ended(error)
    id_empresa = (
        given.empresa_id or session.id_empresa or credentials.id_empresa
    )  # what was read now is newer
    if id_empresa is None:
        return Inspection((_fault("empresa_unknown", "ContaDigital no dijo el IdEmpresa"),), None)
    try:
        catalogs = client.catalogs(replace(credentials, id_empresa=id_empresa))
    except (ConnectionRefused, NotSent, Throttled) as error:
        return _ended(error)
    except ContaDigitalError as error:
        if error.is_outage:
            return _ended(error)
        # it answered, and its lists can't be read: what was given by hand may be all that is needed
        unread = Catalogs(recognised={"lists": [], "ambiguous": [], "ignored": [], "unread": error.text})
        found = compare(unread, given, id_empresa)
        is_of_the_moment = (error.http_status or 0) >= 500  # HTTP
        return _ended(error) if found.settings is None and is_of_the_moment else found
    return compare(catalogs, given, id_empresa)


def compare(catalogs: Catalogs, given: GivenConnection, id_empresa: int) -> Inspection:
    """Compare an account's lists with what Apunto gave; every fault, in the order of the screen."""
    account = of_account(
        catalogs, given.ids, rfc=given.rfc, serie=given.serie, codigo_postal=given.codigo_postal
    )
    emisor, lugar, serie = account.emisor, account.lugar, account.serie
    faults: list[ConnectionFault] = []
    for refusal in account.refusals:
        faults += (
            _missing(refusal, catalogs) if refusal.reason == "ids_missing" else [ConnectionFault.of(refusal)]
        )
    if (
        emisor is not None
        and emisor.razon_social  # unless the lists do not say it: then the first XML does
        and not is_same_razon_social(given.razon_social, emisor.razon_social)
    ):
        faults.insert(0, _side_by_side(given, emisor))
    if catalogs.stamps_left == 0:
        faults.append(_fault("no_stamps", "TimbresDisponibles: 0"))
    if faults or emisor is None or lugar is None or serie is None:
        return Inspection(tuple(faults), None, catalogs.recognised)
    return Inspection(
        (),
        ConnectionSettings(
            id_empresa=id_empresa,
            id_rfc=emisor.id,
            serie=serie.serie,
            id_serie=serie.id,
            rfc=emisor.rfc,
            razon_social=emisor.razon_social,
            regimen_fiscal=emisor.regimen_fiscal,
            codigo_postal=given.codigo_postal,
            id_lugar_expedicion=lugar,
            stamps_left=catalogs.stamps_left,
            catalogs=catalogs,
        ),
        catalogs.recognised,
    )


def _missing(refusal: ConnectionRefused, catalogs: Catalogs) -> list[ConnectionFault]:
    """One fault for each id that is neither given nor found, with where ContaDigital shows it."""
    faults = []
    for name in refusal.cause.split(","):
        kind, _, key = name.partition(".")
        names = listed(row.shown for row in catalogs.series if row.activa) if kind == "serie" else ""
        faults.append(
            ConnectionFault(
                "ids_missing",
                f"Falta un identificador: {NAMES[kind].what.format(key)}.",
                f"En ContaDigital está en {NAMES[kind].where}. Escríbelo en {WHERE_IT_GOES}"
                + (
                    f", o escribe como serie uno de estos nombres: {names}."
                    if catalogs.series and names
                    else "."
                ),
                name,
                field=f"ids.{name}",
            )
        )
    return faults


def is_same_razon_social(one: str, other: str) -> bool:
    """Whether two razones sociales name the same company, but for case, accents, blanks and régimen de capital.

    An Ñ is a letter of its own and not an N with an accent. What the CFDI will say is ContaDigital's
    spelling.
    """
    return is_same_company(_without_accents(one), _without_accents(other))


def _without_accents(text: str) -> str:
    letters = unicodedata.normalize("NFD", text.upper().replace("\u00a0", " "))
    return unicodedata.normalize(
        "NFC",
        "".join(
            mark
            for place, mark in enumerate(letters)
            if not unicodedata.combining(mark) or (mark == "\u0303" and letters[place - 1] == "N")
        ),
    )


def _side_by_side(given: GivenConnection, emisor: Emisor) -> ConnectionFault:
    return _fault(
        "razon_social_mismatch", f"Apunto: «{given.razon_social}»; ContaDigital: «{emisor.razon_social}»"
    )


def _fault(reason: Reason, detail: str, cause: str = "") -> ConnectionFault:
    words = explain(reason, cause)
    return ConnectionFault(reason, words.message, words.fix, detail, cause)


def _ended(error: ContaDigitalError) -> Inspection:
    """What an inspection that got no further found: the account's fault, or nobody's."""
    if isinstance(error, ConnectionRefused):
        return Inspection((ConnectionFault.of(error),), None)
    cause = "" if error.is_outage or isinstance(error, Throttled) else "not_understood"
    return Inspection((_fault("unreachable", error.text, cause),), None)
