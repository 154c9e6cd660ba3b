"""Measures, prints a table, and writes RESULTS.md: `./dev bench [NAME ...] [--quick]`."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import beside_plain, count, enqueue, fairness, memory, parts, pipeline, readers, scale
from benchmarks.figures import RESULTS, Figure, Result, markdown
from benchmarks.processes import load
from config import logging as logs

BENCHMARKS: dict[str, Callable[[bool], tuple[Figure, ...]]] = {
    "webhook": beside_plain.with_a_webhook,
    "plain": beside_plain.without_a_channel,
    "count": count.an_ordinary_invoice,
    "ideal": pipeline.of_the_ideal,
    "account": pipeline.one_account,
    "noop": pipeline.against_no_ops,
    "enqueue": enqueue.bulk,
    "fairness": fairness.beside_a_crowd,
    "outage": fairness.after_an_outage,
    "flood": fairness.behind_a_flood,
    "readers": readers.beside_readers,
    "scale": scale.open_invoices,
    "memory": memory.flat,
    "tail": pipeline.long_tail,
    "parts": parts.of_parts,
    "lines": parts.of_lines,
    "profile": parts.profile,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run those that are named, or all; 0 when every figure that has a target meets it."""
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all unless named"
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter: to see that it works")
    parser.add_argument(
        "--out", type=Path, help="the page to write (default: RESULTS.md, where all of it ran in full)"
    )
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no {unknown[0]}: {', '.join(BENCHMARKS)}")
    console = Console(stderr=True)
    nowhere = Path(os.devnull).open("w")  # noqa: SIM115  # for as long as the process lives
    logs.configure(
        format="json", level="info", stream=nowhere
    )  # a worker's lines are made, and shown to nobody
    results = []
    for name in options.names or BENCHMARKS:
        with console.status(f"{name}: {_about(name)}"):
            try:
                results.append(run(name, quick=options.quick))
            except Exception:
                console.print_exception()  # the log, which would hold it, goes nowhere here
                raise
        for figure in results[-1].figures:
            console.print(
                f"{name:>9}  {figure.shown:>10} {figure.wanted:>7} {figure.verdict:5}  {figure.what}"
            )
    Console().print(table(results))
    out = options.out or (RESULTS if not options.names and not options.quick else None)
    if out is not None:
        out.write_text(markdown(results, quick=options.quick))
        console.print(f"written to {out}")
    return 0 if all(figure.is_met is not False for result in results for figure in result.figures) else 1


def run(name: str, *, quick: bool) -> Result:
    """Run one benchmark."""
    before, began = load(), time.monotonic()
    figures = BENCHMARKS[name](quick)
    return Result(name, _about(name), figures, time.monotonic() - began, (before, load()))


def table(results: Sequence[Result]) -> Table:
    """All figures, and whether each is what it should be."""
    shown = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for column in ("benchmark", "measured", "target", "", "what"):
        shown.add_column(column, justify="right" if column in {"measured", "target"} else "left")
    for result in results:
        for figure in result.figures:
            colour = {"met": "green", "short": "red"}.get(figure.verdict, "")
            verdict = f"[{colour}]{figure.verdict}[/]" if colour else ""
            shown.add_row(result.name, figure.shown, figure.wanted, verdict, figure.what)
    return shown


def _about(name: str) -> str:
    return (BENCHMARKS[name].__doc__ or "").strip()


if __name__ == "__main__":
    sys.exit(main())
