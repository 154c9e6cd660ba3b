"""The API key as a person pastes it: cleaned of blanks around it, refused with a fix where it is wrong.

No call is made here, so a key refused here costs nothing: some providers lock an account after three bad ones.
Nothing but blanks around the key is ever taken away. A key that comes with quotes or a label may have lost something
else too, and guessing would end as a rejected key later. What a key of ContaDigital looks like is not known; only
what no key can look like is refused (assumed).
"""

import re
import unicodedata
from dataclasses import dataclass, field

from contadigital.reasons import WHERE_IT_GOES, WHERE_THE_KEY_IS

FERNET_TOKEN = re.compile(r"gAAAAA[\w-]{20,}={0,2}")
"""A key as it travels and is stored: encrypted. It is hidden like the key itself: `disconnect` forgets both."""

SHORTEST, LONGEST = 16, 512
"""Characters of a key (assumed): below it is a piece of one, above it is something else."""

INVISIBLE = frozenset(
    "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u00ad\u180e\u2028\u2029\u202a\u202b\u202c\u202d\u202e"
)
"""Zero-width characters and marks of direction, as web pages and chat programs leave them."""
QUOTES = "\"'`´‘’‚“”„«»‹›"


@dataclass(frozen=True, slots=True)
class CleanKey:
    """A key that may be tried; `corrections` says in Spanish what was taken away around it."""

    key: str = field(repr=False)
    corrections: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MalformedKey:
    """A key that cannot be one: why, and what to do, in Spanish; never the key itself."""

    cause: str
    message: str
    fix: str


AGAIN = f"Cópialo de nuevo en {WHERE_THE_KEY_IS}, completo y sin nada alrededor, y pégalo en {WHERE_IT_GOES}."

_CAUSES: dict[str, tuple[str, str]] = {
    "empty": ("No pegaste ningún API Key.", AGAIN),
    "masked": (
        "Pegaste el API Key oculto (con puntos o asteriscos).",
        f"Usa el botón de copiar en {WHERE_THE_KEY_IS}: el texto que se ve tapado no sirve.",
    ),
    "quotes": ("El API Key trae comillas.", f"Pégalo sin comillas en {WHERE_IT_GOES}."),
    "label": (
        "Junto con el API Key pegaste su nombre u otro texto.",
        f"Pega solo el API Key, sin nada antes ni después, en {WHERE_IT_GOES}.",
    ),
    "address": ("Lo que pegaste es una dirección, no un API Key.", AGAIN),
    "inner_blank": (
        "El API Key trae espacios o saltos de línea en medio.",
        f"Cópialo de nuevo en {WHERE_THE_KEY_IS} en una sola pieza: pueden ser dos textos o faltarle algo.",
    ),
    "invisible": (
        "El API Key trae caracteres invisibles en medio.",
        f"Cópialo directo de {WHERE_THE_KEY_IS}, sin pasar por un chat, un correo o un documento.",
    ),
    "control": (
        "El API Key trae caracteres de control.",
        f"Cópialo directo de {WHERE_THE_KEY_IS}, sin pasar por otro programa.",
    ),
    "strange": (
        "El API Key trae letras o signos que un API Key no lleva.",
        f"Cópialo directo de {WHERE_THE_KEY_IS}: algún programa pudo cambiarle un carácter.",
    ),
    "rfc": ("Lo que pegaste es un RFC, no un API Key.", AGAIN),
    "too_short": ("El API Key está incompleto: es demasiado corto.", AGAIN),
    "too_long": ("Lo que pegaste es demasiado largo para ser un API Key.", AGAIN),
}

_LABEL = re.compile(
    r"(?i)^(?:(?:mi|tu|la|el|your|my)\s+)?(?:api[\s_-]*key|apikey|x-api-key|key|llave|clave|token|bearer|basic|"
    r"authorization|contadigital)\s*(?:[:=\s]|[-–—>]\s)"
)
_RFC = re.compile(r"(?i)[A-ZÑ&]{3,4}\d{6}[A-Z0-9]{3}")
_PLAIN = re.compile(r"[A-Za-z0-9._~+/=:|@$!*#%^-]+")


def clean_api_key(pasted: str) -> CleanKey | MalformedKey:
    """Take a pasted key without the blanks around it, or say why it cannot be one; nothing is called."""
    bare = _bare(pasted)
    cause = _cause(bare)
    if cause is not None:
        return malformed(cause)
    corrections = ("Quitamos los espacios que venían antes o después del API Key.",) if bare != pasted else ()
    return CleanKey(bare, corrections)


def malformed(cause: str) -> MalformedKey:
    """The words for a cause."""
    message, fix = _CAUSES[cause]
    return MalformedKey(cause, message, fix)


def _bare(pasted: str) -> str:
    """Without blanks and invisible characters at both ends: nobody can see those to take them away."""
    start, end = 0, len(pasted)
    while start < end and (pasted[start].isspace() or pasted[start] in INVISIBLE):
        start += 1
    while end > start and (pasted[end - 1].isspace() or pasted[end - 1] in INVISIBLE):
        end -= 1
    return pasted[start:end]


def _cause(key: str) -> str | None:
    """What is wrong first; the order is that of what a user would recognise."""
    if not key:
        return "empty"
    if len(set(key) & set("•●*·∙‧…")) and re.search(r"[•●∙·‧*]{4}|…", key):
        return "masked"
    if _LABEL.match(key) or key[0] in "{[<":
        return "label"
    if any(mark in key for mark in QUOTES):
        return "quotes"
    if re.match(r"(?i)https?://|www\.", key) or re.fullmatch(r"[^@\s]+@[^@\s]+\.[A-Za-z]{2,}", key):
        return "address"
    if any(mark in INVISIBLE for mark in key):
        return "invisible"
    if any(mark.isspace() for mark in key):
        return "inner_blank"
    if any(unicodedata.category(mark) == "Cc" for mark in key):
        return "control"
    if _RFC.fullmatch(key):
        return "rfc"
    if len(key) > LONGEST:
        return "too_long"
    if not _PLAIN.fullmatch(key):
        return "strange"
    if len(key) < SHORTEST:
        return "too_short"
    return None
