"""What must hold at the end of a chaos run, read from the database, the sandbox's ledger and the stored XMLs."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from cfdi import document
from cfdi.evidence import Expected, examine
from cfdi.issuer import Issuer
from models.tables import actions, attempts, documents, events, history, invoices
from storage import open_store
from tests.support.apunto import NAME, RFC


def what_is_wrong(
    db: sa.Connection,
    ledger: dict[str, Any],
    storage_url: str,
    made: Sequence[dict[str, Any]],
    forgotten: set[tuple[str, str]],
) -> list[str]:
    """Return what is wrong; nothing when each invoice was stamped once, and its XML verifies.

    `forgotten` were stamped, and are not in the database since it was set back.
    """
    wrong: list[str] = []
    rows = db.execute(sa.select(invoices)).all()
    stored = {
        row.invoice_id: row
        for row in db.execute(
            sa.select(documents).where(documents.c.kind == "xml", documents.c.quarantined_reason.is_(None))
        )
    }
    quarantined = db.execute(
        sa.select(sa.func.count()).select_from(documents).where(documents.c.quarantined_reason.is_not(None))
    ).scalar_one()
    if ledger["duplicates"]:
        wrong.append(f"{ledger['duplicates']} invoices were stamped twice")
    here = {(row.account, row.external_id) for row in rows}
    lost = [each for each in made if (each["account"], each["external_id"]) not in here | forgotten]
    if lost:
        wrong.append(f"{len(lost)} invoices were lost: {[each['external_id'] for each in lost[:5]]}")
    forgotten = forgotten - here
    stuck = Counter(f"{row.status} {row.reason or ''}".strip() for row in rows if row.status != "stamped")
    if stuck:
        wrong.append(f"not stamped: {dict(stuck)}")
    if ledger["stamps"] != sum(row.status == "stamped" for row in rows) + len(forgotten):
        wrong.append(
            f"the sandbox made {ledger['stamps']} stamps, and {len(forgotten)} are known to Apunto alone"
        )
    if quarantined:
        wrong.append(f"{quarantined} documents stand in quarantine")
    store = open_store(storage_url)
    issuer = Issuer(RFC, NAME, "601", "A")
    for row in rows:
        if row.status != "stamped":
            continue
        if row.uuid not in ledger["folios"].get(row.account, {}).get(row.external_id, []):
            wrong.append(f"{row.external_id}: its UUID is not in the sandbox's ledger")
        elif row.id not in stored:
            wrong.append(f"{row.external_id}: no XML is stored")
        else:
            xml = store.get(stored[row.id].key)
            invoice = document.read(row.content)
            if not examine(xml, Expected(invoice, issuer, row.fecha, row.uuid)).ok:
                wrong.append(f"{row.external_id}: its stored XML does not verify")
    return wrong


def timelines(db: sa.Connection, ledger: dict[str, Any], most: int = 5) -> list[str]:
    """Return what became of those that should be stamped and are not, or are twice: every move and every call."""
    lines_of: list[str] = []
    twice = [
        (account, name)
        for account, of_it in ledger["folios"].items()
        for name, uuids in of_it.items()
        if len(uuids) > 1
    ]
    is_twice = sa.tuple_(invoices.c.account, invoices.c.external_id).in_(twice)
    rows = [
        *db.execute(sa.select(invoices).where(is_twice).limit(most)),
        *db.execute(sa.select(invoices).where(invoices.c.status != "stamped").limit(most)),
    ]
    for row in rows:
        uuids = ledger["folios"].get(row.account, {}).get(row.external_id, [])
        lines_of.append(
            f"{row.account} {row.external_id}: {row.status} {row.reason or ''} {row.errors}, in at {row.created_at}, "
            f"dated {row.fecha}, at ContaDigital {uuids}"
        )
        moves = sa.select(history).where(history.c.invoice_id == row.id).order_by(history.c.id)
        calls = sa.select(attempts).where(attempts.c.invoice_id == row.id)
        lines = [(move.at, f"-> {move.to_status} (claim {move.claim})") for move in db.execute(moves)]
        done = sa.select(actions).where(actions.c.subject_id == row.id)
        lines += [(each.at, f"{each.action} by {each.actor}: {each.detail}") for each in db.execute(done)]
        for each in db.execute(calls):
            ended = f"{each.outcome} {each.http_status or ''} {each.detail or ''}"
            lines.append((each.started_at, f"{each.call} (claim {each.claim}): {ended}"))
        lines_of += [f"    {at:%H:%M:%S.%f} {line}" for at, line in sorted(lines)]
    return lines_of


def figures(db: sa.Connection) -> Counter[str]:
    """Return how many calls of each kind ended how, doubts and events."""
    sends = db.execute(
        sa.select(attempts.c.call, attempts.c.outcome, sa.func.count()).group_by(
            attempts.c.call, attempts.c.outcome
        )
    ).all()
    doubts = db.execute(
        sa.select(sa.func.count(sa.distinct(history.c.invoice_id))).where(history.c.to_status == "in_doubt")
    ).scalar_one()
    written = db.execute(sa.select(sa.func.count()).select_from(events)).scalar_one()
    counted = Counter[str]()
    for call, outcome, number in sends:
        counted[f"attempts: {call}, {outcome or 'without an end'}"] = number
    counted["invoices that were in doubt"] = doubts
    counted["events written"] = written
    return counted
