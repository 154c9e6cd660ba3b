"""Flower opens to this machine, or behind a password, or not at all.

Flower's own default is to listen on every address, to anybody, with a button that stops workers. `celery -A worker
flower` stays the command; this hook runs when Flower has read its options and before it listens, and needs no second
way to start it.
"""

from typing import Any

import click

from config.settings import Settings, load
from net.addresses import is_loopback
from worker.redaction import redact_flower


class OpenFlower(SystemExit):
    """Flower would be open to others; its text is one line that says what to set."""


def before_it_listens(**_: object) -> None:
    """For Celery's `import_modules` signal, which Flower sends once its options are read."""
    context = click.get_current_context(silent=True)
    if context is not None and context.info_name == "flower":
        from tornado.options import options  # noqa: PLC0415  # only where Flower runs

        secure(options, load())
        redact_flower()


def secure(options: Any, settings: Settings) -> None:
    """Give Flower the password of our settings where it was given none, and loopback where there is none at all.

    Raises OpenFlower when it is to listen to others without one.
    """
    if not options.basic_auth and settings.flower_basic_auth is not None:
        options.basic_auth = settings.flower_basic_auth.get_secret_value().split(",")
    if options.basic_auth or options.auth or options.unix_socket:
        return
    if not options.address:
        options.address = "127.0.0.1"
    if not is_loopback(options.address or ""):
        raise OpenFlower(
            f"timbrado: Flower must not listen on {options.address} without a password: "
            "set TIMBRADO_FLOWER_BASIC_AUTH=user:password"
        )
