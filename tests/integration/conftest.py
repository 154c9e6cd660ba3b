"""What most files here use: the harness with an account of the test's own, and the command line.

The account lies in a database of the test's own, or of its file's where that is marked `one_database`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from sandbox.serve import RunningSandbox
from tests.conftest import Servers, Stack
from tests.support.command_line import Account, CommandLine
from tests.support.harness import Harness, open_harness


@pytest.fixture(scope="module")
def database(make_database: Callable[[], str]) -> str:
    """One database for the file."""
    return make_database()


@pytest.fixture
def harness(request: pytest.FixtureRequest, sandbox: RunningSandbox) -> Iterator[Harness]:
    """An account and the time in the test's hand."""
    name = "database" if request.node.get_closest_marker("one_database") else "database_url"
    with open_harness(request.getfixturevalue(name), sandbox) as opened:
        yield opened


@pytest.fixture
def environment(
    servers: Servers, database_url: str, broker_url: str, sandbox: RunningSandbox, tmp_path: Path
) -> dict[str, str]:
    """Settings of an installation of this test's own, in which nothing runs but the servers."""
    return {
        **servers.runtime.environment,
        "TIMBRADO_DATABASE_URL": database_url,
        "TIMBRADO_BROKER_URL": broker_url,
        "TIMBRADO_STORAGE_URL": (tmp_path / "documents").as_uri(),
        "TIMBRADO_CONTADIGITAL_URL": sandbox.url,
        "TIMBRADO_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
    }


@pytest.fixture(scope="module")
def timbrado(stack: Stack) -> CommandLine:
    """The command line of the running stack."""
    return CommandLine(stack.environment)


@pytest.fixture
def account(timbrado: CommandLine, stack: Stack) -> Account:
    """An account of the sandbox that nothing here knows yet."""
    return Account(timbrado, stack.sandbox)


@pytest.fixture
def connected(account: Account) -> Account:
    """The same, connected and active."""
    assert account.connect().code == 0
    return account
