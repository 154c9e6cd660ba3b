"""Settings: what is wrong or missing stops the start with one line that names it, and shows no value."""

import os
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from config import running, settings
from config.settings import Settings, SettingsError, load
from config.values import redis_from_broker

KEY = Fernet.generate_key().decode()
WEBHOOK_SECRET = "whsec_" + "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB"
ENOUGH = {
    "BROKER_URL": "redis://:hush-broker@redis:6379/0",
    "DATABASE_URL": "postgresql+psycopg://timbrado:hush-db@db/timbrado",
    "STORAGE_URL": "file:///srv/cfdi",
    "ENCRYPTION_KEYS": KEY,
    "CONTADIGITAL_URL": "https://app.contadigital.mx",
}


@pytest.fixture
def configured(monkeypatch, tmp_path):
    """Set the environment of this test to exactly these settings (without prefix), and return load."""

    def configure(**values):
        for name in [name for name in os.environ if name.startswith("TIMBRADO_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("TIMBRADO_VAR", str(tmp_path / "var"))
        for name, value in values.items():
            monkeypatch.setenv(f"TIMBRADO_{name}", value)
        return load

    return configure


def refusal(configure):
    with pytest.raises(SettingsError) as caught:
        configure()
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith("timbrado: ")
    return line


def test_what_production_sets_is_enough(configured):
    """The documented minimum gives settings, the rest has defaults."""
    found = configured(**ENOUGH)()

    assert found.broker_url.get_secret_value() == ENOUGH["BROKER_URL"]
    assert found.inbox_url.get_secret_value() == ENOUGH["DATABASE_URL"]
    assert (found.doubt_quarantine, found.sweep_every) == (timedelta(minutes=15), timedelta(seconds=3))


def test_nothing_set_and_nothing_running_says_both_ways_out(configured):
    """Start `timbrado up`, or set what is listed."""
    line = refusal(configured())

    assert "start `timbrado up` or set TIMBRADO_BROKER_URL" in line
    assert "TIMBRADO_ENCRYPTION_KEYS" in line
    assert "INBOX" not in line  # what is derived is not asked for


@pytest.mark.parametrize("name", sorted(ENOUGH))
def test_each_setting_that_is_required_is_named_when_it_is_not(configured, name):
    """Each thing that must be set is named when it is not."""
    line = refusal(configured(**{other: value for other, value in ENOUGH.items() if other != name}))

    assert line.endswith(f"set TIMBRADO_{name}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BROKER_URL", "http://redis"),
        ("BROKER_URL", "redis://host:port"),
        ("BROKER_URL", "redis+socket://host"),
        ("BROKER_URL", "redis://host:6379/timbrado"),
        ("DATABASE_URL", "mysql://db/timbrado"),
        ("STORAGE_URL", "file://relative/path"),
        ("STORAGE_URL", "s3:///no-bucket"),
        ("STORAGE_URL", "s3://id:hush@bucket/x"),
        ("STORAGE_URL", "memory:///"),
        ("ENCRYPTION_KEYS", "too-short"),
        ("ENCRYPTION_KEYS", " , "),
        pytest.param("ENCRYPTION_KEYS", f"{KEY},ñ", id="a good key and a bad one"),
        ("CONTADIGITAL_URL", "http://app.contadigital.mx"),
        ("CONTADIGITAL_URL", "https://user:hush@app.contadigital.mx"),
        ("CONTADIGITAL_URL", "https://app.contadigital.mx:99999"),
        ("CONTADIGITAL_URL", "https://app.contadigital.mx /api"),
        ("CONTADIGITAL_URL", "https://app.contadigital.mx/?version=2"),
        ("PUBLIC_URL", "https://timbrado.example/#/"),
        ("WEBHOOK_URL", "ftp://control.example/hooks"),
        ("WEBHOOK_SECRET", "hush"),
        ("WEBHOOK_SECRET", "whsec_QUFB"),
        ("EVENTS_TASK", "apunto event"),
        ("EVENTS_QUEUE", "intake"),
        ("EVENTS_QUEUE", "apunto events"),
        ("LONGEST_RETRY_AFTER", "100"),
        ("CONTADIGITAL_HOSTS", "https://app.contadigital.mx"),
        ("LEASE", "0"),
        ("LEASE", "two minutes"),
        ("LEASE", "nan"),
        ("IN_FLIGHT_PER_ACCOUNT", "0"),
        ("METRICS_PORT", "70000"),
        ("LOG_FORMAT", "xml"),
        ("FLOWER_BASIC_AUTH", "admin"),
        ("FLOWER_BASIC_AUTH", "admin:short"),
        ("TEST_RUNTIME", "perhaps"),
    ],
)
def test_a_wrong_value_is_named_and_not_shown(configured, name, value):
    """The line has the setting's name, and never what it held."""
    line = refusal(configured(**{**ENOUGH, name: value}))

    assert line.startswith(f"timbrado: TIMBRADO_{name} must")
    assert len(value) < 3 or value not in line.split()
    assert "hush" not in line
    assert "timedelta" not in line


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"WEBHOOK_URL": "https://control.example/h"}, "TIMBRADO_WEBHOOK_SECRET is not set"),
        ({"WEBHOOK_SECRET": WEBHOOK_SECRET}, "TIMBRADO_WEBHOOK_URL is not set"),
        ({"EVENTS_TASK": "apunto.stamping_event"}, "TIMBRADO_EVENTS_QUEUE is not set"),
        ({"LEASE": "30"}, "TIMBRADO_LEASE must be longer than four times TIMBRADO_CALL_TIMEOUT"),
        ({"CONNECT_TIMEOUT": "50"}, "TIMBRADO_CONNECT_TIMEOUT must not be longer"),
        ({"TEST_CLOCK_FILE": "/tmp/clock"}, "TIMBRADO_TEST_CLOCK_FILE must not be set"),
        ({"TEST_FAILPOINTS": "after_send=kill"}, "TIMBRADO_TEST_FAILPOINTS must not be set"),
        ({"TEST_RUNTIME": "1"}, "TIMBRADO_TEST_RUNTIME must not be set: TIMBRADO_CONTADIGITAL_URL leaves"),
        ({"REDIS_URL": "redis://redis:6379/0"}, "TIMBRADO_REDIS_URL is not a setting"),
        ({"BROKR_URL": "x"}, "TIMBRADO_BROKR_URL is not a setting; did you mean TIMBRADO_BROKER_URL?"),
        ({"WEBHOOK_SECRT_FILE": "x"}, "did you mean TIMBRADO_WEBHOOK_SECRET_FILE?"),
        ({"QQQQQQQQ": "x"}, "TIMBRADO_QQQQQQQQ is not a setting"),
    ],
)
def test_settings_that_do_not_agree_are_refused(configured, more, named):
    """One without its partner, limits the wrong way round, unknown names: each in words."""
    assert named in refusal(configured(**{**ENOUGH, **more}))


def test_every_fault_is_in_the_one_line(configured):
    """Two wrong values are both named."""
    line = refusal(configured(**{**ENOUGH, "LEASE": "x", "METRICS_PORT": "x"}))

    assert "TIMBRADO_LEASE" in line
    assert "TIMBRADO_METRICS_PORT" in line


def test_the_test_runtime_is_for_this_machine(configured):
    """Clock and failpoints are allowed where ContaDigital is on loopback."""
    found = configured(
        **{**ENOUGH, "CONTADIGITAL_URL": "http://127.0.0.1:9/"},
        TEST_RUNTIME="1",
        TEST_CLOCK_FILE="/tmp/clock",
        TEST_FAILPOINTS="after_send=kill",
    )()

    assert found.test_runtime
    assert found.test_clock_file == Path("/tmp/clock")
    assert found.contadigital_url == "http://127.0.0.1:9"


@pytest.mark.parametrize("name", sorted(ENOUGH))
def test_every_setting_may_come_as_a_file(configured, name, tmp_path):
    """Docker, Kubernetes and systemd hand secrets as files; a last newline is not part of one."""
    file = tmp_path / "secret"
    file.write_text(ENOUGH[name] + "\n")
    others = {other: value for other, value in ENOUGH.items() if other != name}

    assert configured(**others, **{f"{name}_FILE": str(file)})() == configured(**ENOUGH)()


def test_a_secret_set_twice_is_refused(configured, tmp_path):
    """Directly and as a file: the line names both."""
    line = refusal(configured(**ENOUGH, BROKER_URL_FILE=str(tmp_path / "x")))

    assert "TIMBRADO_BROKER_URL and TIMBRADO_BROKER_URL_FILE are both set" in line


def test_a_secret_whose_file_is_gone_is_named(configured, tmp_path):
    """With its _FILE name and the system's reason."""
    others = {name: value for name, value in ENOUGH.items() if name != "ENCRYPTION_KEYS"}

    assert "TIMBRADO_ENCRYPTION_KEYS_FILE names a file that cannot be read: No such file" in refusal(
        configured(**others, ENCRYPTION_KEYS_FILE=str(tmp_path / "gone"))
    )


def test_no_way_of_printing_settings_shows_a_secret(configured):
    """repr, str, JSON and dump alike."""
    found = configured(**ENOUGH, WEBHOOK_URL="https://control.example/h", WEBHOOK_SECRET=WEBHOOK_SECRET)()

    for text in (repr(found), str(found), found.model_dump_json(), repr(found.model_dump())):
        assert "hush" not in text
        assert KEY not in text
        assert WEBHOOK_SECRET not in text


@pytest.mark.parametrize(
    ("broker", "redis"),
    [
        ("redis+socket:///tmp/x/redis.sock", "unix:///tmp/x/redis.sock?db=0"),
        ("redis+socket:///tmp/x/redis.sock?virtual_host=3", "unix:///tmp/x/redis.sock?db=3"),
        ("redis+socket://:pw@/tmp/x/redis.sock", "unix://:pw@/tmp/x/redis.sock?db=0"),
        ("rediss://u:p@h:6380/2", "rediss://u:p@h:6380/2?ssl_cert_reqs=required"),
    ],
)
def test_the_broker_serves_as_redis_in_redis_own_spelling(configured, broker, redis):
    """Socket, number, password and TLS survive the translation."""
    found = configured(**{**ENOUGH, "BROKER_URL": broker})().broker_url.get_secret_value()

    assert redis_from_broker(found) == redis


@pytest.mark.parametrize(
    ("address", "query"),
    [
        ("rediss://h:6380/2", "ssl_cert_reqs=required"),
        (
            "rediss://h/0?ssl_ca_certs=/etc/ssl/own.pem",
            "ssl_ca_certs=/etc/ssl/own.pem&ssl_cert_reqs=required",
        ),
        ("rediss://h/0?ssl_cert_reqs=CERT_REQUIRED", "ssl_cert_reqs=required"),
        ("rediss://h/0?ssl_cert_reqs=none", "ssl_cert_reqs=none"),
        ("redis://h/0", ""),
    ],
)
def test_redis_over_tls_must_show_a_certificate_unless_set_otherwise(configured, address, query):
    """Left alone kombu takes anybody's; and it and redis-py spell what they ask for alike."""
    found = configured(**{**ENOUGH, "BROKER_URL": address})().broker_url.get_secret_value()

    assert found.partition("?")[2] == query


def test_another_word_for_it_is_refused(configured):
    """ssl_cert_reqs takes Redis' own words only."""
    assert "ssl_cert_reqs=required" in refusal(
        configured(**{**ENOUGH, "BROKER_URL": "rediss://h/0?ssl_cert_reqs=yes"})
    )


def test_what_up_runs_here_is_found_while_it_runs_and_no_longer(configured, tmp_path):
    """A file left by a killed `up` names servers that are gone."""
    read = configured()
    with running.lock(tmp_path / "var"):
        path = running.write(tmp_path / "var", {f"TIMBRADO_{name}": value for name, value in ENOUGH.items()})
        found = read()

    assert found.storage_url == ENOUGH["STORAGE_URL"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert "nothing runs here" in refusal(read)


def test_the_environment_goes_before_what_runs_here(configured, tmp_path):
    """A variable wins over the file of a running stack."""
    read = configured(STORAGE_URL="s3://facturas/cfdi")
    with running.lock(tmp_path / "var"):
        running.write(tmp_path / "var", {f"TIMBRADO_{name}": value for name, value in ENOUGH.items()})
        found = read()

    assert found.storage_url == "s3://facturas/cfdi"


def test_two_runtimes_do_not_share_a_folder(tmp_path):
    """The second lock is refused with the first one's pid."""
    with running.lock(tmp_path), pytest.raises(running.AlreadyRunning, match="already running here"):
        running.lock(tmp_path)


def test_an_empty_variable_is_not_set(configured):
    """Compose passes `${X:-}` as an empty string."""
    assert configured(**ENOUGH, WEBHOOK_URL="", METRICS_PORT="")().webhook_url is None


def test_every_setting_of_the_contract_exists():
    """Each of the contract's names is a field."""
    contract = (
        "BROKER_URL DATABASE_URL STORAGE_URL ENCRYPTION_KEYS CONTADIGITAL_URL WEBHOOK_URL WEBHOOK_SECRET"
    )
    names = {settings._name(field) for field in Settings.model_fields}

    assert {f"TIMBRADO_{name}" for name in f"{contract} EVENTS_TASK EVENTS_QUEUE".split()} <= names
