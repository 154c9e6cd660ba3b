"""The stamp's own seal: verified wherever the PAC's certificate is known, and asked of nobody where it is not."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from stamping.outcome import Failed, Stamped
from tests.support.harness import Corridor, open_corridor, pac_certificates_of
from tests.support.signed_xml import a_csd


@pytest.fixture
def corridor(database_url: str, sandbox: Any) -> Iterator[Corridor]:
    with open_corridor(database_url, sandbox) as opened:
        yield opened


def check_of(corridor: Corridor, external_id: str) -> str:
    (document,) = corridor.all(
        "SELECT d.checks FROM documents d JOIN invoices i ON i.id = d.invoice_id"
        " WHERE i.account = :a AND i.external_id = :e AND d.kind = 'xml'",
        a=corridor.account,
        e=external_id,
    )
    (check,) = [each for each in document.checks["checks"] if each["name"] == "sello_sat"]
    return str(check["result"])


def test_the_seal_is_verified_with_the_certificate_that_is_known(corridor: Corridor) -> None:
    """And a provider whose certificate is not known is believed by the rest of the evidence."""
    unaware = corridor.another_worker(pac_certificates={})

    corridor.stamped("KNOWN")
    unaware.stamped("UNKNOWN")

    assert check_of(corridor, "KNOWN") == "passed"
    assert check_of(corridor, "UNKNOWN") == "not_asked"


def test_a_stamp_that_another_has_sealed_is_kept_aside_and_told_with_that_check_alone(
    corridor: Corridor,
) -> None:
    """Under the PAC's number lies a certificate that has not sealed it: a person must look."""
    (number,) = pac_certificates_of(corridor.sandbox)
    wary = replace(corridor, tools=replace(corridor.tools, pac_certificates={number: a_csd().der}))
    invoice_id = wary.submit()

    assert isinstance(wary.stamp(invoice_id), Failed)

    row = wary.row(invoice_id)
    assert (row.status, row.reason, wary.stamps()) == ("failed", "needs_person", 1)
    assert ["«sello_sat»" in error["message"] for error in row.errors] == [True]


def test_checks_that_were_out_of_reach_are_not_told_as_failed(corridor: Corridor) -> None:
    """An XML that breaks off fails one check; what could not be looked at for it says nothing of its own."""
    invoice_id = corridor.submit()
    corridor.sandbox.play("wrong_xml", account=corridor.account, call="stamp", times=1, form="truncated")

    assert isinstance(corridor.stamp(invoice_id), Failed)

    row = corridor.row(invoice_id)
    assert ["«parse»" in error["message"] for error in row.errors] == [True]
    assert isinstance(corridor.stamp(corridor.submit("NEXT")), Stamped)
