"""The clock of the place of issue: Fecha is written in it, and the SAT's 72 hours run from it.

The one thing a newcomer would get wrong: `Fecha` has no zone, so the same text is another instant in
Tijuana and in Cancún. Everything here turns an aware instant into that text's clock, or back.
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cfdi.sat import catalogs

STAMPING_PERIOD = timedelta(hours=72)
"""How long after Fecha the SAT still takes a CFDI (Anexo 20; code 401 afterwards)."""

CENTRO = "America/Mexico_City"
"""The zone in which FechaTimbrado is written, wherever the invoice was issued."""

# c_CodigoPostal's own names for its zones. Since October 2022 only the northern border keeps summer time.
# Ciudad Juárez stands there with the border's clock, one hour ahead of its own: the SAT's word counts.
_ZONES = {
    "Tiempo del Centro": CENTRO,
    "Tiempo del Centro en Frontera": "America/Matamoros",
    "Tiempo del Noroeste": "America/Tijuana",
    "Tiempo del Pacífico": "America/Mazatlan",
    "Tiempo del Sureste": "America/Cancun",
}


class UnknownPostcode(LookupError):
    """A postcode that is not in c_CodigoPostal, so nobody can tell what time it is there."""

    def __init__(self, codigo_postal: str) -> None:
        super().__init__(f"codigo postal {codigo_postal!r} is not in c_CodigoPostal")
        self.codigo_postal = codigo_postal


def zone_of(codigo_postal: str) -> ZoneInfo:
    """Return the time zone of a postcode; raise `UnknownPostcode` for one the SAT does not list."""
    place = catalogs.postcode(codigo_postal)
    if place is None:
        raise UnknownPostcode(codigo_postal)
    return ZoneInfo(_ZONES[place.huso_horario])


def local(instant: datetime, codigo_postal: str) -> datetime:
    """Return an aware instant as the naive clock of a postcode, cut to the second, as Fecha is written."""
    if instant.tzinfo is None:
        raise ValueError("an instant needs its time zone")
    return instant.astimezone(zone_of(codigo_postal)).replace(tzinfo=None, microsecond=0, fold=0)


def instant_of(fecha: datetime, codigo_postal: str) -> datetime:
    """Return the instant (UTC) of a naive Fecha; of an hour that strikes twice, the first."""
    return fecha.replace(tzinfo=zone_of(codigo_postal), fold=0).astimezone(UTC)


def deadline(fecha: datetime, codigo_postal: str) -> datetime:
    """Return the instant (UTC) after which the SAT no longer takes a CFDI of this naive Fecha."""
    return instant_of(fecha, codigo_postal) + STAMPING_PERIOD
