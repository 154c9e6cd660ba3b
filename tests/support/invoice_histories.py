"""The rows that the database holds of an invoice after each course of events, with every instant fixed.

`Past()` is an invoice that has just come in; its methods add the rows that the pipeline would have written. `HISTORIES`
has the courses that `timbrado status` is shown with.
"""

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

from contadigital.reasons import Words, explain
from events.messages import message
from events.outbox import DeliveryEntry
from models.tables import actions, attempts, connections, documents, history, invoices, providers
from stamping.timeline.entries import SentEvent
from stamping.timeline.read import TimelineRows
from tests.support.builders import NOW, an_invoice

INVOICE_ID = UUID("019aa1c2-7d10-7c5e-8a44-0d5b6f3c2a10")
FOLIO_FISCAL = "9932113E-09AC-47BA-8E8C-6F83100C814F"
RECORD = 48211
QUARANTINE = timedelta(minutes=15)
FECHA = datetime(2026, 11, 23, 10, 15)
EXPIRES_AT = NOW - timedelta(minutes=5) + timedelta(hours=72)
WORKER = "host-1:4711"

Row = dict[str, Any]


def a_row(table: Any, **values: Any) -> Row:
    """A row with every column of its table; a name that is no column is a mistake of the test."""
    unknown = values.keys() - {column.name for column in table.c}
    assert not unknown, f"{table.name} has no column {', '.join(sorted(unknown))}"
    return {column.name: None for column in table.c} | values


def a_connection(**changes: Any) -> Row:
    """An active one."""
    facts: Row = {
        "account": "acme",
        "status": "active",
        "rfc": "EKU9003173C9",
        "base_url": "https://app.contadigital.mx",
        "paused": False,
    }
    return a_row(connections, **(facts | changes))


def a_fault(code: str, field: str, text: str, fix: str, source: str = "timbrado") -> dict[str, str]:
    return {"code": code, "field": field, "message": text, "fix": fix, "source": source}


class Past:
    """Lets time go by; `seconds` everywhere counts from the moment the invoice came in (NOW)."""

    def __init__(self, **invoice: Any) -> None:
        content = an_invoice()
        self.now = NOW
        self._row = a_row(
            invoices,
            id=INVOICE_ID,
            account="acme",
            external_id="OP-10234-1",
            status="accepted",
            version=1,
            content=content,
            content_hash="c" * 64,
            errors=[],
            warnings=[],
            trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
            fecha=FECHA,
            expires_at=EXPIRES_AT,
            claim=0,
            calls=0,
            tries=0,
            lookups=0,
            next_attempt_at=NOW,
            created_at=NOW,
            updated_at=NOW,
        )
        self._row |= invoice
        self.connection: Row | None = a_connection()
        self.provider: Row | None = None
        self.broken: Words | None = None
        self.in_flight = 0
        self._moves: list[Row] = []
        self._attempts: list[Row] = []
        self._documents: list[Row] = []
        self._events: list[SentEvent] = []
        self._actions: list[Row] = []

    def at(self, seconds: float) -> datetime:
        return NOW + timedelta(seconds=seconds)

    def stands(self, **values: Any) -> Self:
        """What its row says in the end."""
        unknown = values.keys() - self._row.keys()
        assert not unknown, f"invoices has no column {unknown}"
        self._row |= values
        return self

    def moved(self, seconds: float, target: str, **values: Any) -> Self:
        """It came to a status; its row says so."""
        source = self._moves[-1]["to_status"] if self._moves else None
        claim = self._row["claim"] + (1 if target == "stamping" else 0)
        self.stands(status=target, claim=claim, updated_at=self.at(seconds), **values)
        self._moves.append(
            a_row(
                history,
                invoice_id=INVOICE_ID,
                at=self.at(seconds),
                from_status=source,
                to_status=target,
                reason=self._row["reason"],
                uuid=self._row["uuid"],
                claim=claim,
                content_hash=self._row["content_hash"],
            )
        )
        return self

    def tried(self, seconds: float, call: str, outcome: str | None, took_ms: int = 0, **values: Any) -> Self:
        """One call to ContaDigital; each look-up is under a claim of its own."""
        if call == "look_up":
            self._row["claim"] += 1
        self._attempts.append(
            a_row(
                attempts,
                number=len(self._attempts) + 1,
                call=call,
                claim=self._row["claim"],
                record_id=RECORD,
                worker=WORKER,
                started_at=self.at(seconds),
                finished_at=self.at(seconds + took_ms / 1000) if outcome else None,
                outcome=outcome,
                latency_ms=took_ms if outcome else None,
                **values,
            )
        )
        return self

    def stored(self, seconds: float, kind: str, size: int, **values: Any) -> Self:
        """A file came to rest."""
        key = f"acme/2026/11/{FOLIO_FISCAL.lower()}.{'acuse.xml' if kind == 'acuse' else kind}"
        checks = [{"name": f"check{n}", "result": "passed", "detail": ""} for n in range(33)]
        checks.append({"name": "sello_sat", "result": "not_asked", "detail": "not known here"})
        facts: Row = {
            "kind": kind,
            "key": key,
            "sha256": hashlib.sha256(key.encode()).hexdigest(),
            "bytes": size,
            "checks": {"ok": True, "checks": checks} if kind == "xml" else None,
            "stored_at": self.at(seconds),
        }
        self._documents.append(a_row(documents, **(facts | values)))
        return self

    def sent(
        self, seconds: float, type_: str, variant: str = "", *, deliveries: Any = None, **facts: Any
    ) -> Self:
        """An event left; delivered by webhook in 81 ms unless the test says otherwise."""
        version = len(self._events) + 1
        when = self.at(seconds)
        if deliveries is None:
            deliveries = (a_delivery(when),)
        self._events.append(
            SentEvent(
                UUID(int=version),
                version,
                type_,
                when,
                message(type_, variant, **facts),
                (),
                tuple(deliveries),
            )
        )
        return self.stands(version=version)

    def acted(self, seconds: float, action: str, actor: str, reason: str | None = None) -> Self:
        """A person did something to it."""
        self._actions.append(a_row(actions, at=self.at(seconds), action=action, actor=actor, reason=reason))
        return self

    def came_in(self) -> Self:
        return self.moved(0, "accepted").sent(0, "invoice.accepted")

    def saved(self) -> Self:
        """Claimed and saved, the first time."""
        self.moved(0.31, "stamping", claimed_by=WORKER, claimed_until=self.at(120), next_attempt_at=NOW)
        self.tried(0.32, "save", "done", 142, http_status=200, codigo=1)
        return self.stands(record_id=RECORD, record_hash=self._row["content_hash"])

    def was_stamped(self, seconds: float, status: str = "stamped", **values: Any) -> Self:
        self.moved(
            seconds,
            status,
            uuid=FOLIO_FISCAL,
            serie="A",
            folio="1045",
            fecha_timbrado=FECHA + timedelta(minutes=5, seconds=seconds),
            stamped_at=self.at(seconds),
            claimed_by=None,
            claimed_until=None,
            next_attempt_at=None,
            **values,
        )
        return self.stored(seconds, "xml", 6_120)

    def rows(self) -> TimelineRows:
        return TimelineRows(
            invoice=self._row,
            connection=self.connection,
            provider=self.provider,
            changes=self._moves,
            attempts=self._attempts,
            documents=self._documents,
            events=self._events,
            actions=self._actions,
            in_flight=self.in_flight,
            broken=self.broken,
        )


def a_delivery(when: datetime, **changes: Any) -> DeliveryEntry:
    """Delivered by webhook, at the first try."""
    facts: Row = {
        "channel": "webhook",
        "status": "delivered",
        "tries": 1,
        "tried_at": when,
        "next_attempt_at": None,
        "delivered_at": when + timedelta(seconds=0.2),
        "last_status": 200,
        "last_error": None,
        "latency_ms": 81,
        "in_flight": False,
    }
    return DeliveryEntry(**(facts | changes))


# --- the courses of events --------------------------------------------------------------------------------


def accepted_waiting() -> tuple[Past, float]:
    past = Past().came_in()
    past.in_flight = 4
    return past, 2.4


def stamped_at_once() -> tuple[Past, float]:
    past = Past().came_in().saved().tried(0.48, "stamp", "done", 612, http_status=200, codigo=1)
    past.was_stamped(1.12).stored(1.12, "pdf", 41_877).sent(1.12, "invoice.stamped")
    return past, 95


def rejected_by_us() -> tuple[Past, float]:
    faults = [
        a_fault(
            "timbrado.nombre_largo",
            "conceptos[2].nombre",
            "El nombre del producto de la línea 3 tiene 64 caracteres; ContaDigital acepta de 2 a 50.",
            "Acorta el nombre; el texto completo puede ir en la descripción.",
        ),
        a_fault(
            "CFDI40161",
            "receptor.uso_cfdi",
            "El uso de CFDI D01 no corresponde al régimen fiscal 601 de tu cliente.",
            "Pide a tu cliente el uso de CFDI que le corresponde; para gastos en general es G03.",
        ),
        a_fault(
            "CFDI40119",
            "total",
            "El total dice 16,800.01 y la suma de las líneas da 16,800.00.",
            "Usa 16,800.00, o corrige el importe de la línea que no cuadra.",
        ),
    ]
    past = Past().moved(0, "rejected", errors=faults, next_attempt_at=None, fecha=None, expires_at=None)
    return past.sent(0, "invoice.rejected", count=3), 3_700


def rejected_by_the_sat() -> tuple[Past, float]:
    fault = a_fault(
        "CFDI40147",
        "receptor.domicilio_fiscal_receptor",
        "El código postal 76343 no es el que el SAT tiene registrado para XIA190128J61.",
        "Pide a tu cliente su Constancia de Situación Fiscal y usa el código postal que ahí aparece.",
        "sat",
    )
    past = Past().came_in().saved()
    text = "CFDI40147 - El campo DomicilioFiscalReceptor debe pertenecer al nombre asociado al RFC"
    past.tried(0.48, "stamp", "refused", 702, http_status=200, codigo=2, detail=text)
    past.moved(1.21, "rejected", errors=[fault], next_attempt_at=None, claimed_until=None, claimed_by=None)
    return past.sent(1.21, "invoice.rejected", count=1), 40


def on_hold_for_a_refused_key() -> tuple[Past, float]:
    why = explain("key_rejected")
    past = Past().came_in()
    past.connection = a_connection(status="broken", reason="key_rejected", broken_at=past.at(0.2))
    past.words = (why.message, why.fix)
    past.moved(0.35, "on_hold", next_attempt_at=None)
    return past.sent(0.35, "invoice.on_hold", why=why.message, fix=why.fix), 7_212


def _lost(past: Past) -> Past:
    past.saved().tried(0.48, "stamp", "lost", 30_004, detail="ReadTimeout: no answer within 30 s")
    past.moved(
        30.5,
        "in_doubt",
        doubt="stamp",
        doubt_since=past.at(30.5),
        claimed_until=None,
        claimed_by=None,
        next_attempt_at=past.at(32.4),
    )
    return past.sent(30.5, "invoice.in_doubt")


def in_doubt_being_looked_up() -> tuple[Past, float]:
    past = _lost(Past().came_in())
    past.tried(32.5, "look_up", "no", 44, http_status=200, codigo=1)
    past.tried(36.8, "look_up", "lost", 5_003, detail="ConnectTimeout")
    past.tried(47.1, "look_up", "no", 39, http_status=200, codigo=1)
    return past.stands(lookups=2, next_attempt_at=past.at(64.0)), 52


def a_doubt_that_ended_in_a_stamp() -> tuple[Past, float]:
    past = _lost(Past().came_in())
    past.tried(32.5, "look_up", "no", 44, http_status=200, codigo=1)
    past.tried(36.8, "look_up", "done", 58, http_status=200, codigo=1)
    past.was_stamped(36.9).stored(36.9, "pdf", 41_877)
    return past.stands(lookups=1, doubt=None).sent(36.9, "invoice.stamped"), 600


def waiting_after_503s() -> tuple[Past, float]:
    past = Past().came_in()
    for number, seconds in enumerate((0.31, 4.2, 9.6), 1):
        past.moved(seconds, "stamping", claimed_by=WORKER, claimed_until=past.at(seconds + 120))
        past.tried(
            seconds + 0.01,
            "save",
            "not_sent",
            21,
            http_status=503,
            detail="the token was not given: HTTP 503 Service Unavailable",
        )
        past.moved(
            seconds + 0.04,
            "waiting",
            tries=number,
            claimed_by=None,
            claimed_until=None,
            next_attempt_at=past.at(seconds + 12),
        )
    past.provider = a_row(
        providers,
        base_url="https://app.contadigital.mx",
        failures=6,
        opened_at=past.at(9.7),
        next_probe_at=past.at(315),
    )
    past.sent(
        300,
        "invoice.delayed",
        deliveries=(
            a_delivery(
                past.at(300),
                status="pending",
                tries=2,
                delivered_at=None,
                last_status=500,
                last_error="HTTP 500",
                next_attempt_at=past.at(612),
            ),
        ),
    )
    return past.stands(next_attempt_at=past.at(318.2)), 310


def failed_with_a_quarantined_xml() -> tuple[Past, float]:
    checks = [{"name": f"check{n}", "result": "passed", "detail": ""} for n in range(31)]
    checks += [
        {
            "name": "receptor",
            "result": "failed",
            "detail": "sent Rfc 'XIA190128J61', the XML has 'AAA010101AAA'",
        },
        {"name": "total", "result": "failed", "detail": "sent 16800.00, the XML has 1680.00"},
        {"name": "sello_sat", "result": "not_asked", "detail": "not known here"},
    ]
    fault = a_fault(
        "timbrado.evidencia",
        "",
        "El XML que devolvió ContaDigital es de otra factura, así que lo apartamos.",
        "No la envíes de nuevo: soporte la revisa en ContaDigital.",
    )
    past = Past().came_in().saved().tried(0.48, "stamp", "done", 612, http_status=200, codigo=1)
    past.moved(
        1.12,
        "failed",
        reason="needs_person",
        errors=[fault],
        next_attempt_at=None,
        claimed_until=None,
        claimed_by=None,
    )
    past.stored(
        1.12,
        "xml",
        6_088,
        key=f"_quarantine/acme/2026/11/{INVOICE_ID}.5f70bf18a086007016e948b04aed3b82.xml",
        checks={"ok": False, "checks": checks},
        quarantined_reason="failed: receptor, total",
    )
    return past.sent(1.12, "invoice.failed", "needs_person"), 1_800


def cancelled() -> tuple[Past, float]:
    past, _ = stamped_at_once()
    past.moved(86_400, "cancelling", motivo="02", next_attempt_at=past.at(86_400))
    past.tried(86_400.2, "cancel", "done", 1_460, http_status=200, detail="requested")
    past.stored(86_401.7, "acuse", 2_204)
    past.tried(86_462, "look_up", "done", 61, http_status=200, codigo=1, detail="requested")
    past.tried(86_590, "look_up", "done", 55, http_status=200, codigo=1, detail="cancelled")
    past.moved(86_590.1, "cancelled", cancelled_at=past.at(86_590.1), next_attempt_at=None)
    return past.sent(86_590.1, "invoice.cancelled"), 90_000


def stamped_with_a_late_pdf() -> tuple[Past, float]:
    past = Past(trace_id=None).came_in().saved().tried(0.48, "stamp", "done", 640, http_status=200, codigo=1)
    past.was_stamped(1.15).stands(pdf_due_at=past.at(21.3))
    past.sent(1.15, "invoice.stamped", "pdf_late", deliveries=())
    past.tried(6.2, "document", "no", 0, detail="no PDF yet")
    return past, 9


def differs_and_a_person_accepted_it() -> tuple[Past, float]:
    past = Past().came_in().saved().tried(0.48, "stamp", "done", 612, http_status=200, codigo=1)
    past.was_stamped(
        1.12,
        "differs",
        differences=[
            {
                "code": "total",
                "field": "total",
                "severity": "substantial",
                "sent": "$16,800.00",
                "received": "$16,808.00",
                "message": "El total del CFDI es $16,808.00 y se envió $16,800.00.",
            }
        ],
    )
    past.acted(3_600, "accept", "cli:maria", "El cliente acepta la diferencia de $8.00")
    return past.moved(3_600, "stamped"), 4_000


HISTORIES: dict[str, Callable[[], tuple[Past, float]]] = {
    each.__name__: each
    for each in (
        accepted_waiting,
        stamped_at_once,
        rejected_by_us,
        rejected_by_the_sat,
        on_hold_for_a_refused_key,
        in_doubt_being_looked_up,
        a_doubt_that_ended_in_a_stamp,
        waiting_after_503s,
        failed_with_a_quarantined_xml,
        cancelled,
        stamped_with_a_late_pdf,
        differs_and_a_person_accepted_it,
    )
}
"""Each: its past, and how many seconds after it came in somebody asks."""
