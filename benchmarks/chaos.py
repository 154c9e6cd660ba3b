"""`./dev chaos`: everything real, everything failing, and at the end not one invoice stamped twice or lost.

Two workers, Redis, PostgreSQL and the sandbox run as `timbrado up` runs them. The sandbox misbehaves at ten times the
assumed rates, workers are killed with -9 at random moments, Redis is wiped, PostgreSQL restarted. Exit code 0 only if
each invoice ended stamped exactly once with an XML that verifies, every doubt ended, and nothing is stuck.

A message that Redis loses before it was accepted is the sender's to repeat. So half of the invoices come through the
inbox (nothing to repeat), and the rest are sent again while no event has said "accepted", as Apunto would. Messages
that were sent before are delivered once more, and what is no message at all is put into the queues.
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import redis
import sqlalchemy as sa
import uuid_utils.compat as uuids
from celery import Celery
from cryptography.fernet import Fernet

from cfdi import document
from cfdi.evidence import Expected, examine
from cfdi.issuer import Issuer
from devstack.stack import Stack
from models.tables import attempts, connections, documents, events, history, inbox, invoices
from sandbox.serve import RunningSandbox
from storage import open_store
from tests.support.apunto import NAME, POSTCODE, RFC
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
        self.sent: list[tuple[str, dict[str, Any]]] = []  # what was sent by message, with its id
        self.poison: set[bytes] = set()

    def connect_accounts(self) -> None:
        fernet = Fernet(self.runtime.environment["TIMBRADO_ENCRYPTION_KEYS"].split(",")[0])
        for account in self.accounts:
            opened = self.sandbox.open_account(
                account, rfc=RFC, razon_social=NAME, regimen_fiscal="601", lugares=[POSTCODE, "64000"]
            )
            self.app.send_task(
                "stamping.connect",
                queue="intake",
                kwargs={
                    "account": account,
                    "api_key_encrypted": fernet.encrypt(opened["api_key"].encode()).decode(),
                    "rfc": RFC,
                    "razon_social": NAME,
                    "codigo_postal": POSTCODE,
                    "serie": "A",
                },
            )
        self.wait(lambda: self.count(connections, connections.c.status == "active") == len(self.accounts), 30)

    def submit(self, count: int, seconds: float) -> list[dict[str, Any]]:
        """Submit over some time, half by message and half through the inbox."""
        made = [
            an_invoice(account=self.dice.choice(self.accounts), external_id=f"C-{number}", fecha=None)
            for number in range(count)
        ]
        pause = seconds / count
        for number, invoice in enumerate(made):
            if number % 2:
                self.with_retry(lambda invoice=invoice: self.send(invoice))
            else:
                self.with_retry(lambda invoice=invoice: self.put(invoice))
            self.done.wait(pause)
        return made

    def send(self, invoice: dict[str, Any], message_id: str | None = None) -> None:
        message_id = message_id or str(uuids.uuid4())
        self.app.send_task(
            "stamping.submit_invoice",
            queue="intake",
            kwargs={"invoice": invoice},
            retry=False,
            task_id=message_id,
        )
        self.sent.append((message_id, invoice))

    def deliver_again(self) -> None:
        """Deliver a message once more that was sent before, as a broker does that was set back or lost an answer."""
        if self.sent:
            message_id, invoice = self.dice.choice(self.sent)
            self.send(invoice, message_id)
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
        with self.engine.begin() as db:
            db.execute(sa.insert(inbox).values(id=uuids.uuid7(), payload=invoice))

    def repeat_unsent(self, made: Sequence[dict[str, Any]]) -> int:
        """Send again what nobody has accepted, as Apunto would."""
        with self.engine.begin() as db:
            known = set(db.execute(sa.select(invoices.c.external_id)).scalars())
        unsent = [invoice for invoice in made if invoice["external_id"] not in known]
        for invoice in unsent:
            self.with_retry(lambda invoice=invoice: self.send(invoice))
        self.counted["sent again by Apunto"] += len(unsent)
        return len(unsent)

    def break_things(
        self, kills: int, wipes: int, restarts: int, redeliveries: int, poison: int, seconds: float
    ) -> None:
        """Kill, wipe, restart, deliver again and put poison in, at random moments of the run."""
        acts = ["kill"] * kills + ["wipe"] * wipes + ["restart"] * restarts
        acts += ["deliver again"] * redeliveries + ["poison"] * poison
        moments = sorted((self.dice.uniform(1, seconds), act) for act in acts)
        began = time.monotonic()
        for moment, act in moments:
            if self.done.wait(max(0.0, moment - (time.monotonic() - began))):
                return
            if act == "kill":
                name = self.dice.choice([each for each in self.runtime.services if each.startswith("worker")])
                self.runtime.kill(name)
                self.counted["kill -9 of a worker"] += 1
            elif act == "wipe":
                with redis.Redis.from_url(self.runtime.redis_url) as client:
                    client.flushall()
                self.counted["Redis wiped"] += 1
            elif act == "deliver again":
                self.with_retry(self.deliver_again)
            elif act == "poison":
                self.with_retry(self.put_poison)
            else:
                self.runtime.restart_service("postgres")
                self.counted["PostgreSQL restarted"] += 1

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

    def verdict(self, made: Sequence[dict[str, Any]]) -> list[str]:
        """Return what is wrong; nothing when each invoice was stamped once, and its XML verifies."""
        wrong: list[str] = []
        ledger = self.sandbox.ledger()
        with self.engine.begin() as db:
            rows = db.execute(sa.select(invoices)).all()
            stored = {
                row.invoice_id: row
                for row in db.execute(
                    sa.select(documents).where(
                        documents.c.kind == "xml", documents.c.quarantined_reason.is_(None)
                    )
                )
            }
            quarantined = db.execute(
                sa.select(sa.func.count())
                .select_from(documents)
                .where(documents.c.quarantined_reason.is_not(None))
            ).scalar_one()
        if ledger["duplicates"]:
            wrong.append(f"{ledger['duplicates']} invoices were stamped twice")
        if len(rows) != len(made):
            wrong.append(f"{len(made) - len(rows)} invoices were lost")
        stuck = Counter(f"{row.status} {row.reason or ''}".strip() for row in rows if row.status != "stamped")
        if stuck:
            wrong.append(f"not stamped: {dict(stuck)}")
        if ledger["stamps"] != sum(row.status == "stamped" for row in rows):
            wrong.append(f"the sandbox made {ledger['stamps']} stamps")
        if quarantined:
            wrong.append(f"{quarantined} documents stand in quarantine")
        store = open_store(self.runtime.environment["TIMBRADO_STORAGE_URL"])
        issuer = Issuer(RFC, NAME, "601", "A")
        for row in rows:
            if row.status != "stamped":
                continue
            if row.uuid not in ledger["folios"].get(row.account, {}).get(row.external_id, []):
                wrong.append(f"{row.external_id}: its UUID is not in the sandbox's ledger")
            elif row.id not in stored:
                wrong.append(f"{row.external_id}: no XML is stored")
            else:
                xml = store.get(stored[row.id].key)
                invoice = document.read(row.content)
                if not examine(xml, Expected(invoice, issuer, row.fecha, row.uuid)).ok:
                    wrong.append(f"{row.external_id}: its stored XML does not verify")
        return wrong

    def timelines(self, most: int = 5) -> list[str]:
        """Return what became of those that should be stamped and are not: every move and every call."""
        lines_of: list[str] = []
        with self.engine.begin() as db:
            rows = db.execute(sa.select(invoices).where(invoices.c.status != "stamped").limit(most)).all()
            for row in rows:
                lines_of.append(
                    f"{row.account} {row.external_id}: {row.status} {row.reason or ''} {row.errors}"
                )
                moves = sa.select(history).where(history.c.invoice_id == row.id).order_by(history.c.id)
                calls = sa.select(attempts).where(attempts.c.invoice_id == row.id)
                lines = [(move.at, f"-> {move.to_status} (claim {move.claim})") for move in db.execute(moves)]
                for each in db.execute(calls):
                    ended = f"{each.outcome} {each.http_status or ''} {each.detail or ''}"
                    lines.append((each.started_at, f"{each.call} (claim {each.claim}): {ended}"))
                lines_of += [f"    {at:%H:%M:%S.%f} {line}" for at, line in sorted(lines)]
        return lines_of

    def figures(self) -> Counter[str]:
        with self.engine.begin() as db:
            sends = db.execute(
                sa.select(attempts.c.call, attempts.c.outcome, sa.func.count()).group_by(
                    attempts.c.call, attempts.c.outcome
                )
            ).all()
            doubts = db.execute(
                sa.select(sa.func.count(sa.distinct(history.c.invoice_id))).where(
                    history.c.to_status == "in_doubt"
                )
            ).scalar_one()
            written = db.execute(sa.select(sa.func.count()).select_from(events)).scalar_one()
        for call, outcome, number in sends:
            self.counted[f"attempts: {call}, {outcome or 'without an end'}"] = number
        self.counted["invoices that were in doubt"] = doubts
        self.counted["events written"] = written
        return self.counted


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
        with RunningSandbox() as sandbox:
            given = {"TIMBRADO_CONTADIGITAL_URL": sandbox.url}
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


def _play(chaos: Chaos, options: argparse.Namespace, kills: int, seconds: float) -> int:
    chaos.connect_accounts()
    chaos.sandbox.chaos(chaos.seed, options.factor)
    acts = (kills, options.wipes, options.restarts, options.redeliveries, options.poison, seconds)
    breaker = threading.Thread(
        target=chaos.break_things,
        args=acts,
        daemon=True,
    )
    breaker.start()
    made = chaos.submit(options.invoices, seconds * 0.8)
    breaker.join(seconds + 120)
    settled = time.monotonic()
    deadline = settled + options.timeout
    confirmed = 0.0
    while time.monotonic() < deadline:
        if time.monotonic() - confirmed > 10:
            chaos.repeat_unsent(made)
            confirmed = time.monotonic()
        seen = chaos.statuses()
        if sum(seen[status] for status in SETTLED) == len(made):
            break
        if sys.stdout.isatty():
            print(f"\r{dict(seen)}   ", end="", flush=True)
        time.sleep(0.5)
    chaos.done.set()
    chaos.sandbox.calm()
    for name, number in sorted(chaos.figures().items()):
        print(f"  {number:6d}  {name}")
    print(f"  {time.monotonic() - settled:6.0f}  seconds until all had settled")
    wrong = chaos.verdict(made)
    for line in wrong[:20]:
        print(f"WRONG: {line}")
    if wrong:
        print(*chaos.timelines(), sep="\n")
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
    parser.add_argument("--factor", type=float, default=10.0, help="times the assumed rates of faults")
    parser.add_argument("--seconds", type=float, help="over how long all that is spread")
    parser.add_argument("--timeout", type=float, default=240.0, help="seconds to settle afterwards")
    return run(parser.parse_args(arguments))


__all__ = ["datetime", "main"]

if __name__ == "__main__":
    sys.exit(main())
