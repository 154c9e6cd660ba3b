"""As production runs it: a PostgreSQL role with the least it needs, a Redis user likewise, TLS, and RabbitMQ.

Each is deploy/'s own file, tried by a real worker that stamps with it, and by doing what it forbids.
"""

import asyncio
import hashlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
import sqlalchemy as sa
from celery import Celery
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from migrations import upgrade
from tests.apunto import Apunto, invoices_of
from tests.builders import an_invoice
from tests.conftest import Servers
from worker.local import binaries
from worker.local.postgres import Cluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
DEPLOY = Path(__file__).parents[2] / "deploy"
ROLES = ("timbrado_owner", "timbrado_worker", "timbrado_read", "timbrado_sender")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


class Roles:
    """One database with deploy/postgres/roles.sql in force."""

    def __init__(self, url: str) -> None:
        self._url = sa.make_url(url)
        self._password = secrets.token_urlsafe(12)
        self.apply()
        with self._as_superuser() as db:
            for role in ROLES:
                db.execute(f"ALTER ROLE {role} PASSWORD '{self._password}'")

    def _as_superuser(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._dsn(self._url), autocommit=True)

    def _dsn(self, url: sa.URL) -> str:
        return url.set(drivername="postgresql").render_as_string(hide_password=False)

    def apply(self) -> None:
        with self._as_superuser() as db:
            db.execute((DEPLOY / "postgres/roles.sql").read_text())

    def url(self, role: str) -> str:
        return self._url.set(username=role, password=self._password).render_as_string(hide_password=False)

    def connect(self, role: str) -> psycopg.Connection[Any]:
        return psycopg.connect(self._dsn(sa.make_url(self.url(role))))

    def may(self, role: str, statement: str) -> bool:
        """Whether a role may do something; it is rolled back."""
        with self.connect(role) as db:
            try:
                db.execute(statement)
            except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction):
                return False
            finally:
                db.rollback()
        return True

    def drop(self) -> None:
        with self._as_superuser() as db:
            for role in ROLES:
                db.execute(f"REASSIGN OWNED BY {role} TO CURRENT_USER")
                db.execute(f"DROP OWNED BY {role}")
                db.execute(f"DROP ROLE {role}")


@pytest.fixture(scope="module")
def roles(make_database: Callable[[], str]) -> Iterator[Roles]:
    made = Roles(make_database())
    yield made
    made.drop()


# --- Redis -----------------------------------------------------------------------------------------------------------


class Guarded:
    """A Redis with deploy/redis/users.acl, its passwords filled in."""

    def __init__(self, home: Path) -> None:
        self.port = free_port()
        self.passwords = {name: secrets.token_urlsafe(12) for name in ("timbrado", "apunto", "admin")}
        rules = (DEPLOY / "redis/users.acl").read_text()
        for digit, password in enumerate(self.passwords.values()):
            rules = rules.replace(f"#{str(digit) * 64}", f"#{hashlib.sha256(password.encode()).hexdigest()}")
        acl = home / "users.acl"
        acl.write_text("\n".join(line for line in rules.splitlines() if not line.startswith("#")) + "\n")
        command = [str(binaries.redis_server()), "--port", str(self.port), "--bind", "127.0.0.1"]
        command += [
            "--dir",
            str(home),
            "--save",
            "",
            "--aclfile",
            str(acl),
            "--maxmemory-policy",
            "noeviction",
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not self._answers():
            assert time.monotonic() < deadline, "Redis did not start"
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            with self.client("admin") as link:
                return bool(link.ping())
        except redis.ConnectionError:
            return False

    def url(self, user: str) -> str:
        return f"redis://{user}:{self.passwords[user]}@127.0.0.1:{self.port}/0"

    def client(self, user: str) -> "redis.Redis":
        return redis.Redis.from_url(self.url(user))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    server = Guarded(tmp_path_factory.mktemp("redis"))
    yield server
    server.process.terminate()
    server.process.wait(10)


# --- together --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def apunto(make_stack: Callable[..., Any], roles: Roles, guarded: Guarded) -> Iterator[Apunto]:
    """A worker and beat that are nobody but timbrado_worker and the Redis user `timbrado`."""
    env = {
        "TIMBRADO_DATABASE_URL": roles.url("timbrado_worker"),
        "TIMBRADO_BROKER_URL": guarded.url("timbrado"),
        "TIMBRADO_SWEEP_EVERY": "1",
    }
    with Apunto(make_stack(env=env)) as client:
        yield client


def test_a_worker_needs_no_more_than_its_role_and_its_redis_user(apunto: Apunto) -> None:
    """Connect, stamp, refuse, break, hold, mend, cancel: all of it."""
    account = apunto.open_account()
    apunto.submit(invoices_of(account, 4))
    apunto.submit([an_invoice(account=account, external_id="W-1", fecha=None, total="1.00")])
    rows = apunto.until(account, {"stamped"}, 4)
    apunto.until(account, {"rejected"}, 1)

    apunto.stack.sandbox.revoke_key(account)
    apunto.stack.sandbox.kill_tokens(account)
    apunto.submit(invoices_of(account, 1))
    apunto.until(account, {"on_hold"}, 1)
    apunto.connect(account, apunto.stack.sandbox.regenerate_key(account))
    apunto.until(account, {"stamped"}, 5)
    stamped = next(name for name, row in rows.items() if row.status == "stamped")
    apunto.send("stamping.cancel_invoice", account=account, external_id=stamped, motivo="02")

    apunto.until(account, {"cancelled"}, 1)
    assert apunto.stack.sandbox.ledger(account)["twins"] == 0


def test_apunto_sends_with_a_redis_user_that_reads_nothing(apunto: Apunto, guarded: Guarded) -> None:
    """What it may: push into `intake`. What it may not: look into any queue, or at a token."""
    account = apunto.open_account()
    with Celery("apunto", broker=guarded.url("apunto")) as app:
        for invoice in invoices_of(account, 2):
            app.send_task("stamping.submit_invoice", kwargs={"invoice": invoice}, queue="intake")
    apunto.until(account, {"stamped"}, 2)

    with guarded.client("apunto") as link:
        for command in (("LRANGE", "intake", 0, -1), ("LPUSH", "stamp", "x"), ("KEYS", "*"), ("FLUSHALL",)):
            with pytest.raises(redis.exceptions.NoPermissionError):
                link.execute_command(*command)
    with guarded.client("timbrado") as link:
        for command in (("FLUSHALL",), ("CONFIG", "SET", "save", ""), ("SHUTDOWN",), ("KEYS", "*")):
            with pytest.raises(redis.exceptions.NoPermissionError):
                link.execute_command(*command)
    with redis.Redis(port=guarded.port) as stranger, pytest.raises(redis.exceptions.AuthenticationError):
        stranger.ping()


def test_what_the_law_wants_kept_no_worker_can_take_away(apunto: Apunto, roles: Roles) -> None:
    """Not an invoice, not an attempt, not a document's row, not a line of history; nor can it change history."""
    account = apunto.open_account()
    apunto.submit(invoices_of(account, 1))
    apunto.until(account, {"stamped"}, 1)

    for table in ("invoices", "attempts", "documents", "events", "history", "connections"):
        assert roles.may("timbrado_worker", f"SELECT count(*) FROM {table}")
        assert not roles.may("timbrado_worker", f"DELETE FROM {table}")
        assert not roles.may("timbrado_worker", f"TRUNCATE {table} CASCADE")
        assert not roles.may("timbrado_worker", f"DROP TABLE {table}")
    assert not roles.may("timbrado_worker", "UPDATE history SET to_status = 'cancelled'")
    assert not roles.may("timbrado_worker", "CREATE TABLE mine (x int)")


def test_who_looks_sees_no_key_and_changes_nothing(roles: Roles) -> None:
    assert roles.may("timbrado_read", "SELECT status, count(*) FROM invoices GROUP BY 1")
    assert roles.may("timbrado_read", "SELECT account, status, reason FROM connections")
    assert not roles.may("timbrado_read", "SELECT key_encrypted FROM connections")
    assert not roles.may("timbrado_read", "UPDATE invoices SET status = 'failed'")


def test_who_sends_writes_submissions_and_reads_nothing(apunto: Apunto, roles: Roles) -> None:
    """One INSERT into the inbox, and the worker takes it from there."""
    account = apunto.open_account()
    invoice = an_invoice(account=account, external_id="IN-1", fecha=None)
    with roles.connect("timbrado_sender") as db:
        db.execute(
            "INSERT INTO timbrado_inbox (id, kind, payload) VALUES (gen_random_uuid(), 'submit', %s)",
            [psycopg.types.json.Jsonb(invoice)],
        )
    apunto.until(account, {"stamped"}, 1)

    assert not roles.may("timbrado_sender", "SELECT * FROM timbrado_inbox")
    assert not roles.may("timbrado_sender", "SELECT count(*) FROM invoices")


def test_the_owner_migrates_and_the_roles_may_be_set_again(roles: Roles) -> None:
    """`timbrado migrate` runs as the owner; what a release adds is closed until roles.sql says who may use it."""
    upgrade(roles.url("timbrado_owner"))
    with roles.connect("timbrado_owner") as db:
        db.execute("CREATE TABLE of_the_next_release (x int)")

    assert not roles.may("timbrado_worker", "SELECT * FROM of_the_next_release")
    roles.apply()
    assert roles.may("timbrado_worker", "SELECT count(*) FROM invoices")


# --- PostgreSQL with TLS ---------------------------------------------------------------------------------------------

DEBIANS = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)  # the one of the wheel has no TLS


@dataclass(frozen=True)
class Certificates:
    """An authority of the test's own, another one, and a certificate for `localhost`."""

    authority: Path
    stranger: Path
    server: Path
    key: Path


def certificates(home: Path) -> Certificates:
    made = Certificates(home / "ca.pem", home / "other.pem", home / "server.pem", home / "server.key")
    now = datetime.now(UTC)

    def issue(name: str, key: Any, issuer: str, signs: Any, *, is_authority: bool) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        )
        return builder.sign(signs, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    ours, other, server = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    made.authority.write_bytes(issue("ours", ours, "ours", ours, is_authority=True))
    made.stranger.write_bytes(issue("other", other, "other", other, is_authority=True))
    made.server.write_bytes(issue("localhost", server, "ours", ours, is_authority=False))
    made.key.touch(mode=0o600)
    made.key.write_bytes(
        server.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return made


@pytest.fixture
def encrypted(servers: Servers) -> Iterator[tuple[sa.URL, Certificates]]:
    """A PostgreSQL that takes nobody without TLS, and the address of an empty database in it."""
    if DEBIANS is None:
        pytest.skip("a PostgreSQL that speaks TLS is not here (Debian: postgresql)")
    home = Path(tempfile.mkdtemp(prefix="timbrado-tls-", dir="/tmp"))
    home.chmod(0o755)  # as root PostgreSQL runs as nobody and must get to its data
    told = certificates(home)
    port = free_port()
    try:
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("TIMBRADO_POSTGRES_BIN", str(DEBIANS))
            cluster = Cluster(home, home, durable=False)

        async def run(argv: list[str], env: dict[str, str], cwd: Path) -> tuple[int, str]:
            done = subprocess.run(argv, env=env, cwd=cwd, capture_output=True, text=True, check=False)
            return done.returncode, done.stdout + done.stderr

        asyncio.run(cluster.initialise(run))
        rules = home / "postgres" / "pg_hba.conf"
        rules.write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
        if os.geteuid() == 0:
            shutil.chown(told.key, "nobody")
        url = sa.make_url(cluster.url("postgres")).set(host="localhost", port=port, query={})
        url = url.update_query_dict({"sslmode": "verify-full", "sslrootcert": str(told.authority)})

        async def answers() -> bool:
            psycopg.connect(plain(url), connect_timeout=2).close()
            return True

        service = cluster.service()
        argv = [*service.argv, "-c", "listen_addresses=127.0.0.1", "-c", f"port={port}", "-c", "ssl=on"]
        argv += ["-c", f"ssl_cert_file={told.server}", "-c", f"ssl_key_file={told.key}"]
        servers.runtime.add(replace(service, name="postgres-tls", argv=argv, ready=answers, before=None))
        with psycopg.connect(plain(url), autocommit=True) as db:
            db.execute("CREATE DATABASE house")
        yield url.set(database="house"), told
        servers.runtime.stop_service("postgres-tls")
    finally:
        shutil.rmtree(home, ignore_errors=True)


def plain(url: sa.URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def test_postgresql_is_reached_by_tls_alone_by_a_role_with_the_least(
    encrypted: tuple[sa.URL, Certificates], make_stack: Callable[..., Any]
) -> None:
    """Migrated, worked with and looked at over TLS; in the clear, by another authority or name, nobody gets in."""
    url, told = encrypted
    upgrade(url.render_as_string(hide_password=False))
    roles = Roles(url.render_as_string(hide_password=False))
    env = {"TIMBRADO_DATABASE_URL": roles.url("timbrado_worker"), "TIMBRADO_SWEEP_EVERY": "1"}
    stack = make_stack(env=env)
    with Apunto(stack) as apunto:
        account = apunto.open_account()
        apunto.submit(invoices_of(account, 4))
        apunto.until(account, {"stamped"}, 4)
    with psycopg.connect(plain(url)) as db:
        seen = db.execute(
            "SELECT usename, bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
            " WHERE datname = 'house' GROUP BY 1"
        ).fetchall()

    assert dict(seen) == {"timbrado": True, "timbrado_worker": True}
    for wrong in (
        url.update_query_dict({"sslmode": "disable"}),
        url.update_query_dict({"sslrootcert": str(told.stranger)}),
        url.set(host="127.0.0.1"),
    ):
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(plain(wrong), connect_timeout=5)
    mine = stack.workers[0].partition("-")[0]
    for name in stack.runtime.services:
        if name.startswith(f"{mine}-"):
            stack.runtime.stop_service(name)


# --- RabbitMQ --------------------------------------------------------------------------------------------------------

RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # Debian's rabbitmq-server


@pytest.fixture(scope="module")
def amqp_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A RabbitMQ on loopback alone, thrown away at the end; or the one of TEST_AMQP_URL."""
    if given := os.environ.get("TEST_AMQP_URL"):
        yield given
        return
    home = tmp_path_factory.mktemp("rabbitmq")
    (home / "plugins").write_text("[].")
    port, distribution, names = free_port(), free_port(), free_port()
    env = {
        **os.environ,
        "HOME": str(home),
        "RABBITMQ_NODENAME": f"test{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_MNESIA_BASE": str(home / "data"),
        "RABBITMQ_LOG_BASE": str(home / "log"),
        "RABBITMQ_PID_FILE": str(home / "pid"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
        "RABBITMQ_CONFIG_FILE": str(home / "none"),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(names),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
    }
    process = subprocess.Popen([RABBITMQ], env=env, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, "RabbitMQ did not start"
            assert time.monotonic() < deadline, "RabbitMQ did not start in a minute"
            time.sleep(0.2)
        yield f"amqp://guest:guest@127.0.0.1:{port}//"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
        # Erlang's directory of names, a daemon that it left behind
        subprocess.run(["epmd", "-port", str(names), "-kill"], stdout=subprocess.DEVNULL, check=False)


@pytest.mark.skipif(
    not (RABBITMQ.exists() or os.environ.get("TEST_AMQP_URL")),
    reason="RabbitMQ is not here (Debian: rabbitmq-server)",
)
def test_rabbitmq_is_a_broker_behind_the_same_setting(
    amqp_url: str, make_stack: Callable[..., Any], redis_url: str
) -> None:
    """Stamped, refused, sent thrice and once stamped, taken up again after kill -9: as with Redis."""
    env = {"TIMBRADO_BROKER_URL": amqp_url, "TIMBRADO_REDIS_URL": redis_url, "TIMBRADO_SWEEP_EVERY": "1"}
    with Apunto(make_stack(env=env)) as apunto:
        account = apunto.open_account()
        invoices = invoices_of(account, 12)
        for _ in range(3):
            apunto.submit(invoices)
        apunto.submit([an_invoice(account=account, external_id="W-1", fecha=None, total="1.00")])
        apunto.until(account, {"stamped"}, 12)
        apunto.until(account, {"rejected"}, 1)
        (worker,) = apunto.stack.workers
        apunto.stack.runtime.kill(worker, again=False)
        apunto.submit(invoices_of(account, 6))
        apunto.stack.runtime.start_service(worker)

        apunto.until(account, {"stamped"}, 18)
        ledger = apunto.stack.sandbox.ledger(account)
        assert (ledger["stamps"], ledger["twins"]) == (18, 0)
