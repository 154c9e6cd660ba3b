"""What operators do on a bad day: drain, rotate keys, replay notices, and ask the doctor what is wrong."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
import redis
import sqlalchemy as sa
import uuid_utils.compat as uuids
from cryptography.fernet import Fernet

from events import channels
from models.tables import connections, invoices
from models.vocabulary import Channel
from tests.conftest import Servers, Stack
from tests.support.builders import an_invoice
from tests.support.command_line import Account, CommandLine


def findings(timbrado: CommandLine) -> tuple[int, dict[str, tuple[str, str]]]:
    """The doctor's exit code, and for each thing the worst that it found."""
    done = timbrado("doctor", "--json")
    order = ("ok", "warn", "bad")
    found: dict[str, tuple[str, str]] = {}
    for each in done.json["findings"]:
        level = found.get(each["what"], ("ok", ""))[0]
        if each["what"] not in found or order.index(each["level"]) > order.index(level):
            found[each["what"]] = (each["level"], f"{each['found']} → {each['fix']}")
    return done.code, found


# --- drain -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def shared(stack: Stack) -> Iterator[CommandLine]:
    running = CommandLine(stack.environment)
    yield running
    running("drain", "--undo")


def test_drained_workers_take_nothing_new_and_lose_nothing(shared, stack):
    """What is submitted to drained workers waits, the doctor says so, and --undo lets it be stamped."""
    account = Account(shared, stack.sandbox)
    assert account.connect().code == 0
    drained = shared("drain", "--json")
    code, found = findings(shared)
    untaken = shared("submit", "-", "--wait", "--timeout", "2", stdin=json.dumps(account.invoice()))
    undone = shared("drain", "--undo", "--json")
    taken = account.submit(account.invoice())

    assert (drained.code, drained.json["drained"]) == (0, True)
    assert drained.json["workers"] == undone.json["workers"] == [f"{stack.workers[0]}@timbrado"]
    assert (code, found["workers"][0]) == (1, "bad")
    assert "drain --undo" in found["workers"][1]
    assert untaken.code == 1
    assert "have not settled in 2 s" in untaken.err
    assert taken.json[0]["status"] == "stamped"


def test_drain_without_workers_says_so(environment):
    """With nobody to drain the command fails and says that no worker answered."""
    timbrado = CommandLine(environment)
    done = timbrado("drain")

    assert done.code == 1
    assert "no worker answered" in done.err


def test_drain_names_the_worker_that_did_not_answer(shared, stack):
    """One of two that were asked for is not there: that is no drain."""
    done = shared("drain", "--worker", f"{stack.workers[0]}@timbrado", "--worker", "gone@timbrado")

    assert done.code == 1
    assert "gone@timbrado: did not answer" in done.err


# --- keys ------------------------------------------------------------------------------------------------------------


def test_keys_are_rotated_and_the_old_one_can_go(environment, sandbox, database_url):
    """Old key, then both, then the new alone: the connection works all along."""
    old = environment["TIMBRADO_ENCRYPTION_KEYS"]
    new = Fernet.generate_key().decode()
    timbrado = CommandLine(environment)
    account = Account(timbrado, sandbox)
    assert account.connect().code == 0
    timbrado = CommandLine({**environment, "TIMBRADO_ENCRYPTION_KEYS": f"{new},{old}"})
    _, before = findings(timbrado)
    first, second = timbrado("rotate-keys", "--json"), timbrado("rotate-keys", "--json")
    _, after = findings(timbrado)
    timbrado = CommandLine({**environment, "TIMBRADO_ENCRYPTION_KEYS": new})
    validated = timbrado("validate", account.name)

    assert before["keys"][0] == "warn"
    assert "timbrado rotate-keys" in before["keys"][1]
    assert (first.code, first.json["rotated"]) == (0, 1)
    assert (second.json["rotated"], second.json["fresh"]) == (0, 1)
    assert after["keys"][0] == "ok"
    assert validated.code == 0


def test_a_key_that_nothing_decrypts_is_named_and_left_as_it_is(environment, sandbox, database_url):
    """rotate-keys and the doctor name the account; with the old key back it still works."""
    timbrado = CommandLine(environment)
    account = Account(timbrado, sandbox)
    account.connect()
    timbrado = CommandLine({**environment, "TIMBRADO_ENCRYPTION_KEYS": Fernet.generate_key().decode()})
    done = timbrado("rotate-keys")
    code, found = findings(timbrado)
    timbrado = CommandLine(environment)
    as_before = timbrado("validate", account.name)

    assert done.code == 1
    assert account.name in done.err
    assert (code, found["keys"][0]) == (1, "bad")
    assert account.name in found["keys"][1]
    assert as_before.code == 0


# --- notices ---------------------------------------------------------------------------------------------------------


def test_an_event_is_replayed_over_the_installations_channels(environment, sandbox, database_url):
    """Also one that was written while there was none; this shell's own settings have no part in it."""
    timbrado = CommandLine(environment)
    account = Account(timbrado, sandbox)
    engine = sa.create_engine(database_url)
    with engine.begin() as db:
        channels.set_current(db, (), datetime.now(UTC))
    account.connect()
    with engine.begin() as db:
        channels.set_current(db, (Channel.WEBHOOK,), datetime.now(UTC))
    engine.dispose()
    [event] = timbrado("events", "list", "--account", account.name, "--json").json
    replayed = timbrado("events", "replay", event["id"], "--json")
    pending = timbrado("events", "list", "--status", "pending", "--json").json
    wrong = timbrado("events", "replay", event["id"], "--channel", "celery")
    both = timbrado("events", "replay", event["id"], "--dead")

    assert event["type"] == "connection.active"
    assert event["deliveries"] == []
    assert (replayed.code, replayed.json) == (0, {"replayed": 1, "channels": ["webhook"]})
    assert [each["id"] for each in pending] == [event["id"]]
    assert (wrong.code, both.code) == (1, 1)


# --- the doctor ------------------------------------------------------------------------------------------------------


def test_the_doctor_says_that_nothing_works_the_queues(environment):
    """Without worker and beat those two are bad, with the command that starts them; no account is a warning."""
    timbrado = CommandLine(environment)
    code, found = findings(timbrado)

    assert code == 1
    assert {what for what, (level, _) in found.items() if level == "bad"} == {"workers", "beat"}
    assert "celery -A worker" in found["beat"][1]
    assert found["connection"] == ("warn", "no account is connected → timbrado connect ACCOUNT")


@contextmanager
def an_empty_database(
    environment: dict[str, str], servers: Servers, options: str = ""
) -> Iterator[CommandLine]:
    """The command line with a database of its own that nobody has migrated."""
    whole = sa.make_url(environment["TIMBRADO_DATABASE_URL"])
    admin = sa.create_engine(servers.database_url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    name = f"{whole.database}_empty"
    with admin.connect() as db:
        db.execute(sa.text(f"CREATE DATABASE {name} {options}"))
    url = whole.set(database=name).render_as_string(hide_password=False)
    try:
        yield CommandLine({**environment, "TIMBRADO_DATABASE_URL": url})
    finally:
        with admin.connect() as db:
            db.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


def test_the_doctor_says_that_the_tables_are_not_there(environment, servers):
    """An empty database is bad until `timbrado migrate` has run."""
    with an_empty_database(environment, servers) as timbrado:
        code, found = findings(timbrado)
        migrated = timbrado("migrate")
        _, after = findings(timbrado)

    assert code == 1
    assert found["migrations"][0] == "bad"
    assert "timbrado migrate" in found["migrations"][1]
    assert migrated.code == 0
    assert after["migrations"][0] == "ok"


def test_a_database_that_cannot_hold_every_name_is_refused_by_its_encoding(environment, servers):
    """What `initdb` makes where no language is set, as in a container."""
    with an_empty_database(environment, servers, "ENCODING 'SQL_ASCII' TEMPLATE template0") as timbrado:
        migrated = timbrado("migrate")
        _, found = findings(timbrado)

    assert migrated.code == 1
    assert "SQL_ASCII" in migrated.err
    assert "ENCODING 'UTF8'" in migrated.err
    assert "unexpected" not in migrated.err
    assert found["database"][0] == "bad"
    assert "SQL_ASCII" in found["database"][1]


def test_a_program_that_is_rolled_back_works_with_the_tables_of_the_next_release(environment):
    """`docker compose up` with the old image migrates first: it must leave them alone, and not fail."""
    engine = sa.create_engine(environment["TIMBRADO_DATABASE_URL"], poolclass=sa.NullPool)
    with engine.begin() as db:
        db.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    timbrado = CommandLine(environment)
    migrated = timbrado("migrate")
    _, found = findings(timbrado)
    with engine.begin() as db:
        at = db.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one()

    assert (migrated.code, at) == (0, "9999")
    assert "later release" in migrated.err
    assert found["migrations"][0] == "ok"


@pytest.mark.parametrize(
    ("broken", "what", "text"),
    [
        (
            {"TIMBRADO_DATABASE_URL": "postgresql+psycopg://timbrado@/x?host=/nowhere"},
            "database",
            "TIMBRADO_DATABASE_URL",
        ),
        ({"TIMBRADO_BROKER_URL": "redis+socket:///nowhere/redis.sock"}, "broker", "TIMBRADO_BROKER_URL"),
        ({"TIMBRADO_BROKER_URL": "carrier-pigeon://"}, "settings", "TIMBRADO_BROKER_URL"),
        ({"TIMBRADO_ENCRYPTION_KEYS": "short"}, "settings", "TIMBRADO_ENCRYPTION_KEYS"),
        ({"TIMBRADO_STORAGE_URL": "file:///proc/nowhere"}, "settings", "/proc/nowhere"),
    ],
)
def test_the_doctor_names_what_does_not_answer_and_the_setting_to_look_at(environment, broken, what, text):
    """A wrong address, key or folder is bad under its own row, with its TIMBRADO_ name."""
    timbrado = CommandLine({**environment, **broken})
    code, found = findings(timbrado)

    assert code == 1
    assert found[what][0] == "bad"
    assert text in found[what][1]


def test_the_doctor_sees_a_store_that_nobody_can_write_to(environment, tmp_path):
    """A file stands where the probe's folder would be: so it is for root, too."""
    store = tmp_path / "documents"
    store.mkdir()
    (store / "_probe").write_text("in the way")
    timbrado = CommandLine(environment)
    code, found = findings(timbrado)

    assert (code, found["storage"][0]) == (1, "bad")
    assert "TIMBRADO_STORAGE_URL" in found["storage"][1]


def test_the_doctor_sees_a_queue_that_may_be_thrown_away(environment, redis_url):
    """maxmemory-policy is the server's, shared by all tests of the run: it is put back at once."""
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            timbrado = CommandLine(environment)
            code, found = findings(timbrado)
        finally:
            client.config_set("maxmemory-policy", "noeviction")

    assert (code, found["broker"][0]) == (1, "bad")
    assert "noeviction" in found["broker"][1]


def test_the_doctor_sees_what_nobody_brings_on(environment, database_url, sandbox):
    """Claims that ran out and invoices that are due, long ago: the sweep does not run."""
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    timbrado = CommandLine(environment)
    account = Account(timbrado, sandbox)
    account.connect()
    engine = sa.create_engine(database_url)
    with engine.begin() as db:
        insert_invoice(db, account.name, "due", status="accepted", next_attempt_at=long_ago)
        insert_invoice(db, account.name, "claimed", status="stamping", claimed_until=long_ago)
        insert_invoice(db, account.name, "failed", status="failed", reason="needs_person")
    code, found = findings(timbrado)
    with engine.begin() as db:
        db.execute(sa.update(connections).values(status="broken", reason="no_stamps", next_probe_at=long_ago))
    _, broken = findings(timbrado)
    engine.dispose()

    assert (code, found["invoices"][0]) == (1, "bad")
    assert "the sweep does not run" in found["invoices"][1]
    assert broken["connection"][0] == "warn"
    assert "Compra timbres" in broken["connection"][1]


def insert_invoice(db: sa.Connection, account: str, external_id: str, **values) -> None:
    now = datetime.now(UTC)
    db.execute(
        sa.insert(invoices).values(
            id=uuids.uuid7(),
            account=account,
            external_id=external_id,
            version=1,
            content=an_invoice(),
            content_hash="c" * 64,
            created_at=now,
            updated_at=now,
            **values,
        )
    )


# --- without a broker ------------------------------------------------------------------------------------------------


def test_without_a_broker_nothing_is_sent_and_that_is_reported(environment):
    """Without a broker nothing is sent and that is said."""
    without_broker = {**environment, "TIMBRADO_BROKER_URL": "redis+socket:///nowhere/redis.sock"}
    timbrado = CommandLine(without_broker)
    done = timbrado("submit", "-", stdin=json.dumps(an_invoice()))

    assert done.code == 1
    assert "the broker takes nothing" in done.err
    assert "0 of 1 were sent" in done.err
