"""The HTTP API against its own OpenAPI document: thousands of requests that schemathesis makes, with two keys.

schemathesis is no dependency of ours: install it into an environment of its own, and name its command in
TIMBRADO_TEST_SCHEMATHESIS. TIMBRADO_TEST_EXAMPLES says how many requests it makes for each operation and key.
"""

import json
import os
import secrets
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api import keys
from devstack import services
from devstack.ports import any_port
from tests.support.apunto import Apunto
from tests.support.builders import a_receptor, an_invoice

COMMAND = os.environ.get("TIMBRADO_TEST_SCHEMATHESIS")
EXAMPLES = os.environ.get("TIMBRADO_TEST_EXAMPLES", "20")
HOOKS = Path(__file__).parents[1] / "support" / "schemathesis_hooks.py"
# A link may be gone, and a cancellation refused for what the document cannot say.
SETTINGS = """[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", 401, 403, 404, 409, 410, 422, 429, "5xx"]
"""

pytestmark = [
    pytest.mark.skipif(not COMMAND, reason="TIMBRADO_TEST_SCHEMATHESIS names no schemathesis"),
    pytest.mark.slow,
    pytest.mark.timeout(3600),
]


@pytest.fixture(scope="module")
def apunto(servers: Any, make_stack: Callable[..., Any]) -> Iterator[tuple[Apunto, str]]:
    port = any_port()
    url = f"http://127.0.0.1:{port}"
    stack = make_stack(env={"TIMBRADO_PUBLIC_URL": url})
    service = replace(services.api(port, stack.environment), name=f"api-{port}")
    servers.runtime.add(service)
    with Apunto(stack) as opened:
        yield opened, url
    servers.runtime.stop_service(service.name)


def an_account(apunto: Apunto, name: str) -> tuple[str, list[str]]:
    """An account with stamped, rejected and cancelled invoices, and the texts that only it may read."""
    account = apunto.open_account()
    only = {**a_receptor(), "email": f"{name}@only.example"}
    apunto.submit(
        an_invoice(
            account=account, external_id=f"{name}-{number}", fecha=None, receptor=only,
            **({"forma_pago": "77"} if number % 5 == 4 else {}),
        )
        for number in range(20)
    )  # fmt: skip
    rows = apunto.until(account, {"stamped", "rejected"}, 20)
    for number in (0, 1):
        apunto.send("stamping.cancel_invoice", account=account, external_id=f"{name}-{number}", motivo="02")
    apunto.until(account, {"cancelled"}, 2)
    texts = [str(each) for row in rows.values() for each in (row.id, row.uuid) if each is not None]
    return account, [account, f"{name}@only.example", *rows, *texts]


def test_no_request_gets_an_error_of_ours_a_surprise_or_another_accounts_data(apunto, tmp_path):
    """No 500, nothing outside the OpenAPI document (status, content type, body), and nothing of the other account."""
    opened, url = apunto
    accounts = [an_account(opened, f"{name}{secrets.token_hex(3)}") for name in ("norte", "sur")]
    calls = tmp_path / "calls"
    for place, scopes in enumerate((keys.SCOPES, ("submit", "read"))):
        (account, own), (other, theirs) = accounts[place], accounts[1 - place]
        facts = {
            "mine": [[account, each] for each in own[2:22]],
            "theirs": [[other, each] for each in theirs[2:22]],
            "secrets": theirs,
            "calls": str(calls),
        }
        (tmp_path / "facts.json").write_text(json.dumps(facts))
        (tmp_path / "schemathesis.toml").write_text(SETTINGS)
        with opened.engine.begin() as db:
            now = opened.query("SELECT now() AS at")[0].at
            key = keys.create(db, account, now=now, scopes=scopes, account_glob=account)
        ended = subprocess.run(
            [
                str(COMMAND), "run", f"{url}/v1/openapi.json", "--header", f"Authorization:Bearer {key}",
                "--checks", "all", "--max-examples", EXAMPLES, "--rate-limit", "45/s", "--request-timeout", "20",
                "--suppress-health-check", "all", "--continue-on-failure", "--seed", "1", "--no-color",
            ],
            env={**os.environ, "SCHEMATHESIS_HOOKS": str(HOOKS), "FUZZ_FACTS": str(tmp_path / "facts.json")},
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stdout
    made = {each.split(" ")[0]: each.rpartition(" ")[2] for each in calls.read_text().splitlines()}
    statuses = Counter(made.values())
    print(f"{len(made):,} calls: {statuses}")
    assert statuses.keys() > {"200", "202", "204", "400", "401", "403", "404", "405", "409", "422"}
    assert len(made) > 40 * int(EXAMPLES)
