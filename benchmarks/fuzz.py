"""Feeds what comes from outside, broken in every way, to whatever reads it: `./dev fuzz --minutes 5 --seed 7`.

Four readers, each with inputs made from a good one by changes that keep its shape (other types, huge numbers, NUL, half
surrogates, depth, names in another case) and by changes of bytes. Each must end in a value or in an error of its own
kind, within a second, and without memory that grows. An XML may be called good only while nothing that is signed was
changed.
"""

import argparse
import copy
import json
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from kombu.utils.json import loads
from lxml import etree

from cfdi import document
from cfdi.evidence import Expected, examine, strict_xml
from cfdi.sat.files import cadena_original
from cfdi.validation import validate
from contadigital.auth import MemoryTokens
from contadigital.client import ContaDigital
from contadigital.errors import ContaDigitalError
from contadigital.records import Credentials, Customer, Product
from stamping.intake import untrusted
from stamping.recovery import sources
from stamping.recovery.sources import UnreadableSource
from tests.support.builders import an_invoice, an_issuer
from tests.support.envelopes import an_envelope
from tests.support.signed_xml import Stamping, stamped
from worker.redis_transport import as_message

NOW = datetime(2026, 11, 23, 16, 20, tzinfo=UTC)
BASE = "https://app.contadigital.mx/dev/pruebas"
SLOWEST = 1.0
"""Seconds of CPU that one input may cost."""
GROWTH_MB = 150
"""Megabytes by which the process may have grown at the end."""
STRANGE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**400, 1e308, float("inf"), float("nan"), 0.1,
    "", " ", "0", "null", "true", "\x00", "a\x00b", "\ud800", "\udfff", "\u202e", "\ufeff", "ñ", "💥", "x" * 10_000,
    "1e999999", "1E+400", "-0", "NaN", "Infinity", "١٢٣", [], {}, [[]], [None], {"Id": None}, {"": ""},
)  # fmt: skip

WAITS = ("5", "60000", "9" * 40, "-1", "soon", "Wed, 21 Oct 2099 07:28:00 GMT", "١")


@dataclass
class Reader:
    """Something that reads what comes from outside; `read` returns how it ended, and raises only what is a bug."""

    name: str
    make: Callable[[random.Random], Any]
    read: Callable[[Any], str]


@dataclass
class Found:
    """What a run found."""

    cases: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    slowest: dict[str, float] = field(default_factory=dict)
    bugs: list[str] = field(default_factory=list)


# --- how an input is broken ------------------------------------------------------------------------------------------


def broken_tree(good: Any, chance: random.Random) -> Any:
    """Change one to four places of a JSON value."""
    tree = copy.deepcopy(good)
    for _ in range(chance.randint(1, 4)):
        places = list(_places(tree))
        if not places:
            return _strange(chance)
        holder, key = chance.choice(places)
        match chance.randrange(8):
            case 0 | 1 | 2:
                holder[key] = _strange(chance)
            case 3 if isinstance(holder, dict):
                holder[_other_name(str(key), chance)] = holder.pop(key)
            case 4:
                holder[key] = [holder[key]] * chance.choice((0, 1, 2, 50))
            case 5:
                holder[key] = {str(key): holder[key]}
            case 6 if isinstance(holder, dict):
                del holder[key]
            case _:
                holder[key] = _deep(chance.choice((5, 100, 3_000)))
                return tree
    return tree


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    items: Sequence[tuple[Any, Any]] = ()
    if isinstance(tree, dict):
        items = list(tree.items())
    elif isinstance(tree, list):
        items = list(enumerate(tree))
    for key, value in items:
        yield tree, key
        yield from _places(value)


def _strange(chance: random.Random) -> Any:
    if chance.random() < 0.1:
        return "".join(
            chr(chance.choice((chance.randrange(0x20), chance.randrange(0x3000)))) for _ in range(20)
        )
    return copy.deepcopy(chance.choice(STRANGE))


def _other_name(name: str, chance: random.Random) -> str:
    return chance.choice((name.lower(), name.upper(), f"{name} ", f"{name}\x00", "", name[::-1], f"Id{name}"))


def _deep(levels: int) -> Any:
    value: Any = 0
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


def broken_bytes(good: bytes, chance: random.Random) -> bytes:
    """Change some bytes: flipped, cut, doubled, put in."""
    data = bytearray(good)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(data) + 1) if data else 0
        match chance.randrange(6):
            case 0 if at < len(data):
                data[at] = chance.randrange(256)
            case 1:
                del data[at : at + chance.randint(1, 40)]
            case 2:
                data[at:at] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 8)))
            case 3:
                data[at:at] = data[at : at + chance.randint(1, 200)]
            case 4:
                data = data[:at]
            case _:
                data[at:at] = chance.choice(
                    (b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"<!--", b"]]>", b"&#0;", b'"', b"{", b"[")
                )
    return bytes(data)


def written(tree: Any, chance: random.Random) -> bytes:
    """A JSON value as bytes, sometimes with broken ones."""
    try:
        text = json.dumps(tree, ensure_ascii=chance.random() < 0.5)
    except RecursionError:
        text = "[" * 50_000
    data = text.encode("utf-8", "surrogatepass")
    return broken_bytes(data, chance) if chance.random() < 0.25 else data


# --- answers of ContaDigital -----------------------------------------------------------------------------------------

_RECORD = {
    "Id": 7, "UUID": "6A5F0C0E-1111-4222-8333-444455556666", "Serie": "A", "Folio": "1045", "XmlBase64": "PHhtbC8+",
    "PdfBase64": "JVBERi0=", "XmlLink": "/x.xml", "Timbres": 5, "EstatusCancelacion": "En proceso",
}  # fmt: skip
_LISTS = {
    "RFCs": [{"Id": 1, "RFC": "EKU9003173C9", "RazonSocial": "E", "RegimenFiscal": "601"}],
    "Series": [{"Id": 2, "Serie": "A", "Activa": True}],
    "Monedas": [{"Id": 3, "Clave": "MXN"}],
    "FormasDePago": [{"Id": 4, "Clave": "03", "Descripcion": "Transferencia"}],
    "UnidadesDeMedida": [{"Id": 5, "Clave": "E48"}],
    "LugaresDeExpedicion": [{"Id": 6, "CP": "64000"}],
    "Sucursales": [{"Id": 7, "Nombre": "Matriz"}],
}
_CUSTOMER = {
    "Id": 3,
    "RFC": "XIA190128J61",
    "RazonSocial": "X",
    "RegimenFiscal": "601",
    "CP": "76343",
    "Estatus": True,
}
_GOOD: Mapping[str, Any] = {
    "save": {"Id": 7, "UUID": ""}, "stamp": _RECORD, "look_up": _RECORD, "catalogs": _LISTS, "find_customer": _CUSTOMER,
    "put_customer": {"Id": 3}, "find_product": [{"Id": 4, "Nombre": "Flete", "ClaveProdServ": "78101802"}],
    "put_product": {"Id": 4}, "cancel": {"AcuseBase64": "PGEvPg=="}, "send_mail": {}, "document": {"a": 1},
    "authenticate": {"Token": "t", "IdEmpresa": 12},
}  # fmt: skip


def an_answer(chance: random.Random) -> tuple[str, int, list[tuple[str, str]], bytes]:
    """Which call is answered, with what status, headers and body."""
    call = chance.choice(sorted(_GOOD))
    envelope = {"Codigo": chance.choice((1, 1, 1, 2, 3, 0, 99)), "Resultado": _GOOD[call], "Mensaje": "ok"}
    tree = broken_tree(envelope if chance.random() < 0.8 else _GOOD[call], chance)
    status = chance.choice(
        (200, 200, 200, 200, 201, 204, 301, 400, 401, 403, 404, 409, 422, 429, 500, 502, 503, 504)
    )
    headers = [
        (
            "content-type",
            chance.choice(
                ("application/json", "text/html", "text/xml", "", "application/json; charset=latin1")
            ),
        )
    ]
    if chance.random() < 0.1:
        headers.append(
            (
                "retry-after",
                chance.choice(WAITS),
            )
        )
    if chance.random() < 0.05:
        headers.append(("content-encoding", chance.choice(("gzip", "br", "identity", "x"))))
    return call, status, headers, written(tree, chance)


def read_answer(made: tuple[str, int, list[tuple[str, str]], bytes]) -> str:
    """Make the call whose answer it is; an error of the client's tree is how it may end."""
    call, status, headers, body = made

    def wire(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("conectar.json") and call != "authenticate":
            return httpx.Response(200, json={"Codigo": 1, "Resultado": {"Token": "t", "IdEmpresa": 12}})
        raw = [(name.encode(), value.encode()) for name, value in headers]  # as a wire has them
        return httpx.Response(status, headers=raw, stream=httpx.ByteStream(body))

    client = ContaDigital(
        httpx.MockTransport(wire),
        MemoryTokens(clock=lambda: NOW),
        call_timeout=timedelta(seconds=5),
        max_body=2_000_000,
        clock=lambda: NOW,
        allowed_hosts=frozenset({"app.contadigital.mx"}),
    )
    who = Credentials("acme", BASE, None if call == "authenticate" else 12, lambda: "clave-0123456789")
    customer = Customer("XIA190128J61", "X", "601", "76343")
    calls: Mapping[str, Callable[[], object]] = {
        "save": lambda: client.save(who, {"a": 1}),
        "stamp": lambda: client.stamp(who, {"a": 1}, 7),
        "look_up": lambda: client.look_up(who, 7),
        "catalogs": lambda: client.catalogs(who),
        "find_customer": lambda: client.find_customer(who, "XIA190128J61"),
        "put_customer": lambda: client.put_customer(who, customer),
        "find_product": lambda: client.find_product(who, Product("78101802", "Flete", 5, "02")),
        "put_product": lambda: client.put_product(who, Product("78101802", "Flete", 5, "02")),
        "cancel": lambda: client.cancel(who, 7, "02"),
        "send_mail": lambda: client.send_mail(who, 7, "a@b.mx"),
        "document": lambda: client.document(who, "/x.xml"),
        "authenticate": lambda: client.authenticate(who),
    }
    try:
        value = calls[call]()
    except ContaDigitalError as error:
        return type(error).__name__
    _fits(value)
    return "done"


def _fits(value: object) -> None:
    """What an answer gave must fit the columns that it goes into: bigint, and text without NUL or half surrogates."""
    for name in ("id", "stamps_left", "codigo"):
        number = getattr(value, name, None)
        if isinstance(number, int) and not -(2**63) <= number < 2**63:
            raise AssertionError(f"{name} is beyond bigint")
    for name in ("serie", "folio", "mensaje", "folio_original"):
        text = getattr(value, name, None)
        if isinstance(text, str) and ("\x00" in text or any("\ud800" <= each <= "\udfff" for each in text)):
            raise AssertionError(f"{name} can't be stored")


# --- messages --------------------------------------------------------------------------------------------------------


def an_invoice_message(chance: random.Random) -> Any:
    """An invoice as a message holds it."""
    return broken_tree(an_invoice(), chance)


def read_invoice(raw: Any) -> str:
    """Validate it as intake does, and make it storable."""
    try:
        untrusted.storable(raw)
    except RecursionError:
        return "too deep"  # intake stores it as a dead letter
    verdict = validate(raw, issuer=an_issuer(), now=NOW)
    json.dumps([fault.as_dict() for fault in (*verdict.faults, *verdict.warnings)])
    return "refused" if verdict.faults else "taken"


def a_message(chance: random.Random) -> bytes:
    """What a queue holds."""
    return written(
        broken_tree(an_envelope("stamping.submit_invoice", {"invoice": an_invoice()}), chance), chance
    )


def read_message(raw: bytes) -> str:
    """Make of it what the consumer is handed; kombu must be able to read that."""
    message = loads(as_message(raw, "intake", lambda: NOW))
    if not isinstance(message["properties"]["delivery_tag"], str) or not isinstance(message["headers"], dict):
        raise AssertionError("kombu could not read it")
    return "dead letter" if "timbrado-no-message" in message["headers"] else "message"


# --- XMLs ------------------------------------------------------------------------------------------------------------


class Xmls:
    """One signed CFDI, and what is made of it."""

    def __init__(self) -> None:
        invoice = an_invoice(fecha="2026-11-23T10:15:00-06:00")
        self.good = stamped(invoice, Stamping())
        self.expected = Expected(
            document.read(invoice),
            an_issuer(),
            datetime(2026, 11, 23, 10, 15),  # a CFDI's wall clock
        )
        self.signed = cadena_original(etree.fromstring(self.good))

    def make(self, chance: random.Random) -> bytes:
        """Break an attribute, a node or some bytes."""
        if chance.random() < 0.5:
            return broken_bytes(self.good, chance)
        root = etree.fromstring(self.good)
        nodes = [each for each in root.iter() if isinstance(each.tag, str)]
        node = chance.choice(nodes)
        match chance.randrange(4):
            case 0 if node.attrib:
                name = chance.choice(list(node.attrib))
                node.set(name, chance.choice(("", "0", "1e9", "9" * 30, "ñ", " ", node.get(name, "") + "0")))
            case 1 if node.getparent() is not None:
                node.getparent().append(copy.deepcopy(node))  # type: ignore[union-attr]  # seen not to be None
            case 2 if node.getparent() is not None:
                node.getparent().remove(node)  # type: ignore[union-attr]  # seen not to be None
            case _:
                node.append(
                    etree.Element(chance.choice(("x", "{http://www.sat.gob.mx/cfd/4}Concepto", "{urn:a}b")))
                )
        return etree.tostring(root)

    def read(self, data: bytes) -> str:
        """Examine it; it is good only while what is signed is what was signed."""
        report = examine(data, self.expected)
        json.dumps([each.as_dict() for each in report.differences])
        if report.is_good_cfdi and cadena_original(strict_xml.parse(data).root) != self.signed:
            raise AssertionError("called good, and what is signed was changed")
        with suppress(UnreadableSource):
            sources.of_xml(data, "one")
        return "ok" if report.ok else "good" if report.is_good_cfdi else "no"


# --- a run -----------------------------------------------------------------------------------------------------------


def readers() -> list[Reader]:
    """All of them."""
    xmls = Xmls()
    return [
        Reader("answers", an_answer, read_answer),
        Reader("invoices", an_invoice_message, read_invoice),
        Reader("messages", a_message, read_message),
        Reader("xmls", xmls.make, xmls.read),
    ]


def run(*, seed: int, cases: int | None, until: float | None) -> Found:
    """Feed so many inputs, or until an instant of the monotonic clock; each has a seed of its own."""
    found = Found()
    each_of = readers()
    for reader in each_of:  # what is loaded once is no growth
        reader.read(reader.make(random.Random(0)))
    number = 0
    while (cases is None or number < cases) and (until is None or time.monotonic() < until):
        reader = each_of[number % len(each_of)]
        mark = f"{seed}:{number}"
        made = reader.make(random.Random(mark))
        began = time.process_time()
        try:
            found.ends[f"{reader.name}: {reader.read(made)}"] += 1
        except Exception as bug:  # whatever it is, it is what is looked for
            found.bugs.append(f"{reader.name} {mark}: {type(bug).__name__}: {bug} <- {made!r:.300}")
        took = time.process_time() - began
        found.slowest[reader.name] = max(found.slowest.get(reader.name, 0.0), took)
        if took > SLOWEST:
            found.bugs.append(f"{reader.name} {mark}: {took:.1f} s of CPU <- {made!r:.300}")
        found.cases[reader.name] += 1
        number += 1
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and say what was found; 0 where nothing was."""
    parser = argparse.ArgumentParser(prog="./dev fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, help="how long (default: as many cases as --cases says)")
    parser.add_argument(
        "--cases", type=int, default=4_000, help="how many inputs, where no --minutes are given"
    )
    parser.add_argument("--seed", type=int, default=None, help="the same inputs again")
    parser.add_argument("--out", type=Path, help="where what was found is written, too")
    options = parser.parse_args(arguments)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    before = _resident_mb()
    found = run(
        seed=seed,
        cases=None if options.minutes else options.cases,
        until=time.monotonic() + 60 * options.minutes if options.minutes else None,
    )
    grown = _resident_mb() - before
    if grown > GROWTH_MB:
        found.bugs.append(f"the process grew by {grown:.0f} MB")
    lines = [
        f"{name}: {count:,} inputs, slowest {found.slowest[name]:.3f} s"
        for name, count in found.cases.items()
    ]
    lines += [f"  {end}: {count:,}" for end, count in sorted(found.ends.items())]
    lines += [f"grown by {grown:.0f} MB", *(f"BUG {bug}" for bug in found.bugs[:50])]
    lines.append("good" if not found.bugs else f"{len(found.bugs)} bugs")
    text = "\n".join(lines)
    print(text.encode("utf-8", "backslashreplace").decode())
    if options.out is not None:
        options.out.write_bytes(text.encode("utf-8", "backslashreplace"))
    return 1 if found.bugs else 0


def _resident_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
