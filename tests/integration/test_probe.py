"""`probe`: what an account's answers look like, with nobody's data in it, and the file of ids that it leaves behind."""

import json
import tomllib
from typing import Any

import pytest

from cli.probe import of_account
from contadigital.probe import as_toml
from stamping.connections import samples
from tests.integration.test_unfamiliar_provider import SHAPES, at, by_hand, key_of
from tests.support.apunto import NAME, POSTCODE, RFC

CANARIES = ("XENON INDUSTRIAL", "XIA190128J61", "cxp@xenon.mx", "Lic. Perez", "Morelos", NAME, RFC)


@pytest.mark.parametrize("shape", [*SHAPES, "404", "empty"])
def test_a_probe_shows_shapes_and_nobodys_data(shape: str, database: str, sandbox: Any):
    """No key, no RFC, no name and no e-mail of anybody stands in a sample; every call is there with its outcome."""
    with at(database, sandbox, utiles=shape, extra_lists="unknown") as harness:
        kept = {
            "RFC": RFC, "RazonSocial": "XENON INDUSTRIAL", "RegimenFiscal": "601", "CP": "64000", "Estatus": True,
            "Email": "cxp@xenon.mx", "Contacto": "Lic. Perez", "Calle": "Morelos 8",
        }  # fmt: skip
        sandbox.control("PUT", f"/accounts/{harness.account}/customers", kept)
        key = key_of(harness)
        harness.connect(key, empresa_id=sandbox.account(harness.account)["id_empresa"])

        report = of_account(harness.account, harness.tools)

        assert [each.call for each in report.calls] == [
            "conectar",
            "utiles",
            "clientes",
            "clientes",
            "productos",
        ]
        shown = json.dumps([each.sample for each in report.calls] + [report.recognised], ensure_ascii=False)
        assert not [word for word in (*CANARIES, key) if word.lower() in shown.lower()]
        assert bool(report.missing) is (shape in ("404", "empty"))


def test_a_probe_leaves_a_file_that_connects(database: str, sandbox: Any):
    """The gaps are marked with what they are and where they stand; filled in, the file is what connect reads."""
    with at(database, sandbox, utiles="404", products="404") as harness:
        empresa = sandbox.account(harness.account)["id_empresa"]
        harness.connect(key_of(harness), empresa_id=empresa)

        text = as_toml(of_account(harness.account, harness.tools).ids)

        assert "# rfc =" in text
        assert f'# "{POSTCODE}" =' in text
        assert '# "*" =' in text
        assert {name: value for name, value in tomllib.loads(text).items() if value} == {}
        row = harness.connect(key_of(harness), empresa_id=empresa, ids=by_hand(harness))
        assert row.status == "active"
        filled = as_toml(of_account(harness.account, harness.tools).ids)
        assert (
            harness.connect(key_of(harness), empresa_id=empresa, ids=tomllib.loads(filled)).status == "active"
        )


def test_an_answer_that_was_not_understood_is_kept_and_shown(database: str, sandbox: Any):
    """The real shape could not be learnt without a proxy; now one sample a call stays."""
    with at(database, sandbox, utiles="empty") as harness:
        harness.connect(key_of(harness), empresa_id=sandbox.account(harness.account)["id_empresa"])
        sandbox.play("html", account=harness.account, call="utiles", times=1)
        of_account(harness.account, harness.tools)

        with harness.tools.engine.begin() as db:
            (sample,) = samples.of_account(db, harness.account)

            everybodys = samples.since(db, sample["at"])

        assert (sample["call"], sample["sample"]["body"]) == ("utiles", "HTML")
        assert sample in everybodys
