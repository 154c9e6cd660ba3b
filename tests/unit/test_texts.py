"""What a user reads is Spanish, about money and names, and holds nothing of a developer's."""

import re

import pytest

from tools.docs import textos

OURS = ("rules", "shapes", "sat")
"""The tables of the page whose sentences are of `cfdi` and of the client."""

ROWS = [(name, row) for name in OURS for row in textos.blocks()[name][2:]]

NOT_FOR_USERS = {
    "English": r"\b(sent|found|null|JSON|true|false|string|number|expected|the)\b",
    "a field's name in code": r"[a-z]_[a-z]",
    "a formula": r"\d [x*+=] \d| = ",
    "thousands without a separator": r"\$\d{4,}",
    "a passive that blames nobody": r"se recibió",
    "usted": r"\b(usted|su factura|corrija|escriba|revise)\b",
    "a code without its name": r"\b(PPD|PUE)\b(?! \()",
}


def parts(row: str) -> tuple[str, str, str]:
    """The code, and the two sentences that a user reads."""
    cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
    return cells[0], cells[2], cells[3]


@pytest.mark.parametrize("what", NOT_FOR_USERS)
def test_no_sentence_holds(what: str):
    """Each row of the page is held against it; PUE and PPD come with their names."""
    found = [
        (code, sentence)
        for _, row in ROWS
        for code, *sentences in [parts(row)]
        for sentence in sentences
        if re.search(NOT_FOR_USERS[what], sentence)
    ]

    allowed = {"timbrado.global_metodo_pago"} if "PUE" in NOT_FOR_USERS[what] else set()
    assert [each for each in found if each[0].removesuffix(" (aviso)") not in allowed] == []


def test_every_sentence_ends_and_says_what_to_do():
    """Every sentence ends and says what to do."""
    for _, row in ROWS:
        code, message, fix = parts(row)
        assert message.endswith("."), code
        assert fix.endswith("."), code


def test_whose_and_label_stand_in_every_row():
    """A user's own faults are shown to him; those of Apunto go to its developers."""
    whose = {re.split(r"(?<!\\)\|", row)[5].strip() for _, row in ROWS}

    assert whose == {"usuario", "Apunto", "soporte"}
