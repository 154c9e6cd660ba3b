"""What our rules let pass the sandbox stamps, and what only the SAT can tell comes back in our own form.

The sandbox reads the law once more, on its own; each finds the other's mistakes here. HYPOTHESIS_EXAMPLES
makes it as thorough as you have time for.
"""

import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from cfdi.evidence import Expected, examine
from cfdi.issuer import Issuer
from cfdi.sat import zones
from cfdi.validation import validate
from contadigital.errors import DocumentRejected
from net.transport import open_http
from sandbox.serve import RunningSandbox
from tests.integration.test_evidence_of_the_sandbox import Provider
from tests.support.builders import an_issuer
from tests.support.strategies import EXAMPLES, invoices

FOLDER = Path(__file__).parents[2] / "examples"
NOW = datetime.now(UTC)
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def provider(sandbox: RunningSandbox) -> Iterator[Provider]:
    with open_http() as http:
        yield Provider(sandbox, http)


def stamp(provider: Provider, raw) -> list[str]:
    """Validate, save, stamp and check what came back; returns what the evidence found wrong."""
    verdict = validate(raw, issuer=an_issuer(), now=datetime.now(UTC))
    assert verdict.faults == ()
    invoice = verdict.invoice
    instant = invoice.fecha or datetime.now(UTC) - timedelta(minutes=2)
    fecha = zones.local(instant, invoice.lugar_expedicion)
    record, xml = provider.stamp(invoice, fecha, f"rules-{next(numbers)}")
    issuer = Issuer(provider.emisor.rfc, provider.emisor.razon_social, provider.emisor.regimen_fiscal)
    report = examine(xml, Expected(invoice, issuer, fecha, record.uuid), known_pac_certificates=provider.pac)
    return [f"{check.name}: {check.detail}" for check in report.failed]


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(raw=invoices(account="demo", now=NOW))
def test_every_invoice_that_passes_is_stamped_as_it_was_sent(provider, raw):
    """Whatever hypothesis makes of I and E: stamped, by the official schema, both seals verified, nothing altered."""
    assert stamp(provider, raw) == []


def example(path: Path):
    raw = json.loads(path.read_text("utf-8"))
    if raw.get("informacion_global"):
        raw["informacion_global"]["anio"] = (datetime.now(UTC) - timedelta(days=4)).year
    return raw


@pytest.mark.parametrize("path", sorted((FOLDER / "good").glob("*.json")), ids=lambda path: path.stem)
def test_a_good_example_is_stamped(provider, path):
    """Each file of examples/good, as it was sent."""
    assert stamp(provider, example(path)) == []


@pytest.mark.parametrize(
    ("name", "code", "field"),
    [
        ("11-codigo-postal-de-otro", "CFDI40148", "receptor.domicilio_fiscal_receptor"),
        ("12-nombre-de-otro", "CFDI40145", "receptor.nombre"),
        ("13-rfc-que-no-existe", "CFDI40143", "receptor.rfc"),
    ],
)
def test_what_only_the_sat_can_say_points_at_the_same_field(provider, name, code, field):
    """Code and field of a refusal by the SAT, in the form of our own faults."""
    with pytest.raises(DocumentRejected) as rejected:
        stamp(provider, example(FOLDER / "wrong" / f"{name}.json"))

    assert [(fault.code, fault.field, fault.source) for fault in rejected.value.faults] == [
        (code, field, "sat")
    ]
