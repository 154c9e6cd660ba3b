"""Why a connection is broken, in the words its owner reads: one table for every event, screen and log.

`reason` is the contract's word and never changes; `cause` is our finer one, which only chooses a better sentence.
`unreachable` is nobody's fault on Apunto's side, and its text says so.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from cfdi.faults import Whose

Reason = Literal[
    "key_rejected",
    "key_malformed",
    "api_not_enabled",
    "serie_inactive",
    "rfc_mismatch",
    "razon_social_mismatch",
    "lugar_expedicion_unknown",
    "empresa_unknown",
    "no_stamps",
    "unreachable",
    "ids_missing",
    "stamps_differ",
]
REASONS: tuple[Reason, ...] = get_args(Reason)

WHERE_THE_KEY_IS = "ContaDigital (Perfil de usuario > API Facturación)"
WHERE_IT_GOES = "Apunto (Configuración > Integraciones > ContaDigital)"


@dataclass(frozen=True, slots=True)
class Words:
    """What happened and what to do about it, in Mexican Spanish, for Apunto's user."""

    message: str
    fix: str
    whose: Whose = "user"
    """Who can correct it."""

    @property
    def text(self) -> str:
        """Both in one, for a place that has room for one text only."""
        return f"{self.message} {self.fix}"


ID_REFUSED = "refused"
"""The cause of `ids_missing` where an id was typed, and ContaDigital does not know it: only another id ends that."""

WORDS: dict[tuple[Reason, str], Words] = {
    ("ids_missing", ""): Words(
        "Faltan números de tu cuenta de ContaDigital para poder facturar.",
        f"Escríbelos en {WHERE_IT_GOES}; en ContaDigital aparecen en los catálogos de tu empresa. Si no los "
        "encuentras, escribe a soporte de Apunto.",
    ),
    ("ids_missing", ID_REFUSED): Words(
        "ContaDigital no acepta un número de tu cuenta de los que escribiste.",
        f"Compáralo con el que muestra ContaDigital y corrígelo en {WHERE_IT_GOES}. Tus facturas en pausa seguirán "
        "solas.",
    ),
    ("stamps_differ", ""): Words(
        "Detuvimos el timbrado de tu cuenta: ContaDigital devolvió facturas distintas de las que se enviaron.",
        "No envíes nada de nuevo: soporte lo está revisando y tus facturas seguirán solas.",
        "support",
    ),
    ("key_rejected", ""): Words(
        "ContaDigital ya no acepta el API Key de esta conexión: fue revocado o regenerado.",
        f"Cópialo de nuevo en {WHERE_THE_KEY_IS} y pégalo en {WHERE_IT_GOES}.",
    ),
    ("key_malformed", ""): Words(
        "El API Key que pegaste no tiene la forma de un API Key de ContaDigital.",
        f"Cópialo completo en {WHERE_THE_KEY_IS}, sin espacios ni comillas, y pégalo en {WHERE_IT_GOES}.",
    ),
    ("key_malformed", "unreadable"): Words(
        "Apunto envió el API Key de una forma que no podemos leer.",
        "No es culpa tuya: escribe a soporte de Apunto.",
        "apunto",
    ),
    ("api_not_enabled", ""): Words(
        "Tu cuenta de ContaDigital no está habilitada para facturar por API.",
        "Pide a ContaDigital que habilite la facturación por API en tu cuenta. Tus facturas en pausa "
        "seguirán solas en cuanto lo haga.",
    ),
    ("api_not_enabled", "forbidden"): Words(
        "ContaDigital acepta el API Key, pero no le permite facturar por API.",
        "Pide a ContaDigital que habilite la facturación por API para este API Key. Si tienes otro con "
        f"permiso, pégalo en {WHERE_IT_GOES}.",
    ),
    ("api_not_enabled", "suspended"): Words(
        "ContaDigital tiene suspendida tu cuenta de facturación.",
        "Comunícate con ContaDigital para que la reactive. Tus facturas en pausa seguirán solas en cuanto "
        "lo haga.",
    ),
    ("api_not_enabled", "csd"): Words(
        "El certificado de sello digital (CSD) cargado en ContaDigital no sirve para timbrar: está vencido, "
        "revocado, o no es de este RFC.",
        "Renueva tu CSD en el SAT y cárgalo en ContaDigital. Si lo acabas de tramitar, el SAT puede tardar "
        "hasta 72 horas en reconocerlo.",
    ),
    ("api_not_enabled", "lco"): Words(
        "El SAT no tiene a este emisor en su lista de contribuyentes con obligaciones (LCO).",
        "Revisa en el SAT tus obligaciones fiscales y tu certificado de sello digital, o pregunta a tu "
        "contador.",
    ),
    ("api_not_enabled", "pac"): Words(
        "El proveedor de timbrado de ContaDigital no tiene dado de alta a este emisor.",
        "Comunícate con ContaDigital para que dé de alta tu RFC con su proveedor de timbrado.",
    ),
    ("serie_inactive", ""): Words(
        "La serie con la que facturas está inactiva o ya no existe en ContaDigital.",
        f"Activa la serie en ContaDigital, o elige otra en {WHERE_IT_GOES}.",
    ),
    ("serie_inactive", "none_active"): Words(
        "No hay ninguna serie activa en tu cuenta de ContaDigital.",
        "Crea o activa una serie de facturas en ContaDigital y valida de nuevo la conexión.",
    ),
    ("serie_inactive", "several_active"): Words(
        "Tu cuenta de ContaDigital tiene varias series activas y no sabemos con cuál facturas.",
        f"Deja activa en ContaDigital solo la serie que usas, o elígela en {WHERE_IT_GOES}.",
    ),
    ("rfc_mismatch", ""): Words(
        "El RFC de tu cuenta de Apunto no está entre los RFC de tu cuenta de ContaDigital.",
        "Revisa que el RFC en Apunto sea el que registraste en ContaDigital, o usa el API Key de la cuenta "
        "de ese RFC.",
    ),
    ("razon_social_mismatch", ""): Words(
        "La razón social en Apunto no es igual a la registrada en ContaDigital.",
        "Escríbela en Apunto exactamente como está en ContaDigital y en tu Constancia de Situación Fiscal, "
        "sin el régimen de capital (S.A. de C.V. y similares).",
    ),
    ("razon_social_mismatch", "sat"): Words(
        "El SAT no reconoce la razón social del emisor registrada en ContaDigital.",
        "Corrígela en ContaDigital y en Apunto: debe ser igual a la de tu Constancia de Situación Fiscal, "
        "sin el régimen de capital (S.A. de C.V. y similares).",
    ),
    ("lugar_expedicion_unknown", ""): Words(
        "El código postal desde el que facturas no está dado de alta como lugar de expedición en "
        "ContaDigital.",
        "Agrega ese código postal en los lugares de expedición de ContaDigital, o corrige el "
        "domicilio fiscal en Apunto.",
    ),
    ("empresa_unknown", ""): Words(
        "No sabemos con cuál empresa de tu cuenta de ContaDigital facturas.",
        f"Pide a soporte de ContaDigital el número de tu empresa (IdEmpresa) y escríbelo en {WHERE_IT_GOES}.",
    ),
    ("no_stamps", ""): Words(
        "Tu cuenta de ContaDigital se quedó sin timbres.",
        "Compra timbres en ContaDigital. Tus facturas en pausa seguirán solas en cuanto haya timbres.",
    ),
    ("no_stamps", "monthly_limit"): Words(
        "Tu cuenta de ContaDigital llegó al límite de timbres de este mes.",
        "Amplía tu plan o compra timbres en ContaDigital. Tus facturas en pausa seguirán solas.",
    ),
    ("unreachable", ""): Words(
        "ContaDigital no responde. No es un problema de tus datos ni de tu API Key.",
        "No tienes que hacer nada: lo intentaremos de nuevo y te avisaremos en cuanto responda.",
        "contadigital",
    ),
    ("unreachable", "not_understood"): Words(
        "ContaDigital respondió, pero de una forma que no entendemos. No es un problema de tus datos ni de tu API Key.",
        "Soporte de Apunto lo revisa: se guardó una muestra de la respuesta, sin datos tuyos.",
        "support",
    ),
    ("unreachable", "address_forbidden"): Words(
        "Tu conexión con ContaDigital tiene un problema que soporte de Apunto debe arreglar.",
        "No cambies nada: escribe a soporte de Apunto.",
        "support",
    ),
}


def explain(reason: Reason, cause: str = "") -> Words:
    """The words for a reason; those of its bare reason where the cause has none of its own."""
    return WORDS.get((reason, cause)) or WORDS[reason, ""]
