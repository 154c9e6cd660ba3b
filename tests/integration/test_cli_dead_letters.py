"""`timbrado dead-letters` on a real stack: what nobody could read is found, shown, and sent again once that helps."""

import json
from collections.abc import Iterator

import pytest

from tests.conftest import Stack
from tests.support.apunto import Apunto, invoices_of
from tests.support.command_line import CommandLine

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(scope="module")
def apunto(stack: Stack) -> Iterator[Apunto]:
    with Apunto(stack) as client:
        yield client


def letter_of(apunto: Apunto, task: str) -> str:
    rows = apunto.until_true(
        lambda: apunto.query(
            "SELECT id FROM dead_letters WHERE task = :task AND resent_at IS NULL", task=task
        ),
        bool,
        20,
    )
    return str(rows[0].id)


def test_a_misspelled_task_is_sent_again_under_its_right_name(apunto: Apunto, timbrado: CommandLine) -> None:
    """It is listed with its reason, shown whole, stamped once it is sent again, and listed no more."""
    account = apunto.open_account()
    (invoice,) = invoices_of(account, 1)
    apunto.send("stamping.submit_invoic", invoice=invoice)
    letter = letter_of(apunto, "stamping.submit_invoic")

    listed = timbrado("dead-letters", "list", "--json")
    shown = timbrado("dead-letters", "show", letter)
    sent = timbrado("dead-letters", "resend", letter, "--task", "stamping.submit_invoice")
    apunto.until(account, {"stamped"}, 1)

    assert letter in {each["id"] for each in json.loads(listed.out)}
    assert "there is no such task" in shown.out
    assert invoice["external_id"] in shown.out
    assert sent.code == 0, sent
    assert letter not in timbrado("dead-letters", "list").out
    (noted,) = apunto.query(
        "SELECT action, actor FROM actions WHERE subject_id = CAST(:id AS uuid)", id=letter
    )
    assert noted.action == "resend"


def test_a_message_without_its_key_is_not_sent_again(apunto: Apunto, timbrado: CommandLine) -> None:
    """A dead letter keeps no API key, so that it could connect nothing: who sent it must send it again."""
    token = apunto.fernet.encrypt(b"a-key-of-thirty-characters-00").decode()
    apunto.send("stamping.conect", account="x", api_key_encrypted=token)
    letter = letter_of(apunto, "stamping.conect")

    done = timbrado("dead-letters", "resend", letter, "--task", "stamping.connect")

    assert done.code == 1
    assert "key was not kept" in done.err
    assert token not in timbrado("dead-letters", "show", letter).out


@pytest.mark.parametrize("letter", ["nonsense", "0197a1c2-7d10-7c5e-8a44-0d5b6f3c2a10"])
def test_an_id_of_none_is_an_error(timbrado: CommandLine, letter: str) -> None:
    """One line, and exit code 1."""
    assert timbrado("dead-letters", "show", letter).code == 1
