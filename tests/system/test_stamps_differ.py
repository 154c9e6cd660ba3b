"""An account that stopped because its stamps differ goes on by a decision: real workers, and the command line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.apunto import Apunto, invoices_of
from tests.support.command_line import CommandLine, Done

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def apunto(make_stack: Callable[..., Any]) -> Any:
    with Apunto(make_stack(env={"TIMBRADO_SWEEP_EVERY": "0.5"})) as client:
        yield client


def accept(apunto: Apunto, account: str, differing: str, _: Path) -> Done:
    return CommandLine(apunto.stack.environment)(
        "accept", account, differing, "--reason", "el cliente lo aceptó"
    )


def change_dialect(apunto: Apunto, account: str, differing: str, _: Path) -> Done:
    address = apunto.query("SELECT base_url FROM connections WHERE account = :account", account=account)[0]
    return CommandLine(apunto.stack.environment)(
        "dialect", "set", "importe", "net", "--url", address.base_url
    )


def calibrate(apunto: Apunto, account: str, differing: str, folder: Path) -> Done:
    invoice = folder / "invoice.json"
    invoice.write_text(json.dumps(invoices_of(account, 1)[0]), encoding="utf-8")
    return CommandLine(apunto.stack.environment)(
        "calibrate", account, "--invoice", str(invoice), "--spend", "4", "--apply"
    )


@pytest.mark.parametrize("decide", [accept, change_dialect, calibrate])
def test_an_account_whose_stamps_differ_goes_on_by_a_decision(
    decide: Callable[[Apunto, str, str, Path], Done], apunto: Apunto, tmp_path: Path
):
    """Its first stamp differs and stops it; what came in since is stamped once somebody decided, and not before."""
    account = apunto.open_account()
    sandbox = apunto.stack.sandbox
    sandbox.play("wrong_xml", account=account, call="stamp", times=1, form="total")
    first, second = invoices_of(account, 2)
    apunto.submit([first])
    apunto.until_connection(account, "broken")
    apunto.submit([second])
    apunto.until(account, {"on_hold"}, 1)
    assert sandbox.ledger(account)["stamps"] == 1

    done = decide(apunto, account, first["external_id"], tmp_path)

    assert done.code == 0, done.err
    rows = apunto.until_true(
        lambda: apunto.rows(account), lambda rows: rows[second["external_id"]].status == "stamped", 40
    )
    assert rows[first["external_id"]].status == ("stamped" if decide is accept else "differs")
    types = [event.type for event in apunto.events(account) if event.type.startswith("connection.")]
    assert types == ["connection.active", "connection.broken", "connection.active"]
