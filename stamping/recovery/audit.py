"""Compares one account with what others hold of it: files of the SAT, XMLs, ContaDigital, the SAT's service.

Nothing is changed while comparing. What is proven can be repaired afterwards: an XML with good seals that is exactly
one unsettled invoice's, and nobody else's, is that invoice's stamp.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from cfdi import document
from cfdi.evidence import Expected, Report, examine
from cfdi.evidence.reading import words
from cfdi.issuer import Issuer
from contadigital.errors import ContaDigitalError
from models.tables import connections, invoices
from models.vocabulary import HAS_UUID, FailedReason, InvoiceStatus
from stamping.cancellation.sat_status import SatStatusService, StatusUnknown
from stamping.connections.credentials import credentials_of
from stamping.connections.remembered import issuer_of
from stamping.recovery import mark
from stamping.recovery.sources import Issued, of_xml
from stamping.tools import Tools
from storage.keys import segment

Row = Any
"""A row of `invoices` with the columns that an audit compares."""
BATCH = 5_000
SAME_INVOICE = timedelta(hours=72)
"""Two stamps of one invoice lie no further apart than the SAT lets its date be old."""


class FindingKind(StrEnum):
    """What an audit finds."""

    UNKNOWN_HERE = "unknown_here"  # a CFDI of the account that no invoice here has
    MISSING_THERE = "missing_there"  # stamped here, and not where it should be
    DUPLICATE = "duplicate"  # two CFDI that say the same within 72 hours
    CANCELLED_ELSEWHERE = "cancelled_elsewhere"  # stamped here, cancelled there
    STAMPED_THERE = "stamped_there"  # unsettled here, and ContaDigital has its UUID


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """One place where the two do not agree."""

    kind: FindingKind
    uuid: str | None
    external_id: str | None
    source: str
    detail: str
    invoice_id: UUID | None = None  # the invoice that it proves the stamp of, where it does
    xml: bytes | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "kind": self.kind.value,
            "uuid": self.uuid,
            "external_id": self.external_id,
            "source": self.source,
            "detail": self.detail,
            "proven": self.invoice_id is not None,
        }


@dataclass(slots=True)
class Audit:
    """What was compared, and what was found."""

    account: str
    here: int = 0
    there: int = 0
    first: datetime | None = None  # the earliest and the latest Fecha of the sources
    last: datetime | None = None
    found: list[Discrepancy] = field(default_factory=list)
    unanswered: int = 0  # questions to ContaDigital or the SAT that had no usable answer
    without_trace: list[str] = field(
        default_factory=list
    )  # unsettled here, and nothing there that could be theirs

    def covers(self, first: date, last: date) -> bool:
        """Whether the days of the sources reach from `first` to `last`."""
        if self.first is None or self.last is None:
            return False
        return self.first.date() <= first and last <= self.last.date()


def audit(
    account: str,
    there: Iterable[Issued],
    tools: Tools,
    *,
    ask_provider: bool = False,
    sat_status: SatStatusService | None = None,
) -> Audit:
    """Compare one account with the CFDI that `there` yields, and on request with ContaDigital and the SAT's service."""
    done = Audit(account)
    with tools.engine.begin() as db:
        connection = db.execute(sa.select(connections).where(connections.c.account == account)).one_or_none()
    ours = {row.uuid: row for row in _stamped(account, tools)}
    unsettled = _unsettled(account, tools)
    done.here = len(ours) + len(unsettled)
    rfc = connection.rfc if connection is not None else None
    seen = _files(done, there, rfc, ours, unsettled, connection, tools)
    if seen:
        _missing(done, seen, ours)
    if ask_provider and connection is not None:
        _provider(done, connection, ours, unsettled, tools)
    if sat_status is not None and rfc is not None:
        _sat(done, rfc, ours, sat_status)
    return done


def _files(
    done: Audit,
    there: Iterable[Issued],
    rfc: str | None,
    ours: dict[str, Row],
    unsettled: list[Row],
    connection: Row | None,
    tools: Tools,
) -> set[str]:
    """Compare with what files hold; return the UUIDs that they hold of this account."""
    seen: set[str] = set()
    by_content: dict[str, list[Issued]] = defaultdict(list)
    strangers: list[Issued] = []
    for each in there:
        if (rfc is not None and each.emisor != rfc) or each.uuid in seen:
            continue
        seen.add(each.uuid)
        done.there += 1
        if each.fecha is not None:
            done.first = min(done.first or each.fecha, each.fecha)
            done.last = max(done.last or each.fecha, each.fecha)
        if each.content is not None and not each.cancelled:
            by_content[each.content].append(
                Issued(each.uuid, each.emisor, each.receptor, each.total, each.fecha, each.source)
            )
        row = ours.get(each.uuid)
        if row is None:
            strangers.append(each)
        elif each.cancelled and row.status == InvoiceStatus.STAMPED:
            done.found.append(
                Discrepancy(
                    FindingKind.CANCELLED_ELSEWHERE,
                    each.uuid,
                    row.external_id,
                    each.source,
                    "cancelled at the SAT",
                )
            )
    _strangers(done, strangers, unsettled, connection, tools)
    proven = {each.uuid for each in done.found if each.invoice_id is not None}
    for group in by_content.values():
        _duplicates(done, group, ours, proven)
    return seen


def _strangers(
    done: Audit,
    strangers: list[Issued],
    unsettled: list[Row],
    connection: Row | None,
    tools: Tools,
) -> None:
    """Report CFDI that no invoice here has, with the invoice whose stamp one is proven to be."""
    issuer = issuer_of(connection)
    by_parties: dict[tuple[str, Decimal], list[Row]] = defaultdict(list)
    for row in unsettled:
        key = _parties(row)
        if key is not None:
            by_parties[key].append(row)
    fitting: dict[str, list[Row]] = {}  # by UUID: whose stamp a CFDI may be
    exact: dict[str, list[Row]] = {}
    claimed: dict[UUID, int] = defaultdict(int)
    for each in strangers:
        rows, same = by_parties.get((each.receptor, each.total), []), []
        if each.xml is not None:
            reports = [(row, examined(each, row, issuer, tools)) for row in rows]
            rows = [row for row, report in reports if may_be_its_stamp(report)]
            same = [row for row, report in reports if report.ok and not _says_less(each, row)]
        fitting[each.uuid], exact[each.uuid] = rows, same
        for row in same:
            claimed[row.id] += 1
    unexplained: set[UUID] = set()
    for each in strangers:
        rows, same = fitting[each.uuid], exact[each.uuid]
        proven = len(same) == 1 and claimed[same[0].id] == 1
        if proven:
            rows = same
        unexplained |= {row.id for row in rows}
        detail = (
            f"it is the stamp of {rows[0].external_id}"
            if proven
            else f"it may be the stamp of {', '.join(row.external_id for row in rows[:3])}"
            if rows
            else "no invoice here has it"
        )
        done.found.append(
            Discrepancy(
                FindingKind.UNKNOWN_HERE,
                each.uuid,
                rows[0].external_id if proven else None,
                each.source,
                detail + ("; cancelled at the SAT" if each.cancelled else ""),
                rows[0].id if proven else None,
                each.xml if proven else None,
            )
        )
    done.without_trace = [row.external_id for row in unsettled if row.id not in unexplained]


def _parties(row: Row) -> tuple[str, Decimal] | None:
    try:
        return row.content["receptor"]["rfc"], Decimal(row.content["total"])
    except (KeyError, TypeError, InvalidOperation):
        return None


def may_be_its_stamp(report: Report) -> bool:
    """Whether an XML may be an invoice's stamp, proven or not, so that the invoice is not sent again.

    Its series may have changed since, and an older database holds another date than the stamp's.
    """
    return not report.is_good_cfdi or {each.code for each in report.substantial} <= {"fecha", "serie"}


def _says_less(issued: Issued, row: Row) -> bool:
    """Whether words of a line are missing in the XML: a provider may cut them, and "Flete 31" then says "Flete 3"."""
    sent = {word for line in row.content["conceptos"] for word in words(line["descripcion"])}
    return not sent <= issued.words


def fecha_of(row: Row, issued_fecha: datetime | None) -> datetime | None:
    """Return the date that the stamp of an invoice should bear, as it is known here.

    Where the database was set back it may hold the date of an earlier try: the XML's own counts, as for one that was
    never dated here; unless its user gave one.
    """
    is_stale = row.doubt == mark.DOUBT and row.content.get("fecha") is None
    return (issued_fecha if is_stale else None) or row.fecha or issued_fecha


def examined(issued: Issued, row: Row, issuer: Issuer | None, tools: Tools) -> Report:
    """Examine an XML as the stamp of an invoice."""
    expected = Expected(
        document.read(row.content),
        issuer or Issuer(rfc=issued.emisor, nombre=""),
        fecha_of(row, issued.fecha) or datetime(1970, 1, 1),  # noqa: DTZ001  # a CFDI's local wall clock
    )
    return examine(
        issued.xml or b"",
        expected,
        known_pac_certificates=tools.pac_certificates,
        sat_authorities=tools.sat_authorities,
    )


def _duplicates(done: Audit, group: list[Issued], ours: dict[str, Row], proven: set[str | None]) -> None:
    """Report CFDI of one content within 72 hours of each other; two invoices of ours that say the same are none."""
    of_us = ours.keys() | proven
    dated = [(each.fecha, each) for each in group if each.fecha is not None]
    dated.sort(key=lambda pair: pair[0])
    for (earlier, one), (later, other) in itertools.pairwise(dated):
        if later - earlier > SAME_INVOICE or {one.uuid, other.uuid} <= of_us:
            continue
        known = ours.get(one.uuid) or ours.get(other.uuid)
        done.found.append(
            Discrepancy(
                FindingKind.DUPLICATE,
                other.uuid,
                known.external_id if known is not None else None,
                other.source,
                f"it says the same as {one.uuid}",
            )
        )


def _missing(done: Audit, seen: set[str], ours: dict[str, Row]) -> None:
    """Report what is stamped here, within the days that the sources cover, and is in none of them."""
    for uuid, row in ours.items():
        covered = done.first is not None and done.last is not None and done.first <= row.fecha <= done.last
        if covered and uuid not in seen and row.status != InvoiceStatus.CANCELLED:
            done.found.append(
                Discrepancy(
                    FindingKind.MISSING_THERE, uuid, row.external_id, "files", "in none of the sources"
                )
            )


def _provider(
    done: Audit,
    connection: Row,
    ours: dict[str, Row],
    unsettled: list[Row],
    tools: Tools,
) -> None:
    """Ask ContaDigital for each Id that is known here."""
    for row in [*ours.values(), *unsettled]:
        if row.record_id is None:
            continue
        credentials = credentials_of(connection, tools, id_empresa=row.record_empresa)
        try:
            record = tools.provider.look_up(credentials, row.record_id)
        except ContaDigitalError as error:
            if row.uuid is not None and type(error).__name__ == "UnknownRecord":
                detail = f"ContaDigital does not know its Id {row.record_id}"
                done.found.append(
                    Discrepancy(FindingKind.MISSING_THERE, row.uuid, row.external_id, "contadigital", detail)
                )
            else:
                done.unanswered += 1
            continue
        theirs = (record.uuid or "").upper() or None
        if row.uuid is None and theirs is not None:
            done.found.append(
                Discrepancy(
                    FindingKind.STAMPED_THERE,
                    theirs,
                    row.external_id,
                    "contadigital",
                    "stamped at ContaDigital",
                    row.id,
                )
            )
        elif row.uuid is not None and theirs != row.uuid:
            detail = f"under its Id {row.record_id} ContaDigital has {theirs or 'no folio fiscal'}"
            done.found.append(
                Discrepancy(FindingKind.MISSING_THERE, row.uuid, row.external_id, "contadigital", detail)
            )


def _sat(done: Audit, rfc: str, ours: dict[str, Row], service: SatStatusService) -> None:
    """Ask the SAT how each CFDI stands that is stamped here."""
    for uuid, row in ours.items():
        key = _parties(row)
        if key is None or row.status == InvoiceStatus.CANCELLED:
            continue
        try:
            status = service.ask(rfc, key[0], key[1], uuid)
        except StatusUnknown:
            done.unanswered += 1
            continue
        if status.is_cancelled:
            done.found.append(
                Discrepancy(
                    FindingKind.CANCELLED_ELSEWHERE,
                    uuid,
                    row.external_id,
                    "sat",
                    status.estatus_cancelacion or "Cancelado",
                )
            )
        elif not status.is_found:
            done.found.append(
                Discrepancy(
                    FindingKind.MISSING_THERE, uuid, row.external_id, "sat", "No Encontrado at the SAT"
                )
            )


def stored(account: str, tools: Tools) -> Iterator[Issued]:
    """Read the XMLs of an account in the document store, which may hold more than a restored database knows."""
    for entry in tools.store.list(segment(account)):
        if entry.key.endswith(".xml") and not entry.key.endswith(".acuse.xml"):
            yield of_xml(tools.store.get(entry.key), entry.key)


_COLUMNS = (
    invoices.c.id,
    invoices.c.external_id,
    invoices.c.status,
    invoices.c.uuid,
    invoices.c.fecha,
    invoices.c.record_id,
    invoices.c.record_empresa,
    invoices.c.content,
    invoices.c.doubt,
)


def _stamped(account: str, tools: Tools) -> Iterator[Row]:
    """Read the account's stamped invoices in batches, so that no transaction stays open for long."""
    last = UUID(int=0)
    while True:
        with tools.engine.connect() as db:
            rows = db.execute(
                sa.select(*_COLUMNS)
                .where(
                    invoices.c.account == account,
                    invoices.c.status.in_(sorted(HAS_UUID)),
                    invoices.c.id > last,
                )
                .order_by(invoices.c.id)
                .limit(BATCH)
            ).all()
        yield from rows
        if len(rows) < BATCH:
            return
        last = rows[-1].id


def _unsettled(account: str, tools: Tools) -> list[Row]:
    """The account's invoices whose outcome is not known."""
    with tools.engine.connect() as db:
        return list(
            db.execute(
                sa.select(*_COLUMNS).where(
                    invoices.c.account == account,
                    sa.or_(
                        invoices.c.status == InvoiceStatus.IN_DOUBT,
                        sa.and_(
                            invoices.c.status == InvoiceStatus.FAILED,
                            invoices.c.reason == FailedReason.NEEDS_PERSON,
                        ),
                    ),
                )
            ).all()
        )
