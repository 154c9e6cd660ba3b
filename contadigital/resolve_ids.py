"""ContaDigital's ids of one account and one invoice: given by hand, or found in its lists, or missing by name.

What is given wins over the lists. The only integration that was ever written down has all of them typed by a person.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from cfdi import wording
from cfdi.amounts import Amounts
from cfdi.document import Concepto, Invoice
from cfdi.faults import Fault
from cfdi.sat import catalogs as sat
from contadigital.catalogs import CatalogEntry, Catalogs, Emisor, Id, Serie, listed
from contadigital.errors import ConnectionRefused, DocumentRejected
from contadigital.reasons import ID_REFUSED, WHERE_IT_GOES
from contadigital.replies import MAX_ID, whole
from contadigital.text import fold

PESOS: Final = "MXN"
FIRST_CURRENCY: Final = 1
"""IdMoneda of pesos where nothing else is known: the default of the only known integration (written)."""
DEFAULT_PRODUCT: Final = "*"
SIMPLE: Final = ("rfc", "serie", "serie_nota_de_credito", "sucursal")
KEYED: Final = ("lugar_expedicion", "moneda", "forma_pago", "unidad", "producto", "retencion")
MOST: Final = 500
"""Ids of one kind that a connection may be given."""


@dataclass(frozen=True, slots=True)
class Named:
    """What an id is of, and where ContaDigital shows it, for the person who must type it."""

    what: str
    where: str
    lists: str = ""


NAMES: Final[Mapping[str, Named]] = {
    "empresa": Named("tu empresa (IdEmpresa)", "Perfil de usuario > API Facturación"),
    "rfc": Named("el RFC con el que facturas (IdRFC)", "los datos fiscales de tu empresa", "emisores"),
    "serie": Named("la serie de facturas (IdSerie)", "la lista de series", "series"),
    "serie_nota_de_credito": Named("la serie de notas de crédito (IdSerie)", "la lista de series", "series"),
    "sucursal": Named("la sucursal (IdSucursal)", "la lista de sucursales", "sucursales"),
    "lugar_expedicion": Named(
        "el lugar de expedición {} (IdLugarDeExpedicion)", "los lugares de expedición", "lugares_expedicion"
    ),
    "moneda": Named("la moneda {} (IdMoneda)", "la lista de monedas", "monedas"),
    "forma_pago": Named("la forma de pago {} (IdFormaDePago)", "la lista de formas de pago", "formas_pago"),
    "unidad": Named("la unidad de medida {} (IdUM)", "la lista de unidades de medida", "unidades"),
    "producto": Named("el producto {} (IdProducto)", "la lista de productos y servicios"),
    "retencion": Named("la retención de IVA de {} (TipoRetIVA)", "los tipos de retención", "retenciones"),
}  # fmt: skip
"""Of each id that a body needs: what it is called and where ContaDigital shows it (where is assumed)."""


def called(name: str) -> str:
    """What an id is of, in Spanish: `unidad.E48` is "la unidad de medida E48 (IdUM)"."""
    kind, _, key = name.partition(".")
    return NAMES[kind].what.format("predeterminado" if key == DEFAULT_PRODUCT else key)


class BadIds(ValueError):
    """Ids given by hand that can't be any: `names` are those that there are, `problems` says all by its path."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = tuple(f"{'ids.' if name else 'ids'}{name}: {why}" for name, why in problems.items())
        self.names = tuple(name for name in problems if name.partition(".")[0] in NAMES)
        super().__init__("; ".join(self.problems))


@dataclass(frozen=True, slots=True)
class GivenIds:
    """Ids given by hand (contract, section 7): every part optional."""

    rfc: Id | None = None
    serie: Id | None = None
    serie_nota_de_credito: Id | None = None
    sucursal: Id | None = None
    lugar_expedicion: Mapping[str, Id] = field(default_factory=dict)
    moneda: Mapping[str, Id] = field(default_factory=dict)
    forma_pago: Mapping[str, Id] = field(default_factory=dict)
    unidad: Mapping[str, Id] = field(default_factory=dict)
    producto: Mapping[str, Id] = field(default_factory=dict)
    retencion: Mapping[str, Id] = field(default_factory=dict)

    @classmethod
    def read(cls, value: object) -> "GivenIds":
        """Read them out of JSON or TOML; raises BadIds with everything that is wrong with them."""
        if value is None:
            return cls()
        if not isinstance(value, Mapping):
            raise BadIds({"": "debe ser un objeto"})
        problems = {
            name if name.isprintable() else ascii(name)[1:-1]: "no existe"
            for name in map(str, value)
            if name not in (*SIMPLE, *KEYED)
        }
        parts: dict[str, Any] = {}
        for name in SIMPLE:
            if value.get(name) is not None:
                parts[name] = _id(value[name], name, problems)
        for name in KEYED:
            rows = value.get(name)
            if rows is None:
                continue
            if not isinstance(rows, Mapping) or len(rows) > MOST:
                problems[name] = f"debe ser un objeto de hasta {MOST} claves"
                continue
            if not all(str(key).isprintable() for key in rows):
                problems[name] = "una clave trae un símbolo que no se ve"
                continue
            parts[name] = {
                _key(name, str(key)): _id(each, f"{name}.{key}", problems)
                for key, each in rows.items()
                if each is not None
            }
        if problems:
            raise BadIds(problems)
        return cls(**parts)

    def to_json(self) -> dict[str, Any]:
        """Only what was given."""
        return {
            name: dict(value) if isinstance(value, Mapping) else value
            for name in (*SIMPLE, *KEYED)
            if (value := getattr(self, name)) not in (None, {})
        }

    def product(self, concepto: Concepto) -> Id | None:
        """The product of a line: by its own key, by its ClaveProdServ, or the default one."""
        key = self.product_key(concepto)
        return self.producto[key] if key is not None else None

    def product_key(self, concepto: Concepto) -> str | None:
        """The key under which a line's product was given; None where it was not."""
        keys = (concepto.no_identificacion or "", concepto.clave_prod_serv, DEFAULT_PRODUCT)
        return next((key for key in keys if key in self.producto), None)

    def named(self, name: str) -> Id | None:
        """The id given under a name as faults have it: `serie`, `unidad.E48`."""
        kind, _, key = name.partition(".")
        part = getattr(self, kind)
        found: Id | None = part.get(key) if isinstance(part, Mapping) else part
        return found


_TEXT_ID: Final = re.compile(r"(?=.*[0-9])[0-9A-Za-z][0-9A-Za-z_-]{7,63}")
"""An id that is no number, as a person copies it: a GUID or the like, and never a key or a name."""


def _id(value: object, name: str, problems: dict[str, str]) -> Id:
    number = whole(value)
    least = 0 if name == "sucursal" or name.startswith("retencion.") else 1
    if number is not None and least <= number <= MAX_ID:
        return number
    text = value.strip() if isinstance(value, str) else ""
    if number is None and not text.isdigit() and _TEXT_ID.fullmatch(text):
        return text
    problems[name] = f"debe ser un número entero mayor que {least - 1}, o un texto como un GUID"
    return 0


def _key(name: str, key: str) -> str:
    """A key as it is looked for: CP with five digits, form with two, a rate as Anexo 20 writes it."""
    key = key.strip()
    match name:
        case "lugar_expedicion":
            return key.zfill(5)
        case "forma_pago":
            return key.zfill(2)
        case "retencion":
            return rate_key(key)
        case "producto":
            return key
        case _:
            return key.upper()


def rate_key(rate: str | Decimal) -> str:
    """A rate as it is looked for: "0.04" and "0.040000" are one."""
    try:
        return format(Decimal(rate).quantize(Decimal("0.000001")), "f")
    except InvalidOperation:
        return str(rate)


# --- of a connection ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AccountIds:
    """What every invoice of a connection needs; None where it is missing or wrong, which `refusals` say."""

    emisor: Emisor | None
    serie: Serie | None
    lugar: Id | None
    refusals: tuple[ConnectionRefused, ...]


def of_account(
    catalogs: Catalogs, given: GivenIds, *, rfc: str, serie: str | None, codigo_postal: str
) -> AccountIds:
    """Find the connection's own ids; everything that is wrong with them is returned, in the order of the screen."""
    refusals: list[ConnectionRefused] = []
    missing: list[str] = []
    emisor = _emisor(catalogs, given, rfc, refusals, missing)
    lugar = _lugar(catalogs, given, codigo_postal, refusals, missing)
    chosen = _serie(catalogs, given, serie, refusals, missing)
    if given.sucursal is None and not catalogs.has("sucursales"):
        missing.append("sucursal")
    if missing:
        refusals.append(ids_missing(missing))
    return AccountIds(emisor, chosen, lugar, tuple(refusals))


def ids_missing(names: list[str]) -> ConnectionRefused:
    """The refusal of a connection whose lists could not be read, naming each id that must be typed."""
    return ConnectionRefused("ids_missing", "; ".join(wanted(name) for name in names), cause=",".join(names))


def wanted(name: str) -> str:
    """One missing id in Spanish: what it is of and where ContaDigital shows it."""
    return f"{called(name)}: en ContaDigital está en {NAMES[name.partition('.')[0]].where}"


def _emisor(
    catalogs: Catalogs, given: GivenIds, rfc: str, refusals: list[ConnectionRefused], missing: list[str]
) -> Emisor | None:
    rfc = rfc.strip().upper()
    row = next((each for each in catalogs.emisores if each.rfc == rfc), None)
    if given.rfc is not None:
        same = row if row is not None and row.id == given.rfc else None
        return same or Emisor(
            given.rfc, rfc, row.razon_social if row else "", row.regimen_fiscal if row else ""
        )
    if row is None and not (catalogs.emisores and catalogs.is_named("emisores")):
        missing.append(
            "rfc"
        )  # an account has an RFC: a list without one, or of anybody's, does not say which
    elif row is None:
        known = listed(each.rfc for each in catalogs.emisores)
        refusals.append(ConnectionRefused("rfc_mismatch", f"Apunto: {rfc}; ContaDigital: {known}"))
    return row


def _lugar(
    catalogs: Catalogs, given: GivenIds, codigo_postal: str, refusals: list[ConnectionRefused], missing: list[str]
) -> Id | None:  # fmt: skip
    if codigo_postal in given.lugar_expedicion:
        return given.lugar_expedicion[codigo_postal]
    row = catalogs.entry("lugares_expedicion", codigo_postal)
    if row is not None:
        return row.id
    if not catalogs.is_named("lugares_expedicion"):
        missing.append(f"lugar_expedicion.{codigo_postal}")
    else:
        known = listed(each.clave for each in catalogs.lugares_expedicion)
        detail = f"Apunto: {codigo_postal}; ContaDigital: {known}"
        refusals.append(ConnectionRefused("lugar_expedicion_unknown", detail))
    return None


def _serie(
    catalogs: Catalogs,
    given: GivenIds,
    asked: str | None,
    refusals: list[ConnectionRefused],
    missing: list[str],
) -> Serie | None:
    """The series given by its id, the one that is asked for by letter or name, or the only active one."""
    if given.serie is not None:
        row = next((each for each in catalogs.series if each.id == given.serie), None)
        return row or Serie(given.serie, (asked or "").strip(), True)
    if not catalogs.has("series"):
        missing.append("serie")
        return None
    active = [row for row in catalogs.series if row.activa]
    detail, cause = "", ""
    if asked is not None and asked.strip():
        found = [row for row in active if row.is_called(asked)]
        if len(found) == 1:
            return found[0]
        if not any(row.is_called(asked) for row in catalogs.series) and any(not row.serie for row in active):
            missing.append("serie")  # a list of names alone: which of them has this letter it does not say
            return None
        detail = f"En la conexión: {asked.strip()}; activas: {listed(row.shown for row in active)}"
    elif not active:
        detail, cause = f"Inactivas: {listed(row.shown for row in catalogs.series)}", "none_active"
    elif len(active) > 1:
        detail, cause = f"Activas: {listed(row.shown for row in active)}", "several_active"
    else:
        return active[0]
    refusals.append(ConnectionRefused("serie_inactive", detail, cause=cause))
    return None


# --- of an invoice -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ResolvedIds:
    """Every id that an invoice's body needs; customer and products are added when they are known."""

    id_empresa: int
    id_rfc: Id
    id_serie: Id
    id_sucursal: Id
    id_lugar_expedicion: Id
    id_moneda: Id
    id_forma_pago: Id
    forma_pago: str
    """What the form of payment is called: "Transferencia electrónica de fondos"."""
    id_ums: tuple[Id, ...]
    """The unit of each line, in the invoice's order."""
    id_cliente: int = 0
    id_productos: tuple[Id, ...] = ()
    given_productos: tuple[Id | None, ...] = ()
    """The product of each line where it was given by hand."""
    retenciones: Mapping[str, CatalogEntry] = field(default_factory=dict)
    """Kinds of withholding by their rate (`rate_key`), for a dialect that says them by list or by word."""


def resolve(
    catalogs: Catalogs,
    invoice: Invoice,
    *,
    id_empresa: int,
    rfc: str,
    serie: str | None,
    codigo_postal: str,
    given: GivenIds | None = None,
) -> ResolvedIds:
    """Find every id of an invoice but customer and products; all of the invoice's own gaps are reported at once.

    `rfc`, `serie` and `codigo_postal` are the connection's. Raises ConnectionRefused where the account lacks what it
    always needs, DocumentRejected where only this invoice asks for something that is not known.
    """
    given = given or GivenIds()
    account = of_account(catalogs, given, rfc=rfc, serie=serie, codigo_postal=codigo_postal)
    if account.emisor is None or account.serie is None or account.refusals:
        raise account.refusals[0]
    finder = _Finder(catalogs, given)
    lugar = finder.find("lugar_expedicion", invoice.lugar_expedicion, "lugar_expedicion")
    moneda = finder.find("moneda", invoice.moneda, "moneda")
    forma = finder.find("forma_pago", invoice.forma_pago, "forma_pago")
    unidades = [
        finder.find("unidad", concepto.clave_unidad, f"conceptos[{place}].clave_unidad")
        for place, concepto in enumerate(invoice.conceptos)
    ]
    if finder.faults:
        raise DocumentRejected("ids of the invoice are not known", faults=tuple(finder.faults))
    is_note = invoice.tipo_de_comprobante == "E" and given.serie_nota_de_credito is not None
    sucursal = catalogs.sucursales[0].id if catalogs.sucursales else 0
    return ResolvedIds(
        id_empresa=id_empresa,
        id_rfc=account.emisor.id,
        id_serie=given.serie_nota_de_credito if is_note and given.serie_nota_de_credito else account.serie.id,
        id_sucursal=given.sucursal if given.sucursal is not None else sucursal,
        id_lugar_expedicion=lugar,
        id_moneda=moneda,
        id_forma_pago=forma,
        forma_pago=_called(catalogs, invoice.forma_pago),
        id_ums=tuple(unidades),
        given_productos=tuple(given.product(concepto) for concepto in invoice.conceptos),
        retenciones=_withholdings(catalogs, given),
    )


class _Finder:
    """Looks ids up by key; what is not found becomes a fault of the invoice, naming the id."""

    def __init__(self, catalogs: Catalogs, given: GivenIds) -> None:
        self._catalogs = catalogs
        self._given = given
        self.faults: list[Fault] = []

    def find(self, kind: str, key: str, path: str) -> Id:
        by_hand: Mapping[str, Id] = getattr(self._given, kind)
        if key in by_hand:
            return by_hand[key]
        named = NAMES[kind]
        row = self._catalogs.entry(named.lists, key)
        if row is not None:
            return row.id
        if kind == "moneda" and key == PESOS and not self._catalogs.has(named.lists):
            return FIRST_CURRENCY
        if self._catalogs.has(named.lists):
            self.faults.append(_not_there(kind, key, path))
        else:
            self.faults.append(missing_id(f"{kind}.{key}", path))
        return 0


def missing_id(name: str, path: str) -> Fault:
    """The fault of an invoice that needs an id which is neither given nor found."""
    where = NAMES[name.partition(".")[0]].where
    return Fault(
        code="contadigital.id_faltante",
        field=path,
        message=f"A tu conexión le falta un número de ContaDigital: {called(name)}.",
        fix=f"Búscalo en ContaDigital, en {where}, y escríbelo en {WHERE_IT_GOES}.",
        source="contadigital",
        whose="user",
        detail=f"ids.{name} is neither given nor in ContaDigital's lists",
    )


_REFUSED: Final = {
    "serie": r"\bid ?serie\b",
    "rfc": r"\bid ?rfc\b",
    "sucursal": r"\bid ?sucursal\b",
    "lugar_expedicion": r"\bid ?lugar ?de ?expedicion\b",
    "moneda": r"\bid ?moneda\b",
    "forma_pago": r"\bid ?forma ?(?:de ?)?pago(?:default)?\b",
    "unidad": r"\bid ?um\b",
    "producto": r"\bid ?producto\b|\bproducto\b",
}
"""How the words of a refusal name the field that an id stands in (assumed)."""


def given_and_refused(text: str, invoice: Invoice, given: GivenIds) -> tuple[str, ...]:
    """The names of the ids given by hand that a refusal of this invoice is about; none where it is about others."""
    folded, names = fold(text), list[str]()
    keys: dict[str, tuple[str | None, ...]] = {
        "lugar_expedicion": (invoice.lugar_expedicion,),
        "moneda": (invoice.moneda,),
        "forma_pago": (invoice.forma_pago,),
        "unidad": tuple(each.clave_unidad for each in invoice.conceptos),
        "producto": tuple(given.product_key(each) for each in invoice.conceptos),
    }
    is_note = invoice.tipo_de_comprobante == "E" and given.serie_nota_de_credito is not None
    for kind, words in _REFUSED.items():
        if re.search(words, folded):
            simple = "serie_nota_de_credito" if kind == "serie" and is_note else kind
            names += [f"{kind}.{key}" for key in keys[kind] if key] if kind in keys else [simple]
    ours = [name for name in dict.fromkeys(names) if given.named(name) is not None]
    named = set(re.findall(r"[0-9a-z_-]+", folded))
    return tuple(name for name in ours if str(given.named(name)).lower() in named) or tuple(ours)


def is_of_the_account(name: str, codigo_postal: str) -> bool:
    """Whether every invoice of the account needs this id."""
    return name in ("rfc", "serie", "sucursal", f"lugar_expedicion.{codigo_postal}")


def ids_refused(names: Sequence[str], given: GivenIds, text: str) -> ConnectionRefused:
    """The refusal of a connection whose ids were typed and that ContaDigital does not know."""
    refused = ConnectionRefused("ids_missing", text, cause=ID_REFUSED)
    refused.message = f"ContaDigital no acepta este número de tu cuenta: {'; '.join(_typed(names, given))}."
    return refused


def id_refused(names: Sequence[str], given: GivenIds, text: str) -> Fault:
    """The fault of an invoice for which ids were typed that ContaDigital does not know."""
    return Fault(
        code="contadigital.id_rechazado",
        field="",
        message=f"ContaDigital no acepta este número de tu cuenta: {'; '.join(_typed(names, given))}. Dijo: {text}",
        fix=f"Compáralo con el que muestra ContaDigital, corrígelo en {WHERE_IT_GOES} y envía la factura de nuevo.",
        source="contadigital",
        whose="user",
        detail=f"refused: {', '.join(f'ids.{name}' for name in names)}",
    )


def _typed(names: Sequence[str], given: GivenIds) -> list[str]:
    return [f"{called(name)}: {given.named(name)}" for name in names]


_NOT_THERE: Final = {
    "lugar_expedicion": ("", "El lugar de expedición", "Agrégalo en ContaDigital o usa uno que ya esté ahí."),
    "moneda": ("moneda", "La moneda", "Agrégala en ContaDigital o usa otra."),
    "forma_pago": ("forma_pago", "La forma de pago", "Usa otra forma de pago."),
    "unidad": ("clave_unidad", "La unidad de medida", "Agrégala en ContaDigital o usa otra."),
}


def _not_there(kind: str, key: str, path: str) -> Fault:
    field, what, fix = _NOT_THERE[kind]
    return Fault(
        code="contadigital.clave_desconocida",
        field=path,
        message=f"{what} {wording.key(field, key)} no está en tu cuenta de ContaDigital.",
        fix=fix,
        source="contadigital",
        whose="user",
    )


FORMS: Final = {
    "01": "Efectivo", "03": "Transferencia electrónica de fondos", "04": "Tarjeta de crédito",
    "28": "Tarjeta de débito", "99": "Por definir",
}  # fmt: skip
"""What the known integration calls forms of payment (written); the SAT's own words for the others."""


def _called(catalogs: Catalogs, forma_pago: str) -> str:
    row = catalogs.entry("formas_pago", forma_pago)
    if row is not None and row.descripcion:
        return row.descripcion
    return FORMS.get(forma_pago) or sat.formas_pago().get(forma_pago, "")


def _withholdings(catalogs: Catalogs, given: GivenIds) -> dict[str, CatalogEntry]:
    found = {
        rate_key(Decimal(row.clave) / 100): row
        for row in catalogs.retenciones
        if re.fullmatch(r"[0-9.]+", row.clave)
    }
    for key, number in given.retencion.items():
        known = found.get(key)
        found[key] = CatalogEntry(number, key, known.descripcion if known is not None else "")
    return found


def withheld_rates(amounts: Amounts) -> set[str]:
    """The rates of withheld IVA that an invoice has."""
    return {
        rate_key(tax.tasa_o_cuota)
        for line in amounts.lines
        for tax in line.retenciones
        if tax.impuesto == "002" and tax.tasa_o_cuota is not None
    }
