"""Each verb of the command line on real servers: what it prints, what it changes, and its exit code."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.conftest import Stack
from tests.support.builders import a_receptor
from tests.support.command_line import CHECKOUT


@pytest.fixture(scope="module")
def engine(stack: Stack) -> Iterator[sa.Engine]:
    made = sa.create_engine(stack.database_url)
    yield made
    made.dispose()


# --- connections -----------------------------------------------------------------------------------------------------


def test_an_account_is_connected_with_the_key_from_standard_input(timbrado, account):
    """Spaces around the key are taken off and mentioned; the key itself is never printed."""
    done = account.connect(f"  {account.key} ")

    assert done.code == 0, done
    assert done.json["status"] == "active"
    assert done.json["serie"] == "A"
    assert done.json["key_last4"] == account.key[-4:]
    assert "Quitamos los espacios" in done.err
    assert account.key not in done.out + done.err


def test_everything_wrong_with_a_connection_is_reported_at_once(timbrado, account):
    """Everything wrong with a connection is shown at once."""
    done = timbrado(
        *(
            "connect",
            account.name,
            "--rfc",
            "AAA010101AAA",
            "--razon-social",
            "OTRA EMPRESA",
            "--cp",
            "99999",
        ),
        *("--serie", "Z", "--empresa-id", str(account.id_empresa), "--json"),
        stdin=account.key,
    )

    assert done.code == 1
    assert (done.json["serie"], done.json["id_empresa"]) == ("Z", account.id_empresa)  # as they were given
    assert {fault["code"] for fault in done.json["faults"]} == {
        "timbrado.rfc_mismatch",
        "timbrado.lugar_expedicion_unknown",
        "timbrado.serie_inactive",
    }
    assert all(fault["fix"] for fault in done.json["faults"])


def test_a_key_that_cannot_be_one_is_refused_without_a_call(timbrado, account):
    """A quoted key is `key_malformed`, and ContaDigital is not called."""
    done = account.connect('"quoted-key-0123456789"')

    assert (done.code, done.json["reason"]) == (1, "key_malformed")
    assert account.sandbox.ledger(account.name)["calls"] == {}


def test_a_broken_connection_is_reported_in_words_a_bookkeeper_understands(timbrado, connected):
    """The screen of `connections`: what happened and what to do, in Spanish; and what waits."""
    connected.sandbox.revoke_key(connected.name)
    connected.sandbox.kill_tokens(connected.name)
    paused = connected.submit(connected.invoice(1), connected.invoice(2))
    shown = timbrado("connections", connected.name)
    text = " ".join(shown.out.split())

    assert paused.code == 1
    assert {each["status"] for each in paused.json} == {"on_hold"}
    assert shown.code == 1
    assert "key_rejected" in text
    assert "with a new key" in text
    assert "2 invoices are on hold" in text
    for words in ("ya no acepta el API Key", "Configuración"):
        assert words in text
    assert connected.key not in shown.out


def test_what_was_on_hold_goes_on_by_itself_with_a_new_key(timbrado, connected):
    """Connecting again with a good key stamps what the revoked one had put on hold."""
    connected.sandbox.revoke_key(connected.name)
    connected.sandbox.kill_tokens(connected.name)
    connected.submit(connected.invoice(1))
    key = connected.sandbox.regenerate_key(connected.name)
    again = connected.connect(key)
    stamped = connected.submit(connected.invoice(1))

    assert again.json["status"] == "active"
    assert [each["status"] for each in stamped.json] == ["stamped"]


def test_validate_tries_again_and_disconnect_forgets(timbrado, connected, engine):
    """Disconnect removes the stored key; validating afterwards names `timbrado connect`."""
    validated = timbrado("validate", connected.name, "--json")
    gone = timbrado("disconnect", connected.name, "--yes")
    after = timbrado("validate", connected.name)
    with engine.connect() as db:
        row = db.execute(
            sa.text("SELECT status, key_encrypted, key_last4 FROM connections WHERE account = :name"),
            {"name": connected.name},
        ).one()

    assert (validated.code, validated.json["status"]) == (0, "active")
    assert gone.code == 0
    assert tuple(row) == ("disconnected", None, None)
    assert after.code == 1
    assert "timbrado connect" in after.err


def test_stamps_left_are_counted_down_from_what_was_given(timbrado, account):
    """Connected with seven stamps, six are shown after one invoice."""
    assert account.connect(None, "--stamps", "7").json["stamps_left"] == 7
    account.submit(account.invoice())

    assert timbrado("connections", account.name, "--json").json[0]["stamps_left"] == 6


# --- invoices --------------------------------------------------------------------------------------------------------


def test_submit_says_what_came_of_each(timbrado, connected):
    """Of a good and a wrong invoice the UUID and the faulty field are printed; the exit code is 1."""
    wrong = connected.invoice(2, total="1.00")
    done = connected.submit(connected.invoice(1), wrong)
    good, bad = done.json

    assert done.code == 1  # one did not stamp
    assert (good["status"], bad["status"]) == ("stamped", "rejected")
    assert re.fullmatch(r"[0-9A-F-]{36}", good["uuid"])
    assert [error["field"] for error in bad["errors"]] == ["total"]


def test_submit_ends_well_only_when_all_are_stamped(connected):
    """Two good invoices: exit code 0."""
    assert connected.submit(connected.invoice(1), connected.invoice(2)).code == 0


def test_the_same_again_is_the_same_and_other_content_is_a_conflict(connected):
    """The id sent again gives its UUID; with another receptor it is refused."""
    first = connected.submit(connected.invoice()).json[0]
    again = connected.submit(connected.invoice())
    other = connected.submit(connected.invoice(receptor=a_receptor(uso_cfdi="G01")))

    assert again.code == 0
    assert again.json[0]["uuid"] == first["uuid"]
    assert (other.code, other.json[0]["status"]) == (1, "conflict")


def test_a_correction_is_followed_from_the_refusal_it_corrects(connected):
    """The old refusal is still in the table when the correction is sent; it is not what is waited for."""
    assert connected.submit(connected.invoice(total="1.00")).code == 1
    assert connected.submit(connected.invoice()).code == 0


def test_status_shows_the_timeline(timbrado, connected):
    """Status tells the story."""
    sent = connected.submit(connected.invoice()).json[0]
    timeline = timbrado("status", connected.name, "OP-1", "--json").json
    shown = timbrado("status", connected.name, "OP-1")

    assert timeline["uuid"] == sent["uuid"]
    assert [each["call"] for each in timeline["attempts"]] == ["save", "stamp"]
    assert {each["kind"] for each in timeline["documents"]} == {"xml", "pdf"}
    assert [each["type"] for each in timeline["events"]] == ["invoice.accepted", "invoice.stamped"]
    assert timeline["act"]["who"] == "nobody"
    assert shown.code == 0
    for words in ("STAMPED", sent["uuid"], "1 save", "2 stamp", "invoice.stamped", "must act    nobody"):
        assert words in shown.out
    assert max(map(len, shown.out.splitlines())) <= 100


def test_status_shows_a_doubt_with_its_look_ups_and_how_long_it_took(timbrado, connected):
    """The answer to the stamp is lost, and the first look-up denies it."""
    connected.sandbox.play("drop_after", account=connected.name, call="stamp", times=1)
    connected.sandbox.play("deny", account=connected.name, call="look_up", seconds=60, times=1)
    sent = connected.submit(connected.invoice())
    timeline = timbrado("status", connected.name, "OP-1", "--json").json
    shown = timbrado("status", connected.name, "OP-1").out

    assert sent.code == 0
    [doubt] = timeline["doubts"]
    lookups = [each for each in timeline["attempts"] if each["call"] == "look_up"]
    assert (doubt["lost"], doubt["ended"], doubt["lookups"]) == ("stamp", "stamped", len(lookups))
    assert [each["outcome"] for each in lookups] == ["no", "done"]
    assert [each["outcome"] for each in timeline["attempts"] if each["call"] == "stamp"] == ["lost"]
    assert "the answer to the stamp was lost; ended stamped after 2 look-ups in" in " ".join(shown.split())


def test_status_says_who_must_act_when_what_came_back_cannot_be_believed(timbrado, connected):
    """A broken seal: the XML is quarantined and an operator reads the command to look."""
    connected.sandbox.play("wrong_xml", account=connected.name, call="stamp", times=1, form="broken_seal")
    sent = connected.submit(connected.invoice())
    timeline = timbrado("status", connected.name, "OP-1", "--json").json
    shown = timbrado("status", connected.name, "OP-1").out

    assert (sent.code, sent.json[0]["status"], sent.json[0]["reason"]) == (1, "failed", "needs_person")
    assert timeline["act"]["who"] == "operator"
    [document] = [each for each in timeline["documents"] if each["kind"] == "xml"]
    assert "sello" in {each["name"] for each in document["failed"]}
    for words in ("AN OPERATOR", "QUARANTINED", f"$ timbrado documents {connected.name} OP-1"):
        assert words in shown


def test_status_shows_the_shape_of_an_answer_that_was_not_understood(timbrado, connected):
    """A page came in place of a customer: what it looked like stands below the timeline, and nobody's data."""
    connected.sandbox.play("html", account=connected.name, call="clientes", times=1)
    sent = connected.submit(connected.invoice())
    (sample,) = timbrado("status", connected.name, "OP-1", "--json").json["samples"]
    shown = timbrado("status", connected.name, "OP-1").out

    assert sent.json[0]["status"] == "stamped"
    assert (sample["call"], sample["sample"]["body"]) == ("cliente", "HTML")
    assert "cliente was not understood" in shown


def test_an_account_does_not_move_away_from_a_doubt_unasked(timbrado, connected):
    """What is in doubt can be looked up only where it was saved: that is said first, and --move moves all the same."""
    connected.sandbox.play("drop_after", account=connected.name, call="stamp", times=1)
    connected.sandbox.play("deny", account=connected.name, call="look_up", seconds=600, times=100)
    timbrado("submit", "-", "--wait", "--timeout", "3", stdin=json.dumps(connected.invoice()))
    elsewhere = ("--base-url", f"{connected.sandbox.url}/at/another")

    refused = connected.connect(None, *elsewhere)
    assert refused.code == 1
    assert "1 in_doubt" in refused.err
    assert "--move" in refused.err
    assert connected.connect(None, *elsewhere, "--move").code == 0


def test_status_of_an_unknown_invoice_is_one_line(timbrado):
    """An id that was never sent: exit code 1, nothing on standard output."""
    done = timbrado("status", "nobody", "OP-1")

    assert (done.code, done.out) == (1, "")
    assert "there is no invoice 'OP-1'" in done.err


def test_list_finds_by_status_account_and_age(timbrado, connected):
    """Each filter narrows the list, --limit cuts it, and a status or an age that is none is refused."""
    connected.submit(connected.invoice(1), connected.invoice(2, total="1.00"))

    def ids(*options: str) -> list[str]:
        found = timbrado("list", "--account", connected.name, "--json", *options).json
        return [each["external_id"] for each in found]

    assert sorted(ids()) == ["OP-1", "OP-2"]
    assert ids("--status", "rejected") == ["OP-2"]
    assert ids("--status", "open") == []
    assert ids("--older-than", "1h") == []
    assert len(ids("--limit", "1")) == 1
    assert timbrado("list", "--status", "lost").code == 1
    assert timbrado("list", "--older-than", "soon").code == 1


def test_lists_hold_no_name_and_no_rfc(timbrado, connected):
    """Those are shown where somebody asked for that one invoice, and nowhere else."""
    connected.submit(connected.invoice(1), connected.invoice(2, total="1.00"))
    shown = "".join(
        timbrado(*verb, *more).out
        for verb in (("list",), ("watch", "--once"), ("events", "list"))
        for more in ((), ("--json",), ("--account", connected.name))
    )

    assert connected.name in shown
    assert "XIA190128J61" not in shown
    assert "XENON" not in shown


def test_watch_counts_by_account_and_status(timbrado, connected):
    """`watch --once` counts per account and shows the newest events."""
    connected.submit(connected.invoice(1), connected.invoice(2, total="1.00"))
    seen = timbrado("watch", "--once", "--account", connected.name, "--json").json

    assert seen["accounts"] == {connected.name: {"stamped": 1, "rejected": 1}}
    assert seen["events"][0]["account"] == connected.name
    assert connected.name in timbrado("watch", "--once").out


def test_watch_goes_on_until_ctrl_c(stack):
    """A line with the time at once, and Ctrl-C ends it with 0 and no traceback."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TIMBRADO_")}
    watching = subprocess.Popen(
        [sys.executable, "-m", "cli", "watch"],
        cwd=CHECKOUT,
        env=clean | stack.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    first = watching.stdout.readline()
    watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=30)

    assert re.match(r"\d\d:\d\d:\d\d ", first)
    assert (watching.returncode, err) == (0, "")


def test_retry_refuses_what_is_unsafe_and_says_why(timbrado, connected):
    """Stamped, rejected and unknown invoices are each refused in their own words."""
    connected.submit(connected.invoice(1), connected.invoice(2, total="1.00"))
    stamped = timbrado("retry", connected.name, "OP-1", "--json")
    rejected = timbrado("retry", connected.name, "OP-2")
    unknown = timbrado("retry", connected.name, "OP-3")

    assert (stamped.code, stamped.json["done"]) == (1, False)
    assert (rejected.code, "its data is wrong" in rejected.out) == (1, True)
    assert (unknown.code, "there is no invoice" in unknown.err) == (1, True)


def test_cancel_shows_every_reason_against_it_and_asks_once(timbrado, connected):
    """Cancel tells every reason against it and asks once."""
    connected.submit(connected.invoice())
    refused = timbrado("cancel", connected.name, "OP-1", "--motivo", "01", "--json")
    asked = timbrado("cancel", connected.name, "OP-1", "--motivo", "02", "--json")
    again = timbrado("cancel", connected.name, "OP-1", "--motivo", "02", "--json")
    unknown = timbrado("cancel", connected.name, "OP-7", "--motivo", "02")

    assert refused.code == 1
    assert [error["field"] for error in refused.json["errors"]] == ["uuid_sustitucion"]
    assert (asked.code, asked.json["asked"]) == (0, True)
    assert (again.code, again.json["asked"]) == (1, False)
    assert unknown.code == 1


# --- documents -------------------------------------------------------------------------------------------------------


def test_documents_are_fetched_and_their_hashes_checked(timbrado, connected, tmp_path):
    """XML and PDF are written under the UUID's name, and each is called intact."""
    sent = connected.submit(connected.invoice()).json[0]
    done = timbrado("documents", connected.name, "OP-1", "--out", str(tmp_path), "--json")

    assert done.code == 0
    assert {each["condition"] for each in done.json} == {"intact"}
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"{sent['uuid'].lower()}.xml", f"{sent['uuid'].lower()}.pdf"}


def overwrite(path: Path, data: bytes) -> None:
    """Write over a document as nobody here ever does."""
    path.chmod(0o600)
    path.write_bytes(data)


def test_verify_finds_what_is_missing_changed_and_extra(timbrado, connected, stack):
    """One altered XML, one deleted PDF, one foreign file: three findings and exit code 1."""
    for number in (1, 2):
        connected.submit(connected.invoice(number))
    result = timbrado("documents", "--verify", "--account", connected.name, "--json")
    folder = next((stack.documents / connected.name).glob("*/*"))
    xml, other = sorted(folder.glob("*.xml"))
    overwrite(xml, xml.read_bytes().replace(b"15000.00", b"15000.01"))
    other.with_suffix(".pdf").unlink()
    extra = folder / "9932113e-09ac-47ba-8e8c-6f83100c814f.xml"
    extra.write_bytes(b"<x/>")
    long_ago = 1_700_000_000
    os.utime(extra, (long_ago, long_ago))
    found = timbrado("documents", "--verify", "--account", connected.name, "--json")
    one_by_one = [timbrado("documents", connected.name, f"OP-{number}", "--json") for number in (1, 2)]

    assert result.code == 0
    assert result.json == {"checked": {"pdf": 2, "xml": 2}, "findings": []}
    assert found.code == 1
    assert {(each["what"], Path(each["key"]).name) for each in found.json["findings"]} == {
        ("changed", xml.name),
        ("missing", other.with_suffix(".pdf").name),
        ("extra", extra.name),
    }
    assert {each["condition"] for done in one_by_one for each in done.json} == {
        "intact",
        "changed",
        "missing",
    }
    assert 1 in {done.code for done in one_by_one}


def test_repair_fetches_again_what_is_missing_or_changed(timbrado, connected, stack):
    """`status` names what is lost and how to fix it; the very bytes come back, and what was changed is quarantined."""
    for number in (1, 2):
        connected.submit(connected.invoice(number))
    folder = next((stack.documents / connected.name).glob("*/*"))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    changed, lost = sorted(folder.glob("*.xml"))
    overwrite(changed, changed.read_bytes().replace(b"15000.00", b"15000.01"))
    lost.unlink()
    lost.with_suffix(".pdf").unlink()
    pages = [timbrado("status", connected.name, f"OP-{number}").out for number in (1, 2)]
    refused = timbrado("documents", "nobody", "OP-1", "--repair")
    repaired = timbrado("documents", connected.name, "--repair", "--json")
    verified = timbrado("documents", connected.name, "--verify", "--json")
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    pages_after = [timbrado("status", connected.name, f"OP-{number}", "--json").json for number in (1, 2)]

    text = " ".join(" ".join(pages).split())
    assert "missing in the store" in text
    assert "changed in the store" in text
    assert all(f"timbrado documents {connected.name} OP-{number} --repair" in text for number in (1, 2))
    assert "no invoice" in refused.err or refused.out.startswith("0 documents")
    assert (repaired.code, repaired.json["left"]) == (0, {})
    assert {Path(key).name for key in repaired.json["fetched"]} == {
        changed.name,
        lost.name,
        lost.with_suffix(".pdf").name,
    }
    assert (verified.code, verified.json["findings"]) == (0, [])
    assert len(list((stack.documents / "_quarantine" / connected.name).rglob("*.xml"))) == 1
    assert {name: data for name, data in after.items() if name.endswith(".xml")} == {
        name: data for name, data in before.items() if name.endswith(".xml")
    }
    assert all("repair" in {each["action"] for each in page["actions"]} for page in pages_after)


def test_repair_leaves_what_cannot_be_proven(timbrado, connected, stack, engine):
    """At another address the same Id is somebody else's invoice: its file is left, with the reason, and exit code 1."""
    connected.submit(connected.invoice())
    [xml] = (stack.documents / connected.name).glob("*/*/*.xml")
    xml.unlink()
    with engine.begin() as db:
        db.execute(
            sa.text("UPDATE invoices SET record_base_url = 'https://old.example' WHERE account = :account"),
            {"account": connected.name},
        )
    done = timbrado("documents", connected.name, "OP-1", "--repair")

    assert done.code == 1
    assert "the account is connected elsewhere" in " ".join(done.out.split())
    assert not xml.exists()


def test_verify_goes_on_past_what_it_cannot_read(timbrado, connected, stack):
    """One file that can't be read is one finding; the others are checked all the same."""
    for number in (1, 2):
        connected.submit(connected.invoice(number))
    folder = next((stack.documents / connected.name).glob("*/*"))
    unreadable, missing = sorted(folder.glob("*.xml"))
    unreadable.unlink()
    unreadable.symlink_to(unreadable.name)  # a loop
    missing.unlink()
    found = timbrado("documents", "--verify", connected.name, "--json")

    assert found.code == 1
    assert {(each["what"], Path(each["key"]).name) for each in found.json["findings"]} >= {
        ("unreadable", unreadable.name),
        ("missing", missing.name),
    }


@pytest.mark.parametrize(
    ("good", "bad", "seal"),
    [
        (rb'Total="16800.00"', b'Total="16800.01"', "sello: "),
        (rb'SelloSAT=".{4}', b'SelloSAT="AAAA', "sello_sat: "),
    ],
)
def test_verify_finds_a_document_whose_seal_does_not_verify(
    timbrado, connected, stack, engine, good, bad, seal
):
    """Its hash is right, since the wrong thing was stored: only the emisor's seal, or the PAC's, shows that."""
    connected.submit(connected.invoice())
    [xml] = (stack.documents / connected.name).glob("*/*/*.xml")
    forged = re.sub(good, bad, xml.read_bytes())
    overwrite(xml, forged)
    with engine.begin() as db:
        db.execute(
            sa.text("UPDATE documents SET sha256 = :sha WHERE key LIKE :key"),
            {"sha": hashlib.sha256(forged).hexdigest(), "key": f"%{xml.name}"},
        )
    found = timbrado("documents", "--verify", connected.name, "--json")

    assert found.code == 1
    assert [each["what"] for each in found.json["findings"]] == ["unsealed"]
    assert seal in found.json["findings"][0]["detail"]


# --- operating -------------------------------------------------------------------------------------------------------


def test_a_paused_account_sends_nothing_until_it_is_released(timbrado, connected):
    """A held account sends nothing until it is released."""
    paused = timbrado("hold", connected.name, "--json")
    waiting = timbrado("submit", "-", stdin=json.dumps(connected.invoice()))
    deadline = time.monotonic() + 20
    while not (rows := timbrado("list", "--account", connected.name, "--json").json):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    timeline = timbrado("status", connected.name, "OP-1", "--json").json
    released = timbrado("release", connected.name)
    stamped = connected.submit(connected.invoice())

    assert (paused.code, paused.json["paused"], waiting.code, released.code) == (0, True, 0, 0)
    assert rows[0]["status"] == "accepted"
    assert timeline["act"]["commands"] == [f"timbrado release {connected.name}"]
    assert stamped.json[0]["status"] == "stamped"
    assert timbrado("hold", "nobody").code == 1


def test_verify_holds_and_shows_every_kind_of_tampering(timbrado, connected, engine):
    """A changed, a removed and a cut-off line of history each break their invoice's chain."""
    connected.submit(connected.invoice(1), connected.invoice(2), connected.invoice(3))
    sound = timbrado("verify", connected.name, "--json")
    mine = (
        "SELECT history.id FROM history JOIN invoices ON invoices.id = invoice_id "
        f"WHERE account = '{connected.name}' AND external_id = 'OP-%s' ORDER BY history.id"
    )
    with engine.begin() as db:
        # somebody who owns the server: to others the database refuses all of this
        db.execute(sa.text("SET LOCAL session_replication_role = replica"))
        first = db.execute(sa.text(mine % 1)).scalars().all()
        second = db.execute(sa.text(mine % 2)).scalars().all()
        third = db.execute(sa.text(mine % 3)).scalars().all()
        db.execute(sa.text("UPDATE history SET at = at - interval '1 day' WHERE id = :id"), {"id": first[0]})
        db.execute(sa.text("DELETE FROM history WHERE id = :id"), {"id": second[1]})
        db.execute(sa.text("DELETE FROM history WHERE id = :id"), {"id": third[-1]})
    found = timbrado("verify", connected.name, "--json")

    assert (sound.code, sound.json["breaks"]) == (0, [])
    assert sound.json["invoices"] == 3
    assert found.code == 1
    assert {each["external_id"] for each in found.json["breaks"]} == {"OP-1", "OP-2", "OP-3"}


def test_events_are_listed_and_shown(timbrado, connected):
    """A listed id can be shown whole; replaying without a channel names the setting."""
    connected.submit(connected.invoice())
    found = timbrado(
        "events", "list", "--account", connected.name, "--type", "invoice.stamped", "--json"
    ).json
    shown = timbrado("events", "show", found[0]["id"], "--json")
    nobody = timbrado("events", "replay", found[0]["id"])

    assert [each["external_id"] for each in found] == ["OP-1"]
    assert shown.json["event"]["data"]["status"] == "stamped"
    assert timbrado("events", "show", "not-an-id").code == 1
    assert nobody.code == 1  # no channel is set here
    assert "TIMBRADO_WEBHOOK_URL" in nobody.err


def test_the_doctor_finds_all_well_and_names_each_connection(timbrado, connected):
    """On a running stack database, workers and storage are ok, and each account has a row."""
    done = timbrado("doctor", "--json")
    levels = {each["what"]: each["level"] for each in done.json["findings"]}

    assert levels["database"] == levels["migrations"] == levels["workers"] == levels["storage"] == "ok"
    assert any(
        each["what"] == "connection" and each["found"].startswith(f"{connected.name}: active")
        for each in done.json["findings"]
    )
