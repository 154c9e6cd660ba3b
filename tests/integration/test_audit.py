"""An audit finds what does not agree with others' books, exactly, and changes nothing."""

from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from net.transport import open_http
from sandbox.serve import RunningSandbox
from stamping.cancellation.sat_status import SatStatusService
from stamping.connections.credentials import credentials_of
from stamping.recovery import audit, repair, restore, sources
from stamping.recovery.audit import FindingKind
from stamping.recovery.sources import Issued
from tests.support.apunto import RFC
from tests.support.harness import Harness


def issued(row: object, **changes: object) -> Issued:
    """A line of metadata for a stamped invoice."""
    facts = {
        "uuid": row.uuid,
        "emisor": RFC,
        "receptor": row.content["receptor"]["rfc"],
        "total": Decimal(row.content["total"]),
        "fecha": row.fecha,
        "source": "metadata.txt:2",
        "cancelled": False,
    }
    return Issued(**{**facts, **changes})


def kinds(found: audit.Audit) -> list[tuple[FindingKind, str | None]]:
    return [(each.kind, each.external_id) for each in found.found]


def test_books_that_agree_have_no_discrepancy(harness: Harness) -> None:
    """All that is stamped here is there, and the other way round, also in the document store."""
    rows = [harness.row(harness.stamped(f"OP-{number}")) for number in range(3)]

    by_metadata = audit.audit(harness.account, [issued(row) for row in rows], harness.tools)
    by_store = audit.audit(harness.account, audit.stored(harness.account, harness.tools), harness.tools)
    asked = audit.audit(harness.account, (), harness.tools, ask_provider=True)

    assert (by_metadata.found, by_metadata.here, by_metadata.there) == ([], 3, 3)
    assert (by_store.found, by_store.there) == ([], 3)
    assert (asked.found, asked.unanswered) == ([], 0)


def test_each_kind_of_discrepancy_is_found_once(harness: Harness) -> None:
    """One missing there, one cancelled there, one that nobody here knows; another emisor's is nobody's business."""
    rows = [harness.row(harness.stamped(f"OP-{number}")) for number in range(4)]
    stranger = issued(rows[0], uuid="6A5F0000-1111-4222-8333-ABC010203AB1", total=Decimal("1.00"))
    other = issued(rows[0], uuid="6A5F0000-1111-4222-8333-ABC010203AB2", emisor="XIA190128J61")
    day = timedelta(days=1)
    there = [
        issued(rows[0], fecha=rows[0].fecha - day),
        issued(rows[1], cancelled=True),
        issued(rows[3], fecha=rows[3].fecha + day),
        stranger,
        other,
    ]

    found = audit.audit(harness.account, there, harness.tools)

    assert sorted(kinds(found)) == sorted(
        [
            (FindingKind.CANCELLED_ELSEWHERE, "OP-1"),
            (FindingKind.UNKNOWN_HERE, None),
            (FindingKind.MISSING_THERE, "OP-2"),
        ]
    )
    assert found.there == 4


def test_a_stamp_whose_answer_was_lost_is_proven_by_its_xml_alone(
    harness: Harness, sandbox: RunningSandbox
) -> None:
    """The XML of an invoice in doubt names that invoice; a line of metadata only says that it may be."""
    harness.stamped("CONTROL")
    lost = harness.submit("LOST")
    sandbox.play("drop_after", account=harness.account, call="stamp", times=1)
    harness.stamp(lost)
    credentials = credentials_of(harness.connection(), harness.tools)
    record = harness.tools.provider.look_up(credentials, harness.row(lost).record_id)
    xml = record.xml or harness.tools.provider.document(credentials, record.xml_link or "")

    by_xml = audit.audit(harness.account, [sources.of_xml(xml, "one.xml")], harness.tools)
    by_line = audit.audit(harness.account, [sources.of_xml(xml, "one.xml", keep_xml=False)], harness.tools)
    asked = audit.audit(harness.account, (), harness.tools, ask_provider=True)

    assert [(each.kind, each.invoice_id) for each in by_xml.found if each.uuid == record.uuid] == [
        (FindingKind.UNKNOWN_HERE, lost)
    ]
    assert [each.invoice_id for each in by_line.found if each.uuid == record.uuid] == [None]
    assert (FindingKind.STAMPED_THERE, "LOST") in kinds(asked)


def test_two_stamps_of_one_content_are_duplicates_only_within_the_72_hours(harness: Harness) -> None:
    """The same route invoiced each month is no duplicate."""
    row = harness.row(harness.stamped("OP-1"))
    (stored,) = audit.stored(harness.account, harness.tools)

    def second(after: timedelta) -> Issued:
        return issued(
            row,
            uuid="6A5F0000-1111-4222-8333-ABC010203AB1",
            fecha=(stored.fecha or datetime.min) + after,
            content=stored.content,
            cancelled=None,
        )

    near = audit.audit(harness.account, [stored, second(timedelta(hours=71))], harness.tools)
    far = audit.audit(harness.account, [stored, second(timedelta(hours=73))], harness.tools)

    assert [each.kind for each in near.found] == [FindingKind.UNKNOWN_HERE, FindingKind.DUPLICATE]
    assert [each.kind for each in far.found] == [FindingKind.UNKNOWN_HERE]


def test_the_sats_service_says_how_each_stands(harness: Harness, sandbox: RunningSandbox) -> None:
    """Vigente is no discrepancy; one that the SAT does not know is; a service that is away says nothing."""
    harness.stamped("OP-1")
    with open_http(connections=2) as http:
        service = SatStatusService(sandbox.sat_url, http, per_second=1000)
        away = SatStatusService("http://127.0.0.1:9/", http, per_second=1000)
        well = audit.audit(harness.account, (), harness.tools, sat_status=service)
        unknown = audit.audit(harness.account, (), harness.tools, sat_status=away)

    assert (well.found, well.unanswered) == ([], 0)
    assert (unknown.found, unknown.unanswered) == ([], 1)


def test_a_hundred_thousand_lines_are_compared_in_one_pass(harness: Harness, tmp_path: Path) -> None:
    """Metadata of a large issuer: read line by line, and only what is nobody's is reported."""
    row = harness.row(harness.stamped("OP-1"))
    head = "~".join(sources.METADATA)
    path = tmp_path / "metadata.txt"
    with path.open("w") as file:
        file.write(f"{head}\n")
        for number in range(100_000):
            uuid = row.uuid if number == 77 else f"6A5F0000-1111-4222-8333-{number:012X}"
            file.write(f"{uuid}~{RFC}~E~XIA190128J61~X~SAT970701NN3~2026-11-20 10:15:00~~1.00~I~1~\n")

    found = audit.audit(harness.account, sources.read(path), harness.tools)

    assert found.there == 100_000
    assert len(found.found) == 99_999


def test_what_complete_files_prove_not_to_be_stamped_goes_on(harness: Harness) -> None:
    """After a restore, one that no file of its days holds is sent again; without --complete it waits for a person."""
    row = harness.row(harness.stamped("OP-1"))
    never = harness.submit("NEVER")
    restore.recover(harness.tools, actor="test", reason="a backup")
    assert harness.row(never).doubt == "restore"
    found = audit.audit(harness.account, [issued(row)], harness.tools)

    partial = repair.repair(found, harness.tools, actor="test", reason="an audit")
    assert (partial.released, harness.row(never).status) == (0, "in_doubt")
    whole = repair.repair(found, harness.tools, actor="test", reason="an audit", complete=True)
    harness.stamp(never)

    assert whole.released == 1
    assert harness.row(never).status == "stamped"
    assert harness.duplicates() == 0


def test_files_that_do_not_reach_its_days_prove_nothing(harness: Harness) -> None:
    """Files of other days hold no stamp of it either way: it is named, with the days that are missing."""
    row = harness.row(harness.stamped("OP-1"))
    never = harness.submit("NEVER")
    restore.recover(harness.tools, actor="test", reason="a backup")

    for off in (-2, 2):
        there = [issued(row, fecha=row.fecha + timedelta(days=off))]
        found = audit.audit(harness.account, there, harness.tools)
        done = repair.repair(found, harness.tools, actor="test", reason="an audit", complete=True)

        assert done.released == 0
        assert [each for each in done.left if each.startswith("NEVER: it may have been stamped from 20")]
    assert harness.row(never).status == "in_doubt"
