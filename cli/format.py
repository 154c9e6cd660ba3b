"""How the command line writes times, sizes and texts of others.

Instants are shown in UTC, as in the logs. Text from outside (a refusal of the provider, an external_id) may hold
anything, also what moves a terminal's cursor; it is shown through `plain`, never as rich's markup.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.text import Text

STYLES = {
    "accepted": "cyan",
    "stamping": "cyan",
    "waiting": "yellow",
    "in_doubt": "bold yellow",
    "on_hold": "magenta",
    "stamped": "green",
    "rejected": "red",
    "failed": "bold red",
    "cancelling": "yellow",
    "cancelled": "dim",
    # connections
    "pending": "yellow",
    "active": "green",
    "broken": "bold red",
    "disconnected": "dim",
    # attempts and deliveries
    "done": "green",
    "delivered": "green",
    "dead": "bold red",
    "lost": "bold yellow",
    "late": "bold yellow",
    "refused": "red",
    "not_sent": "yellow",
}


def plain(value: object) -> str:
    """Return text on one line without control characters."""
    text = " ".join(str(value).split())
    return "".join(mark if mark.isprintable() else "�" for mark in text)


def coloured(word: str, *, shown: str | None = None) -> Text:
    """Return a status in its colour, with spaces for underscores."""
    return Text((shown or word).replace("_", " "), style=STYLES.get(word, ""))


def at(instant: datetime | None, *, missing: str = "-") -> str:
    """Return an instant as `2026-11-23 16:20:03 UTC`."""
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if instant is not None else missing


def clock(instant: datetime) -> str:
    """Return an instant's time of day to the millisecond, UTC."""
    utc = instant.astimezone(UTC)
    return f"{utc:%H:%M:%S}.{utc.microsecond // 1000:03d}"


def span(length: timedelta, *, brief: bool = False) -> str:
    """Return a length of time in its two largest units (`350 ms`, `4.2 s`, `3 min 20 s`); `brief` in its largest."""
    seconds = abs(length.total_seconds())
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, name, below, small in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // below
            return (
                f"{whole // size} {name} {rest} {small}" if rest and not brief else f"{whole // size} {name}"
            )
    return f"{whole} s"


def ago(instant: datetime, now: datetime, *, brief: bool = False) -> str:
    """Return an instant as seen from now: `4 min ago`, `in 12 s`, `now`; `brief` for a column of a table."""
    left = instant - now
    if abs(left) < timedelta(seconds=0.5):
        return "now"
    text = span(left, brief=brief)
    return f"in {text}" if left > timedelta(0) else f"{text} ago"


def milliseconds(value: int | None) -> str:
    """Return a latency as `142 ms`, `1.46 s` or `30.0 s`."""
    if value is None:
        return ""
    if value < 1_000:
        return f"{value} ms"
    return f"{value / 1000:.2f} s" if value < 10_000 else f"{value / 1000:.1f} s"


def size(octets: int) -> str:
    """Return a size in bytes as people read it."""
    return f"{octets:,} bytes"


def money(total: str | None, moneda: str | None) -> str:
    """Return an amount with its thousands apart: `16,800.00 MXN`; as it came where it is no number."""
    if total is None:
        return ""
    whole, dot, rest = total.partition(".")
    digits = f"{int(whole):,}" if whole.isascii() and whole.isdigit() and len(whole) < 20 else whole
    return " ".join(filter(None, (f"{digits}{dot}{rest}", moneda)))


def count(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun: `1 look-up`, `1,204 look-ups`."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def place(where: Path | str) -> str:
    """Return a path as it is typed from here: relative where it lies below the current folder. A URL stays whole."""
    return str(where).removeprefix("file://").removeprefix(f"{Path.cwd()}/")


def duration(text: str) -> timedelta:
    """Read `90`, `90s`, `10m`, `6h` or `3d`. Raises ValueError."""
    units: dict[str, float] = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
    number, unit = (text[:-1], text[-1]) if text[-1:] in units else (text, "s")
    seconds = float(number) * units[unit]
    if not 0 <= seconds < 10**9:
        raise ValueError(text)
    return timedelta(seconds=seconds)
