"""Names of taxpayers, as the SAT keeps them: upper case, single blanks, without the régimen de capital.

The régimen de capital is never cut off here. "S.A. de C.V." at the end of a name almost always is one, and the SAT then
refuses the invoice (CFDI40145); but a name can also consist of those words, so the shorter name is a suggestion, with
how sure we are.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import cache

# How the régimenes are abbreviated, without dots. `_known` adds their tails and their long forms.
_SHORT = (
    "SA", "SAB", "SAPI", "SAPIB", "SAS", "S DE RL", "SRL", "S DE RL MI", "S DE RL MICROINDUSTRIAL", "S DE RL DE IP",
    "S EN C", "S EN CS", "S EN C POR A", "S EN NC", "SNC", "SC", "SC DE RL", "SC DE P DE RL", "SC DE C DE RL",
    "SC DE AP DE RL", "SCL", "SCAP", "SC DE P", "SC DE C", "SPR", "SPR DE RL", "SPR DE RI", "SPR DE RS",
    "AC", "A EN P", "ABP", "IAP", "IBP", "ARIC", "ARIC DE RL", "SSS", "SOFOM",
)  # fmt: skip
_LONG = (
    "SOCIEDAD ANONIMA", "SOCIEDAD ANONIMA BURSATIL", "SOCIEDAD ANONIMA PROMOTORA DE INVERSION",
    "SOCIEDAD ANONIMA PROMOTORA DE INVERSION BURSATIL", "SOCIEDAD POR ACCIONES SIMPLIFICADA",
    "SOCIEDAD DE RESPONSABILIDAD LIMITADA", "SOCIEDAD DE RESPONSABILIDAD LIMITADA MICROINDUSTRIAL",
    "SOCIEDAD EN COMANDITA SIMPLE", "SOCIEDAD EN COMANDITA POR ACCIONES", "SOCIEDAD EN NOMBRE COLECTIVO",
    "SOCIEDAD CIVIL", "SOCIEDAD COOPERATIVA", "SOCIEDAD COOPERATIVA DE RESPONSABILIDAD LIMITADA",
    "SOCIEDAD COOPERATIVA LIMITADA", "SOCIEDAD DE PRODUCCION RURAL",
    "SOCIEDAD DE PRODUCCION RURAL DE RESPONSABILIDAD LIMITADA",
    "SOCIEDAD DE PRODUCCION RURAL DE RESPONSABILIDAD ILIMITADA", "ASOCIACION CIVIL",
    "ASOCIACION EN PARTICIPACION", "ASOCIACION DE BENEFICENCIA PRIVADA", "INSTITUCION DE ASISTENCIA PRIVADA",
    "INSTITUCION DE BENEFICENCIA PRIVADA", "SOCIEDAD DE SOLIDARIDAD SOCIAL",
)  # fmt: skip
_VARIABLE = ("", "DE CV", "DE CAPITAL VARIABLE")
_FINANCIAL = (
    "", "SOFOM", "SOFOM ENR", "SOFOM ER", "SOFOL", "SFP",
    "SOCIEDAD FINANCIERA DE OBJETO MULTIPLE", "SOCIEDAD FINANCIERA DE OBJETO MULTIPLE ENTIDAD NO REGULADA",
    "SOCIEDAD FINANCIERA DE OBJETO MULTIPLE ENTIDAD REGULADA", "INSTITUCION DE BANCA MULTIPLE",
)  # fmt: skip
_STATE = ("", "EN LIQUIDACION")

_ACRONYMS = frozenset(
    {"SC", "SAS", "SSS", "IAP", "IBP", "ABP", "SPR", "SNC", "SCL", "SCAP", "ARIC", "SOFOM", "SRL"}
)

# Words that lead into what follows them: "INICIATIVA DE LA SOCIEDAD CIVIL" is a name, whole.
_LEADING = frozenset(
    {
        "A",
        "AL",
        "CON",
        "DE",
        "DEL",
        "E",
        "EL",
        "EN",
        "LA",
        "LAS",
        "LO",
        "LOS",
        "PARA",
        "POR",
        "SIN",
        "U",
        "Y",
        "&",
    }
)


@dataclass(frozen=True, slots=True)
class RegimenCapital:
    """A régimen de capital found at the end of a name."""

    nombre: str
    """The name without it: a suggestion, never applied by itself."""
    sufijo: str
    """The régimen as it was written."""
    is_certain: bool
    """False where the letters could be part of the name after all."""


@cache
def _known() -> frozenset[str]:
    """Return every régimen as the bare letters it is written with: SADECV."""
    return frozenset(
        f"{form}{variable}{financial}{state}".replace(" ", "")
        for form in _SHORT + _LONG
        for variable in _VARIABLE
        for financial in _FINANCIAL
        for state in _STATE
    )


_LONGEST_WORD = len("MICROINDUSTRIAL")


@cache
def _endings() -> frozenset[str]:
    """Return the bare letters that the last word of a régimen can have: SADECV, CV, V."""
    return frozenset(known[-length:] for known in _known() for length in range(1, _LONGEST_WORD + 1))


# What spellings of one régimen differ in, once accents are taken apart.
_DRESS = re.compile(r"[\s.,;:\-\u0300-\u036f]+")


def _letters(text: str) -> str:
    """Return a text bare of dots, blanks and accents, in upper case."""
    return _DRESS.sub("", unicodedata.normalize("NFD", text.upper()))


def collapse(text: str) -> str:
    """Return a text with single blanks and none at the ends, as XSD's whiteSpace=collapse leaves it."""
    return " ".join(text.split())


_LONGEST = 16
"""No régimen is written with more words than this."""


def regimen_capital(nombre: str) -> RegimenCapital | None:
    """Find the régimen de capital at the end of a name, in any spelling; None where there is none.

    A name that consists of nothing else (`S.A. DE C.V.`) has none.
    """
    words = nombre.replace(",", ", ").split()
    while words and not _letters(words[-1]):
        words.pop()
    if not words or _letters(words[-1]) not in _endings():
        return None
    for start in range(max(1, len(words) - _LONGEST), len(words)):
        rest = words[start:]
        if _letters("".join(rest)) in _known():
            kept = collapse(" ".join(words[:start]).rstrip(" ,.-"))
            if not _letters(kept):
                return None
            return RegimenCapital(kept, " ".join(rest), _is_certain(words[start - 1], rest))
    return None


def _is_certain(before: str, words: list[str]) -> bool:
    if before.upper() in _LEADING:
        return False
    # A short word without a dot can be an acronym of the name's own: "GRUPO SC", "PROMOTORA SAS".
    if len(words) == 1 and words[0].upper() in _ACRONYMS:
        return False
    # Two or three letters apart and without a dot can be initials: "PLAN A C".
    apart = len(words) > 1 and all(len(word) == 1 and word.isalpha() for word in words)
    return not apart


def without_regimen_capital(nombre: str) -> str:
    """Return the name a user probably meant, in the SAT's form; for suggestions and comparisons."""
    found = regimen_capital(nombre)
    return as_the_sat_writes(found.nombre if found is not None else nombre)


def as_the_sat_writes(nombre: str) -> str:
    """Return a name in upper case with single blanks; accents and Ñ stay, since the SAT keeps them."""
    return collapse(nombre).upper()


def is_same_name(one: str, other: str) -> bool:
    """Whether the SAT would take two names for the same: letter by letter, but for case and blanks."""
    return as_the_sat_writes(one) == as_the_sat_writes(other)


def is_same_company(one: str, other: str) -> bool:
    """Whether two names differ at most by their régimen de capital, as in a certificate's subject."""
    return is_same_name(one, other) or without_regimen_capital(one) == without_regimen_capital(other)
