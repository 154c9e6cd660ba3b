"""Which UsoCFDI goes with which régimen and which kind of person.

The SAT's c_UsoCFDI and c_RegimenFiscal, columns "aplica para tipo persona" and "régimen fiscal receptor",
as of August 2026; satcfdi's data do not carry these columns. A use may suit the régimen and still be refused,
because it is for personas físicas only.
"""

from collections.abc import Mapping
from types import MappingProxyType

from cfdi.rfc import Persona

_MORAL = frozenset({"601", "603", "620", "622", "623", "624"})
_FISICA = frozenset({"605", "606", "607", "608", "611", "612", "614", "615", "616", "621", "625"})
_BOTH = frozenset({"610", "626"})

REGIMENES: Mapping[Persona, frozenset[str]] = MappingProxyType(
    {"moral": _MORAL | _BOTH, "fisica": _FISICA | _BOTH}
)
"""The régimenes that each kind of person can have (CFDI40141, CFDI40158)."""

_EVERY = _MORAL | _FISICA | _BOTH
_BUSINESS = frozenset({"601", "603", "606", "612", "620", "621", "622", "623", "624", "625", "626"})
_DEDUCTIONS = frozenset({"605", "606", "607", "608", "611", "612", "614", "615", "625"})

_PERSONAL = tuple(f"D{number:02}" for number in range(1, 11))
_INVESTMENTS = tuple(f"I{number:02}" for number in range(1, 9))

USOS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "G01": _BUSINESS,
        "G02": _BUSINESS | {"616"},
        "G03": _BUSINESS,
        **dict.fromkeys(_INVESTMENTS, _BUSINESS),
        **dict.fromkeys(_PERSONAL, _DEDUCTIONS),
        "S01": _EVERY,
        "CP01": _EVERY,
        "CN01": frozenset({"605"}),
    }
)
"""The régimenes of the receptor that each use suits (CFDI40161)."""

FISICA_ONLY = frozenset({*_PERSONAL, "CN01"})
"""Uses that a persona moral can never give."""

OTHER_TYPES_ONLY = frozenset({"CP01", "CN01"})
"""Uses of payment receipts and payroll: c_UsoCFDI does not forbid them to types I and E, the guides do."""


def is_regimen_of(regimen: str, persona: Persona) -> bool:
    """Whether a kind of person can have a régimen."""
    return regimen in REGIMENES[persona]


def suits(uso: str, regimen: str, persona: Persona | None) -> bool:
    """Whether c_UsoCFDI lets a receptor of that régimen and kind of person give this use.

    `persona` is None for a generic RFC.
    """
    if uso in FISICA_ONLY and persona == "moral":
        return False
    return regimen in USOS.get(uso, frozenset())


def is_usual(uso: str, regimen: str, tipo_de_comprobante: str) -> bool:
    """Whether the guides foresee the use in a type I or E.

    Those of payments and payroll have their own types; without obligations (616) G02 is for credit notes.
    """
    if uso in OTHER_TYPES_ONLY:
        return False
    return not (regimen == "616" and uso == "G02" and tipo_de_comprobante != "E")


def suitable(regimen: str, persona: Persona | None, tipo_de_comprobante: str) -> tuple[str, ...]:
    """Return the usual uses that such a receptor can give: the commonest first, the others as in the catalogue."""
    return tuple(
        uso
        for uso in sorted(USOS, key=lambda uso: (uso not in ("G03", "S01"), uso))
        if suits(uso, regimen, persona) and is_usual(uso, regimen, tipo_de_comprobante)
    )
