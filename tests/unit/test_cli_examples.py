"""The invoices of `examples/` as a demo sends them: ids of the run's own, periods of today, and what is expected."""

from datetime import UTC, datetime

import pytest

from cli.console import Problem
from cli.demo.check import unexpected
from cli.demo.examples import Example, load, of_one_run
from cli.progress import Ending
from config.running import CHECKOUT

NOW = datetime(2028, 2, 1, 3, 0, tzinfo=UTC)  # still January in the Zona Centro


def test_there_are_enough_examples_and_each_wrong_one_says_its_codes():
    """Issue of the main job: at least 24 good ones and 6 wrong ones, each wrong in its own way."""
    found = load(CHECKOUT / "examples")
    wrong = [each for each in found if not each.should_stamp]

    assert len(found) - len(wrong) >= 24
    assert len(wrong) >= 6
    assert all(each.codes for each in wrong)


def test_each_run_has_ids_of_its_own():
    """A hundred of one run have a hundred ids with its prefix, all of one account."""
    found = load(CHECKOUT / "examples")
    sent = of_one_run(found, account="demo", prefix="run1-", how_many=100, now=NOW)
    ids = [each.invoice["external_id"] for each in sent]

    assert len(set(ids)) == 100
    assert all(each.startswith("run1-") for each in ids)
    assert {each.invoice["account"] for each in sent} == {"demo"}


def test_a_global_invoice_is_for_the_month_it_is_sent_in():
    """The period follows the clock, and the example on file is not changed."""
    period = {"periodicidad": "04", "meses": "11", "anio": 2026}
    good = Example("global", {"informacion_global": period}, should_stamp=True)

    [sent] = of_one_run([good], account="demo", prefix="", how_many=None, now=NOW)

    assert sent.invoice["informacion_global"] == {"periodicidad": "04", "meses": "01", "anio": 2028}
    assert period["anio"] == 2026  # the example itself stays as it was read


def test_a_folder_without_examples_is_named(tmp_path):
    """An empty folder is a Problem, not a demo of nothing."""
    with pytest.raises(Problem, match="no examples there"):
        load(tmp_path)


def an_ending(**facts) -> Ending:
    return Ending(**{"account": "demo", "external_id": "x", "status": "stamped", "settled": True} | facts)


def a_refusal(*codes: str) -> Ending:
    return an_ending(status="rejected", errors=tuple({"code": code, "field": "total"} for code in codes))


GOOD = Example("good", {}, should_stamp=True)
WRONG = Example("wrong", {}, should_stamp=False, codes=("CFDI40119",))


@pytest.mark.parametrize(
    ("example", "ending", "reported"),
    [
        (GOOD, an_ending(), None),
        (WRONG, a_refusal("CFDI40119"), None),
        (WRONG, a_refusal("CFDI40119", "CFDI40108"), None),
        (GOOD, a_refusal("CFDI40119"), "should have been stamped and is rejected: CFDI40119 total"),
        (GOOD, an_ending(status="waiting"), "should have been stamped and is waiting"),
        (GOOD, an_ending(conflict=True), "should have been stamped"),
        (WRONG, an_ending(), "should have been refused and is stamped"),
        (WRONG, an_ending(status="failed"), "should have been refused and is failed"),
        (WRONG, a_refusal("CFDI40108"), "was refused without CFDI40119"),
    ],
)
def test_whatever_ends_otherwise_than_its_example_says_is_reported(example, ending, reported):
    """A wrong one that is stamped and a good one that is refused are both named."""
    found = unexpected([example], [ending])

    assert len(found) == (reported is not None)
    assert not reported or reported in found[0]
