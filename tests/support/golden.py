"""Expected files under tests/data: compared with what the code makes now, or rewritten from it.

UPDATE_GOLDEN=1 (what `./dev golden` sets) rewrites them; read the diff before it is committed.
"""

import os
from pathlib import Path

DATA = Path(__file__).parents[1] / "data"


def assert_golden(name: str, text: str) -> None:
    """Hold a text against tests/data/NAME."""
    path = DATA / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"tests/data/{name} is not there: ./dev golden writes it"
    assert text == path.read_text(encoding="utf-8"), (
        f"tests/data/{name} differs: ./dev golden, and read the diff"
    )
