"""Every reason of the contract has words, and they tell the user what to do."""

import pytest

from contadigital.errors import RULES
from contadigital.reasons import REASONS, WORDS, explain


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_has_words(reason: str):
    """Every reason has words."""
    words = explain(reason)

    assert words.message.endswith(".")
    assert words.fix.endswith(".")


@pytest.mark.parametrize(("reason", "cause"), sorted(WORDS), ids=lambda each: each or "plain")
def test_words_are_spanish_for_a_user_and_not_for_us(reason: str, cause: str):
    """Words are spanish for a user and not for us."""
    text = WORDS[reason, cause].text

    assert not any(
        word in text.lower() for word in ("http", "token", "worker", "timeout", "favor de", "usted")
    )


def test_a_rejected_key_is_reported_as_the_contract_says():
    """A rejected key is told as the contract says."""
    assert explain("key_rejected").text == (
        "ContaDigital ya no acepta el API Key de esta conexión: fue revocado o regenerado. Cópialo de nuevo en "
        "ContaDigital (Perfil de usuario > API Facturación) y pégalo en Apunto (Configuración > Integraciones > "
        "ContaDigital)."
    )


def test_unreachable_is_nobodys_fault():
    """Unreachable is nobodys fault."""
    assert "No es un problema de tus datos" in explain("unreachable").message


def test_a_cause_without_words_of_its_own_has_its_reasons():
    """A cause without words of its own has its reasons."""
    assert explain("no_stamps", "something new") == explain("no_stamps")


def test_every_cause_of_the_table_has_words():
    """Every cause of the table has words."""
    assert [rule for rule in RULES if rule.reason and (rule.reason, rule.cause) not in WORDS] == []
