"""A correction is kept whatever its connection does meanwhile."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from models.vocabulary import BrokenReason
from sandbox.serve import RunningSandbox
from stamping.connections import suspend
from stamping.intake import submit
from tests.support.builders import an_invoice
from tests.support.harness import Harness, open_harness

pytestmark = pytest.mark.timeout(60)


def break_it(harness: Harness) -> None:
    now = harness.tools.clock.now()
    with harness.tools.engine.begin() as db:
        assert suspend.break_connection(
            db, harness.account, BrokenReason.KEY_REJECTED, {}, harness.tools, now
        )


def sent_again(harness: Harness, **changes: object) -> submit.Accepted | submit.Settled:
    invoice = an_invoice(account=harness.account, external_id="OP-1", **{"fecha": None, **changes})
    return submit.submit(invoice, harness.tools)


def test_a_rejected_one_that_is_corrected_waits_for_its_connection(
    database_url: str, sandbox: RunningSandbox
) -> None:
    """It goes on hold like any other that comes in, and an event says so."""
    with open_harness(database_url, sandbox) as harness:
        invoice_id = harness.submit(total="1.00")
        assert harness.row(invoice_id).status == "rejected"
        break_it(harness)

        taken = sent_again(harness)

        assert taken == submit.Settled(invoice_id, harness.account, "on_hold")
        assert harness.row(invoice_id).status == "on_hold"
        assert harness.event_types()[-1] == "invoice.on_hold"


def test_an_expired_one_that_is_dated_anew_waits_for_its_connection(
    database_url: str, sandbox: RunningSandbox
) -> None:
    """What ran out of its 72 hours while the connection was broken may be sent again before that is fixed."""
    with open_harness(database_url, sandbox) as harness:
        fecha = harness.tools.clock.now().isoformat(timespec="seconds")
        invoice_id = harness.submit(fecha=fecha)
        break_it(harness)
        suspend.put_on_hold(harness.account, harness.tools)
        harness.later(hours=73)
        with harness.tools.engine.begin() as db:
            db.execute(
                sa.text("UPDATE invoices SET reminder_at = :now"),
                {"now": harness.tools.clock.now() - timedelta(1)},
            )
        assert harness.expire(invoice_id) == "expired"

        sent_again(harness)

        assert harness.row(invoice_id).status == "on_hold"
