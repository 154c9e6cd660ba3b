"""The clock of the place of issue, and the 72 hours that run on it."""

from datetime import UTC, datetime, timedelta

import pytest

from cfdi.sat.catalogs import postcode
from cfdi.sat.zones import CENTRO, UnknownPostcode, deadline, fecha_before, instant_of, local, zone_of


@pytest.mark.parametrize(
    ("codigo_postal", "zone", "winter", "summer"),
    [
        ("64000", CENTRO, 10, 10),  # Monterrey
        ("42501", CENTRO, 10, 10),  # Hidalgo, where the test issuer lives
        ("22000", "America/Tijuana", 8, 9),  # Baja California keeps summer time
        ("21000", "America/Tijuana", 8, 9),  # Mexicali
        ("88000", "America/Matamoros", 10, 11),  # Nuevo Laredo, the border's clock
        ("26200", "America/Matamoros", 10, 11),  # Ciudad Acuña
        ("32000", "America/Matamoros", 10, 11),  # Ciudad Juárez, as the catalogue has it
        ("83000", "America/Mazatlan", 9, 9),  # Hermosillo
        ("80000", "America/Mazatlan", 9, 9),  # Culiacán
        ("77500", "America/Cancun", 11, 11),  # Cancún
    ],
)
def test_the_clock_of_a_postcode(codigo_postal, zone, winter, summer):
    """At 16:00 UTC, in December and in July."""
    assert zone_of(codigo_postal).key == zone
    assert local(datetime(2026, 12, 1, 16, tzinfo=UTC), codigo_postal).hour == winter
    assert local(datetime(2026, 7, 1, 16, tzinfo=UTC), codigo_postal).hour == summer


def test_fecha_is_naive_and_cut_to_the_second():
    """As Anexo 20 has it: local time, no zone, no fraction."""
    instant = datetime(2026, 11, 23, 16, 15, 59, 999_999, tzinfo=UTC)

    assert local(instant, "64000") == datetime(2026, 11, 23, 10, 15, 59)
    assert local(instant, "64000").tzinfo is None


def test_an_instant_without_a_zone_is_refused():
    """ValueError, not a guess."""
    with pytest.raises(ValueError, match="time zone"):
        local(datetime(2026, 11, 23, 16, 15), "64000")


@pytest.mark.parametrize("codigo_postal", ["", "6400", "640000", "ABCDE", "x" * 100_000])
def test_an_unknown_postcode_has_no_clock(codigo_postal):
    """UnknownPostcode carries what was asked."""
    with pytest.raises(UnknownPostcode) as unknown:
        zone_of(codigo_postal)

    assert unknown.value.codigo_postal == codigo_postal


@pytest.mark.parametrize(
    ("unknown", "zone"),
    [
        ("95660", "America/Mexico_City"),
        ("17500", "America/Mexico_City"),
        ("00001", "America/Mexico_City"),
    ],
)
def test_a_postcode_newer_than_our_list_has_its_neighbours_clock(unknown, zone):
    """Five digits that c_CodigoPostal lacks: the nearest that it has says what time it is."""
    assert postcode(unknown) is None
    assert zone_of(unknown).key == zone


@pytest.mark.parametrize(
    ("instant", "fecha"),
    [
        (datetime(2027, 1, 1, 6, 0, 0, tzinfo=UTC), datetime(2027, 1, 1, 0, 0, 0)),
        (datetime(2027, 1, 1, 6, 0, 59, tzinfo=UTC), datetime(2027, 1, 1, 0, 0, 0)),
        (datetime(2027, 1, 1, 6, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, 0, 0, 1)),
        (datetime(2027, 1, 1, 5, 59, 59, tzinfo=UTC), datetime(2026, 12, 31, 23, 58, 59)),
    ],
)
def test_the_first_minute_after_midnight_belongs_to_its_own_day(instant, fecha):
    """Dated a minute back, an invoice of 1 January would be of the year before."""
    assert fecha_before(instant, "64000", timedelta(minutes=1)) == fecha


def test_the_deadline_is_72_hours_after_fecha():
    """In UTC, by the clock of the postcode."""
    assert deadline(datetime(2026, 11, 23, 10, 15), "64000") == datetime(2026, 11, 26, 16, 15, tzinfo=UTC)


def test_the_deadline_is_of_real_hours_when_the_clocks_change():
    """Tijuana fell back on 1 November 2026: 72 hours are 72 hours, not three days on the wall."""
    fecha = datetime(2026, 10, 31, 12, 0)

    assert deadline(fecha, "22000") - instant_of(fecha, "22000") == timedelta(hours=72)
    assert local(deadline(fecha, "22000"), "22000") == datetime(2026, 11, 3, 11, 0)


def test_of_an_hour_that_strikes_twice_the_first_counts():
    """So that nobody believes to have an hour more than he has."""
    assert instant_of(datetime(2026, 11, 1, 1, 30), "22000") == datetime(2026, 11, 1, 8, 30, tzinfo=UTC)


@pytest.mark.parametrize("codigo_postal", ["64000", "22000", "88000", "83000", "77500"])
def test_there_and_back_is_the_same_instant(codigo_postal):
    """For a postcode of each zone."""
    instant = datetime(2026, 6, 15, 12, 34, 56, tzinfo=UTC)

    assert instant_of(local(instant, codigo_postal), codigo_postal) == instant


@pytest.mark.parametrize(
    ("codigo_postal", "is_border"),
    [("22000", True), ("32000", True), ("88000", True), ("77000", True), ("64000", False), ("42501", False)],
)
def test_border_postcodes_are_marked(codigo_postal, is_border):
    """Tijuana, Juárez, Nuevo Laredo and Chetumal are; Monterrey is not."""
    assert postcode(codigo_postal).is_border is is_border
