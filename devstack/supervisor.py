"""Runs a few long-lived programs together: up one after another, again when they die, down in reverse.

The one thing a newcomer would get wrong: a child is told to the guardian before it may begin. It is born as
a shell that waits for one byte; only then does it become the program. Whoever kills the supervisor, at
whatever moment, leaves no process that nobody knows.
"""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from devstack import guardian, leftovers
from devstack.logs import Log
from devstack.problems import LocalError, ServiceFailed
from devstack.service import Output, Say, Service, Slot, answers, go, send, settled

STEADY = 30.0  # seconds alive after which earlier deaths no longer count
MOST_DEATHS = 5  # in a row, then it is given up
FIRST_WAIT, LONGEST_WAIT = 0.5, 10.0  # seconds before it is started again; doubled each time
_NOT_DEADLY = (signal.SIGSTOP, signal.SIGCONT)
_BEGIN = 'read -r go && exec "$@" </dev/null'


class Supervisor:
    """Keeps services running; every method belongs to the event loop it was made in.

    With `fail_fast` the first unexpected end is final. `failed` says why, once something was given up.
    Children inherit `base_env` (this process's own unless told). `book` remembers them for the next start.
    """

    def __init__(
        self,
        logs: Path,
        *,
        say: Say,
        base_env: Mapping[str, str] | None = None,
        fail_fast: bool = False,
        first_wait: float = FIRST_WAIT,
        pass_to_guardian: Sequence[int] = (),
        book: Path | None = None,
    ) -> None:
        self._logs = logs
        self._say = say
        self._base_env = os.environ if base_env is None else base_env
        self._book = book
        self._fail_fast = fail_fast
        self._first_wait = first_wait
        self._slots: dict[str, Slot] = {}
        self._hurry = asyncio.Event()
        self.failed: LocalError | None = None
        self.gave_up = asyncio.Event()
        logs.mkdir(parents=True, exist_ok=True)
        self._guardian = subprocess.Popen(  # noqa: S603 (our own module, by our own interpreter)
            [sys.executable, "-I", "-S", guardian.__file__],
            stdin=subprocess.PIPE,
            bufsize=0,  # one write, one line: a kill in the middle never leaves half a number
            start_new_session=True,
            cwd="/",
            pass_fds=pass_to_guardian,
        )

    def remove_at_end(self, path: Path) -> None:
        """Have a folder or file removed even when this process cannot."""
        self._tell_guardian(f"~{path}")

    @property
    def names(self) -> tuple[str, ...]:
        """Every service there is a place for, in the order they were first started."""
        return tuple(self._slots)

    def service(self, name: str) -> Service:
        """What stands under this name."""
        return self._slot(name).service

    def pid(self, name: str) -> int | None:
        """The process of a service, None while it is down."""
        slot = self._slots.get(name)
        return slot.process.pid if slot is not None and slot.process is not None and slot.is_alive else None

    def tail(self, name: str) -> list[str]:
        """The last lines a service printed."""
        return list(self._slot(name).tail)

    async def start(self, service: Service) -> None:
        """Start a service and wait until it answers. Raises ServiceFailed when it ends or stays silent.

        A service of that name that is down is replaced.
        """
        slot = self._slots.get(service.name)
        if slot is not None and (slot.keeper is not None or slot.is_alive):
            raise LocalError(f"{service.name} is running already")
        slot = self._slots[service.name] = Slot(service)
        await self._begin(slot)
        slot.keeper = asyncio.create_task(self._keep(slot))

    async def stop(self, name: str) -> None:
        """Stop one service with its own signal, and kill what of it is left after its own limit.

        Its place stays: `start` fills it again.
        """
        slot = self._slot(name)
        await _cancel(slot.keeper)
        slot.keeper = None
        slot.up.clear()
        if slot.process is None:
            return
        began = time.monotonic()
        if slot.is_alive:
            send(slot.process.pid, slot.service.stop_signal)
            send(slot.process.pid, signal.SIGCONT)  # one that was frozen hears nothing else
            if not await self._ends(slot.process, slot.service.stop_timeout):
                self._say(name, f"still there after {time.monotonic() - began:.0f} s: killing it")
        await self._bury(slot)
        slot.process = None
        self._say(name, f"stopped in {time.monotonic() - began:.1f} s")

    async def kill(self, name: str, number: signal.Signals = signal.SIGKILL, *, again: bool = True) -> None:
        """Signal a service as an accident would. The death is not held against it.

        It is started again at once, or stays down when not `again` (until `start`). SIGSTOP freezes it and
        SIGCONT lets it go on.
        """
        slot = self._slot(name)
        if not again:
            await _cancel(slot.keeper)
            slot.keeper = None
            slot.up.clear()
        slot.killed_on_purpose = again and number not in _NOT_DEADLY
        if slot.process is not None:
            send(slot.process.pid, number)
            if number == signal.SIGKILL:
                await slot.process.wait()
                slot.up.clear()
        if not again:
            await self._bury(slot)

    async def until_up(self, name: str, limit: float) -> None:
        """Wait until a service answers (again), `limit` seconds at most. Raises ServiceFailed."""
        slot = self._slot(name)
        try:
            await asyncio.wait_for(slot.up.wait(), limit)
        except TimeoutError:
            raise ServiceFailed(name, f"did not come back in {limit:g} s", list(slot.tail)) from None

    async def stop_all(self) -> None:
        """Stop every service, the youngest first, then let the guardian go."""
        for name in reversed(self.names):
            await self.stop(name)
        if self._guardian.stdin is not None:
            self._guardian.stdin.close()
        await asyncio.to_thread(self._guardian.wait, guardian.GRACE + 2)
        if self._book is not None:
            self._book.unlink(missing_ok=True)

    def hurry(self) -> None:
        """Wait for nobody any more: what is still stopping is killed."""
        self._hurry.set()

    async def run(self, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path) -> tuple[int, str]:
        """Run a program to its end, under the guardian's eyes; return its exit code and what it printed."""
        process, output = await self._spawn(argv, env=env, cwd=cwd, signal_at_end=signal.SIGTERM)
        try:
            await go(process)
            printed = await output.lines.read()
            await process.wait()
        finally:
            send(process.pid, signal.SIGKILL, group=True)
            await process.wait()
            output.close()
            self._tell_guardian(f"-{process.pid}")
        return process.returncode or 0, printed.decode(errors="replace")

    def _slot(self, name: str) -> Slot:
        try:
            return self._slots[name]
        except KeyError:
            raise LocalError(f"no service is called {name}; there are {', '.join(self._slots)}") from None

    async def _begin(self, slot: Slot) -> None:
        service = slot.service
        slot.printed_ready.clear()
        slot.born = time.monotonic()
        if service.before is not None:
            await asyncio.to_thread(service.before)
        env = {**self._base_env, **service.env}
        process, output = await self._spawn(
            service.argv, env=env, cwd=service.cwd, signal_at_end=service.stop_signal
        )
        slot.process, slot.output = process, output
        slot.pump = asyncio.create_task(self._pump(slot, output))
        await go(process)
        await self._until_ready(slot, process)
        slot.up.set()
        self._say(service.name, f"ready in {time.monotonic() - slot.born:.1f} s (pid {process.pid})")

    async def _spawn(
        self, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path | None, signal_at_end: signal.Signals
    ) -> tuple[asyncio.subprocess.Process, Output]:
        output = Output()
        process = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            _BEGIN,
            "sh",
            *argv,
            env=env,
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=output.write_end,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._tell_guardian(f"+{process.pid} {int(signal_at_end)}")
        if self._book is not None:
            leftovers.note(self._book, process.pid, signal_at_end)
        await output.open()
        return process, output

    async def _until_ready(self, slot: Slot, process: asyncio.subprocess.Process) -> None:
        service = slot.service
        while not await answers(slot):
            if process.returncode is not None:
                await settled(slot.pump)
                what = f"ended with {process.returncode} while starting"
                raise ServiceFailed(service.name, what, list(slot.tail))
            if time.monotonic() > slot.born + service.start_timeout:
                what = f"did not answer in {service.start_timeout:g} s"
                raise ServiceFailed(service.name, what, list(slot.tail))
            await asyncio.sleep(0.05)

    async def _pump(self, slot: Slot, output: Output) -> None:
        name = slot.service.name
        sign = re.compile(slot.service.ready_line) if slot.service.ready_line else None
        with Log(self._logs / f"{name}.log") as log:
            while True:
                try:
                    raw = await output.lines.readline()
                except ValueError:  # a line longer than the limit: it is dropped, the rest goes on
                    continue
                if not raw:
                    break
                line = raw.decode(errors="replace").rstrip()
                log.write(line)
                slot.tail.append(line)
                if sign is not None and sign.search(line):
                    slot.printed_ready.set()
                if line:
                    self._say(name, line)

    async def _keep(self, slot: Slot) -> None:
        """Wait for the end of one life and begin the next, until it is in vain."""
        name = slot.service.name
        while slot.process is not None:
            code = await slot.process.wait()
            slot.up.clear()
            lived = time.monotonic() - slot.born
            await self._bury(slot)
            if self._fail_fast and not slot.killed_on_purpose:
                self._give_up(ServiceFailed(name, f"ended with {code}", list(slot.tail)))
                return
            if slot.killed_on_purpose:
                slot.killed_on_purpose, slot.deaths = False, 0
            else:
                slot.deaths = 1 if lived > STEADY else slot.deaths + 1
            if slot.deaths > MOST_DEATHS:
                what = f"ended {slot.deaths} times in a row, last with {code}"
                self._give_up(ServiceFailed(name, what, list(slot.tail)))
                return
            wait = min(self._first_wait * 2 ** (slot.deaths - 1), LONGEST_WAIT) if slot.deaths else 0.0
            self._say(name, f"ended with {code} after {lived:.0f} s; starting it again in {wait:g} s")
            await asyncio.sleep(wait)
            try:
                await self._begin(slot)
            except (LocalError, OSError) as error:
                self._say(name, str(error))
                if slot.is_alive:  # it runs but never answered
                    send(slot.process.pid, signal.SIGKILL, group=True)

    def _give_up(self, reason: LocalError) -> None:
        if self.failed is None:
            self.failed = reason
            self.gave_up.set()

    async def _ends(self, process: asyncio.subprocess.Process, limit: float) -> bool:
        ended = asyncio.ensure_future(process.wait())
        hurry = asyncio.ensure_future(self._hurry.wait())
        done, waiting = await asyncio.wait([ended, hurry], timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        return ended in done

    async def _bury(self, slot: Slot) -> None:
        """Kill what a service left in its group, read its last words, and tell the guardian to forget it."""
        if slot.process is None:
            return
        send(slot.process.pid, signal.SIGKILL, group=True)
        await slot.process.wait()
        await settled(slot.pump)
        if slot.output is not None:
            slot.output.close()
        self._tell_guardian(f"-{slot.process.pid}")

    def _tell_guardian(self, line: str) -> None:
        if self._guardian.stdin is not None and not self._guardian.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._guardian.stdin.write(f"{line}\n".encode())


async def _cancel(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.wait([task])
