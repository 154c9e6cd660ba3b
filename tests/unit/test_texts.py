"""What a user reads is Spanish, about money and names, and holds nothing of a developer's."""

import re
from functools import cache
from typing import NamedTuple

import pytest

from tools.docs import textos


class Text(NamedTuple):
    """One sentence of the page, and the row it stands in."""

    row: str
    text: str


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]


@cache
def texts() -> list[Text]:
    """Every message and every advice of every table of the page, but others' words and facts alone."""
    found = []
    for head, _, *rows in textos.blocks().values():
        columns = [place for place, name in enumerate(cells(head)) if name in {"mensaje", "qué hacer"}]
        found += [
            Text(f"{cells(row)[0]} {cells(row)[1]}", cells(row)[column]) for row in rows for column in columns
        ]
    return [each for each in found if each.text not in {"…", "{why}"}]


UNKNOWN_KEY = "(?!.*no está (en nuestro catálogo|vigente))"
"""A key that no list of ours has, or the SAT's has no more, has no name to stand beside it."""
NOT_FOR_USERS = {
    "English": r"\b(sent|found|null|true|false|string|number|expected|the|is|not|of|at|line)\b",
    "a developer's words": r"\b(JSON|UUID|HTTP|XSD|Fernet|webhook|task|ids?\.|nodo|atributo|tarea|contrato)\b",
    "a field's name in code": r"(?<!{)\b[a-z]+_[a-z]+\b(?!})|\b[a-z]+\.(?!mx\b)[a-z]+\b",
    "a formula": r"\d [x*+=] \d| = ",
    "money without its sign": r"^(?!.*tipo de cambio)(.*[^\d$.,])?\d{1,3}(,\d{3})*\.\d{2}(?![\d%]| [%p])",
    "thousands without a separator": r"\$\d{4,}|\b\d{4,}\.\d\d\b",
    "hours by the thousand": r"\d{3,} horas",
    "a passive that blames nobody": r"se recibió|se pidió",
    "usted": r"\b(usted|su factura|corrija|escriba|revise)\b",
    "a place that is nowhere": r"\ben (la|esta) conexión\b",
    "a method without its name": r"\b(PPD|PUE)\b(?! \()",
    "a two-digit key without its name": rf"^{UNKNOWN_KEY}(.*[^\d$.,:«(-])?\b(0[1-9]|99)\b(?! \()(?!%)",
    "a régimen without its name": rf"^{UNKNOWN_KEY}(.*[^(«])?\b6[0-3]\d\b(?! \()(?!%)",
    "a uso without its name": rf"^{UNKNOWN_KEY}.*\b(G0\d|D\d\d|I0\d|S01|P01|CP01|CN01)\b(?! \()",
    "a word of the CFDI alone": r"\btraslados?\b",
}


@pytest.mark.parametrize("what", NOT_FOR_USERS)
def test_no_sentence_holds(what: str):
    """Every sentence of the page is held against it: rules, refusals, connections, keys and events alike."""
    found = [each for each in texts() if re.search(NOT_FOR_USERS[what], each.text)]

    assert found == []


def test_every_sentence_ends_and_says_what_to_do():
    """Every sentence ends, and no advice is empty."""
    assert [each for each in texts() if not each.text.endswith((".", "…", "}"))] == []


def test_whose_and_label_stand_in_every_row():
    """A user's own faults are shown to him; those of Apunto, of ContaDigital and of support are nobody else's."""
    blocks = textos.blocks()
    whose = {
        (name, cells(row)[-1]) for name, rows in blocks.items() for row in rows[2:] if "de quién" in rows[0]
    }

    assert {each for _, each in whose} == {"usuario", "Apunto", "ContaDigital", "soporte"}
    assert {name for name, _ in whose} == set(blocks) - {"events"}


def test_what_apunto_sent_wrongly_is_never_put_to_its_user():
    """Such a fault says that it is not the user's, and the developer's part stands in `detail`."""
    rows = [cells(row) for row in textos.blocks()["others"][2:]]
    of_apunto = [row for row in rows if row[4] == "Apunto"]

    assert len(of_apunto) >= 5
    assert [row for row in of_apunto if "escribe a soporte" not in row[3]] == []
