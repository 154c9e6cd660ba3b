"""Makes `docs/textos.md`: every sentence that a user of Apunto may read, whose the matter is, and its field's label.

Sentences with values in them come from the rules' own examples, as a user would read them.
"""

from collections.abc import Iterator
from decimal import Decimal

from timbrado_client.labels import label_of

from cfdi.document import Unreadable, read
from cfdi.faults import Fault
from cfdi.rules import RULES
from cfdi.shapes import SHAPES, Shape
from cfdi.texts import MATRIX
from cfdi.validation import validate
from contadigital.errors import RULES as REPLIES
from contadigital.pasted_key import _CAUSES as KEY_CAUSES  # the words alone are read
from contadigital.reasons import REASONS, WORDS
from contadigital.replies import WORDS_OF, whose_of_fix
from events.messages import MESSAGES
from stamping.notify import EVIDENCE
from tests.support.builders import NOW, an_invoice, changed
from tools.docs.errors import own_codes
from tools.docs.source import UNKNOWN, table

COLUMNS = "código | etiqueta | mensaje | qué hacer | de quién"
_WHOSE = {"user": "usuario", "apunto": "Apunto", "contadigital": "ContaDigital", "support": "soporte"}
_FIX = {"USD": Decimal("18.40")}
"""The published rate of the rules' examples."""


def blocks() -> dict[str, list[str]]:
    """Return the tables of the page by their names."""
    return {
        "rules": table(COLUMNS, _of_rules()),
        "shapes": table(COLUMNS, _of_shapes()),
        "sat": table(COLUMNS, _of_the_sat()),
        "others": table(COLUMNS, _of_others()),
        "replies": table("campo | mensaje | qué hacer | de quién", _of_replies()),
        "connections": table("motivo | causa | mensaje | qué hacer | de quién", _of_connections()),
        "keys": table(
            "causa | mensaje | qué hacer | de quién",
            (_row(f"`{c}`", *words, _WHOSE["user"]) for c, words in KEY_CAUSES.items()),
        ),
        "events": table("evento | caso | mensaje", _of_events()),
    }


def _of_rules() -> Iterator[str]:
    for rule in RULES:
        raw, issuer = changed(rule.fails)
        verdict = validate(raw, issuer=issuer, now=NOW, fix_rates=_FIX)
        found = verdict.warnings if rule.only_warns else verdict.faults
        mine = [fault for fault in found if fault.code == rule.code]
        yield _fault(mine[0], " (aviso)" if rule.only_warns else "")


def _of_shapes() -> Iterator[str]:
    for shape in SHAPES:
        yield _fault(_example_of(shape))


def _example_of(shape: Shape) -> Fault:
    try:
        read(_broken(shape))
    except Unreadable as error:
        return next(fault for fault in error.faults if fault.code == shape.code)
    raise AssertionError(f"the example of {shape.code} can be read")


def _broken(shape: Shape) -> object:
    [(path, value)] = shape.fails.items()
    if not path:
        return value
    raw, _ = changed({} if value is ... else {path: value}, an_invoice())
    if value is ...:
        parent, _, name = path.rpartition(".")
        del (raw[parent] if parent else raw)[name]
    return raw


def _of_the_sat() -> Iterator[str]:
    for code, words in MATRIX.items():
        yield _fault(Fault(code, words.field, words.message, words.fix, "sat", whose=words.whose))


def _of_others() -> Iterator[str]:
    known = {rule.code for rule in RULES} | {shape.code for shape in SHAPES}
    for code, ways in own_codes().items():
        if code in known:
            continue
        for way in dict.fromkeys(
            (each.field, each.message, each.fix, each.source, each.whose) for each in ways
        ):
            field, message, fix, source, whose = way
            if message == UNKNOWN and len(ways) > 1:  # the helper that builds the others
                continue
            messages = dict.fromkeys(EVIDENCE.values()) if code == "timbrado.evidencia" else (message,)
            for each in messages:
                yield _fault(Fault(code, field, each, fix, source or "timbrado", whose=whose or None))


def _of_replies() -> Iterator[str]:
    """What ContaDigital refuses in its own words, by what it is recognised as about."""
    for what, fix in WORDS_OF.values():
        yield _row("—", f"ContaDigital no aceptó {what}: …", fix, _WHOSE["contadigital"])
    for field, fix in dict.fromkeys((rule.field, rule.fix) for rule in REPLIES if rule.fix):
        of = (
            "la cancelación"
            if field in ("motivo", "uuid_sustitucion") or "cancelarla" in fix
            else "la factura"
        )
        yield _row(label_of(field) or "—", f"ContaDigital no aceptó {of}: …", fix, _WHOSE[whose_of_fix(fix)])


def _of_connections() -> Iterator[str]:
    for reason in REASONS:
        for (name, cause), words in WORDS.items():
            if name == reason:
                yield _row(f"`{reason}`", cause or "—", words.message, words.fix, _WHOSE[words.whose])


def _of_events() -> Iterator[str]:
    for (event, variant), text in MESSAGES.items():
        yield _row(f"`{event}`", variant or "—", text)


def _fault(fault: Fault, kind: str = "") -> str:
    label = fault.label or label_of(fault.field)
    return _row(f"{fault.code}{kind}", label or "—", fault.message, fault.fix, _WHOSE[fault.whose or "user"])


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
