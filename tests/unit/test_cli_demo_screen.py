"""The live table of a demo, on terminals narrow and wide."""

from collections import Counter
from types import SimpleNamespace

import pytest
from rich.console import Console

from cli.demo.screen import screen
from cli.progress import Ending

UUID = "B834A754-B93F-4447-9732-95DD6D2BE958"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_row_shows_status_name_and_uuid_however_narrow_the_terminal(width):
    """The names give way: a status that is squeezed out, or half a UUID, tells nothing."""
    endings = [
        Ending("demo", "1123-07-flete-maniobras-y-almacenaje", "stamped", uuid=UUID, serie="A", folio="1045"),
        Ending("demo", "1123-08-largo", "rejected", errors=({"message": "El nombre " + "es largo " * 30},)),
    ]
    followed = SimpleNamespace(endings=endings, settled=2, counts=lambda: Counter(stamped=1, rejected=1))
    console = Console(width=width, record=True, force_terminal=False)
    console.print(screen(followed, endings, 1.0, "1123-", width))
    *_, stamped, rejected = console.export_text().splitlines()

    assert stamped.startswith("stamped    07-flet")
    assert UUID in stamped or width < 80
    assert rejected.startswith("rejected   08-lar")
    assert max(len(stamped), len(rejected)) <= width
