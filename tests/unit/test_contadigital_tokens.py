"""One exchange for all threads, one refused key for all of them, and the life of a token."""

import base64
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest

from contadigital.auth import REFUSAL_LIFE, MemoryTokens, session_of, slot_of
from contadigital.errors import AnswerLost, ConnectionRefused, NotSent, Throttled
from contadigital.records import Session
from tests.support.prepared_answers import KEY, NOW, some_credentials


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        self.now += timedelta(microseconds=1)
        return self.now


def a_session(token: str, now: datetime = NOW) -> Session:
    return Session(token, 12, now, now + timedelta(minutes=50))


class Exchange:
    """Counts what it is asked; each token differs; `slow` holds every ask until the gate opens."""

    def __init__(
        self, clock: Clock, failure: Exception | None = None, gate: threading.Event | None = None
    ) -> None:
        self.clock, self.failure, self.gate, self.asked = clock, failure, gate, 0
        self.begun = threading.Event()
        self.lock = threading.Lock()

    def __call__(self) -> Session:
        with self.lock:
            self.asked += 1
            mine = self.asked
        self.begun.set()
        if self.gate is not None:
            assert self.gate.wait(5)
        if self.failure is not None:
            raise self.failure
        return a_session(f"token-{mine}", self.clock())


@pytest.fixture
def clock() -> Clock:
    return Clock()


def together(count: int, call: Any, gate: threading.Event) -> list[Any]:
    """Run `call` in so many threads at once; what each returned or raised."""
    ready = threading.Barrier(count + 1)

    def run() -> Any:
        ready.wait(5)
        try:
            return call()
        except Exception as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(run) for _ in range(count)]
        ready.wait(5)
        threading.Timer(0.1, gate.set).start()
        return [future.result(10) for future in futures]


def test_fifty_threads_make_one_exchange(clock: Clock):
    """Who comes while a token is fetched waits for it."""
    gate = threading.Event()
    tokens, ask = MemoryTokens(clock=clock), Exchange(clock, gate=gate)

    found = together(50, lambda: tokens.session("slot", ask), gate)

    assert ask.asked == 1
    assert {session.token for session in found} == {"token-1"}


def test_fifty_threads_with_a_refused_token_make_one_exchange(clock: Clock):
    """The same token refused fifty times is renewed once."""
    gate = threading.Event()
    tokens, ask = MemoryTokens(clock=clock), Exchange(clock, gate=gate)
    tokens.keep("slot", a_session("old", clock()))

    found = together(50, lambda: tokens.session("slot", ask, refused="old"), gate)

    assert ask.asked == 1
    assert {session.token for session in found} == {"token-1"}


def test_fifty_threads_with_a_revoked_key_ask_once(clock: Clock):
    """All get the refusal that one of them was given, with its facts."""
    gate = threading.Event()
    tokens = MemoryTokens(clock=clock)
    ask = Exchange(clock, ConnectionRefused("key_rejected", "No", http_status=401, codigo=10), gate)

    found = together(50, lambda: tokens.session("slot", ask), gate)

    assert ask.asked == 1
    assert {(type(each), each.reason, each.detail, each.http_status, each.codigo) for each in found} == {
        (ConnectionRefused, "key_rejected", "No", 401, 10)
    }


@pytest.mark.parametrize(
    ("failure", "kind"), [(AnswerLost("x"), NotSent), (NotSent("x"), NotSent), (Throttled("x"), Throttled)]
)
def test_who_waited_for_a_failed_exchange_does_not_ask_again(clock: Clock, failure: Exception, kind: type):
    """Waiters share the failure, as one that may be sent again."""
    gate = threading.Event()
    tokens, ask = MemoryTokens(clock=clock), Exchange(clock, failure, gate)

    found = together(20, lambda: tokens.session("slot", ask), gate)

    assert ask.asked == 1
    assert sum(type(each) is kind for each in found) >= 19


def test_a_failed_exchange_is_asked_again_by_the_next(clock: Clock):
    """A failure is not remembered for the caller after it."""
    tokens = MemoryTokens(clock=clock)
    with pytest.raises(AnswerLost):
        tokens.session("slot", Exchange(clock, AnswerLost("x")))

    assert tokens.session("slot", Exchange(clock)).token == "token-1"


@pytest.mark.parametrize("failure", [AnswerLost("x"), ConnectionRefused("api_not_enabled", "No")])
def test_what_failed_while_the_clock_was_ahead_is_asked_again_once_it_is_right(
    clock: Clock, failure: Exception
):
    """Neither a lost answer nor a refusal of the wrong time answers a call of the right one."""
    tokens = MemoryTokens(clock=clock)
    clock.now += timedelta(hours=5)
    with pytest.raises(type(failure)):
        tokens.session("slot", Exchange(clock, failure))
    clock.now -= timedelta(hours=5)

    assert tokens.session("slot", Exchange(clock)).token == "token-1"


def test_a_token_of_the_wrong_time_is_not_taken_for_a_fresh_one(clock: Clock):
    """`afresh` makes an exchange, though the kept token says that it was issued in five hours."""
    tokens, ask = MemoryTokens(clock=clock), Exchange(clock)
    clock.now += timedelta(hours=5)
    tokens.session("slot", ask)
    clock.now -= timedelta(hours=5)

    assert tokens.session("slot", ask, afresh=True).token == "token-2"


def test_a_refused_key_is_not_tried_again_in_the_same_breath(clock: Clock):
    """For REFUSAL_LIFE the refusal is given without a call."""
    tokens, ask = MemoryTokens(clock=clock), Exchange(clock, ConnectionRefused("key_rejected", "No"))

    for wait in (timedelta(0), REFUSAL_LIFE / 2, REFUSAL_LIFE / 4):
        clock.now += wait
        with pytest.raises(ConnectionRefused):
            tokens.session("slot", ask)
    asked_before = ask.asked
    clock.now += REFUSAL_LIFE
    with pytest.raises(ConnectionRefused):
        tokens.session("slot", ask)

    assert (asked_before, ask.asked) == (1, 2)


def test_a_person_who_asks_again_gets_a_try(clock: Clock):
    """`afresh` passes over a remembered refusal."""
    tokens = MemoryTokens(clock=clock)
    with pytest.raises(ConnectionRefused):
        tokens.session("slot", Exchange(clock, ConnectionRefused("api_not_enabled", "No")))

    assert tokens.session("slot", Exchange(clock), afresh=True).token == "token-1"


def test_a_good_key_forgets_its_refusal(clock: Clock):
    """After a token the refusal before it has no effect."""
    tokens, ask = MemoryTokens(clock=clock), Exchange(clock)
    tokens.refuse("slot", ConnectionRefused("key_rejected", "No"))
    tokens.session("slot", ask, afresh=True)

    assert tokens.session("slot", ask, refused="token-1").token == "token-2"


def test_another_connection_does_not_wait(clock: Clock):
    """A slow exchange holds up its own connection only."""
    gate = threading.Event()
    tokens = MemoryTokens(clock=clock)
    slow = threading.Thread(target=lambda: tokens.session("slow", Exchange(clock, gate=gate)))
    slow.start()
    try:
        assert tokens.session("quick", Exchange(clock)).token == "token-1"
    finally:
        gate.set()
        slow.join(5)


def test_nobody_waits_for_ever(clock: Clock):
    """Past its timeout a waiter gets NotSent."""
    gate = threading.Event()
    tokens = MemoryTokens(clock=clock, timeout=timedelta(milliseconds=50))
    blocked = Exchange(clock, gate=gate)
    slow = threading.Thread(target=lambda: tokens.session("slot", blocked))
    slow.start()
    try:
        assert blocked.begun.wait(5)
        with pytest.raises(NotSent):
            tokens.session("slot", Exchange(clock))
    finally:
        gate.set()
        slow.join(5)


def test_a_token_is_renewed_before_its_end(clock: Clock):
    """At 49 minutes it is used, at 51 a new one is fetched."""
    tokens, ask = MemoryTokens(clock=clock), Exchange(clock)
    tokens.session("slot", ask)
    clock.now += timedelta(minutes=49)
    still = tokens.session("slot", ask).token
    clock.now += timedelta(minutes=2)

    assert (still, tokens.session("slot", ask).token) == ("token-1", "token-2")


# --- what a token says -------------------------------------------------------------------------------


def a_jwt(**claims: Any) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"eyJhbGciOiJub25lIn0.{payload}.c2lnbmF0dXJl"


SECOND = int(NOW.timestamp())


@pytest.mark.parametrize(("token", "minutes"), [
    ("opaque", 50),
    ("a.b.c", 50),
    (a_jwt(), 50),
    (a_jwt(exp=SECOND + 3600), 50),
    (a_jwt(exp=SECOND + 7200), 50),
    (a_jwt(exp=SECOND + 1800), 25),
    (a_jwt(exp=SECOND + 99_000, iat=SECOND + 97_200), 25),  # its clock is ahead of ours
    (a_jwt(exp=SECOND - 60), 50),  # a clock that makes no sense: a refused token is renewed anyhow
    (a_jwt(exp="mañana"), 50),
    (a_jwt(exp=True), 50),
])  # fmt: skip
def test_a_tokens_use_ends_before_its_own_life(token: str, minutes: int):
    """Fifty minutes, or what a JWT's exp leaves; an absurd exp is ignored."""
    assert session_of(token, None, NOW).expires_at == NOW + timedelta(minutes=minutes)


@pytest.mark.parametrize(("claims", "in_answer", "read"), [
    ({"IdEmpresa": 34}, None, 34),
    ({"idEmpresa": "34"}, None, 34),
    ({"id_empresa": 34}, None, 34),
    ({"IdEmpresa": 34}, 12, 12),
    ({"IdEmpresa": 0}, None, None),
    ({"IdEmpresa": "x"}, None, None),
    ({}, None, None),
])  # fmt: skip
def test_the_company_is_read_from_beside_the_token_or_out_of_it(
    claims: dict[str, Any], in_answer: int | None, read: int | None
):
    """The answer's own number goes before a claim of the JWT."""
    assert session_of(a_jwt(**claims), in_answer, NOW).id_empresa == read


def test_a_token_and_a_key_do_not_show():
    """The repr of a session has no token."""
    assert "secreto" not in repr(session_of("secreto", None, NOW))


def test_a_slot_says_nothing_and_changes_with_the_key():
    """A slot tells nothing and changes with the key."""
    credentials = some_credentials()

    assert slot_of(credentials, KEY) != slot_of(credentials, KEY + "x")
    assert slot_of(credentials, KEY) != slot_of(some_credentials(base_url="https://app.contadigital.mx"), KEY)
    assert KEY not in "".join(slot_of(credentials, KEY))
