"""The clock of the place of issue: Fecha is written in it, and the SAT's 72 hours run from it.

`Fecha` has no zone, so the same text is another instant in Tijuana and in Cancún: everything here turns an aware
instant into that text's clock, or back. A postcode that is newer than our list has the clock of its neighbours.
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
    """A postcode that is none, so the time there is unknown."""

    def __init__(self, codigo_postal: str) -> None:
        super().__init__(f"codigo postal {codigo_postal!r} is no postcode")
        self.codigo_postal = codigo_postal


def zone_of(codigo_postal: str) -> ZoneInfo:
    """Return the time zone of a postcode, of its nearest neighbour where the SAT's list lacks it.

    Raises `UnknownPostcode` for what is not written as one.
    """
    place = catalogs.postcode(codigo_postal) or catalogs.neighbour_of(codigo_postal)
    if place is None:
        raise UnknownPostcode(codigo_postal)
    return ZoneInfo(_ZONES[place.huso_horario])


def local(instant: datetime, codigo_postal: str) -> datetime:
    """Return an aware instant as the naive clock of a postcode, cut to the second, as Fecha is written."""
    if instant.tzinfo is None:
        raise ValueError("an instant needs its time zone")
    return instant.astimezone(zone_of(codigo_postal)).replace(tzinfo=None, microsecond=0, fold=0)


def fecha_before(instant: datetime, codigo_postal: str, margin: timedelta) -> datetime:
    """Return the clock of a postcode a margin before an instant, but of the instant's own day.

    In the first minute after midnight the margin would date an invoice into the day, month or year before.
    """
    midnight = local(instant, codigo_postal).replace(hour=0, minute=0, second=0)
    return max(local(instant - margin, codigo_postal), midnight)


def instant_of(fecha: datetime, codigo_postal: str) -> datetime:
    """Return the instant (UTC) of a naive Fecha; of an hour that strikes twice, the first."""
    return fecha.replace(tzinfo=zone_of(codigo_postal), fold=0).astimezone(UTC)


def deadline(fecha: datetime, codigo_postal: str) -> datetime:
    """Return the instant (UTC) after which the SAT no longer takes a CFDI of this naive Fecha."""
    return instant_of(fecha, codigo_postal) + STAMPING_PERIOD
