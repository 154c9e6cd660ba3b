"""What each process opens, once: database, HTTP client, document store, keys -> Tools; closed with the process."""

import os
import re
import socket
import ssl
import threading
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from cryptography import x509
from cryptography.fernet import Fernet, MultiFernet
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cfdi.sat import data, seals
from config.settings import Settings, SettingsError, load
from config.values import redis_from_broker
from contadigital.client import ContaDigital
from events.webhook import BadEndpoint, WebhookSender
from models.vocabulary import Channel
from net.addresses import endpoint_of
from net.transport import open_http
from stamping.cancellation.sat_status import SatStatusService
from stamping.clock import Clock, test_shift
from stamping.connections import samples
from stamping.connections.tokens import ConnectionTokens
from stamping.failpoints import Failpoints
from stamping.limits import circuit_breaker
from stamping.tools import Meter, Policy, Tools
from storage import open_store
from worker import database
from worker.metrics import PrometheusMeter

MAX_BODY = 32 * 1024 * 1024
"""The largest answer that is read, in bytes: an XML of 10 MB in Base64, its PDF, and room."""

_lock = threading.RLock()
_settings: Settings | None = None
_tools: Tools | None = None


def settings() -> Settings:
    """Return this process's settings, read once."""
    global _settings  # noqa: PLW0603  # one per process is the point of this module
    with _lock:
        if _settings is None:
            _settings = load()
            use_catalogs(_settings)
        return _settings


def use_catalogs(settings: Settings) -> None:
    """Have `cfdi` read the SAT's data from TIMBRADO_CATALOGS, where it is set. Raises SettingsError."""
    data.use(settings.catalogs)
    if settings.catalogs is None:
        return
    try:
        data.current()
    except data.DataMissing as missing:
        raise SettingsError(
            f"timbrado: TIMBRADO_CATALOGS names no folder of SAT data: {missing}"
        ) from missing


def tools() -> Tools:
    """Return this process's tools, opened at the first call."""
    global _tools  # noqa: PLW0603  # one per process is the point of this module
    with _lock:
        if _tools is None:
            _tools = open_tools(settings())
        return _tools


def now() -> datetime:
    """Return the time by the clock of the tools where they are open, else by this host's; nothing is opened for it."""
    opened = _tools
    return opened.clock.now() if opened is not None else Clock(test_shift(settings().test_clock_file)).now()


def close() -> None:
    """Close what was opened."""
    global _tools  # noqa: PLW0603  # one per process is the point of this module
    with _lock:
        if _tools is not None:
            _tools.engine.dispose()
            if _tools.inbox is not None:
                _tools.inbox.dispose()
            if _tools.webhook is not None:
                _tools.webhook.close()
            _tools = None


def open_engine(settings: Settings, *, url: str | None = None, pool_size: int = 8) -> sa.Engine:
    """Open the database of the settings, or another."""
    return database.open_engine(url or settings.database_url.get_secret_value(), pool_size=pool_size)


def open_watch(settings: Settings) -> tuple[sa.Engine, Clock]:
    """Open what it takes to say how things stand, beside the connections that the work needs."""
    url = settings.database_url.get_secret_value()
    return database.open_engine(url, pool_size=2, timeout=2.0), Clock(test_shift(settings.test_clock_file))


def keyring(settings: Settings) -> MultiFernet:
    """Return the keys that encrypt API keys and tokens: the first encrypts, all decrypt."""
    return MultiFernet([Fernet(key.get_secret_value()) for key in settings.encryption_keys])


def pac_certificates(settings: Settings) -> dict[str, bytes]:
    """Return the PAC's certificates by their number, in DER; a file may hold several as PEM. Raises SettingsError."""
    found: dict[str, bytes] = {}
    for path, der in _certificates("TIMBRADO_PAC_CERTIFICATES", settings.pac_certificates):
        try:
            found[seals.from_der(der).no_certificado] = der
        except seals.UnreadableCertificate as error:
            raise SettingsError(
                f"timbrado: TIMBRADO_PAC_CERTIFICATES names a file that is no certificate of the SAT: {path.name}"
            ) from error
    return found


def sat_authorities(settings: Settings) -> tuple[bytes, ...]:
    """Return the certificates of the SAT's authorities, in DER. Raises SettingsError."""
    found = []
    for path, der in _certificates("TIMBRADO_SAT_AUTHORITIES", settings.sat_authorities):
        try:
            x509.load_der_x509_certificate(der)
        except ValueError as error:
            raise SettingsError(
                f"timbrado: TIMBRADO_SAT_AUTHORITIES names a file that is no certificate: {path.name}"
            ) from error
        found.append(der)
    return tuple(found)


def _certificates(name: str, paths: Iterable[Path]) -> Iterator[tuple[Path, bytes]]:
    for path in paths:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise SettingsError(
                f"timbrado: {name} names a file that cannot be read: {error.strerror}"
            ) from error
        pems = re.findall(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", content, re.DOTALL)
        for der in [ssl.PEM_cert_to_DER_cert(pem.decode("ascii", "replace")) for pem in pems] or [content]:
            yield path, der


def meter(settings: Settings) -> Meter:
    """Return who counts: Prometheus where somebody reads it, nobody otherwise."""
    if settings.metrics_port is None:
        return Meter()

    return PrometheusMeter()


def open_webhook(settings: Settings) -> WebhookSender | None:
    """Open what sends webhooks; an address that they may not be sent to stops the start, by the setting's name."""
    if not settings.webhook_url:
        return None
    try:
        return WebhookSender(
            settings.webhook_url,
            [secret.get_secret_value() for secret in settings.webhook_secret],
            allowed_hosts=settings.webhook_hosts,
        )
    except BadEndpoint as error:
        raise SettingsError(f"timbrado: TIMBRADO_WEBHOOK_URL or TIMBRADO_WEBHOOK_SECRET: {error}") from error


def open_redis(settings: Settings) -> Redis | None:
    """Open the broker where it is Redis, for what is measured of it; one that is away says so at once."""
    url = settings.broker_url.get_secret_value()
    if not url.startswith("redis"):
        return None

    return Redis.from_url(
        redis_from_broker(url),
        socket_timeout=5,
        socket_connect_timeout=5,
        health_check_interval=10,
        retry=Retry(NoBackoff(), 0),
    )


def allowed_hosts(settings: Settings) -> frozenset[str]:
    """Return everywhere that the worker may call ContaDigital: the one of the settings, and what they add."""
    return frozenset({endpoint_of(settings.contadigital_url), *settings.contadigital_hosts})


def policy(settings: Settings) -> Policy:
    """Return the pipeline's numbers."""
    return Policy(
        lease=settings.lease,
        quarantine=settings.doubt_quarantine,
        in_flight=settings.in_flight_per_account,
        delayed_after=settings.delayed_after,
        stamps_low_at=settings.stamps_low_at,
        production_url=settings.contadigital_url,
        allowed_hosts=allowed_hosts(settings),
    )


def host() -> str:
    """Return this host and process, as operators read it."""
    return f"{socket.gethostname()}:{os.getpid()}"


def open_tools(settings: Settings) -> Tools:
    """Open everything from settings, and hand it down as plain values."""
    fernet = keyring(settings)
    clock = Clock(test_shift(settings.test_clock_file))
    engine = open_engine(settings)
    hosts = allowed_hosts(settings)
    limits = policy(settings)
    other = settings.inbox_url.get_secret_value() != settings.database_url.get_secret_value()
    channels = []
    if settings.webhook_url:
        channels.append(Channel.WEBHOOK)
    if settings.events_task:
        channels.append(Channel.CELERY)
    return Tools(
        engine=engine,
        provider=ContaDigital(
            open_http(connections=64, connect=settings.connect_timeout),
            ConnectionTokens(engine, fernet, clock=clock.now),
            call_timeout=settings.call_timeout,
            max_body=MAX_BODY,
            clock=clock.now,
            allowed_hosts=hosts,
            longest_wait=settings.longest_retry_after,
            watch=circuit_breaker.watch(engine, clock.now, limits),
            keep_sample=samples.keeper(engine, clock.now),
        ),
        store=open_store(settings.storage_url),
        clock=clock,
        fernet=fernet,
        worker=host(),
        channels=tuple(channels),
        policy=limits,
        failpoints=Failpoints(settings.test_failpoints or ""),
        inbox=open_engine(settings, url=settings.inbox_url.get_secret_value(), pool_size=2)
        if other
        else None,
        webhook=open_webhook(settings),
        events_task=settings.events_task,
        events_queue=settings.events_queue,
        public_url=settings.public_url.rstrip("/") if settings.public_url else None,
        meter=meter(settings),
        pac_certificates=pac_certificates(settings),
        sat_authorities=sat_authorities(settings),
        sat_status=SatStatusService(
            settings.sat_status_url, open_http(connections=2, connect=settings.connect_timeout)
        )
        if settings.sat_status_url
        else None,
    )
