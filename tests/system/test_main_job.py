"""The main job on real parts: Celery over Redis, PostgreSQL, an HTTP provider that signs, a worker process."""

import hashlib
import json
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli.demo.examples import load, of_one_run
from tests.support.apunto import Apunto, invoices_of
from tests.support.builders import an_invoice

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


@pytest.fixture
def account(apunto: Apunto) -> str:
    return apunto.open_account()


def test_what_apunto_enqueues_comes_back_stamped(apunto: Apunto, account: str) -> None:
    """Accepted, saved, stamped, stored with its hash and reported: and each FolioOriginal has one UUID."""
    apunto.submit(invoices_of(account, 12))
    rows = apunto.until(account, {"stamped"}, 12)

    ledger = apunto.stack.sandbox.ledger(account)
    assert {name: [row.uuid] for name, row in rows.items()} == ledger["folios"][account]
    stored = apunto.query(
        "SELECT d.* FROM documents d JOIN invoices i ON i.id = d.invoice_id WHERE i.account = :account",
        account=account,
    )
    assert len(stored) == 24
    for document in stored:
        data = (apunto.stack.documents / document.key).read_bytes()
        assert hashlib.sha256(data).hexdigest() == document.sha256
    kinds = [(event.type, event.version) for event in apunto.events(account) if event.external_id]
    assert sorted(kinds) == [("invoice.accepted", 1)] * 12 + [("invoice.stamped", 2)] * 12


def test_the_same_message_three_times_is_one_stamp(apunto: Apunto, account: str) -> None:
    """The pair (account, external_id) is the idempotency key, however often it is sent and however at once."""
    invoices = invoices_of(account, 6)

    for _ in range(3):
        apunto.submit(invoices)
    apunto.until(account, {"stamped"}, 6)
    emitted = apunto.until_true(lambda: apunto.events(account), lambda events: len(events) >= 1 + 4 * 6, 20)

    assert apunto.stack.sandbox.ledger(account)["stamps"] == 6
    assert {event.data["status"] for event in emitted if event.external_id} <= {
        "accepted",
        "stamping",
        "stamped",
    }


SENDER = """
import json, pathlib, sys
from celery import Celery

app = Celery(broker=sys.argv[1])
for path in sorted(pathlib.Path(sys.argv[2]).glob("*.json")):
    app.send_task("stamping.submit_invoice", kwargs={"invoice": json.loads(path.read_text())}, queue="intake")
"""
"""All that an application needs to send invoices: it knows nothing of this project."""


def test_the_examples_sent_three_times_at_once_are_stamped_once_and_reported_each_time(
    apunto: Apunto, tmp_path: Path
) -> None:
    """By three processes at the same moment, and once more by three when all have settled: no stamp is added, and
    each message is answered with how its invoice stands."""
    account = apunto.open_account(lugares=["42501", "64000", "22000", "88000", "06000", "77500"])
    examples = of_one_run(
        load(ROOT / "examples"), account=account, prefix="", how_many=None, now=datetime.now(UTC)
    )
    good = {each.invoice["external_id"] for each in examples if each.should_stamp}
    for each in examples:
        (tmp_path / f"{each.invoice['external_id']}.json").write_text(json.dumps(each.invoice))

    def send_three_times_at_once() -> None:
        command = [sys.executable, "-I", "-c", SENDER, apunto.stack.broker_url, str(tmp_path)]
        senders = [subprocess.Popen(command, cwd=tmp_path) for _ in range(3)]
        assert [sender.wait(60) for sender in senders] == [0, 0, 0]

    def emitted() -> list[tuple[str, str]]:
        return [(each.external_id, each.type) for each in apunto.events(account) if each.external_id]

    def is_all_reported(seen: list[tuple[str, str]]) -> bool:
        """One event for each message, and one more for what was accepted first and settled then."""
        return len(seen) >= 3 * len(examples) + sum(
            kind == "invoice.accepted" for kind in dict(seen[::-1]).values()
        )

    send_three_times_at_once()
    received = apunto.until_true(emitted, is_all_reported, 60)
    ledger, before = apunto.stack.sandbox.ledger(account), apunto.rows(account)
    send_three_times_at_once()
    again = apunto.until_true(
        lambda: emitted()[len(received) :], lambda seen: len(seen) >= 3 * len(examples), 40
    )

    assert {name for name, row in before.items() if row.status == "stamped"} == good
    assert {name: uuids for name, uuids in ledger["folios"][account].items() if uuids} == {
        name: [before[name].uuid] for name in good
    }
    assert ledger["stamps"] == len(good)
    assert apunto.stack.sandbox.ledger(account)["folios"] == ledger["folios"]
    assert Counter(again) == {
        (each.invoice["external_id"], "invoice.stamped" if each.should_stamp else "invoice.rejected"): 3
        for each in examples
    }


def test_a_wrong_invoice_comes_back_with_every_fault(apunto: Apunto, account: str) -> None:
    """A refusal names each field and its fix; nothing was sent to ContaDigital."""
    wrong = an_invoice(account=account, external_id="W-1", fecha=None, total="1.00", metodo_pago="XXX")

    apunto.submit([wrong])
    rows = apunto.until(account, {"rejected"}, 1)

    faults = rows["W-1"].errors
    assert {fault["field"] for fault in faults} >= {"total", "metodo_pago"}
    assert all(fault["message"] and fault["fix"] for fault in faults)
    assert apunto.stack.sandbox.ledger(account)["stamps"] == 0


def test_what_only_the_sat_knows_comes_back_with_its_code(apunto: Apunto, account: str) -> None:
    """A postcode that is not the receptor's is refused by the SAT, and reported at its field."""
    wrong = an_invoice(account=account, external_id="W-2", fecha=None)
    wrong["receptor"]["domicilio_fiscal_receptor"] = "64000"

    apunto.submit([wrong])
    rows = apunto.until(account, {"rejected"}, 1)

    (fault,) = rows["W-2"].errors
    assert (fault["code"], fault["field"]) == ("CFDI40148", "receptor.domicilio_fiscal_receptor")


def test_a_correction_is_stamped(apunto: Apunto, account: str) -> None:
    """A rejected invoice that is sent again with other content is a new start of the same invoice."""
    wrong = an_invoice(account=account, external_id="C-1", fecha=None, total="1.00")
    right = an_invoice(account=account, external_id="C-1", fecha=None)

    apunto.submit([wrong])
    apunto.until(account, {"rejected"}, 1)
    apunto.submit([right])
    rows = apunto.until(account, {"stamped"}, 1)

    assert rows["C-1"].errors == []
    assert apunto.stack.sandbox.ledger(account)["stamps"] == 1


def test_other_content_of_a_stamped_invoice_is_a_conflict(apunto: Apunto, account: str) -> None:
    """Once it is stamped, other content under the same identifier changes nothing, and is reported as a conflict."""
    first = an_invoice(account=account, external_id="C-2", fecha=None)
    other = an_invoice(account=account, external_id="C-2", fecha=None, forma_pago="01")
    apunto.submit([first])
    before = apunto.until(account, {"stamped"}, 1)["C-2"]

    apunto.submit([other])
    emitted = apunto.until_true(
        lambda: apunto.events(account)[-1], lambda event: bool(event.data.get("errors")), 20
    )

    assert emitted.data["errors"][0]["code"] == "timbrado.conflict"
    assert emitted.data["status"] == "stamped"
    assert apunto.rows(account)["C-2"].uuid == before.uuid
