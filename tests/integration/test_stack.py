"""The embedded runtime on real Redis and PostgreSQL: what is killed comes back with its data, at the same address."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import httpx
import psycopg
import pytest
import redis
import sqlalchemy as sa

from config import running
from devstack import services
from devstack.errors import CannotStart, LocalError, NoPrograms
from devstack.ports import Ports, any_port
from devstack.postgres import Cluster
from devstack.reaper import is_alive
from devstack.stack import Interrupted, Stack

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(90)


def servers_alone(var, **more):
    alone = {
        "workers": 0,
        "sandbox": False,
        "beat": False,
        "flower": False,
        "migrate": False,
        "durable": False,
    }
    return Stack(var, **{**alone, **more})


@pytest.fixture(scope="module")
def alive(tmp_path_factory):
    """A durable runtime of the servers alone, for this module."""
    var = tmp_path_factory.mktemp("runtime") / "var"
    with servers_alone(var, durable=True) as runtime:
        yield runtime


def query(runtime, statement):
    with psycopg.connect(
        runtime.database_url.replace("postgresql+psycopg", "postgresql"), autocommit=True
    ) as link:
        found = link.execute(statement)
        return found.fetchall() if found.description else None


def client(runtime):
    return redis.Redis.from_url(runtime.redis_url)


def test_servers_listen_to_this_user_alone(alive):
    """Unix sockets in a folder closed to others; no port at all."""
    with client(alive) as link:
        assert link.config_get("port") == {"port": "0"}
    assert query(alive, "SHOW listen_addresses") == [("",)]
    for name in ("encryption.keys", "postgres.password"):
        assert (alive.var / name).stat().st_mode & 0o777 == 0o600
    assert (running.folder(alive.var) / "environment").stat().st_mode & 0o777 == 0o600


def test_redis_never_evicts_and_writes_everything_down(alive):
    """Durable: `noeviction`, with the append-only file on."""
    with client(alive) as link:
        assert link.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert link.config_get("appendonly") == {"appendonly": "yes"}


def test_redis_killed_comes_back_with_its_data_at_the_same_socket(alive):
    """kill -9 a second after a write, and the write is there."""
    with client(alive) as link:
        link.set("kept", "yes")
        time.sleep(1.1)  # appendfsync everysec
        alive.kill("redis")
        alive.until_up("redis", 20)

        assert link.get("kept") == b"yes"


def test_redis_may_be_away_for_a_while(alive):
    """Killed and kept down it refuses clients; started again it answers."""
    alive.kill("redis", again=False)
    with client(alive) as link:
        with pytest.raises(redis.ConnectionError):
            link.ping()
        assert "redis" not in alive.pids
        alive.start_service("redis")

        assert link.ping()


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_postgresql_comes_back_with_what_was_committed(alive, how):
    """After a restart and after a kill -9."""
    query(alive, f"CREATE TABLE kept_{how} (x int)")
    query(alive, f"INSERT INTO kept_{how} VALUES (1)")
    if how == "restart":
        alive.restart_service("postgres")
    else:
        alive.kill("postgres")
        alive.until_up("postgres", 30)

    assert query(alive, f"SELECT x FROM kept_{how}") == [(1,)]


def test_an_open_connection_is_cut_and_does_not_hold_up_the_stop(alive):
    """SIGTERM would wait for every client to leave; SIGINT does not."""
    engine = sa.create_engine(alive.database_url)
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT 1"))
        alive.restart_service("postgres")
        assert "received fast shutdown request" in (alive.var / "logs" / "postgres.log").read_text()
        with pytest.raises(sa.exc.OperationalError):
            connection.execute(sa.text("SELECT 1"))
    engine.dispose()


def test_a_second_runtime_in_the_same_folder_says_who_is_there(alive):
    """It does not start, and names the first one's pid."""
    with pytest.raises(CannotStart, match=rf"already running here \(pid {os.getpid()}\)"):
        servers_alone(alive.var).start()


def test_two_folders_at_once_share_nothing(alive, tmp_path):
    """A key set in one Redis is not in the other, and each has a database address of its own."""
    with servers_alone(tmp_path / "other") as other, client(alive) as one, client(other) as two:
        one.set("whose", "one")
        two.set("whose", "two")

        assert one.get("whose") == b"one"
        assert other.database_url != alive.database_url


def test_the_second_start_finds_keys_passwords_and_data_again(tmp_path):
    """Rows and encryption keys survive; the environment file is gone after each stop."""
    with servers_alone(tmp_path) as first:
        query(first, "CREATE TABLE kept (x int)")
        before = first.environment
    with servers_alone(tmp_path) as second:
        assert query(second, "SELECT count(*) FROM kept") == [(0,)]
        assert second.environment["TIMBRADO_ENCRYPTION_KEYS"] == before["TIMBRADO_ENCRYPTION_KEYS"]
    assert not (running.folder(tmp_path) / "environment").exists()
    assert not running.is_locked(tmp_path)


def test_what_is_given_is_used_and_not_started(tmp_path, alive):
    """A database and a broker of the caller's, also as a file: no server starts beside them."""
    environment = {"TIMBRADO_DATABASE_URL": alive.database_url}
    (tmp_path / "broker").write_text(f"{alive.broker_url}\n")
    environment["TIMBRADO_BROKER_URL_FILE"] = str(tmp_path / "broker")
    with servers_alone(tmp_path / "var", given=environment) as runtime:
        assert runtime.services == ()
        assert (runtime.database_url, runtime.broker_url) == (alive.database_url, alive.broker_url)
        assert "TIMBRADO_DATABASE_URL" not in runtime.environment


def test_a_killed_process_leaves_no_server_and_the_next_start_waits_for_its_reaper(tmp_path):
    """kill -9 of the owner: its servers end."""
    program = (
        "import sys, time; from pathlib import Path; from devstack.stack import Stack\n"
        "r = Stack(Path(sys.argv[1]), workers=0, sandbox=False, beat=False, flower=False, migrate=False).start()\n"
        "print(*r.pids.values(), flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    pids = [int(pid) for pid in process.stdout.readline().split()]
    process.kill()
    process.wait()
    process.stdout.close()

    with servers_alone(tmp_path) as runtime:
        assert not any(map(is_alive, pids))
        assert query(runtime, "SELECT 1") == [(1,)]


def test_a_port_that_is_taken_is_named(tmp_path):
    """A port asked for is refused with its option; one merely preferred is replaced by the next free one."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(CannotStart, match=f"port {port} is taken: choose another with --flower-port"):
            servers_alone(tmp_path, flower=True, flower_port=port).prepare()
        with closing(Ports()) as ports:
            assert port < ports.take("flower", None, None, port) <= port + 20


def test_a_port_stays_the_same_at_the_next_start(tmp_path):
    """The port file keeps a free choice for the next time."""
    with closing(Ports()) as ports:
        first = ports.take("sandbox", None, tmp_path / "port")
    with closing(Ports()) as ports:
        assert ports.take("sandbox", None, tmp_path / "port") == first


def test_two_that_start_at_once_take_no_port_of_each_other(tmp_path):
    """Flower listens seconds after its port was taken: what is free until then is not free for another."""
    usual = any_port()
    with closing(Ports()) as one, closing(Ports()) as other:
        assert one.take("flower", None, tmp_path / "one", usual) == usual
        assert other.take("flower", None, tmp_path / "other", usual) != usual
        with pytest.raises(CannotStart, match=f"port {usual} is taken: choose another with --flower-port"):
            other.take("flower", usual, None)
        one.close()
        assert other.take("flower", usual, None) == usual


def test_a_full_disk_is_named_before_anything_starts(tmp_path):
    """Too little room is one line that names the folder and the megabytes left."""
    with pytest.raises(CannotStart, match=r"the disk that holds .* is full: \d+ MB left"):
        services.room_on_disk(tmp_path, megabytes=10**9)


def test_a_temporary_folder_that_is_closed_is_replaced_or_named_with_its_fix(tmp_path):
    """TMPDIR, /var/tmp and the like serve instead; where their path is too long the line says what to do."""
    made = services.short_folder("timbrado-", usual=str(tmp_path / "closed"))
    made.rmdir()
    long = tmp_path / ("x" * 60)
    long.mkdir()

    assert made.parent == Path(tempfile.gettempdir())
    with pytest.raises(CannotStart, match=r"chmod 1777 .* or set TMPDIR to a folder of yours"):
        services.short_folder("timbrado-", usual=str(long))


def test_a_platform_without_programs_is_shown_both_ways_out(tmp_path, monkeypatch):
    """A platform without programs names both ways out."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(
        NoPrograms, match=r"no Redis wheel for .*: put redis-server on PATH, or set TIMBRADO_BROKER_URL"
    ):
        services.redis_server(wheels=())


def test_a_program_that_was_named_must_be_there(monkeypatch, tmp_path):
    """A folder in TIMBRADO_POSTGRES_BIN without the program is refused, not passed over."""
    monkeypatch.setenv("TIMBRADO_POSTGRES_BIN", str(tmp_path))
    with pytest.raises(NoPrograms, match="TIMBRADO_POSTGRES_BIN names no program"):
        services.postgres_bin()


def test_data_of_another_major_version_is_not_touched(tmp_path):
    """Data of PostgreSQL 16 stops the start, which names both versions."""
    with servers_alone(tmp_path):
        pass
    version = tmp_path / "postgres" / "PG_VERSION"
    version.write_text("16\n")
    with pytest.raises(CannotStart, match=r"was made by PostgreSQL 16, here is 1\d"):
        servers_alone(tmp_path).start()


def test_data_made_with_another_password_says_so_at_once(tmp_path):
    """A changed password file is recognised, not waited out."""
    with servers_alone(tmp_path):
        pass
    (tmp_path / "postgres.password").write_text("another-password-altogether")
    with pytest.raises(LocalError, match="was made with another password"):
        servers_alone(tmp_path).start()  # after its whole start_timeout it would be "did not answer"


def test_an_initdb_cut_short_is_done_again(tmp_path):
    """initdb writes PG_VERSION early; half a cluster must not pass for one."""
    (tmp_path / "postgres.new").mkdir(parents=True)
    (tmp_path / "postgres.new" / "PG_VERSION").write_text("18\n")
    with servers_alone(tmp_path) as runtime:
        assert query(runtime, "SELECT 1") == [(1,)]


def test_nothing_of_an_earlier_postgresql_is_left_on_its_data(tmp_path):
    """A dead postmaster's note names a process that is somebody else's now."""
    with servers_alone(tmp_path):
        pass
    (tmp_path / "postgres" / "postmaster.pid").write_text(f"{os.getpid()}\n{tmp_path / 'postgres'}\n")
    Cluster(tmp_path, tmp_path / "sockets").wait_for_old_server(timeout=0.2)
    with servers_alone(tmp_path) as runtime:
        assert query(runtime, "SELECT 1") == [(1,)]


def test_ctrl_c_ends_up_in_order(tmp_path):
    """`timbrado up` with the servers alone: who is used is stopped after who uses it."""
    up, output = up_here(tmp_path)
    assert running.is_locked(tmp_path / "var")
    up.send_signal(signal.SIGINT)
    rest, _ = up.communicate(timeout=30)

    assert up.returncode == 0, output + rest
    assert rest.rstrip().endswith("All stopped.")
    assert rest.index("postgres  | stopped") < rest.index("redis     | stopped")
    assert not running.is_locked(tmp_path / "var")


def test_a_stop_that_is_asked_for_before_the_start_is_obeyed(tmp_path):
    """Ctrl-C while the folder is still waited for, or the settings are read."""
    runtime = servers_alone(tmp_path)
    runtime.prepare()
    runtime.interrupt()

    with pytest.raises(Interrupted):
        runtime.start()
    assert not running.is_locked(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_up_ends_when_it_is_asked_to_or_its_terminal_closes(tmp_path, alive, number):
    """SIGTERM and SIGHUP stop all in order, with exit code 0."""
    up, output = up_here(
        tmp_path, TIMBRADO_DATABASE_URL=alive.database_url, TIMBRADO_BROKER_URL=alive.broker_url
    )
    up.send_signal(number)
    rest, _ = up.communicate(timeout=30)

    assert (up.returncode, rest) == (0, rest[: rest.index("All stopped.")] + "All stopped.\n"), output


def up_here(tmp_path, **more):
    """Start `timbrado up` with the servers alone; return it once it is up, and what it said until then."""
    settings = {"TIMBRADO_VAR": str(tmp_path / "var"), "TIMBRADO_CONTADIGITAL_URL": "https://c.mx", **more}
    up = subprocess.Popen(
        [sys.executable, "-m", "cli", "up", "--workers", "0", "--no-flower", "--no-beat", "--no-sandbox"],
        cwd=ROOT,
        env={**_without_settings(), **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = []
    for line in up.stdout:
        lines.append(line)
        if line.startswith("Up."):
            break
    return up, "".join(lines)


def test_up_with_a_wrong_setting_starts_nothing(tmp_path):
    """One line on standard error, and no PostgreSQL data was made."""
    env = {**_without_settings(), "TIMBRADO_VAR": str(tmp_path / "var"), "TIMBRADO_LEASE": "soon"}
    done = subprocess.run(
        [sys.executable, "-m", "cli", "up"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "timbrado: TIMBRADO_LEASE must be a positive number of seconds\n"
    assert not (tmp_path / "var" / "postgres" / "PG_VERSION").exists()


def _without_settings():
    return {name: value for name, value in os.environ.items() if not name.startswith("TIMBRADO_")}


def test_every_command_uses_what_up_runs_with(tmp_path):
    """The file that other commands read holds the caller's settings, too, also those given as a file."""
    secret = tmp_path / "secret"
    secret.write_text("whsec_c2VjcmV0\n")
    given = {
        "TIMBRADO_WEBHOOK_URL": "https://control.example/hooks",
        "TIMBRADO_WEBHOOK_SECRET_FILE": str(secret),
        "TIMBRADO_METRICS_PORT": "9464",
    }
    with servers_alone(tmp_path / "var", given=given) as stack:
        written = running.read(stack.var)

    assert written["TIMBRADO_WEBHOOK_URL"] == given["TIMBRADO_WEBHOOK_URL"]
    assert written["TIMBRADO_WEBHOOK_SECRET"] == "whsec_c2VjcmV0"
    assert {"TIMBRADO_DATABASE_URL", "TIMBRADO_BROKER_URL", "TIMBRADO_ENCRYPTION_KEYS"} <= written.keys()
    assert "TIMBRADO_METRICS_PORT" not in written


def test_redis_listens_on_loopback_where_that_was_asked_for(tmp_path):
    """Another program, of whatever language, reaches the broker by TCP; nothing listens to the network."""
    port = any_port()
    with servers_alone(tmp_path / "var", redis_port=port) as stack:
        assert stack.redis_port == port
        with redis.Redis(host="127.0.0.1", port=port) as link:
            assert link.ping()
            assert link.config_get("bind") == {"bind": "127.0.0.1"}


def test_the_api_listens_at_the_address_that_is_set(tmp_path):
    """TIMBRADO_HTTP_BIND's host and port, which is the address that is printed; and nowhere else."""
    port = any_port()
    given = {"TIMBRADO_HTTP_BIND": f"127.0.0.2:{port}", "TIMBRADO_CONTADIGITAL_URL": "http://127.0.0.1:9"}
    with servers_alone(tmp_path / "var", api=True, given=given) as stack:
        assert httpx.get(f"{stack.api_url}/healthz").json() == {"status": "ok"}
        assert stack.api_url == f"http://127.0.0.2:{port}"
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}/healthz")


def test_whoever_waits_for_the_stack_learns_that_its_end_was_asked_for(tmp_path: Path) -> None:
    """Also where a library took the exception of Ctrl-C for a failure of its own, and tried once more."""
    stack = Stack(tmp_path / "var")
    stack.interrupt()

    with pytest.raises(Interrupted):
        stack.check()
