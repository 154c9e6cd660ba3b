"""What the pipeline works with: opened once per process by worker/resources.py and handed down as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property

import sqlalchemy as sa
from cryptography.fernet import MultiFernet

from contadigital.client import ContaDigital
from events.webhook import WebhookSender
from models.compiled import AtOnce
from models.vocabulary import Channel
from stamping.cancellation.sat_status import SatStatusService
from stamping.clock import Clock
from stamping.failpoints import Failpoints
from storage import DocumentStore


@dataclass(frozen=True)
class Policy:
    """The numbers that an operator may set (config/settings.py explains each)."""

    lease: timedelta = timedelta(seconds=180)  # longer than the longest whole call
    quarantine: timedelta = timedelta(
        minutes=15
    )  # how long look-ups must say no before the same Id is stamped again
    in_flight: int = 4  # calls at once per account
    bulk_threshold: int = 8  # open invoices of one account beyond which its messages go to the bulk queue
    delayed_after: timedelta = timedelta(minutes=5)
    stamps_low_at: int = 100
    catalogs_age: timedelta = timedelta(hours=6)
    probe_first: timedelta = timedelta(minutes=1)
    probe_cap: timedelta = timedelta(minutes=30)
    breaker_failures: int = 5  # in a row, before the provider is taken for down
    breaker_probe: timedelta = timedelta(seconds=15)
    slow: timedelta = timedelta(seconds=15)  # an answer that takes so long asks for fewer calls at once
    requeue_after: timedelta = timedelta(
        seconds=20
    )  # a message that was not answered in this time is sent again
    queue_bound: int = 200  # messages of the sweep in one queue: a few times the threads
    production_url: str = "https://app.contadigital.mx"
    allowed_hosts: frozenset[str] = frozenset()


class Meter:
    """Who counts what happens; this one counts nothing, worker/metrics.py's does."""

    def attempt(self, call: str, outcome: str, latency_ms: int | None) -> None:
        """Count one call to ContaDigital and how it ended."""

    def given_back(self, sqlstate: str) -> None:
        """Count a message that went back into its queue, by PostgreSQL's code of what kept it from being stored."""

    def not_enqueued(self) -> None:
        """Count a message that the broker did not take."""

    def second_stamp(self) -> None:
        """Count a stamp that came late, beside the one that its invoice has."""

    def rescued(self, claims: int) -> None:
        """Count claims that had run out and were brought back."""


@dataclass(frozen=True)
class Tools:
    """Everything the pipeline needs of the outside."""

    engine: sa.Engine
    provider: ContaDigital
    store: DocumentStore
    clock: Clock
    fernet: MultiFernet
    worker: str  # who claims: host and process, for operators to read
    channels: tuple[Channel, ...] = ()
    policy: Policy = field(default_factory=Policy)
    failpoints: Failpoints = field(default_factory=Failpoints)
    meter: Meter = field(default_factory=Meter)
    webhook: WebhookSender | None = None
    events_task: str | None = None
    events_queue: str | None = None
    public_url: str | None = None  # the HTTP API's address, as its users reach it
    pac_certificates: Mapping[str, bytes] = field(default_factory=dict)
    """By NoCertificadoSAT, in DER: the PAC's certificates, with which the stamp's own seal is verified."""
    sat_authorities: tuple[bytes, ...] = ()
    """Certificates of the SAT's authorities, in DER: with them an emisor's certificate is verified too."""
    sat_status: SatStatusService | None = None
    """The SAT's own word on a CFDI; None where it is not to be asked."""
    inbox: sa.Engine | None = None  # where clients write submissions; our own database unless set

    @cached_property
    def at_once(self) -> AtOnce:
        """The same database, for work that is one statement."""
        return AtOnce(self.engine)

    def reading(self) -> sa.Connection:
        """Open the same database for several reads, each statement by itself.

        A transaction would cost two round trips more, and its end without a commit the plans of every statement that
        the connection has prepared: psycopg drops them with each rollback.
        """
        return self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")

    @property
    def inbox_engine(self) -> sa.Engine:
        """The database that holds the inbox."""
        return self.inbox or self.engine
