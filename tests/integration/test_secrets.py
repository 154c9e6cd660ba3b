"""Keys at rest: encrypted, rotated while all runs, forgotten for good; and never sent where nobody allowed it."""

import json
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from cli.rotate_keys import rotate
from contadigital.client import ContaDigital
from net.transport import open_http
from stamping.connections import connect
from stamping.connections.tokens import ConnectionTokens
from stamping.outcome import Later, Stamped
from stamping.tools import Tools
from tests.support.harness import Harness, open_harness

pytestmark = pytest.mark.one_database

FERNET = re.compile(r"gAAAAA[\w-]{30,}")


@pytest.fixture
def shared_tokens(database: str, sandbox: Any) -> Iterator[Harness]:
    """A harness whose tokens lie on the connection's row, as all workers share them."""
    http = open_http(connections=4)

    def with_rows(tools: Tools) -> Tools:
        provider = ContaDigital(
            http,
            ConnectionTokens(tools.engine, tools.fernet, clock=tools.clock.now),
            call_timeout=timedelta(seconds=5),
            max_body=10_000_000,
            clock=tools.clock.now,
            allowed_hosts=tools.policy.allowed_hosts,
        )
        return replace(tools, provider=provider)

    with open_harness(database, sandbox, wrap=with_rows) as opened:
        yield opened
    http.close()


def key_of(harness: Harness) -> str:
    return str(harness.sandbox.account(harness.account)["api_key"])


def with_keys(harness: Harness, *keys: bytes) -> Harness:
    """The same installation in a process whose TIMBRADO_ENCRYPTION_KEYS are these."""
    return replace(harness, tools=replace(harness.tools, fernet=MultiFernet([Fernet(key) for key in keys])))


def everything(harness: Harness, *, but: tuple[str, ...] = ()) -> str:
    """Every row of every table, as text."""
    tables = harness.all("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return "\n".join(
        str(tuple(row))
        for table in tables
        if table.tablename not in but
        for row in harness.all(f"SELECT * FROM {table.tablename}")
    )


# --- at rest ---------------------------------------------------------------------------------------------------------


def test_a_key_lies_encrypted_and_shows_four_characters(harness: Harness) -> None:
    """In no table in the clear, in no event, attempt or history, not even in part; nor in what a program prints."""
    harness.stamped("OP-1")
    key, row = key_of(harness), harness.connection()

    assert harness.tools.fernet.decrypt(row.key_encrypted.encode()).decode() == key
    assert row.key_last4 == key[-4:]
    assert key not in everything(harness)
    assert key[4:-4] not in everything(harness)
    assert key not in repr(
        [harness.tools, row, connect.ConnectRequest(harness.account, row.key_encrypted, "", "", "")]
    )


def test_keys_are_rotated_while_everything_runs(harness: Harness) -> None:
    """New first, old behind it; encrypt anew; only then take the old one out. Stamps go on at each step."""
    old, new = Fernet.generate_key(), Fernet.generate_key()
    before = with_keys(harness, old)
    before.connect(key_of(harness))
    both = with_keys(harness, new, old)
    assert isinstance(both.stamp(both.submit("BOTH")), Stamped)

    mine = harness.account
    first = rotate(both.tools, new.decode())
    again = rotate(both.tools, new.decode())
    token = harness.connection().key_encrypted.encode()

    assert first["rotated"] >= 1
    assert mine not in first["lost"]
    assert again["rotated"] == 0
    assert again["fresh"] >= 1
    assert Fernet(new).decrypt(token).decode() == key_of(harness)
    with pytest.raises(InvalidToken):
        Fernet(old).decrypt(token)
    after = with_keys(harness, new)
    assert isinstance(after.stamp(after.submit("AFTER")), Stamped)


def test_a_key_taken_out_too_early_troubles_no_user(harness: Harness) -> None:
    """An operator's mistake: no connection breaks, no try is counted, the provider is not taken for down."""
    invoice_id = harness.submit()
    other = with_keys(harness, Fernet.generate_key())
    emitted = harness.event_types()

    for _ in range(8):
        assert isinstance(other.stamp(invoice_id), Later)
        harness.later(minutes=1.1)
    connect.validate(harness.account, other.tools)

    row = harness.row(invoice_id)
    assert (row.status, row.tries, harness.attempts(invoice_id)) == ("waiting", 0, [])
    assert harness.connection().status == "active"
    assert harness.event_types() == emitted
    assert harness.all("SELECT 1 FROM providers WHERE opened_at IS NOT NULL") == []
    assert isinstance(harness.stamp(invoice_id), Stamped)


def test_one_in_doubt_waits_for_a_key_that_can_be_read(harness: Harness) -> None:
    """It is looked up when the key is back; nothing ends the doubt meanwhile."""
    invoice_id = harness.submit()
    harness.sandbox.play("drop_after", account=harness.account, call="stamp", times=1)
    harness.stamp(invoice_id)
    other = with_keys(harness, Fernet.generate_key())

    for _ in range(3):
        other.look(invoice_id)
    assert harness.row(invoice_id).status == "in_doubt"

    harness.look_until(invoice_id, "stamped", most=2)


# --- forgotten -------------------------------------------------------------------------------------------------------


def test_disconnecting_leaves_nothing_to_decrypt(harness: Harness) -> None:
    """Not in the row, and nowhere else in the database; what is open says that it waits for a connection."""
    harness.stamped("OP-1")
    row = harness.connection()
    assert FERNET.search(str(tuple(row)))

    connect.disconnect(harness.account, harness.tools)

    row = harness.connection()
    assert (row.status, row.key_encrypted, row.key_fingerprint, row.key_last4) == (
        "disconnected",
        None,
        None,
        None,
    )
    assert not FERNET.search(str(tuple(row)))
    mine = [line for line in everything(harness).splitlines() if harness.account in line]
    assert not any(FERNET.search(line) for line in mine)
    assert connect.validate(harness.account, harness.tools).status == "disconnected"


def test_a_token_lies_encrypted_and_goes_with_its_connection(shared_tokens: Harness) -> None:
    """The token is kept on the row, encrypted; connected anew it is another, disconnected it is gone."""
    harness = shared_tokens
    harness.stamped("OP-1")
    first = harness.connection().token_encrypted
    token = json.loads(harness.tools.fernet.decrypt(first))["token"]
    assert token not in everything(harness)

    harness.connect(key_of(harness))
    assert json.loads(harness.tools.fernet.decrypt(harness.connection().token_encrypted))["token"] != token
    connect.disconnect(harness.account, harness.tools)

    row = harness.connection()
    assert (row.token_encrypted, row.token_expires_at, row.token_claimed_until) == (None, None, None)


# --- elsewhere -------------------------------------------------------------------------------------------------------


class Listener:
    """Somebody who would like to be called; counts who did."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.calls = 0
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def _listen(self) -> None:
        while True:
            try:
                self.socket.accept()[0].close()
            except OSError:
                return
            self.calls += 1

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join(timeout=2)


def test_a_key_is_never_sent_to_an_address_that_nobody_allowed(harness: Harness) -> None:
    """Another port, another host, no https, a user in front of the host: refused before the key is decrypted."""
    elsewhere = Listener()
    try:
        for base_url in (
            f"http://127.0.0.1:{elsewhere.port}",
            f"http://localhost:{elsewhere.port}",
            f"http://{harness.sandbox.url[7:]}@127.0.0.1:{elsewhere.port}",
            f"{harness.sandbox.url}@127.0.0.1:{elsewhere.port}",
            f"http://[::ffff:127.0.0.1]:{elsewhere.port}",
            "http://169.254.169.254/latest",
            "https://app.contadigital.mx.example",
            "ftp://127.0.0.1",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "http://",
        ):
            row = harness.connect(key_of(harness), base_url=base_url)
            assert (row.status, row.reason, row.detail["cause"]) == (
                "broken",
                "unreachable",
                "address_forbidden",
            ), base_url
            harness.later(minutes=5)
            connect.probe(row.id, harness.tools)
            connect.validate(harness.account, harness.tools)
    finally:
        elsewhere.close()

    assert elsewhere.calls == 0
    assert harness.connect(key_of(harness), base_url=f" {harness.sandbox.url}/ ").status == "active"
