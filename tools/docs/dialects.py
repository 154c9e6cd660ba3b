"""Makes the table of `docs/dialect.md` from `contadigital/dialect.py`."""

from contadigital.dialect import ASPECTS, Aspect
from tools.docs.source import table


def blocks() -> dict[str, list[str]]:
    """Return the parts of the page that are made."""
    heads = "Name | What it decides | Choices, the default first | Mark | On the wire"
    return {"aspects": table(heads, map(_row, ASPECTS))}


def _row(aspect: Aspect) -> str:
    choices = [
        f"`{choice}`" + (f" ({meaning})" if meaning else "") for choice, meaning in aspect.choices.items()
    ]
    if aspect.is_open:
        choices.append("or any other text")
    cells = (f"`{aspect.name}`", aspect.meaning, "<br>".join(choices), aspect.mark, f"`{aspect.fields}`")
    return f"| {' | '.join(cells)} |"
