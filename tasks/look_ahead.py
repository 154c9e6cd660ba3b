"""Takes ahead, while `intake` is long, what stands behind another account's thousands in it.

`intake` is one queue for all accounts, first in, first out. While it is long, one process reads it from its oldest
message to its newest, and moves into `stamp` what belongs to accounts with few messages in it, in their order. An
account with many keeps its order too: all of it stays. Each message is moved in one step of Redis, so that none is lost
and none is there twice. A broker that is no Redis can't be read without taking: there the queue is worked as it comes.
"""

import base64
import re
import threading
from collections import Counter
from dataclasses import dataclass
from typing import Any

import structlog
from celery import current_app

from tasks.enqueue import BROKER_REFUSES, QUEUE

log = structlog.get_logger(__name__)

AHEAD = "stamp"
"""Where it is moved to: a queue that the sweep bounds, and that no account fills alone."""
LONG = 100
"""Messages in `intake` that are taken in before anybody notices a wait."""
FEW, MOST = 20, 500
"""An account goes ahead with half as many messages as the one with most has, at least so many and at most so many."""
BLOCK, OVERLAP = 5_000, 500
"""Messages that are read before any is moved: what an account has behind them is taken in long after what is moved. So
many are read twice, since the end of the queue moves on meanwhile."""
ONE_LOOK = 20
"""Messages that are read first, to see what is new."""
ALIKE, BEGINNINGS = 100, 8
"""Messages of a block that begin alike, from which on they are known by that; and how many beginnings are known."""
PREFIX, NEAREST = 400, 120
"""Characters of a body in which its account usually stands; where it does not, all of it is read. The second are looked
through first: most senders name it first."""
EVERY = 0.25  # seconds between two looks
LEADS_FOR = 10  # seconds for which a process is the one that looks, from its last look on
LEADER = "timbrado.look_ahead"

TAG_OF = """
local function tag_of(raw)
  local at = string.find(raw, '"delivery_tag"', -200, true) or string.find(raw, '"delivery_tag"', 1, true)
  return at and string.match(raw, '^"delivery_tag": ?"([^"]*)"', at)
end
"""
"""It stands last, where kombu writes it: all of a message is read only where it does not."""
READ = (
    TAG_OF
    + """
local lines, counts, has_newest, last, before = {}, {}, 0, '', 0
local function forget()
  lines, last, before = {}, '', 0
  for known = 5, #ARGV, 2 do counts[(known - 3) / 2] = 0 end
end
local function known_as(task, raw, from)
  for known = 5, #ARGV, 2 do
    local start = ARGV[known + 1]
    if task == ARGV[known] and string.sub(raw, from + 1, from + #start) == start then return (known - 3) / 2 end
  end
end
forget()
for at = ARGV[2], ARGV[1], -100 do
  local some = redis.call('LRANGE', KEYS[1], math.max(at - 99, ARGV[1]), at)
  for place = #some, 1, -1 do
    local raw = some[place]
    local tag = tag_of(raw) or '-'
    local _, from = string.find(raw, '"body": ?"')
    local task = string.match(raw, '"task": ?"([a-z._]*)"', from and string.find(raw, '"', from + 1, true) or 1)
    local known = from and known_as(task, raw, from)
    if known then
      counts[known], last, before = counts[known] + 1, tag, #lines
    else
      local body = from and string.sub(raw, from + 1, from + ARGV[3]) or ''
      if string.find(body, '\\n', 1, true) then body = '' end
      lines[#lines + 1] = tag .. ' ' .. (task or '-') .. ' ' .. body
    end
    if tag == ARGV[4] then has_newest = 1; forget() end
  end
end
return {has_newest, last, before, counts, table.concat(lines, '\\n')}
"""
)
"""Of each message its tag, its task and the beginning of its body, the oldest first; of those that begin like one that
is known only how many. What stands before the newest one known is left out. A hundred messages at a time: Redis takes
ten times as long over a message where its reply is large."""
MOVE = (
    TAG_OF
    + """
local wanted, found, moved = {}, {}, 0
for place = 4, #ARGV do wanted[ARGV[place]] = true end
for at = ARGV[1], ARGV[2], 100 do
  for _, raw in ipairs(redis.call('LRANGE', KEYS[1], at, math.min(at + 99, ARGV[2]))) do
    if wanted[tag_of(raw) or ''] then found[#found + 1] = raw end
  end
end
for place = #found, 1, -1 do
  if redis.call('LREM', KEYS[1], ARGV[3], found[place]) == 1 then
    redis.call('LPUSH', KEYS[2], found[place])
    moved = moved + 1
  end
end
return moved
"""
)

_ACCOUNT = re.compile(rb'"account": ?"((?:[^"\\]|\\.)*)"')
_BODY = re.compile(rb"[A-Za-z0-9+/=]*")
OF_A_CONNECTION = frozenset({b"stamping.connect", b"stamping.validate_connection", b"stamping.disconnect"})
Owner = tuple[bytes, bool]
"""An account, and whether a message is about its connection: that waits for none of its invoices."""


@dataclass(frozen=True, slots=True)
class InQueue:
    """A message in the queue; `begins` is its task and its body up to its account, where that can be read."""

    tag: bytes
    owner: Owner
    begins: tuple[bytes, bytes] | None


@dataclass(frozen=True, slots=True)
class Block:
    """What stands in a part of the queue behind the newest message known, the oldest first."""

    has_newest: bool
    messages: list[InQueue]
    known: Counter[Owner]
    """How many there are besides, of accounts that stay."""
    last: bytes
    """The newest one of those: so many of `messages` stand before it."""
    before: int

    def __bool__(self) -> bool:
        return bool(self.messages or self.last)


def account_in(body: bytes) -> tuple[bytes, bytes] | None:
    """Return the account that the beginning of a body names, and the body up to there; None where it names none.

    Only whose turn it is depends on this: a message that is read wrongly is taken in a little sooner or later.
    """
    for part in (body[:NEAREST], body):
        base64_of = _BODY.match(part)
        text, is_encoded = part.replace(rb"\"", b'"'), False
        if base64_of is not None and base64_of.end() > 3:
            text, is_encoded = base64.b64decode(base64_of[0][: base64_of.end() // 4 * 4]), True
        if found := _ACCOUNT.search(text):
            return found[1], part[: -(-found.end() // 3) * 4] if is_encoded else b""
    return None


class LookAhead:
    """What one process knows of the queue: how far it has read it, and how many of whose messages it has seen."""

    def __init__(self, client: Any, name: str) -> None:
        """`client` is a connection to the broker's Redis, and `name` this process's."""
        self._client, self._name = client, name
        self._forget()

    def _forget(self) -> None:
        self._newest = b""
        self._seen: Counter[Owner] = Counter()
        self._stays: set[Owner] = set()
        self._beginnings: dict[tuple[bytes, bytes], Owner] = {}

    def look(self) -> int:
        """Move ahead what waits behind others; return how many messages that were."""
        if self._client.llen(QUEUE) <= LONG or not self._leads():
            self._forget()
            return 0
        new = self._new()
        return self._move(new, 0, 2 * BLOCK, 1) if new is not None else self._read_all()

    def _leads(self) -> bool:
        """Whether this process is the one that looks: whoever does goes on."""
        if self._client.set(LEADER, self._name, nx=True, ex=LEADS_FOR):
            return True
        holder = self._client.get(LEADER)
        if holder is None or holder.decode() != self._name:
            return False
        self._client.expire(LEADER, LEADS_FOR)
        return True

    def _read(self, first: int, last: int, most: int = PREFIX) -> Block:
        """Read what stands at these places."""
        known = [part for each in self._beginnings for part in each]
        has_newest, newest, before, counts, lines = self._client.eval(
            READ, 1, QUEUE, first, last, most, self._newest, *known
        )
        found = []
        for line in lines.split(b"\n") if lines else ():
            tag, task, body = line.split(b" ", 2)
            account = account_in(body)
            if account is None and most == PREFIX:
                return self._read(first, last, 1_000_000)
            name, begins = account or (b"", b"")
            found.append(InQueue(tag, (name, task in OF_A_CONNECTION), (task, begins) if begins else None))
        of_known: Counter[Owner] = Counter()
        for owner, count in zip(self._beginnings.values(), counts, strict=True):
            of_known[owner] += count
        return Block(bool(has_newest), found, of_known, newest, before)

    def _read_all(self) -> int:
        """Read the queue from its oldest message to its newest, and move block by block.

        Its end moves on meanwhile, since workers take from it: each block begins in the one before.
        """
        self._forget()
        moved = at = 0
        while True:
            first, last = -at - BLOCK, -max(at - OVERLAP, 0) - 1
            block = self._read(first, last)
            if not block:
                return moved
            now = self._move(block, first, last, -1)
            moved, at = moved + now, at + BLOCK - now
            self._client.expire(LEADER, LEADS_FOR)

    def _new(self) -> Block | None:
        """Return what came since the last look; None where that is not known."""
        if not self._newest:
            return None
        for many in (ONE_LOOK, OVERLAP, BLOCK):  # most looks meet nothing new, or a few
            block = self._read(0, many)
            if block.has_newest:
                return block
        return None

    def _move(self, block: Block, first: int, last: int, side: int) -> int:
        """Move what belongs to accounts with few messages, in its order; return how many that were.

        It stands between these places, and is looked for from the newest message (1) or the oldest (-1). An account
        that has many stays where it is until the queue is short; so do all where most of what waits is of small ones.
        """
        if not block:
            return 0
        self._seen.update(each.owner for each in block.messages)
        self._seen.update(block.known)
        few = min(MOST, max(FEW, max(self._seen.values()) // 2))
        self._stays |= {owner for owner, seen in self._seen.items() if seen > few}
        if (
            sum(seen for owner, seen in self._seen.items() if owner not in self._stays)
            > self._seen.total() / 2
        ):
            self._stays |= self._seen.keys()  # no account is in everybody's way
        ahead = [each.tag for each in block.messages if each.owner not in self._stays]
        staying = [(n, each) for n, each in enumerate(block.messages) if each.owner in self._stays]
        if staying and (not block.last or staying[-1][0] >= block.before):
            self._newest = staying[-1][1].tag
        else:
            self._newest = block.last or self._newest
        alike = Counter((each.begins, each.owner) for _, each in staying if each.begins is not None)
        for (begins, owner), count in alike.most_common(BEGINNINGS - len(self._beginnings)):
            if begins is not None and count >= ALIKE:
                self._beginnings[begins] = owner
        return int(self._client.eval(MOVE, 2, QUEUE, AHEAD, first, last, side, *ahead)) if ahead else 0


_stop = threading.Event()


def start(name: str) -> None:
    """Look ahead in a thread of this process, until it stops."""
    threading.Thread(target=_run, args=(name,), name="look-ahead", daemon=True).start()


def stop() -> None:
    """End it; what is being moved is moved whole."""
    _stop.set()


def _run(name: str) -> None:
    while not _stop.wait(EVERY):
        try:
            with current_app.connection_or_acquire() as connection:
                if connection.transport.driver_type != "redis":
                    return
                with connection.default_channel.conn_or_acquire() as client:
                    ahead = LookAhead(client, name)
                    while not _stop.wait(EVERY):
                        if moved := ahead.look():
                            log.info("taken_ahead", messages=moved)
        except BROKER_REFUSES as error:
            log.warning("no_look_ahead", error=type(error).__name__)
            _stop.wait(5)
