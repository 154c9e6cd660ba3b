"""One invoice's timeline on one page, for a person who was asked "¿ya se timbró?".

What it is, what comes next and who must act stand first; what happened stands below.
"""

from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cli import format
from models.vocabulary import OPEN, AttemptOutcome, InvoiceStatus
from stamping.timeline.entries import Attempt, Document, Doubt, Move, Notice, Story
from stamping.timeline.next_action import Actor

TIPOS = {"I": "ingreso", "E": "egreso (nota de crédito)"}
BULLET = "• "


def page(story: Story) -> RenderableType:
    """Return the whole page."""
    parts: list[RenderableType] = [_title(story), Padding(_facts(story), (1, 0, 0, 0))]
    parts.append(Padding(_turn(story), (1, 0, 0, 0)))
    if story.errors:
        parts += _section("What is wrong", _errors(story.errors))
    parts += _section("What happened (UTC)", _timeline(story))
    if story.doubts:
        parts += _section("Doubts", *(_doubt(each, story.as_of) for each in story.doubts))
    if story.documents:
        parts += _section("Documents", *(_document(each) for each in story.documents))
    if story.notices:
        parts += _section("What was told", _notices(story.notices, story.as_of))
    return Group(*parts)


def _section(name: str, *bodies: RenderableType) -> list[RenderableType]:
    return [
        Padding(Text(name, style="bold"), (1, 0, 0, 0)),
        *(Padding(body, (0, 0, 0, 2)) for body in bodies),
    ]


def _title(story: Story) -> RenderableType:
    grid = Table.grid(expand=True)
    grid.add_column()
    grid.add_column(justify="right")
    name = Text.assemble(
        (format.plain(story.external_id), "bold"), " of ", (format.plain(story.account), "bold")
    )
    shown = story.status.upper() + (f" ({story.reason})" if story.reason else "")
    grid.add_row(name, format.coloured(story.status, shown=shown))
    return grid


def _grid(label: int = 10) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", min_width=label, no_wrap=True)
    grid.add_column()
    return grid


def _facts(story: Story) -> RenderableType:
    now = story.as_of
    grid = _grid()
    tipo = TIPOS.get(story.tipo_de_comprobante or "", story.tipo_de_comprobante or "unreadable")
    receptor = " ".join(filter(None, (story.receptor_rfc, story.receptor_nombre)))
    what = ", ".join(filter(None, (tipo, format.money(story.total, story.moneda))))
    grid.add_row("invoice", Text(format.plain(f"{what}, to {receptor}" if receptor else what)))
    asked = f"{format.at(story.created_at)} ({format.ago(story.created_at, now)})"
    trace = f", trace {format.plain(story.trace_id)}" if story.trace_id else ", without a trace id"
    grid.add_row("asked", Text(asked + trace))
    if story.fecha is not None:
        grid.add_row("fecha", _fecha(story))
        if (deadline := _deadline(story)) is not None:
            grid.add_row("", deadline)
    if story.record_id is not None:
        grid.add_row("saved", Text(f"at ContaDigital under Id {story.record_id}"))
    if story.uuid is not None:
        folio = " ".join(filter(None, (story.serie, story.folio)))
        grid.add_row("stamped", Text(f"{story.uuid}{', folio ' + folio if folio else ''}"))
    if story.fecha_timbrado is not None:
        grid.add_row("", Text(f"FechaTimbrado {story.fecha_timbrado:%Y-%m-%dT%H:%M:%S} (Zona Centro)"))
    if story.motivo is not None:
        instead = f", substituted by {story.uuid_sustitucion}" if story.uuid_sustitucion else ""
        when = f", cancelled {format.at(story.cancelled_at)}" if story.cancelled_at else ""
        grid.add_row("cancel", Text(f"motivo {format.plain(story.motivo)}{instead}{when}"))
    grid.add_row("id", Text(f"{story.id}, version {story.version}"))
    return grid


def _fecha(story: Story) -> Text:
    place = f" at {format.plain(story.lugar_expedicion)}" if story.lugar_expedicion else ""
    return Text(f"{story.fecha:%Y-%m-%d %H:%M:%S}{place}")


def _deadline(story: Story) -> Text | None:
    """Return what is left of the SAT's 72 hours, while that matters."""
    if story.expires_at is None or InvoiceStatus(story.status) not in OPEN:
        return None
    left = story.expires_at - story.as_of
    hurry = "bold red" if left < timedelta(hours=6) else "yellow" if left < timedelta(hours=24) else ""
    told = f"{format.span(left)} left" if left > timedelta(0) else f"over for {format.span(left)}"
    return Text.assemble("the SAT's 72 hours: ", (told, hurry), f", until {format.at(story.expires_at)}")


def _turn(story: Story) -> RenderableType:
    grid = _grid()
    step = story.next
    if step.at is None:
        when = ""
    elif step.at > story.as_of:
        when = f"{format.ago(step.at, story.as_of)} ({format.at(step.at)}): "
    else:
        when = f"due since {format.at(step.at)} ({format.ago(step.at, story.as_of)}): "
    grid.add_row("next", Text(format.plain(f"{when}{step.what}")))
    act = story.act
    who = {Actor.NOBODY: "nobody", Actor.USER: "THE USER", Actor.OPERATOR: "AN OPERATOR"}[act.who]
    style = "green" if act.who is Actor.NOBODY else "bold red"
    grid.add_row("must act", Text.assemble((who, style), format.plain(f": {act.why}") if act.why else ""))
    if not story.errors:  # else each stands with its mend below
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
            head.append(f", said by {'the SAT' if source == 'sat' else 'ContaDigital'}", style="dim")
        grid.add_row(str(number), head)
        grid.add_row("", Text(format.plain(error.get("message", ""))))
        if error.get("fix"):
            grid.add_row("", Text.assemble(("→ ", "green"), format.plain(error["fix"])))
    return grid


# --- what happened ---------------------------------------------------------------------------------------------------


def _timeline(story: Story) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True, justify="right")
    grid.add_column(ratio=1)
    day: date | None = None
    for when, what in _in_order(story):
        if when.date() != day:
            day = when.date()
            grid.add_row(Text(f"{day}", style="dim"), "", "", "", "")
        if isinstance(what, Move):
            grid.add_row(format.clock(when), _status(what), "", "", Text(_move_detail(what, story)))
        else:
            grid.add_row(format.clock(when), *_attempt(what))
    return grid


def _in_order(story: Story) -> Iterator[tuple[datetime, Move | Attempt]]:
    """Return moves and attempts as they came; a call before the move it led to, where both bear one time."""
    found: list[tuple[datetime, int, Move | Attempt]] = [(each.at, 1, each) for each in story.moves]
    found += [(each.started_at, 0, each) for each in story.attempts]
    for when, _, what in sorted(found, key=lambda each: each[:2]):
        yield when, what


def _status(move: Move) -> Text:
    return format.coloured(move.target)


def _move_detail(move: Move, story: Story) -> str:
    said = []
    if move.corrected:
        said.append("other content came in")
    if move.reason:
        said.append(move.reason)
    if move.target == InvoiceStatus.STAMPING:
        worker = next((each.worker for each in story.attempts if each.claim == move.claim), story.claimed_by)
        said.append(f"claim {move.claim}{f' by {format.plain(worker)}' if worker else ''}")
    if move.uuid and move.target == InvoiceStatus.STAMPED and move.source != InvoiceStatus.CANCELLING:
        said.append(move.uuid)
    if move.source == InvoiceStatus.CANCELLING and move.target == InvoiceStatus.STAMPED:
        said.append("not cancelled")
    return ", ".join(said)


def _attempt(tried: Attempt) -> tuple[RenderableType, RenderableType, RenderableType, RenderableType]:
    name = Text(f"  {tried.number} {tried.call.replace('_', ' ')}")
    if tried.outcome is None:
        return name, Text("no answer yet", style="bold yellow"), "", _detail(tried)
    return (
        name,
        format.coloured(tried.outcome),
        format.milliseconds(tried.latency_ms),
        _detail(tried),
    )


def _detail(tried: Attempt) -> Text:
    said = []
    if tried.http_status is not None:
        said.append(f"HTTP {tried.http_status}")
    if tried.codigo is not None:
        said.append(f"Codigo {tried.codigo}")
    if tried.detail:
        said.append(format.plain(tried.detail))
    elif tried.outcome == AttemptOutcome.NO:
        said.append("no UUID")
    return Text(", ".join(said))


def _doubt(doubt: Doubt, now: datetime) -> RenderableType:
    lost = f"the answer to the {doubt.lost} was lost" if doubt.lost else "an answer was lost"
    looked = format.count(doubt.lookups, "look-up")
    lasted = format.span(doubt.lasted(now))
    end = (
        f"ended {doubt.ended.replace('_', ' ')} after {looked} in {lasted}"
        if doubt.ended
        else f"not ended: {looked} in {lasted}"
    )
    return Text(f"{format.at(doubt.since)}: {lost}; {end}")


# --- what is kept and told -------------------------------------------------------------------------------------------


def _document(document: Document) -> RenderableType:
    grid = _grid(5)
    head = Text.assemble((document.kind, "bold"), f"  {format.size(document.size)}, ")
    head.append(f"stored {format.at(document.stored_at)}")
    if document.passed is not None and document.asked is not None:
        head.append(f", {document.passed} of {document.asked} checks passed")
    if document.quarantined_reason is not None:
        head.append("  QUARANTINED", style="bold red")
    parts: list[RenderableType] = [head]
    if document.quarantined_reason is not None:
        grid.add_row("why", Text(format.plain(document.quarantined_reason)))
    grid.add_row("key", Text(format.plain(document.key), overflow="fold"))
    grid.add_row("sha256", Text(document.sha256, overflow="fold"))
    for check in document.failed:
        told = format.plain(check.detail or check.result.replace("_", " "))
        grid.add_row(Text("failed", style="red"), Text(f"{check.name}: {told}"))
    return Group(*parts, Padding(grid, (0, 0, 0, 2)))


def _notices(notices: tuple[Notice, ...], now: datetime) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True, justify="right")
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(ratio=1)
    for notice in notices:
        grid.add_row(
            f"v{notice.version}", format.clock(notice.created_at)[:8], Text(notice.type, style="bold")
        )
        grid.add_row("", "", Text(format.plain(notice.message)))
        if not notice.deliveries:
            grid.add_row("", "", Text("kept here: no channel was set", style="dim"))
        for each in notice.deliveries:
            grid.add_row("", "", Text.assemble(*_delivery(each, now)))
    return grid


def _delivery(each: Any, now: datetime) -> list[Any]:
    said: list[Any] = [f"{each.channel} ", format.coloured(each.status)]
    said.append(f", {format.count(each.tries, 'try', 'tries')}")
    if each.last_status is not None:
        said.append(f", HTTP {each.last_status}")
    if each.latency_ms is not None:
        said.append(f", {format.milliseconds(each.latency_ms)}")
    if each.delivered_at is not None:
        said.append(f", at {format.clock(each.delivered_at)[:8]}")
    if each.last_error and each.last_error != f"HTTP {each.last_status}":
        said.append(f", {format.plain(each.last_error)}")
    if each.in_flight:
        said.append(", under way")
    elif each.next_attempt_at is not None:
        said.append(f", next {format.at(each.next_attempt_at)} ({format.ago(each.next_attempt_at, now)})")
    return said
