"""What one account's ten thousand do to another's one."""

import time

from benchmarks.figures import Figure
from benchmarks.house import House, a_house
from benchmarks.processes import middle

LATENCY = 0.3
CROWD, SINGLE = "crowd", "single"


def beside_a_crowd(quick: bool) -> tuple[Figure, ...]:
    """10,000 wait for one account while another sends one: from its message to its stamp, 300 ms a call."""
    samples = 7 if quick else 15
    with a_house() as house:
        house.connect([CROWD, SINGLE])
        house.warm([CROWD, SINGLE])
        house.latency(LATENCY)
        idle = [_wait(house) for _ in range(samples)]
        house.lay(CROWD, 10_000)
        house.until_stamped(house.stamped() + 8, 60)
        before = _left(house)
        beside = [_wait(house) for _ in range(samples)]
        after = _left(house)
    return (
        Figure(
            "times its idle wait, one invoice beside another account's 10,000",
            middle(beside) / middle(idle),
            2,
            "at most",
            facts=(
                f"{middle(beside):.2f} s beside {middle(idle):.2f} s idle (medians of {samples}); "
                f"the slowest {max(beside):.2f} s beside {max(idle):.2f} s",
                f"the crowd went on meanwhile: {before:,} to {after:,} waiting",
            ),
        ),
    )


def _wait(house: House) -> float:
    known = _stamped(house)
    began = time.perf_counter()
    house.submit([SINGLE], 1)
    house.until(lambda: _stamped(house) > known, 60, every=0.01)
    return time.perf_counter() - began


def _stamped(house: House) -> int:
    rows = house.rows(
        "SELECT count(*) FROM invoices WHERE account = :name AND status = 'stamped'", name=SINGLE
    )
    return int(rows[0][0])


def _left(house: House) -> int:
    rows = house.rows(
        "SELECT count(*) FROM invoices WHERE account = :name AND status = 'accepted'", name=CROWD
    )
    return int(rows[0][0])
