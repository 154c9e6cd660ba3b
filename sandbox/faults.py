"""Catalogue of provider faults: every way one is known to misbehave, played on demand per call.

A rule without `times` and `probability` fires at every call that matches
it. `after: K` lets the first K matching calls pass and `times: N` then fires on exactly N, so a test says
which call it hurts. Chance comes from the scenario's own seed: the same seed and the same order of calls
give the same faults.

`FAULTS` has a line for each fault. "Done" below means that the call took effect: the invoice is saved,
stamped...
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

FAULTS: Final[dict[str, str]] = {
    "latency": "the answer takes lognormal time (p50, p99 in seconds), half of it before the call takes effect",
    "drop_before": "the connection is closed with nothing done",
    "drop_after": "done, and the connection is closed without an answer",
    "silence_before": "nothing done, and the connection stays open without an answer for `seconds`, then closes",
    "silence_after": "done, and the connection stays open without an answer for `seconds`, then closes",
    "cut_body": "done, and the connection is closed in the middle of the answer's body",
    "slow_drip": "done, and the answer trickles out over `seconds`",
    "status_before": "nothing done, HTTP `status` (429 and 503 with Retry-After where `retry_after` is set)",
    "status_after": "done, and HTTP `status` all the same",
    "html": "done (unless `done` is false), and HTTP 200 with an HTML page",
    "not_object": "done (unless `done` is false), and JSON that is a list",
    "not_json": "done (unless `done` is false), and a body that is not JSON",
    "empty_envelope": "done (unless `done` is false), and an envelope without Codigo, UUID and documents",
    "no_uuid": "done, and the envelope says Codigo 1 with an empty UUID",
    "deny": "a look-up denies a stamp younger than `seconds` (form: empty UUID, or not_found)",
    "stamps_on_save": "SoloGuardar stamps at once",
    "ignores_id": "stamping a saved Id makes a new record and stamps that one",
    "already_without_xml": "stamping a stamped Id is refused (307) without UUID and documents",
    "refuses_after": "done, and the answer says 307 with the stamp (with_xml true) or without it",
    "pdf_late": "the PDF is missing for `seconds` after the stamp",
    "pdf_error": "document links of PDFs answer HTTP `status`",
    "no_documents": "the stamp and the look-up give the UUID, but no XML and no PDF",
    "odd_stamp": "a good CFDI is stamped that differs from what was sent (form: fecha, accents, case, decimals, order, "
    "sat_text, leyendas; tax, withholding)",
    "odd_wrapping": "the XML comes wrapped oddly, seals good (form: blanks, bom, nul, schema_location, addenda, "
    "certificate_lines, latin_1, indented)",
    "odd_values": "done, and a value of the answer is out of bounds (form: huge_id, text_id, huge_codigo, exponent, "
    "nan, nul, surrogate, control, long, deep, double_key)",
    "compressed": "done, and the answer comes with a Content-Encoding (form: gzip, deflate, br, twice), inflating to "
    "so many `megabytes`",
    "wrong_xml": "the XML is not this invoice's (form: total, other_invoice, broken_seal, truncated)",
    "token_dies": "every token of the account is refused from this call on",
    "key_regenerated": "the account's key is regenerated just before this call",
    "stamps_end": "the account's stamps end just before this call",
    "down": "connections are refused for `seconds`, and those that are open break",
    "not_found": "the look-up says that the Id is unknown, whatever it is",
    "unsure_before": "nothing done, and HTTP 200 with a PAC's `code` for trouble of its own (350: service down)",
    "unsure_after": "done, and HTTP 200 with a PAC's `code` for trouble of its own: a refusal that is none",
    "cancel_refused": "the cancellation is refused with the SAT's `code` (204: not cancellable)",
    "odd_acuse": "the cancellation is requested, and the answer's acuse says `code` (202), or is without folios, no "
    "Base64, missing, or Resultado is null (form: empty, garbage, none, null)",
    "mail_fails": "the mail is not sent",
}
_MANGLED: Final = frozenset({"html", "not_object", "not_json", "empty_envelope"})
CallName = Literal[
    "*",
    "conectar",
    "utiles",
    "clientes",
    "productos",
    "save",
    "stamp",
    "look_up",
    "cancel",
    "mail",
    "document",
    "sat_status",
]


class Burst(BaseModel):
    """A rule that lives in waves: on for about `lasting` seconds, about every `every` seconds (both exponential)."""

    model_config = ConfigDict(extra="forbid")

    every: float = Field(gt=0)
    lasting: float = Field(gt=0)


class FaultRule(BaseModel):
    """One fault: which, on the calls of which account, how often."""

    model_config = ConfigDict(extra="forbid")

    fault: str
    account: str = "*"
    call: CallName = "*"
    after: int = Field(default=0, ge=0)
    times: int | None = Field(default=None, ge=1)
    probability: float | None = Field(default=None, ge=0, le=1)
    for_seconds: float | None = Field(default=None, gt=0)
    burst: Burst | None = None

    seconds: float = Field(default=5, ge=0)
    spread: bool = False
    """`seconds` is the most: each record has its own lag between 0 and that."""
    p50: float = Field(default=0.2, gt=0)
    p99: float = Field(default=1.5, gt=0)
    status: int = 500
    retry_after: float | None = None
    retry_after_date: bool = False
    """Retry-After is written as an HTTP date instead of seconds."""
    retry_after_text: str = ""
    """Retry-After as it is written here, where that is no number and no date."""
    megabytes: int = Field(default=0, ge=0, le=2048)
    done: bool = True
    form: str = ""
    code: str = ""
    with_xml: bool = False
    other_ids: bool = True
    other_empresa: bool = False

    @model_validator(mode="after")
    def _known(self) -> FaultRule:
        if self.fault not in FAULTS:
            raise ValueError(f"no such fault: {self.fault}; there are {', '.join(FAULTS)}")
        return self


class Scenario(BaseModel):
    """A file of rules, as `--scenario` and POST /sandbox/scenarios take it."""

    model_config = ConfigDict(extra="forbid")

    seed: int = 0
    rules: list[FaultRule] = Field(default_factory=list)


@dataclass
class _Live:
    """A rule at work."""

    rule: FaultRule
    dice: random.Random
    started_at: float
    seen: int = 0
    fired: int = 0
    wave: tuple[float, float] = (0.0, 0.0)

    def fires(self, now: float) -> bool:
        rule = self.rule
        if rule.for_seconds is not None and now - self.started_at >= rule.for_seconds:
            return False
        self.seen += 1
        if self.seen <= rule.after or (rule.times is not None and self.fired >= rule.times):
            return False
        if rule.burst is not None and not self._in_wave(rule.burst, now):
            return False
        if rule.probability is not None and self.dice.random() >= rule.probability:
            return False
        self.fired += 1
        return True

    def _in_wave(self, burst: Burst, now: float) -> bool:
        start, end = self.wave
        if end == 0.0:
            start = end = self.started_at
        while now >= end:
            start = end + self.dice.expovariate(1 / burst.every)
            end = start + self.dice.expovariate(1 / burst.lasting)
        self.wave = (start, end)
        return start <= now


@dataclass(frozen=True)
class Plan:
    """The faults of one call."""

    rules: dict[str, FaultRule] = field(default_factory=dict)
    delay: float = 0.0

    def get(self, fault: str) -> FaultRule | None:
        """The rule that fired for this fault, or None."""
        return self.rules.get(fault)

    def mangled(self) -> FaultRule | None:
        """The rule that turns the answer into something else, or None."""
        return next((rule for fault, rule in self.rules.items() if fault in _MANGLED), None)


class Scenarios:
    """The rules in force."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._live: list[_Live] = []
        self._added = 0
        self.on_outage: Callable[[float], None] = _no_server
        """Takes the server down for so many seconds; 0 brings it back."""

    def add(self, rules: Iterable[FaultRule], now: float) -> None:
        """Put rules in force, counting from now."""
        for rule in rules:
            self._added += 1
            if _is_immediate(rule):
                self.on_outage(rule.seconds)
                continue
            self._live.append(_Live(rule, random.Random(f"{self._seed}:{self._added}"), now))

    def seed(self, seed: int) -> None:
        """Chance of rules added later comes from this seed."""
        self._seed = seed

    def clear(self) -> None:
        """No more faults, from the next call on."""
        self._live.clear()
        self.on_outage(0)

    def state(self) -> list[dict[str, Any]]:
        """Every rule in force, with how often it was asked and fired."""
        return [
            live.rule.model_dump(exclude_defaults=True) | {"seen": live.seen, "fired": live.fired}
            for live in self._live
        ]

    def plan(self, call: str, account: str, now: float) -> Plan:
        """Throw the dice for one call: every rule that matches it is asked exactly once, in the order they came."""
        if not self._live:
            return Plan()
        fired: dict[str, FaultRule] = {}
        delay = 0.0
        for live in self._live:
            rule = live.rule
            if rule.call not in ("*", call) or rule.account not in ("*", account) or not live.fires(now):
                continue
            if rule.fault == "latency":
                delay += lognormal(live.dice, rule.p50, rule.p99)
            elif rule.fault == "down":
                self.on_outage(rule.seconds)
            fired.setdefault(rule.fault, rule)
        return Plan(fired, delay)


def _no_server(seconds: float) -> None:
    """Where no server runs there is nothing to take down."""


def _is_immediate(rule: FaultRule) -> bool:
    """An outage without conditions begins at once, not at the next call."""
    unconditional = rule.times is None and rule.probability is None and rule.burst is None and not rule.after
    return rule.fault == "down" and rule.call == "*" and rule.account == "*" and unconditional


def lognormal(dice: random.Random, p50: float, p99: float) -> float:
    """Seconds drawn from the lognormal distribution with this median and this 99th percentile."""
    sigma = math.log(max(p99, p50) / p50) / 2.3263478740408408
    return p50 * math.exp(sigma * dice.gauss(0.0, 1.0))


def lag(rule: FaultRule, uuid: str) -> float:
    """For how many seconds after its stamp this record suffers from the rule."""
    if not rule.spread:
        return rule.seconds
    share = int.from_bytes(hashlib.sha256(uuid.encode()).digest()[:4], "big") / 2**32
    return rule.seconds * share


def chaos(seed: int, factor: float) -> Scenario:
    """What a bad day is assumed to be like, times `factor`: rates of a hosted API, and waves of trouble.

    Assumed rates at factor 1: 0.3 % of answers never come (half of those calls took effect), 0.3 % are 5xx (half took
    effect), 0.1 % are 429, look-ups lag up to 10 s behind; and each ten minutes or so everything fails for 2 s.
    """

    def rate(share: float) -> float:
        return min(1.0, share * factor)

    every = 600 / max(factor, 0.01)
    rules = [
        FaultRule(fault="latency", p50=0.05, p99=0.6),
        FaultRule(fault="drop_before", probability=rate(0.0015)),
        FaultRule(fault="drop_after", probability=rate(0.0008)),
        FaultRule(fault="cut_body", probability=rate(0.0004)),
        FaultRule(fault="not_json", probability=rate(0.0003)),
        FaultRule(fault="status_before", status=503, retry_after=1, probability=rate(0.0008)),
        FaultRule(fault="status_before", status=500, probability=rate(0.0007)),
        FaultRule(fault="status_after", status=502, probability=rate(0.0008)),
        FaultRule(fault="status_after", status=504, probability=rate(0.0007)),
        FaultRule(fault="status_before", status=429, retry_after=1, probability=rate(0.001)),
        FaultRule(fault="deny", call="look_up", seconds=10, spread=True, form="not_found", probability=0.3),
        FaultRule(fault="deny", call="look_up", seconds=10, spread=True),
        FaultRule(fault="pdf_late", seconds=5, spread=True, probability=rate(0.01)),
        FaultRule(fault="unsure_after", call="stamp", probability=rate(0.0003)),
        FaultRule(fault="token_dies", call="save", probability=rate(0.0005)),
        FaultRule(fault="status_before", status=503, probability=0.9, burst=Burst(every=every, lasting=2)),
        FaultRule(fault="drop_after", call="stamp", probability=0.5, burst=Burst(every=every, lasting=2)),
        FaultRule(fault="down", seconds=2, probability=rate(0.0001)),
    ]
    return Scenario(seed=seed, rules=rules)
