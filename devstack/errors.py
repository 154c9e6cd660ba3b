"""What keeps the stack from starting or going on: one line each, as `up` prints them.

LocalError
├── NoPrograms     no Redis or PostgreSQL for this platform: install them, or set the address of one
├── CannotStart    something here stands in the way (a port, the disk, your user): its line says what to fix
└── ServiceFailed  a service ended or never answered; `tail` holds its last lines
"""

from config.problem import Problem


class LocalError(Problem):
    """The stack cannot go on; the text is one line."""


class NoPrograms(LocalError):
    """No program to start was found."""


class CannotStart(LocalError):
    """Something on this machine stands in the way."""


class ServiceFailed(LocalError):
    """A service ended when it should not, or did not answer in time."""

    def __init__(self, service: str, what: str, tail: list[str]) -> None:
        self.service = service
        self.tail = tail
        super().__init__(f"{service} {what}{_known_cause(tail)}")
        if tail:  # shown with a traceback, and by pytest; the one line stays one line
            self.add_note("\n".join(["its last lines:", *tail]))


def _known_cause(tail: list[str]) -> str:
    """The line of a log that says it all, where one does."""
    for line in reversed(tail):
        for sign in (
            "No space left on device",
            "Address already in use",
            "Too many open files",
            "out of memory",
        ):
            if sign.lower() in line.lower():
                return f": {sign}"
        if line.startswith("timbrado: "):  # a setting that is wrong or missing
            return f": {line.removeprefix('timbrado: ')}"
    return ""
