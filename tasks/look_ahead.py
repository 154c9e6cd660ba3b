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
PREFIX = 400
"""Characters of a body in which its account usually stands; where it does not, all of it is read."""
EVERY = 0.25  # seconds between two looks
LEADS_FOR = 10  # seconds for which a process is the one that looks, from its last look on
LEADER = "timbrado.look_ahead"

READ = """
local found = {}
for place, raw in ipairs(redis.call('LRANGE', KEYS[1], ARGV[1], ARGV[2])) do
  local _, from = string.find(raw, '"body": ?"')
  found[place] = (string.match(raw, '"delivery_tag": ?"([^"]*)"') or '-')
    .. ' ' .. (string.match(raw, '"task": ?"([a-z._]*)"') or '-')
    .. ' ' .. (from and string.gsub(string.sub(raw, from + 1, from + ARGV[3]), '%s', ' ') or '')
end
return table.concat(found, '\\n')
"""
"""Of each message its tag, its task and the beginning of its body: reading all of it would cost this process ten times
as much."""
MOVE = """
local wanted, moved = {}, 0
for place = 4, #ARGV do wanted[ARGV[place]] = true end
local found = redis.call('LRANGE', KEYS[1], ARGV[1], ARGV[2])
for place = #found, 1, -1 do
  local raw = found[place]
  if wanted[string.match(raw, '"delivery_tag": ?"([^"]*)"')] and redis.call('LREM', KEYS[1], ARGV[3], raw) == 1 then
    redis.call('LPUSH', KEYS[2], raw)
    moved = moved + 1
  end
end
return moved
"""

_ACCOUNT = re.compile(rb'"account": ?"((?:[^"\\]|\\.)*)"')
_BODY = re.compile(rb"[A-Za-z0-9+/=]*")
OF_A_CONNECTION = frozenset({b"stamping.connect", b"stamping.validate_connection", b"stamping.disconnect"})
Owner = tuple[bytes, bool]
"""An account, and whether a message is about its connection: that waits for none of its invoices."""


@dataclass(frozen=True, slots=True)
class InQueue:
    """A message in the queue."""

    tag: bytes
    owner: Owner


def account_in(body: bytes) -> bytes | None:
    """Return the account that the beginning of a body names; None where it names none.

    Only whose turn it is depends on this: a message that is read wrongly is taken in a little sooner or later.
    """
    base64_of = _BODY.match(body)
    text = body.replace(rb"\"", b'"')
    if base64_of is not None and base64_of.end() > 3:
        text = base64.b64decode(base64_of[0][: base64_of.end() // 4 * 4])
    found = _ACCOUNT.search(text)
    return found[1] if found is not None else None


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

    def _read(self, first: int, last: int, most: int = PREFIX) -> list[InQueue]:
        """Read what stands at these places, its oldest first."""
        lines = self._client.eval(READ, 1, QUEUE, first, last, most).split(b"\n")
        found = []
        for line in lines if lines != [b""] else ():
            tag, task, body = line.split(b" ", 2)
            account = account_in(body)
            if account is None and most == PREFIX:
                return self._read(first, last, 1_000_000)
            found.append(InQueue(tag, (account or b"", task in OF_A_CONNECTION)))
        return found[::-1]

    def _read_all(self) -> int:
        """Read the queue from its oldest message to its newest, and move block by block.

        Its end moves on meanwhile, since workers take from it: each block begins in the one before.
        """
        self._forget()
        moved = at = 0
        while True:
            first, last = -at - BLOCK, -max(at - OVERLAP, 0) - 1
            block = self._read(first, last)
            tags = [each.tag for each in block]
            new = block[tags.index(self._newest) + 1 :] if self._newest in tags else block
            if not new:
                return moved
            now = self._move(new, first, last, -1)
            moved, at = moved + now, at + BLOCK - now
            self._client.expire(LEADER, LEADS_FOR)

    def _new(self) -> list[InQueue] | None:
        """Return what came since the last look, its oldest first; None where that is not known."""
        for many in (ONE_LOOK, OVERLAP, BLOCK):  # most looks meet nothing new, or a few
            lot = self._read(0, many)
            tags = [each.tag for each in lot]
            if self._newest in tags:
                return lot[tags.index(self._newest) + 1 :]
        return None

    def _move(self, block: list[InQueue], first: int, last: int, side: int) -> int:
        """Move what belongs to accounts with few messages, in its order; return how many that were.

        It stands between these places, and is looked for from the newest message (1) or the oldest (-1). An account
        that has many stays where it is until the queue is short; so do all where most of what waits is of small ones.
        """
        if not block:
            return 0
        self._seen.update(each.owner for each in block)
        few = min(MOST, max(FEW, max(self._seen.values()) // 2))
        self._stays |= {owner for owner, seen in self._seen.items() if seen > few}
        if (
            sum(seen for owner, seen in self._seen.items() if owner not in self._stays)
            > self._seen.total() / 2
        ):
            self._stays |= self._seen.keys()  # no account is in everybody's way
        ahead = [each.tag for each in block if each.owner not in self._stays]
        self._newest = next((each.tag for each in block[::-1] if each.owner in self._stays), self._newest)
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
