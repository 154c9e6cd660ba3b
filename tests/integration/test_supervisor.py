"""The supervisor and its reaper, with small programs of our own: nothing is lost sight of, whoever is killed when."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from devstack import reaper
from devstack.errors import LocalError, ServiceFailed
from devstack.process import Service
from devstack.reaper import is_alive
from devstack.supervisor import _BEGIN, Supervisor

PYTHON = sys.executable
TALKS = "import time, sys; print('here', flush=True); time.sleep(60)"
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('here', flush=True)
time.sleep(60)
"""
WITH_A_CHILD = """
import subprocess, time
print('child', subprocess.Popen(['sleep', '60']).pid, flush=True)
time.sleep(60)
"""


class Lines(list):
    """Collects the lines of all services, as `name line`."""

    def __call__(self, service, line):
        self.append(f"{service} {line}")

    def has(self, words):
        return any(words in line for line in self)


def talking(name="talker", program=TALKS, **more):
    return Service(name, [PYTHON, "-u", "-c", program], ready_line="here|child", **more)


@contextlib.asynccontextmanager
async def supervising(tmp_path, **more):
    lines = Lines()
    supervisor = Supervisor(tmp_path / "logs", on_line=lines, pid_file=tmp_path / "processes", **more)
    try:
        yield supervisor, lines
    finally:
        await supervisor.stop_all()


def until(true, limit=10.0):
    deadline = time.monotonic() + limit
    while not true():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def test_what_was_started_answers_and_is_stopped(tmp_path):
    """Its lines are passed on and logged; at the end neither process nor list of processes is left."""

    async def steps():
        async with supervising(tmp_path) as (supervisor, lines):
            await supervisor.start(talking())
            pid = supervisor.pid("talker")
            assert is_alive(pid)
        return pid, lines

    pid, lines = asyncio.run(steps())

    assert not is_alive(pid)
    assert lines[0] == "talker here"
    assert lines.has("ready in")
    assert lines.has("stopped in")
    assert (tmp_path / "logs" / "talker.log").read_text() == "here\n"
    assert not (tmp_path / "processes").exists()


def test_one_that_ends_while_starting_says_its_last_words(tmp_path):
    """The failure has exit code and last line of what could not start."""

    async def steps():
        async with supervising(tmp_path) as (supervisor, _):
            await supervisor.start(talking(program="import sys; sys.exit('timbrado: the port is gone')"))

    with pytest.raises(
        ServiceFailed, match=r"talker ended with 1 while starting: the port is gone"
    ) as caught:
        asyncio.run(steps())
    assert caught.value.tail == ["timbrado: the port is gone"]


def test_one_that_never_answers_is_not_waited_for_forever(tmp_path):
    """After its start timeout a service that runs and is never ready has failed."""

    async def steps():
        async with supervising(tmp_path) as (supervisor, _):
            await supervisor.start(talking(program="import time; time.sleep(60)", start_timeout=0.5))

    with pytest.raises(ServiceFailed, match=r"did not answer in 0\.5 s"):
        asyncio.run(steps())


def test_what_dies_is_started_again_and_says_so_in_one_line(tmp_path):
    """kill -9: a new pid, and a single line about the end of the old one."""

    async def steps():
        async with supervising(tmp_path) as (supervisor, lines):
            await supervisor.start(talking())
            first = supervisor.pid("talker")
            os.kill(first, signal.SIGKILL)
            while supervisor.pid("talker") in (first, None):
                await asyncio.sleep(0.02)
            await supervisor.until_up("talker", 10)
            return first, supervisor.pid("talker"), lines

    first, second, lines = asyncio.run(steps())

    assert second != first
    assert sum("ended with -9" in line for line in lines) == 1
    assert lines.has("starting it again in 0.5 s")


def test_waits_grow_and_after_several_deaths_in_a_row_it_is_given_up(tmp_path):
    """A service that can only die is not started for ever."""

    async def steps():
        async with supervising(tmp_path, first_wait=0.01) as (supervisor, lines):
            await supervisor.start(talking(program="import sys; print('here', flush=True); sys.exit(3)"))
            await asyncio.wait_for(supervisor.gave_up.wait(), 20)
            return supervisor.failed, lines

    failed, lines = asyncio.run(steps())

    assert str(failed) == "talker ended 6 times in a row, last with 3"
    waits = [line.rpartition(" in ")[2] for line in lines if "starting it again" in line]
    assert waits == ["0.01 s", "0.02 s", "0.04 s", "0.08 s", "0.16 s"]


def test_fail_fast_ends_with_the_first_death(tmp_path):
    """With fail_fast a death is the supervisor's failure, and is not repaired."""

    async def steps():
        async with supervising(tmp_path, fail_fast=True) as (supervisor, _):
            await supervisor.start(talking())
            os.kill(supervisor.pid("talker"), signal.SIGKILL)
            await asyncio.wait_for(supervisor.gave_up.wait(), 5)
            return supervisor.failed

    assert str(asyncio.run(steps())) == "talker ended with -9"


def test_a_death_on_purpose_is_not_counted_against_it(tmp_path):
    """A death on purpose is not held against it."""

    async def steps():
        async with supervising(tmp_path, fail_fast=True) as (supervisor, lines):
            await supervisor.start(talking())
            for _ in range(7):
                await supervisor.kill("talker")
                await supervisor.until_up("talker", 10)
            return supervisor.failed, lines

    failed, lines = asyncio.run(steps())

    assert failed is None
    assert sum("starting it again in 0 s" in line for line in lines) == 7


def test_killed_and_not_again_stays_down_until_it_is_started(tmp_path):
    """`again=False` leaves it down for longer than the wait before a restart."""

    async def steps():
        async with supervising(tmp_path) as (supervisor, _):
            await supervisor.start(talking())
            await supervisor.kill("talker", again=False)
            down = supervisor.pid("talker")
            await asyncio.sleep(0.7)
            still_down = supervisor.pid("talker")
            await supervisor.start(supervisor.service("talker"))
            return down, still_down, supervisor.pid("talker")

    down, still_down, up = asyncio.run(steps())

    assert (down, still_down) == (None, None)
    assert up


def test_one_that_was_frozen_goes_on_or_is_stopped(tmp_path):
    """SIGCONT wakes it; stopped while frozen it ends without a kill."""

    async def steps():
        async with supervising(tmp_path, fail_fast=True) as (supervisor, lines):
            await supervisor.start(talking())
            pid = supervisor.pid("talker")
            await supervisor.kill("talker", signal.SIGSTOP)
            until(lambda: _state(pid) == "T")
            await supervisor.kill("talker", signal.SIGCONT)
            until(lambda: _state(pid) != "T")
            await supervisor.kill("talker", signal.SIGSTOP)
            return pid, lines

    pid, lines = asyncio.run(steps())

    assert not is_alive(pid)
    assert not lines.has("killing it")


def test_one_that_ignores_its_signal_is_killed_after_its_limit(tmp_path):
    """SIGTERM ignored: SIGKILL once its stop timeout is over."""

    async def steps():
        async with supervising(tmp_path) as (supervisor, lines):
            await supervisor.start(talking(program=STUBBORN, stop_timeout=0.3))
            return supervisor.pid("talker"), lines

    pid, lines = asyncio.run(steps())

    assert not is_alive(pid)
    assert lines.has("killing it")


def test_stopping_at_once_waits_for_nothing(tmp_path):
    """A service that ignores its signal has an hour, and is killed without it."""

    async def steps():
        async with supervising(tmp_path) as (supervisor, _):
            await supervisor.start(talking(program=STUBBORN, stop_timeout=3_600))
            pid = supervisor.pid("talker")
            supervisor.stop_at_once()
        return pid

    assert not is_alive(asyncio.run(steps()))


def test_children_of_a_service_go_with_it(tmp_path):
    """The child of a stopped service is gone too."""

    async def steps():
        async with supervising(tmp_path) as (supervisor, lines):
            await supervisor.start(talking(program=WITH_A_CHILD))
            return int(lines[0].split()[-1])

    child = asyncio.run(steps())

    until(lambda: not _runs(child))


def test_stopping_while_it_is_being_started_again_leaves_nothing(tmp_path):
    """A stop between death and restart cancels the restart."""

    async def steps():
        async with supervising(tmp_path) as (supervisor, _):
            await supervisor.start(talking())
            os.kill(supervisor.pid("talker"), signal.SIGKILL)
            await asyncio.sleep(0.55)  # in the middle of its second start
            await supervisor.stop("talker")
            return supervisor.pid("talker")

    assert asyncio.run(steps()) is None


def test_a_service_that_is_not_there_is_named_with_those_that_are(tmp_path):
    """A misspelt name is an error that lists the services."""

    async def steps():
        async with supervising(tmp_path) as (supervisor, _):
            await supervisor.start(talking())
            await supervisor.stop("talkr")

    with pytest.raises(LocalError, match="no service is called talkr; there are talker"):
        asyncio.run(steps())


def test_an_endless_line_does_not_end_the_service(tmp_path):
    """Three megabytes without a line break are read, and the service lives."""
    program = "import sys, time; print('x' * 3_000_000); print('here', flush=True); time.sleep(60)"

    async def steps():
        async with supervising(tmp_path) as (supervisor, _):
            await supervisor.start(talking(program=program))
            return supervisor.pid("talker")

    assert asyncio.run(steps())


OUTSIDE = textwrap.dedent(
    """
    import asyncio, sys
    from pathlib import Path
    from devstack.process import Service
    from devstack.supervisor import Supervisor

    async def steps():
        home = Path(sys.argv[1])
        supervisor = Supervisor(home / "logs", on_line=lambda s, l: None, pid_file=home / "processes")
        supervisor.remove_at_end(home / "sockets")
        for n in range(3):
            program = "import time; print('here', flush=True); time.sleep(60)"
            await supervisor.start(Service(f"s{n}", [sys.executable, "-u", "-c", program], ready_line="here"))
        print(*(supervisor.pid(f"s{n}") for n in range(3)), supervisor._reaper.pid, flush=True)
        await asyncio.sleep(60)

    asyncio.run(steps())
    """
)


@pytest.fixture
def supervisor_process(tmp_path):
    """A supervisor in a process of its own, with three services; yields (process, their pids, its reaper's)."""
    (tmp_path / "sockets").mkdir()
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [PYTHON, "-c", OUTSIDE, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        start_new_session=True,
    )
    *pids, reaper_pid = map(int, process.stdout.readline().split())
    yield process, pids, reaper_pid
    process.kill()
    process.wait()
    process.stdout.close()
    for pid in [*pids, reaper_pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_kill_9_of_the_supervisor_leaves_nothing(supervisor_process, tmp_path):
    """The reaper stops services and itself, and removes the sockets."""
    process, pids, reaper_pid = supervisor_process
    process.kill()
    process.wait()

    until(lambda: not any(map(_runs, [*pids, reaper_pid])))
    until(lambda: not (tmp_path / "sockets").exists())


def test_kill_9_of_supervisor_and_reaper_is_cleared_up_by_the_next_start(supervisor_process, tmp_path):
    """What both left running is found by its list and stopped."""
    process, pids, reaper_pid = supervisor_process
    os.kill(reaper_pid, signal.SIGKILL)
    process.kill()
    process.wait()
    assert all(map(_runs, pids))

    assert reaper.stop_orphans(tmp_path / "processes") == 3
    until(lambda: not any(map(_runs, pids)))


def test_a_number_that_went_to_somebody_else_is_left_alone(tmp_path):
    """The pid file's process 1 is not the one that lives now: its birth differs."""
    bystander = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        (tmp_path / "processes").write_text(f"{bystander.pid} 12345 15\nnonsense\n")

        assert reaper.stop_orphans(tmp_path / "processes") == 0
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_child_that_nobody_announced_never_begins(tmp_path):
    """Killed between a child's birth and the word to the reaper, it leaves a shell that ends by itself."""
    mark = tmp_path / "began"
    child = subprocess.Popen(["/bin/sh", "-c", _BEGIN, "sh", "touch", str(mark)], stdin=subprocess.PIPE)
    child.stdin.close()  # what the kernel does to a dead supervisor's pipes

    assert child.wait(5) != 0
    assert not mark.exists()


def _state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _runs(pid):
    try:
        return _state(pid) not in "ZX"
    except OSError:
        return False
