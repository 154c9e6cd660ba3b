"""Every setting there is, read from the environment once, by `load()`.

There are no default servers. What is not set comes from the embedded runtime that runs in this checkout (`timbrado
up`), and when none runs, the start stops. A worker that would quietly use some local Redis while production's waits
is worse than one that does not start.

Each name has the prefix TIMBRADO_, and each may come as NAME_FILE, the path of a file that holds it (a secret
of Docker, Kubernetes or systemd).
"""

import difflib
import os
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from config import running, values
from net.addresses import host_of, is_loopback
from net.headers import LONGEST_WAIT

PREFIX = "TIMBRADO_"
# Read by devstack/services.py before any setting is: which programs the embedded runtime starts.
_ELSEWHERE = frozenset({f"{PREFIX}REDIS_SERVER", f"{PREFIX}POSTGRES_BIN"})
_REQUIRED_WORD = "is not set"


class SettingsError(SystemExit):
    """A setting is wrong or missing; its text is one line that names it and holds no value.

    It is a SystemExit so that whoever starts (celery, the command line, python -m) ends with that line and
    code 1 instead of a traceback: Celery's own command prints one for any other exception.
    """


def _secret(check: Callable[[str], str]) -> AfterValidator:
    return AfterValidator(lambda value: SecretStr(check(value.get_secret_value())))


def _secrets(check: Callable[[str], str]) -> AfterValidator:
    return AfterValidator(lambda several: tuple(SecretStr(check(one.get_secret_value())) for one in several))


Seconds = Annotated[timedelta, BeforeValidator(values.seconds)]
Hosts = Annotated[
    tuple[Annotated[str, AfterValidator(values.host)], ...], NoDecode, BeforeValidator(values.words)
]


class Settings(BaseSettings):
    """The settings of this process. Durations are timedelta; what is secret is SecretStr and never prints."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, hide_input_in_errors=True
    )

    # contract.md, section 4
    broker_url: Annotated[SecretStr, _secret(values.broker)]
    database_url: Annotated[SecretStr, _secret(values.database)]
    storage_url: Annotated[str, AfterValidator(values.storage)]
    encryption_keys: Annotated[
        tuple[SecretStr, ...],
        NoDecode,
        BeforeValidator(values.words),
        Field(min_length=1),
        _secrets(values.fernet_key),
    ]
    contadigital_url: Annotated[str, AfterValidator(values.base)]
    webhook_url: Annotated[str, AfterValidator(values.https)] | None = None
    webhook_secret: Annotated[
        tuple[SecretStr, ...],
        NoDecode,
        BeforeValidator(values.words),
        _secrets(values.webhook_secret),
    ] = ()
    events_task: Annotated[str, AfterValidator(values.dotted)] | None = None
    events_queue: Annotated[str, AfterValidator(values.events_queue)] | None = None
    http_bind: Annotated[str, AfterValidator(values.bind)] = "127.0.0.1:8085"
    """Where `timbrado serve` listens: host and port. Where none is set, the next free port after the usual one."""
    public_url: Annotated[str, AfterValidator(values.base)] | None = None
    """The address that users reach the HTTP API at; with it, events say where each document is downloaded."""

    # where else things are
    inbox_url: Annotated[SecretStr, _secret(values.database)]
    """The caller's database, where `client/` wrote submissions in its own transaction; ours unless set."""
    var: Path = running.CHECKOUT / "var"
    """Where the embedded runtime keeps its data, and nothing else does."""
    contadigital_hosts: Hosts = ()
    """Hosts that a connection's own base_url, or a document's link, may name besides the one of CONTADIGITAL_URL."""
    pac_certificates: Annotated[tuple[Path, ...], NoDecode, BeforeValidator(values.words)] = ()
    """Certificate files (DER or PEM, comma separated) of the PAC: with them the stamp's own seal is verified too."""
    sat_status_url: Annotated[str, AfterValidator(values.https)] | None = None
    """The SAT's public status service (ConsultaCFDIService): cancellations, `resolve` and `audit` ask it how a CFDI
    stands, five times a second at most; without it the SAT is not asked."""
    sat_authorities: Annotated[tuple[Path, ...], NoDecode, BeforeValidator(values.words)] = ()
    """Certificate files (DER or PEM, comma separated) of the SAT's authorities, which publishes them: with them the
    emisor's certificate in a stamped CFDI is verified too. None come with this software."""
    catalogs: Path | None = None
    """Folder of the SAT's catalogues and schemas to read instead of the installed ones: see operations.md, The SAT's
    catalogues."""
    webhook_hosts: Hosts = ()
    """Hosts that a webhook may be sent to although they resolve to a private address."""

    # how the pipeline behaves
    doubt_quarantine: Seconds = timedelta(minutes=15)
    """How long look-ups must have said no before the same saved Id is stamped again."""
    in_flight_per_account: Annotated[int, Field(ge=1, le=1000)] = 4
    lease: Seconds = timedelta(seconds=180)
    """How long a claim holds; longer than the slowest step (a call and the renewal of its token: four times
    CALL_TIMEOUT), or a live worker's claim would be taken from it."""
    delayed_after: Seconds = timedelta(seconds=300)
    """How long an invoice may wait for ContaDigital before its user is notified (`invoice.delayed`)."""
    stamps_low_at: Annotated[int, Field(ge=0)] = 100
    sweep_every: Seconds = timedelta(seconds=3)
    call_timeout: Seconds = timedelta(seconds=40)
    """One whole call to ContaDigital; the public integration waits 30 s for an answer."""
    connect_timeout: Seconds = timedelta(seconds=5)
    longest_retry_after: Annotated[
        timedelta,
        BeforeValidator(values.seconds),
        Field(ge=timedelta(minutes=15), le=timedelta(minutes=60)),
    ] = LONGEST_WAIT
    """The longest wait that ContaDigital may ask for with `Retry-After` (900 to 3600 s); longer ones are cut to it."""

    # what operators see
    log_format: Literal["json", "console"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    flower_basic_auth: Annotated[SecretStr, _secret(values.basic_auth)] | None = None
    alive_file: Path | None = None
    """Touched with every heartbeat of a worker; `timbrado health worker` reads its age."""

    # the test runtime: refused in production
    test_runtime: bool = False
    test_clock_file: Path | None = None
    """Holds an offset in seconds that is added to the clock."""
    test_failpoints: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, given: Any) -> Any:
        """The database serves as the inbox."""
        if isinstance(given, dict) and "inbox_url" not in given and given.get("database_url") is not None:
            given["inbox_url"] = given["database_url"]
        return given

    @model_validator(mode="after")
    def _agree(self) -> "Settings":
        for one, other in (("webhook_url", "webhook_secret"), ("events_task", "events_queue")):
            if bool(getattr(self, one)) != bool(getattr(self, other)):
                present, absent = (one, other) if getattr(self, one) else (other, one)
                raise ValueError(f"{_name(absent)} {_REQUIRED_WORD}, but {_name(present)} is")
        if self.connect_timeout > self.call_timeout:
            raise ValueError(f"{_name('connect_timeout')} must not be longer than {_name('call_timeout')}")
        if self.lease <= 4 * self.call_timeout:
            raise ValueError(f"{_name('lease')} must be longer than four times {_name('call_timeout')}")
        if self.test_runtime and not is_loopback(host_of(self.contadigital_url)):
            raise ValueError(
                f"{_name('test_runtime')} must not be set: {_name('contadigital_url')} leaves this machine"
            )
        for name in ("test_clock_file", "test_failpoints"):
            if getattr(self, name) is not None and not self.test_runtime:
                raise ValueError(f"{_name(name)} must not be set without {_name('test_runtime')}")
        if self.storage_url.startswith("memory:") and not self.test_runtime:
            raise ValueError(f"{_name('storage_url')} must begin with file:/// or s3://")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment first, then NAME_FILE, then what `timbrado up` runs here."""
        return env_settings, _Files(settings_cls), _Embedded(settings_cls)


class _Files(PydanticBaseSettingsSource):
    """NAME_FILE: the value is what that file holds, less the white space around it."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        name = f"{_name(field_name)}_FILE"
        path = os.environ.get(name)
        if not path:
            return None, field_name, False
        if os.environ.get(_name(field_name)):
            raise SettingsError(f"timbrado: {_name(field_name)} and {name} are both set: keep one")
        try:
            return Path(path).read_text(encoding="utf-8").strip(), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise SettingsError(f"timbrado: {name} names a file that cannot be read: {reason}") from error

    def __call__(self) -> dict[str, Any]:
        found = {
            name: self.get_field_value(field, name)[0]
            for name, field in self.settings_cls.model_fields.items()
        }
        return {name: value for name, value in found.items() if value}


class _Embedded(PydanticBaseSettingsSource):
    """What `timbrado up` wrote down for as long as it runs."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return running.read(running.var()).get(_name(field_name)), field_name, False

    def __call__(self) -> dict[str, Any]:
        values = running.read(running.var())
        return {name: values[_name(name)] for name in self.settings_cls.model_fields if _name(name) in values}


def _name(field: str) -> str:
    return f"{PREFIX}{field.upper()}"


def check_names() -> None:
    """Refuse a TIMBRADO_ variable that no setting has: misspelled, it would do nothing, in silence."""
    known = {_name(field) for field in Settings.model_fields}
    known |= {f"{name}_FILE" for name in known} | _ELSEWHERE
    for name in sorted(os.environ):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            near = difflib.get_close_matches(name.upper(), sorted(known), n=1, cutoff=0.6)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SettingsError(f"timbrado: {name} is not a setting{hint}")


def load() -> Settings:
    """Read the settings of this process.

    Raises SettingsError, whose text is one line naming each wrong or missing setting.
    """
    check_names()
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError(_line(error)) from None  # the original holds the values


def _line(error: ValidationError) -> str:
    missing: list[str] = []
    wrong: list[str] = []
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        name = _name(str(fault["loc"][0])) if fault["loc"] else ""
        if fault["type"] == "missing":
            missing.append(name)
        else:
            text = fault["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
            text = re.sub(r"datetime\.timedelta\(seconds=(\d+)\)", r"\1 seconds", text)
            text = "must hold at least one" if fault["type"] == "too_short" else text
            wrong.append(f"{name} {text}".strip())
    # what can be derived is not asked for
    if _name("inbox_url") in missing:
        missing.remove(_name("inbox_url"))
    if missing:
        here = "what runs here has no such thing" if running.is_locked(running.var()) else "nothing runs here"
        wrong.append(f"{here}: start `timbrado up` or set {', '.join(missing)}")
    return f"timbrado: {'; '.join(dict.fromkeys(wrong))}"
