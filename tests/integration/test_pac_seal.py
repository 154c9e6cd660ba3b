"""The stamp's own seal: verified wherever the PAC's certificate is known, and asked of nobody where it is not."""

from dataclasses import replace

from stamping.outcome import Failed, Stamped
from tests.support.harness import Harness, pac_certificates_of
from tests.support.signed_xml import a_csd


def check_of(harness: Harness, external_id: str) -> str:
    (document,) = harness.all(
        "SELECT d.checks FROM documents d JOIN invoices i ON i.id = d.invoice_id"
        " WHERE i.account = :a AND i.external_id = :e AND d.kind = 'xml'",
        a=harness.account,
        e=external_id,
    )
    (check,) = [each for each in document.checks["checks"] if each["name"] == "sello_sat"]
    return str(check["result"])


def test_the_seal_is_verified_with_the_certificate_that_is_known(harness: Harness) -> None:
    """And a provider whose certificate is not known is believed by the rest of the evidence."""
    unaware = harness.another_worker(pac_certificates={})

    harness.stamped("KNOWN")
    unaware.stamped("UNKNOWN")

    assert check_of(harness, "KNOWN") == "passed"
    assert check_of(harness, "UNKNOWN") == "not_asked"


def test_a_stamp_that_another_has_sealed_is_quarantined_and_reported_with_that_check_alone(
    harness: Harness,
) -> None:
    """Under the PAC's number lies a certificate that has not sealed it: a person must look."""
    (number,) = pac_certificates_of(harness.sandbox)
    wary = replace(harness, tools=replace(harness.tools, pac_certificates={number: a_csd().der}))
    invoice_id = wary.submit()

    assert isinstance(wary.stamp(invoice_id), Failed)

    row = wary.row(invoice_id)
    assert (row.status, row.reason, wary.stamps()) == ("failed", "needs_person", 1)
    assert ["sello_sat" in (error["detail"] or "") for error in row.errors] == [True]


def test_checks_that_were_out_of_reach_are_not_reported_as_failed(harness: Harness) -> None:
    """An XML that breaks off fails one check; what could not be looked at for it says nothing of its own."""
    invoice_id = harness.submit()
    harness.sandbox.play("wrong_xml", account=harness.account, call="stamp", times=1, form="truncated")

    assert isinstance(harness.stamp(invoice_id), Failed)

    row = harness.row(invoice_id)
    assert ["parse" in (error["detail"] or "") for error in row.errors] == [True]
    assert isinstance(harness.stamp(harness.submit("NEXT")), Stamped)
