"""The doctor names what is wrong with the machinery within its time: each fault is made, and none is played."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from cli import doctor
from config.running import CHECKOUT
from models.tables import connections, heartbeats
from sandbox.serve import RunningSandbox
from stamping import heartbeat
from tests.support.command_line import Account, CommandLine
from tests.support.pooler import pooler_of_transactions
from tests.support.production_servers import RABBITMQ, rabbitmq


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    opened = sa.create_engine(database_url)
    yield opened
    opened.dispose()


def lines(environment: dict[str, str], what: str) -> list[tuple[str, str]]:
    """What the doctor finds of one thing: level, and text with its remedy."""
    found = CommandLine(environment)("doctor", "--json").json["findings"]
    return [(each["level"], f"{each['found']} → {each['fix']}") for each in found if each["what"] == what]


def test_who_holds_a_lock_is_named_while_others_wait(environment: dict[str, str], engine: sa.Engine) -> None:
    """By pid, program and query, also where the doctor itself is all that waits; what waits for it has its limit."""
    holder = sa.create_engine(
        environment["TIMBRADO_DATABASE_URL"], connect_args={"application_name": "a migration"}
    )
    with holder.connect() as locking:
        locking.execute(sa.text("LOCK TABLE invoices"))
        found = CommandLine(environment)("doctor", "--json").json["findings"]
        locking.rollback()
    holder.dispose()

    (locked,) = [each for each in found if each["what"] == "locks"]
    assert locked["level"] == "bad"
    assert "a migration" in locked["found"]
    assert "LOCK TABLE invoices" in locked["found"]
    assert "pg_cancel_backend" in locked["fix"]
    assert [each["found"] for each in found if each["what"] == "invoices"] == [
        "no answer within 4.1 s of the start"
    ]


def test_what_could_not_be_checked_in_time_is_named_as_such(environment: dict[str, str]) -> None:
    """The seconds count from the start of the process: where that took them all, as on a busy machine, each check is
    named, and nothing that was not asked is said not to answer."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import time; time.sleep(3); import cli; cli.main()",
            "doctor",
            "--within",
            "3",
            "--json",
        ],
        env={**os.environ, **environment},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(done.stdout)["findings"]

    assert done.returncode == 1
    assert [each["what"] for each in found] == [check.what for check in doctor.CHECKS]
    assert {(each["level"], each["found"]) for each in found} == {
        ("bad", "not checked within 2.1 s of the start: this machine is too busy")
    }
    assert "--within 30" in found[0]["fix"]


def test_a_pooler_in_transaction_mode_is_named(environment: dict[str, str], database_url: str) -> None:
    """Limits that it drops, and statements that are gone with their transaction."""
    text = ""
    with pooler_of_transactions(database_url) as pooled:
        # doctor waits two seconds for a connection, and the pooler is slow beside other tests
        for _ in range(5):
            if not text or "not checked" in text or "no answer within" in text:
                found = lines({**environment, "TIMBRADO_DATABASE_URL": pooled}, "kept")
                text = " ".join(each for _, each in found)

    assert "statement_timeout is 0" in text
    assert "a prepared statement is gone with its transaction" in text


@pytest.mark.parametrize(
    ("name", "detail", "level", "words"),
    [
        (heartbeat.REFUSED, {"code": "53100"}, "bad", ("its disk is full (53100)", "df -h")),
        (heartbeat.REFUSED, {"code": "EMFILE"}, "bad", ("no file descriptors left", "LimitNOFILE")),
        (
            heartbeat.STORE,
            {"why": "No space left on device"},
            "bad",
            ("nothing new is stamped", "No space left"),
        ),
        (heartbeat.DROPPED, {"keys": 10}, "warn", ("submissions may be gone", "no event for")),
    ],
)
def test_what_kept_a_worker_from_its_work_is_reported(
    environment: dict[str, str],
    engine: sa.Engine,
    name: str,
    detail: dict[str, Any],
    level: str,
    words: tuple[str, ...],
) -> None:
    """As the worker left word of it, whatever the doctor's own host can do."""
    with engine.begin() as db:
        heartbeat.note(db, name, "host:1", **detail)
    found = lines(environment, "work")
    with engine.begin() as db:
        db.execute(sa.update(heartbeats).values(at=sa.func.clock_timestamp() - timedelta(days=8)))
    later = lines(environment, "work")

    assert found[0][0] == level
    for word in words:
        assert word in found[0][1]
    assert [each for each, _ in later] == ["ok"]


def test_a_full_and_a_demoted_redis_are_named(environment: dict[str, str], redis_url: str) -> None:
    """The server is shared by all tests of the run: it is put right at once."""
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("maxmemory", 100_000)
        try:
            full = lines(environment, "broker")
        finally:
            client.config_set("maxmemory", 0)
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        try:
            replica = lines(environment, "broker")
        finally:
            client.execute_command("REPLICAOF", "NO", "ONE")

    assert ("bad", True) in [(level, "it is full" in text) for level, text in full]
    assert ("bad", True) in [(level, "it is a replica" in text) for level, text in replica]


@pytest.mark.skipif(not RABBITMQ.exists(), reason="RabbitMQ is not here (Debian: rabbitmq-server)")
def test_a_broker_that_blocks_who_publishes_is_named(environment: dict[str, str], tmp_path: Path) -> None:
    """RabbitMQ whose memory alarm stands takes connections and confirms nothing; without the alarm all is well."""
    home = tmp_path / "rabbitmq"
    found = {}
    for name, mark, words in (
        ("alarm", "1", "it blocks who publishes"),
        ("well", "1GB", "answers, and confirms"),
    ):
        (home / name).mkdir(parents=True)
        with rabbitmq(home / name, more=[f"vm_memory_high_watermark.absolute = {mark}"]) as port:
            url = f"amqp://guest:guest@127.0.0.1:{port}//"
            ends = time.monotonic() + 60
            while True:  # it listens before it lets anybody in, and measures its memory a little later
                found[name] = lines({**environment, "TIMBRADO_BROKER_URL": url}, "broker")
                if words in found[name][0][1]:
                    break
                assert time.monotonic() < ends, found[name]

    assert [level for level, _ in found["alarm"]] == ["bad"]
    assert "it blocks who publishes: its memory or disk alarm stands" in found["alarm"][0][1]
    assert [level for level, _ in found["well"]] == ["ok"]


def test_beats_clock_is_compared_with_the_databases(environment: dict[str, str], engine: sa.Engine) -> None:
    """Beat that runs while no sweep ends is distinguished from one that does not run."""
    with engine.begin() as db:
        heartbeat.note(db, heartbeat.BEAT, "host:9", off=-20.0)
    found, clock = lines(environment, "beat"), lines(environment, "clock")

    assert found == [
        ("bad", "it runs, and no sweep ever ran → does a worker take from upkeep? See workers and its log")
    ]
    assert [text for level, text in clock if level == "warn"] == [
        "beat's host (host:9) is -20.0 s off the database's clock → set that host's clock by NTP"
    ]


def test_waits_and_answers_nobody_understood_are_reported(
    environment: dict[str, str], engine: sa.Engine, sandbox: RunningSandbox
) -> None:
    """An account that must wait with its time, and a call whose answer had an unknown form with how to see it."""
    account = Account(CommandLine(environment), sandbox)
    account.connect()
    with engine.begin() as db:
        connection_id = db.execute(sa.select(connections.c.id)).scalar_one()
        db.execute(sa.update(connections).values(throttled_until=datetime.now(UTC) + timedelta(minutes=20)))
        db.execute(
            sa.text(
                "INSERT INTO answer_samples (connection_id, call, sample, at) VALUES (:id, 'timbrar', '{}', now())"
            ),
            {"id": connection_id},
        )
    found = [text for level, text in lines(environment, "provider") if level == "warn"]

    assert len(found) == 2
    assert f"1 account ({account.name}) must wait" in found[0]
    assert "30 min" in found[0]
    assert f"answers to timbrar were not understood, of 1 account ({account.name})" in found[1]
    assert f"timbrado connections {account.name}" in found[1]


def test_the_doctor_ends_in_time_whatever_hangs(
    environment: dict[str, str], make_silent_server: Callable[[], int]
) -> None:
    """Servers that take a connection and never answer: each line says so, and none waits for another."""
    port = make_silent_server()
    found = CommandLine(
        {
            **environment,
            "TIMBRADO_DATABASE_URL": f"postgresql+psycopg://timbrado@127.0.0.1:{port}/x",
            "TIMBRADO_BROKER_URL": f"redis://127.0.0.1:{port}/0",
        }
    )("doctor", "--json").json["findings"]

    levels = {each["what"]: each["level"] for each in found}
    assert (levels["database"], levels["broker"]) == ("bad", "bad")
    assert "not checked: the database does not answer" in {each["found"] for each in found}


@pytest.fixture
def make_silent_server() -> Iterator[Callable[[], int]]:
    server = socket.create_server(("127.0.0.1", 0))
    yield lambda: int(server.getsockname()[1])
    server.close()
