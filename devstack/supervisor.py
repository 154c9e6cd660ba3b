"""Runs a few long-lived programs together: up one after another, again when they die, down in reverse.

Each child is reported to the reaper before it may begin: it starts as a shell that waits for one byte, and only then
becomes the program. Killing the supervisor at any moment leaves no process that the reaper does not know.
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

from devstack import reaper
from devstack.errors import LocalError, ServiceFailed
from devstack.process import Log, OnLine, Output, Service, ServiceState, drained, is_ready, release, send

STEADY = 30.0  # seconds alive after which earlier deaths no longer count
MOST_CRASHES = 5  # in a row, then it is given up
FIRST_WAIT, LONGEST_WAIT = 0.5, 10.0  # seconds before it is started again; doubled each time
_NOT_DEADLY = (signal.SIGSTOP, signal.SIGCONT)
_BEGIN = 'read -r go && exec "$@" </dev/null'


class Supervisor:
    """Keeps services running; every method belongs to the event loop it was made in.

    With `fail_fast` the first unexpected end is final. `failed` says why, once something was given up.
    Children inherit `base_env` (this process's own by default). `pid_file` lists them for the next start.
    """

    def __init__(
        self,
        logs: Path,
        *,
        on_line: OnLine,
        base_env: Mapping[str, str] | None = None,
        fail_fast: bool = False,
        first_wait: float = FIRST_WAIT,
        pass_to_reaper: Sequence[int] = (),
        pid_file: Path | None = None,
    ) -> None:
        self._logs = logs
        self._on_line = on_line
        self._base_env = os.environ if base_env is None else base_env
        self._pid_file = pid_file
        self._fail_fast = fail_fast
        self._first_wait = first_wait
        self._states: dict[str, ServiceState] = {}
        self._at_once = asyncio.Event()
        self.failed: LocalError | None = None
        self.gave_up = asyncio.Event()
        logs.mkdir(parents=True, exist_ok=True)
        self._reaper = subprocess.Popen(  # noqa: S603 (our own module, by our own interpreter)
            [sys.executable, "-I", "-S", reaper.__file__],
            stdin=subprocess.PIPE,
            bufsize=0,  # one write, one line: a kill in the middle never leaves half a number
            start_new_session=True,
            cwd="/",
            pass_fds=pass_to_reaper,
        )

    def remove_at_end(self, path: Path) -> None:
        """Have a folder or file removed even when this process cannot."""
        self._notify_reaper(f"~{path}")

    @property
    def names(self) -> tuple[str, ...]:
        """Every service, in the order they were first started."""
        return tuple(self._states)

    def service(self, name: str) -> Service:
        """The service of this name."""
        return self._state(name).service

    def pid(self, name: str) -> int | None:
        """The process of a service, None while it is down."""
        state = self._states.get(name)
        return (
            state.process.pid if state is not None and state.process is not None and state.is_alive else None
        )

    def tail(self, name: str) -> list[str]:
        """The last lines a service printed."""
        return list(self._state(name).tail)

    async def start(self, service: Service) -> None:
        """Start a service and wait until it answers. Raises ServiceFailed when it ends or stays silent.

        A service of that name that is down is replaced.
        """
        state = self._states.get(service.name)
        if state is not None and (state.restarter is not None or state.is_alive):
            raise LocalError(f"{service.name} is running already")
        state = self._states[service.name] = ServiceState(service)
        await self._begin(state)
        state.restarter = asyncio.create_task(self._restart(state))

    async def stop(self, name: str) -> None:
        """Stop one service with its own signal, and kill what of it is left after its own limit.

        `start` starts it again.
        """
        state = self._state(name)
        await _cancel(state.restarter)
        state.restarter = None
        state.up.clear()
        if state.process is None:
            return
        began = time.monotonic()
        if state.is_alive:
            send(state.process.pid, state.service.stop_signal)
            send(state.process.pid, signal.SIGCONT)  # a stopped process handles no other signal
            if not await self._ends(state.process, state.service.stop_timeout):
                self._on_line(name, f"still there after {time.monotonic() - began:.0f} s: killing it")
        await self._reap(state)
        state.process = None
        self._on_line(name, f"stopped in {time.monotonic() - began:.1f} s")

    async def kill(self, name: str, number: signal.Signals = signal.SIGKILL, *, again: bool = True) -> None:
        """Signal a service as an accident would. The crash is not counted.

        It is started again at once, or stays down when not `again` (until `start`). SIGSTOP freezes it and
        SIGCONT lets it go on.
        """
        state = self._state(name)
        if not again:
            await _cancel(state.restarter)
            state.restarter = None
            state.up.clear()
        state.killed_on_purpose = again and number not in _NOT_DEADLY
        if state.process is not None:
            send(state.process.pid, number)
            if number == signal.SIGKILL:
                await state.process.wait()
                state.up.clear()
        if not again:
            await self._reap(state)

    async def until_up(self, name: str, limit: float) -> None:
        """Wait until a service answers (again), `limit` seconds at most. Raises ServiceFailed."""
        state = self._state(name)
        try:
            await asyncio.wait_for(state.up.wait(), limit)
        except TimeoutError:
            raise ServiceFailed(name, f"did not come back in {limit:g} s", list(state.tail)) from None

    async def stop_all(self) -> None:
        """Stop every service, the youngest first, then let the reaper go."""
        for name in reversed(self.names):
            await self.stop(name)
        if self._reaper.stdin is not None:
            self._reaper.stdin.close()
        await asyncio.to_thread(self._reaper.wait, reaper.GRACE + 2)
        if self._pid_file is not None:
            self._pid_file.unlink(missing_ok=True)

    def stop_at_once(self) -> None:
        """Wait no longer: what is still stopping is killed."""
        self._at_once.set()

    async def run(self, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path) -> tuple[int, str]:
        """Run a program to its end, known to the reaper; return its exit code and what it printed."""
        process, output = await self._spawn(argv, env=env, cwd=cwd, signal_at_end=signal.SIGTERM)
        try:
            await release(process)
            printed = await output.lines.read()
            await process.wait()
        finally:
            send(process.pid, signal.SIGKILL, group=True)
            await process.wait()
            output.close()
            self._notify_reaper(f"-{process.pid}")
        return process.returncode or 0, printed.decode(errors="replace")

    def _state(self, name: str) -> ServiceState:
        try:
            return self._states[name]
        except KeyError:
            raise LocalError(f"no service is called {name}; there are {', '.join(self._states)}") from None

    async def _begin(self, state: ServiceState) -> None:
        service = state.service
        state.printed_ready.clear()
        state.started_at = time.monotonic()
        if service.before is not None:
            await asyncio.to_thread(service.before)
        env = {**self._base_env, **service.env}
        process, output = await self._spawn(
            service.argv, env=env, cwd=service.cwd, signal_at_end=service.stop_signal
        )
        state.process, state.output = process, output
        state.pump = asyncio.create_task(self._pump(state, output))
        await release(process)
        await self._until_ready(state, process)
        state.up.set()
        self._on_line(
            service.name, f"ready in {time.monotonic() - state.started_at:.1f} s (pid {process.pid})"
        )

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
        self._notify_reaper(f"+{process.pid} {int(signal_at_end)}")
        if self._pid_file is not None:
            reaper.record(self._pid_file, process.pid, signal_at_end)
        await output.open()
        return process, output

    async def _until_ready(self, state: ServiceState, process: asyncio.subprocess.Process) -> None:
        service = state.service
        while not await is_ready(state):
            if process.returncode is not None:
                await drained(state.pump)
                what = f"ended with {process.returncode} while starting"
                raise ServiceFailed(service.name, what, list(state.tail))
            if time.monotonic() > state.started_at + service.start_timeout:
                what = f"did not answer in {service.start_timeout:g} s"
                raise ServiceFailed(service.name, what, list(state.tail))
            await asyncio.sleep(0.05)

    async def _pump(self, state: ServiceState, output: Output) -> None:
        name = state.service.name
        sign = re.compile(state.service.ready_line) if state.service.ready_line else None
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
                state.tail.append(line)
                if sign is not None and sign.search(line):
                    state.printed_ready.set()
                if line:
                    self._on_line(name, line)

    async def _restart(self, state: ServiceState) -> None:
        """Wait for its end and start it again, until it is given up."""
        name = state.service.name
        while state.process is not None:
            code = await state.process.wait()
            state.up.clear()
            lived = time.monotonic() - state.started_at
            await self._reap(state)
            if self._fail_fast and not state.killed_on_purpose:
                self._give_up(ServiceFailed(name, f"ended with {code}", list(state.tail)))
                return
            if state.killed_on_purpose:
                state.killed_on_purpose, state.crashes = False, 0
            else:
                state.crashes = 1 if lived > STEADY else state.crashes + 1
            if state.crashes > MOST_CRASHES:
                what = f"ended {state.crashes} times in a row, last with {code}"
                self._give_up(ServiceFailed(name, what, list(state.tail)))
                return
            wait = min(self._first_wait * 2 ** (state.crashes - 1), LONGEST_WAIT) if state.crashes else 0.0
            self._on_line(name, f"ended with {code} after {lived:.0f} s; starting it again in {wait:g} s")
            await asyncio.sleep(wait)
            try:
                await self._begin(state)
            except (LocalError, OSError) as error:
                self._on_line(name, str(error))
                if state.is_alive:  # it runs but never answered
                    send(state.process.pid, signal.SIGKILL, group=True)

    def _give_up(self, reason: LocalError) -> None:
        if self.failed is None:
            self.failed = reason
            self.gave_up.set()

    async def _ends(self, process: asyncio.subprocess.Process, limit: float) -> bool:
        ended = asyncio.ensure_future(process.wait())
        at_once = asyncio.ensure_future(self._at_once.wait())
        done, waiting = await asyncio.wait(
            [ended, at_once], timeout=limit, return_when=asyncio.FIRST_COMPLETED
        )
        for task in waiting:
            task.cancel()
        return ended in done

    async def _reap(self, state: ServiceState) -> None:
        """Kill what a service left in its group, read its last lines, and have the reaper forget it."""
        if state.process is None:
            return
        send(state.process.pid, signal.SIGKILL, group=True)
        await state.process.wait()
        await drained(state.pump)
        if state.output is not None:
            state.output.close()
        self._notify_reaper(f"-{state.process.pid}")

    def _notify_reaper(self, line: str) -> None:
        if self._reaper.stdin is not None and not self._reaper.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._reaper.stdin.write(f"{line}\n".encode())


async def _cancel(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.wait([task])
