"""One invoice's timeline on one page, for a person who was asked "¿ya se timbró?".

What it is, what comes next and who must act stand first; what happened stands below.
"""

from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.pretty import Pretty
from rich.table import Table
from rich.text import Text

from cli import format
from models.vocabulary import OPEN, AttemptOutcome, InvoiceStatus
from stamping.timeline.entries import (
    ActionEntry,
    AttemptEntry,
    DocumentEntry,
    DoubtEntry,
    SentEvent,
    StatusEntry,
    Timeline,
)
from stamping.timeline.next_action import Actor

TIPOS = {"I": "ingreso", "E": "egreso (nota de crédito)"}
BULLET = "• "


def page(timeline: Timeline) -> RenderableType:
    """Return the whole page."""
    parts: list[RenderableType] = [_title(timeline), Padding(_facts(timeline), (1, 0, 0, 0))]
    parts.append(Padding(_next(timeline), (1, 0, 0, 0)))
    if timeline.errors:
        parts += _section("What is wrong", _errors(timeline.errors))
    if timeline.differences:
        parts += _section("What differs from what was sent", _differences(timeline.differences))
    if timeline.warnings:
        parts += _section("Warnings", _errors(timeline.warnings))
    parts += _section("What happened (UTC)", _timeline(timeline))
    if timeline.doubts:
        parts += _section("Doubts", *(_doubt(each, timeline.as_of) for each in timeline.doubts))
    if timeline.documents:
        parts += _section("Documents", *(_document(each) for each in timeline.documents))
    if timeline.events:
        parts += _section("What Apunto was sent", _events(timeline.events, timeline.as_of))
    return Group(*parts)


def samples_of(answers: list[dict[str, Any]], now: datetime) -> list[RenderableType]:
    """Return what answers to an account looked like that were not understood: their shape, and nobody's data."""
    parts: list[RenderableType] = []
    for each in answers:
        http = each["http_status"]
        head = f"{each['call']} was not understood {format.ago(each['at'], now)} (HTTP {http}):"
        parts += [Text(head, "bold"), Padding(Pretty(each["sample"], max_depth=8), (0, 0, 0, 2))]
    return parts


def _section(name: str, *bodies: RenderableType) -> list[RenderableType]:
    return [
        Padding(Text(name, style="bold"), (1, 0, 0, 0)),
        *(Padding(body, (0, 0, 0, 2)) for body in bodies),
    ]


def _title(timeline: Timeline) -> RenderableType:
    grid = Table.grid(expand=True)
    grid.add_column()
    grid.add_column(justify="right")
    name = Text.assemble(
        (format.plain(timeline.external_id), "bold"), " of ", (format.plain(timeline.account), "bold")
    )
    shown = timeline.status.upper() + (f" ({timeline.reason})" if timeline.reason else "")
    grid.add_row(name, format.coloured(timeline.status, shown=shown))
    return grid


def _grid(label: int = 10) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", min_width=label, no_wrap=True)
    grid.add_column()
    return grid


def _facts(timeline: Timeline) -> RenderableType:
    now = timeline.as_of
    grid = _grid()
    tipo = TIPOS.get(timeline.tipo_de_comprobante or "", timeline.tipo_de_comprobante or "unreadable")
    receptor = " ".join(filter(None, (timeline.receptor_rfc, timeline.receptor_nombre)))
    what = ", ".join(filter(None, (tipo, format.money(timeline.total, timeline.moneda))))
    grid.add_row("invoice", Text(format.plain(f"{what}, to {receptor}" if receptor else what)))
    asked = f"{format.at(timeline.created_at)} ({format.ago(timeline.created_at, now)})"
    trace = f", trace {format.plain(timeline.trace_id)}" if timeline.trace_id else ", without a trace id"
    grid.add_row("asked", Text(asked + trace))
    if timeline.fecha is not None:
        grid.add_row("fecha", _fecha(timeline))
        if (deadline := _deadline(timeline)) is not None:
            grid.add_row("", deadline)
    if timeline.record_id is not None:
        grid.add_row("saved", Text(f"at ContaDigital under Id {timeline.record_id}"))
    if timeline.uuid is not None:
        folio = " ".join(filter(None, (timeline.serie, timeline.folio)))
        grid.add_row("stamped", Text(f"{timeline.uuid}{', folio ' + folio if folio else ''}"))
    if timeline.fecha_timbrado is not None:
        grid.add_row("", Text(f"FechaTimbrado {timeline.fecha_timbrado:%Y-%m-%dT%H:%M:%S} (Zona Centro)"))
    if timeline.motivo is not None:
        instead = f", substituted by {timeline.uuid_sustitucion}" if timeline.uuid_sustitucion else ""
        when = f", cancelled {format.at(timeline.cancelled_at)}" if timeline.cancelled_at else ""
        grid.add_row("cancel", Text(f"motivo {format.plain(timeline.motivo)}{instead}{when}"))
    grid.add_row("id", Text(f"{timeline.id}, version {timeline.version}"))
    return grid


def _fecha(timeline: Timeline) -> Text:
    place = f" at {format.plain(timeline.lugar_expedicion)}" if timeline.lugar_expedicion else ""
    return Text(f"{timeline.fecha:%Y-%m-%d %H:%M:%S}{place}")


def _deadline(timeline: Timeline) -> Text | None:
    """Return what is left of the SAT's 72 hours, while that matters."""
    if timeline.expires_at is None or InvoiceStatus(timeline.status) not in OPEN:
        return None
    left = timeline.expires_at - timeline.as_of
    hurry = "bold red" if left < timedelta(hours=6) else "yellow" if left < timedelta(hours=24) else ""
    shown = f"{format.span(left)} left" if left > timedelta(0) else f"over for {format.span(left)}"
    return Text.assemble("the SAT's 72 hours: ", (shown, hurry), f", until {format.at(timeline.expires_at)}")


def _next(timeline: Timeline) -> RenderableType:
    grid = _grid()
    step = timeline.next
    if step.at is None:
        when = ""
    elif step.at > timeline.as_of:
        when = f"{format.ago(step.at, timeline.as_of)} ({format.at(step.at)}): "
    else:
        when = f"due since {format.at(step.at)} ({format.ago(step.at, timeline.as_of)}): "
    grid.add_row("next", Text(format.plain(f"{when}{step.what}")))
    act = timeline.act
    who = {Actor.NOBODY: "nobody", Actor.USER: "THE USER", Actor.OPERATOR: "AN OPERATOR"}[act.who]
    style = "green" if act.who is Actor.NOBODY else "bold red"
    grid.add_row("must act", Text.assemble((who, style), format.plain(f": {act.why}") if act.why else ""))
    if not timeline.errors:  # else each stands with its fix below
        for fix in act.fixes:
            grid.add_row("", _bulleted(fix))
    for command in act.commands:
        grid.add_row("", Text(f"$ {command}", style="bold"))
    return grid


def _bulleted(text: str) -> RenderableType:
    grid = Table.grid()
    grid.add_column(width=len(BULLET), no_wrap=True)
    grid.add_column()
    grid.add_row(BULLET, Text(format.plain(text)))
    return grid


def _errors(errors: tuple[Mapping[str, Any], ...]) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(justify="right", style="dim", no_wrap=True)
    grid.add_column()
    for number, error in enumerate(errors, 1):
        where = format.plain(error.get("field") or "la factura")
        head = Text.assemble((where, "bold red"), f"  {format.plain(error.get('code', ''))}")
        source = error.get("source")
        if source and source != "timbrado":
            head.append(f", reported by {'the SAT' if source == 'sat' else 'ContaDigital'}", style="dim")
        grid.add_row(str(number), head)
        grid.add_row("", Text(format.plain(error.get("message", ""))))
        if error.get("fix"):
            grid.add_row("", Text.assemble(("→ ", "green"), format.plain(error["fix"])))
    return grid


# --- what happened ---------------------------------------------------------------------------------------------------


def _differences(differences: tuple[Mapping[str, Any], ...]) -> RenderableType:
    grid = _grid(5)
    for each in differences:
        text = each.get("message") or f"sent {each.get('sent')}, the CFDI says {each.get('received')}"
        grid.add_row(
            format.plain(each.get("severity") or ""), Text(format.plain(f"{each.get('field') or ''}: {text}"))
        )
    return grid


def _timeline(timeline: Timeline) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True, justify="right")
    grid.add_column(ratio=1)
    day: date | None = None
    for when, what in _in_order(timeline):
        if when.date() != day:
            day = when.date()
            grid.add_row(Text(f"{day}", style="dim"), "", "", "", "")
        if isinstance(what, StatusEntry):
            grid.add_row(format.clock(when), _status(what), "", "", Text(_change_detail(what, timeline)))
        elif isinstance(what, ActionEntry):
            detail = f"by {what.actor}" + (f": {what.reason}" if what.reason else "")
            grid.add_row(
                format.clock(when), Text(what.action, style="bold"), "", "", Text(format.plain(detail))
            )
        else:
            grid.add_row(format.clock(when), *_attempt(what))
    return grid


def _in_order(timeline: Timeline) -> Iterator[tuple[datetime, StatusEntry | AttemptEntry | ActionEntry]]:
    """Return what happened in order; what caused a change before the change, where both have one time."""
    found: list[tuple[datetime, int, StatusEntry | AttemptEntry | ActionEntry]] = [
        (each.at, 1, each) for each in timeline.changes
    ]
    found += [(each.started_at, 0, each) for each in timeline.attempts]
    found += [(each.at, 0, each) for each in timeline.actions]
    for when, _, what in sorted(found, key=lambda each: each[:2]):
        yield when, what


def _status(change: StatusEntry) -> Text:
    return format.coloured(change.target)


def _change_detail(change: StatusEntry, timeline: Timeline) -> str:
    parts = []
    if change.corrected:
        parts.append("other content came in")
    if change.reason:
        parts.append(change.reason)
    if change.target == InvoiceStatus.STAMPING:
        worker = next(
            (each.worker for each in timeline.attempts if each.claim == change.claim), timeline.claimed_by
        )
        parts.append(f"claim {change.claim}{f' by {format.plain(worker)}' if worker else ''}")
    if change.uuid and change.target == InvoiceStatus.STAMPED and change.source != InvoiceStatus.CANCELLING:
        parts.append(change.uuid)
    if change.source == InvoiceStatus.CANCELLING and change.target == InvoiceStatus.STAMPED:
        parts.append("not cancelled")
    return ", ".join(parts)


def _attempt(tried: AttemptEntry) -> tuple[RenderableType, RenderableType, RenderableType, RenderableType]:
    name = Text(f"  {tried.number} {tried.call.replace('_', ' ')}")
    if tried.outcome is None:
        return name, Text("no answer yet", style="bold yellow"), "", _detail(tried)
    return (
        name,
        format.coloured(tried.outcome),
        format.milliseconds(tried.latency_ms),
        _detail(tried),
    )


def _detail(tried: AttemptEntry) -> Text:
    parts = []
    if tried.http_status is not None:
        parts.append(f"HTTP {tried.http_status}")
    if tried.codigo is not None:
        parts.append(f"Codigo {tried.codigo}")
    if tried.detail:
        parts.append(format.plain(tried.detail))
    elif tried.outcome == AttemptOutcome.NO:
        parts.append("no UUID")
    return Text(", ".join(parts))


def _doubt(doubt: DoubtEntry, now: datetime) -> RenderableType:
    lost = f"the answer to the {doubt.lost} was lost" if doubt.lost else "an answer was lost"
    lookups = format.count(doubt.lookups, "look-up")
    lasted = format.span(doubt.lasted(now))
    end = (
        f"ended {doubt.ended.replace('_', ' ')} after {lookups} in {lasted}"
        if doubt.ended
        else f"not ended: {lookups} in {lasted}"
    )
    return Text(f"{format.at(doubt.since)}: {lost}; {end}")


# --- what is stored and sent ------------------------------------------------------------------------------------------


def _document(document: DocumentEntry) -> RenderableType:
    grid = _grid(5)
    head = Text.assemble((document.kind, "bold"), f"  {format.size(document.size)}, ")
    head.append(f"stored {format.at(document.stored_at)}")
    if document.passed is not None and document.asked is not None:
        head.append(f", {document.passed} of {document.asked} checks passed")
    if document.condition in {"missing", "changed", "unreadable"}:
        head.append(f", {document.condition} in the store", style="bold red")
    if document.quarantined_reason is not None:
        head.append("  QUARANTINED", style="bold red")
    parts: list[RenderableType] = [head]
    if document.quarantined_reason is not None:
        grid.add_row("why", Text(format.plain(document.quarantined_reason)))
    grid.add_row("key", Text(format.plain(document.key), overflow="fold"))
    grid.add_row("sha256", Text(document.sha256, overflow="fold"))
    if document.not_asked:
        grid.add_row("not verified", Text(", ".join(document.not_asked)))
    for check in document.failed:
        shown = format.plain(check.detail or check.result.replace("_", " "))
        grid.add_row(Text("failed", style="red"), Text(f"{check.name}: {shown}"))
    return Group(*parts, Padding(grid, (0, 0, 0, 2)))


def _events(events: tuple[SentEvent, ...], now: datetime) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True, justify="right")
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(ratio=1)
    for event in events:
        grid.add_row(f"v{event.version}", format.clock(event.created_at)[:8], Text(event.type, style="bold"))
        grid.add_row("", "", Text(format.plain(event.message)))
        if not event.deliveries:
            grid.add_row("", "", Text("not sent: no channel is set", style="dim"))
        for each in event.deliveries:
            grid.add_row("", "", Text.assemble(*_delivery(each, now)))
    return grid


def _delivery(each: Any, now: datetime) -> list[Any]:
    parts: list[Any] = [f"{each.channel} ", format.coloured(each.status)]
    parts.append(f", {format.count(each.tries, 'try', 'tries')}")
    if each.last_status is not None:
        parts.append(f", HTTP {each.last_status}")
    if each.latency_ms is not None:
        parts.append(f", {format.milliseconds(each.latency_ms)}")
    if each.delivered_at is not None:
        parts.append(f", at {format.clock(each.delivered_at)[:8]}")
    if each.last_error and each.last_error != f"HTTP {each.last_status}":
        parts.append(f", {format.plain(each.last_error)}")
    if each.in_flight:
        parts.append(", under way")
    elif each.next_attempt_at is not None:
        parts.append(f", next {format.at(each.next_attempt_at)} ({format.ago(each.next_attempt_at, now)})")
    return parts
