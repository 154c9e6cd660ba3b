"""From "Conectar" to mended by itself: each reason of the contract, told once, with what to do about it."""

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
from tests.support.harness import Corridor, open_corridor, sweep


@pytest.fixture(scope="module")
def database(make_database: Callable[[], str]) -> str:
    """One database for this file: each test has an account of its own in it."""
    return make_database()


@pytest.fixture
def corridor(database: str, sandbox: Any) -> Iterator[Corridor]:
    with open_corridor(database, sandbox, connected=False) as opened:
        yield opened


def key_of(corridor: Corridor) -> str:
    return str(corridor.sandbox.account(corridor.account)["api_key"])


def events(corridor: Corridor) -> list[Any]:
    return corridor.all(
        "SELECT * FROM events WHERE account = :account AND subject_kind = 'connection' ORDER BY version",
        account=corridor.account,
    )


def conectar(corridor: Corridor) -> dict[str, int]:
    return dict(
        corridor.sandbox.ledger(corridor.account)["calls"].get(corridor.account, {}).get("conectar", {})
    )


def change(corridor: Corridor, **changes: Any) -> None:
    corridor.sandbox.change(corridor.account, **changes)


def other_key(corridor: Corridor) -> dict[str, Any]:
    key = key_of(corridor)
    corridor.sandbox.revoke_key(corridor.account)
    return {"key": key}


def facts(**told: Any) -> Callable[[Corridor], dict[str, Any]]:
    return lambda _: told


def after(**changes: Any) -> Callable[[Corridor], dict[str, Any]]:
    def arrange(corridor: Corridor) -> dict[str, Any]:
        change(corridor, **changes)
        return {}

    return arrange


def down(corridor: Corridor) -> dict[str, Any]:
    corridor.sandbox.play("status_before", account=corridor.account, call="conectar", status=503)
    return {}


BREAKS: list[tuple[str, str, Callable[[Corridor], dict[str, Any]], str]] = [
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
    ("an address of nobody", "unreachable", facts(base_url="https://contadigital.example"), "dirección"),
]


def test_the_table_reaches_every_reason_of_the_contract() -> None:
    assert {row[1] for row in BREAKS} == set(REASONS)


@pytest.mark.parametrize(
    ("reason", "arrange", "words"), [row[1:] for row in BREAKS], ids=[row[0] for row in BREAKS]
)
def test_what_is_wrong_is_told_at_once_with_its_mend(
    corridor: Corridor, reason: str, arrange: Callable[[Corridor], dict[str, Any]], words: str
) -> None:
    """One `connection.broken`, within the call; its texts say what happened and what to do."""
    told = arrange(corridor)

    row = corridor.connect(told.pop("key", None) or key_of(corridor), **told)

    (event,) = events(corridor)
    assert (row.status, row.reason) == ("broken", reason)
    assert (event.type, event.data["status"], event.data["reason"]) == ("connection.broken", "broken", reason)
    assert event.data["fix"]
    assert words in f"{event.data['message']} {event.data['fix']}"
    assert event.data["errors"][0]["code"] == f"timbrado.{reason}"
    if reason == "key_malformed":
        assert conectar(corridor) == {}
        assert row.key_encrypted is None


def test_several_faults_are_told_at_once(corridor: Corridor) -> None:
    """Who mends one thing must not be told of the next only then; both sides of a difference are shown."""
    change(corridor, series={"A": False})

    corridor.connect(key_of(corridor), razon_social="ESCUELA KEMPER", codigo_postal="01000")

    (event,) = events(corridor)
    assert event.data["reason"] == "razon_social_mismatch"
    assert [error["code"].removeprefix("timbrado.") for error in event.data["errors"]] == [
        "razon_social_mismatch", "lugar_expedicion_unknown", "serie_inactive"
    ]  # fmt: skip
    assert [error["field"] for error in event.data["errors"]] == ["razon_social", "codigo_postal", "serie"]
    assert "«ESCUELA KEMPER»" in event.data["errors"][0]["message"]
    assert f"«{NAME}»" in event.data["errors"][0]["message"]
    assert "Apunto: «ESCUELA KEMPER»; ContaDigital:" in event.data["message"]


def test_blanks_around_a_key_are_taken_away_and_told(corridor: Corridor) -> None:
    """The guide's most frequent mistake costs nobody anything."""
    row = corridor.connect(f" \t{key_of(corridor)}\n\u200b")

    assert row.status == "active"
    assert "Quitamos los espacios" in events(corridor)[-1].data["message"]


def test_the_company_and_the_only_active_series_are_found_out(corridor: Corridor) -> None:
    """A user pastes the key and nothing else; the name may come with its régimen de capital and in lower case."""
    row = corridor.connect(key_of(corridor), serie=None, razon_social="Escuela Kemper Urgate, S.A. de C.V.")

    account = corridor.sandbox.account(corridor.account)
    assert (row.status, row.serie, row.id_empresa) == ("active", "A", account["id_empresa"])
    assert (row.registered_name, row.regimen_fiscal) == (NAME, "601")


def test_two_active_series_are_asked_for_by_name(corridor: Corridor) -> None:
    """Nobody's series is guessed."""
    change(corridor, add_serie="B")
    corridor.connect(key_of(corridor), serie=None)
    assert corridor.connection().reason == "serie_inactive"
    assert "varias series" in events(corridor)[-1].data["message"]
    assert events(corridor)[-1].data["message"].endswith("Activas: A, B.")

    assert corridor.connect(key_of(corridor), serie="B").serie == "B"


def test_what_can_not_be_kept_as_it_came_is_told_and_not_a_traceback(corridor: Corridor) -> None:
    """NUL, half a surrogate pair and an id of a hundred digits are values like others: wrong ones."""
    row = corridor.connect(
        key_of(corridor),
        razon_social="ESC\x00UELA \ud800",
        rfc="EKU\x00",
        empresa_id="9" * 100,
        serie="A\x00",
    )

    assert (row.status, row.reason) == ("broken", "rfc_mismatch")
    assert len(events(corridor)[-1].data["errors"]) == 2


@pytest.mark.parametrize("account", ["", "  ", "x" * 201, "ac\x00me"])
def test_without_an_account_there_is_nobody_to_answer(corridor: Corridor, account: str) -> None:
    """The worker's log says so; no connection is made under a name that is none."""
    wish = connect.Wish(account, "gAAAA", RFC, NAME, "42501")

    with pytest.raises(connect.NoAccount):
        connect.connect(wish, corridor.tools)


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
def test_a_key_that_can_not_be_decrypted_is_told_as_malformed(corridor: Corridor, token: Any) -> None:
    """The shared key differs, or it is no Fernet token at all: nothing can be read, nothing is called."""
    row = connect.connect(connect.Wish(corridor.account, token, RFC, NAME, "42501"), corridor.tools)

    assert (row.status, row.reason) == ("broken", "key_malformed")
    assert conectar(corridor) == {}


# --- asked again, and mended -----------------------------------------------------------------------------------------


def test_a_refused_key_is_not_tried_in_a_loop(corridor: Corridor) -> None:
    """Neither a probe, nor the sweep, nor a user who presses "validar" five times tries it again; he is answered."""
    key = key_of(corridor)
    corridor.connect(key)
    corridor.sandbox.revoke_key(corridor.account)
    corridor.stamp(corridor.submit())
    assert corridor.connection().reason == "key_rejected"
    tried = conectar(corridor)

    for _ in range(5):
        connect.validate(corridor.account, corridor.tools)
        corridor.later(hours=1)
        assert corridor.connection().id not in sweep.sweep(corridor.tools).probes
        connect.probe(corridor.connection().id, corridor.tools)

    assert conectar(corridor) == tried
    broken = [event for event in events(corridor) if event.type == "connection.broken"]
    assert len(broken) == 6
    assert len({event.data["message"] for event in broken}) == 1


def test_the_very_key_that_was_refused_is_not_tried_each_time_that_it_is_pasted(corridor: Corridor) -> None:
    """Three tries may lock the account. He is told each time; much later it is tried once, and another key at once."""
    key = key_of(corridor)
    corridor.sandbox.revoke_key(corridor.account)

    for _ in range(5):
        row = corridor.connect(key)
        assert (row.status, row.reason) == ("broken", "key_rejected")
    assert sum(conectar(corridor).values()) == 1
    assert [event.type for event in events(corridor)] == ["connection.broken"] * 5
    assert "ya no acepta" in events(corridor)[-1].data["message"]
    corridor.later(minutes=11)
    corridor.connect(key)
    assert sum(conectar(corridor).values()) == 2

    assert corridor.connect(corridor.sandbox.regenerate_key(corridor.account)).status == "active"


def test_a_person_who_asks_is_answered_also_where_nothing_changed(corridor: Corridor) -> None:
    """Active stays active, broken stays broken, and each is told again with a newer version."""
    corridor.connect(key_of(corridor))
    connect.validate(corridor.account, corridor.tools)
    change(corridor, series={"A": False})
    connect.validate(corridor.account, corridor.tools)
    connect.validate(corridor.account, corridor.tools)

    told = [(event.type, event.version) for event in events(corridor)]
    assert told == [
        ("connection.active", 1),
        ("connection.active", 2),
        ("connection.broken", 3),
        ("connection.broken", 4),
    ]
    assert connect.validate("nobody", corridor.tools) is None


def test_the_probe_asks_ever_less_often_and_mends_by_itself(corridor: Corridor) -> None:
    """After 1, 2, 4, 8, 16 minutes, then every half hour; nothing is told until something changes."""
    corridor.connect(key_of(corridor))
    change(corridor, enabled=False)
    held = corridor.submit()
    corridor.stamp(held)
    assert corridor.connection().reason == "api_not_enabled"

    waits = []
    for _ in range(7):
        row = corridor.connection()
        waits.append(round((row.next_probe_at - corridor.tools.clock.now()) / timedelta(minutes=1)))
        corridor.later(seconds=(row.next_probe_at - corridor.tools.clock.now()).total_seconds() + 0.01)
        assert row.id in sweep.sweep(corridor.tools).probes
        assert not connect.probe(row.id, corridor.tools)
    change(corridor, enabled=True)
    corridor.later(minutes=31)
    assert connect.probe(corridor.connection().id, corridor.tools)

    assert waits == [1, 2, 4, 8, 16, 30, 30]
    assert [event.type for event in events(corridor)] == [
        "connection.active", "connection.broken", "connection.active"
    ]  # fmt: skip
    assert "funciona de nuevo" in events(corridor)[-1].data["message"]
    assert corridor.row(held).status == "waiting"
    assert (corridor.connection().next_probe_at, corridor.connection().probes) == (None, 0)


def test_a_probe_that_finds_another_fault_tells_that_one(corridor: Corridor) -> None:
    """Mended in part is still broken, for another reason: news."""
    corridor.connect(key_of(corridor), serie="B")
    change(corridor, add_serie="B", enabled=False)
    corridor.later(minutes=2)

    connect.probe(corridor.connection().id, corridor.tools)

    assert [event.data["reason"] for event in events(corridor)] == ["serie_inactive", "api_not_enabled"]


def test_an_outage_hides_no_reason_and_breaks_no_connection(corridor: Corridor) -> None:
    """What was wrong stays told as it was; what was right stays active."""
    corridor.connect(key_of(corridor))
    down(corridor)
    connect.validate(corridor.account, corridor.tools)
    assert corridor.connection().status == "active"
    corridor.sandbox.calm()
    change(corridor, series={"A": False})
    connect.validate(corridor.account, corridor.tools)
    down(corridor)

    connect.validate(corridor.account, corridor.tools)

    assert corridor.connection().reason == "serie_inactive"
    assert [event.data["reason"] for event in events(corridor)] == [None, "serie_inactive", "serie_inactive"]


def test_an_outage_while_connecting_mends_by_itself(corridor: Corridor) -> None:
    """`unreachable` is nobody's fault: the probe comes back, and no one has to paste the key again."""
    down(corridor)
    corridor.connect(key_of(corridor))
    corridor.sandbox.calm()
    corridor.later(minutes=2)

    assert connect.probe(corridor.connection().id, corridor.tools)

    assert [event.type for event in events(corridor)] == ["connection.broken", "connection.active"]


def test_a_validation_whose_worker_died_is_taken_up_again(corridor: Corridor) -> None:
    """`pending` is a moment; should it last, the sweep rings for it."""
    corridor.connect(key_of(corridor))
    corridor.all(
        "UPDATE connections SET status = 'pending', next_probe_at = :at WHERE account = :account RETURNING id",
        at=corridor.tools.clock.now() + connect.UNFINISHED,
        account=corridor.account,
    )
    corridor.later(minutes=4)

    assert corridor.connection().id in sweep.sweep(corridor.tools).probes
    assert connect.probe(corridor.connection().id, corridor.tools)


def test_a_regenerated_account_with_another_company_and_other_ids_goes_on(corridor: Corridor) -> None:
    """Everything that was remembered of the old one is learnt again."""
    corridor.connect(key_of(corridor))
    corridor.stamped("BEFORE")
    before = corridor.connection().id_empresa
    key = corridor.sandbox.regenerate_key(corridor.account, other_ids=True, other_empresa=True)

    row = corridor.connect(key)
    corridor.stamped("AFTER")

    assert (row.status, row.id_empresa == before) == ("active", False)
    assert corridor.duplicates() == 0


def test_what_was_learnt_of_one_address_is_not_believed_of_another(corridor: Corridor) -> None:
    """The sandbox saves without stamping; whether the real one does, it must show."""
    corridor.connect(key_of(corridor))
    corridor.stamped("TEACHER")
    assert (corridor.connection().saves_only, corridor.connection().honours_id) == (True, True)

    corridor.connect(key_of(corridor), base_url=f"{corridor.sandbox.url}/")
    assert corridor.connection().saves_only is True
    corridor.connect(key_of(corridor), base_url=f"{corridor.sandbox.url}/dev")

    assert (corridor.connection().saves_only, corridor.connection().honours_id) == (None, None)


def test_a_malformed_key_pasted_over_a_good_one_holds_what_is_open(corridor: Corridor) -> None:
    """At once, not when the sweep finds out; and the good key brings it back."""
    key = key_of(corridor)
    corridor.connect(key)
    open_one = corridor.submit()

    corridor.connect("«" + key + "»")
    assert corridor.row(open_one).status == "on_hold"
    corridor.connect(key)

    assert corridor.row(open_one).status == "waiting"


def test_disconnecting_holds_what_is_open_and_connecting_again_lets_it_go(corridor: Corridor) -> None:
    """The user did it: no event of the connection, but each open invoice says why it waits."""
    key = key_of(corridor)
    corridor.connect(key)
    open_one = corridor.submit()

    assert connect.disconnect(corridor.account, corridor.tools)
    told = corridor.all("SELECT data FROM events WHERE subject_id = :id ORDER BY version DESC", id=open_one)[
        0
    ]
    assert (told.data["status"], corridor.connection().status) == ("on_hold", "disconnected")
    assert "no está conectada" in told.data["message"]
    assert connect.validate(corridor.account, corridor.tools).status == "disconnected"
    assert connect.disconnect("nobody", corridor.tools) is False
    corridor.connect(key)

    assert corridor.row(open_one).status == "waiting"
    assert [event.type for event in events(corridor)] == ["connection.active", "connection.active"]


def test_the_most_urgent_goes_first_and_all_go_gently(corridor: Corridor) -> None:
    """Released by the 72 hours, then by age, one after the other."""
    key = key_of(corridor)
    now = corridor.tools.clock.now()
    late = corridor.submit("LATE")
    soon = corridor.submit("SOON", fecha=(now - timedelta(hours=70)).isoformat())
    middle = corridor.submit("MIDDLE", fecha=(now - timedelta(hours=5)).isoformat())
    assert {corridor.row(each).status for each in (late, soon, middle)} == {"on_hold"}

    corridor.connect(key)

    due = sorted((late, soon, middle), key=lambda each: corridor.row(each).next_attempt_at)
    assert due == [soon, middle, late]
    assert len({corridor.row(each).next_attempt_at for each in due}) == 3
    assert suspend.release(corridor.account, corridor.tools) == 0


# --- two things at once ----------------------------------------------------------------------------------------------


def until_fired(corridor: Corridor) -> None:
    """Wait until the one rule in force has met its call."""
    until(lambda: corridor.sandbox.control("GET", "/scenarios")[0]["fired"])


def until(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_was_saved_last_counts_when_two_are_validated_at_once(corridor: Corridor) -> None:
    """A user saves, sees his mistake and saves again; the first validation ends last, and was about other words."""
    key = key_of(corridor)
    corridor.sandbox.play("latency", account=corridor.account, call="utiles", times=1, p50=1.0, p99=1.0)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(corridor.connect, key, razon_social="OTRA EMPRESA")
        until_fired(corridor)
        second = corridor.connect(key)
        assert not first.done()

        assert second.status == "active"
        assert first.result().status == "active"

    row = corridor.connection()
    assert (row.status, row.razon_social) == ("active", NAME)
    assert [event.type for event in events(corridor)] == ["connection.active"]


def test_a_refusal_from_before_it_was_mended_breaks_nothing(corridor: Corridor) -> None:
    """The answer of a slow call is older than the validation that came in between: the invoice just goes again."""
    corridor.connect(key_of(corridor))
    corridor.stamped("TEACHER")
    change(corridor, series={"A": False})
    corridor.sandbox.play("latency", account=corridor.account, call="save", times=1, p50=2.0, p99=2.0)
    invoice_id = corridor.submit()

    def refused() -> bool:
        calls = corridor.sandbox.ledger(corridor.account)["calls"][corridor.account]["save"]
        return any(result.startswith("refused") for result in calls)

    with ThreadPoolExecutor(1) as pool:
        stamping = pool.submit(corridor.stamp, invoice_id)
        until(refused)
        change(corridor, series={"A": True})
        assert connect.validate(corridor.account, corridor.tools).status == "active"
        assert not stamping.done()
        stamping.result()

    assert corridor.connection().status == "active"
    assert "connection.broken" not in corridor.told()
    assert corridor.row(invoice_id).status == "waiting"
    corridor.stamp(invoice_id)
    assert corridor.row(invoice_id).status == "stamped"


def test_what_is_due_waits_for_the_verdict_on_a_new_key(corridor: Corridor) -> None:
    """A key that is replaced in the middle of the work puts nothing on hold, and tells of the connection only."""
    corridor.connect(key_of(corridor))
    due = [corridor.submit(f"OP-{number}") for number in range(3)]
    corridor.sandbox.play("latency", account=corridor.account, call="utiles", times=1, p50=1.0, p99=1.0)
    key = corridor.sandbox.regenerate_key(corridor.account)
    with ThreadPoolExecutor(1) as pool:
        connecting = pool.submit(corridor.connect, key)
        until_fired(corridor)
        for each in due:
            corridor.stamp(each)
        suspend.bring_into_step(corridor.connection().id, corridor.tools)
        assert {corridor.row(each).status for each in due} == {"accepted"}
        assert not connecting.done()
        assert connecting.result().status == "active"

    for each in due:
        corridor.stamp(each)
    assert {corridor.row(each).status for each in due} == {"stamped"}
    assert "invoice.on_hold" not in corridor.told()


def test_what_was_saved_at_another_address_is_saved_anew(corridor: Corridor) -> None:
    """From ContaDigital's tests to the real one: there the same Id is somebody else's invoice."""
    corridor.connect(key_of(corridor))
    saved = corridor.submit()
    corridor.sandbox.play("status_before", account=corridor.account, call="stamp", status=429, times=1)
    corridor.stamp(saved)
    draft = corridor.row(saved).record_id
    corridor.connect(key_of(corridor))
    assert corridor.row(saved).record_id == draft

    corridor.connect(key_of(corridor), base_url=f"{corridor.sandbox.url}/dev/pruebas")
    corridor.later(minutes=5)
    corridor.stamp(saved)

    row = corridor.row(saved)
    assert row.status == "stamped", row.errors
    assert row.record_id != draft
    assert [call for call, _ in corridor.attempts(saved)] == ["save", "stamp", "save", "stamp"]


def test_nothing_is_mailed_by_an_id_of_another_address(corridor: Corridor) -> None:
    """There it would be somebody else's invoice that the customer is sent."""
    corridor.connect(key_of(corridor))
    stamped = corridor.submit(send_to=["cliente@ejemplo.mx"])
    corridor.stamp(stamped)
    assert corridor.row(stamped).mail_due_at is not None

    corridor.connect(key_of(corridor), base_url=f"{corridor.sandbox.url}/dev/pruebas")

    assert corridor.row(stamped).mail_due_at is None
