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
from cli.up import announce, asked_to_stop, prepared, show_tail, told
from config import running
from devstack.errors import ServiceFailed
from devstack.stack import Interrupted, Stack
from models.tables import connections, invoices
from sandbox.accounts import DEMO_KEY, DEMO_NAME
from stamping.tools import Tools
from storage.keys import segment

ACCOUNT = "demo"
PATIENCE = 60.0  # seconds for what is always there, however few the invoices
A_SECOND = 5  # invoices that even a busy machine settles in one
PDF_PATIENCE = 15.0  # seconds for a PDF that was late
LOST_MESSAGE = timedelta(seconds=160)
"""After the lease: until a message that a dead worker had in hand is given out again (docs/decisions/0009)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a demo ended."""

    sent: Sequence[Example]
    endings: Sequence[Ending]
    agreement: Agreement
    surprises: Sequence[str]
    took: float

    @property
    def is_good(self) -> bool:
        """Whether what should stamp did, what should not did not, and all books agree."""
        return not self.surprises and self.agreement.holds


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

    Redis, PostgreSQL, sandbox, worker, beat and Flower are started; nothing leaves this machine. Exit code 0 only if
    what should be stamped was, what should not was not, and table, files and the sandbox's ledger agree.
    """
    found = load(examples)
    if any(name.startswith("TIMBRADO_CONTADIGITAL_URL") for name in told()):
        raise Problem("the demo stamps in the sandbox alone: unset TIMBRADO_CONTADIGITAL_URL")
    heard = _Heard(quiet=quiet)
    runtime = Stack(running.var(), given=told(), on_line=heard)
    with asked_to_stop(runtime):
        try:
            prepared(runtime)
            with runtime:
                with _interruptible(runtime), session.tools() as tools:
                    outcome = _run(found, invoices, runtime, tools, heard, quiet=quiet)
                    _show(outcome, runtime, tools, keep=keep, as_json=as_json)
                if keep:
                    _say_kept(runtime)
                    runtime.wait()
        except Exception as error:
            if runtime.was_interrupted:  # whatever a library made of the exception that said so
                raise typer.Exit(130) from None
            if isinstance(error, ServiceFailed):
                show_tail(error)
            raise
    if not outcome.is_good:
        raise typer.Exit(1)


def _run(
    examples: list[Example],
    how_many: int | None,
    runtime: Stack,
    tools: Tools,
    heard: "_Heard",
    *,
    quiet: bool,
) -> Outcome:

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
    patient_until = began + PATIENCE + len(sent) / A_SECOND

    def deadline() -> float:
        """Later where a worker died: the claims that it held must end first, and a doubt may need its quarantine."""
        runtime.check()  # what was given up is waited for in vain
        policy = tools.policy
        claims = policy.lease + max(policy.quarantine, LOST_MESSAGE)
        return max(patient_until, heard.last_death + claims.total_seconds() + PATIENCE)

    send([Read(each.invoice, each.name) for each in sent])
    is_over = screen.follow(followed, deadline, prefix=prefix, quiet=quiet)
    took = time.monotonic() - began
    if not is_over:
        err().print(f"{len(sent) - followed.settled:,} have not settled in {took:.0f} s.", style="bold red")
    _wait_for_pdfs([each.invoice["external_id"] for each in sent], tools)
    endings = followed.endings
    url = str(runtime.sandbox_url)
    folios, pac = check.ledger(url, _sandbox_account()), check.pac_certificates(url)
    agreement = check.hold_together(sent, folios, pac, ACCOUNT, tools)
    return Outcome(sent, endings, agreement, check.surprises(sent, endings), took)


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
    deadline = time.monotonic() + PATIENCE
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
        f"the sandbox's account was not connected in {PATIENCE:.0f} s: `--keep`, and `timbrado doctor`"
    )


def _wait_for_pdfs(names: list[str], tools: Tools) -> None:
    """Give a PDF that was late a while to come; the stamp is safe without it."""
    late = sa.select(sa.func.count()).where(
        invoices.c.account == ACCOUNT, invoices.c.external_id.in_(names), invoices.c.pdf_due_at.is_not(None)
    )
    deadline = time.monotonic() + PDF_PATIENCE
    while time.monotonic() < deadline:
        with tools.engine.connect() as db:
            if not db.execute(late).scalar_one():
                return
        time.sleep(0.2)


@contextmanager
def _interruptible(runtime: Stack) -> Iterator[None]:
    """Have Ctrl-C and its like end our own loops, too; what runs is then stopped in order."""

    def interrupt(_number: int, _frame: Any) -> None:
        runtime.interrupt()
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


def _show(outcome: Outcome, runtime: Stack, tools: Tools, *, keep: bool, as_json: bool) -> None:

    if as_json:
        print_json(_as_dict(outcome, runtime, tools))
        return
    show(
        summary(outcome.sent, outcome.endings, outcome.agreement, outcome.surprises, outcome.took), page=True
    )
    user = runtime.flower_auth.partition(":")[0]
    write = sys.stdout.write  # addresses and paths stay in one piece, however wide the terminal
    write(f"\nXML and PDF  {format.place(_documents(tools))}\n")
    stops = "" if keep else "  (it stops now: ./dev demo --keep leaves it open)"
    write(f"Flower       {runtime.flower_url}{stops}\n")
    write(f"             user {user}, password in {format.place(runtime.var / 'flower.password')}\n")
    sys.stdout.flush()


def _documents(tools: Tools) -> str:

    return f"{tools.store.name.removeprefix('file://')}/{segment(ACCOUNT)}/"


def _as_dict(outcome: Outcome, runtime: Stack, tools: Tools) -> dict[str, Any]:
    return {
        "as_expected": outcome.is_good,
        "sent": len(outcome.sent),
        "stamped": sum(each.is_stamped for each in outcome.endings),
        "rejected": sum(each.status == "rejected" for each in outcome.endings),
        "seconds": round(outcome.took, 2),
        "surprises": list(outcome.surprises),
        "disagreements": list(outcome.agreement.wrong),
        "documents": _documents(tools),
        "flower": runtime.flower_url,
        "invoices": [each.as_dict() for each in outcome.endings],
    }


def _say_kept(runtime: Stack) -> None:

    announce(runtime)


class _Heard:
    """What a demo makes of what its services say: it passes on who is ready and who died, and nothing else.

    Their logs are files. `last_death` is on the clock of `time.monotonic`.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self.last_death = -math.inf

    def __call__(self, service: str, line: str) -> None:
        """Hear one line."""
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
