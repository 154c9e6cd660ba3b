"""Makes `docs/errors.md`: every error that Apunto's users can read, and what support does about it. In Spanish.

Messages and fixes are never written here. They come out of the code that
tells them; only what support does stands here, and a test asks it of every code of ours.
"""

import re
from collections.abc import Callable, Iterable
from functools import cache

from cfdi.texts import MATRIX, OWN
from contadigital.pasted_key import _CAUSES as KEY_CAUSES  # the words alone are read
from contadigital.reasons import REASONS, WORDS
from events.messages import MESSAGES
from events.types import EventType
from stamping.connections.suspend import PROBED
from tools.docs.source import Words, faults_in, table

PACKAGES = (
    "client/python/src/timbrado_client/explain.py",
    "client/python/src/timbrado_client/reading.py",
    "cfdi/validation.py",
    "contadigital",
    "stamping",
    "events",
    "tasks",
    "worker/consumer.py",
)

NOTHING = "Nada: el usuario corrige el dato y la envía de nuevo."
APUNTO = (
    "Es un defecto de quien envía la factura (Apunto), no del usuario. Pásalo a desarrollo con el"
    " código y el campo; la factura se envía de nuevo cuando se corrija."
)
LOOK_THERE = (
    "**No la envíes ni pidas que la envíen de nuevo.** Sigue el [procedimiento](#una-factura-en-"
    "failed-needs_person)."
)

WAITS_FOR = {"stamps_differ": "no: espera que se acepte, se calibre o se cambie el dialecto"}

SUPPORT_REASONS: dict[str, str] = {
    "ids_missing": (
        "`timbrado connections CUENTA` nombra cada identificador que falta y dónde lo muestra ContaDigital. "
        "Escríbanlos con el usuario en la conexión; lo que no los necesita sigue facturando."
    ),
    "stamps_differ": (
        "No es un error del usuario: avisa a operaciones con el folio fiscal de las facturas que difieren. Nada más se "
        "timbra en esa cuenta hasta que se acepte, se calibre o se cambie el dialecto."
    ),
    "key_rejected": (
        "Pide al usuario que copie la llave otra vez. No la pruebes tú ni pidas que la intente varias veces: un "
        "API Key rechazado no se reintenta, porque algunos proveedores bloquean la cuenta al tercer intento. Pegado "
        "otra vez, el mismo solo se prueba pasados diez minutos."
    ),
    "key_malformed": (
        "Casi siempre se pegó de más o de menos. Con la causa de la tabla siguiente dile qué "
        "sobra o falta. Nunca pidas que te mande la llave. Si el aviso aparece con una llave "
        "recién copiada y completa en *varias* cuentas a la vez, avisa a operaciones: Apunto y el"
        " servicio no comparten las mismas `TIMBRADO_ENCRYPTION_KEYS`."
    ),
    "api_not_enabled": (
        "Depende de ContaDigital o del SAT, no de Apunto. Dale el texto exacto de la tabla. Se "
        "prueba solo cada cierto tiempo; cuando el usuario diga que ya quedó, valida la conexión "
        "para no esperar."
    ),
    "serie_inactive": (
        "Abre ContaDigital con el usuario y revisa sus series. Si tiene varias activas, que elija una en la conexión."
    ),
    "rfc_mismatch": (
        "Compara los dos RFC (vienen en el aviso). Si tiene varias cuentas de ContaDigital, pegó la llave de otra."
    ),
    "razon_social_mismatch": (
        "El aviso trae los dos nombres, uno al lado del otro. Lo normal: en Apunto está con «S.A."
        " de C.V.» y en ContaDigital no. La causa `sat` significa que el propio ContaDigital la "
        "tiene distinta de la constancia."
    ),
    "lugar_expedicion_unknown": "El aviso trae los códigos postales que sí están dados de alta en ContaDigital.",
    "empresa_unknown": (
        "El IdEmpresa se ve en ContaDigital. Se pide solo cuando ContaDigital no lo dice al conectar."
    ),
    "no_stamps": (
        "Que compre timbres. Las facturas en pausa siguen solas: se prueba con una de ellas. "
        "Recuérdale el plazo de 72 horas."
    ),
    "unreachable": (
        "Nada que pedirle al usuario. Revisa si operaciones ya lo sabe (alerta "
        "*TimbradoProviderDown*). Con la causa `address_forbidden`, la dirección de la conexión "
        "no está permitida en esta instalación: quítala o pide que se autorice."
    ),
}

SUPPORT_CODES: dict[str, str] = {
    "CANC207": NOTHING,
    "CANC208": (
        "Explica el orden: primero se timbra la que sustituye (relación 04), después se cancela esta "
        "con motivo 01."
    ),
    "CANC209": NOTHING,
    "contadigital": (
        "Es una respuesta de ContaDigital que no conocemos: léela con el usuario. Si se repite, "
        "pásala a desarrollo tal cual, para que se reconozca (`contadigital/errors.py`)."
    ),
    "contadigital.clave_desconocida": (
        "Esa clave (moneda, forma de pago, unidad...) no está en la cuenta de ContaDigital del "
        "usuario: se agrega ahí, y se valida la conexión para que se lea de nuevo."
    ),
    "contadigital.global_sin_campo": NOTHING,
    "timbrado.cambio_por_confirmar": (
        "Casi siempre conviene esperar: `timbrado list --account` muestra qué sigue abierto. Si se confirma, lo que "
        "estaba en duda queda en espera de una persona."
    ),
    "contadigital.guardado_distinto": (
        "ContaDigital entendió otra cosa de la que se envió, y se notó antes de gastar un timbre. No es dato del "
        "usuario: el dialecto de esa dirección no es el suyo (`timbrado dialect show`). Corregido, `timbrado retry`."
    ),
    "contadigital.id_faltante": (
        "Falta un id de ContaDigital en la conexión y sus listas no lo dicen: búscalo en la cuenta del usuario "
        "y captúralo en los ids de la conexión. Después se envía de nuevo."
    ),
    "contadigital.id_rechazado": (
        "El id se escribió en la conexión y ContaDigital no lo reconoce: compáralo con el de la cuenta del usuario y "
        "corrígelo. Después se envía de nuevo."
    ),
    "contadigital.sin_motivo": (
        "ContaDigital rechazó la factura sin una palabra: `timbrado status` tiene el código y la llamada, y "
        "`timbrado connections CUENTA` la forma de la respuesta. Si se repite, pásala a desarrollo."
    ),
    "contadigital.impuesto_sin_campo": NOTHING,
    "contadigital.relacion_sin_campo": NOTHING,
    "contadigital.tipo_sin_nombre": NOTHING,
    "timbrado.base": "Es solo un aviso. Si la calculó Apunto, pásalo a desarrollo: los decimales no coinciden.",
    "timbrado.campo_desconocido": APUNTO,
    "timbrado.registro_de_otra_factura": (
        "Buscar la factura por su folio fiscal en ContaDigital y cancelarla ahí: la cuenta se conectó después a otra "
        "dirección o empresa."
    ),
    "timbrado.no_cancelable": (
        "Lo dijo el servicio de consulta del SAT antes de pedir nada. Busca con el usuario qué CFDI vigentes la "
        "nombran (notas de crédito, pagos, sustituciones): se cancelan primero."
    ),
    "timbrado.no_sustituible": (
        "`timbrado status` dice cuál de las dos está vigente. Si la anterior ya está cancelada o por cancelarse, que "
        "envíe una factura nueva sin sustitución; si otra la sustituye, que espere a que se timbre o la retire."
    ),
    "timbrado.sustituta_ilegible": "Apunto no envió la factura nueva completa: avísale al equipo de Apunto.",
    "timbrado.sustituta_de_otra_cuenta": "La factura nueva es de otra cuenta que la que sustituye: avísale a Apunto.",
    "timbrado.sustituta_sin_identificador": "Apunto usó el mismo identificador en las dos: avísale a Apunto.",
    "timbrado.cancelacion_no_solicitada": (
        "En una semana ContaDigital no aceptó la solicitud: sigue vigente. Que la cancele en ContaDigital, o "
        "la solicite de nuevo."
    ),
    "timbrado.cancelacion_sin_confirmar": (
        "Nadie confirmó cómo terminó: consulta en el portal del SAT si sigue vigente, con su folio fiscal y los RFC."
    ),
    "timbrado.difiere": (
        "El CFDI existe y no dice lo que se envió: el usuario decide si lo acepta o cancela. Si se repite, avisa a "
        "Apunto: la cuenta se detiene sola al segundo."
    ),
    "timbrado.cancelacion_rechazada": (
        "El receptor dijo que no. La factura sigue vigente: no hay nada que corregir en el sistema."
    ),
    "timbrado.conflict": (
        "No cambió nada. Revisa con `timbrado status` si la factura que existe es la que el "
        "usuario quería; si está timbrada y quiere cambiarla, primero se cancela."
    ),
    "timbrado.correo": NOTHING,
    "timbrado.correo_no_enviado": (
        "La factura sí está timbrada. Descarguen XML y PDF de Apunto y envíenlos; el intento no se repite."
    ),
    "timbrado.cuenta_ilegible": (
        "La conexión no se guardó: no dice de qué cuenta es. Es un defecto de Apunto; pásalo a desarrollo."
    ),
    "timbrado.decimal_mal_escrito": APUNTO,
    "timbrado.demasiadas_lineas": NOTHING,
    "timbrado.demasiado_grande": NOTHING,
    "timbrado.demasiados_decimales": APUNTO,
    "timbrado.demasiados_digitos": NOTHING,
    "timbrado.demasiados_niveles": (
        "Nadie escribe una factura así: pásalo a desarrollo. El mensaje quedó guardado entero."
    ),
    "timbrado.entidad_html": "Suele venir de copiar el nombre desde una página. Escríbanlo con su símbolo (&, Ñ).",
    "timbrado.error_interno": (
        "Es un defecto nuestro, y el mensaje quedó guardado: pásalo a desarrollo con la hora. No pidas "
        "que la envíen de nuevo hasta que respondan."
    ),
    "timbrado.evidencia": LOOK_THERE,
    "timbrado.falta": "Falta un dato de la forma de Apunto. Si la forma no lo pide, pásalo a desarrollo.",
    "timbrado.hay_mas": "Corrijan los que se ven; al enviarla otra vez aparecen los demás.",
    "timbrado.identificador": APUNTO,
    "timbrado.importe_enorme": NOTHING,
    "timbrado.impuesto_repetido": NOTHING,
    "timbrado.mensaje_desconocido": (
        "El mensaje quedó guardado entero. Pásalo a desarrollo de Apunto: el nombre de la tarea está mal, "
        "o el cuerpo no es JSON."
    ),
    "timbrado.negativo": NOTHING,
    "timbrado.no_es_json": APUNTO,
    "timbrado.no_es_objeto": APUNTO,
    "timbrado.no_existe": "Busca la factura por su identificador: pudo pedirse en otra cuenta, o nunca llegó.",
    "timbrado.no_timbrada": "No hay CFDI que cancelar. Si todavía no se timbra y ya no la quieren, retírenla.",
    "timbrado.nombre_corto": NOTHING,
    "timbrado.nombre_largo": (
        "El texto completo cabe en la descripción; el nombre es el del producto en ContaDigital."
    ),
    "timbrado.nota_sin_relacion": "Es solo un aviso: no detiene la factura.",
    "timbrado.numero_sin_comillas": APUNTO,
    "timbrado.objeto_imp_no_admitido": NOTHING,
    "timbrado.pdf_no_disponible": (
        "La factura está timbrada y su XML guardado. El PDF se puede bajar de ContaDigital, o pedir otra vez con "
        "`timbrado documents`."
    ),
    "timbrado.plazo_vencido": (
        "Seguro no se timbró. Que la envíe de nuevo con fecha de hoy. Revisa en su historia "
        "(`timbrado status`) por qué esperó 72 horas: casi siempre una conexión rota que nadie "
        "atendió."
    ),
    "timbrado.pue_por_definir": NOTHING,
    "timbrado.regimen_de_capital": "Es solo un aviso: no detiene la factura.",
    "timbrado.relacion_no_corresponde": "Es solo un aviso: no detiene la factura.",
    "timbrado.requiere_revision": LOOK_THERE,
    "timbrado.retencion_cero": NOTHING,
    "timbrado.rfc_digito": (
        "Es solo un aviso: hay RFC reales que no cumplen. Si el SAT lo rechaza, revisen la constancia."
    ),
    "timbrado.rfc_fecha": "Es solo un aviso. Revisen el RFC letra por letra.",
    "timbrado.sin_iva": NOTHING,
    "timbrado.texto_roto": APUNTO,
    "timbrado.tipo": APUNTO,
    "timbrado.version": APUNTO,
    "contadigital.varias_relaciones": NOTHING,
    "timbrado.carta_porte": (
        "Es solo un aviso. Si el usuario transporta por carretera federal, esa factura se hace en "
        "ContaDigital con Carta Porte; "
        "si ya se timbró sin él, se cancela y se hace de nuevo allá."
    ),
    "timbrado.exportacion_no_admitida": NOTHING,
    "timbrado.global_descripcion": "Es solo un aviso: no detiene la factura.",
    "timbrado.global_metodo_pago": "Es solo un aviso: no detiene la factura.",
    "timbrado.global_periodo_futuro": "Es solo un aviso: no detiene la factura.",
    "timbrado.ieps_no_admitido": NOTHING,
    "timbrado.pago_al_reves": "Si en Apunto estaban bien, pásalo a desarrollo: los dos campos van cruzados.",
    "timbrado.retencion_flete": "Es solo un aviso: no detiene la factura.",
    "timbrado.tipo_cambio_invertido": "Es solo un aviso: no detiene la factura.",
    "timbrado.uso_poco_comun": "Es solo un aviso: no detiene la factura.",
    "timbrado.sin_decision": "Mira el historial: otra persona pudo decidir antes, o se está consultando.",
    "timbrado.sin_reintento": "Nada: el mensaje dice qué espera la factura.",
    "timbrado.ya_retirada": "Nada: ya se había retirado.",
    "timbrado.ya_timbrada": "Nada: si ya no la quieren, se cancela.",
}

SUPPORT_EVENTS: dict[EventType, str] = {
    EventType.INVOICE_DIFFERS: (
        "La factura existe ante el SAT. Compara las diferencias con el usuario: si le sirve, acéptala; si no, "
        "cancélala. Nunca la envíes de nuevo antes de cancelarla."
    ),
    EventType.INVOICE_WITHDRAWN: "Nada: se retiró antes de timbrarse y no existe ningún CFDI.",
    EventType.INVOICE_CANCEL_REFUSED: "La factura sigue vigente. Explica el motivo señalado y qué puede hacer.",
    EventType.REQUEST_REFUSED: (
        "La solicitud no corresponde a ninguna factura: su identificador está mal escrito, o Apunto envió algo que no "
        "se pudo leer. Pásalo a desarrollo con lo que dice `detail`."
    ),
    EventType.PROVIDER_DEGRADED: (
        "ContaDigital no responde: las facturas esperan y se timbran solas. Que nadie las repita."
    ),
    EventType.PROVIDER_RECOVERED: "Nada: lo que esperaba sigue solo.",
    EventType.INVOICE_ACCEPTED: "Nada. Si lleva más de unos minutos así, mira `timbrado status`: dice qué espera.",
    EventType.INVOICE_REJECTED: (
        "Ayuda a corregir lo que dice `errors`, campo por campo, con las tablas de esta página."
    ),
    EventType.INVOICE_ON_HOLD: "Atiende la conexión, no la factura: sigue sola cuando la conexión funcione.",
    EventType.INVOICE_DELAYED: (
        "Nada: sigue en la fila. Si quedan pocas horas del plazo, revisa qué la detiene con `timbrado"
        " status`."
    ),
    EventType.INVOICE_IN_DOUBT: (
        "Tranquiliza al usuario y **no la envíes de nuevo**: se consulta sola. Puede tardar 15 "
        "minutos o más en aclararse. Si sigue así después de una hora, búscala en ContaDigital por su FolioOriginal y "
        "ciérrala con `timbrado resolve`."
    ),
    EventType.INVOICE_STAMPED: (
        "Nada. Si trae `errors`, la cancelación o el correo que pidió no se hizo; el CFDI está bien."
    ),
    EventType.INVOICE_DOCUMENTS_READY: "Nada.",
    EventType.INVOICE_FAILED: "Sigue el [procedimiento](#una-factura-en-failed) según su motivo.",
    EventType.INVOICE_CANCELLED: "Nada.",
    EventType.CONNECTION_ACTIVE: "Nada.",
    EventType.CONNECTION_BROKEN: "Busca su motivo (`reason`) en la tabla de conexiones.",
    EventType.CONNECTION_STAMPS_LOW: "Avisa al usuario con tiempo: sin timbres, todas sus facturas quedan en pausa.",
}


@cache
def own_codes() -> dict[str, list[Words]]:
    """Return every code of our own, with each wording that it has."""
    found: dict[str, list[Words]] = {
        code: [Words(code, words.field, words.message, words.fix, "cfdi/texts.py")]
        for code, words in OWN.items()
    }
    for words in faults_in(*PACKAGES):
        if not words.code.startswith("CFDI"):
            found.setdefault(words.code, []).append(words)
    return dict(sorted(found.items()))


def blocks() -> dict[str, list[str]]:
    """Return the tables of the page by their names."""
    words = "qué lee el usuario | qué le pedimos"
    return {
        "connections": table(
            f"reason | causa | {words} | ¿se prueba sola? | qué hace soporte", _connections()
        ),
        "keys": table(
            f"causa | {words}",
            (_row(f"`{cause}`", message, fix) for cause, (message, fix) in KEY_CAUSES.items()),
        ),
        "events": table("evento | caso | texto | qué hace soporte", _events()),
        "own": table(f"código | campo | {words} | qué hace soporte", _own(lambda code: not _is_theirs(code))),
        "contadigital": table(f"código | campo | {words} | qué hace soporte", _own(_is_theirs)),
        "sat": table(
            f"código | campo | {words}",
            (_row(code, _field(words.field), words.message, words.fix) for code, words in MATRIX.items()),
        ),
    }


def _is_theirs(code: str) -> bool:
    return code.startswith("contadigital")


def _events() -> Iterable[str]:
    for (event, variant), text in MESSAGES.items():
        yield _row(f"`{event}`", variant or "—", text, SUPPORT_EVENTS[event])


def _connections() -> Iterable[str]:
    for reason in REASONS:
        for (name, cause), words in WORDS.items():
            if name == reason:
                by_itself = "sí" if reason in PROBED else WAITS_FOR.get(reason, "no: espera una llave nueva")
                advice = SUPPORT_REASONS[reason] if not cause else "Igual que arriba."
                yield _row(f"`{reason}`", cause or "—", words.message, words.fix, by_itself, advice)


def _own(wanted: Callable[[str], bool]) -> Iterable[str]:
    for code, ways in own_codes().items():
        if wanted(code):
            fields = _different(_field(words.field) for words in ways)
            messages = _different(words.message for words in ways)
            fixes = _different(words.fix for words in ways)
            yield _row(f"`{code}`", fields, messages, fixes, SUPPORT_CODES[code])


def _field(field: str) -> str:
    return f"`{field.replace('…', '')}`" if field.strip("….") else "el señalado"


def _different(texts: Iterable[str]) -> str:
    different = dict.fromkeys(text or "—" for text in texts)
    known = [text for text in different if text.strip("… ")]
    return " / ".join(known or different)


def _row(*cells: str) -> str:
    return f"| {' | '.join(_tidy(cell) for cell in cells)} |"


def _tidy(text: str) -> str:
    text = re.sub(r"…(?:[….\s]*…)+|…\.{2,}", "…", text)
    return " ".join(text.replace("|", "\\|").split())
