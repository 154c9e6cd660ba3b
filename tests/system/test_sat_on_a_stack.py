"""The SAT's status service on a stack that was started with its setting: real workers and the command line ask it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.apunto import Apunto, invoices_of
from tests.support.command_line import CommandLine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def apunto(make_stack: Callable[..., Any], sandbox: Any) -> Iterator[Apunto]:
    env = {"TIMBRADO_SAT_STATUS_URL": sandbox.sat_url, "TIMBRADO_SWEEP_EVERY": "0.5"}
    with Apunto(make_stack(env=env)) as client:
        yield client


def asked_at_the_sat(apunto: Apunto, account: str) -> list[str]:
    """What the SAT answered to the workers, in order."""
    rows = apunto.query(
        "SELECT a.detail FROM attempts a JOIN invoices i ON i.id = a.invoice_id "
        "WHERE a.call = 'sat_status' AND a.outcome = 'done' AND i.account = :account ORDER BY a.started_at",
        account=account,
    )
    return [row.detail for row in rows]


def bring_on(apunto: Apunto, account: str) -> dict[str, Any]:
    """Where the account's invoices stand; the next look at a cancellation, a minute away, is due at once."""
    apunto.query(
        "UPDATE invoices SET next_attempt_at = now() "
        "WHERE account = :account AND status = 'cancelling' AND claimed_until IS NULL RETURNING id",
        account=account,
    )
    return apunto.rows(account)


def test_a_cancellation_is_settled_by_what_the_sat_says_of_it(apunto: Apunto) -> None:
    """ContaDigital says nothing after the request: the worker learns from the SAT that the client accepted."""
    account = apunto.open_account(behaviour={"reports_cancellation": False, "acceptance": "always"})
    sandbox, timbrado = apunto.stack.sandbox, CommandLine(apunto.stack.environment)
    apunto.submit(invoices_of(account, 2))
    first, second = sorted(apunto.until(account, {"stamped"}, 2))
    before = timbrado("audit", account, "--sat", "--json")
    assert (before.code, before.json["unanswered"]) == (0, 0)

    apunto.send("stamping.cancel_invoice", account=account, external_id=first, motivo="02")
    apunto.until_true(lambda: sandbox.ledger(account)["calls"][account], lambda calls: "cancel" in calls, 40)
    assert asked_at_the_sat(apunto, account) == ["Vigente / Cancelable con aceptación"]
    record = apunto.rows(account)[first].record_id
    sandbox.control("POST", f"/accounts/{account}/records/{record}/cancellation", {"state": "cancelled"})
    rows = apunto.until_true(
        lambda: bring_on(apunto, account), lambda rows: rows[first].status == "cancelled", 40, every=1
    )

    assert rows[second].status == "stamped"
    assert "Cancelado" in asked_at_the_sat(apunto, account)[-1]
    assert [event.type for event in apunto.events(account)][-1] == "invoice.cancelled"
    after = timbrado("audit", account, "--sat", "--json")
    assert (after.code, after.json["unanswered"], after.json["found"]) == (0, 0, [])


def test_what_stands_before_a_person_is_closed_only_as_the_sat_has_it(apunto: Apunto, tmp_path: Path) -> None:
    """An XML with a broken seal: the SAT has its folio fiscal in force, so it is not closed as unstamped."""
    account = apunto.open_account()
    sandbox, timbrado = apunto.stack.sandbox, CommandLine(apunto.stack.environment)
    sandbox.play("wrong_xml", account=account, call="stamp", times=1, form="broken_seal")
    [invoice] = invoices_of(account, 1)
    apunto.submit([invoice])
    apunto.until(account, {"failed"}, 1)
    name = invoice["external_id"]

    refused = timbrado("resolve", account, name, "--not-stamped", "--reason", "no aparece")
    assert refused.code == 1
    assert "the SAT has a CFDI of it in force" in refused.err
    [cfdi] = sandbox.control("GET", f"/accounts/{account}/cfdis")
    good = tmp_path / "good.xml"
    good.write_text(cfdi["xml"], encoding="utf-8")
    closed = timbrado("resolve", account, name, "--stamped", str(good), "--reason", "descargado del SAT")

    assert closed.code == 0, closed.err
    assert "the SAT has it as Vigente" in closed.out + closed.err
    assert apunto.rows(account)[name].status == "stamped"
    assert timbrado("audit", account, "--sat").code == 0
