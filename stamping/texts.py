"""What an invoice's user reads of the pipeline's own endings, in Mexican Spanish."""

from collections.abc import Mapping, Sequence
from typing import Any

from timbrado_client.labels import STATUS_LABELS

from cfdi.faults import Fault
from contadigital.reasons import explain
from models.vocabulary import FailedReason, InvoiceStatus

UNKNOWN_REFUSAL = (
    "Revisa el mensaje de ContaDigital; si no queda claro qué corregir, envíaselo al soporte de Apunto."
)
EXPIRED = Fault(
    "timbrado.plazo_vencido",
    "fecha",
    "Pasaron las 72 horas que da el SAT desde la fecha de la factura, y no se timbró.",
    "Envíala de nuevo con una fecha actual.",
    "timbrado",
)
NEVER_SENT = Fault(
    "timbrado.plazo_vencido",
    "",
    "Durante tres días no fue posible enviar esta factura a ContaDigital, y no se timbró.",
    "Revisa con soporte por qué no se pudo enviar, y envíala de nuevo.",
    "timbrado",
    whose="support",
)


def _review(message: str) -> Fault:
    return Fault(
        "timbrado.requiere_revision",
        "",
        message,
        "No la envíes de nuevo: soporte la busca en ContaDigital.",
        "timbrado",
    )


CALLED_STAMPED = _review(
    "ContaDigital dice que esta factura ya está timbrada, pero no dice con qué folio fiscal."
)
LOST_RECORD = _review(
    "Se perdió una respuesta de ContaDigital y la factura guardada ya no aparece ahí: no se sabe si se timbró."
)
CANNOT_KNOW = _review(
    "Se perdió una respuesta de ContaDigital y no hay forma segura de saber si la factura se timbró."
)
MOVED = _review(
    "Se perdió una respuesta de ContaDigital y la cuenta ahora está conectada a otra dirección: desde aquí no se puede "
    "saber si la factura se timbró."
)
SAME_UUID = _review("ContaDigital devolvió el folio fiscal de otra factura que ya tenías timbrada.")
PDF_MISSING = Fault(
    "timbrado.pdf_no_disponible",
    "",
    "ContaDigital no entregó el PDF de esta factura. El XML, que es el comprobante fiscal, está guardado.",
    "Si lo necesitas, descarga el PDF en ContaDigital.",
    "contadigital",
    whose="user",
)
WITHDRAWN_BEFORE = Fault(
    "timbrado.ya_retirada", "", "La factura ya estaba retirada.", "No tienes que hacer nada.", "timbrado"
)
NO_DECISION_OPEN = Fault(
    "timbrado.sin_decision",
    "",
    "La factura no espera esta decisión, o se está consultando en este momento.",
    "Revisa en qué estado está; si se está consultando, inténtalo de nuevo en un minuto.",
    "timbrado",
)


def moves_away(count: int) -> Fault:
    """Say what a connection that moves to another address or company leaves behind, for who must confirm it."""
    these = "1 factura que todavía se timbra, se aclara o se cancela ya no se podría consultar"
    if count != 1:
        these = (
            f"{count} facturas que todavía se timbran, se aclaran o se cancelan ya no se podrían consultar"
        )
    return Fault(
        "timbrado.cambio_por_confirmar",
        "",
        f"Con este cambio de dirección o de empresa, {these} en ContaDigital: lo que está en duda pasaría a soporte, y "
        "de una cancelación ya no se sabría en qué quedó.",
        "Espera a que terminen, o confirma el cambio.",
        "timbrado",
        whose="user",
    )


CONNECTION_PENDING = "Estamos validando tu conexión con ContaDigital."
CONNECTION_DISCONNECTED = "La cuenta está desconectada de ContaDigital, así que sus facturas esperan."
CONNECT_AGAIN = (
    "Copia tu API Key en ContaDigital (Perfil de usuario > API Facturación) y pégalo en Apunto "
    "(Configuración > Integraciones > ContaDigital)."
)


def not_retried(status: str, reason: str | None) -> Fault:
    """Return why an invoice is not tried again."""
    match InvoiceStatus(status), reason:
        case InvoiceStatus.FAILED, FailedReason.NEEDS_PERSON:
            return CANNOT_KNOW
        case InvoiceStatus.FAILED, _:
            return EXPIRED
        case InvoiceStatus.ON_HOLD, _:
            words = (
                "espera a que funcione su conexión con ContaDigital",
                "Corrige la conexión: la factura sigue sola.",
            )
        case InvoiceStatus.REJECTED, _:
            words = "tiene datos por corregir", "Corrígelos y envía la factura de nuevo."
        case InvoiceStatus.STAMPING, _:
            words = "se está timbrando en este momento", "Espera un momento: no tienes que hacer nada."
        case _:
            words = f"ya terminó: {STATUS_LABELS[status].lower()}", "No hay nada que reintentar."
    return Fault("timbrado.sin_reintento", "", f"La factura {words[0]}.", words[1], "timbrado")


def stamps_differ(differing: Sequence[Mapping[str, Any]]) -> str:
    """Return why an account stopped, with the stamps that differ as their user knows them."""
    named = " y ".join(
        f"{' '.join(filter(None, (each['serie'], each['folio'])))} (folio fiscal {each['uuid']})".strip()
        for each in differing
    )
    return f"{explain('stamps_differ').message.rstrip('.')}: {named}."


def refused_by_contadigital(text: str, fix: str = UNKNOWN_REFUSAL) -> Fault:
    """Return a refusal in ContaDigital's own words."""
    return Fault("contadigital", "", text, fix, "contadigital")


def mail_failed(place: int) -> Fault:
    """Return that the documents could not be mailed to the address at this place of `send_to`."""
    return Fault(
        "timbrado.correo_no_enviado",
        f"send_to[{place}]",
        "ContaDigital no pudo enviar la factura a este correo.",
        "Descarga el XML y el PDF y envíalos tú; revisa también que el correo esté bien escrito.",
        "contadigital",
        whose="user",
    )
