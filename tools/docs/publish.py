"""Writes what pages have from the code: `./dev publish`.

Of most pages only what is between `<!-- made: NAME -->` and `<!-- end: NAME -->` is made; the sentences around it are
edited in the page. The pages and the schema of `law.py` are made whole. `tests/unit/test_docs_generated.py` and
`test_rules_published.py` compare the files with what would be made now.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tools.docs import dialects, errors, law, settings, states, textos

HERE = Path(__file__).resolve().parents[2] / "docs"

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
    for path, text in law.pages().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
