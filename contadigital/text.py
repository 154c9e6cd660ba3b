"""A provider's words: how they are compared, and how they are made fit to be kept and shown.

Whatever ContaDigital says may repeat what we sent it, the key and the token among it, so no word of an answer is
stored or logged before `clean`.
"""

import re
import unicodedata
from collections.abc import Mapping

MAX_TEXT = 500
"""Characters of a provider's words that we keep: enough for a person, too few for a document."""
MAX_WORDS = 4_000
"""Characters of a provider's words that are looked at."""


def fold(text: str) -> str:
    """Lower case, without accents, blanks made single: the form in which words are compared."""
    if text.isascii():
        return " ".join(text.lower().split())
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return " ".join(plain.lower().split())


def is_off(value: object) -> bool:
    """Whether a row's flag or status says that it is not in use."""
    return fold(str(value)) in ("0", "n", "no", "false", "inactiva", "inactivo", "baja")


_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_SECRETS = (
    re.compile(r"eyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?"),  # a JWT
    re.compile(r"(?i)\b(?:bearer|api[ _-]?key|token)\b[\"' :=]+(?=[^\s\"',;]*\d)[^\s\"',;]{6,}"),
    # Long, with letters and digits; it begins where no such run is under way, or long texts would take for ever.
    re.compile(r"(?<![\w+/-])(?=[\w+/-]*\d)(?=[\w+/-]*[A-Za-z])[\w+/-]{24,}={0,2}"),
)


def clean(text: str, secrets: tuple[str, ...] = ()) -> str:
    """A provider's words fit to be stored and shown: no tags, control characters, keys or tokens; bounded."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "[oculto]")
    text = re.sub(r"(?is)<(script|style)\b.*?</\1>|<[^>]{0,500}>", " ", text[:MAX_WORDS])
    kept: list[str] = []

    def protect(found: re.Match[str]) -> str:
        kept.append(found[0])
        return f"\x01{len(kept) - 1}\x01"

    text = _UUID.sub(protect, text.replace("\x01", " "))
    for pattern in _SECRETS:
        text = pattern.sub("[oculto]", text)
    text = re.sub(r"\x01(\d+)\x01", lambda found: kept[int(found[1])], text)
    text = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in text)
    text = " ".join(text.split())
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def describe(headers: Mapping[str, str], status: int) -> str:
    """A short text for an answer without words."""
    return f"HTTP {status} ({headers.get('content-type', 'no content type')[:60]})"


_PEOPLE = (
    (re.compile(r"(?i)\b[A-ZÑ&]{3,4}\d{6}[A-Z0-9]{3}\b"), "(RFC)"),
    (re.compile(r"[^\s@<>\"']+@[^\s@<>\"']+"), "(correo)"),
    (re.compile(r"\d{7,}"), "(número)"),
)


def redact(text: str) -> str:
    """A provider's words for a page that is sent on: without RFCs, e-mail addresses and long numbers, and short."""
    for pattern, shown in _PEOPLE:
        text = pattern.sub(shown, text)
    return text[:120]


_A_NAME = re.compile(r"(?!(?:[A-ZÑ&]{5,}|.*\d{3}|.*[@ ]))[A-Za-zÁÉÍÓÚÑáéíóúñ_][\w.\-]{0,39}")
_NOBODYS = re.compile(
    r"ID|RFCS?|SERIES?|MONEDAS?|UNIDADES|SUCURSALES|CLAVE|DESCRIPCION|NOMBRE|CODIGO|RESULTADO|MENSAJE|"
    r"\d{1,2}|\((?:clave|valor|raíz)\)"
)
OTHER_NAME = "(otro nombre)"


def shown_name(name: str) -> str:
    """A field's name as it may be shown; a long word in capitals, digits, blanks or an @ may be somebody's."""
    return name if _A_NAME.fullmatch(name) or _NOBODYS.fullmatch(name) else OTHER_NAME
