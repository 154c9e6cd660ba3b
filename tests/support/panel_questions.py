"""What a bookkeeper asks of the panel, and by which clicks from the first page each question is answered."""

from typing import Any

from api.panel.pages import when
from stamping.cancellation import cancel
from stamping.connections import connect
from tests.support.builders import a_receptor
from tests.support.harness import Harness


def questions(harness: Harness) -> dict[str, tuple[tuple[str, ...], str]]:
    """Lay down what is asked about; return clicks and answer by question.

    A click is the name of a link, or `?TEXT`: typed into the search box. A document is named by its file.
    """
    stamped = harness.row(harness.stamped("Q-DONE"))
    harness.submit("Q-WRONG", receptor=a_receptor(uso_cfdi="ZZZ"))
    cancelled = harness.stamped("Q-CANCEL")
    cancel.request(harness.account, "Q-CANCEL", "02", None, harness.tools)
    cancel.settle_cancellation(cancelled, harness.tools)
    harness.sandbox.play("wrong_xml", account=harness.account, call="stamp", times=1, form="total")
    harness.stamp(harness.submit("Q-DIFFERS"))
    harness.submit("Q-WAITS")
    broken = _a_broken_account(harness)
    count_down = "UPDATE connections SET stamps_left = 37 WHERE account = :account RETURNING id"
    harness.all(count_down, account=harness.account)
    return {
        "¿ya se timbró?": (("?Q-DONE",), "Timbrada"),
        "¿cuándo?": (
            ("?Q-DONE", "Q-DONE"),
            f"Recibida {when(stamped.created_at)} Timbrada {when(stamped.fecha_timbrado)}",
        ),
        "¿cuál es su folio fiscal?": (("?Q-DONE", "Q-DONE"), stamped.uuid),
        "¿dónde está el PDF?": (("?Q-DONE", "PDF"), f"{stamped.uuid}.pdf"),
        "¿y el XML?": (("?Q-DONE", "XML"), f"{stamped.uuid}.xml"),
        "¿por qué no se timbró?": (("?Q-WRONG", "Q-WRONG"), "El uso del CFDI «ZZZ» no está vigente"),
        "¿qué hago?": (("?Q-WRONG", "Q-WRONG"), "Corregir los datos señalados y enviar la factura de nuevo."),
        "¿quién tiene que actuar?": (("?Q-WRONG", "Q-WRONG"), "Quién actúa El usuario"),
        "¿se canceló?": (("?Q-CANCEL",), "Cancelada"),
        "¿qué cambió?": (("?Q-DIFFERS", "Q-DIFFERS"), "Diferencias con lo que se envió"),
        "¿cuántos timbres quedan?": (("Conexiones", harness.account), "Timbres 37"),
        "¿qué está esperando, y por qué?": ((), "Están en la fila."),
        "¿cuándo se vence el plazo?": (("?Q-WAITS", "Q-WAITS"), "Plazo de 72 horas"),
        "¿funciona la conexión?": (("Conexiones",), "Conexión con problema"),
        "¿cómo se arregla?": (("Conexiones", broken), "Perfil de usuario > API Facturación"),
        "¿Apunto ya lo sabe?": (("Avisos",), "Q-DONE"),
        "¿cuántas se timbraron hoy?": ((), "timbradas hoy"),
    }


def _a_broken_account(harness: Harness) -> str:
    """An account whose key was revoked before it was connected."""
    name = f"{harness.account}-q"
    facts: dict[str, Any] = {"rfc": "EKU9003173C9", "razon_social": "ESCUELA KEMPER URGATE"}
    key = harness.sandbox.open_account(name, lugares=["42501"], **facts)["api_key"]
    harness.sandbox.revoke_key(name)
    encrypted = harness.tools.fernet.encrypt(key.encode()).decode()
    connect.connect(
        connect.ConnectRequest(account=name, api_key_encrypted=encrypted, codigo_postal="42501", **facts),
        harness.tools,
    )
    return name
