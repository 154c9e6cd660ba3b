"""A message that comes in while the database is away goes back into its queue.

A task that raises has its message acknowledged, and what Apunto sent would be gone. Our own messages may go that way,
since the sweep enqueues again; what comes in from outside is nowhere else yet.
"""

import functools
import inspect
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import structlog
from celery import Task
from celery.exceptions import Reject
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as NoFreeConnection

from stamping.intake import dead_letters
from tasks import context

log = structlog.get_logger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

WAIT = (2.0, 5.0)
"""Seconds between two tries of a message. A thread waits meanwhile, so a whole queue does not spin."""


def gives_back(body: Callable[P, T]) -> Callable[P, T]:
    """Have a task put its message back, after a wait, where the database could not take it in.

    Away, restarting, read-only, full, not migrated yet: all of it passes. What would fail the same way next time (data
    that fits no column, a rule of the tables) is a bug: the message becomes a dead letter, and the bug rises.
    """

    @functools.wraps(body)
    def task(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return body(*args, **kwargs)
        except (IntegrityError, DataError) as bug:
            _dead_letter(body.__name__, args, kwargs, bug)
            raise
        except (DBAPIError, NoFreeConnection) as error:
            code = sqlstate(error)
            log.warning("given_back", task=body.__name__, why=type(error).__name__, sqlstate=code)
            context.meter().given_back(code)
            context.note_refusal(code)
            time.sleep(random.uniform(*WAIT))
            raise Reject("the database is away", requeue=True) from error
        except Exception as bug:
            misfit = isinstance(bug, TypeError) and not _takes(body, args, kwargs)
            _dead_letter(body.__name__, args, kwargs, bug, is_ours=not misfit)
            raise

    return task


def _takes(body: Callable[..., object], args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a task takes such arguments; where not, its sender has to correct it, and nothing is wrong with us."""
    try:
        inspect.signature(body).bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def sqlstate(error: Exception) -> str:
    """Return PostgreSQL's code of an error (53100: its disk is full); empty where it did not answer."""
    return str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")


def _dead_letter(
    task: str, args: Sequence[Any], kwargs: Mapping[str, Any], bug: Exception, *, is_ours: bool = True
) -> None:
    """Make a dead letter of a message that met a bug of ours, or whose arguments are not the task's.

    It is acknowledged, and must not be gone.
    """
    bound = [each.name for each in args if isinstance(each, Task)]
    by_place = [each for each in args if not isinstance(each, Task)]
    task = bound[0] if bound else task
    log.error("message_dead_lettered", task=task, why=type(bug).__name__)
    whole = {"task": task, **({"args": by_place} if by_place else {}), **kwargs}
    only_invoice = set(kwargs) == {"invoice"} and not by_place
    try:
        dead_letters.store(
            kwargs["invoice"] if only_invoice else whole,
            context.tools(),
            faults=(dead_letters.OUR_BUG if is_ours else dead_letters.OTHER_ARGUMENTS,),
            reason=f"it met {type(bug).__name__}" if is_ours else "its arguments are not those of the task",
            origin=dead_letters.Origin(task=task, queue="intake"),
        )
    except Exception:  # the bug itself is what must rise
        log.exception("message_not_stored", task=task)
