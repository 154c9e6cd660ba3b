"""Every read-only call of one account, and what its answers look like: no draft, no customer, no stamp is made.

It says of each call what was recognised and what was not, and which ids a person must type.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from cfdi.rfc import PUBLICO_EN_GENERAL
from contadigital.answer_shape import sample_of
from contadigital.catalogs import Catalogs, Id
from contadigital.client import ContaDigital
from contadigital.errors import ContaDigitalError
from contadigital.records import Credentials, Product
from contadigital.replies import Reply
from contadigital.resolve_ids import KEYED, NAMES, SIMPLE, GivenIds, of_account, wanted
from contadigital.text import redact

USUAL: Final = {"moneda": ("MXN",), "forma_pago": ("03", "99"), "unidad": ("E48",)}
"""Keys that an account of freight needs most, besides those that its lists have: the gaps of an ids file."""


@dataclass(frozen=True, slots=True)
class Probed:
    """One call: how it was answered, and what its answer looks like (redacted)."""

    call: str
    is_understood: bool
    says: str
    http_status: int | None = None
    sample: dict[str, Any] | None = None


@dataclass(slots=True)
class ProbeReport:
    """What an account's read-only calls show."""

    calls: list[Probed] = field(default_factory=list)
    recognised: dict[str, Any] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    """Names of the ids that every invoice needs and that are neither given nor found."""
    ids: dict[str, Any] = field(default_factory=dict)
    """Every id that is known, given or found; None where one is missing."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for --json."""
        return {
            "calls": [
                {
                    "call": each.call,
                    "understood": each.is_understood,
                    "says": each.says,
                    "http_status": each.http_status,
                    "sample": each.sample,
                }
                for each in self.calls
            ],
            "recognised": self.recognised,
            "missing": [{"id": name, "what": wanted(name)} for name in self.missing],
            "ids": self.ids,
        }


def probe(
    client: ContaDigital,
    credentials: Credentials,
    given: GivenIds,
    *,
    rfc: str,
    serie: str | None,
    codigo_postal: str,
    record_id: int | None = None,
) -> ProbeReport:
    """Make every read-only call, `factura` only where a record of ours is known; nothing is raised."""
    report = ProbeReport()
    seen: list[Reply] = []
    watching = client.observed(lambda _, reply: seen.append(reply))

    def ask(call: str, send: Any, *, reads: Any = lambda value: "") -> Any:
        seen.clear()
        try:
            value = send()
        except ContaDigitalError as error:
            says = (
                DONE_AND_UNREAD if seen and seen[-1].is_done else redact(error.text)
            )  # its words may be data
            report.calls.append(Probed(call, False, says, error.http_status, _sample(seen)))
            return None
        result = reads(value)
        if value is None and seen and seen[-1].status >= 400:  # HTTP
            result = "there is none, or there is no such call"
        report.calls.append(Probed(call, True, result, seen[-1].status if seen else None, _sample(seen)))
        return value

    session = ask("conectar", lambda: watching.authenticate(credentials, afresh=True), reads=_of_session)
    if session is None:
        return report
    empresa = credentials.id_empresa or session.id_empresa
    if empresa is None:
        report.missing = ["empresa"]
        return report
    credentials = replace(credentials, id_empresa=empresa)
    catalogs = ask("utiles", lambda: watching.catalogs(credentials), reads=_of_catalogs) or Catalogs()
    for of in (rfc, PUBLICO_EN_GENERAL):
        ask("clientes", lambda of=of: watching.find_customer(credentials, of), reads=_of_one)
    ask("productos", lambda: watching.find_product(credentials, A_FREIGHT), reads=_of_one)
    if record_id is not None:
        ask("factura", lambda: watching.look_up(credentials, record_id), reads=lambda _: "a record")
    report.recognised = dict(catalogs.recognised)
    account = of_account(catalogs, given, rfc=rfc, serie=serie, codigo_postal=codigo_postal)
    report.missing = [
        name for each in account.refusals if each.reason == "ids_missing" for name in each.cause.split(",")
    ]
    report.ids = _ids(catalogs, given, account.emisor, account.serie, codigo_postal)
    return report


DONE_AND_UNREAD: Final = "done, and nothing in it was recognised"
A_FREIGHT: Final = Product("78101802", "Flete", 0, "02")
"""A product that is asked for and most likely is not there: the answer's shape is what is wanted."""


def _sample(seen: Sequence[Reply]) -> dict[str, Any] | None:
    return sample_of(seen[-1]) if seen else None


def _of_session(session: Any) -> str:
    return "a token, and the IdEmpresa" if session.id_empresa else "a token, and no IdEmpresa"


def _of_catalogs(catalogs: Catalogs) -> str:
    found = catalogs.recognised.get("lists", ())
    return f"{len(found)} lists recognised, {len(catalogs.recognised.get('ambiguous', ()))} ambiguous"


def _of_one(found: object) -> str:
    return "found" if found is not None else "there is none, or the answer means so"


def _ids(catalogs: Catalogs, given: GivenIds, emisor: Any, serie: Any, codigo_postal: str) -> dict[str, Any]:
    """Every id in the form of `connect --ids`: what was given, what was found, None for a gap."""
    simple = {
        "rfc": emisor.id if emisor is not None else None,
        "serie": serie.id if serie is not None else None,
        "sucursal": catalogs.sucursales[0].id if catalogs.sucursales else None,
    }
    ids: dict[str, Any] = {
        name: getattr(given, name) if getattr(given, name) is not None else simple.get(name)
        for name in SIMPLE
        if name != "serie_nota_de_credito" or given.serie_nota_de_credito is not None
    }
    for name in KEYED:
        rows = getattr(catalogs, NAMES[name].lists) if NAMES[name].lists else ()
        found: dict[str, Id | None] = {row.clave: row.id for row in rows} if name != "retencion" else {}
        wanted_keys = (codigo_postal,) if name == "lugar_expedicion" else USUAL.get(name, ())
        gaps: dict[str, Id | None] = dict.fromkeys(wanted_keys) | ({"*": None} if name == "producto" else {})
        ids[name] = gaps | found | dict(getattr(given, name))
    if not ids["retencion"]:
        del ids["retencion"]
    return ids


def as_toml(ids: dict[str, Any]) -> str:
    """The ids as the file that `connect --ids` reads, with the gaps as comments, ready to be filled in."""
    lines = ["# ContaDigital's ids of one account, for `timbrado connect ACCOUNT ... --ids THIS_FILE`.", ""]
    for name in SIMPLE:
        if name in ids:
            lines += [_line(name, ids[name], name)]
    for name in KEYED:
        if name in ids:
            lines += ["", f"[{name}]  # {NAMES[name].what.format('…')}: {NAMES[name].where}"]
            lines += [_line(f'"{key}"', value, f"{name}.{key}") for key, value in ids[name].items()]
    return "\n".join(lines) + "\n"


def _line(key: str, value: Id | None, name: str) -> str:
    return f"{key} = {json.dumps(value)}" if value is not None else f"# {key} =      # falta {wanted(name)}"
