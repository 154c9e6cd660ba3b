"""A correction is kept whatever its connection does meanwhile."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from models.vocabulary import BrokenReason
from sandbox.serve import RunningSandbox
from stamping import reminders
from stamping.connections import suspend
from stamping.intake import submit
from tests.support.builders import an_invoice
from tests.support.harness import Corridor, open_corridor

pytestmark = pytest.mark.timeout(60)


def break_it(corridor: Corridor) -> None:
    now = corridor.tools.clock.now()
    with corridor.tools.engine.begin() as db:
        assert suspend.break_connection(
            db, corridor.account, BrokenReason.KEY_REJECTED, {}, corridor.tools, now
        )


def sent_again(corridor: Corridor, **changes: object) -> submit.Accepted | submit.Settled:
    invoice = an_invoice(account=corridor.account, external_id="OP-1", **{"fecha": None, **changes})
    return submit.submit(invoice, corridor.tools)


def test_a_rejected_one_that_is_corrected_waits_for_its_connection(
    database_url: str, sandbox: RunningSandbox
) -> None:
    """It goes on hold like any other that comes in, and is told so."""
    with open_corridor(database_url, sandbox) as corridor:
        invoice_id = corridor.submit(total="1.00")
        assert corridor.row(invoice_id).status == "rejected"
        break_it(corridor)

        taken = sent_again(corridor)

        assert taken == submit.Settled(invoice_id, corridor.account, "on_hold")
        assert corridor.row(invoice_id).status == "on_hold"
        assert corridor.told()[-1] == "invoice.on_hold"


def test_an_expired_one_that_is_dated_anew_waits_for_its_connection(
    database_url: str, sandbox: RunningSandbox
) -> None:
    """What ran out of its 72 hours while the connection was broken may be sent again before it is mended."""
    with open_corridor(database_url, sandbox) as corridor:
        fecha = corridor.tools.clock.now().isoformat(timespec="seconds")
        invoice_id = corridor.submit(fecha=fecha)
        break_it(corridor)
        suspend.hold_open(corridor.account, corridor.tools)
        corridor.later(hours=73)
        with corridor.tools.engine.begin() as db:
            db.execute(
                sa.text("UPDATE invoices SET notice_at = :now"),
                {"now": corridor.tools.clock.now() - timedelta(1)},
            )
        assert reminders.notice(invoice_id, corridor.tools) == "expired"

        sent_again(corridor)

        assert corridor.row(invoice_id).status == "on_hold"
