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


@pytest.mark.parametrize(
    ("task", "arguments"),
    [
        ("stamping.submit_invoice", {"factura": {}}),
        ("stamping.retry_invoice", {"account": "acme", "external_id": "OP-1", "motivo": "02"}),
        ("stamping.connect", {"account": "acme", "rfc": "EKU9003173C9"}),
    ],
)
def test_arguments_that_are_not_the_tasks_are_their_senders_fault(
    apunto: Apunto, task: str, arguments: dict[str, Any]
) -> None:
    """Support and the user do not read of a bug of ours: Apunto's developers have a call to correct."""
    mark = uuid.uuid4().hex

    apunto.send(task, **arguments, mark=mark)

    asked = "SELECT reason, errors FROM dead_letters WHERE message::text LIKE :mark"
    apunto.until_true(lambda: apunto.query(asked, mark=f"%{mark}%"), bool, 15)
    [kept] = apunto.query(asked, mark=f"%{mark}%")
    assert kept.reason == "its arguments are not those of the task"
    assert [(each["code"], each["whose"]) for each in kept.errors] == [
        ("timbrado.mensaje_desconocido", "apunto")
    ]


def test_a_cancellation_without_its_motivo_says_that_it_is_missing(apunto: Apunto) -> None:
    """The user, who may choose one, reads what is missing; the invoice stays as it is."""
    account = apunto.open_account()
    (invoice,) = invoices_of(account, 1)
    apunto.submit([invoice])
    apunto.until(account, {"stamped"}, 1)

    apunto.send("stamping.cancel_invoice", account=account, external_id=invoice["external_id"])

    def refused() -> list[Any]:
        return [each for each in apunto.events(account) if each.type == "invoice.cancel_refused"]

    apunto.until_true(refused, bool, 15)
    [event] = refused()
    assert [error["message"] for error in event.data["errors"]] == ["Falta el motivo de la cancelación."]


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
