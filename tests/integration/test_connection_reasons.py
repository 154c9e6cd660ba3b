"""From "Conectar" to active again by itself: each reason of the contract, reported once, with what to do about it."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet

from contadigital.reasons import REASONS
from stamping.connections import connect, suspend
from tests.support.apunto import NAME, RFC
from tests.support.harness import Harness, open_harness, sweep


@pytest.fixture
def harness(database: str, sandbox: Any) -> Iterator[Harness]:
    with open_harness(database, sandbox, connected=False) as opened:
        yield opened


def key_of(harness: Harness) -> str:
    return str(harness.sandbox.account(harness.account)["api_key"])


def events(harness: Harness) -> list[Any]:
    return harness.all(
        "SELECT * FROM events WHERE account = :account AND subject_kind = 'connection' ORDER BY version",
        account=harness.account,
    )


def conectar(harness: Harness) -> dict[str, int]:
    return dict(harness.sandbox.ledger(harness.account)["calls"].get(harness.account, {}).get("conectar", {}))


def change(harness: Harness, **changes: Any) -> None:
    harness.sandbox.change(harness.account, **changes)


def other_key(harness: Harness) -> dict[str, Any]:
    key = key_of(harness)
    harness.sandbox.revoke_key(harness.account)
    return {"key": key}


def facts(**values: Any) -> Callable[[Harness], dict[str, Any]]:
    return lambda _: values


def after(**changes: Any) -> Callable[[Harness], dict[str, Any]]:
    def arrange(harness: Harness) -> dict[str, Any]:
        change(harness, **changes)
        return {}

    return arrange


def down(harness: Harness) -> dict[str, Any]:
    harness.sandbox.play("status_before", account=harness.account, call="conectar", status=503)
    return {}


BREAKS: list[tuple[str, str, Callable[[Harness], dict[str, Any]], str]] = [
    ("a revoked key", "key_rejected", other_key, "pégalo en Apunto"),
    ("half a key", "key_malformed", facts(key="abc123"), "incompleto"),
    ("a key with blanks inside", "key_malformed", facts(key="aaaaaaaa bbbbbbbbbbbbbbbb"), "en medio"),
    ("not enabled", "api_not_enabled", after(enabled=False), "habilite"),
    ("an inactive series", "serie_inactive", after(series={"A": False}), "serie"),
    ("a series that is not there", "serie_inactive", facts(serie="ZZ"), "serie"),
    ("another RFC", "rfc_mismatch", facts(rfc="XIA190128J61"), "RFC"),
    ("no RFC at all", "rfc_mismatch", facts(rfc=None), "RFC"),
    ("another name", "razon_social_mismatch", facts(razon_social="OTRA EMPRESA"), "razón social"),
    ("another postcode", "lugar_expedicion_unknown", facts(codigo_postal="01000"), "código postal"),
    ("another company", "empresa_unknown", facts(empresa_id=99), "IdEmpresa"),
    (
        "a company that is not told",
        "empresa_unknown",
        after(behaviour={"reports_empresa": False}),
        "IdEmpresa",
    ),
    ("no stamps", "no_stamps", after(stamps=0, behaviour={"reports_stamps": True}), "timbres"),
    ("an outage", "unreachable", down, "No es un problema de tus datos"),
    ("lists that are not there", "ids_missing", after(dialect={"utiles": "404"}), "identificador"),
    (
        "an address of nobody",
        "unreachable",
        facts(base_url="https://contadigital.example"),
        "soporte de Apunto",
    ),
]


def test_the_table_reaches_every_reason_of_the_contract() -> None:
    """Each reason has a row here, except the one that comes of stamps."""
    # stamps_differ comes of stamps, and never of a validation: tests/integration/test_doubt.py
    assert {row[1] for row in BREAKS} == set(REASONS) - {"stamps_differ"}


@pytest.mark.parametrize(
    ("reason", "arrange", "words"), [row[1:] for row in BREAKS], ids=[row[0] for row in BREAKS]
)
def test_what_is_wrong_is_reported_at_once_with_its_fix(
    harness: Harness, reason: str, arrange: Callable[[Harness], dict[str, Any]], words: str
) -> None:
    """One `connection.broken`, within the call; its texts say what happened and what to do."""
    values = arrange(harness)

    row = harness.connect(values.pop("key", None) or key_of(harness), **values)

    (event,) = events(harness)
    assert (row.status, row.reason) == ("broken", reason)
    assert (event.type, event.data["status"], event.data["reason"]) == ("connection.broken", "broken", reason)
    assert event.data["fix"]
    assert words in f"{event.data['message']} {event.data['fix']}"
    assert event.data["errors"][0]["code"] == f"timbrado.{reason}"
    # an address that this installation does not allow is its operator's
    whose = {"No es un problema de tus datos": "contadigital", "soporte de Apunto": "support"}.get(
        words, "user"
    )
    assert event.data["errors"][0]["whose"] == whose
    assert all(bool(error["label"]) is bool(error["field"]) for error in event.data["errors"])
    if reason == "key_malformed":
        assert conectar(harness) == {}
        assert row.key_encrypted is None


def test_several_faults_are_reported_at_once(harness: Harness) -> None:
    """Who corrects one thing must not read of the next only then; both sides of a difference are shown."""
    change(harness, series={"A": False})

    harness.connect(key_of(harness), razon_social="ESCUELA KEMPER", codigo_postal="01000")

    (event,) = events(harness)
    assert event.data["reason"] == "razon_social_mismatch"
    assert [error["code"].removeprefix("timbrado.") for error in event.data["errors"]] == [
        "razon_social_mismatch", "lugar_expedicion_unknown", "serie_inactive"
    ]  # fmt: skip
    assert [error["field"] for error in event.data["errors"]] == ["razon_social", "codigo_postal", "serie"]
    assert "«ESCUELA KEMPER»" in event.data["errors"][0]["message"]
    assert f"«{NAME}»" in event.data["errors"][0]["message"]
    assert "Apunto: «ESCUELA KEMPER»; ContaDigital:" in event.data["message"]


def test_blanks_around_a_key_are_taken_away_and_reported(harness: Harness) -> None:
    """The guide's most frequent mistake costs nobody anything."""
    row = harness.connect(f" \t{key_of(harness)}\n\u200b")

    assert row.status == "active"
    assert "Quitamos los espacios" in events(harness)[-1].data["message"]


def test_the_company_and_the_only_active_series_are_found_out(harness: Harness) -> None:
    """A user pastes the key and nothing else; the name may come with its régimen de capital and in lower case."""
    row = harness.connect(key_of(harness), serie=None, razon_social="Escuela Kemper Urgate, S.A. de C.V.")

    account = harness.sandbox.account(harness.account)
    assert (row.status, row.serie, row.id_empresa) == ("active", "A", account["id_empresa"])
    assert (row.registered_name, row.regimen_fiscal) == (NAME, "601")


def test_two_active_series_are_asked_for_by_name(harness: Harness) -> None:
    """Nobody's series is guessed."""
    change(harness, add_serie="B")
    harness.connect(key_of(harness), serie=None)
    assert harness.connection().reason == "serie_inactive"
    assert "varias series" in events(harness)[-1].data["message"]
    assert events(harness)[-1].data["message"].endswith("Activas: A, B.")

    assert harness.connect(key_of(harness), serie="B").serie == "B"


def test_what_can_not_be_kept_as_it_came_is_reported_and_not_a_traceback(harness: Harness) -> None:
    """NUL, half a surrogate pair and an id of a hundred digits are values like others: wrong ones."""
    row = harness.connect(
        key_of(harness),
        razon_social="ESC\x00UELA \ud800",
        rfc="EKU\x00",
        empresa_id="9" * 100,
        serie="A\x00",
    )

    assert (row.status, row.reason) == ("broken", "rfc_mismatch")
    assert len(events(harness)[-1].data["errors"]) == 2


@pytest.mark.parametrize("account", ["", "  ", "x" * 201, "ac\x00me"])
def test_without_an_account_there_is_nobody_to_answer(harness: Harness, account: str) -> None:
    """The worker's log says so; no connection is made under a name that is none."""
    request = connect.ConnectRequest(account, "gAAAA", RFC, NAME, "42501")

    with pytest.raises(connect.NoAccount):
        connect.connect(request, harness.tools)


@pytest.mark.parametrize(
    "token",
    [
        Fernet(Fernet.generate_key()).encrypt(b"a-good-key-of-thirty-characters").decode(),
        "a-good-key-of-thirty-characters",
        "",
        "gAAAA\ud800",
        None,
        7,
    ],
    ids=["another deployment's", "not encrypted", "nothing", "half a pair", "none", "a number"],
)
def test_a_key_that_can_not_be_decrypted_is_reported_as_malformed(harness: Harness, token: Any) -> None:
    """The shared key differs, or it is no Fernet token at all: nothing can be read, nothing is called."""
    row = connect.connect(connect.ConnectRequest(harness.account, token, RFC, NAME, "42501"), harness.tools)

    assert (row.status, row.reason) == ("broken", "key_malformed")
    assert conectar(harness) == {}


# --- asked again, and fixed- -----------------------------------------------------------------------------------------


def test_a_refused_key_is_not_tried_in_a_loop(harness: Harness) -> None:
    """Neither a probe, nor the sweep, nor a user who presses "validar" five times tries it again; he is answered."""
    key = key_of(harness)
    harness.connect(key)
    harness.sandbox.revoke_key(harness.account)
    harness.stamp(harness.submit())
    assert harness.connection().reason == "key_rejected"
    tried = conectar(harness)

    for _ in range(5):
        connect.validate(harness.account, harness.tools)
        harness.later(hours=1)
        assert harness.connection().id not in sweep.sweep(harness.tools).probes
        connect.probe(harness.connection().id, harness.tools)

    assert conectar(harness) == tried
    broken = [event for event in events(harness) if event.type == "connection.broken"]
    assert len(broken) == 6
    assert len({event.data["message"] for event in broken}) == 1


def test_the_very_key_that_was_refused_is_not_tried_each_time_that_it_is_pasted(harness: Harness) -> None:
    """Three tries may lock the account. Each time is reported; much later it is tried once, and another key at once."""
    key = key_of(harness)
    harness.sandbox.revoke_key(harness.account)

    for _ in range(5):
        row = harness.connect(key)
        assert (row.status, row.reason) == ("broken", "key_rejected")
    assert sum(conectar(harness).values()) == 1
    assert [event.type for event in events(harness)] == ["connection.broken"] * 5
    assert "ya no acepta" in events(harness)[-1].data["message"]
    harness.later(minutes=11)
    harness.connect(key)
    assert sum(conectar(harness).values()) == 2

    assert harness.connect(harness.sandbox.regenerate_key(harness.account)).status == "active"


def test_a_person_who_asks_is_answered_also_where_nothing_changed(harness: Harness) -> None:
    """Active stays active, broken stays broken, and each is reported again with a newer version."""
    harness.connect(key_of(harness))
    connect.validate(harness.account, harness.tools)
    change(harness, series={"A": False})
    connect.validate(harness.account, harness.tools)
    connect.validate(harness.account, harness.tools)

    values = [(event.type, event.version) for event in events(harness)]
    assert values == [
        ("connection.active", 1),
        ("connection.active", 2),
        ("connection.broken", 3),
        ("connection.broken", 4),
    ]
    assert connect.validate("nobody", harness.tools) is None


def test_the_probe_asks_ever_less_often_and_recovers_by_itself(harness: Harness) -> None:
    """After 1, 2, 4, 8, 16 minutes, then every half hour; no event is emitted until something changes."""
    harness.connect(key_of(harness))
    change(harness, enabled=False)
    on_hold = harness.submit()
    harness.stamp(on_hold)
    assert harness.connection().reason == "api_not_enabled"

    waits = []
    for _ in range(7):
        row = harness.connection()
        waits.append(round((row.next_probe_at - harness.tools.clock.now()) / timedelta(minutes=1)))
        harness.later(seconds=(row.next_probe_at - harness.tools.clock.now()).total_seconds() + 0.01)
        assert row.id in sweep.sweep(harness.tools).probes
        assert not connect.probe(row.id, harness.tools)
    change(harness, enabled=True)
    harness.later(minutes=31)
    assert connect.probe(harness.connection().id, harness.tools)

    assert waits == [1, 2, 4, 8, 16, 30, 30]
    assert [event.type for event in events(harness)] == [
        "connection.active", "connection.broken", "connection.active"
    ]  # fmt: skip
    assert "funciona de nuevo" in events(harness)[-1].data["message"]
    assert harness.row(on_hold).status == "waiting"
    assert (harness.connection().next_probe_at, harness.connection().probes) == (None, 0)


def test_a_probe_that_finds_another_fault_shows_that_one(harness: Harness) -> None:
    """Fixed in part it is still broken, for another reason: news."""
    harness.connect(key_of(harness), serie="B")
    change(harness, add_serie="B", enabled=False)
    harness.later(minutes=2)

    connect.probe(harness.connection().id, harness.tools)

    assert [event.data["reason"] for event in events(harness)] == ["serie_inactive", "api_not_enabled"]


def test_an_outage_hides_no_reason_and_breaks_no_connection(harness: Harness) -> None:
    """What was wrong stays reported as it was; what was right stays active."""
    harness.connect(key_of(harness))
    down(harness)
    connect.validate(harness.account, harness.tools)
    assert harness.connection().status == "active"
    harness.sandbox.calm()
    change(harness, series={"A": False})
    connect.validate(harness.account, harness.tools)
    down(harness)

    connect.validate(harness.account, harness.tools)

    assert harness.connection().reason == "serie_inactive"
    assert [event.data["reason"] for event in events(harness)] == [None, "serie_inactive", "serie_inactive"]


def test_an_outage_while_connecting_recovers_by_itself(harness: Harness) -> None:
    """`unreachable` is nobody's fault: the probe comes back, and no one has to paste the key again."""
    down(harness)
    harness.connect(key_of(harness))
    harness.sandbox.calm()
    harness.later(minutes=2)

    assert connect.probe(harness.connection().id, harness.tools)

    assert [event.type for event in events(harness)] == ["connection.broken", "connection.active"]


def test_a_validation_whose_worker_died_is_taken_up_again(harness: Harness) -> None:
    """`pending` is a moment; should it last, the sweep enqueues it."""
    harness.connect(key_of(harness))
    harness.all(
        "UPDATE connections SET status = 'pending', next_probe_at = :at WHERE account = :account RETURNING id",
        at=harness.tools.clock.now() + connect.UNFINISHED,
        account=harness.account,
    )
    harness.later(minutes=4)

    assert harness.connection().id in sweep.sweep(harness.tools).probes
    assert connect.probe(harness.connection().id, harness.tools)


def test_a_regenerated_account_with_another_company_and_other_ids_goes_on(harness: Harness) -> None:
    """Everything that was remembered of the old one is learnt again."""
    harness.connect(key_of(harness))
    harness.stamped("BEFORE")
    before = harness.connection().id_empresa
    key = harness.sandbox.regenerate_key(harness.account, other_ids=True, other_empresa=True)

    row = harness.connect(key)
    harness.stamped("AFTER")

    assert (row.status, row.id_empresa == before) == ("active", False)
    assert harness.duplicates() == 0


def test_what_was_learnt_of_one_address_is_not_believed_of_another(harness: Harness) -> None:
    """The sandbox saves without stamping; whether the real one does, it must show."""
    harness.connect(key_of(harness))
    harness.stamped("TEACHER")
    assert (harness.connection().saves_only, harness.connection().honours_id) == (True, True)

    harness.connect(key_of(harness), base_url=f"{harness.sandbox.url}/")
    assert harness.connection().saves_only is True
    harness.connect(key_of(harness), base_url=f"{harness.sandbox.url}/dev")

    assert (harness.connection().saves_only, harness.connection().honours_id) == (None, None)


def test_a_malformed_key_pasted_over_a_good_one_holds_what_is_open(harness: Harness) -> None:
    """At once, not when the sweep finds out; and the good key brings it back."""
    key = key_of(harness)
    harness.connect(key)
    open_one = harness.submit()

    harness.connect("«" + key + "»")
    assert harness.row(open_one).status == "on_hold"
    harness.connect(key)

    assert harness.row(open_one).status == "waiting"


def test_disconnecting_holds_what_is_open_and_connecting_again_lets_it_go(harness: Harness) -> None:
    """The user did it: no event of the connection, but each open invoice says why it waits."""
    key = key_of(harness)
    harness.connect(key)
    open_one = harness.submit()

    assert connect.disconnect(harness.account, harness.tools)
    values = harness.all("SELECT data FROM events WHERE subject_id = :id ORDER BY version DESC", id=open_one)[
        0
    ]
    assert (values.data["status"], harness.connection().status) == ("on_hold", "disconnected")
    assert "no está conectada" in values.data["message"]
    assert connect.validate(harness.account, harness.tools).status == "disconnected"
    assert connect.disconnect("nobody", harness.tools) is False
    harness.connect(key)

    assert harness.row(open_one).status == "waiting"
    assert [event.type for event in events(harness)] == ["connection.active", "connection.active"]


def test_the_most_urgent_goes_first_and_all_go_gently(harness: Harness) -> None:
    """Released by the 72 hours, then by age, one after the other."""
    key = key_of(harness)
    now = harness.tools.clock.now()
    late = harness.submit("LATE")
    soon = harness.submit("SOON", fecha=(now - timedelta(hours=70)).isoformat())
    middle = harness.submit("MIDDLE", fecha=(now - timedelta(hours=5)).isoformat())
    assert {harness.row(each).status for each in (late, soon, middle)} == {"on_hold"}

    harness.connect(key)

    due = sorted((late, soon, middle), key=lambda each: harness.row(each).next_attempt_at)
    assert due == [soon, middle, late]
    assert len({harness.row(each).next_attempt_at for each in due}) == 3
    assert suspend.release(harness.account, harness.tools) == 0


# --- two things at once ----------------------------------------------------------------------------------------------


def until_fired(harness: Harness) -> None:
    """Wait until the one rule in force has met its call."""
    until(lambda: harness.sandbox.control("GET", "/scenarios")[0]["fired"])


def until(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_was_saved_last_counts_when_two_are_validated_at_once(harness: Harness) -> None:
    """A user saves, sees his mistake and saves again; the first validation ends last, and was about other words."""
    key = key_of(harness)
    harness.sandbox.play("latency", account=harness.account, call="utiles", times=1, p50=1.0, p99=1.0)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(harness.connect, key, razon_social="OTRA EMPRESA")
        until_fired(harness)
        second = harness.connect(key)
        assert not first.done()

        assert second.status == "active"
        assert first.result().status == "active"

    row = harness.connection()
    assert (row.status, row.razon_social) == ("active", NAME)
    assert [event.type for event in events(harness)] == ["connection.active"]


def test_a_refusal_from_before_it_was_fixed_breaks_nothing(harness: Harness) -> None:
    """The answer of a slow call is older than the validation that came in between: the invoice just goes again."""
    harness.connect(key_of(harness))
    harness.stamped("TEACHER")
    change(harness, series={"A": False})
    harness.sandbox.play("latency", account=harness.account, call="save", times=1, p50=2.0, p99=2.0)
    invoice_id = harness.submit()

    def refused() -> bool:
        calls = harness.sandbox.ledger(harness.account)["calls"][harness.account]["save"]
        return any(result.startswith("refused") for result in calls)

    with ThreadPoolExecutor(1) as pool:
        stamping = pool.submit(harness.stamp, invoice_id)
        until(refused)
        change(harness, series={"A": True})
        assert connect.validate(harness.account, harness.tools).status == "active"
        assert not stamping.done()
        stamping.result()

    assert harness.connection().status == "active"
    assert "connection.broken" not in harness.event_types()
    assert harness.row(invoice_id).status == "waiting"
    harness.stamp(invoice_id)
    assert harness.row(invoice_id).status == "stamped"


def test_what_is_due_waits_for_the_verdict_on_a_new_key(harness: Harness) -> None:
    """A key that is replaced in the middle of the work puts nothing on hold, and tells of the connection only."""
    harness.connect(key_of(harness))
    due = [harness.submit(f"OP-{number}") for number in range(3)]
    harness.sandbox.play("latency", account=harness.account, call="utiles", times=1, p50=1.0, p99=1.0)
    key = harness.sandbox.regenerate_key(harness.account)
    with ThreadPoolExecutor(1) as pool:
        connecting = pool.submit(harness.connect, key)
        until_fired(harness)
        for each in due:
            harness.stamp(each)
        suspend.sync_invoices(harness.connection().id, harness.tools)
        assert {harness.row(each).status for each in due} == {"accepted"}
        assert not connecting.done()
        assert connecting.result().status == "active"

    for each in due:
        harness.stamp(each)
    assert {harness.row(each).status for each in due} == {"stamped"}
    assert "invoice.on_hold" not in harness.event_types()


def test_what_was_saved_at_another_address_is_saved_anew(harness: Harness) -> None:
    """From ContaDigital's tests to the real one: there the same Id is somebody else's invoice."""
    harness.connect(key_of(harness))
    saved = harness.submit()
    harness.sandbox.play("status_before", account=harness.account, call="stamp", status=429, times=1)
    harness.stamp(saved)
    draft = harness.row(saved).record_id
    harness.connect(key_of(harness))
    assert harness.row(saved).record_id == draft

    harness.connect(key_of(harness), base_url=f"{harness.sandbox.url}/dev/pruebas")
    harness.later(minutes=5)
    harness.stamp(saved)

    row = harness.row(saved)
    assert row.status == "stamped", row.errors
    assert row.record_id != draft
    calls = ["save", "stamp", "save", "look_up", "stamp"]  # the first draft of an address is read back
    assert [call for call, _ in harness.attempts(saved)] == calls


def test_nothing_is_mailed_by_an_id_of_another_address(harness: Harness) -> None:
    """There it would be somebody else's invoice that the customer is sent."""
    harness.connect(key_of(harness))
    stamped = harness.submit(send_to=["cliente@ejemplo.mx"])
    harness.stamp(stamped)
    assert harness.row(stamped).mail_due_at is not None

    harness.connect(key_of(harness), base_url=f"{harness.sandbox.url}/dev/pruebas")

    assert harness.row(stamped).mail_due_at is None
