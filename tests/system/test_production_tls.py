"""With TLS: PostgreSQL, Redis and RabbitMQ are reached over it, and only where the server shows who it is.

A real worker stamps over each; a server with a certificate of another authority, or for another name, is turned away.
"""

import asyncio
import ipaddress
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from cryptography import x509
from timbrado_client import BrokerUnavailable, Timbrado

from devstack.ports import any_port
from devstack.postgres import Cluster
from migrations import upgrade
from tests.conftest import Servers
from tests.support.apunto import Apunto, invoices_of
from tests.support.command_line import CommandLine
from tests.support.production_servers import (
    RABBITMQ,
    Certificates,
    Guarded,
    Roles,
    certificates,
    in_libpq,
    rabbitmq,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
DEBIANS = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)  # the one of the wheel has no TLS
DEBIANS_REDIS = Path("/usr/bin/redis-server")


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


@pytest.fixture
def encrypted(servers: Servers) -> Iterator[tuple[sa.URL, Certificates]]:
    """A PostgreSQL that takes nobody without TLS, and the address of an empty database in it."""
    if DEBIANS is None:
        pytest.skip("a PostgreSQL that speaks TLS is not here (Debian: postgresql)")
    home = Path(tempfile.mkdtemp(prefix="timbrado-tls-", dir="/tmp"))
    home.chmod(0o755)  # as root PostgreSQL runs as nobody and must get to its data
    reported = certificates(home)
    port = any_port()
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
            shutil.chown(reported.key, "nobody")
        url = sa.make_url(cluster.url("postgres")).set(host="localhost", port=port, query={})
        url = url.update_query_dict({"sslmode": "verify-full", "sslrootcert": str(reported.authority)})

        async def answers() -> bool:
            psycopg.connect(in_libpq(url), connect_timeout=2).close()
            return True

        service = cluster.service()
        argv = [*service.argv, "-c", "listen_addresses=127.0.0.1", "-c", f"port={port}", "-c", "ssl=on"]
        argv += ["-c", f"ssl_cert_file={reported.server}", "-c", f"ssl_key_file={reported.key}"]
        servers.runtime.add(replace(service, name="postgres-tls", argv=argv, ready=answers, before=None))
        with psycopg.connect(in_libpq(url), autocommit=True) as db:
            db.execute("CREATE DATABASE stack")
        yield url.set(database="stack"), reported
        servers.runtime.stop_service("postgres-tls")
    finally:
        shutil.rmtree(home, ignore_errors=True)


def test_postgresql_is_reached_by_tls_alone_by_a_role_with_the_least(
    encrypted: tuple[sa.URL, Certificates], make_stack: Callable[..., Any]
) -> None:
    """Migrated, worked with and looked at over TLS; in the clear, by another authority or name, nobody gets in."""
    url, reported = encrypted
    upgrade(url.render_as_string(hide_password=False))
    roles = Roles(url.render_as_string(hide_password=False))
    env = {"TIMBRADO_DATABASE_URL": roles.url("timbrado_worker"), "TIMBRADO_SWEEP_EVERY": "1"}
    stack = make_stack(env=env)
    with Apunto(stack) as apunto:
        account = apunto.open_account()
        apunto.submit(invoices_of(account, 4))
        apunto.until(account, {"stamped"}, 4)
    with psycopg.connect(in_libpq(url)) as db:
        seen = db.execute(
            "SELECT usename, bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
            " WHERE datname = 'stack' GROUP BY 1"
        ).fetchall()

    assert dict(seen) == {"timbrado": True, "timbrado_worker": True}
    for wrong in (
        url.update_query_dict({"sslmode": "disable"}),
        url.update_query_dict({"sslrootcert": str(reported.stranger)}),
        url.set(host="127.0.0.1"),
    ):
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(in_libpq(wrong), connect_timeout=5)
    stop(stack)


# --- Redis -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def redis_with_tls(tmp_path: Path) -> Iterator[tuple[Guarded, Certificates]]:
    """A Redis that takes nobody without TLS."""
    if not DEBIANS_REDIS.exists():
        pytest.skip("a Redis that speaks TLS is not here (Debian: redis-server)")
    reported = certificates(tmp_path)
    server = Guarded(tmp_path, DEBIANS_REDIS, reported)
    yield server, reported
    server.close()


def test_redis_is_reached_by_tls_alone_by_a_user_with_the_least(
    redis_with_tls: tuple[Guarded, Certificates], make_stack: Callable[..., Any]
) -> None:
    """Queues and tokens go over it, also after every connection broke; nobody else's certificate will do."""
    server, reported = redis_with_tls
    right = server.url("timbrado")
    stack = make_stack(env={"TIMBRADO_BROKER_URL": right, "TIMBRADO_SWEEP_EVERY": "1"})
    with Apunto(stack) as apunto, Timbrado(server.url("apunto")) as client:
        account = apunto.open_account()
        for invoice in invoices_of(account, 4):
            client.submit(invoice)
        apunto.until(account, {"stamped"}, 4)
        with server.client("admin") as link:
            assert link.client_kill_filter(_type="normal", skipme=True)
        for invoice in invoices_of(account, 2):
            client.submit(invoice)
        apunto.until(account, {"stamped"}, 6)

    in_the_clear = right.replace("rediss://", "redis://").partition("?")[0]
    of_a_stranger = right.replace(str(reported.authority), str(reported.stranger))
    of_the_system = right.partition("?")[0]  # kombu by itself would take any certificate here
    of_another_name = right.replace("localhost", "127.0.0.1")
    assert reaches(stack, right)
    for wrong in (in_the_clear, of_a_stranger, of_the_system, of_another_name):
        assert not reaches(stack, wrong), wrong
    stop(stack)


# --- RabbitMQ --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not RABBITMQ.exists(), reason="RabbitMQ is not here (Debian: rabbitmq-server)")
def test_rabbitmq_is_reached_by_tls_where_it_shows_its_own_name(
    tmp_path: Path, make_stack: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its authority is the system's, or that of SSL_CERT_FILE; one certificate is good for one address."""
    reported = certificates(tmp_path, x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    monkeypatch.setenv("SSL_CERT_FILE", str(reported.authority))
    with rabbitmq(tmp_path, addresses=("127.0.0.1", "127.0.0.2"), shows=reported) as port:
        right = f"amqps://guest:guest@127.0.0.1:{port}//"
        env = {"TIMBRADO_BROKER_URL": right, "TIMBRADO_SWEEP_EVERY": "1"}
        stack = make_stack(env={**env, "SSL_CERT_FILE": str(reported.authority)})
        with Apunto(stack) as apunto, Timbrado(right) as client:
            account = apunto.open_account()
            for invoice in invoices_of(account, 4):
                client.submit(invoice)
            apunto.until(account, {"stamped"}, 4)

        assert reaches(stack, right)
        assert not reaches(stack, right.replace("127.0.0.1", "127.0.0.2"))  # py-amqp by itself would not mind
        monkeypatch.setenv("SSL_CERT_FILE", str(reported.stranger))
        stranger = replace(stack, environment={**stack.environment, "SSL_CERT_FILE": str(reported.stranger)})
        assert not reaches(stranger, right)
        stop(stack)


# --- together --------------------------------------------------------------------------------------------------------


def reaches(stack: Any, url: str) -> bool:
    """Whether our own command and the client get to a broker by this address; they must say the same."""
    asked = ("doctor", "--within", "20", "--json")  # TLS takes its time beside other tests
    done = CommandLine({**stack.environment, "TIMBRADO_BROKER_URL": url})(*asked)
    found = {each["what"]: each["level"] for each in done.json["findings"]}
    with Timbrado(url, timeout=timedelta(seconds=0.5)) as client:
        try:
            client.validate_connection("nobody")
        except BrokerUnavailable:
            reached = False
        else:
            reached = True
    assert (found.get("queues") == "ok") is reached, done.out
    return reached


def stop(stack: Any) -> None:
    """Stop a stack's processes: its servers go before the end of the run."""
    mine = stack.workers[0].partition("-")[0]
    for name in stack.runtime.services:
        if name.startswith(f"{mine}-"):
            stack.runtime.stop_service(name)
