"""What checking an invoice before the call costs: `python -m benchmarks.validation`.

CPU time of this process, not time on the wall, so that neighbours on the machine hardly count; the median of
several rounds, so that one disturbed round doesn't either. The import is measured in fresh interpreters.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from benchmarks.processes import median_ms
from cfdi.amounts import compute
from cfdi.document import read
from cfdi.sat import catalogs
from cfdi.validation import validate
from tests.support import builders

THREADS = 16


def measure(runs: int = 200) -> dict[str, float]:
    """Milliseconds of CPU for 1, 3 and 20 lines and the steps of 3, and what the import costs; about 5 s."""
    figures = {f"validation_{lines}_lines_ms": _validation(lines, runs) for lines in (1, 3, 20)}
    return figures | _steps(runs) | _lookups() | _imports()


def _invoice(lines: int) -> builders.JSON:
    return builders.an_invoice(
        conceptos=[builders.a_concepto(descripcion=f"Tramo {n}") for n in range(lines)]
    )


def _validation(lines: int, runs: int) -> float:
    raw, issuer = _invoice(lines), builders.an_issuer()
    verdict = validate(raw, issuer=issuer, now=builders.NOW)
    if verdict.faults:
        raise AssertionError(f"the benchmark's own invoice fails: {verdict.faults}")
    return median_ms(lambda: validate(raw, issuer=issuer, now=builders.NOW), runs)


def _steps(runs: int) -> dict[str, float]:
    raw = _invoice(3)
    invoice = read(raw)
    faulty = raw | {"conceptos": [*raw["conceptos"], {"UsoCFDI": 1}], "total": 1.5}
    return {
        "read_ms": median_ms(lambda: read(raw), runs),
        "amounts_ms": median_ms(lambda: compute(invoice), runs),
        "validation_of_a_misshapen_ms": median_ms(
            lambda: validate(faulty, issuer=None, now=builders.NOW), max(1, runs // 5)
        ),
    }


def _lookups() -> dict[str, float]:
    """Microseconds of CPU of a look-up that no cache answers, from one thread and from many at once."""
    keys = [f"{number:05}" for number in range(20_000, 24_000)]

    def cold(ask: Callable[[], object]) -> float:
        catalogs._postcode.cache_clear()  # nothing public forgets, and nothing else should
        started = time.process_time()
        ask()
        return round((time.process_time() - started) / len(keys) * 1e6, 1)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(catalogs.postcode, keys, chunksize=50))  # the threads are there before the clock runs
        return {
            "lookup_one_thread_us": cold(lambda: [catalogs.postcode(key) for key in keys]),
            f"lookup_{THREADS}_threads_us": cold(
                lambda: list(pool.map(catalogs.postcode, keys, chunksize=50))
            ),
        }


_IMPORT = """
import time
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
before, started = resident(), time.process_time()
{statement}
print(round((time.process_time() - started) * 1e3, 1), round((resident() - before) / 1e6, 1))
"""


def _imports() -> dict[str, float]:
    """Milliseconds of CPU and MB that the import adds, and how much of them is pydantic's."""
    figures: dict[str, float] = {}
    for name, statement in (
        ("import", "import cfdi.validation"),
        ("import_pydantic", "import pydantic.main"),
    ):
        rounds = [_import(statement) for _ in range(3)]
        figures[f"{name}_ms"] = min(milliseconds for milliseconds, _ in rounds)
        figures[f"{name}_mb"] = min(megabytes for _, megabytes in rounds)
    return figures


def _import(statement: str) -> tuple[float, float]:
    code = _IMPORT.format(statement=statement)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    milliseconds, megabytes = done.stdout.split()
    return float(milliseconds), float(megabytes)


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
