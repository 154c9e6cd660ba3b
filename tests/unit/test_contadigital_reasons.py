"""Every reason of the contract has words, and they tell the user what to do."""

import pytest

from contadigital.errors import RULES
from contadigital.reasons import REASONS, WORDS, explain


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_has_words(reason: str):
    """Message and fix are sentences, for each reason of the contract."""
    words = explain(reason)

    assert words.message.endswith(".")
    assert words.fix.endswith(".")


@pytest.mark.parametrize(("reason", "cause"), sorted(WORDS), ids=lambda each: each or "plain")
def test_words_are_spanish_for_a_user_and_not_for_us(reason: str, cause: str):
    """No technical word, and no form of address that Apunto does not use."""
    text = WORDS[reason, cause].text

    assert not any(
        word in text.lower() for word in ("http", "token", "worker", "timeout", "favor de", "usted")
    )


def test_a_rejected_key_is_reported_as_the_contract_says():
    """A rejected key has the words of the contract."""
    assert explain("key_rejected").text == (
        "ContaDigital ya no acepta el API Key de esta conexión: fue revocado o regenerado. Cópialo de nuevo en "
        "ContaDigital (Perfil de usuario > API Facturación) y pégalo en Apunto (Configuración > Integraciones > "
        "ContaDigital)."
    )


def test_unreachable_is_nobodys_fault():
    """Its message says that the user's data is not the problem."""
    assert "No es un problema de tus datos" in explain("unreachable").message


def test_a_cause_without_words_of_its_own_has_its_reasons():
    """An unknown cause falls back to the words of its reason."""
    assert explain("no_stamps", "something new") == explain("no_stamps")


def test_every_cause_of_the_table_has_words():
    """Each reason and cause that a refusal can be recognised as is written."""
    assert [rule for rule in RULES if rule.reason and (rule.reason, rule.cause) not in WORDS] == []
