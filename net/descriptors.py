"""File descriptors: whether this process has any left. Where it has none, nothing that fails is another's fault."""

import errno
import os
import resource

import structlog

log = structlog.get_logger(__name__)

NONE_LEFT = frozenset({errno.EMFILE, errno.ENFILE})
WORDS = "this process has no file descriptors left (ulimit -n)"


def fault_of(error: BaseException | None) -> str | None:
    """Say that this process has no descriptors left, where that is what an error came of."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in NONE_LEFT:
            return WORDS
        error = error.__cause__ or error.__context__
    return None


def fault() -> str | None:
    """Say that this process has no descriptors left, where it can't open one now.

    A library may hide why it failed: a name that can't be resolved says nothing of the socket that was missing.
    """
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return fault_of(error)
    return None


def allow(least: int) -> None:
    """Let this process open so many, as far as the system allows it; says so where that is fewer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < least:
        soft = least if hard == resource.RLIM_INFINITY else min(least, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft < least:
        log.warning("few_descriptors", may=soft, wanted=least)
