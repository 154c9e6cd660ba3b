"""Logs: one line an event, and nothing in it that must not be read."""

import io
import json
import logging
import sys
import threading

import pytest
import structlog
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from config.logging import configure
from config.redact import _PATTERNS, clean

FERNET_KEY = Fernet.generate_key().decode()
FERNET_TOKEN = Fernet(FERNET_KEY).encrypt(b"a key").decode()


@pytest.fixture
def lines():
    """Read what was logged, as JSON; the loggers are put back afterwards."""
    root, manager = logging.getLogger(), io.StringIO()
    before = (list(root.handlers), root.level)
    hooks = sys.excepthook, threading.excepthook
    configure("json", "info", stream=manager)
    yield lambda: [json.loads(line) for line in manager.getvalue().splitlines()]
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level = before
    sys.excepthook, threading.excepthook = hooks


@pytest.mark.parametrize(
    ("secret", "text"),
    [
        ("s3cr3t-token", "Authorization: Bearer s3cr3t-token"),
        ("dXNlcjpwYXNz", "authorization: basic dXNlcjpwYXNz"),
        ("eyJhbGciOi", "got eyJhbGciOiJIUzI1NiJ9.eyJJZEVtcHJlc2EiOjF9.c2ln back"),
        pytest.param(FERNET_TOKEN, f"api_key_encrypted {FERNET_TOKEN}", id="a Fernet token"),
        pytest.param(FERNET_KEY, f"with {FERNET_KEY}, decrypts", id="a Fernet key"),
        ("MfKQ9r8G", "secret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("hush", "postgresql+psycopg://timbrado:hush@/timbrado?host=/tmp/x"),
        ("hush", "redis://:hush@redis:6379/0"),
        ("hush", "connection failed: host=/tmp user=x password=hush dbname=y"),
        ("hush", '{"ApiKey": "hush"}'),
        ("hush", "api_key='hush'"),
        ("XIA190128J61", "GET /api/clientes.json/1/XIA190128J61"),
        ("FUNK671228PH6", "el RFC FUNK671228PH6 no está"),
        ("ÑA&190128AB1", "emisor ÑA&190128AB1."),
        ("cliente@ejemplo.mx", "enviar.json/1/5/cliente@ejemplo.mx"),
    ],
)
def test_what_must_not_be_read_is_taken_out(secret, text):
    """Tokens, keys, passwords, RFCs and addresses, wherever they stand in a text."""
    assert secret not in clean(text)


@pytest.mark.parametrize(
    "text",
    [
        "6A5F0000-1111-2222-3333-ABC010203AB1",  # a UUID whose last group looks like an RFC
        "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "celery@w1 ready",
        "https://app.contadigital.mx/api/cfdi.json answered 200 in 0.3 s",
        "invoice 01970000-aaaa-7bbb-8ccc-0123456789ab stamped",
        "OP-10234-1 attempt 3",
    ],
)
def test_what_explains_is_left_alone(text):
    """Ids, hashes, URLs and numbers are not mistaken for secrets."""
    assert clean(text) == text


@given(
    st.from_regex(
        r"[a-z0-9_.-]{0,60}(whsec_[a-z0-9]{0,9})?[a-z0-9_.-]{0,60}@?[a-z0-9_.-]{0,20}", fullmatch=True
    )
)
def test_what_is_not_searched_contains_nothing_to_find(text):
    """The short way through `clean` gives what the long one gives."""
    searched = text
    for pattern, instead in _PATTERNS:
        searched = pattern.sub(instead, searched)

    assert clean(text) == searched


def test_one_event_is_one_line_whoever_says_it(lines):
    """structlog, logging and a traceback alike, as JSON."""
    structlog.get_logger("timbrado").info("attempt", invoice_id="0197", latency_ms=312)
    logging.getLogger("celery.worker").warning("lost %s", "the broker")
    try:
        raise ValueError("token=hush")
    except ValueError:
        structlog.get_logger("timbrado").exception("bug", invoice_id="0197")

    attempt, lost, bug = lines()
    assert (attempt["message"], attempt["invoice_id"], attempt["latency_ms"]) == ("attempt", "0197", 312)
    assert (lost["message"], lost["level"], lost["logger"]) == ("lost the broker", "warning", "celery.worker")
    assert "ValueError" in bug["exception"]
    assert "hush" not in bug["exception"]


def test_a_value_is_hidden_for_its_name_wherever_it_lies(lines):
    """Also in lists and dictionaries below."""
    structlog.get_logger("x").info(
        "call", api_key="k1", answer={"Token": "k2", "Id": 7}, headers=[{"Authorization": "k3"}], body=b"k4"
    )

    (line,) = lines()
    assert not {"k1", "k2", "k3", "k4"} & set(str(line).replace("'", " ").split())
    assert line["answer"]["Id"] == 7


def test_arguments_that_celery_attaches_are_not_logged(lines):
    """Nor what a task returned."""
    logging.getLogger("celery.app.trace").info(
        "Task ok", extra={"data": {"args": "('RFC',)"}, "return_value": "x"}
    )

    assert not {"data", "args", "return_value"} & set(lines()[0])


def test_debug_is_left_out_unless_asked_for(lines):
    """The level of the settings decides."""
    structlog.get_logger("x").debug("noise")

    assert lines() == []


def test_a_person_gets_plain_text_without_colours_off_a_terminal():
    """The console format, to a file, has no escape codes."""
    out, root = io.StringIO(), logging.getLogger()
    before = (list(root.handlers), root.level)
    try:
        configure("console", "info", stream=out)
        structlog.get_logger("x").info("attempt", account="acme")
    finally:
        structlog.reset_defaults()
        logging.captureWarnings(capture=False)
        root.handlers[:], root.level = before

    assert "attempt" in out.getvalue()
    assert "\x1b[" not in out.getvalue()


def test_what_nobody_catches_is_a_line_without_its_words(lines):
    """A thread's last words, and the process's, are data like any exception's."""

    def fails(name):
        raise KeyError(name)

    thread = threading.Thread(target=fails, args=["XENON INDUSTRIAL ARTICLES"])
    thread.start()
    thread.join()
    try:
        fails("XENON INDUSTRIAL ARTICLES")
    except KeyError:
        sys.excepthook(*sys.exc_info())

    reported = lines()
    assert [(line["level"], line["message"]) for line in reported] == [("critical", "uncaught")] * 2
    assert all(
        line["exception"].endswith("KeyError") and "raise KeyError(name)" in line["exception"]
        for line in reported
    )
