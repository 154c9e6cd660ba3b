"""What a person reads in the API's answers and in the panel, in Mexican Spanish."""

from collections.abc import Mapping
from datetime import datetime

from timbrado_client.labels import CONNECTION_LABELS, STATUS_LABELS, label_of

from api.problems import REFUSED, HttpProblem, PanelProblem
from models.vocabulary import FailedReason, InvoiceStatus
from stamping.timeline.entries import Timeline
from stamping.timeline.next_action import Actor

S = InvoiceStatus

STATUS: Mapping[str, str] = STATUS_LABELS
CONNECTION: Mapping[str, str] = CONNECTION_LABELS
ACTION: Mapping[str, str] = {
    "retry": "Reintentar",
    "withdraw": "Retirar",
    "cancel": "Cancelar ante el SAT",
    "replace": "Sustituir",
    "accept": "Aceptar la diferencia",
    "resolve": "Resolver",
    "hold": "Pausar",
    "release": "Reanudar",
    "connect": "Conectar",
    "validate": "Validar",
    "disconnect": "Desconectar",
    "replay": "Reenviar aviso",
}
LABEL = label_of
"""A field's name for a person."""
WHO: Mapping[str, str] = {
    Actor.NOBODY: "Nadie",
    Actor.USER: "El usuario",
    Actor.OPERATOR: "Soporte",
}
CALL: Mapping[str, str] = {
    "save": "Guardar el borrador",
    "stamp": "Timbrar",
    "look_up": "Consultar en ContaDigital",
    "cancel": "Pedir la cancelación",
    "document": "Descargar el PDF",
    "mail": "Enviar por correo",
    "auth": "Iniciar sesión en ContaDigital",
    "catalogs": "Leer las listas de la cuenta",
    "customer": "Registrar al cliente",
    "product": "Registrar el producto",
    "sat_status": "Consultar en el SAT",
}
OUTCOME: Mapping[str | None, str] = {
    "done": "hecho",
    "not_sent": "no salió de aquí",
    "refused": "rechazado",
    "lost": "la respuesta se perdió",
    "no": "respondió que no está timbrada",
    "late": "respondió tarde",
    "proven_no": "comprobado: no hizo nada",
    "unusable": "la respuesta no se pudo usar",
    None: "en curso, o se cortó",
}


def refused(problem: HttpProblem) -> str:
    """Say why something was refused, where no fault says it."""
    if isinstance(problem, PanelProblem):
        return problem.detail
    return REFUSED.get(problem.code or "", "No se pudo hacer.")


def next_step(timeline: Timeline) -> str:
    """Say what comes next by itself."""
    connection = timeline.connection
    is_paused = connection is not None and connection.paused
    match timeline.status:
        case S.ACCEPTED | S.WAITING if is_paused:
            return "Se timbra en cuanto soporte reanude la cuenta."
        case S.ACCEPTED:
            return "Se timbra en cuanto llegue su turno."
        case S.WAITING:
            return "Se intenta de nuevo sola."
        case S.STAMPING:
            return "ContaDigital la está procesando."
        case S.IN_DOUBT:
            return "Se perdió una respuesta de ContaDigital; se consulta si quedó timbrada antes de hacer otra cosa."
        case S.ON_HOLD:
            return "Sigue sola cuando la conexión con ContaDigital funcione."
        case S.REJECTED:
            return "Nada, hasta que se corrija y se envíe de nuevo."
        case S.FAILED:
            return "Nada, hasta que una persona decida."
        case S.DIFFERS:
            return "Nada, hasta que una persona acepte la diferencia o cancele el CFDI."
        case S.CANCELLING:
            return "Se espera la respuesta del SAT a la cancelación."
        case S.STAMPED if not any(
            each.kind == "pdf" and not each.quarantined_reason for each in timeline.documents
        ):
            return "El XML está a salvo; el PDF se descarga en cuanto ContaDigital lo entregue."
        case _:
            return "Nada: está terminada."


def who_acts(timeline: Timeline) -> tuple[Actor, str]:
    """Say who must act, and what to do."""
    return timeline.act.who, "" if timeline.act.who is Actor.NOBODY else _what_to_do(timeline)


def _what_to_do(timeline: Timeline) -> str:
    match timeline.status, timeline.reason:
        case S.REJECTED, _ if timeline.act.who is Actor.OPERATOR:
            return "Pasar los errores a soporte técnico: nada de esto lo puede corregir el usuario."
        case S.REJECTED, _:
            return "Corregir los datos señalados y enviar la factura de nuevo."
        case S.ON_HOLD, _:
            fix = timeline.connection.fix if timeline.connection is not None else None
            return fix or "Conectar la cuenta a ContaDigital."
        case S.FAILED, FailedReason.EXPIRED if timeline.act.who is Actor.OPERATOR:
            return "Revisar por qué no se pudo enviar a ContaDigital durante tres días."
        case S.FAILED, FailedReason.EXPIRED:
            return "Pasaron las 72 horas del SAT sin timbrarse: envíala de nuevo con una fecha actual."
        case S.FAILED, FailedReason.NOT_STAMPED:
            return "Soporte comprobó que no se timbró: envíala de nuevo si todavía hace falta."
        case S.FAILED, _:
            return "Buscarla en ContaDigital y en el SAT, y resolverla aquí: timbrada o no timbrada."
        case S.DIFFERS, _:
            return "Comparar el CFDI con lo que se envió, y aceptarlo o cancelarlo."
        case _:
            return "Revisar con soporte técnico."


def since(instant: datetime | None, now: datetime) -> str:
    """Say how long ago an instant was, or how long it takes until it."""
    if instant is None:
        return "—"
    seconds = (now - instant).total_seconds()
    before, length = ("hace", seconds) if seconds >= 0 else ("en", -seconds)
    for size, one, many in ((86_400, "día", "días"), (3_600, "hora", "horas"), (60, "minuto", "minutos")):
        if length >= size:
            count = int(length // size)
            return f"{before} {count} {one if count == 1 else many}"
    return f"{before} {int(length)} s"
