"""The RFC: its pattern, its kind of person, and the two signs of a typing mistake.

A wrong check digit proves nothing: real companies have one, so it is worth a warning and never a refusal. Whether an
RFC exists only the SAT can say (CFDI40143).
"""

import re
from datetime import date
from typing import Literal

Persona = Literal["moral", "fisica"]

PUBLICO_EN_GENERAL = "XAXX010101000"
"""The generic RFC of customers in Mexico who give none."""
EXTRANJERO = "XEXX010101000"
"""The generic RFC of customers abroad."""
GENERIC = frozenset({PUBLICO_EN_GENERAL, EXTRANJERO})

# t_RFC of tdCFDI.xsd: three letters for a persona moral, four for a persona física.
_PATTERN = re.compile(r"[A-Z&Ñ]{3,4}([0-9]{2})(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])[A-Z0-9]{2}[0-9A]")
_DIGITS = "0123456789ABCDEFGHIJKLMN&OPQRSTUVWXYZ Ñ"


def is_well_formed(rfc: str) -> bool:
    """Whether an RFC has the pattern of the XSD."""
    return _PATTERN.fullmatch(rfc) is not None


def persona(rfc: str) -> Persona | None:
    """Return what kind of person an RFC belongs to; None for a generic one or one of another form."""
    if rfc in GENERIC or not is_well_formed(rfc):
        return None
    return "moral" if len(rfc) == 12 else "fisica"


def has_real_date(rfc: str) -> bool:
    """Whether the date inside a well-formed RFC exists; 29 February is looked up in both centuries."""
    match = _PATTERN.fullmatch(rfc)
    if match is None:
        return False
    year, month, day = (int(part) for part in match.groups())
    for century in (1900, 2000):
        try:
            date(century + year, month, day)
        except ValueError:
            continue
        return True
    return False


def has_right_check_digit(rfc: str) -> bool:
    """Whether the last character of a well-formed RFC agrees with the others (mod 11)."""
    padded = rfc.rjust(13)
    total = sum(_DIGITS.index(c) * (13 - n) for n, c in enumerate(padded[:12]))
    return "0A987654321"[total % 11] == padded[12]
