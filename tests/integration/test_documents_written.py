"""What is remembered of an answer's documents: each with its own facts and its own report, written together."""

import hashlib
from typing import Any

from cfdi import document
from cfdi.evidence import Expected, examine
from contadigital.records import Record
from stamping import settle
from stamping.attempts import Attempt
from stamping.prepare import prepare_lookup
from stamping.store_documents import Verified
from tests.support.builders import an_issuer
from tests.support.harness import open_harness
from tests.support.signed_xml import FECHA


def test_two_documents_keep_a_report_each(database_url: str, sandbox: Any) -> None:
    """As where other bytes came first: what came now and what came before are both examined, and both reports stay."""
    with open_harness(database_url, sandbox) as harness:
        claimed = harness.claim(harness.submit())
        invoice = document.read(claimed.invoice.content)
        reports = [examine(xml, Expected(invoice, an_issuer(), FECHA, None)) for xml in (b"<x/>", b"no XML")]
        rows = tuple(
            {
                "kind": "xml",
                "key": f"quarantine/{number}",
                "sha256": hashlib.sha256(bytes([number])).hexdigest(),
                "bytes": 10 + number,
                "checks": report.as_dict(),
                "quarantined_reason": f"reason {number}",
            }
            for number, report in enumerate(reports)
        )

        attempt = Attempt(claimed, harness.tools)
        attempt.prepared = prepare_lookup(claimed, harness.tools)
        settle.quarantined(attempt, Verified(Record(id=7), reports[1], rows, lacks_pdf=True), [])

        kept = harness.all("SELECT * FROM documents WHERE invoice_id = :id ORDER BY key", id=claimed.id)
    assert [{name: getattr(row, name) for name in rows[0]} for row in kept] == list(rows)
