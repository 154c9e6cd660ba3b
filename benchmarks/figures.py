"""One figure of one benchmark, and how a set of them is shown and written down.

On a shared machine an absolute figure measures the neighbours. So a figure is a ratio
of two things measured in the same run, and the absolute ones beside it are only there to be reckoned with.
"""

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

RESULTS = Path(__file__).with_name("RESULTS.md")
LIBRARIES = ("celery", "kombu", "redis", "sqlalchemy", "psycopg", "httpx", "pydantic", "lxml")


@dataclass(frozen=True)
class Figure:
    """What one measurement found. `target` is the bound it is held to; None where it only informs."""

    what: str
    value: float
    target: float | None = None
    bound: Literal["at least", "at most"] = "at least"
    unit: str = "ratio"
    facts: tuple[str, ...] = ()

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target is None:
            return None
        return self.value >= self.target if self.bound == "at least" else self.value <= self.target

    @property
    def shown(self) -> str:
        """The value as it is read."""
        digits = 2 if abs(self.value) < 100 else 0
        return f"{self.value:,.{digits}f}" + ("" if self.unit == "ratio" else f" {self.unit}")

    @property
    def wanted(self) -> str:
        """The target as it is read."""
        return "" if self.target is None else f"{'≥' if self.bound == 'at least' else '≤'} {self.target:g}"

    @property
    def verdict(self) -> str:
        """met, short, or nothing."""
        return {None: "", True: "met", False: "short"}[self.is_met]


@dataclass(frozen=True)
class Result:
    """All that one benchmark found, and how long it took (seconds)."""

    name: str
    about: str
    figures: tuple[Figure, ...]
    seconds: float
    load: tuple[float, float]  # of the machine in the last minute, before and after
    notes: tuple[str, ...] = field(default=())


def machine() -> dict[str, str]:
    """Return what all figures depend on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // 1024
    return {
        "CPU": f"{model}, {len(os.sched_getaffinity(0))} cores",
        "Memory": f"{memory:,} MB",
        "System": f"{platform.system()} {platform.release()}",
        "Python": sys.version.split()[0],
        "Libraries": ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
    }


def markdown(results: Sequence[Result], *, quick: bool) -> str:
    """Return the page that is kept."""
    lines = [
        "# What was measured",
        "",
        "Written by `./dev bench`; each figure compares two things of one run, so that it travels to another machine.",
        "What falls short is named as such, and `docs/decisions/` says where the time goes and what was done about it.",
        "",
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC" + (", a quick run" if quick else ""),
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in machine().items()),
        "",
        "| benchmark | figure | measured | target | |",
        "|---|---|---|---|---|",
    ]
    for result in results:
        lines += [
            f"| {result.name} | {figure.what} | {figure.shown} | {figure.wanted} | {figure.verdict} |"
            for figure in result.figures
        ]
    for result in results:
        lines += ["", f"## {result.name}", "", result.about, ""]
        for figure in result.figures:
            lines.append(
                f"- **{figure.what}: {figure.shown}**" + (f" ({figure.wanted})" if figure.wanted else "")
            )
            lines += [f"  - {fact}" for fact in figure.facts]
        lines += [f"- {note}" for note in result.notes]
        lines.append(
            f"- {result.seconds:.0f} s; load of the machine {result.load[0]:.1f} before, {result.load[1]:.1f} after"
        )
    return "\n".join(lines) + "\n"
