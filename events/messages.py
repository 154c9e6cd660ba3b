"""What an event says to Apunto's user, in Mexican Spanish: one table, every text in it.

A text says what happened and what the reader can do; "no la envíes de nuevo" stands wherever sending again
would be the natural mistake. The words for a broken connection are contadigital's (`reasons.py`) and come in
as facts.
"""

from collections.abc import Mapping
from typing import Any

from events.types import EventType as E

MESSAGES: Mapping[tuple[E, str], str] = {
    (
        E.INVOICE_ACCEPTED,
        "",
    ): "Recibimos tu factura y está en la fila para timbrarse. No tienes que hacer nada.",
    (E.INVOICE_ACCEPTED, "warnings"): (
        "Recibimos tu factura y está en la fila para timbrarse. Trae avisos que conviene revisar; no impiden timbrarla."
    ),
    (
        E.INVOICE_REJECTED,
        "",
    ): "La factura no se timbró: hay {count} datos por corregir. Corrígelos y envíala de nuevo.",
    (
        E.INVOICE_REJECTED,
        "one",
    ): "La factura no se timbró: hay un dato por corregir. Corrígelo y envíala de nuevo.",
    (E.INVOICE_REJECTED, "not_a_users"): (
        "La factura no se timbró por un error que tú no puedes corregir. Escribe a soporte de Apunto."
    ),
    (E.INVOICE_REJECTED, "conflict"): (
        "Esta factura ya se timbró (o se está timbrando) con otros datos, así que no cambiamos nada. Para cambiarla, "
        "cancélala y haz una factura nueva."
    ),
    (E.INVOICE_ON_HOLD, ""): (
        "Tu factura está en pausa y seguirá sola cuando la conexión con ContaDigital funcione; no la envíes "
        "de nuevo. {why} {fix}"
    ),
    (E.INVOICE_ON_HOLD, "disconnected"): (
        "Tu factura está en pausa porque tu cuenta no está conectada a ContaDigital. Conéctala en Apunto "
        "(Configuración > Integraciones > ContaDigital) y la factura seguirá sola; no la envíes de nuevo."
    ),
    (E.INVOICE_ON_HOLD, "pending"): (
        "Tu factura está en pausa mientras se valida tu conexión con ContaDigital. Seguirá sola; no la "
        "envíes de nuevo."
    ),
    (E.INVOICE_ON_HOLD, "paused"): (
        "Tu factura está en pausa por mantenimiento. Seguirá sola en cuanto termine; no la envíes de nuevo."
    ),
    (E.INVOICE_DELAYED, ""): (
        "ContaDigital está tardando más de lo normal. Tu factura sigue en la fila y se timbrará en cuanto "
        "responda; no la envíes de nuevo."
    ),
    (E.INVOICE_DELAYED, "paused"): (
        "Tu factura está en espera por mantenimiento. Seguirá sola en cuanto termine; no la envíes de nuevo."
    ),
    (E.INVOICE_DELAYED, "hours"): (
        "A esta factura le quedan menos de {hours} horas del plazo de 72 que da el SAT para timbrarla. "
        "Seguimos intentando; si tu conexión con ContaDigital tiene un aviso, atiéndelo ya."
    ),
    (E.INVOICE_DELAYED, "hour"): (
        "A esta factura le queda menos de una hora del plazo de 72 que da el SAT para timbrarla. Seguimos "
        "intentando; si tu conexión con ContaDigital tiene un aviso, atiéndelo ya."
    ),
    (E.INVOICE_IN_DOUBT, ""): (
        "Se perdió la respuesta de ContaDigital y la factura pudo haberse timbrado. Lo estamos consultando; "
        "no la envíes de nuevo."
    ),
    (E.INVOICE_IN_DOUBT, "long"): (
        "Todavía no podemos confirmar si la factura quedó timbrada y la seguimos consultando; no la envíes de nuevo y "
        "contacta a soporte para que la busque en ContaDigital."
    ),
    (E.INVOICE_IN_DOUBT, "cancel"): (
        "Se perdió la respuesta de la cancelación y la factura pudo haberse cancelado. Lo estamos "
        "consultando; no la solicites de nuevo."
    ),
    (E.INVOICE_STAMPED, ""): "Factura timbrada.",
    (E.INVOICE_STAMPED, "pdf_late"): "Factura timbrada. Su PDF estará listo en unos minutos.",
    (E.INVOICE_STAMPED, "cancelling"): (
        "La cancelación de tu factura está solicitada; la factura sigue vigente hasta que el SAT la cancele. "
        "Si tu cliente debe aceptarla, tiene tres días hábiles: si no responde, se cancela. No la solicites "
        "de nuevo."
    ),
    (E.INVOICE_STAMPED, "pdf_missing"): (
        "La factura está timbrada, pero ContaDigital no ha entregado su PDF. El XML, que es el comprobante "
        "fiscal, está guardado."
    ),
    (E.INVOICE_STAMPED, "mail_failed"): (
        "La factura está timbrada, pero ContaDigital no pudo enviarla por correo. Descárgala y envíasela a "
        "tu cliente."
    ),
    (E.INVOICE_DOCUMENTS_READY, ""): "El PDF de tu factura ya está listo. Puedes descargarlo.",
    (E.INVOICE_FAILED, ""): "La factura no se pudo timbrar. No la envíes de nuevo: contacta a soporte.",
    (E.INVOICE_FAILED, "expired"): (
        "La factura no se timbró: se acabaron las 72 horas que da el SAT para timbrarla. Emítela de nuevo "
        "con fecha actual o contacta a soporte."
    ),
    (E.INVOICE_FAILED, "never_sent"): (
        "Durante tres días no fue posible enviar la factura a ContaDigital, y no se timbró. Contacta a soporte antes "
        "de enviarla de nuevo."
    ),
    (E.INVOICE_FAILED, "needs_person"): (
        "No pudimos confirmar si la factura quedó timbrada. No la envíes de nuevo: soporte lo revisa en "
        "ContaDigital."
    ),
    (E.INVOICE_FAILED, "not_stamped"): (
        "Soporte confirmó que esta factura no se timbró. Si todavía la necesitas, envíala de nuevo."
    ),
    (E.INVOICE_DIFFERS, ""): (
        "La factura se timbró, pero el CFDI dice algo distinto de lo que enviaste. No la envíes de nuevo: revisa las "
        "diferencias y acéptala o cancélala, o contacta a soporte."
    ),
    (E.INVOICE_WITHDRAWN, ""): "Retiramos la factura antes de timbrarla. No se emitió ningún CFDI.",
    (E.INVOICE_CANCEL_REFUSED, ""): (
        "La factura no se canceló y sigue vigente. Revisa el motivo señalado y, si aún lo necesitas, solicita la "
        "cancelación de nuevo."
    ),
    (E.INVOICE_CANCEL_REFUSED, "unconfirmed"): (
        "No pudimos confirmar si la factura se canceló. Consulta su estado en el portal del SAT y, si sigue vigente, "
        "solicita la cancelación de nuevo."
    ),
    (E.REQUEST_REFUSED, ""): (
        "No encontramos la factura, así que no hicimos nada. Si la ves en Apunto, escribe a soporte."
    ),
    (E.REQUEST_REFUSED, "unreadable"): (
        "No pudimos leer lo que envió Apunto, así que no hicimos nada. No es culpa tuya: escribe a soporte de Apunto."
    ),
    (E.PROVIDER_DEGRADED, ""): (
        "ContaDigital no responde en este momento. Tus facturas siguen en la fila y se timbrarán en cuanto responda; "
        "no las envíes de nuevo."
    ),
    (E.PROVIDER_RECOVERED, ""): "ContaDigital responde de nuevo. Las facturas en espera siguen solas.",
    (E.INVOICE_CANCELLED, ""): "Factura cancelada ante el SAT.",
    (E.CONNECTION_ACTIVE, ""): "Tu conexión con ContaDigital funciona. Ya puedes facturar.",
    (E.CONNECTION_ACTIVE, "resumed"): (
        "Tu conexión con ContaDigital funciona de nuevo. Las facturas que estaban en pausa siguen solas."
    ),
    (E.CONNECTION_BROKEN, ""): "{why}",
    (E.CONNECTION_STAMPS_LOW, ""): (
        "Te quedan {stamps_left} timbres en ContaDigital. Compra más antes de que se acaben."
    ),
    (
        E.CONNECTION_STAMPS_LOW,
        "one",
    ): "Te queda un timbre en ContaDigital. Compra más antes de que se acaben.",
    (E.CONNECTION_STAMPS_LOW, "few"): (
        "Te quedan pocos timbres en ContaDigital. Compra más antes de que se acaben."
    ),
}


def message(type_: E | str, variant: str = "", **facts: Any) -> str:
    """The text for an event; the plain one where the variant has none of its own.

    Facts: `count` (rejected), `why` and `fix` (on hold, broken), `hours` (delayed), `stamps_left` (stamps
    low). KeyError names a fact that its text needs and did not get.
    """
    event = E(type_)
    text = MESSAGES.get((event, _variant(event, variant, facts)))
    if text is None:
        text = MESSAGES[event, ""]
    return " ".join(text.format_map(facts).split())


def _variant(event: E, variant: str, facts: Mapping[str, Any]) -> str:
    """One is not many: `1 datos` would read as what it is, a machine's text."""
    if variant:
        return "hour" if variant == "hours" and facts.get("hours") == 1 else variant
    match event:
        case E.INVOICE_REJECTED if facts.get("count") == 1:
            return "one"
        case E.CONNECTION_STAMPS_LOW if facts.get("stamps_left") is None:
            return "few"
        case E.CONNECTION_STAMPS_LOW if facts["stamps_left"] == 1:
            return "one"
        case _:
            return ""
