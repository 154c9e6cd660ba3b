"""What is known of each invoice and each connection: the event with the highest version, and no other."""

from typing import Any

from django.db import models
from django.utils import timezone

from timbrado_client.django import signals
from timbrado_client.events import ConnectionEvent, Event, InvoiceEvent
from timbrado_client.labels import CONNECTION_LABELS, REASON_LABELS, STATUS_LABELS


class InvoiceRow(models.Model):
    """Where an invoice stands. Join it to your own by (account, external_id)."""

    subject = models.CharField(max_length=100, unique=True)
    account = models.CharField(max_length=200)
    external_id = models.CharField(max_length=200)
    version = models.IntegerField()
    status = models.CharField(max_length=30, db_index=True)
    message = models.TextField()
    errors = models.JSONField(default=list)
    warnings = models.JSONField(default=list)
    uuid = models.CharField(max_length=36, null=True)
    serie = models.CharField(max_length=30, null=True)
    folio = models.CharField(max_length=40, null=True)
    fecha_timbrado = models.CharField(max_length=19, null=True)
    documents = models.JSONField(default=list)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [models.Index(fields=["account", "external_id"], name="timbrado_invoice_ids")]

    def __str__(self) -> str:
        return f"{self.account}/{self.external_id}: {self.status}"

    @property
    def status_label(self) -> str:
        """What a user reads for its status."""
        return STATUS_LABELS.get(self.status, self.status)


class ConnectionRow(models.Model):
    """Where an account's connection to ContaDigital stands."""

    subject = models.CharField(max_length=240, unique=True)
    account = models.CharField(max_length=200, db_index=True)
    version = models.IntegerField()
    status = models.CharField(max_length=30)
    reason = models.CharField(max_length=40, null=True)
    message = models.TextField()
    fix = models.TextField(default="")
    updated_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.account}: {self.status}"

    @property
    def status_label(self) -> str:
        """What a user reads for its status."""
        return CONNECTION_LABELS.get(self.status, self.status)

    @property
    def reason_label(self) -> str:
        """What a user reads for why it is broken; empty while it is not."""
        return REASON_LABELS.get(self.reason or "", self.reason or "")


def record(event: Event) -> bool:
    """Keep what an event says if it is newer than what is known; return whether it was.

    Events about requests and the provider are kept nowhere: they change no invoice and no connection. Safe however
    many processes record at once, and in whatever order events come.
    """
    model: type[InvoiceRow] | type[ConnectionRow]
    if isinstance(event, InvoiceEvent) and event.data.invoice_id:
        model, facts = InvoiceRow, _of_invoice(event)
    elif isinstance(event, ConnectionEvent):
        model, facts = ConnectionRow, _of_connection(event)
    else:
        return False
    if not _newer(model, event, {**facts, "updated_at": timezone.now()}):
        return False
    signals.recorded.send(model, event=event, row=model.objects.get(subject=event.subject))
    return True


def _newer(model: Any, event: Event, facts: dict[str, Any]) -> bool:
    known = model.objects.filter(subject=event.subject)
    older = known.filter(version__lt=event.version)
    if older.update(**facts):
        return True
    _, made = model.objects.get_or_create(subject=event.subject, defaults=facts)
    # another process may have made the row meanwhile, from an older event
    return made or bool(older.update(**facts))


def _of_invoice(event: InvoiceEvent) -> dict[str, Any]:
    data = event.data
    return {
        "account": data.account,
        "external_id": data.external_id or "",
        "version": data.version,
        "status": data.status,
        "message": data.message,
        "errors": [fault.as_dict() for fault in data.errors],
        "warnings": [fault.as_dict() for fault in data.warnings],
        "uuid": data.uuid,
        "serie": data.serie,
        "folio": data.folio,
        "fecha_timbrado": data.fecha_timbrado and data.fecha_timbrado.isoformat(timespec="seconds"),
        "documents": [document.model_dump() for document in data.documents],
    }


def _of_connection(event: ConnectionEvent) -> dict[str, Any]:
    data = event.data
    return {
        "account": data.account,
        "version": data.version,
        "status": data.status,
        "reason": data.reason,
        "message": data.message,
        "fix": data.fix or "",
    }
