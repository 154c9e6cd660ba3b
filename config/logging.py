"""How this process logs what it does: one line an event, as JSON or for a person, and never a secret in it.

Every logger's words become one event, and pass through redaction before they are written: Celery's and httpx's come by
the standard library's logging, our own without it. Nothing writes past redaction.
"""

import logging
import sys
import threading
from functools import cache
from types import TracebackType
from typing import Literal, TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

from config.redact import clean_named
from config.tracebacks import as_text

# What httpx and its like say at INFO repeats our own line about the same call.
_TALKATIVE = ("httpx", "httpcore", "urllib3", "asyncio", "tornado.access", "fontTools", "amqp")

# What Celery says of each task at DEBUG holds its arguments.
_SHOWS_ARGUMENTS = ("celery.pool", "celery.concurrency", "kombu")


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Take every secret out of one event, whichever of its values holds it."""
    return {
        name: value if name.startswith("_") else clean_named(name, value) for name, value in event.items()
    }


def _without_private(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Drop what Celery attaches to its records for its own formatter: arguments and results among it."""
    return {
        name: value for name, value in event.items() if name not in ("data", "args", "kwargs", "return_value")
    }


def _in_order(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """When, how bad, who and what first: a person reads these lines too."""
    first = {name: event[name] for name in ("timestamp", "level", "logger") if name in event}
    first["message"] = event.get("event", "")
    return {
        **first,
        **{name: value for name, value in event.items() if name not in first and name != "event"},
    }


def _uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """Log what a thread, or the process, ends with: one line like any other."""
    if issubclass(kind, KeyboardInterrupt):
        return
    raised = error if error is not None else kind()
    logging.getLogger("uncaught").critical("uncaught", exc_info=(kind, raised, trace))


def configure(
    format: Literal["json", "console"],
    level: str,
    *,
    stream: TextIO | None = None,
    colours: bool | None = None,
) -> None:
    """Route every logger of this process, ours and the libraries', to one line an event on `stream` (stderr).

    `format` is json or console. Calling it again replaces what was there. Under Celery connect it to the
    `setup_logging` signal, or Celery puts its own handlers in place.
    """
    out = stream if stream is not None else sys.stderr
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
    ]
    shown = out.isatty() if colours is None else colours
    last: list[structlog.typing.Processor] = [
        # the traceback is made text here, without what may be data, and redaction sees it too
        structlog.processors.ExceptionRenderer(as_text),
        redact,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if format == "json":
        last += [_in_order, structlog.processors.JSONRenderer(ensure_ascii=False)]
    else:
        last.append(structlog.dev.ConsoleRenderer(colors=shown, pad_event_to=0))
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                *shared,
                structlog.processors.StackInfoRenderer(),
                structlog.stdlib.ExtraAdder(),
                _without_private,
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _SHOWS_ARGUMENTS:
        logging.getLogger(name).setLevel(max(logging.INFO, root.level))
    logging.captureWarnings(capture=True)
    # what nobody catches would be written past all this, with its words
    sys.excepthook = _uncaught
    threading.excepthook = lambda hook: _uncaught(hook.exc_type, hook.exc_value, hook.exc_traceback)
    structlog.configure(
        processors=[*shared, *last],
        logger_factory=cache(lambda name="": _Lines(out, name)),
        wrapper_class=structlog.make_filtering_bound_logger(level.upper()),
        cache_logger_on_first_use=False,  # so that configuring again reaches loggers already made
    )


class _Lines(structlog.WriteLogger):
    """Where our own loggers write: the records, handlers and formatters of `logging` cost more than the whole line."""

    def __init__(self, out: TextIO, name: str) -> None:
        super().__init__(out)
        self.name = name
