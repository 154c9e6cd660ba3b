"""Whatever arrives is stored and reported: wrong shapes, missing arguments, and a row that nobody can make sense of."""

import uuid
from typing import Any

import pytest
import sqlalchemy as sa

from models.tables import inbox
from tests.support.apunto import Apunto, invoices_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


@pytest.mark.parametrize(
    ("task", "arguments"),
    [
        ("stamping.submit_invoice", {"invoice": ["not", "an", "object"]}),
        ("stamping.submit_invoice", {"invoice": {"account": "acme"}}),
        ("stamping.submit_invoice", {"factura": {}}),
        (
            "stamping.cancel_invoice",
            {"account": 5, "external_id": None, "motivo": None, "uuid_sustitucion": 7},
        ),
        ("stamping.cancel_invoice", {"account": "acme"}),
        ("stamping.retry_invoice", {"account": 5}),
    ],
)
def test_a_message_of_another_shape_is_kept_or_reported(
    apunto: Apunto, task: str, arguments: dict[str, Any]
) -> None:
    """Nothing that arrives is lost: it stands in a table, or its sender reads what is wrong with it."""
    mark = uuid.uuid4().hex
    if "invoice" not in arguments:
        arguments = {**arguments, "mark": mark} if task != "stamping.cancel_invoice" else arguments

    def counted() -> int:
        (reported,) = apunto.query(
            "SELECT (SELECT count(*) FROM dead_letters) + (SELECT count(*) FROM events)"
        )
        return int(reported[0])

    before = counted()
    apunto.send(task, **arguments)

    apunto.until_true(counted, lambda now: now > before, 15)


def test_a_row_that_makes_no_sense_does_not_stop_what_comes_behind_it(apunto: Apunto) -> None:
    """The inbox goes on: the odd row is kept aside, the next one is stamped."""
    account = apunto.open_account()
    (good,) = invoices_of(account, 1)
    with apunto.engine.begin() as db:
        for kind, payload in (
            ("cancel", {"account": account, "external_id": "x", "motivo": None, "uuid_sustitucion": 5}),
            ("submit", ["nonsense"]),
            ("retry", "nonsense"),
            ("submit", good),
        ):
            db.execute(sa.insert(inbox).values(id=uuid.uuid4(), kind=kind, payload=payload))

    rows = apunto.until(account, {"stamped"}, 1)

    assert list(rows) == [good["external_id"]]
    left = apunto.query("SELECT count(*) FROM timbrado_inbox WHERE taken_at IS NULL")
    assert left[0][0] == 0
