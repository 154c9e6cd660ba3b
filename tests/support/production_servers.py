"""PostgreSQL, Redis and RabbitMQ closed as in production: the roles and users of deploy/, and TLS.

The servers out of wheels speak no TLS. Debian's do, and where they are missing the test that wants one is skipped.
"""

import hashlib
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import redis
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from devstack import services
from devstack.ports import any_port

DEPLOY = Path(__file__).parents[2] / "deploy"
ROLES = ("timbrado_owner", "timbrado_worker", "timbrado_read", "timbrado_sender")
LOCALHOST = x509.DNSName("localhost")


# --- certificates ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Certificates:
    """An authority of the test's own, another one, and a server's certificate from the first."""

    authority: Path
    stranger: Path
    server: Path
    key: Path


def certificates(home: Path, name: x509.GeneralName = LOCALHOST) -> Certificates:
    """Make them in a folder; the server's is for one name or address."""
    made = Certificates(home / "ca.pem", home / "other.pem", home / "server.pem", home / "server.key")
    now = datetime.now(UTC)

    def issue(subject: str, key: Any, issuer: str, signs: Any, *, is_authority: bool) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        )
        return builder.sign(signs, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    ours, other, server = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    made.authority.write_bytes(issue("ours", ours, "ours", ours, is_authority=True))
    made.stranger.write_bytes(issue("other", other, "other", other, is_authority=True))
    made.server.write_bytes(issue("server", server, "ours", ours, is_authority=False))
    made.key.touch(mode=0o600)
    made.key.write_bytes(
        server.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return made


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


def in_libpq(url: sa.URL) -> str:
    """The address as psycopg itself takes it."""
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


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
        return psycopg.connect(in_libpq(self._url), autocommit=True)

    def apply(self) -> None:
        with self._as_superuser() as db:
            db.execute((DEPLOY / "postgres/roles.sql").read_text())

    def url(self, role: str) -> str:
        return self._url.set(username=role, password=self._password).render_as_string(hide_password=False)

    def connect(self, role: str) -> psycopg.Connection[Any]:
        return psycopg.connect(in_libpq(sa.make_url(self.url(role))))

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


# --- Redis -----------------------------------------------------------------------------------------------------------


class Guarded:
    """A Redis with deploy/redis/users.acl, its passwords filled in; with certificates it speaks nothing but TLS."""

    def __init__(self, home: Path, program: Path | None = None, shows: Certificates | None = None) -> None:
        self._shows = shows
        self.port = any_port()
        self.passwords = {name: secrets.token_urlsafe(12) for name in ("timbrado", "apunto", "admin")}
        rules = (DEPLOY / "redis/users.acl").read_text()
        for digit, password in enumerate(self.passwords.values()):
            rules = rules.replace(f"#{str(digit) * 64}", f"#{hashlib.sha256(password.encode()).hexdigest()}")
        acl = home / "users.acl"
        acl.write_text("\n".join(line for line in rules.splitlines() if not line.startswith("#")) + "\n")
        settings = {
            "bind": "127.0.0.1",
            "dir": home,
            "save": "",
            "aclfile": acl,
            "maxmemory-policy": "noeviction",
        }
        if shows is None:
            settings |= {"port": self.port}
        else:
            settings |= {"port": 0, "tls-port": self.port, "tls-auth-clients": "no"}
            settings |= {
                "tls-cert-file": shows.server,
                "tls-key-file": shows.key,
                "tls-ca-cert-file": shows.authority,
            }
        options = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
        self.process = subprocess.Popen(
            [program or services.redis_server(), *options], stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10
        while not self._answers():
            assert self.process.poll() is None, "Redis did not start"
            assert time.monotonic() < deadline, "Redis did not start in 10 s"
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            with self.client("admin") as link:
                return bool(link.ping())
        except redis.ConnectionError:
            return False

    def url(self, user: str) -> str:
        address = f"{user}:{self.passwords[user]}@localhost:{self.port}/0"
        return (
            f"rediss://{address}?ssl_ca_certs={self._shows.authority}"
            if self._shows
            else f"redis://{address}"
        )

    def client(self, user: str) -> "redis.Redis":
        return redis.Redis.from_url(self.url(user))

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)


# --- RabbitMQ --------------------------------------------------------------------------------------------------------

RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # Debian's rabbitmq-server


@contextmanager
def rabbitmq(
    home: Path,
    *,
    addresses: Sequence[str] = ("127.0.0.1",),
    shows: Certificates | None = None,
    more: Sequence[str] = (),
) -> Iterator[int]:
    """Run a RabbitMQ on loopback, thrown away at the end; give its port. With certificates it speaks only TLS.

    `more` are further lines of its configuration.
    """
    port, distribution, names = any_port(), any_port(), any_port()
    (home / "plugins").write_text("[].")
    kind = "tcp" if shows is None else "ssl"
    lines = [
        f"listeners.{kind}.{number} = {address}:{port}" for number, address in enumerate(addresses, start=1)
    ]
    if shows is not None:
        lines += ["listeners.tcp = none", "ssl_options.verify = verify_none"]
        lines += [f"ssl_options.{what}file = {path}" for what, path in (
            ("cacert", shows.authority), ("cert", shows.server), ("key", shows.key)
        )]  # fmt: skip
    (home / "rabbitmq.conf").write_text("\n".join([*lines, *more]) + "\n")
    env = {
        **os.environ,
        "HOME": str(home),
        "RABBITMQ_NODENAME": f"test{port}@localhost",
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_MNESIA_BASE": str(home / "data"),
        "RABBITMQ_LOG_BASE": str(home / "log"),
        "RABBITMQ_PID_FILE": str(home / "pid"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
        "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq"),
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
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
        # Erlang's directory of names, a daemon that it left behind
        subprocess.run(["epmd", "-port", str(names), "-kill"], stdout=subprocess.DEVNULL, check=False)
