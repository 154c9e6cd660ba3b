"""`timbrado demo`: runs the full stack on the example invoices, good and bad, and checks the result.

The invoices go by Celery as Apunto's do, a worker process stamps them over HTTP, and at the end the sandbox's own
ledger is compared with our tables.
"""

import math
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sa
import typer

from cli import format, session
from cli.console import AsJson, Problem, err, print_json, show
from cli.demo import check, screen
from cli.demo.check import Agreement
from cli.demo.examples import Example, load, of_one_run
from cli.demo.screen import summary
from cli.invoice_files import Read
from cli.progress import Ending, Followed
from cli.submit import send
from cli.up import announce, asked_to_stop, given, prepared, show_tail
from config import running
from devstack.errors import ServiceFailed
from devstack.stack import Interrupted, Stack
from models.tables import connections, invoices
from sandbox.accounts import DEMO_KEY, DEMO_NAME
from stamping.tools import Tools
from storage.keys import segment

ACCOUNT = "demo"
TIMEOUT = 60.0  # seconds for what is always there, however few the invoices
A_SECOND = 5  # invoices that even a busy machine settles in one
PDF_TIMEOUT = 15.0  # seconds for a PDF that was late
LOST_MESSAGE = timedelta(seconds=160)
"""After the lease: until a message that a dead worker had in hand is given out again (docs/decisions/0009)."""


@dataclass(frozen=True, slots=True)
class DemoResult:
    """How a demo ended."""

    sent: Sequence[Example]
    endings: Sequence[Ending]
    agreement: Agreement
    unexpected: Sequence[str]
    took: float

    @property
    def is_good(self) -> bool:
        """Whether what should stamp did, what should not did not, and table, files and ledger agree."""
        return not self.unexpected and self.agreement.holds


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running until Ctrl-C.")] = False,
    invoices: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="How many; the examples are repeated.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the summary alone.")] = False,
    examples: Annotated[
        Path, typer.Option(help="Folder with good/*.json and wrong/*.json.", show_default="examples/")
    ] = running.CHECKOUT / "examples",
    as_json: AsJson = False,
) -> None:
    """Run everything, send real invoices good and bad, show them arrive, and stop.

    Redis, PostgreSQL, sandbox, worker, beat, Flower and the HTTP API with its panel are started; nothing leaves this
    machine. Exit code 0 only if what should be stamped was, what should not was not, and table, files and the sandbox's
    ledger agree.
    """
    found = load(examples)
    if any(name.startswith("TIMBRADO_CONTADIGITAL_URL") for name in given()):
        raise Problem("the demo stamps in the sandbox alone: unset TIMBRADO_CONTADIGITAL_URL")
    progress = _ServiceLines(quiet=quiet)
    stack = Stack(running.var(), given=given(), api=True, on_line=progress)
    with asked_to_stop(stack):
        try:
            prepared(stack)
            with stack:
                with _interruptible(stack), session.tools() as tools:
                    result = _run(found, invoices, stack, tools, progress, quiet=quiet)
                    _show(result, stack, tools, keep=keep, as_json=as_json)
                if keep:
                    _announce(stack)
                    stack.wait()
        except Exception as error:
            if stack.was_interrupted:  # whatever a library made of the exception that said so
                raise typer.Exit(130) from None
            if isinstance(error, ServiceFailed):
                show_tail(error)
            raise
    if not result.is_good:
        raise typer.Exit(1)


def _run(
    examples: list[Example],
    how_many: int | None,
    stack: Stack,
    tools: Tools,
    progress: "_ServiceLines",
    *,
    quiet: bool,
) -> DemoResult:

    console = err()
    now = datetime.now(UTC)
    prefix = f"{now:%m%d-%H%M%S}-"
    sent = of_one_run(examples, account=ACCOUNT, prefix=prefix, how_many=how_many, now=now)
    _connect(tools)
    if not quiet:
        good = sum(each.should_stamp for each in sent)
        console.print(
            f"Connected. Sending {len(sent):,} invoices: {good:,} good, {len(sent) - good:,} wrong."
        )
    followed = Followed(tools.engine, [(ACCOUNT, each.invoice["external_id"]) for each in sent])
    began = time.monotonic()
    wait_until = began + TIMEOUT + len(sent) / A_SECOND

    def deadline() -> float:
        """Later where a worker died: its claims must end first, and a doubt may need its quarantine."""
        # what was given up is waited for in vain; and a library may have taken our Ctrl-C for its own failure
        stack.check()
        policy = tools.policy
        claims = policy.lease + max(policy.quarantine, LOST_MESSAGE)
        return max(wait_until, progress.last_death + claims.total_seconds() + TIMEOUT)

    send([Read(each.invoice, each.name) for each in sent])
    is_over = screen.follow(followed, deadline, prefix=prefix, quiet=quiet)
    took = time.monotonic() - began
    if not is_over:
        err().print(f"{len(sent) - followed.settled:,} have not settled in {took:.0f} s.", style="bold red")
    _wait_for_pdfs([each.invoice["external_id"] for each in sent], tools)
    endings = followed.endings
    url = str(stack.sandbox_url)
    folios, pac = check.ledger(url, _sandbox_account()), check.pac_certificates(url)
    agreement = check.compare(sent, folios, pac, ACCOUNT, tools)
    return DemoResult(sent, endings, agreement, check.unexpected(sent, endings), took)


def _connect(tools: Tools) -> None:
    """Connect the sandbox's account as Apunto does, by a message, and wait for the verdict."""
    asked_at = tools.clock.now()
    session.celery().send_task(
        "stamping.connect",
        kwargs={
            "account": ACCOUNT,
            "api_key_encrypted": tools.fernet.encrypt(DEMO_KEY.encode()).decode(),
            "rfc": "EKU9003173C9",
            "razon_social": "Escuela Kemper Urgate, S.A. de C.V.",
            "codigo_postal": "42501",
        },
        argsrepr="(hidden)",
        kwargsrepr="(hidden)",
    )
    mine = sa.select(connections.c.status, connections.c.reason, connections.c.updated_at).where(
        connections.c.account == ACCOUNT
    )
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        with tools.engine.connect() as db:
            row = db.execute(mine).one_or_none()
        if row is not None and row.updated_at >= asked_at and row.status == "active":
            return
        if row is not None and row.updated_at >= asked_at and row.status == "broken":
            raise Problem(
                f"the sandbox's account could not be connected: {row.reason} (timbrado connections)"
            )
        time.sleep(0.1)
    raise Problem(
        f"the sandbox's account was not connected in {TIMEOUT:.0f} s: `--keep`, and `timbrado doctor`"
    )


def _wait_for_pdfs(names: list[str], tools: Tools) -> None:
    """Give a PDF that was late a while to come; the stamp is safe without it."""
    late = sa.select(sa.func.count()).where(
        invoices.c.account == ACCOUNT, invoices.c.external_id.in_(names), invoices.c.pdf_due_at.is_not(None)
    )
    deadline = time.monotonic() + PDF_TIMEOUT
    while time.monotonic() < deadline:
        with tools.engine.connect() as db:
            if not db.execute(late).scalar_one():
                return
        time.sleep(0.2)


@contextmanager
def _interruptible(stack: Stack) -> Iterator[None]:
    """Have Ctrl-C and its like end our own loops, too; what runs is then stopped in order."""

    def interrupt(_number: int, _frame: Any) -> None:
        stack.interrupt()
        raise Interrupted

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _sandbox_account() -> str:

    return DEMO_NAME


def _show(result: DemoResult, stack: Stack, tools: Tools, *, keep: bool, as_json: bool) -> None:

    if as_json:
        print_json(_as_dict(result, stack, tools))
        return
    show(summary(result.sent, result.endings, result.agreement, result.unexpected, result.took), page=True)
    user = stack.flower_auth.partition(":")[0]
    write = sys.stdout.write  # addresses and paths stay in one piece, however wide the terminal
    write(f"\nXML and PDF  {format.place(_documents(tools))}\n")
    stops = "" if keep else "  (it stops now: ./dev demo --keep leaves it open)"
    write(f"Flower       {stack.flower_url}{stops}\n")
    write(f"             user {user}, password in {format.place(stack.var / 'flower.password')}\n")
    write(
        f"Panel        {stack.api_url}/  (log in with: ./dev run keys create NAME --person --role operator)\n"
    )
    sys.stdout.flush()


def _documents(tools: Tools) -> str:

    return f"{tools.store.name.removeprefix('file://')}/{segment(ACCOUNT)}/"


def _as_dict(result: DemoResult, stack: Stack, tools: Tools) -> dict[str, Any]:
    return {
        "as_expected": result.is_good,
        "sent": len(result.sent),
        "stamped": sum(each.is_stamped for each in result.endings),
        "rejected": sum(each.status == "rejected" for each in result.endings),
        "seconds": round(result.took, 2),
        "unexpected": list(result.unexpected),
        "disagreements": list(result.agreement.wrong),
        "documents": _documents(tools),
        "flower": stack.flower_url,
        "panel": stack.api_url,
        "invoices": [each.as_dict() for each in result.endings],
    }


def _announce(stack: Stack) -> None:

    announce(stack)


class _ServiceLines:
    """The lines of a demo's services: prints which are ready and which ended, and nothing else.

    Their logs are files. `last_death` is on the clock of `time.monotonic`.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self.last_death = -math.inf

    def __call__(self, service: str, line: str) -> None:
        """Take one line."""
        died = line.startswith("ended with")
        if died:
            self.last_death = time.monotonic()
        if not self._quiet and (died or line.startswith(("ready in", "still there"))):
            sys.stderr.write(f"{service:<9} {line}\n")
            if died and service.startswith("worker"):
                sys.stderr.write(
                    f"{'':<9} what it had in hand goes on when its claims end (TIMBRADO_LEASE)\n"
                )
            sys.stderr.flush()
