"""How the command line writes times, sizes and other people's format."""

from datetime import UTC, datetime, timedelta

import pytest

from cli import format

NOW = datetime(2026, 11, 23, 16, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("length", "shown"),
    [
        (timedelta(), "0 ms"),
        (timedelta(milliseconds=350), "350 ms"),
        (timedelta(seconds=4.24), "4.2 s"),
        (timedelta(seconds=52), "52 s"),
        (timedelta(seconds=60), "1 min"),
        (timedelta(seconds=200), "3 min 20 s"),
        (timedelta(minutes=61), "1 h 1 min"),
        (timedelta(hours=72), "3 d"),
        (timedelta(days=2, hours=23, minutes=50), "2 d 23 h"),
        (-timedelta(seconds=52), "52 s"),
    ],
)
def test_a_length_of_time_is_reported_in_its_two_largest_units(length, shown):
    """A length of time is shown in its two largest units."""
    assert format.span(length) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(12, "in 12 s"), (-240, "4 min ago"), (0.2, "now"), (-0.4, "now")]
)
def test_an_instant_is_reported_as_seen_from_now(seconds, shown):
    """An instant is shown as seen from now."""
    assert format.ago(NOW + timedelta(seconds=seconds), NOW) == shown


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("6h", 21_600), ("1.5d", 129_600)]
)
def test_an_age_is_read_with_its_unit(text, seconds):
    """Seconds without a unit; s, m, h and d; fractions too."""
    assert format.duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "m", "soon", "-5m", "10y", "nan", "1e99d"])
def test_what_is_no_age_is_refused(text):
    """No number, an unknown unit, a negative or an endless age is a ValueError."""
    with pytest.raises(ValueError):  # noqa: PT011 (float's own words differ)
        format.duration(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines", "two lines"),
        ("\x1b[2J\x1b[31mred", "�[2J�[31mred"),
        ("ZUÑ & Cía", "ZUÑ & Cía"),
        ("a\u202eb", "a�b"),
    ],
)
def test_what_came_from_outside_moves_no_cursor(text, shown):
    """Escape codes and changes of direction are replaced, letters are not."""
    assert format.plain(text) == shown


@pytest.mark.parametrize(
    ("total", "moneda", "shown"),
    [
        ("16800.00", "MXN", "16,800.00 MXN"),
        ("980", "JPY", "980 JPY"),
        ("not a number", "MXN", "not a number MXN"),
        ("1234567.891", None, "1,234,567.891"),
        (None, "MXN", ""),
    ],
)
def test_an_amount_is_shown_as_it_came_with_its_thousands_apart(total, moneda, shown):
    """No digit is added or rounded away; what is no number stays."""
    assert format.money(total, moneda) == shown


@pytest.mark.parametrize(
    ("latency", "shown"), [(None, ""), (0, "0 ms"), (999, "999 ms"), (1_460, "1.46 s"), (30_004, "30.0 s")]
)
def test_a_latency_has_three_digits(latency, shown):
    """Milliseconds below a second, seconds above."""
    assert format.milliseconds(latency) == shown


def test_a_path_is_shown_as_it_is_typed_from_here(tmp_path, monkeypatch):
    """Relative below the working directory, whole elsewhere, URLs untouched."""
    monkeypatch.chdir(tmp_path)

    assert format.place(tmp_path / "var" / "documents") == "var/documents"
    assert format.place(f"file://{tmp_path}/var/documents") == "var/documents"
    assert format.place("/srv/documents") == "/srv/documents"
    assert format.place("s3://facturas/cfdi") == "s3://facturas/cfdi"
