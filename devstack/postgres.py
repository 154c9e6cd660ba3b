"""A private PostgreSQL cluster: made once, run in the foreground on a unix socket, stopped fast.

PostgreSQL refuses to run as root, so root runs it as the user `nobody`, with the least rights that let that user reach
this checkout. No user is made and no folder is opened to anybody for it.
"""

import os
import pwd
import secrets
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psycopg

from devstack import services
from devstack.errors import CannotStart
from devstack.process import Service

USER = DATABASE = "timbrado"

# initdb's program, arguments, environment and folder in; exit code and output out
Run = Callable[[list[str], dict[str, str], Path], Awaitable[tuple[int, str]]]

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "400",
    "shared_buffers": "64MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    # its log is no place for rows: of a refused one the values would stand there
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}
_NOTHING_SAFE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def secret(path: Path, make: Callable[[], str] = lambda: secrets.token_urlsafe(24)) -> str:
    """Something random, made once and kept readable by this user alone."""
    if not path.exists():
        new = path.with_name(f"{path.name}.new")
        new.unlink(missing_ok=True)
        new.touch(mode=0o600)
        new.write_text(make())
        new.replace(path)
    return path.read_text().strip()


class Cluster:
    """Where a cluster lives, and as which user it runs. `home` keeps the data, `sockets` only the socket."""

    def __init__(self, home: Path, sockets: Path, *, durable: bool = True) -> None:
        self._bin = services.postgres_bin()
        self._data = home / "postgres"
        self._sockets = sockets / "pg"
        self._durable = durable
        home.mkdir(parents=True, exist_ok=True)
        for folder in (self._data, self._sockets):
            _make_folder(folder)
        # beside the data: a copy of one without the other would not open
        self._password = secret(home / "postgres.password")
        self._runner = _as_nobody(self._bin / "postgres", self._data) if os.geteuid() == 0 else []

    def url(self, database: str = DATABASE) -> str:
        """The address for SQLAlchemy."""
        return f"postgresql+psycopg://{USER}:{self._password}@/{database}?host={self._sockets}"

    async def initialise(self, run: Run) -> None:
        """Make the cluster where there is none. Raises CannotStart."""
        version = self._data / "PG_VERSION"
        if version.exists():
            await self._same_version(version.read_text().strip(), run)
            return
        new = self._data.with_name("postgres.new")  # renamed when whole: initdb writes PG_VERSION early
        shutil.rmtree(new, ignore_errors=True)
        _make_folder(new)
        handed = self._sockets / "password"
        try:
            handed.touch(mode=0o600)
            handed.write_text(f"{self._password}\n")
            if self._runner:
                shutil.chown(handed, "nobody")
            options = [f"--username={USER}", "--auth=scram-sha-256", f"--pwfile={handed}"]
            options += ["--encoding=UTF8", "--locale=C", "--no-instructions"]
            if not self._durable:
                options.append("--no-sync")
            argv = [*self._runner, str(self._bin / "initdb"), "-D", str(new), *options]
            env = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}
            code, output = await run(argv, env, Path("/"))
        finally:
            handed.unlink(missing_ok=True)
        if code:
            if "No space left on device" in output:
                raise CannotStart(f"the disk that holds {self._data} is full: PostgreSQL needs about 60 MB")
            last = output.strip().splitlines()[-1:] or ["it printed nothing"]
            raise CannotStart(f"initdb ended with {code}: {last[0]}")
        self._data.rmdir()
        new.rename(self._data)

    async def _same_version(self, made_by: str, run: Run) -> None:
        _, version = await run([str(self._bin / "postgres"), "--version"], {"LC_ALL": "C"}, Path("/"))
        ours = version.strip().rpartition(" ")[2].partition(".")[0]
        if ours != made_by:
            raise CannotStart(
                f"{self._data} was made by PostgreSQL {made_by}, here is {ours}: dump it, or `./dev clean`"
            )

    def wait_for_old_server(self, timeout: float = 10.0) -> None:
        """Wait until no postmaster of an earlier start is left on this data.

        After a power cut or kill -9 one may linger. PostgreSQL also takes a dead but unreaped pid for a
        living server (containers whose first process reaps nobody), so a zombie is waited for, and its note
        removed at last.
        """
        note = self._data / "postmaster.pid"
        deadline = time.monotonic() + timeout
        while note.exists():
            try:
                pid = int(note.read_text().split()[0])
                os.kill(pid, 0)
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
                command = Path(f"/proc/{pid}/cmdline").read_bytes()
            except (OSError, ValueError, IndexError):
                return  # gone, or no /proc: PostgreSQL judges for itself
            if state in "ZX":
                if time.monotonic() > deadline:
                    note.unlink(missing_ok=True)
                    return
            elif str(self._data).encode() not in command:
                return  # the number went to someone else; PostgreSQL copes with that
            else:
                os.kill(pid, signal.SIGINT if time.monotonic() < deadline else signal.SIGQUIT)
            time.sleep(0.1)

    def service(self) -> Service:
        """The server, ready when its own database answers."""
        settings = {**_SETTINGS, "unix_socket_directories": str(self._sockets)}
        if not self._durable:
            settings |= _NOTHING_SAFE
        argv = [*self._runner, str(self._bin / "postgres"), "-D", str(self._data)]
        for key, value in settings.items():
            argv += ["-c", f"{key}={value}"]
        return Service(
            "postgres",
            argv,
            ready=self._answers,
            before=self.wait_for_old_server,
            env={"LC_ALL": "C"},
            cwd=Path("/"),
            stop_signal=signal.SIGINT,  # fast: SIGTERM would wait for every client to leave
        )

    async def _answers(self) -> bool:

        dsn = f"host={self._sockets} user={USER} password={self._password} dbname=postgres"
        try:
            connection = await psycopg.AsyncConnection.connect(dsn, connect_timeout=2, autocommit=True)
        except psycopg.OperationalError as error:
            if "authentication failed" in str(error):  # no point in waiting
                raise CannotStart(f"{self._data} was made with another password: `./dev clean`") from None
            raise
        async with connection:
            found = await connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
            if not await found.fetchone():
                await connection.execute(f"CREATE DATABASE {DATABASE}")
        return True


def _make_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody", pwd.getpwnam("nobody").pw_gid)


def _as_nobody(program: Path, data: Path) -> list[str]:
    """What to put before a command so that root runs it as nobody. Raises CannotStart.

    Tried in turn: nothing more than nobody has; looking into closed folders (a checkout under /root); what a
    container's root has left.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise CannotStart("PostgreSQL does not run as root, and setpriv is missing: use an ordinary user")
    group = pwd.getpwnam("nobody").pw_gid
    nobody = [setpriv, "--reuid=nobody", f"--regid={group}", "--clear-groups", "--no-new-privs"]
    postgres, folder = shlex.quote(str(program)), shlex.quote(str(data))
    reach = f"test -r {postgres} && test -x {postgres} && test -w {folder}"
    for extra in ("", ",+dac_read_search", ",+dac_override"):
        command = [*nobody, f"--inh-caps=-all{extra}"]
        if extra:
            # access(2) heeds the capabilities of a process that is not root only with no_setuid_fixup
            command += [f"--ambient-caps=-all{extra}", "--securebits=+no_setuid_fixup"]
        tried = subprocess.run(  # noqa: S603 (our own paths, quoted)
            [*command, "sh", "-c", reach], capture_output=True, cwd="/", check=False
        )
        if tried.returncode == 0:
            return command
    raise CannotStart(
        "PostgreSQL does not run as root, and nobody cannot reach this checkout: use an ordinary user"
    )
