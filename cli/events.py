"""`timbrado events`: the events Apunto was sent, how their delivery went, and sending them again."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.table import Table
from rich.text import Text

from cli import format, session
from cli.console import AsJson, Problem, err, out, print_json, show
from events import channels as installed
from events import outbox
from events.dispatch import enable
from events.outbox import DeliveryEntry, EventEntry
from models.vocabulary import Channel

events = typer.Typer(
    name="events",
    help="List, show and replay the events Apunto was sent.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

EventId = Annotated[str, typer.Argument(help="The event's id, which is the webhook's `webhook-id`.")]


@events.command("list")
def list_them(
    account: Annotated[str | None, typer.Option(help="Only this account's.")] = None,
    external_id: Annotated[str | None, typer.Option(help="Only this invoice's.")] = None,
    type_: Annotated[str | None, typer.Option("--type", help="Only these: invoice.stamped ...")] = None,
    status: Annotated[
        str | None, typer.Option(help="Only with a delivery that is pending, delivered, dead.")
    ] = None,
    channel: Annotated[
        str | None, typer.Option(help="Only with a delivery by webhook, or by celery.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List events, the newest first, with how each was delivered."""
    _known("--status", status, ("pending", "delivered", "dead"))
    _known("--channel", channel, ("webhook", "celery"))
    with session.tools() as tools:
        now = tools.clock.now()
        with session.snapshot(tools.engine) as db:
            found = outbox.list_events(
                db,
                account=account,
                external_id=external_id,
                type_=type_,
                status=status,
                channel=channel,
                limit=limit,
            )
    if as_json:
        print_json([_row(each) for each in found])
    elif not found:
        err().print("No such event.")
    else:
        _table(found, now)


@events.command("show")
def show_one(event_id: EventId, as_json: AsJson = False) -> None:
    """Show one event as it leaves, and every delivery of it."""
    with session.tools() as tools:
        now = tools.clock.now()
        with session.snapshot(tools.engine) as db:
            found = outbox.show(db, _id(event_id))
    if found is None:
        raise Problem(f"there is no event {event_id}")
    if as_json:
        print_json(_as_dict(found))
        return
    print_json(found.event)
    out().print(f"id {found.id}, trace {format.plain(found.trace_id or '-')}", markup=False)
    for each in found.deliveries:
        out().print(_delivery(each, now), markup=False)
    if not found.deliveries:
        out().print("It was not sent: no channel was set.")


@events.command("replay")
def replay_them(
    event_id: Annotated[str | None, typer.Argument(help="The event to send again.")] = None,
    dead: Annotated[bool, typer.Option("--dead", help="All that were given up.")] = False,
    channel: Annotated[
        str | None, typer.Option(help="Only over this channel: webhook, celery; else over all that are set.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send an event again under its old id, from the start of the schedule; or, with --dead, all that were given up.

    Harmless for a receiver that goes by `version`.
    """
    if (event_id is None) == (not dead):
        raise Problem("name one event, or give --dead for all that were given up")
    with session.tools() as tools:
        now = tools.clock.now()
        sent = 0
        with tools.engine.begin() as db:
            channels = _channels(channel, installed.current(db))
            for each in channels:
                enable(db, each, now)
            if event_id is None:
                sent = sum(outbox.replay_dead(db, each, now=now) for each in channels)
            elif outbox.replay(db, _id(event_id), channels=channels, now=now):
                sent = 1
            else:
                raise Problem(f"there is no event {event_id}")
    session.enqueue("stamping.deliver_events")
    if as_json:
        print_json({"replayed": sent, "channels": channels})
    else:
        out().print(f"{sent:,} to be sent again over {', '.join(channels)}.")


def _channels(named: str | None, there: Sequence[Channel]) -> list[Channel]:

    _known("--channel", named, tuple(Channel))
    if not there:
        raise Problem(
            "events leave over no channel: set TIMBRADO_WEBHOOK_URL, or TIMBRADO_EVENTS_TASK, on the workers"
        )
    if named is None:
        return list(there)
    if named not in there:
        raise Problem(f"--channel {named} is not set; there is {', '.join(there)}")
    return [Channel(named)]


def _known(option: str, value: str | None, values: tuple[str, ...]) -> None:
    if value is not None and value not in values:
        raise Problem(f"{option} {value}: there is {', '.join(values)}")


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Problem(f"{text} is no event's id: `timbrado events list` shows them") from None


def _row(each: EventEntry) -> dict[str, Any]:
    """Return an event without one invoice's data: `show` has that."""
    event = _as_dict(each)
    data = event.pop("event")["data"]
    names = ("account", "external_id", "version", "status", "message")
    return {
        **event,
        "type": each.type,
        "created_at": each.created_at,
        **{name: data.get(name) for name in names},
    }


def _as_dict(each: EventEntry) -> dict[str, Any]:

    return {
        "id": each.id,
        "trace_id": each.trace_id,
        "event": dict(each.event),
        "deliveries": [asdict(delivery) for delivery in each.deliveries],
    }


def _table(found: list[EventEntry], now: datetime) -> None:

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column()
    for each in found:
        subject = format.plain(f"{each.account} {each.external_id or ''}")
        ways = Text("; ").join(_short(delivery) for delivery in each.deliveries)
        grid.add_row(
            format.ago(each.created_at, now, brief=True),
            Text.assemble(
                (each.type, "bold"),
                f" v{each.version} of {subject}: ",
                ways if each.deliveries else ("no channel", "dim"),
                (f"\n{each.id}", "dim"),
            ),
        )
    show(grid)


def _short(each: DeliveryEntry) -> Any:

    text = Text.assemble(f"{each.channel} ", format.coloured(each.status))
    if each.status != "delivered":
        text.append(f" after {format.count(each.tries, 'try', 'tries')}")
    return text


def _delivery(each: DeliveryEntry, now: datetime) -> str:

    parts = [f"{each.channel}: {each.status}", format.count(each.tries, "try", "tries")]
    if each.last_status is not None:
        parts.append(f"HTTP {each.last_status}")
    if each.latency_ms is not None:
        parts.append(format.milliseconds(each.latency_ms))
    if each.last_error:
        parts.append(format.plain(each.last_error))
    if each.delivered_at is not None:
        parts.append(f"at {format.at(each.delivered_at)}")
    if each.next_attempt_at is not None:
        parts.append(f"next {format.ago(each.next_attempt_at, now)}")
    return ", ".join(parts)
