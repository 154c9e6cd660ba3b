"""What leaves the client: the messages of the contract, and what happens when the broker is not there."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import timbrado_client
from celery import Celery
from cryptography.fernet import Fernet
from timbrado_client import BrokerUnavailable, InvoiceInvalid, RequestInvalid, Timbrado

Memory = tuple[str, Callable[[], list[Any]]]
KEYS = [Fernet.generate_key().decode() for _ in range(2)]


@pytest.fixture
def timbrado(memory_broker: Memory) -> Timbrado:
    return Timbrado(memory_broker[0], ",".join(KEYS))


def only(taken: Callable[[], list[Any]]) -> Any:
    (message,) = taken()
    return message


def kwargs_of(message: Any) -> dict[str, Any]:
    args, kwargs, _embed = message.decode()
    assert args == []
    return kwargs


def test_submit_sends_the_message_of_the_contract(
    timbrado: Timbrado, memory_broker: Memory, invoice: dict[str, Any]
) -> None:
    """Protocol 2, JSON, the task's name, one keyword argument, in the queue `intake`."""
    sent = timbrado.submit(invoice)

    message = only(memory_broker[1])
    assert message.content_type == "application/json"
    assert message.headers["task"] == "stamping.submit_invoice" == sent.task
    assert message.headers["id"] == message.properties["correlation_id"] == sent.message_id
    assert kwargs_of(message) == {"invoice": invoice}
    assert message.delivery_info["routing_key"] == "intake"


@pytest.mark.parametrize(
    ("ask", "task", "kwargs"),
    [
        (
            lambda t: t.cancel("acme", "OP-1", "02"),
            "stamping.cancel_invoice",
            {"account": "acme", "external_id": "OP-1", "motivo": "02"},
        ),
        (
            lambda t: t.cancel("acme", "OP-1", "01", "9932113E-09AC-47BA-8E8C-6F83100C814F"),
            "stamping.cancel_invoice",
            {
                "account": "acme",
                "external_id": "OP-1",
                "motivo": "01",
                "uuid_sustitucion": "9932113E-09AC-47BA-8E8C-6F83100C814F",
            },
        ),
        (
            lambda t: t.retry("acme", "OP-1"),
            "stamping.retry_invoice",
            {"account": "acme", "external_id": "OP-1"},
        ),
        (
            lambda t: t.withdraw("acme", "OP-1"),
            "stamping.withdraw_invoice",
            {"account": "acme", "external_id": "OP-1"},
        ),
        (lambda t: t.validate_connection("acme"), "stamping.validate_connection", {"account": "acme"}),
        (lambda t: t.disconnect("acme"), "stamping.disconnect", {"account": "acme"}),
    ],
    ids=["cancel", "cancel with a substitute", "retry", "withdraw", "validate_connection", "disconnect"],
)
def test_what_else_can_be_asked(
    timbrado: Timbrado,
    memory_broker: Memory,
    ask: Callable[[Timbrado], Any],
    task: str,
    kwargs: dict[str, Any],
) -> None:
    """Each request is one message with the contract's arguments and no others."""
    ask(timbrado)

    message = only(memory_broker[1])
    assert (message.headers["task"], kwargs_of(message)) == (task, kwargs)


def test_replace_sends_the_new_invoice_beside_the_old_one_s_ids(
    timbrado: Timbrado, memory_broker: Memory, invoice: dict[str, Any]
) -> None:
    """One message: the worker orders the stamp of the new one and the cancellation of the old one."""
    new = {**invoice, "external_id": "OP-10234-2"}

    timbrado.replace("acme", "OP-10234-1", new)

    message = only(memory_broker[1])
    assert message.headers["task"] == "stamping.replace_invoice"
    assert kwargs_of(message) == {"account": "acme", "external_id": "OP-10234-1", "invoice": new}


@pytest.mark.parametrize(
    ("change", "field"),
    [({"account": "other"}, "invoice.account"), ({"external_id": "OP-1"}, "invoice.external_id")],
)
def test_an_invoice_replaces_one_of_its_own_account_and_never_itself(
    timbrado: Timbrado, memory_broker: Memory, invoice: dict[str, Any], change: dict[str, str], field: str
) -> None:
    """Refused before it leaves: the same ids would be a correction, another account's is nobody's to replace."""
    with pytest.raises(RequestInvalid) as refused:
        timbrado.replace("acme", "OP-1", {**invoice, **change})

    assert [fault.field for fault in refused.value.faults] == [field]
    assert memory_broker[1]() == []


IDS = {
    "rfc": 7,
    "serie": 11,
    "serie_nota_de_credito": 12,
    "sucursal": 3,
    "lugar_expedicion": {"64000": 5},
    "moneda": {"MXN": 1, "USD": 2},
    "forma_pago": {"03": 103, "99": 199},
    "unidad": {"E48": 201},
    "producto": {"*": 500, "78101802": "0b8f5c9e-1d2a-4f3b-8c4d-5e6f7a8b9c0d"},
    "retencion": {"0.04": 2},
}


def test_ids_given_by_hand_travel_with_the_connection(timbrado: Timbrado, memory_broker: Memory) -> None:
    """As they were given, all parts of the contract."""
    timbrado.connect("acme", "k", "R", "N", "42501", ids=IDS)

    assert kwargs_of(only(memory_broker[1]))["ids"] == IDS


@pytest.mark.parametrize(
    ("ids", "field", "code"),
    [
        ({"rfcs": 7}, "ids.rfcs", "timbrado.campo_desconocido"),
        ({"rfc": True}, "ids.rfc", "timbrado.tipo"),
        ({"moneda": {"MXN": ""}}, "ids.moneda.MXN", "timbrado.tipo"),
        ({"moneda": [1]}, "ids.moneda", "timbrado.tipo"),
        ([], "ids", "timbrado.tipo"),
    ],
)
def test_misshapen_ids_are_refused_before_they_leave(
    timbrado: Timbrado, memory_broker: Memory, ids: Any, field: str, code: str
) -> None:
    """With the path to what is wrong, as Apunto's mistake."""
    with pytest.raises(RequestInvalid) as refused:
        timbrado.connect("acme", "k", "R", "N", "42501", ids=ids)

    (fault,) = refused.value.faults
    assert (fault.field, fault.code, fault.whose) == (field, code, "apunto")
    assert memory_broker[1]() == []


def test_the_key_passes_the_broker_encrypted_with_the_first_key(
    timbrado: Timbrado, memory_broker: Memory
) -> None:
    """The clear key is nowhere in the message, and only the first of the shared keys opens it."""
    timbrado.connect(
        "acme",
        " clave-secreta \n",
        rfc="EKU9003173C9",
        razon_social="ESCUELA",
        codigo_postal="42501",
        serie="A",
    )

    message = only(memory_broker[1])
    kwargs = kwargs_of(message)
    token = kwargs.pop("api_key_encrypted")
    assert "clave-secreta" not in str(message.body) + str(message.headers)
    assert Fernet(KEYS[0]).decrypt(token) == b" clave-secreta \n"  # as it was pasted: the worker judges it
    assert kwargs == {
        "account": "acme",
        "rfc": "EKU9003173C9",
        "razon_social": "ESCUELA",
        "codigo_postal": "42501",
        "serie": "A",
    }


def test_arguments_are_hidden_from_flower(
    timbrado: Timbrado, memory_broker: Memory, invoice: dict[str, Any]
) -> None:
    """What Celery's events will say of the arguments is `(hidden)`."""
    timbrado.submit(invoice)

    headers = only(memory_broker[1]).headers
    assert (headers["argsrepr"], headers["kwargsrepr"]) == ("(hidden)", "(hidden)")
    assert invoice["receptor"]["rfc"] not in str(headers)


def test_a_trace_id_travels_as_a_header(
    timbrado: Timbrado, memory_broker: Memory, invoice: dict[str, Any]
) -> None:
    """The worker finds it in the message's header `trace_id`; without one there is no such header."""
    traced = timbrado.submit(invoice, trace_id="0af7651916cd43dd8448eb211c80319c")
    plain = timbrado.submit(invoice)

    first, second = memory_broker[1]()
    assert first.headers["trace_id"] == traced.trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert "trace_id" not in second.headers
    assert plain.trace_id == plain.message_id


def test_python_values_are_written_as_the_contract_has_them(
    timbrado: Timbrado, memory_broker: Memory, invoice: dict[str, Any]
) -> None:
    """Decimals keep their digits, instants their zone."""
    invoice["fecha"] = datetime(2026, 11, 23, 16, 15, tzinfo=UTC)
    invoice["conceptos"][0]["traslados"][0]["tasa_o_cuota"] = Decimal("0.160000")
    invoice["total"] = Decimal("1.68E+4")

    timbrado.submit(invoice)

    sent = kwargs_of(only(memory_broker[1]))["invoice"]
    assert sent["fecha"] == "2026-11-23T16:15:00+00:00"
    assert sent["conceptos"][0]["traslados"][0]["tasa_o_cuota"] == "0.160000"
    assert sent["total"] == "16800"


@pytest.mark.parametrize(
    ("ask", "fields"),
    [
        (lambda t: t.cancel("acme", "OP-1", "05"), ["motivo"]),
        (lambda t: t.cancel("acme", "OP-1", "01"), ["uuid_sustitucion"]),
        (lambda t: t.cancel("acme", "OP-1", "01", "not-a-uuid"), ["uuid_sustitucion"]),
        (
            lambda t: t.cancel("acme", "OP-1", "03", "9932113E-09AC-47BA-8E8C-6F83100C814F"),
            ["uuid_sustitucion"],
        ),
        (lambda t: t.cancel(" ", "", "9"), ["account", "external_id", "motivo"]),
        (lambda t: t.retry("acme", "a" * 201), ["external_id"]),
        (lambda t: t.retry("ac\nme", "OP-1"), ["account"]),
        (lambda t: t.disconnect(None), ["account"]),
        (
            lambda t: t.connect("acme", None, rfc="", razon_social=3, codigo_postal="42501"),
            ["api_key", "rfc", "razon_social"],
        ),
        (
            lambda t: t.connect("a", "k", "R", "N", "42501", empresa_id=1.5, serie=1),
            ["serie", "empresa_id"],
        ),
    ],
)
def test_a_wrong_request_is_refused_before_it_leaves(
    timbrado: Timbrado, memory_broker: Memory, ask: Callable[[Timbrado], Any], fields: list[str]
) -> None:
    """Everything that is wrong is reported at once, with its field, and nothing is sent."""
    with pytest.raises(RequestInvalid) as refused:
        ask(timbrado)

    assert [fault.field for fault in refused.value.faults] == fields
    assert all(fault.message and fault.fix for fault in refused.value.faults)
    assert memory_broker[1]() == []


def test_a_misshapen_invoice_is_never_sent(
    timbrado: Timbrado, memory_broker: Memory, invoice: dict[str, Any]
) -> None:
    """InvoiceInvalid, and an empty queue."""
    del invoice["receptor"]["rfc"]

    with pytest.raises(InvoiceInvalid):
        timbrado.submit(invoice)

    assert memory_broker[1]() == []


@pytest.mark.parametrize("keys", ["no es una llave", ["c2hvcnQ="]])
def test_a_key_that_is_none_is_refused_at_once(keys: Any) -> None:
    """A wrong setting is a ValueError where it is given, and the text does not repeat it."""
    with pytest.raises(ValueError, match="encryption_keys") as refused:
        Timbrado("memory://", keys)

    assert not any(part in str(refused.value) for part in ([keys] if isinstance(keys, str) else keys))


def test_an_address_that_is_no_brokers_is_refused_at_once() -> None:
    """As that of the HTTP API, which is easily taken for it."""
    with pytest.raises(ValueError, match="broker_url is no broker's"):
        Timbrado("https://timbrado.example")


@pytest.mark.parametrize(
    "given", [{}, {"broker_url": ""}, {"broker_url": "memory://", "celery_app": Celery(set_as_current=False)}]
)
def test_there_is_one_broker(given: dict[str, Any]) -> None:
    """Neither none nor two."""
    with pytest.raises(ValueError, match="broker_url or a celery_app"):
        Timbrado(**given)


def test_connect_without_keys_says_what_is_missing(memory_broker: Memory) -> None:
    """Only `connect` needs the keys, and it names them."""
    with pytest.raises(ValueError, match="TIMBRADO_ENCRYPTION_KEYS"):
        Timbrado(memory_broker[0]).connect("a", "k", "R", "N", "42501")


# --- the broker -------------------------------------------------------------------------------------


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port on loopback where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.mark.parametrize("url", ["redis://127.0.0.1:{}/0", "amqp://127.0.0.1:{}//"])
def test_a_broker_that_is_away_is_one_error_after_two_tries(
    nobody: int, url: str, invoice: dict[str, Any]
) -> None:
    """It names the invoice, says that sending again is harmless, keeps the cause, and shows no content."""
    timbrado = Timbrado(url.format(nobody), timeout=timedelta(seconds=0.2))

    with pytest.raises(BrokerUnavailable) as lost:
        timbrado.submit(invoice)

    error = lost.value
    assert error.tries == 2
    assert (error.task, error.account, error.external_id) == ("stamping.submit_invoice", "acme", "OP-10234-1")
    assert error.__cause__ is not None
    assert "harmless" in str(error)
    assert invoice["receptor"]["rfc"] not in str(error) + repr(error.__cause__)


def test_an_app_s_own_broker_is_used_and_its_habits_are_not(
    memory_broker: Memory, invoice: dict[str, Any]
) -> None:
    """Its protocol, serializer, prefix, routes and events would all change or hide the message."""
    app = Celery("apunto", broker=memory_broker[0], set_as_current=False)
    app.conf.update(
        task_protocol=1,
        task_serializer="pickle",
        task_send_sent_event=True,
        task_always_eager=True,
        task_routes={"stamping.*": {"queue": "elsewhere"}},
        task_default_queue="elsewhere",
        broker_transport_options={"global_keyprefix": "apunto:"},
    )

    Timbrado(celery_app=app).submit(invoice)

    message = only(memory_broker[1])
    assert message.content_type == "application/json"
    assert kwargs_of(message) == {"invoice": invoice}


def test_a_url_that_is_given_beats_the_environment(
    memory_broker: Memory, nobody: int, invoice: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Celery takes CELERY_BROKER_URL over any argument: the message would go to the application's own broker."""
    monkeypatch.setenv("CELERY_BROKER_URL", f"redis://127.0.0.1:{nobody}/0")

    Timbrado(memory_broker[0]).submit(invoice)

    assert len(memory_broker[1]()) == 1


FORKING = """
import json, os, sys
from timbrado_client import Timbrado
timbrado = Timbrado("memory://")
timbrado.submit(json.loads(sys.argv[1]))
idle = set(map(id, timbrado._broker._idle))
pid = os.fork()
if pid == 0:
    os._exit(0 if idle and id(timbrado._broker._take()) not in idle else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.mark.slow
def test_a_fork_opens_connections_of_its_own(invoice: dict[str, Any]) -> None:
    """A web server that forks after the first message must not share its parent's sockets."""
    source = Path(timbrado_client.__file__).parents[1]

    ended = subprocess.run(
        [sys.executable, "-c", FORKING, json.dumps(invoice)],
        env={**os.environ, "PYTHONPATH": str(source)},
        timeout=30,
        check=False,
    )

    assert ended.returncode == 0
