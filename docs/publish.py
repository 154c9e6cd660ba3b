"""Writes the parts of pages that are made from the code: states, settings and errors.

    python -m docs.publish

The one thing a newcomer would get wrong: only what stands between `<!-- made: NAME -->` and `<!-- end: NAME -->` is
made; the sentences around it are edited in the page. `tests/unit/test_docs_generated.py` compares the pages with what
would be made now, and `./dev golden` writes them.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from docs import dialects, errors, settings, states, textos

HERE = Path(__file__).resolve().parent

PAGES: dict[str, Callable[[], dict[str, list[str]]]] = {
    "dialect.md": dialects.blocks,
    "states.md": states.blocks,
    "settings.md": settings.blocks,
    "errors.md": errors.blocks,
    "textos.md": textos.blocks,
}
_BLOCK = re.compile(r"<!-- made: (\w+) -->\n(?:.*?\n)?<!-- end: \1 -->\n?", re.DOTALL)


def made(name: str) -> str:
    """Return a page as it should be now."""
    return fill((HERE / name).read_text(encoding="utf-8"), PAGES[name]())


def fill(page: str, blocks: Mapping[str, Sequence[str]]) -> str:
    """Put the blocks into their places. Raises ValueError where a place has no block, or a block no place."""
    named = _BLOCK.findall(page)
    if sorted(named) != sorted(blocks):
        raise ValueError(f"the page has places for {sorted(named)}, made are {sorted(blocks)}")

    def put(found: re.Match[str]) -> str:
        name = found[1]
        return "\n".join([f"<!-- made: {name} -->", *blocks[name], f"<!-- end: {name} -->", ""])

    return _BLOCK.sub(put, page)


def main() -> None:
    """Write them."""
    for name in PAGES:
        (HERE / name).write_text(made(name), encoding="utf-8")


if __name__ == "__main__":
    main()
