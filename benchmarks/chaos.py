"""`./dev chaos`: everything real, everything failing, and at the end not one invoice stamped twice or lost.

Two workers, Redis, PostgreSQL and the sandbox run as `timbrado up` runs them. The sandbox misbehaves at ten times the
assumed rates, workers are killed with -9 at random moments, Redis is wiped, PostgreSQL restarted. Exit code 0 only if
each invoice ended stamped exactly once with an XML that verifies, every doubt ended, and nothing is stuck.

A message that Redis loses before it was accepted is the sender's to repeat. So half of the invoices come through the
inbox (nothing to repeat), and the rest are sent again while no event has said "accepted", as Apunto would. Messages
that were sent before are delivered once more, and what is no message at all is put into the queues.

The database is set back, too: to a backup of the run's first third, and to a standby that lacks the last seconds. Then
what docs/operations.md says is done: `timbrado recover`, workers, an audit with every XML that the SAT has; and Apunto
sends again only what it, or that audit, does not know to be stamped. The clock of workers and provider jumps hours
ahead for a moment. Apunto's receiver of webhooks may fail.
"""

import argparse
import base64
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis
import sqlalchemy as sa
import uuid_utils.compat as uuids
from celery import Celery
from cryptography.fernet import Fernet

from benchmarks import verdict
from devstack.ports import any_port
from devstack.stack import Stack
from models.tables import connections, inbox, invoices
from sandbox.serve import RunningSandbox
from stamping.intake.untrusted import SENT_AT
from tests.support.apunto import announce
from tests.support.breakable_stack import copy_server, replace_server
from tests.support.builders import an_invoice
from tests.support.envelopes import NO_MESSAGES

SETTINGS = {
    "TIMBRADO_TEST_RUNTIME": "1",
    "TIMBRADO_LEASE": "9",
    "TIMBRADO_CALL_TIMEOUT": "2",
    "TIMBRADO_CONNECT_TIMEOUT": "1",
    "TIMBRADO_SWEEP_EVERY": "1",
    "TIMBRADO_DOUBT_QUARANTINE": "15",  # longer than the longest lag of a look-up (10 s)
    "TIMBRADO_IN_FLIGHT_PER_ACCOUNT": "8",
}
UNDER_WAY = 25.0
"""Seconds after which no call of a killed worker is under way any more at the provider."""
WORTH_A_SKIP = 5.0
"""Seconds of waiting that are not waited: look-ups of a doubt come to be a quarter of an hour apart."""
JUMP = 5 * 3600.0
"""Seconds by which the clock jumps: longer than any delay of ours, shorter than the 72 hours."""
NOT_YET = "CFDI40101"
"""The SAT's refusal of a date in the future: what was dated in the jump. Its user sends it again, with a date."""
SETTLED = {"stamped", "rejected", "failed", "cancelled"}


class Chaos:
    """One run: what is submitted, what is broken, and what must hold at the end."""

    def __init__(self, runtime: Stack, sandbox: RunningSandbox, seed: int, accounts: int) -> None:
        self.runtime, self.sandbox = runtime, sandbox
        self.dice = random.Random(seed)
        self.seed = seed
        self.engine = sa.create_engine(runtime.database_url, pool_pre_ping=True)
        self.app = Celery("apunto", broker=runtime.broker_url)
        self.accounts = [f"chaos-{number}" for number in range(accounts)]
        self.done = threading.Event()
        self.counted = Counter[str]()
        self.sent: list[tuple[str, dict[str, Any], str]] = []  # what was sent by message: its id, and when
        self.poison: set[bytes] = set()
        self.sending = threading.Lock()  # Apunto sends nothing while the database is set back
        self.forgotten: set[tuple[str, str]] = set()  # stamped, and not in the database any more
        self.backup: Path | None = None
        self.recovered_at = -UNDER_WAY
        self.broken: list[str] = []  # faults that could not be made
        self.ahead = 0.0  # seconds by which the clock is ahead because waits were skipped

    def connect_accounts(self) -> None:
        fernet = Fernet(self.runtime.environment["TIMBRADO_ENCRYPTION_KEYS"].split(",")[0])
        for account in self.accounts:
            announce(account, self.sandbox, self.app, fernet)
        self.wait(lambda: self.count(connections, connections.c.status == "active") == len(self.accounts), 30)

    def submit(self, count: int, seconds: float) -> list[dict[str, Any]]:
        """Submit over some time, half by message and half through the inbox."""
        made = [
            an_invoice(account=self.dice.choice(self.accounts), external_id=f"C-{number:05}", fecha=None)
            for number in range(count)
        ]
        for (
            invoice
        ) in made:  # an audit knows an invoice by what it says, and none of them is the beginning of another
            invoice["conceptos"][0]["descripcion"] += f" {invoice['external_id']}"
        pause = seconds / count
        for number, invoice in enumerate(made):
            if number % 2:
                self.with_retry(lambda invoice=invoice: self.send(invoice))
            else:
                self.with_retry(lambda invoice=invoice: self.put(invoice))
            self.done.wait(pause)
        return made

    def send(self, invoice: dict[str, Any]) -> None:
        self._send(invoice, str(uuids.uuid4()), datetime.now(UTC).isoformat())

    def _send(self, invoice: dict[str, Any], message_id: str, at: str) -> None:
        with self.sending:
            self.app.send_task(
                "stamping.submit_invoice",
                queue="intake",
                kwargs={"invoice": invoice},
                retry=False,
                task_id=message_id,
                headers={SENT_AT: at},
            )
        self.sent.append((message_id, invoice, at))

    def deliver_again(self) -> None:
        """Deliver a message once more that was sent before, as a broker does that was set back or lost an answer."""
        if self.sent:
            message_id, invoice, at = self.dice.choice(self.sent)
            self._send(invoice, message_id, at)
            self.counted["messages delivered again"] += 1

    def put_poison(self) -> None:
        """Put what is no message into a queue that workers take from."""
        name = self.dice.choice(sorted(NO_MESSAGES))
        raw = NO_MESSAGES[name]
        with redis.Redis.from_url(self.runtime.redis_url) as client:
            client.lpush(self.dice.choice(("intake", "stamp", "events")), raw)
        self.poison.add(raw)
        self.counted["no messages put into queues"] += 1

    def put(self, invoice: dict[str, Any]) -> None:
        with self.sending, self.engine.begin() as db:
            db.execute(sa.insert(inbox).values(id=uuids.uuid7(), payload=invoice))

    def repeat_unsent(self, made: Sequence[dict[str, Any]]) -> int:
        """Send again what nobody has accepted, as Apunto would."""
        with self.engine.begin() as db:
            known = set(db.execute(sa.select(invoices.c.external_id)).scalars())
        unsent = [invoice for invoice in made if invoice["external_id"] not in known]
        if unsent and self.recovered_at > 0:  # it may be stamped, and forgotten: audited before it is sent
            if not self.is_settled:
                return 0
            there = self._issued()
            self.forgotten |= there.keys() & {(each["account"], each["external_id"]) for each in unsent}
            self.counted["stamped, and forgotten by the database"] = len(self.forgotten)
            unsent = [each for each in unsent if (each["account"], each["external_id"]) not in self.forgotten]
        for invoice in unsent:
            self.with_retry(lambda invoice=invoice: self.send(invoice))
        self.counted["sent again by Apunto"] += len(unsent)
        return len(unsent)

    def timbrado(self, *arguments: str) -> Any:
        """Run the command as an operator does; return the JSON that it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "cli", *arguments, "--json"],
            env={**os.environ, **self.runtime.environment, **SETTINGS},
            capture_output=True,
            text=True,
            check=False,
        )
        try:
            return json.loads(done.stdout)
        except ValueError as error:
            raise RuntimeError(f"timbrado {arguments[0]}: {done.stderr}") from error

    # -- the database set back

    def take_backup(self) -> None:
        """Copy the whole server beside it, as it stands in this moment."""
        target = self.runtime.var / "backup"
        copy_server(self.runtime, target)
        self.backup = target
        self.counted["backups taken"] += 1

    def restore(self) -> None:
        """Go back to the backup, and do what an operator does then."""
        if self.backup is not None:
            with self.sending:
                self._stop_all()
                replace_server(self.runtime, self.backup)
                self._recover("a backup of the first third")
            self.counted["restores of an older backup"] += 1

    def fail_over(self) -> None:
        """Lose the primary, and go on with a standby that lacks what was committed in the last seconds."""
        standby = self.runtime.var / "standby"
        copy_server(self.runtime, standby)
        self.done.wait(2.0)
        with self.sending:
            self._stop_all()
            replace_server(self.runtime, standby, promoted=True)
            self._recover("failed over to a standby that lacks the last seconds")
        self.counted["failovers that lose commits"] += 1

    def _stop_all(self) -> None:
        for name in ("beat", *self.workers):
            self.runtime.kill(name, again=False)
        self.engine.dispose()

    def _recover(self, reason: str) -> None:
        """Do what docs/operations.md says; Apunto sends what it holds as open again once nothing is under way."""
        done = self.timbrado("recover", "--after-restore", "--reason", reason)
        self.counted["in doubt after a restore"] += len(done["in_doubt"])
        for name in (*self.workers, "beat"):
            self.runtime.start_service(name)
        self.recovered_at = time.monotonic()
        self.audit()

    def _issued(self) -> dict[tuple[str, str], list[bytes]]:
        """Every CFDI that the SAT has, by whose it is."""
        found: dict[tuple[str, str], list[bytes]] = {}
        with closing(sqlite3.connect(f"file:{self.sandbox.store}?mode=ro", uri=True)) as store:
            for account, name, xml in store.execute(
                "SELECT account, folio_original, xml FROM records WHERE uuid IS NOT NULL"
            ):
                found.setdefault((account, name), []).append(xml)
        return found

    def audit(self) -> None:
        """Adopt what the SAT's XMLs prove; and let go on what is in none of them, once nothing is under way."""
        complete = ["--complete"] if self.is_settled else []
        with tempfile.TemporaryDirectory(prefix="timbrado-sat-") as folder:
            for number, ((account, _), xmls) in enumerate(self._issued().items()):
                (Path(folder) / account).mkdir(exist_ok=True)
                for place, xml in enumerate(xmls):
                    (Path(folder) / account / f"{number}-{place}.xml").write_bytes(xml)
            for account in self.accounts:
                if (Path(folder) / account).is_dir():
                    done = self.timbrado(
                        *("audit", account, str(Path(folder) / account), "--repair", *complete),
                        *("--reason", "chaos"),
                    )
                    for what in ("adopted", "due", "released"):
                        self.counted[f"audit: {what}"] += done["repaired"][what]

    @property
    def is_settled(self) -> bool:
        """Whether a call that was under way when the database was set back has ended since."""
        return time.monotonic() - self.recovered_at > UNDER_WAY

    def waits_for_an_audit(self) -> bool:
        return bool(self.count(invoices, invoices.c.doubt == "restore"))

    def jump(self) -> None:
        """Have the clock of workers and provider jump ahead for a second and a half."""
        self.set_clock(JUMP)
        self.done.wait(1.5)
        self.set_clock(0.0)
        self.counted["jumps of the clock"] += 1

    def set_clock(self, seconds: float) -> None:
        self.sandbox.move_clock(seconds)
        clock = Path(SETTINGS["TIMBRADO_TEST_CLOCK_FILE"])
        new = clock.with_name("clock.new")
        new.write_text(str(seconds))
        new.replace(clock)

    def skip_wait(self) -> None:
        """Let the time of what is due next come where all that is open waits: it overtakes no call."""
        with self.engine.begin() as db:
            first, in_hand = db.execute(
                sa.select(
                    sa.func.min(invoices.c.next_attempt_at), sa.func.count(invoices.c.claimed_until)
                ).where(invoices.c.status.not_in(SETTLED))
            ).one()
        wait = (first - datetime.now(UTC)).total_seconds() - self.ahead if first and not in_hand else 0.0
        if wait > WORTH_A_SKIP:
            self.ahead += wait
            self.set_clock(self.ahead)
            self.counted["seconds of waiting skipped"] += round(wait)

    def correct_dates(self) -> None:
        """Send again, with a date, what was refused for one in the future: as its user would."""
        with self.engine.begin() as db:
            refused = db.execute(
                sa.select(invoices.c.content, invoices.c.errors).where(invoices.c.status == "rejected")
            ).all()
        for content, faults in refused:
            if any(NOT_YET in str(fault.get("code")) for fault in faults):
                self.send({**content, "fecha": datetime.now(UTC).isoformat()})
                self.counted["corrected: dated in a jump of the clock"] += 1

    @property
    def workers(self) -> list[str]:
        return [name for name in self.runtime.services if name.startswith("worker")]

    def break_things(self, acts: Sequence[str], seconds: float) -> None:
        """Kill, wipe, restart, deliver again, put poison in, jump, fail over and restore, at random moments."""
        moments = sorted((self.dice.uniform(1, seconds), act) for act in acts)
        if "restore" in acts:
            moments = sorted([*moments, (seconds / 3, "backup")])
            moments = [(max(at, seconds / 2) if act == "restore" else at, act) for at, act in moments]
            moments.sort()
        began = time.monotonic()
        for moment, act in moments:
            if self.done.wait(max(0.0, moment - (time.monotonic() - began))):
                return
            try:
                self._act(act)
            except Exception as error:  # a fault that could not be made is one that was not tried
                self.broken.append(f"{act}: {type(error).__name__}: {error}")

    def _act(self, act: str) -> None:
        match act:
            case "kill":
                self.runtime.kill(self.dice.choice(self.workers))
                self.counted["kill -9 of a worker"] += 1
            case "wipe":
                with redis.Redis.from_url(self.runtime.redis_url) as client:
                    client.flushall()
                self.counted["Redis wiped"] += 1
            case "deliver again":
                self.with_retry(self.deliver_again)
            case "poison":
                self.with_retry(self.put_poison)
            case "restart":
                self.runtime.restart_service("postgres")
                self.counted["PostgreSQL restarted"] += 1
            case "jump":
                self.jump()
            case "backup":
                self.with_retry(self.take_backup)
            case "restore":
                self.restore()
            case "failover":
                self.fail_over()

    def count(self, table: sa.Table, *which: Any) -> int:
        def look() -> int:
            with self.engine.begin() as db:
                return db.execute(sa.select(sa.func.count()).select_from(table).where(*which)).scalar_one()

        return int(self.with_retry(look))

    def statuses(self) -> Counter[str]:
        def look() -> Counter[str]:
            with self.engine.begin() as db:
                rows = db.execute(sa.select(invoices.c.status, sa.func.count()).group_by(invoices.c.status))
                return Counter({row[0]: row[1] for row in rows})

        return Counter(self.with_retry(look))

    @staticmethod
    def open_of(seen: Counter[str]) -> int:
        """Return how many have not come to an end."""
        return sum(number for status, number in seen.items() if status not in SETTLED)

    def wait(self, holds: Any, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if holds():
                return True
            time.sleep(0.2)
        return False

    @staticmethod
    def with_retry(work: Any) -> Any:
        """Do it in spite of a server that is just away, for half a minute."""
        deadline = time.monotonic() + 30
        while True:
            try:
                return work()
            except Exception:  # whatever a server says while it is killed
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.3)


def run(options: argparse.Namespace) -> int:
    """Run it; 0 only if nothing is wrong."""
    began = time.monotonic()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    kills = options.kills if options.kills is not None else max(2, options.invoices // 40)
    seconds = options.seconds or max(15.0, kills * 2.5, options.invoices / 25)
    print(f"chaos: {options.invoices} invoices, seed {seed}, {kills} kills in {seconds:.0f} s", flush=True)
    with tempfile.TemporaryDirectory(prefix="timbrado-chaos-", dir="/tmp") as folder:
        var = Path(folder) / "var"
        Path(folder).chmod(0o755)
        SETTINGS["TIMBRADO_TEST_CLOCK_FILE"] = str(Path(folder) / "clock")
        with RunningSandbox() as sandbox, _receiver(options.failing_receiver) as webhook:
            given = {"TIMBRADO_CONTADIGITAL_URL": sandbox.url, **webhook}
            with Stack(
                var,
                given=given,
                workers=options.workers,
                sandbox=False,
                flower=False,
                env=SETTINGS,
                concurrency=24,
            ) as runtime:
                chaos = Chaos(runtime, sandbox, seed, accounts=8)
                code = _play(chaos, options, kills, seconds)
                chaos.engine.dispose()
                chaos.app.close()
    print(
        f"seed {seed}, {time.monotonic() - began:.0f} s in all: {'good' if code == 0 else 'BAD'}", flush=True
    )
    return code


@contextmanager
def _receiver(share: float) -> Iterator[dict[str, str]]:
    """Apunto's receiver of webhooks, which answers with 500 at random; no setting where it is not asked for."""
    if not share:
        yield {}
        return
    port = any_port()
    arguments = [sys.executable, "-m", "benchmarks.webhook_receiver", str(port), "0", str(share)]
    process = subprocess.Popen(arguments)
    try:
        yield {
            "TIMBRADO_WEBHOOK_URL": f"http://127.0.0.1:{port}/hooks",
            "TIMBRADO_WEBHOOK_SECRET": f"whsec_{base64.b64encode(b'chaos' * 6).decode()}",
            "TIMBRADO_WEBHOOK_HOSTS": "127.0.0.1",
        }
    finally:
        process.terminate()
        process.wait()


def _play(chaos: Chaos, options: argparse.Namespace, kills: int, seconds: float) -> int:
    chaos.connect_accounts()
    chaos.sandbox.chaos(chaos.seed, options.factor)
    acts = ["kill"] * kills + ["wipe"] * options.wipes + ["restart"] * options.restarts
    acts += ["deliver again"] * options.redeliveries + ["poison"] * options.poison
    acts += ["restore"] * options.restores + ["failover"] * options.failovers + ["jump"] * options.jumps
    breaker = threading.Thread(target=chaos.break_things, args=(acts, seconds), daemon=True)
    breaker.start()
    made = chaos.submit(options.invoices, seconds * 0.8)
    breaker.join(seconds + 300)
    settled = time.monotonic()
    deadline = settled + options.timeout
    confirmed = 0.0
    while time.monotonic() < deadline:
        if time.monotonic() - confirmed > 10:
            chaos.repeat_unsent(made)
            chaos.correct_dates()
            if chaos.waits_for_an_audit():
                chaos.audit()
            confirmed = time.monotonic()
        seen = chaos.statuses()
        if seen["stamped"] + len(chaos.forgotten) >= len(made) and not chaos.open_of(seen):
            break
        if time.monotonic() - settled > UNDER_WAY:
            chaos.with_retry(chaos.skip_wait)
        if sys.stdout.isatty():
            print(f"\r{dict(seen)}   ", end="", flush=True)
        time.sleep(0.5)
    chaos.done.set()
    chaos.sandbox.calm()
    with chaos.engine.begin() as db:
        counted = chaos.counted + verdict.figures(db)
        storage = chaos.runtime.environment["TIMBRADO_STORAGE_URL"]
        wrong = [f"not tried: {each}" for each in chaos.broken]
        ledger = chaos.sandbox.ledger()
        wrong += verdict.what_is_wrong(db, ledger, storage, made, chaos.forgotten)
        timelines = verdict.timelines(db, ledger) if wrong else []
    for name, number in sorted(counted.items()):
        print(f"  {number:6d}  {name}")
    print(f"  {time.monotonic() - settled:6.0f}  seconds until all had settled")
    for line in wrong[:20]:
        print(f"WRONG: {line}")
    if wrong:
        print(*timelines, sep="\n")
        for name in chaos.runtime.services:
            if name.startswith("worker"):
                print(*chaos.runtime.tail(name)[-8:], sep="\n")
    return 1 if wrong else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="./dev chaos", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--invoices", type=int, default=2000)
    parser.add_argument("--seed", type=int, help="the same seed plays the same faults (default: a new one)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, help="kills -9 of workers (default: one in forty invoices)")
    parser.add_argument("--wipes", type=int, default=2, help="FLUSHALL of Redis")
    parser.add_argument("--restarts", type=int, default=1, help="restarts of PostgreSQL")
    parser.add_argument("--redeliveries", type=int, default=20, help="messages that are delivered once more")
    parser.add_argument("--poison", type=int, default=10, help="things that are no message, put into queues")
    parser.add_argument("--restores", type=int, default=1, help="restores of an older backup, in mid-load")
    parser.add_argument("--failovers", type=int, default=1, help="failovers that lose the last seconds")
    parser.add_argument("--jumps", type=int, default=1, help="jumps of the clock, hours ahead and back")
    parser.add_argument(
        "--failing-receiver",
        type=float,
        default=0.0,
        help="share of webhooks that Apunto's receiver fails, 0 to 1",
    )
    parser.add_argument("--factor", type=float, default=10.0, help="times the assumed rates of faults")
    parser.add_argument("--seconds", type=float, help="over how long all that is spread")
    parser.add_argument("--timeout", type=float, default=240.0, help="seconds to settle afterwards")
    return run(parser.parse_args(arguments))


__all__ = ["datetime", "main"]

if __name__ == "__main__":
    sys.exit(main())
