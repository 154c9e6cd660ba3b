"""What Apunto sends is shown to nobody: not by Celery's events, not by the words of an exception, not by a log."""

import io
import json
import logging
from types import SimpleNamespace
from typing import Any

import flower.events
import psycopg
import pytest
import sqlalchemy as sa
import structlog
from celery import Celery
from celery.concurrency.base import BasePool
from celery.exceptions import Ignore, Reject, Retry
from celery.worker.request import Request
from kombu import Message

from config.logging import configure
from config.tracebacks import headline, without_data
from worker.consumer import origin_of, text_of
from worker.redaction import (
    HIDDEN,
    INTAKE,
    RedactingEvents,
    RedactingReceiver,
    RedactingRequest,
    RedactingTask,
    TaskBug,
    redact_flower,
    redacted,
)

SECRET = "CANARIO TRANSPORTES"
ID = "0197a1c2-7d10-7c5e-8a44-0d5b6f3c2a10"


# --- events ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*sorted(INTAKE), "apunto.anything", "stamping_of_somebody.else", None])
@pytest.mark.parametrize("type_", ["task-sent", "task-received", "task-anything"])
def test_arguments_of_others_and_of_the_intake_never_come_through(type_: str, name: str | None) -> None:
    """Whoever sent them, whatever the event: also one without a name."""
    event = {"uuid": "1", "name": name, "args": f"({SECRET!r},)", "kwargs": f"{{'invoice': {SECRET!r}}}"}

    shown = redacted(type_, event)

    assert (shown["args"], shown["kwargs"]) == (HIDDEN, HIDDEN)
    assert SECRET not in str(shown)


def test_our_own_tasks_carry_ids_and_stay_readable() -> None:
    """Arguments that are an invoice's id are shown as they are."""
    for args in ("()", "[]", f"('{ID}',)", f"['{ID}']"):
        shown = redacted("task-received", {"name": "stamping.stamp_invoice", "args": args, "kwargs": "{}"})

        assert (shown["args"], shown["kwargs"]) == (args, "{}")


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (f"('{ID}', 1)", "{}"),
        (f"('{ID}',)", "{'x': 1}"),
        (f"('{SECRET}',)", "{}"),
        (f"'{ID}'", "{}"),
        (7, None),
    ],
)
def test_a_name_of_ours_over_other_arguments_hides_them(args: Any, kwargs: Any) -> None:
    """A sender may give his message any name to be shown by."""
    shown = redacted("task-sent", {"name": "stamping.sweep", "args": args, "kwargs": kwargs})

    assert (shown["args"], shown["kwargs"]) == (HIDDEN, HIDDEN)


@pytest.mark.parametrize(
    ("exception", "left"),
    [
        (f"KeyError({SECRET!r})", "KeyError"),
        (f"DataError('(psycopg.DataError) {SECRET}')", "DataError"),
        (SECRET, SECRET[:100]),
        ("TaskBug('KeyError at stamping/intake/submit.py:65 < tasks/intake.py:22')",) * 2,
        (f"TaskBug('KeyError at {SECRET}')", "TaskBug"),
        ("TaskBug('x at y') " + SECRET, "TaskBug"),
    ],
)
def test_an_exception_is_its_class_unless_it_is_our_own_word_for_it(exception: str, left: str) -> None:
    """Celery sends `Class(text)`; whoever writes no parenthesis writes no exception."""
    event = {
        "uuid": "1",
        "exception": exception,
        "traceback": f"ValueError: {SECRET}",
        "result": repr(SECRET),
    }

    shown = redacted("task-failed", event)

    assert shown["exception"] == left
    assert (shown["traceback"], shown["result"]) == (HIDDEN, HIDDEN)


def test_events_of_workers_are_left_alone() -> None:
    """Only a task's event is redacted."""
    event = {"hostname": "w1", "args": "not a task's"}

    assert redacted("worker-heartbeat", dict(event)) == event


def test_the_app_and_flower_listen_with_the_redacting_receiver() -> None:
    """Flower names Celery's own receiver; the hook puts ours in its place."""
    before = flower.events.EventReceiver
    try:
        redact_flower()
        assert flower.events.EventReceiver is RedactingReceiver
    finally:
        flower.events.EventReceiver = before
    app = Celery("x", broker="memory://", events=RedactingEvents, set_as_current=False)
    assert issubclass(app.events.Receiver, RedactingReceiver)


def test_the_receiver_passes_on_what_is_redacted() -> None:
    """Flower's handlers never see the arguments."""
    seen: list[dict[str, Any]] = []
    app = Celery("x", broker="memory://", set_as_current=False)
    with app.connection_for_read() as connection:
        receiver = RedactingReceiver(connection, handlers={"*": seen.append}, app=app)
        receiver.process("task-sent", {"type": "task-sent", "name": "stamping.connect", "kwargs": SECRET})

    assert seen == [{"type": "task-sent", "name": "stamping.connect", "kwargs": HIDDEN}]


# --- requests --------------------------------------------------------------------------------------------------------


def a_request(cls: type[Request], name: str, body: Any = None, **headers: Any) -> Request:
    """What a worker makes of a message; its sender wrote real representations of the arguments."""
    app = Celery("x", broker="memory://", set_as_current=False)
    shown = {"id": "1", "task": name, "argsrepr": repr((SECRET,)), "kwargsrepr": repr({"invoice": SECRET})}
    message = Message(
        body=json.dumps(body or [[SECRET], {"invoice": SECRET}, {}]),
        headers=shown | headers,
        content_type="application/json",
        content_encoding="utf-8",
        accept={"application/json"},
        delivery_info={},
        properties={},
    )
    return cls(message, app=app, task=SimpleNamespace(ignore_result=True))


@pytest.mark.parametrize("name", sorted(INTAKE))
@pytest.mark.parametrize("headers", [{}, {"shadow": "stamping.stamp_invoice"}, {"shadow": SECRET}])
def test_a_request_of_the_intake_shows_its_arguments_to_nobody(name: str, headers: dict[str, Any]) -> None:
    """Not in events, not in `inspect active` (safe or not), not in print; a `shadow` changes nothing."""
    request = a_request(RedactingRequest, name, **headers)

    shown = [
        request.argsrepr,
        request.kwargsrepr,
        request.info(),
        request.info(safe=True),
        request.name,
        repr(request),
    ]

    assert SECRET not in str(shown)
    assert request.name == name
    assert [request.request_dict[each] for each in ("argsrepr", "kwargsrepr")] == [HIDDEN, HIDDEN]


def test_without_it_they_would_show() -> None:
    """Celery's own request does: that is what is closed."""
    request = a_request(Request, "stamping.submit_invoice")

    assert SECRET in str([request.kwargsrepr, request.info()])


def test_a_request_of_our_own_stays_readable() -> None:
    """`inspect` shows the id of the invoice that is worked on."""
    request = a_request(
        RedactingRequest, "stamping.stamp_invoice", body=[[ID], {}, {}], argsrepr=f"('{ID}',)"
    )

    assert request.argsrepr == f"('{ID}',)"
    assert request.info(safe=True)["args"] == f"('{ID}',)"


def test_one_of_our_own_with_other_arguments_does_not() -> None:
    """Whoever sends an invoice to the wrong task."""
    request = a_request(RedactingRequest, "stamping.stamp_invoice")

    assert SECRET not in str([request.argsrepr, request.kwargsrepr, request.info()])


# --- tasks -----------------------------------------------------------------------------------------------------------


def a_task(body: Any) -> Any:
    app = Celery("x", broker="memory://", task_cls=RedactingTask, set_as_current=False)
    return app.task(name="stamping.any", shared=False)(body)


def raising(error: BaseException) -> Any:
    def body(**_: Any) -> None:
        raise error

    return body


def greet(*, invoice: str) -> str:
    return f"<{invoice}>"


@pytest.mark.parametrize(
    "error",
    [
        KeyError(SECRET),
        ValueError(f"bad {SECRET}"),
        sa.exc.DataError(SECRET, {"x": SECRET}, Exception(SECRET)),
    ],
)
def test_what_a_task_raises_names_an_error_and_no_value(error: Exception) -> None:
    """Celery writes it into events and logs; the place in the code is what a person needs."""
    with pytest.raises(TaskBug) as caught:
        a_task(raising(error))()

    assert str(caught.value).startswith(f"{type(error).__name__} at tests/unit/test_privacy.py:")
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__


def test_arguments_that_do_not_fit_are_not_repeated() -> None:
    """A keyword that a foreign client invented is data too."""
    with pytest.raises(TaskBug) as caught:
        a_task(greet)(**{SECRET: 1})

    assert str(caught.value) == "TypeError at an unknown place"


@pytest.mark.parametrize("raised", [Ignore(), Reject("later", requeue=True), Retry("later")])
def test_what_a_task_says_to_celery_passes_as_it_is(raised: Exception) -> None:
    """Ignore, Reject and Retry keep their class."""
    with pytest.raises(type(raised)):
        a_task(raising(raised))()


def test_a_task_that_works_returns_what_it_returns() -> None:
    """The guard around a task changes no result."""
    assert a_task(greet)(invoice="x") == "<x>"


# --- logs ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def logged() -> Any:
    """Read what was logged, as JSON; the loggers are put back afterwards."""
    root, stream = logging.getLogger(), io.StringIO()
    before = (list(root.handlers), root.level)
    configure("json", "debug", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level = before


def deep(error: BaseException) -> None:
    """Raise it with a cause and a context that hold more."""
    try:
        raise KeyError(SECRET)
    except KeyError as cause:
        raise error from cause


@pytest.mark.parametrize("style", ["stdlib", "structlog"])
def test_a_log_says_where_and_which_and_never_what(logged: Any, style: str) -> None:
    """The whole chain of causes, each with its place, none with its words."""
    try:
        deep(ValueError(f"no such customer: {SECRET}"))
    except ValueError:
        if style == "stdlib":
            logging.getLogger("celery.app.trace").exception("bug")
        else:
            structlog.get_logger("timbrado").exception("bug")

    (line,) = logged()
    assert SECRET not in json.dumps(line, ensure_ascii=False)
    assert "ValueError" in line["exception"]
    assert "KeyError" in line["exception"]
    assert "in deep\n    raise KeyError(SECRET)" in line["exception"]


def test_what_celery_says_of_arguments_at_debug_is_not_logged(logged: Any) -> None:
    """TIMBRADO_LOG_LEVEL=debug must not print invoices."""
    pool = BasePool(limit=1)
    pool.on_apply = lambda *_, **__: None  # type: ignore[method-assign]
    pool.apply_async(print, args=(SECRET,), kwargs={"invoice": SECRET})
    logging.getLogger("celery.worker").debug("still heard")

    assert [line["message"] for line in logged()] == ["still heard"]


def refused(sqlstate: str, message: str) -> psycopg.Error:
    """What psycopg raises of a server's answer."""
    return psycopg.errors.lookup(sqlstate)(f"{message}\nDETAIL:  Failing row contains ({SECRET}).")


def test_a_database_error_says_what_is_wrong_with_the_database_and_not_which_row() -> None:
    """SQLAlchemy's text repeats statement and parameters, PostgreSQL's the row that it refused."""
    away = psycopg.OperationalError("connection failed: No such file or directory")
    wrapped = sa.exc.OperationalError(f"INSERT INTO invoices VALUES ('{SECRET}')", {"x": SECRET}, away)
    adapting = sa.exc.ProgrammingError(
        "SELECT", {"x": SECRET}, psycopg.ProgrammingError(f"cannot adapt {SECRET}")
    )

    assert (
        headline(wrapped)
        == "OperationalError: OperationalError: connection failed: No such file or directory"
    )
    assert SECRET not in headline(adapting)
    assert SECRET not in headline(
        sa.exc.IntegrityError("INSERT", {"x": SECRET}, refused("23514", "violates"))
    )


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (FileNotFoundError(2, "No such file or directory", "/srv/cfdi"), "No such file or directory"),
        (AttributeError("'NoneType' object has no attribute 'uuid'"), "no attribute 'uuid'"),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (TypeError(f"unexpected keyword argument {SECRET!r}"), "TypeError"),
        (RuntimeError(SECRET), "RuntimeError"),
        (UnicodeDecodeError("utf-8", SECRET.encode(), 0, 1, SECRET), "UnicodeDecodeError"),
    ],
)
def test_words_are_shown_where_they_are_of_this_machine(error: Exception, shown: str) -> None:
    """An operator needs "No such file"; a value he must look up in the database."""
    assert headline(error).endswith(shown) or shown in headline(error)
    assert SECRET not in without_data(error)


# --- a message that is no task ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "body", "task"),
    [
        ({"task": "stamping.submit_invoic", "id": "7"}, b'[[], {"invoice": 1}]', "stamping.submit_invoic"),
        ({"task": None}, "text", "None"),
        (None, b"\xff\xfe", ""),
        ("no dict", b"", ""),
    ],
)
def test_a_message_that_is_no_task_can_be_kept_whatever_it_is(headers: Any, body: Any, task: str) -> None:
    """Odd headers and bodies give bytes and a name that JSON can hold."""
    message = SimpleNamespace(headers=headers, body=body, delivery_info=None)

    origin = origin_of(message, headers if isinstance(headers, dict) else {})

    assert (origin.task, type(origin.body)) == (task, bytes)
    json.dumps(text_of(body))
