"""The `timbrado` command: which verbs there are, and how any of them fails.

A verb's module bears its name and is imported only when the verb is called, so that `timbrado --help` stays quick. To
add a verb write its function in a module of this package and give it a row in VERBS: that sentence is what `--help`
shows, the function's docstring what `timbrado VERB --help` does.
"""

import atexit
import gc
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import typer

from cli.console import Problem, explain
from config.version import VERSION


@dataclass(frozen=True)
class Verb:
    """A row of `timbrado --help`; `where` is `module:function` (or a Typer with verbs of its own) below cli."""

    name: str
    where: str
    help: str
    panel: str


RUN, INVOICE, CONNECT, OPERATE = "Run it", "Invoices", "Connections", "Operate"

VERBS: tuple[Verb, ...] = (
    Verb("up", "up:up", "Run everything on this machine until Ctrl-C.", RUN),
    Verb("demo", "demo:demo", "Run everything, stamp the examples, show them arrive, stop.", RUN),
    Verb("submit", "submit:submit", "Send invoices: JSON, JSON Lines, folders, or `-`.", INVOICE),
    Verb("status", "status:status", "Show the whole timeline of one invoice.", INVOICE),
    Verb("list", "list:list_invoices", "List invoices by status, account and age.", INVOICE),
    Verb("watch", "watch:watch", "Watch how many invoices are at each status, live.", INVOICE),
    Verb("retry", "retry:retry", "Try an invoice again, where that is safe.", INVOICE),
    Verb("withdraw", "retry:withdraw", "Take back an invoice that is not stamped.", INVOICE),
    Verb("cancel", "cancel:cancel", "Cancel a stamped invoice before the SAT.", INVOICE),
    Verb("replace", "replace:replace", "Replace a stamped invoice with another one.", INVOICE),
    Verb("accept", "accept:accept", "Accept a stamp that differs from what was sent.", INVOICE),
    Verb("resolve", "resolve:resolve", "Close an invoice whose outcome a person found out.", INVOICE),
    Verb("documents", "documents:documents", "Fetch and check XML and PDF, of one or of all.", INVOICE),
    Verb("schema", "schema:schema", "Print the JSON schema of an invoice.", INVOICE),
    Verb("connect", "connect:connect", "Connect an account to ContaDigital.", CONNECT),
    Verb("disconnect", "disconnect:disconnect", "Forget an account's key; hold its invoices.", CONNECT),
    Verb("validate", "validate:validate", "Validate an account's connection again.", CONNECT),
    Verb("connections", "connections:connections", "Show the state of each connection.", CONNECT),
    Verb("probe", "probe:probe", "Show what ContaDigital's answers look like; changes nothing.", CONNECT),
    Verb(
        "calibrate", "calibrate:calibrate", "Find how ContaDigital wants to be spoken to, by trying.", CONNECT
    ),
    Verb("dialect", "dialect:app", "Show or change how ContaDigital is spoken to.", CONNECT),
    Verb("hold", "hold:hold", "Stop sending for an account.", OPERATE),
    Verb("release", "hold:release", "Send again for an account that was paused.", OPERATE),
    Verb("drain", "drain:drain", "Have workers finish what they have, and take nothing new.", OPERATE),
    Verb("doctor", "doctor:doctor", "Check everything, and say how to fix it.", OPERATE),
    Verb("catalogs", "catalogs:catalogs", "Show, check and install the SAT's catalogues.", OPERATE),
    Verb("events", "events:events", "List, show and replay the events Apunto was sent.", OPERATE),
    Verb("dead-letters", "dead_letters:dead_letters", "List, show and resend unreadable messages.", OPERATE),
    Verb("audit", "audit:audit", "Compare an account with the SAT, XMLs and ContaDigital.", OPERATE),
    Verb("recover", "recover:recover", "Make work safe after the database was restored.", OPERATE),
    Verb("verify", "verify:verify", "Check that nobody tampered with the history.", OPERATE),
    Verb(
        "rotate-keys", "rotate_keys:rotate_keys", "Encrypt the stored API keys with the newest key.", OPERATE
    ),
    Verb("secrets", "secrets:secrets", "Make the secret files of docker-compose.yml.", OPERATE),
    Verb("serve", "serve:serve", "Serve the HTTP API and the panel.", RUN),
    Verb("keys", "keys:keys", "Make, list and revoke keys of the HTTP API.", OPERATE),
    Verb("migrate", "migrate:migrate", "Bring the database's tables up to date.", OPERATE),
    Verb("health", "health:health", "Exit 0 while a worker, or beat, is alive (for health checks).", OPERATE),
)


LOCAL = frozenset({"up", "demo"})
"""Verbs that need devstack and the sandbox, which production leaves out."""


def build(arguments: Sequence[str]) -> typer.Typer:
    """Make the command for these arguments: the verbs they name in full, the others as rows of the help."""
    app = typer.Typer(
        name="timbrado",
        help="Stamps Apunto's invoices (CFDI 4.0) through ContaDigital: never twice, never lost.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def options(
        debug: bool = typer.Option(False, "--debug", help="Show the traceback of an unexpected error."),
        version: bool = typer.Option(
            False, "--version", callback=_version, is_eager=True, help="Print the version and end."
        ),
    ) -> None:
        """`--debug` is taken off the arguments by `main`; it is here for the help."""

    for verb in VERBS:
        function = _load(verb.where) if verb.name in arguments else _never
        if isinstance(function, typer.Typer):
            for command in function.registered_commands:
                command.help = _sentences(command.callback)
            app.add_typer(function, name=verb.name, short_help=verb.help, rich_help_panel=verb.panel)
            continue
        described = _sentences(function) if verb.name in arguments else verb.help
        app.command(verb.name, help=described, short_help=verb.help, rich_help_panel=verb.panel)(function)
    return app


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"timbrado {VERSION}")
        raise typer.Exit


def _sentences(function: Callable[..., None] | None) -> str:
    """A docstring with one line a paragraph: the terminal's width breaks it, not ours."""
    paragraphs = (inspect.getdoc(function) or "").split("\n\n")
    return "\n\n".join(" ".join(each.split()) for each in paragraphs)


def _load(where: str) -> Callable[..., None] | typer.Typer:
    module, _, name = where.partition(":")
    try:
        found: Callable[..., None] | typer.Typer = getattr(importlib.import_module(f"cli.{module}"), name)
    except ModuleNotFoundError as missing:
        if module in LOCAL:
            raise Problem(
                f"`timbrado {module}` runs in a checkout (./dev {module}), not in the image or the wheel: "
                f"{missing.name} is not installed"
            ) from missing
        raise
    return found


def _never() -> None:
    raise AssertionError("a verb that was not among the arguments")


def main() -> None:
    """Run the command; every failure that is not a bug is one line on standard error, and exit code 1.

    A shell that completes a command line passes its words in the environment.
    """
    # what is imported stays: looking through it again and again took a sixth of the start, and half a second at the end
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
    arguments = [word for word in sys.argv[1:] if word != "--debug"]
    is_debugged = len(arguments) < len(sys.argv) - 1
    if any(verb.name in arguments for verb in VERBS):  # the help loads nothing heavy
        # standard output is the command's answer alone, which programs read
        logs = importlib.import_module("config.logging")
        logs.configure(format="console", level="INFO" if is_debugged else "WARNING")
    typed = [
        word for name in ("COMP_WORDS", "_TYPER_COMPLETE_ARGS") for word in os.environ.get(name, "").split()
    ]
    if is_debugged:
        build(arguments)(arguments, prog_name="timbrado")
        return
    try:
        build([*arguments, *typed])(arguments, prog_name="timbrado")
    except Exception as error:  # noqa: BLE001 (the outermost place: whatever rose so far is reported here)
        sys.exit(explain(error))
