"""Prints tables and pages where somebody reads them: on a terminal as wide as it is, in a file without padding."""

import io
from typing import TYPE_CHECKING

from cli.console import out

if TYPE_CHECKING:
    from rich.console import RenderableType

PAGE = (
    100  # columns of a page where there is no terminal to ask, so that what is set to the right can be read
)


def show(*parts: "RenderableType", page: bool = False) -> None:
    """Print on standard output; a `page` is never wider than it reads well."""
    from rich.console import Console

    target = out()
    if target.is_terminal:
        width = min(target.width, PAGE + 20) if page else target.width
        for part in parts:
            target.print(part, width=width)
        return
    width = PAGE if page else target.width
    text = Console(file=io.StringIO(), width=width, no_color=True, color_system=None, highlight=False)
    for part in parts:
        text.print(part)
    lines = text.file.getvalue().splitlines()  # type: ignore[attr-defined]  # it is the StringIO above
    target.file.write("".join(f"{line.rstrip()}\n" for line in lines))
    target.file.flush()
