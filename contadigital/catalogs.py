"""SAT keys <-> ContaDigital's ids: the lists of one account (`utiles.json`), and how ids are chosen.

ContaDigital stamps with its own ids, which differ from account to account and may all change when an
account is made anew. The one thing a newcomer would get wrong: what is missing here is either the account's
fault (the series, the place of issue it always uses) and breaks the connection, or one invoice's (a unit, a
currency), and must not. The shape of the lists is assumed; every name of it stands in `catalogs_of` and
nowhere else.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cfdi.document import Invoice
from cfdi.faults import Fault
from contadigital.errors import ConnectionRefused, DocumentRejected
from contadigital.replies import stamps_of, text_of, whole
from contadigital.text import fold


@dataclass(frozen=True, slots=True)
class Emisor:
    """An RFC that the account may invoice with."""

    id: int
    rfc: str
    razon_social: str
    regimen_fiscal: str


@dataclass(frozen=True, slots=True)
class Serie:
    """A series of folios."""

    id: int
    serie: str
    activa: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of a list that is only a key and its name."""

    id: int
    clave: str
    descripcion: str = ""


@dataclass(frozen=True, slots=True)
class Catalogs:
    """The lists of one account, as they were on the day they were read."""

    emisores: tuple[Emisor, ...]
    series: tuple[Serie, ...]
    sucursales: tuple[Entry, ...]
    lugares_expedicion: tuple[Entry, ...]
    monedas: tuple[Entry, ...]
    formas_pago: tuple[Entry, ...]
    unidades: tuple[Entry, ...]
    stamps_left: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain lists and values, to be kept with the connection."""
        return asdict(self)

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> "Catalogs":
        """What `to_json` made, read again; raises KeyError or TypeError for anything else."""
        return cls(
            emisores=tuple(Emisor(**row) for row in kept["emisores"]),
            series=tuple(Serie(**row) for row in kept["series"]),
            sucursales=tuple(Entry(**row) for row in kept["sucursales"]),
            lugares_expedicion=tuple(Entry(**row) for row in kept["lugares_expedicion"]),
            monedas=tuple(Entry(**row) for row in kept["monedas"]),
            formas_pago=tuple(Entry(**row) for row in kept["formas_pago"]),
            unidades=tuple(Entry(**row) for row in kept["unidades"]),
            stamps_left=kept.get("stamps_left"),
        )

    # --- what belongs to the connection --------------------------------------------------------------

    def emisor(self, rfc: str) -> Emisor:
        """The account's entry for an RFC; ConnectionRefused `rfc_mismatch` where there is none."""
        for row in self.emisores:
            if row.rfc == rfc.strip().upper():
                return row
        known = _list(row.rfc for row in self.emisores)
        raise ConnectionRefused("rfc_mismatch", f"Apunto: {rfc}; ContaDigital: {known}")

    def serie(self, asked: str | None) -> Serie:
        """The series asked for, or the only active one; ConnectionRefused `serie_inactive` otherwise."""
        active = [row for row in self.series if row.activa]
        if asked is not None and asked.strip():
            for row in active:
                if fold(row.serie) == fold(asked):
                    return row
            raise ConnectionRefused(
                "serie_inactive",
                f"En la conexión: {asked.strip()}; activas: {_list(row.serie for row in active)}",
            )
        if not active:
            raise ConnectionRefused(
                "serie_inactive", f"Inactivas: {_list(row.serie for row in self.series)}", cause="none_active"
            )
        if len(active) > 1:
            raise ConnectionRefused(
                "serie_inactive", f"Activas: {_list(row.serie for row in active)}", cause="several_active"
            )
        return active[0]

    def lugar_expedicion(self, codigo_postal: str) -> Entry:
        """The place of issue with this CP; ConnectionRefused `lugar_expedicion_unknown` for none."""
        row = _by_key(self.lugares_expedicion, codigo_postal)
        if row is None:
            known = _list(row.clave for row in self.lugares_expedicion)
            raise ConnectionRefused(
                "lugar_expedicion_unknown", f"Apunto: {codigo_postal}; ContaDigital: {known}"
            )
        return row

    # --- what belongs to one invoice -----------------------------------------------------------------

    def moneda(self, clave: str) -> Entry:
        """The currency; DocumentRejected where the account has not got it."""
        return _needed(self.monedas, clave, "moneda", "La moneda", "Agrégala en ContaDigital o usa otra.")

    def forma_pago(self, clave: str) -> Entry:
        """The form of payment; DocumentRejected where the account has not got it."""
        return _needed(self.formas_pago, clave, "forma_pago", "La forma de pago", "Usa otra forma de pago.")

    def unidad(self, clave: str, line: int) -> Entry:
        """The unit of a line (counted from 0); DocumentRejected where the account has not got it."""
        field = f"conceptos[{line}].clave_unidad"
        return _needed(
            self.unidades, clave, field, "La unidad de medida", "Agrégala en ContaDigital o usa otra."
        )

    def sucursal_id(self) -> int:
        """The branch: the account's first, 0 where it has none (assumed)."""
        return self.sucursales[0].id if self.sucursales else 0


@dataclass(frozen=True, slots=True)
class ResolvedIds:
    """Every id that an invoice's body needs; customer and products are added when they are known."""

    id_empresa: int
    id_rfc: int
    id_serie: int
    id_sucursal: int
    id_lugar_expedicion: int
    id_moneda: int
    id_forma_pago: int
    forma_pago: str
    """The text of `FormaDePago`: "03 Transferencia electrónica de fondos"."""
    id_ums: tuple[int, ...]
    """The unit of each line, in the invoice's order."""
    id_cliente: int = 0
    id_productos: tuple[int, ...] = ()


def resolve(
    catalogs: Catalogs,
    invoice: Invoice,
    *,
    id_empresa: int,
    rfc: str,
    serie: str | None,
    codigo_postal: str,
) -> ResolvedIds:
    """Find every id of an invoice but customer and products; all of the invoice's own gaps are told at once.

    `rfc`, `serie` and `codigo_postal` are the connection's. Raises ConnectionRefused where the account
    lacks what it always needs, DocumentRejected where only this invoice asks for something the account has
    not got.
    """
    emisor, chosen = catalogs.emisor(rfc), catalogs.serie(serie)
    faults: list[Fault] = []
    lugar = _by_key(catalogs.lugares_expedicion, invoice.lugar_expedicion)
    if lugar is None and invoice.lugar_expedicion == codigo_postal:
        catalogs.lugar_expedicion(codigo_postal)
    if lugar is None:
        faults.append(
            _missing("lugar_expedicion", "El lugar de expedición", invoice.lugar_expedicion,
                     "Agrégalo en ContaDigital o usa uno que ya esté ahí.")
        )  # fmt: skip
    moneda = _or_fault(faults, lambda: catalogs.moneda(invoice.moneda))
    forma = _or_fault(faults, lambda: catalogs.forma_pago(invoice.forma_pago))
    unidades = [
        _or_fault(
            faults, lambda place=place, concepto=concepto: catalogs.unidad(concepto.clave_unidad, place)
        )
        for place, concepto in enumerate(invoice.conceptos)
    ]
    found = [row.id for row in unidades if row is not None]
    if faults or lugar is None or moneda is None or forma is None:
        raise DocumentRejected("the account lacks what the invoice asks for", faults=tuple(faults))
    return ResolvedIds(
        id_empresa=id_empresa,
        id_rfc=emisor.id,
        id_serie=chosen.id,
        id_sucursal=catalogs.sucursal_id(),
        id_lugar_expedicion=lugar.id,
        id_moneda=moneda.id,
        id_forma_pago=forma.id,
        forma_pago=f"{invoice.forma_pago} {forma.descripcion}".strip(),
        id_ums=tuple(found),
    )


def catalogs_of(payload: object) -> Catalogs | None:
    """The lists as ContaDigital tells them (the shape is assumed); None where not one of them is there."""
    if not isinstance(payload, Mapping) or not any(isinstance(payload.get(name), list) for name in LISTS):
        return None
    return Catalogs(
        emisores=tuple(
            Emisor(
                id=row_id,
                rfc=text_of(row, "RFC").upper(),
                razon_social=text_of(row, "RazonSocial"),
                regimen_fiscal=text_of(row, "RegimenFiscal")[:3],
            )
            for row_id, row in _rows(payload, "RFCs")
        ),
        series=tuple(
            # A series that does not say whether it is active is taken for active: the stamp will tell.
            Serie(row_id, text_of(row, "Serie"), row.get("Activa") not in (False, 0, "false", "0"))
            for row_id, row in _rows(payload, "Series")
        ),
        sucursales=_entries(payload, "Sucursales", "Nombre"),
        lugares_expedicion=_entries(payload, "LugaresDeExpedicion", "CP", width=5),
        monedas=_entries(payload, "Monedas", "Clave"),
        formas_pago=_entries(payload, "FormasDePago", "Clave", width=2),
        unidades=_entries(payload, "UnidadesDeMedida", "Clave"),
        stamps_left=stamps_of(payload),
    )


LISTS = ("RFCs", "Series", "Sucursales", "LugaresDeExpedicion", "Monedas", "FormasDePago", "UnidadesDeMedida")


def _rows(payload: Mapping[str, Any], name: str) -> list[tuple[int, Mapping[str, Any]]]:
    rows = payload.get(name)
    found = []
    for row in rows if isinstance(rows, list) else []:
        row_id = whole(row.get("Id")) if isinstance(row, Mapping) else None
        if row_id is not None:
            found.append((row_id, row))
    return found


def _entries(payload: Mapping[str, Any], name: str, key: str, *, width: int = 0) -> tuple[Entry, ...]:
    """A list of keys; `width` puts back the zeros that a number has lost (CP 06002, form 03)."""
    return tuple(
        Entry(row_id, text_of(row, key).upper().zfill(width), text_of(row, "Descripcion"))
        for row_id, row in _rows(payload, name)
    )


def _by_key(rows: tuple[Entry, ...], clave: str) -> Entry | None:
    return next((row for row in rows if row.clave == clave.strip().upper()), None)


def _needed(rows: tuple[Entry, ...], clave: str, field: str, what: str, fix: str) -> Entry:
    row = _by_key(rows, clave)
    if row is None:
        fault = _missing(field, what, clave, fix)
        raise DocumentRejected(f"{field} is not in the account's lists", faults=(fault,))
    return row


def _missing(field: str, what: str, clave: str, fix: str) -> Fault:
    return Fault(
        code="contadigital.clave_desconocida",
        field=field,
        message=f"{what} {clave} no está en tu cuenta de ContaDigital.",
        fix=fix,
        source="contadigital",
    )


def _or_fault(faults: list[Fault], find: Any) -> Entry | None:
    try:
        entry: Entry = find()
    except DocumentRejected as error:
        faults.extend(error.faults)
        return None
    return entry


def _list(names: Any) -> str:
    """A few names for a person to compare with."""
    shown = list(names)
    return ", ".join(shown[:8]) + ("…" if len(shown) > 8 else "") if shown else "ninguna"
