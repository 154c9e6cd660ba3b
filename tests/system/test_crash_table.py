"""The crash table: at each line of the harness each part is broken in turn, and the invoice ends as it should.

For each part, one invoice is brought to stand at each line; the part is broken under all of them at once; the workers
go on (or are dead), the part is repaired, and the clock is moved until everything has settled. docs/crash-table.md is
what was seen: `./dev golden tests/system/test_crash_table.py` writes it, and every other run holds it to what it sees.
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from devstack import services
from stamping.failpoints import PLACES
from tests.support.apunto import Apunto, invoices_of
from tests.support.breakable_stack import LEASE, Wreck, open_wreck, until, with_retries

PAGE = Path(__file__).parents[2] / "docs" / "crash-table.md"
AWAY = 1.2
"""Seconds for which a server is away while the workers go on."""
GRACE = 3.0
"""Seconds for which the clock stands still after the mending, so that what goes on by itself is seen to."""
STUCK = 6.0
"""Seconds after which a claim that nobody moves is a dead worker's: its lease is then let run out."""

STRAIGHT, WAITS, DOUBT = "", "waiting", "in doubt"
LOST = "in doubt, waiting"

LINES: dict[str, str] = {
    "after_claim": "claimed, and something has to be asked for; nothing is ready",
    "after_prepare": "ready; nothing is begun",
    "before_save": "the save is written down (usually in the commit that claims), and has not left",
    "after_save": "saved at ContaDigital; its Id is only in memory",
    "before_stamp": "the Id is kept and the stamp written down; it has not left",
    "after_stamp": "stamped; the answer is only in memory",
    "after_store": "XML and PDF are stored; nobody has said so",
    "before_settle": "about to commit that it is stamped",
    "after_settle": "committed; no message is sent yet",
    "before_look_up": "in doubt; the look-up is written down, and has not left",
    "after_look_up": "in doubt; the look-up found the stamp, and it is only in memory",
    "before_cancel": "stamped; the cancellation is written down, and has not left",
    "after_cancel": "cancelled before the SAT; the answer is only in memory",
}
BEFORE_THE_INTENT = ("after_claim", "after_prepare")
UNTOUCHED = dict.fromkeys(LINES, STRAIGHT) | {"before_look_up": DOUBT, "after_look_up": DOUBT}
EXPECTED: dict[str, dict[str, str]] = {
    "kill -9 of the worker": UNTOUCHED
    | {
        "after_claim": WAITS,
        "after_prepare": WAITS,
        "before_save": LOST,
        "after_save": LOST,
        "before_stamp": LOST,
        "after_stamp": DOUBT,
        "after_store": DOUBT,
        "before_settle": DOUBT,
    },
    "Redis killed": UNTOUCHED,
    "Redis wiped": UNTOUCHED,
    "PostgreSQL restarted": UNTOUCHED | {"after_claim": WAITS, "after_prepare": WAITS},
    "provider gone": UNTOUCHED
    | dict.fromkeys(("after_claim", "after_prepare", "before_save", "after_save", "before_stamp"), WAITS),
    "frozen past its lease": UNTOUCHED
    | {
        "after_claim": WAITS,
        "after_prepare": WAITS,
        "before_save": LOST,
        "after_save": LOST,
        "before_stamp": LOST,
        "after_stamp": DOUBT,
        "after_store": DOUBT,
        "before_settle": DOUBT,
    },
    "disk full": UNTOUCHED
    | dict.fromkeys(
        ("after_claim", "after_prepare", "before_save", "after_save", "before_stamp", "after_stamp"), DOUBT
    ),
}
"""What an invoice goes through between being claimed and its end."""


def end_of(line: str) -> str:
    return "cancelled" if line.endswith("cancel") else "stamped"


def reported(via: str, line: str) -> str:
    """What a cell says: what it went through, and its end."""
    return f"{via}, then {end_of(line)} once" if via else f"{end_of(line)} once"


# --- how each part is broken ---------------------------------------------------------------------------------------


def kill_workers(wreck: Wreck, let_go: Callable[[], None]) -> None:
    for name in wreck.workers:  # whoever stands anywhere
        wreck.runtime.kill(name)
    let_go()


def freeze_workers(wreck: Wreck, let_go: Callable[[], None]) -> None:
    """Stop both until their claims have passed to a third, as a paused machine does; then they wake and go on."""
    frozen = {name: wreck.runtime.pids[name] for name in wreck.workers}
    for name in frozen:
        wreck.runtime.kill(name, signal.SIGSTOP)
    let_go()
    third = services.worker("third", wreck.broker_url, wreck.environment, concurrency=16)
    wreck.runtime.add(third)
    wreck.pass_time(LEASE + 1)
    engine = sa.create_engine(wreck.database_url, poolclass=sa.NullPool)
    try:
        until(lambda: not claimed_by(engine, set(frozen.values())), 60)
    finally:
        engine.dispose()
        for name in frozen:
            wreck.runtime.kill(name, signal.SIGCONT)
        wreck.runtime.stop_service("third")


def claimed_by(engine: sa.Engine, pids: set[int]) -> list[str]:
    """Who of these processes still holds a claim."""
    with engine.connect() as db:
        found = db.execute(sa.text("SELECT claimed_by FROM invoices WHERE claimed_by IS NOT NULL")).scalars()
        return [each for each in found if int(each.rpartition(":")[2]) in pids]


def kill_redis(wreck: Wreck, let_go: Callable[[], None]) -> None:
    wreck.runtime.kill("redis", signal.SIGKILL, again=False)
    let_go()
    time.sleep(AWAY)
    wreck.runtime.start_service("redis")


def wipe_redis(wreck: Wreck, let_go: Callable[[], None]) -> None:
    wreck.flush()
    let_go()


def restart_postgres(wreck: Wreck, let_go: Callable[[], None]) -> None:
    wreck.runtime.stop_service("postgres")
    let_go()
    time.sleep(AWAY)
    wreck.runtime.start_service("postgres")


def stop_provider(wreck: Wreck, let_go: Callable[[], None]) -> None:
    wreck.sandbox.stop()
    let_go()
    time.sleep(AWAY)
    wreck.sandbox.start()
    wreck.pass_time(0)  # its clock began anew


def fill_disk(wreck: Wreck, let_go: Callable[[], None]) -> None:
    wreck.fill_disk()
    let_go()
    time.sleep(AWAY)
    wreck.fill_disk(full=False)


BREAKS: dict[str, Callable[[Wreck, Callable[[], None]], None]] = {
    "kill -9 of the worker": kill_workers,
    "Redis killed": kill_redis,
    "Redis wiped": wipe_redis,
    "PostgreSQL restarted": restart_postgres,
    "provider gone": stop_provider,
    "frozen past its lease": freeze_workers,
    "disk full": fill_disk,
}


# --- one part, broken at every line --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """What became of one invoice."""

    via: str
    status: str
    calls: Counter[str]
    stamps: int
    xml: bool

    @property
    def reported(self) -> str:
        end = f"{self.status} {'once' if self.stamps == 1 else f'{self.stamps} times'}"
        return f"{self.via}, then {end}" if self.via else end

    @property
    def sent(self) -> str:
        """What may have left this machine, and whether it was looked up; how often depends on chance."""
        parts = [
            f"{count} {call}{'s' if count > 1 else ''}"
            for call in ("save", "stamp", "cancel")
            if (count := self.calls[call])
        ]
        return ", ".join([*parts, *(["looked up"] if self.calls["look_up"] else [])])


@pytest.fixture(scope="module")
def wreck() -> Iterator[Wreck]:
    with open_wreck(env={"TIMBRADO_IN_FLIGHT_PER_ACCOUNT": "20"}) as opened:  # one at each line at once
        yield opened


@pytest.fixture(scope="module")
def apunto(wreck: Wreck) -> Iterator[Apunto]:
    with Apunto(wreck) as client:
        yield client


@pytest.fixture(scope="module")
def page() -> dict[str, dict[str, Seen]]:
    """What was seen in this run, by part and line."""
    return {}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", EXPECTED)
def test_a_crash_ends_as_the_table_says(
    wreck: Wreck, apunto: Apunto, page: dict[str, dict[str, Seen]], fault: str
) -> None:
    """One stamp, an XML that is stored, the way there that was expected, and nobody had to do anything."""
    wreck.repair()
    account = apunto.open_account()
    control = names_of(apunto, account, 1)  # teaches what this provider does, and can be looked up
    apunto.until(account, {"stamped"}, 1)
    waiting = stand_everywhere(wreck, apunto, account)

    BREAKS[fault](wreck, lambda: let_go(wreck))
    go_on_alone(apunto, account, waiting)
    run_out(wreck, apunto, account, waiting, 150)

    seen = page[fault] = {line: look(wreck, apunto, account, name) for line, name in waiting.items()}
    ledger = wreck.sandbox.ledger(account)
    assert ledger["duplicates"] == 0
    assert set(ledger["folios"][account]) == {*waiting.values(), *control}
    assert ledger["cancelled"] == 2
    assert {line: each.reported for line, each in seen.items()} == {
        line: reported(via, line) for line, via in EXPECTED[fault].items()
    }
    assert all(each.xml for each in seen.values())


def names_of(apunto: Apunto, account: str, count: int, *, product: str | None = None) -> list[str]:
    """Submit so many, perhaps of a product of this name; return what they are called."""
    made = invoices_of(account, count)
    if product is not None:
        for each in made:
            each["conceptos"] = [{**line, "nombre": product} for line in each["conceptos"]]
    apunto.submit(made)
    return [each["external_id"] for each in made]


def stand_everywhere(wreck: Wreck, apunto: Apunto, account: str) -> dict[str, str]:
    """Have one invoice stand at each line, the last line first, so that none is stopped on its way there."""
    cancelled = names_of(apunto, account, 2)
    apunto.until(account, {"stamped"}, 3)
    waiting: dict[str, str] = {}
    for line in reversed(LINES):
        wreck.arm(line)
        if line.endswith("cancel"):
            name = cancelled.pop()
            apunto.send("stamping.cancel_invoice", account=account, external_id=name, motivo="02")
        else:
            if line.endswith("look_up"):
                wreck.sandbox.play("drop_after", account=account, call="stamp", times=1)
            # what has to be asked for first keeps the save's intent out of the commit that claims
            (name,) = names_of(apunto, account, 1, product=line if line in BEFORE_THE_INTENT else None)
        wreck.who_stands_at(line)
        waiting[line] = name
    return {line: waiting[line] for line in LINES}


def let_go(wreck: Wreck) -> None:
    for line in LINES:
        wreck.disarm(line)


def unsettled(apunto: Apunto, account: str, waiting: dict[str, str]) -> list[Any]:
    """Those that have not come to their end; None while the database is away."""
    rows = apunto.rows(account)
    return [rows[name] for line, name in waiting.items() if rows[name].status != end_of(line)]


def go_on_alone(apunto: Apunto, account: str, waiting: dict[str, str]) -> None:
    """Give them time to go on by themselves, until no worker holds one any more."""
    deadline = time.monotonic() + GRACE
    while time.monotonic() < deadline:
        rows = until(lambda: [*unsettled(apunto, account, waiting), None], 30)
        if not any(row.claimed_until for row in rows[:-1]):
            return
        time.sleep(0.1)


def run_out(wreck: Wreck, apunto: Apunto, account: str, waiting: dict[str, str], seconds: float) -> None:
    """Let the time pass to whatever is due next, and never while a worker that lives is at it."""
    deadline = time.monotonic() + seconds
    claimed: list[tuple[str, int]] = []
    since = time.monotonic()
    while True:
        assert time.monotonic() < deadline, f"not in {seconds} s: {claimed}"
        rows = with_retries(lambda: [*unsettled(apunto, account, waiting), None])
        if rows is None:
            time.sleep(0.2)
            continue
        *rows, _ = rows
        if not rows:
            return
        now_claimed = [(row.external_id, row.claim) for row in rows if row.claimed_until is not None]
        if now_claimed != claimed:
            claimed, since = now_claimed, time.monotonic()
        if not claimed:
            wait = min(row.next_attempt_at for row in rows) - wreck.now()
            wreck.pass_time(min(max(wait.total_seconds() + 1, 20), LEASE / 2))
            time.sleep(0.6)
        elif time.monotonic() - since > STUCK:
            wreck.pass_time(LEASE + 1)
            since = time.monotonic()
        else:
            time.sleep(0.1)


def look(wreck: Wreck, apunto: Apunto, account: str, name: str) -> Seen:
    row = apunto.rows(account)[name]
    moves = apunto.query("SELECT to_status FROM history WHERE invoice_id = :i ORDER BY id", i=row.id)
    between = [move.to_status for move in moves if move.to_status in {"waiting", "in_doubt"}]
    called = apunto.query(
        "SELECT call FROM attempts WHERE invoice_id = :i AND outcome IS DISTINCT FROM 'not_sent'", i=row.id
    )
    (xml,) = apunto.query(
        "SELECT key FROM documents WHERE invoice_id = :i AND kind = 'xml' AND quarantined_reason IS NULL",
        i=row.id,
    )
    return Seen(
        via=", ".join(each.replace("_", " ") for each in dict.fromkeys(between)),
        status=row.status,
        calls=Counter(each.call for each in called),
        stamps=len(wreck.sandbox.ledger(account)["folios"][account][name]),
        xml=(wreck.documents / xml.key).is_file(),
    )


# --- the page ------------------------------------------------------------------------------------------------------

HEAD = """\
# The crash table

What becomes of an invoice when something breaks while a worker stands at one line of the pipeline. Every cell is tried
on real processes (two workers, Redis, PostgreSQL, the sandbox as the provider): one invoice is stopped at each line,
the part is broken under all of them, the workers go on or are dead, the part is repaired, and the clock is moved until
everything has settled. Nobody does anything else. In each case the sandbox's ledger then holds one stamp of it, and its
XML is stored.

Made by `./dev golden tests/system/test_crash_table.py`; do not edit. The same test without `golden` holds this page to
what it sees. A server that is killed, restarted or gone is away for a second while the workers go on. "Disk full": the
kernel refuses the workers every byte that they would write to a file, for a second. "Frozen past its lease": both
workers are stopped as a paused machine is, a third one takes over, and then they wake.

Tried besides, each by a test of its own: what else may come in the middle of a cancellation
(`tests/integration/test_cancel.py`); an old append-only file of Redis, and messages that come twice
(`tests/system/test_redelivery.py`); a restore, a failover, and messages from before it
(`tests/system/test_operations_restore.py`); disks, locks, clocks, descriptors and a demoted primary
(`tests/system/test_infrastructure_faults.py`); a rolling upgrade under load, and with an invoice in every state
(`tests/system/test_operations.py`); and all of it at random (`./dev chaos`).
"""


def written(fault: str, seen: dict[str, Seen]) -> str:
    """One part's section of the page."""
    rows = [
        f"| `{line}`: {LINES[line]} | {reported(EXPECTED[fault][line], line)} | {each.reported} | {each.sent} |"
        for line, each in seen.items()
    ]
    title = f"## {fault[0].upper()}{fault[1:]}"
    return "\n".join(
        [
            title,
            "",
            "| a worker stands at | expected | seen | calls that left |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


@pytest.mark.slow
def test_the_page_is_what_was_seen(page: dict[str, dict[str, Seen]]) -> None:
    """docs/crash-table.md has a section for each part, and each that was tried in this run is as it was seen."""
    sections = {fault: written(fault, seen) for fault, seen in page.items()}
    if os.environ.get("UPDATE_GOLDEN") and len(sections) == len(EXPECTED):
        PAGE.write_text("\n".join([HEAD, *sections.values()]), encoding="utf-8")
    text = PAGE.read_text(encoding="utf-8")

    assert text.startswith(HEAD)
    assert [line[3:].lower() for line in text.splitlines() if line.startswith("## ")] == [
        fault.lower() for fault in EXPECTED
    ]
    for section in sections.values():
        assert section in text


def test_every_line_of_the_pipeline_is_in_the_table() -> None:
    """Whoever adds a failpoint says what is expected there."""
    assert tuple(LINES) == PLACES
    for fault, expected in EXPECTED.items():
        assert set(expected) == set(LINES), fault
