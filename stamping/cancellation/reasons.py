"""Why an invoice may be cancelled: the SAT's motivos 01 to 04, and what a request is refused for without a call.

With motivo 01 the substitute comes first: a CFDI of its own, stamped and related to the old one with TipoRelacion 04
before the old one is cancelled (cfdi rules, section 6).
"""

import re
from typing import Any

import sqlalchemy as sa

from cfdi.faults import Fault
from models.tables import invoices
from models.vocabulary import InvoiceStatus

MOTIVOS = frozenset({"01", "02", "03", "04"})
SUBSTITUTED = "01"
_UUID = re.compile(r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}")


def check(db: sa.Connection, row: sa.Row[Any], motivo: object, sustitucion: str | None) -> tuple[Fault, ...]:
    """Return what is wrong with a request to cancel this stamped invoice; nothing where it may be asked for."""
    if not isinstance(motivo, str) or motivo not in MOTIVOS:
        return (_motivo_unknown(motivo),)
    if motivo != SUBSTITUTED:
        return () if sustitucion is None else (_substitute_not_expected(motivo),)
    if sustitucion is None or not _UUID.fullmatch(sustitucion):
        return (SUBSTITUTE_MISSING,)
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


def not_stamped(status: str) -> Fault:
    """Return why an invoice that has no folio fiscal can't be cancelled."""
    if status in {InvoiceStatus.IN_DOUBT, InvoiceStatus.STAMPING}:
        return NOT_YET_KNOWN
    return NOT_STAMPED


def _fault(code: str, field: str, message: str, fix: str) -> Fault:
    return Fault(code, field, message, fix, "timbrado")


def _motivo_unknown(motivo: object) -> Fault:
    return _fault(
        "CANC207",
        "motivo",
        f"El motivo de cancelación «{str(motivo)[:10]}» no existe.",
        "Usa 01, 02, 03 o 04.",
    )


def _substitute_not_expected(motivo: str) -> Fault:
    return _fault(
        "CANC209",
        "uuid_sustitucion",
        f"El motivo {motivo} no lleva folio fiscal de sustitución.",
        "Quita el folio de sustitución, o usa el motivo 01 si otra factura la sustituye.",
    )


def _substitute_unknown(sustitucion: str) -> Fault:
    return _fault(
        "CANC208",
        "uuid_sustitucion",
        f"La factura {sustitucion} no está timbrada en esta cuenta, así que no puede sustituir a esta.",
        "Timbra primero la factura que la sustituye y envía su folio fiscal.",
    )


def _substitute_not_related(sustitucion: str) -> Fault:
    return _fault(
        "CANC208",
        "uuid_sustitucion",
        f"La factura {sustitucion} no está relacionada con esta como sustitución (tipo de relación 04).",
        "Emite la factura que la sustituye con tipo de relación 04 y el folio fiscal de esta.",
    )


SUBSTITUTE_MISSING = _fault(
    "CANC208",
    "uuid_sustitucion",
    "El motivo 01 necesita el folio fiscal (UUID) de la factura que la sustituye.",
    "Timbra primero la factura que la sustituye, con relación 04 a esta, y envía su folio fiscal.",
)
SUBSTITUTES_ITSELF = _fault(
    "CANC208",
    "uuid_sustitucion",
    "El folio fiscal de sustitución es el de la misma factura que se cancela.",
    "Envía el folio fiscal de la factura nueva que la sustituye.",
)
NO_SUCH_INVOICE = _fault(
    "timbrado.no_existe",
    "external_id",
    "No hay ninguna factura con este identificador en esta cuenta.",
    "Revisa la cuenta y el identificador de la factura.",
)
NOT_STAMPED = _fault(
    "timbrado.no_timbrada",
    "external_id",
    "Esta factura no está timbrada, así que no hay nada que cancelar ante el SAT.",
    "Espera a que se timbre, o corrígela si fue rechazada.",
)
NOT_REPLACEABLE = _fault(
    "timbrado.no_sustituible",
    "external_id",
    "Esta factura ya está cancelada o en proceso de cancelación, así que no se puede sustituir.",
    "Si todavía necesitas facturar, envía la factura nueva sin sustituir a esta.",
)
SUBSTITUTE_NEEDS_ITS_OWN_ID = _fault(
    "timbrado.sustituta_sin_identificador",
    "invoice.external_id",
    "La factura que sustituye a esta necesita un identificador propio.",
    "Envíala con un identificador distinto del de la factura que sustituye.",
)
SUBSTITUTE_UNREADABLE = _fault(
    "timbrado.sustituta_ilegible",
    "invoice",
    "No se pudo leer la factura que sustituye a esta.",
    "Envía la factura nueva completa, con la forma que describe el contrato.",
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
ANOTHER_RECORD = Fault(
    "timbrado.registro_de_otra_factura",
    "",
    "ContaDigital no reconoce esta factura en la cuenta que está conectada ahora, así que no se pidió cancelarla desde "
    "aquí.",
    "Cancélala en ContaDigital, buscándola por su folio fiscal, o contacta a soporte.",
    "timbrado",
)
NOT_ASKED = _fault(
    "timbrado.cancelacion_no_solicitada",
    "",
    "En siete días ContaDigital no permitió solicitar la cancelación, así que la factura sigue vigente.",
    "Solicítala de nuevo, cancélala en ContaDigital, o contacta a soporte.",
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
