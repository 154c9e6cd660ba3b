"""Why an invoice may be cancelled: the SAT's motivos 01 to 04, and what a request is refused for without a call.

With motivo 01 the substitute comes first: a CFDI of its own, stamped and related to the old one with TipoRelacion 04
before the old one is cancelled (cfdi rules, section 6).
"""

import re
from typing import Any

import sqlalchemy as sa

from cfdi.faults import Fault, Whose
from models.tables import invoices
from models.vocabulary import FailedReason, InvoiceStatus
from stamping.intake import untrusted

_REPLACED = "errores, y otra factura la sustituye"
MOTIVOS = {
    "01": _REPLACED,
    "02": "errores, sin sustituirla",
    "03": "la operación no se llevó a cabo",
    "04": "ya va en una factura global",
}
"""The SAT's reasons to cancel, in short."""
SUBSTITUTED = "01"
_UUID = re.compile(r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}")


def check(db: sa.Connection, row: sa.Row[Any], motivo: object, sustitucion: str | None) -> tuple[Fault, ...]:
    """Return what is wrong with a request to cancel this stamped invoice; nothing where it may be asked for."""
    if (faults := check_form(motivo, sustitucion)) or sustitucion is None:
        return faults
    if sustitucion == row.uuid:
        return (SUBSTITUTES_ITSELF,)
    other = db.execute(
        sa.select(invoices.c.content).where(
            invoices.c.uuid == sustitucion,
            invoices.c.account == row.account,
            invoices.c.status == InvoiceStatus.STAMPED,
        )
    ).one_or_none()
    if other is None:
        return (_substitute_unknown(sustitucion),)
    related = other.content.get("cfdi_relacionados") or []
    replaced = {
        str(each).strip().upper()
        for relation in (related if isinstance(related, list) else [related])
        if relation.get("tipo_relacion") == "04"
        for each in relation.get("uuids") or ()
    }
    if row.uuid not in replaced:
        return (_substitute_not_related(sustitucion),)
    return ()


def check_form(motivo: object, sustitucion: str | None) -> tuple[Fault, ...]:
    """Return what is wrong with a request to cancel, whichever invoice it is about."""
    if not isinstance(motivo, str) or motivo not in MOTIVOS:
        return (_motivo_unknown(motivo),)
    if motivo != SUBSTITUTED:
        return () if sustitucion is None else (_substitute_not_expected(motivo),)
    return () if sustitucion is not None and _UUID.fullmatch(sustitucion) else (SUBSTITUTE_MISSING,)


def not_stamped(status: str, reason: str | None) -> Fault:
    """Return why an invoice that has no folio fiscal can't be cancelled; `reason` is that of `failed`."""
    if status in {InvoiceStatus.IN_DOUBT, InvoiceStatus.STAMPING}:
        return NOT_YET_KNOWN
    if status == InvoiceStatus.FAILED and reason == FailedReason.NEEDS_PERSON:
        return NOT_KNOWN
    if status in {InvoiceStatus.FAILED, InvoiceStatus.WITHDRAWN}:
        return NEVER_STAMPED
    return NOT_STAMPED


def _fault(code: str, field: str, message: str, fix: str, whose: Whose = "user", detail: str = "") -> Fault:
    return Fault(code, field, message, fix, "timbrado", whose=whose, detail=detail)


def _motivo_unknown(motivo: object) -> Fault:
    return _fault(
        "CANC207",
        "motivo",
        f"El motivo de cancelación «{untrusted.storable(str(motivo)[:10])}» no existe."
        if motivo not in (None, "")
        else "Falta el motivo de la cancelación.",
        "Usa 01 (errores, y otra factura la sustituye), 02 (errores, sin sustituirla), 03 (la operación no se llevó a "
        "cabo) o 04 (ya va en una factura global).",
    )


def _substitute_not_expected(motivo: str) -> Fault:
    return _fault(
        "CANC209",
        "uuid_sustitucion",
        f"El motivo {motivo} ({MOTIVOS[motivo]}) no lleva folio fiscal de sustitución.",
        f"Quita el folio de sustitución, o usa el motivo 01 ({_REPLACED}) si otra factura la sustituye.",
    )


def _substitute_unknown(sustitucion: str) -> Fault:
    return _fault(
        "CANC208",
        "uuid_sustitucion",
        f"La factura {sustitucion} no está timbrada en esta cuenta, así que no puede sustituir a esta.",
        "Timbra primero la factura que la sustituye y captura su folio fiscal.",
    )


def _substitute_not_related(sustitucion: str) -> Fault:
    return _fault(
        "CANC208",
        "uuid_sustitucion",
        f"La factura {sustitucion} no está relacionada con esta como sustitución.",
        "Emite la factura que la sustituye con tipo de relación 04 (sustitución) y el folio fiscal de esta.",
    )


SUBSTITUTE_MISSING = _fault(
    "CANC208",
    "uuid_sustitucion",
    f"El motivo 01 ({_REPLACED}) necesita el folio fiscal de la factura que la sustituye.",
    "Timbra primero la factura que la sustituye, con tipo de relación 04 (sustitución) y el folio fiscal de esta, y "
    "captura su folio fiscal.",
)
SUBSTITUTES_ITSELF = _fault(
    "CANC208",
    "uuid_sustitucion",
    "El folio fiscal de sustitución es el de la misma factura que se cancela.",
    "Captura el folio fiscal de la factura nueva que la sustituye.",
)
NO_SUCH_INVOICE = _fault(
    "timbrado.no_existe",
    "external_id",
    "No encontramos la factura.",
    "Si la ves en Apunto, es un error de Apunto: escribe a soporte.",
    "apunto",
    "there is no invoice with this external_id in this account",
)
NOT_STAMPED = _fault(
    "timbrado.no_timbrada",
    "external_id",
    "Esta factura no está timbrada, así que no hay nada que cancelar ante el SAT.",
    "Si ya no la necesitas, puedes retirarla: todavía no se timbra.",
)
NEVER_STAMPED = _fault(
    "timbrado.no_timbrada",
    "external_id",
    "Esta factura no se timbró, así que no hay nada que cancelar ante el SAT.",
    "No tienes que hacer nada.",
)
NOT_KNOWN = _fault(
    "timbrado.no_timbrada",
    "external_id",
    "No se sabe si esta factura quedó timbrada, así que no se puede cancelar desde aquí.",
    "No la envíes de nuevo: soporte lo revisa.",
    "support",
)
NOT_REPLACEABLE = _fault(
    "timbrado.no_sustituible",
    "external_id",
    "Esta factura ya está cancelada o en proceso de cancelación, así que no se puede sustituir.",
    "Si todavía necesitas facturar, envía la factura nueva sin sustituir a esta.",
)
REPLACED_BY_ANOTHER = _fault(
    "timbrado.no_sustituible",
    "external_id",
    "Ya enviaste otra factura que sustituye a esta, y solo una puede sustituirla.",
    "Espera a que se timbre esa otra, o retírala antes de enviar una distinta. Si ya está timbrada y esta sigue "
    f"vigente, cancela esta con el motivo 01 ({_REPLACED}) y el folio fiscal de la otra.",
)
SUBSTITUTE_CAME_LATE = _fault(
    "timbrado.no_sustituible",
    "external_id",
    "Otra factura ya sustituye a la que esta iba a sustituir, y solo una puede sustituirla.",
    "Retira esta. Si lo que cobra no va en la otra, envíala como factura nueva sin sustituir a ninguna.",
)
NO_SUBSTITUTE = _fault(
    "timbrado.no_sustituible",
    "external_id",
    "Esta factura ya se timbró (o se está timbrando) por su cuenta, así que la anterior no se cancela sola.",
    f"Cuando esté timbrada, cancela la anterior con el motivo 01 ({_REPLACED}) y el folio fiscal de esta.",
)
SUBSTITUTE_NEEDS_ITS_OWN_ID = _fault(
    "timbrado.sustituta_sin_identificador",
    "invoice.external_id",
    "Apunto envió mal la factura que sustituye a esta.",
    "No es culpa tuya: escribe a soporte de Apunto.",
    "apunto",
    "invoice.external_id must not be that of the invoice it replaces",
)
SUBSTITUTE_OF_ANOTHER_ACCOUNT = _fault(
    "timbrado.sustituta_de_otra_cuenta",
    "invoice.account",
    "Apunto envió mal la factura que sustituye a esta.",
    "No es culpa tuya: escribe a soporte de Apunto.",
    "apunto",
    "invoice.account must be that of the invoice it replaces",
)
SUBSTITUTE_UNREADABLE = _fault(
    "timbrado.sustituta_ilegible",
    "invoice",
    "Apunto envió mal la factura que sustituye a esta.",
    "No es culpa tuya: escribe a soporte de Apunto.",
    "apunto",
    "invoice must be the whole new invoice, as an object",
)
NOT_YET_KNOWN = _fault(
    "timbrado.no_timbrada",
    "external_id",
    "Todavía no se sabe si esta factura quedó timbrada, así que aún no se puede cancelar.",
    "Espera el aviso de que quedó timbrada y entonces solicita la cancelación.",
)
RECEPTOR_REFUSED = Fault(
    "timbrado.cancelacion_rechazada",
    "",
    "Tu cliente rechazó la cancelación, así que la factura sigue vigente.",
    "Habla con tu cliente y, si está de acuerdo, solicita la cancelación de nuevo.",
    "sat",
)
NOT_CANCELABLE = Fault(
    "timbrado.no_cancelable",
    "",
    "El SAT dice que esta factura no se puede cancelar: tiene otros CFDI relacionados vigentes, o ya pasó su plazo.",
    "Cancela primero los CFDI relacionados con ella; si no los hay, pregunta a tu contador.",
    "sat",
)
ANOTHER_RECORD = Fault(
    "timbrado.registro_de_otra_factura",
    "",
    "Esta factura no está en la cuenta de ContaDigital que está conectada ahora.",
    "Cancélala en la cuenta de ContaDigital con la que se timbró, buscándola por su folio fiscal.",
    "timbrado",
)
NOT_ASKED = _fault(
    "timbrado.cancelacion_no_solicitada",
    "",
    "En siete días ContaDigital no permitió solicitar la cancelación, así que la factura sigue vigente.",
    "Solicítala de nuevo, o cancélala en ContaDigital buscándola por su folio fiscal.",
)
UNCONFIRMED = _fault(
    "timbrado.cancelacion_sin_confirmar",
    "",
    "Se solicitó la cancelación y nadie ha confirmado cómo terminó: la factura puede estar cancelada o seguir vigente.",
    "Consulta su estado en el portal del SAT (Verificación de CFDI) con su folio fiscal; si sigue vigente, solicita la "
    "cancelación de nuevo.",
)
ASK_SUPPORT = (
    "Revisa el mensaje de ContaDigital; si no queda claro qué hacer, envíaselo al soporte de Apunto."
)
