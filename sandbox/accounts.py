"""The accounts ContaDigital holds: key, series, catalogues, stamps left, and how each one is answered.

The ids of a catalogue (`IdMoneda`, `IdRFC`...) are dealt out anew for each
account, and again when a key is regenerated with other ids. Nothing outside may know one by heart.
"""

from __future__ import annotations

import random
import secrets
import uuid
from collections.abc import Iterable
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from sandbox.dialects import SandboxDialect, chosen_dialect

DEMO_NAME: Final = "demo"
DEMO_KEY: Final = "demo-contadigital-key-EKU9003173C9"

Catalogue = Literal[
    "RFCs", "Series", "Sucursales", "LugaresDeExpedicion", "Monedas", "FormasDePago", "UnidadesDeMedida"
]

Row = dict[str, Any]
"""One entry of a catalogue: `Id`, and the names that utiles.json gives that list."""

_MONEDAS: Final = ("MXN", "USD", "EUR", "CAD", "GBP", "JPY", "CLP", "COP")
_FORMAS: Final = {
    "01": "Efectivo",
    "02": "Cheque nominativo",
    "03": "Transferencia electrónica de fondos",
    "04": "Tarjeta de crédito",
    "05": "Monedero electrónico",
    "06": "Dinero electrónico",
    "08": "Vales de despensa",
    "12": "Dación en pago",
    "13": "Pago por subrogación",
    "14": "Pago por consignación",
    "15": "Condonación",
    "17": "Compensación",
    "23": "Novación",
    "24": "Confusión",
    "25": "Remisión de deuda",
    "26": "Prescripción o caducidad",
    "27": "A satisfacción del acreedor",
    "28": "Tarjeta de débito",
    "29": "Tarjeta de servicios",
    "30": "Aplicación de anticipos",
    "31": "Intermediario pagos",
    "99": "Por definir",
}
_UNIDADES: Final = {
    "H87": "Pieza",
    "E48": "Unidad de servicio",
    "ACT": "Actividad",
    "E54": "Viaje",
    "KGM": "Kilogramo",
    "TNE": "Tonelada",
    "GRM": "Gramo",
    "LTR": "Litro",
    "MTR": "Metro",
    "MTK": "Metro cuadrado",
    "MTQ": "Metro cúbico",
    "KMT": "Kilómetro",
    "TKM": "Tonelada kilómetro",
    "HUR": "Hora",
    "LH": "Hora de trabajo",
    "E49": "Día de trabajo",
    "DAY": "Día",
    "WEE": "Semana",
    "MON": "Mes",
    "ANN": "Año",
    "E51": "Trabajo",
    "A9": "Tarifa",
    "C62": "Uno",
    "EA": "Elemento",
    "SET": "Conjunto",
    "PR": "Par",
    "KWH": "Kilowatt hora",
    "XBX": "Caja",
    "XPK": "Paquete",
    "XKI": "Kit",
    "XUN": "Unidad",
    "XSA": "Saco",
    "XRO": "Rollo",
    "XCT": "Cartón",
    "XBJ": "Cubeta",
    "11": "Equipos",
    "IE": "Personas",
    "5B": "Batch",
    "AS": "Variedad",
}


class Behaviour(BaseModel):
    """How the provider answers one account, where nothing is known for sure (all of it assumed)."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    token_seconds: float = 3600
    token_style: Literal["opaque", "jwt"] = "opaque"  # noqa: S105 - a style, not a token
    token_at_top: bool = False
    """conectar answers `{"Token": ...}` without the envelope."""
    reports_empresa: bool = True
    """IdEmpresa stands beside Token; a JWT carries it as a claim whatever this says."""
    reports_stamps: bool = False
    """utiles.json has `TimbresDisponibles`."""
    bare: list[str] = Field(default_factory=list)
    """Calls answered without the envelope, by the names of `faults.CallName`."""
    key_refusal: Literal["401", "403", "200"] = "401"
    old_tokens_survive: bool = False
    """A token from before a key was regenerated or revoked goes on working until its end."""
    unknown_customer: Literal["empty", "codigo", "404"] = "empty"
    documents: Literal["base64", "links"] = "base64"
    pdf: Literal["slip", "page"] = "slip"
    """A page that says which invoice it is, or the whole representation: that one takes a second the first time."""
    link_names: Literal["XmlLink", "UrlXml"] = "XmlLink"
    already_stamped: Literal["with_xml", "without_xml"] = "with_xml"
    unknown_record: Literal["codigo", "404"] = "codigo"
    acceptance: Literal["never", "always", "sat", "impossible"] = "sat"
    """Whether a cancellation waits for the receptor: by the SAT's rule 2.7.1.35, always or never; or cannot be had."""
    cancel_refusal: Literal["words", "acuse"] = "words"
    """Where the SAT's no to a cancellation stands: in Mensaje, or as EstatusUUID in an acuse under Codigo 1."""
    reports_cancellation: bool = True
    """A look-up says how a cancellation stands (never observed)."""
    acceptance_seconds: float | None = None
    """How long the receptor takes to accept; None: until the control API decides it."""
    unknown_uuid_seconds: float = 0
    """For how long after stamping the SAT does not know it: a cancellation is answered 205, the status not found."""
    any_receptor: bool = False
    """Take receptors that are not in the SAT's list (for load, not for truth)."""


def random_behaviour(seed: int) -> Behaviour:
    """How an unfamiliar provider answers in what the dialect leaves open, the same for the same seed."""
    dice = random.Random(f"behaviour:{seed}")
    return Behaviour(
        token_style=dice.choice(["opaque", "jwt"]),
        token_at_top=dice.random() < 0.3,
        reports_empresa=dice.random() < 0.5,
        reports_stamps=dice.random() < 0.5,
        bare=[name for name in ("utiles", "clientes", "look_up") if dice.random() < 0.2],
        key_refusal=dice.choice(["401", "403", "200"]),
        unknown_customer=dice.choice(["empty", "codigo", "404"]),
        unknown_record=dice.choice(["codigo", "404"]),
        documents=dice.choice(["base64", "links"]),
        link_names=dice.choice(["XmlLink", "UrlXml"]),
        already_stamped=dice.choice(["with_xml", "without_xml"]),
        cancel_refusal=dice.choice(["words", "acuse"]),
    )


class NewAccount(BaseModel):
    """What POST /sandbox/accounts takes."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=80)
    api_key: str | None = None
    rfc: str = "EKU9003173C9"
    razon_social: str = "ESCUELA KEMPER URGATE"
    regimen_fiscal: str = "601"
    series: list[str] = Field(default_factory=lambda: ["A"])
    lugares: list[str] = Field(default_factory=lambda: ["42501", "64000", "22000", "88000", "06000", "77500"])
    stamps: int | None = None
    enabled: bool = True
    behaviour: Behaviour = Field(default_factory=Behaviour)
    dialect: SandboxDialect = Field(default_factory=SandboxDialect)

    @field_validator("dialect", mode="before")
    @classmethod
    def _chosen(cls, value: Any) -> Any:
        """A dialect by name (a text), from a seed (a number), or by its fields."""
        return chosen_dialect(value)


class Account(BaseModel):
    """One company in ContaDigital, as the store holds it."""

    model_config = ConfigDict(extra="forbid")

    name: str
    api_key: str | None
    id_empresa: int
    former_keys: list[str] = Field(default_factory=list)
    """Keys that were revoked or replaced: refused, and still known to be this account's."""
    generation: int = 1
    """Counts keys: a token of an older key names an older generation."""
    token_epoch: int = 1
    """Counts sudden deaths of tokens (scenario `token_dies`)."""
    enabled: bool = True
    deals: int = 1
    """Counts how often the ids were dealt out."""
    stamps_left: int | None = None
    catalogues: dict[str, list[Row]]
    behaviour: Behaviour
    dialect: SandboxDialect = Field(default_factory=SandboxDialect)

    def shown_id(self, number: int) -> int | str:
        """The id of an entry as the account's dialect writes it."""
        if self.dialect.catalogue_ids == "number":
            return number
        return str(uuid.uuid5(uuid.NAMESPACE_OID, str(number)))

    def row(self, catalogue: Catalogue, row_id: int | str) -> Row | None:
        """The entry of a catalogue with this id, or None."""
        return next((row for row in self.catalogues[catalogue] if self.shown_id(row["Id"]) == row_id), None)

    def serie(self, serie: str) -> Row | None:
        """The series of this name, or None."""
        return next((row for row in self.catalogues["Series"] if row.get("Serie") == serie), None)


def open_account(new: NewAccount, *, id_empresa: int) -> Account:
    """An account as ContaDigital would set it up for a company; without `api_key` it gets a random one."""
    return Account(
        name=new.name,
        api_key=new.api_key or new_key(),
        id_empresa=id_empresa,
        enabled=new.enabled,
        stamps_left=new.stamps,
        catalogues=_catalogues(new),
        behaviour=new.behaviour,
        dialect=new.dialect,
    )


def new_key() -> str:
    """A key as a user would paste it."""
    return secrets.token_urlsafe(30)


def deal_ids(account: Account) -> None:
    """Give every entry of every catalogue another id, the same for the same account and deal."""
    dice = random.Random(f"{account.name}:{account.deals}")  # reproducible, and nobody's secret
    for rows in account.catalogues.values():
        next_id = dice.randrange(100, 9000)
        for row in rows:
            next_id += dice.randrange(1, 7)
            row["Id"] = next_id
    set_dialect(account, account.dialect)


def set_dialect(account: Account, dialect: SandboxDialect) -> None:
    """Let an account read and answer in this dialect from now on."""
    account.dialect = dialect
    if dialect.peso_id == "one":
        account.catalogues["Monedas"][0]["Id"] = 1  # the first is the peso; dealt ids begin at 100


def demo_account() -> NewAccount:
    """The account that `timbrado demo` connects: EKU9003173C9, the documented key, PDFs that a person will open."""
    return NewAccount(name=DEMO_NAME, api_key=DEMO_KEY, series=["A", "B"], behaviour=Behaviour(pdf="page"))


def _catalogues(new: NewAccount) -> dict[str, list[Row]]:
    emisor: Row = {
        "Id": 0,
        "RFC": new.rfc,
        "RazonSocial": new.razon_social,
        "RegimenFiscal": new.regimen_fiscal,
    }
    # The first series is active and the others are not: an account with one active series needs no choice.
    series: list[Row] = [
        {"Id": 0, "Serie": serie, "Activa": place == 0, "FolioActual": 0}
        for place, serie in enumerate(new.series)
    ]
    return {
        "RFCs": [emisor],
        "Series": series,
        "Sucursales": [{"Id": 0, "Nombre": "Matriz"}],
        "LugaresDeExpedicion": [{"Id": 0, "CP": cp} for cp in new.lugares],
        "Monedas": [{"Id": 0, "Clave": clave} for clave in _MONEDAS],
        "FormasDePago": _described(_FORMAS.items()),
        "UnidadesDeMedida": _described(_UNIDADES.items()),
    }


def _described(entries: Iterable[tuple[str, str]]) -> list[Row]:
    return [{"Id": 0, "Clave": clave, "Descripcion": descripcion} for clave, descripcion in entries]


def add_row(account: Account, catalogue: Catalogue, row: Row) -> None:
    """Add an entry to a catalogue under an id that is free there."""
    rows = account.catalogues[catalogue]
    row["Id"] = max((known["Id"] for known in rows), default=100) + 3
    rows.append(row)
