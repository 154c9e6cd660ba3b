"""What the command line does for many invoices, or finds by whatever is known of one."""

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from cli.month_zip import _make_whole, part_of, write_month
from tests.conftest import Stack
from tests.support.command_line import Account


@pytest.fixture(scope="module")
def engine(stack: Stack) -> Iterator[sa.Engine]:
    made = sa.create_engine(stack.database_url)
    yield made
    made.dispose()


def this_month() -> str:
    """The month in the Fecha of an invoice made now: local time, so not UTC's month in its last six hours."""
    return f"{datetime.now(ZoneInfo('America/Mexico_City')):%Y-%m}"


def test_status_finds_an_invoice_by_whatever_is_known_of_it(timbrado, connected):
    """Invoice id, UUID, trace id, external_id, serie with folio: each alone shows the same timeline."""
    invoice = connected.invoice() | {"external_id": f"OP-{connected.name}"}
    connected.submit(invoice)
    known = timbrado("status", connected.name, invoice["external_id"], "--json").json
    folio = known["serie"] + known["folio"]
    by = [known["id"], known["uuid"], known["uuid"].lower(), known["trace_id"], invoice["external_id"]]

    assert {timbrado("status", each, "--json").json["id"] for each in by} == {known["id"]}
    several = timbrado("status", folio, "--json")
    assert several.code == 0 or f"{folio!r} names" in several.err


def test_status_of_something_unknown_is_one_line(timbrado):
    """The line names every way to find one."""
    done = timbrado("status", "0197aaaa-0000-7000-8000-000000000000")

    assert (done.code, done.out) == (1, "")
    assert "no invoice has the id, UUID, trace id, external_id or folio" in done.err


@pytest.mark.parametrize("verb", [("retry",), ("withdraw",), ("cancel", "--motivo", "02")])
def test_retry_withdraw_and_cancel_of_an_unknown_invoice_create_nothing(timbrado, connected, engine, verb):
    """No event and no record of an action: the name may be a slip of the keyboard."""
    with engine.connect() as db:
        before = [db.scalar(sa.text(f"SELECT count(*) FROM {table}")) for table in ("events", "actions")]
    done = timbrado(verb[0], connected.name, "OP-NOWHERE", *verb[1:])
    with engine.connect() as db:
        after = [db.scalar(sa.text(f"SELECT count(*) FROM {table}")) for table in ("events", "actions")]

    assert done.code == 1
    assert "there is no invoice 'OP-NOWHERE'" in done.err
    assert after == before


def test_retry_takes_all_that_a_filter_finds(timbrado, connected):
    """Only those of the account and status, each with its own result; it asks unless --yes is given."""
    timbrado("hold", connected.name)
    timbrado("submit", "-", stdin="\n".join(json.dumps(connected.invoice(number)) for number in range(3)))
    waiting = []
    while len(waiting) < 3:
        waiting = timbrado("list", "--status", "open", "--account", connected.name, "--json").json
    unasked = timbrado("retry", connected.name, "--status", "open")
    done = timbrado("retry", connected.name, "--status", "open", "--yes", "--json")
    timbrado("release", connected.name)

    assert (unasked.code, unasked.out) == (1, "")
    assert "--yes" in unasked.err
    assert {each["external_id"] for each in done.json} == {"OP-0", "OP-1", "OP-2"}


def test_withdraw_takes_back_one_or_all_that_a_filter_finds(timbrado, connected, engine):
    """What is not stamped goes at once, with the user's name and reason in the history; a stamped one is refused."""
    stamped = connected.submit(connected.invoice(9)).json
    timbrado("hold", connected.name)
    timbrado("submit", "-", stdin="\n".join(json.dumps(connected.invoice(number)) for number in range(3)))
    waiting = []
    while len(waiting) < 3:
        waiting = timbrado("list", "--status", "open", "--account", connected.name, "--json").json
    one = timbrado("withdraw", connected.name, "OP-0", "--why", "se repitió", "--json")
    unasked = timbrado("withdraw", connected.name, "--status", "open")
    rest = timbrado("withdraw", connected.name, "--status", "open", "--yes", "--json")
    refused = timbrado("withdraw", connected.name, "OP-9")
    timbrado("release", connected.name)
    left = timbrado("list", "--status", "withdrawn", "--account", connected.name, "--json").json
    with engine.connect() as db:
        chosen = sa.text(
            "SELECT reason FROM actions WHERE account = :account AND action = 'withdraw' ORDER BY id"
        )
        reasons = list(db.execute(chosen, {"account": connected.name}).scalars())

    assert stamped[0]["status"] == "stamped"
    assert (one.code, one.json["done"]) == (0, True)
    assert (unasked.code, unasked.out) == (1, "")
    assert {each["external_id"] for each in rest.json} == {"OP-1", "OP-2"}
    assert (refused.code, refused.out.strip()) == (1, "refused: it is stamped")
    assert {each["external_id"] for each in left} == {"OP-0", "OP-1", "OP-2"}
    assert reasons[0] == "se repitió"


def test_hold_and_release_take_all_accounts_that_a_glob_finds(timbrado, connected, stack):
    """Only those, and only of the state that is named; it asks unless --yes is given."""
    other = Account(timbrado, stack.sandbox)
    assert other.connect().code == 0
    glob = f"{connected.name[:-1]}?"
    unasked = timbrado("hold", glob)
    none = timbrado("hold", glob, "--status", "broken", "--yes")
    paused = timbrado("hold", glob, "--status", "active", "--yes", "--json")
    states = {each["account"]: each["paused"] for each in timbrado("connections", "--json").json}
    released = timbrado("release", glob, "--yes", "--json")

    assert (unasked.code, none.code) == (1, 1)
    assert [each["account"] for each in paused.json if each["account"] == connected.name] == [connected.name]
    assert states[connected.name] is True
    assert states[other.name] is False or other.name in {each["account"] for each in paused.json}
    assert all(each["paused"] is False for each in released.json)


def test_a_dry_run_shows_every_fault_and_stores_nothing(timbrado, connected):
    """The faults of the real submission and the totals; exit code 1 where one has a fault, and no row is written."""
    good, wrong = connected.invoice(1), connected.invoice(2) | {"total": "1.00"}
    lines = "\n".join(json.dumps(each) for each in (good, wrong))
    done = timbrado("submit", "-", "--check", "--json", stdin=lines)
    shown = timbrado("submit", "-", "--check", stdin=json.dumps(good))
    listed = timbrado("list", "--account", connected.name, "--json").json

    assert done.code == 1
    assert [[each["code"] for each in found["errors"]] for found in done.json] == [[], ["CFDI40119"]]
    assert done.json[0]["totals"]["total"] == good["total"]
    assert (shown.code, listed) == (0, [])
    assert "1 of 1 would be accepted. Nothing was sent." in shown.out


def test_disconnect_asks_first_and_is_recorded_with_the_users_name(timbrado, connected, engine):
    """A key that is forgotten must be typed again, so nothing happens without --yes where nobody can answer."""
    unasked = timbrado("disconnect", connected.name)
    still = timbrado("connections", connected.name, "--json").json[0]["status"]
    done = timbrado("disconnect", connected.name, "--yes", "--json")
    with engine.connect() as db:
        chosen = sa.text("SELECT action, actor FROM actions WHERE account = :account")
        [(action, actor)] = db.execute(chosen, {"account": connected.name})

    assert (unasked.code, still) == (1, "active")
    assert (done.code, done.json["status"]) == (0, "disconnected")
    assert action == "disconnect"
    assert actor.startswith("cli:")


def test_what_is_refused_is_no_act_in_the_timeline(timbrado, connected, engine, tmp_path):
    """Support reads there what was done to an invoice: not a cancellation that nobody asked for."""
    connected.submit(connected.invoice())
    new = tmp_path / "new.json"
    new.write_text("{}")
    refused = [
        timbrado("withdraw", connected.name, "OP-1"),
        timbrado("retry", connected.name, "OP-1"),
        timbrado("cancel", connected.name, "OP-1", "--motivo", "09"),
        timbrado("replace", connected.name, "OP-1", str(new)),
    ]
    done = timbrado("cancel", connected.name, "OP-1", "--motivo", "02")
    with engine.connect() as db:
        chosen = sa.text(
            "SELECT action, reason FROM actions WHERE account = :account AND subject_id IS NOT NULL"
        )
        acts = list(db.execute(chosen, {"account": connected.name}))

    assert [each.code for each in refused] == [1, 1, 1, 1]
    assert f"timbrado status {connected.name} OP-1" in refused[-1].out
    assert done.code == 0
    assert acts == [("cancel", "motivo 02")]


def test_a_month_is_one_zip_with_an_index(timbrado, connected, stack, tmp_path):
    """Every XML and PDF of the month under serie, folio and UUID; what is missing is named, and the exit code is 1."""
    stamped = connected.submit(connected.invoice(1), connected.invoice(2)).json
    target = tmp_path / "month.zip"
    whole = timbrado("documents", connected.name, "--month", this_month(), "--zip", str(target), "--json")
    [pdf] = (stack.documents / connected.name).glob(f"*/*/{stamped[0]['uuid'].lower()}.pdf")
    pdf.unlink()
    other = tmp_path / "other.zip"
    lacking = timbrado("documents", connected.name, "--month", this_month(), "--zip", str(other), "--json")
    with zipfile.ZipFile(target) as archive:
        names = set(archive.namelist())
        rows = list(csv.DictReader(io.StringIO(archive.read("index.csv").decode())))

    assert whole.code == 0
    assert (whole.json["invoices"], whole.json["documents"], whole.json["missing"]) == (2, 4, [])
    assert {row["uuid"] for row in rows} == {each["uuid"] for each in stamped}
    assert names == {row[kind] for row in rows for kind in ("xml", "pdf")} | {"index.csv"}
    assert lacking.code == 1
    assert lacking.json["missing"] == [f"OP-1 {stamped[0]['uuid']}: pdf"]
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".zip"] == []


def test_a_name_in_the_index_is_no_formula(harness, tmp_path):
    """A spreadsheet shows a customer's name as it is, and runs nothing."""
    harness.stamped("=1+1")

    month, target = f"{harness.tools.clock.now():%Y-%m}", tmp_path / "month.zip"
    write_month(harness.account, month, target, harness.tools)

    with zipfile.ZipFile(target) as archive:
        [row] = csv.DictReader(io.StringIO(archive.read("index.csv").decode()))
    assert row["external_id"] == "'=1+1"


def test_a_month_that_was_cut_off_is_no_part_of_another(harness, tmp_path):
    """What a run left behind for another account or month, under the same FILE, does not come into this archive."""
    harness.stamped("MINE")
    month, target = f"{harness.tools.clock.now():%Y-%m}", tmp_path / "month.zip"
    for account, when in (("another", month), (harness.account, "2020-01")):
        with zipfile.ZipFile(part_of(account, when, target), "w") as theirs:
            theirs.writestr("theirs.xml", b"<theirs/>")

    write_month(harness.account, month, target, harness.tools)

    with zipfile.ZipFile(target) as archive:
        assert len(archive.namelist()) == 3
        assert "theirs.xml" not in archive.namelist()


def test_a_month_that_was_cut_off_goes_on_where_it_was(tmp_path):
    """A kill in the middle of a batch leaves an archive without its end: it is made whole as after the batch before."""
    part, directory = tmp_path / "month.zip.part", tmp_path / "month.zip.directory"
    with zipfile.ZipFile(part, "a") as archive:
        archive.writestr("first.xml", b"<first/>" * 100)
    with zipfile.ZipFile(part) as archive:
        start = archive.start_dir
    directory.write_bytes(start.to_bytes(8) + part.read_bytes()[start:])
    with open(part, "r+b") as file:
        file.seek(start)
        file.write(b"PK\x03\x04 half of a second file, and then the machine stopped")

    _make_whole(part, directory)
    with zipfile.ZipFile(part, "a") as archive:
        archive.writestr("second.xml", b"<second/>")
    with zipfile.ZipFile(part) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["first.xml", "second.xml"]


@pytest.mark.parametrize("month", ["2026-13", "2026", "november", "2026-1", "9999-12"])
def test_a_month_that_is_none_is_refused(timbrado, tmp_path, month):
    """The line shows how to write one."""
    done = timbrado("documents", "acme", "--month", month, "--zip", str(tmp_path / "x.zip"))

    assert done.code == 1
    assert "write it as 2026-11" in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("keys", "create", "far", "--days", "99999999"),
        ("doctor", "--within", "0"),
        ("doctor", "--within", "1e20"),
    ],
)
def test_a_number_that_no_clock_holds_is_refused_with_its_option(timbrado, arguments):
    """Before anything is done, and as a mistake of the line, not of ours."""
    done = timbrado(*arguments)

    assert done.code == 2
    assert arguments[-2] in done.err
