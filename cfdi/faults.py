"""What is wrong with an invoice: the client's own `Fault`, which the worker uses everywhere."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from timbrado_client.faults import Fault, Source, Whose, path_of

__all__ = ["NOT_A_USERS", "Fault", "Source", "Whose", "no_users", "path_of"]

NOT_A_USERS: Final[frozenset[str]] = frozenset({"apunto", "support"})
"""Whose a fault is that no user can correct; what ContaDigital says in its own words a user reads and tries."""


def no_users(errors: Sequence[Mapping[str, Any]]) -> bool:
    """Whether there are faults, and none that a user could correct."""
    return bool(errors) and {error.get("whose") for error in errors} <= NOT_A_USERS
