"""The tables, as SQLAlchemy Core.

Statements are written against these objects and run on a plain connection: the hot path needs no identity
map, and every write is a guarded UPDATE whose row count says who won. Instants carry a time zone; `fecha`
alone has none, since the SAT wants the wall clock of the place of issue.
"""

import uuid_utils.compat as uuids
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from models.vocabulary import (
    DUE,
    HAS_UUID,
    MAY_HOLD_CLAIM,
    AttemptOutcome,
    BrokenReason,
    Call,
    Channel,
    ConnectionStatus,
    DeliveryStatus,
    DocumentKind,
    FailedReason,
    InvoiceStatus,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def one_of(column: str, values: object) -> str:
    """Return the SQL that says that a column holds one of these values."""
    listed = ", ".join(f"'{value}'" for value in sorted(str(v) for v in values))  # type: ignore[attr-defined]  # any collection of StrEnum
    return f"{column} IN ({listed})"


def instant(name: str, *, nullable: bool = True) -> Column[object]:
    """Return a column for an instant: aware, UTC in the database."""
    return Column(name, DateTime(timezone=True), nullable=nullable)


DUE_SQL = one_of("status", DUE)
NAME_WORDS = "to_tsvector('simple', content -> 'receptor' ->> 'nombre')"
"""The words of a receiver's name, which a search finds whole or by their beginnings."""

connections = Table(
    "connections",
    metadata,
    Column("id", Uuid, primary_key=True, default=uuids.uuid7),
    Column("account", Text, nullable=False, unique=True),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("detail", JSONB),  # facts behind the reason, for its message: {"faults": [...]}
    # What Apunto holds of the account
    Column("rfc", Text, nullable=False),
    Column("razon_social", Text, nullable=False),
    Column("codigo_postal", Text, nullable=False),
    Column("serie_asked", Text),
    Column("id_empresa_asked", BigInteger),
    Column("base_url", Text, nullable=False),
    Column("ids", JSONB),  # ContaDigital's ids given by hand (contract, section 7); they win over its lists
    instant(
        "sent_at"
    ),  # the sending time of the request that this connection holds: an older one changes nothing
    # The key: encrypted, never shown but for its last four characters
    Column("key_encrypted", Text),
    Column("key_last4", Text),
    Column("key_fingerprint", Text),
    # What ContaDigital reported
    Column("id_empresa", BigInteger),
    Column("registered_name", Text),
    Column("regimen_fiscal", Text),
    Column("serie", Text),
    Column("catalogs", JSONB),
    instant("catalogs_at"),
    Column("recognised", JSONB),  # what of its lists was recognised as what, and what was ambiguous
    # The token, or that its exchange was refused: encrypted, its end, and the end of the claim of whoever exchanges
    Column("token_encrypted", Text),
    instant("token_expires_at"),
    instant("token_claimed_until"),
    # What its answers taught: NULL until seen (docs/unknowns.md)
    Column("honours_id", Boolean),
    Column("saves_only", Boolean),
    # Stamps left
    Column("stamps_left", Integer),
    Column("stamps_left_source", Text),
    Column("stamps_low_notified", Boolean, nullable=False, server_default=text("false")),
    # Throttles
    Column(
        "paused", Boolean, nullable=False, server_default=text("false")
    ),  # by an operator: `timbrado hold`
    instant("throttled_until"),  # 429 or slowness
    instant("served_at"),  # its last turn while more accounts waited than could be served
    Column("concurrency_limit", SmallInteger),  # calls in flight; NULL: the setting's
    # Time
    instant("validated_at"),
    instant("broken_at"),
    instant("next_probe_at"),
    Column("probes", Integer, nullable=False, server_default=text("0")),
    Column("version", Integer, nullable=False, server_default=text("0")),
    instant("created_at", nullable=False),
    instant("updated_at", nullable=False),
    CheckConstraint(one_of("status", ConnectionStatus), "status"),
    CheckConstraint(f"reason IS NULL OR {one_of('reason', BrokenReason)}", "reason"),
    CheckConstraint("(status = 'broken') = (reason IS NOT NULL)", "broken_has_a_reason"),
    CheckConstraint(
        "status <> 'active' OR (key_encrypted IS NOT NULL AND id_empresa IS NOT NULL AND catalogs IS NOT NULL)",
        "active_is_complete",
    ),
    CheckConstraint("status <> 'disconnected' OR key_encrypted IS NULL", "disconnected_forgets_its_key"),
    Index("ix_connections_probe", "next_probe_at", postgresql_where=text("next_probe_at IS NOT NULL")),
)

provider_refs = Table(
    "provider_refs",
    metadata,
    Column("connection_id", Uuid, ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True),
    Column("kind", Text, primary_key=True),  # customer | product
    Column("key", Text, primary_key=True),
    Column("provider_id", BigInteger),
    Column("fingerprint", Text),  # of the data ContaDigital was last given
    Column("claim", Integer, nullable=False, server_default=text("0")),
    instant("claimed_until"),
    instant("updated_at", nullable=False),
    CheckConstraint("kind IN ('customer', 'product')", "kind"),
)

providers = Table(
    "providers",
    metadata,
    Column("base_url", Text, primary_key=True),
    Column("failures", Integer, nullable=False, server_default=text("0")),  # in a row
    instant("opened_at"),  # the breaker; NULL while closed
    instant("next_probe_at"),
    Column("last_probe_account", Text),  # the account that made the last probe: the next one is another's
    Column(
        "dialect", JSONB, nullable=False, server_default=text("'{}'")
    ),  # only what differs from the defaults
    Column("dialect_version", Integer, nullable=False, server_default=text("0")),
    Column("learnt", JSONB, nullable=False, server_default=text("'{}'")),  # what its answers taught
    Column("version", Integer, nullable=False, server_default=text("0")),  # of its events
    instant("updated_at", nullable=False),
    CheckConstraint("(opened_at IS NULL) = (next_probe_at IS NULL)", "open_has_a_probe"),
)

answer_samples = Table(
    "answer_samples",
    metadata,
    Column("connection_id", Uuid, ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True),
    Column("call", Text, primary_key=True),
    Column("http_status", SmallInteger),
    Column("sample", JSONB, nullable=False),  # names, types and lengths; values of an allow-list alone
    instant("at", nullable=False),
)

invoices = Table(
    "invoices",
    metadata,
    Column("id", Uuid, primary_key=True, default=uuids.uuid7),
    Column("account", Text, nullable=False),
    Column("external_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text),  # of `failed`
    Column("version", Integer, nullable=False),  # of its events: grows with each
    Column("content", JSONB, nullable=False),  # as Apunto sent it
    Column("content_hash", Text, nullable=False),
    Column("errors", JSONB, nullable=False, server_default=text("'[]'")),
    Column("warnings", JSONB, nullable=False, server_default=text("'[]'")),
    Column("trace_id", Text),
    instant("sent_at"),  # the sending time of the message whose content this is: an older one changes nothing
    Column("replaces_id", Uuid, ForeignKey("invoices.id")),  # the stamped invoice that this one replaces
    instant("withdraw_asked_at"),  # taken back while its outcome is unknown: decided by the look-up
    # What is sent, fixed from the first time it is sent
    Column("fecha", DateTime(timezone=False)),  # wall clock at the place of issue
    instant("expires_at"),  # fecha + 72 h
    Column("serie", Text),
    Column("record_id", BigInteger),  # ContaDigital's Id of the saved draft
    Column("record_empresa", BigInteger),  # the IdEmpresa it was saved under
    Column(
        "record_base_url", Text
    ),  # where it was saved last: at another address its Id is another invoice's
    Column(
        "record_hash", Text
    ),  # the content_hash it was saved with: a correction is saved again; none under an Id that was called stamped
    # The stamp
    Column("uuid", Text),
    Column("folio", Text),
    Column("differences", JSONB),  # between the CFDI and what was sent, with their severity
    Column("fecha_timbrado", DateTime(timezone=False)),
    instant("stamped_at"),
    Column("id_honoured", Boolean),  # the stamp came under the very Id that was asked for
    # Claim and fence
    Column("claim", Integer, nullable=False, server_default=text("0")),
    instant("claimed_until"),
    Column("claimed_by", Text),
    # Waiting is a column
    instant("next_attempt_at"),
    instant("enqueued_at"),  # when the sweep enqueued it last
    Column("calls", Integer, nullable=False, server_default=text("0")),  # attempts so far, of any kind
    Column(
        "tries", Integer, nullable=False, server_default=text("0")
    ),  # failed tries in a row: for the backoff
    # Doubt
    Column("doubt", Text),  # what was lost: save | stamp | cancel; or restore: the database was set back
    instant("doubt_since"),
    Column("lookups", Integer, nullable=False, server_default=text("0")),
    # Cancellation
    Column("motivo", Text),
    Column("uuid_sustitucion", Text),
    instant("cancelled_at"),
    # Follow-ups, which never touch the status
    instant("pdf_due_at"),
    instant("mail_due_at"),
    Column("followup_tries", Integer, nullable=False, server_default=text("0")),
    instant("reminder_at"),  # when a reminder of a delay or of the 72 hours is due
    Column("last_reminder", Text),  # the last reminder: delayed | 24h | 6h | 1h
    instant("created_at", nullable=False),
    instant("updated_at", nullable=False),
    UniqueConstraint("account", "external_id"),
    UniqueConstraint("uuid"),
    CheckConstraint(one_of("status", InvoiceStatus), "status"),
    CheckConstraint(f"reason IS NULL OR {one_of('reason', FailedReason)}", "reason"),
    CheckConstraint("(status = 'failed') = (reason IS NOT NULL)", "failed_has_a_reason"),
    CheckConstraint(
        f"({one_of('status', HAS_UUID)}) = (uuid IS NOT NULL AND stamped_at IS NOT NULL)",
        "stamped_has_a_uuid",
    ),
    CheckConstraint("uuid IS NULL OR uuid ~ '^[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}$'", "uuid_form"),
    CheckConstraint("status <> 'stamping' OR claimed_until IS NOT NULL", "stamping_is_claimed"),
    CheckConstraint(
        f"claimed_until IS NULL OR {one_of('status', MAY_HOLD_CLAIM)}", "only_work_in_hand_is_claimed"
    ),
    CheckConstraint(
        "status NOT IN ('accepted', 'waiting', 'in_doubt', 'cancelling') OR next_attempt_at IS NOT NULL",
        "waiting_has_an_end",
    ),
    CheckConstraint("status <> 'rejected' OR jsonb_array_length(errors) > 0", "rejected_says_why"),
    CheckConstraint(
        "(status <> 'in_doubt') OR (doubt IS NOT NULL AND doubt_since IS NOT NULL)", "doubt_has_a_beginning"
    ),
    CheckConstraint("doubt IS NULL OR doubt IN ('save', 'stamp', 'cancel', 'restore')", "doubt"),
    CheckConstraint("(fecha IS NULL) = (expires_at IS NULL)", "fecha_has_a_deadline"),
    CheckConstraint("status NOT IN ('cancelling', 'cancelled') OR motivo IS NOT NULL", "cancel_has_a_motivo"),
    Index("ix_invoices_due", "account", "next_attempt_at", postgresql_where=text(DUE_SQL)),
    Index("ix_invoices_expiring", "expires_at", postgresql_where=text(DUE_SQL)),
    Index("ix_invoices_in_flight", "account", postgresql_where=text("status = 'stamping'")),
    Index("ix_invoices_claims", "claimed_until", postgresql_where=text("claimed_until IS NOT NULL")),
    Index(
        "ix_invoices_look_ups",
        "next_attempt_at",
        postgresql_where=text("status IN ('in_doubt', 'cancelling') AND claimed_until IS NULL"),
    ),
    Index("ix_invoices_on_hold", "account", "expires_at", postgresql_where=text("status = 'on_hold'")),
    Index("ix_invoices_pdf_due", "pdf_due_at", postgresql_where=text("pdf_due_at IS NOT NULL")),
    Index("ix_invoices_mail_due", "mail_due_at", postgresql_where=text("mail_due_at IS NOT NULL")),
    Index("ix_invoices_reminder", "reminder_at", postgresql_where=text("reminder_at IS NOT NULL")),
    Index("ix_invoices_listing", "status", "account", "created_at"),
    # pages and searches of the HTTP API and the panel
    Index("ix_invoices_newest", "created_at", "id"),
    Index("ix_invoices_account_newest", "account", "created_at", "id"),
    Index("ix_invoices_external_id", "external_id", postgresql_ops={"external_id": "text_pattern_ops"}),
    Index("ix_invoices_folio", "folio", postgresql_where=text("folio IS NOT NULL")),
    Index("ix_invoices_receptor_rfc", text("(content -> 'receptor' ->> 'rfc')"), "created_at", "id"),
    # of the stamped alone: the words of a name are written once, and not with each change before
    Index(
        "ix_invoices_receptor_nombre",
        text(NAME_WORDS),
        postgresql_using="gin",
        postgresql_where=text("uuid IS NOT NULL"),
    ),
    Index("ix_invoices_replaces", "replaces_id", postgresql_where=text("replaces_id IS NOT NULL")),
    Index(
        "ix_invoices_known_stamps",
        "account",
        "stamped_at",
        postgresql_where=text("status = 'stamped' AND id_honoured"),
    ),
    postgresql_with={"fillfactor": 80},  # room to update a row in place while its invoice is under way
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("invoice_id", Uuid, ForeignKey("invoices.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("call", Text, nullable=False),
    Column("claim", Integer, nullable=False),
    Column("record_id", BigInteger),  # the Id it addressed; NULL or 0: a new record
    Column("worker", Text),
    instant("started_at", nullable=False),
    instant("finished_at"),
    Column("outcome", Text),
    Column("http_status", SmallInteger),
    Column("codigo", Integer),
    Column("latency_ms", Integer),
    Column("detail", Text),
    Column("dialect_version", Integer),
    UniqueConstraint("invoice_id", "number"),
    CheckConstraint(one_of("call", Call), "call"),
    CheckConstraint(f"outcome IS NULL OR {one_of('outcome', AttemptOutcome)}", "outcome"),
    CheckConstraint("(outcome IS NULL) = (finished_at IS NULL)", "ended_has_an_end"),
)

documents = Table(
    "documents",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("invoice_id", Uuid, ForeignKey("invoices.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("checks", JSONB),  # the report of cfdi/evidence/
    Column("quarantined_reason", Text),  # NULL: believed
    instant("stored_at", nullable=False),
    CheckConstraint(one_of("kind", DocumentKind), "kind"),
    CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", "sha256"),
    Index(
        "uq_documents_believed",
        "invoice_id",
        "kind",
        unique=True,
        postgresql_where=text("quarantined_reason IS NULL"),
    ),
    Index("ix_documents_invoice_id", "invoice_id"),
)

events = Table(
    "events",
    metadata,
    Column("id", Uuid, primary_key=True, default=uuids.uuid7),  # the webhook-id, the same over all retries
    Column("subject_kind", Text, nullable=False),  # invoice | connection | message | provider
    Column("subject_id", Uuid, nullable=False),
    Column("account", Text, nullable=False),
    Column("external_id", Text),
    Column("version", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("data", JSONB, nullable=False),  # the object's `data`, as it leaves
    Column("trace_id", Text),
    instant("created_at", nullable=False),  # the object's `timestamp`
    # The transaction that wrote it: ids and instants are given before the commit, so only this order can be read on
    # from without missing what commits late (`events/feed.py`)
    Column("position", BigInteger, nullable=False, server_default=text("pg_current_xact_id()::text::bigint")),
    UniqueConstraint("subject_id", "version"),
    CheckConstraint("subject_kind IN ('invoice', 'connection', 'message', 'provider')", "subject_kind"),
    Index("ix_events_position", "position", "id"),
    Index("ix_events_account", "account", "position", "id", postgresql_ops={"account": "text_pattern_ops"}),
    Index("ix_events_created_at", "created_at", postgresql_using="brin"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("event_id", Uuid, ForeignKey("events.id", ondelete="CASCADE"), primary_key=True),
    Column("channel", Text, primary_key=True),
    Column("subject_id", Uuid, nullable=False),
    Column("version", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("tries", Integer, nullable=False, server_default=text("0")),
    instant("next_attempt_at"),
    Column("claim", Integer, nullable=False, server_default=text("0")),
    instant("claimed_until"),
    Column("last_status", SmallInteger),
    Column("last_error", Text),
    Column("latency_ms", Integer),
    instant("tried_at"),  # the last try
    instant("delivered_at"),
    instant("created_at", nullable=False),  # or replayed: the schedule counts from here
    CheckConstraint(one_of("channel", Channel), "channel"),
    CheckConstraint(one_of("status", DeliveryStatus), "status"),
    CheckConstraint("status <> 'pending' OR next_attempt_at IS NOT NULL", "pending_has_a_time"),
    CheckConstraint("(status = 'delivered') = (delivered_at IS NOT NULL)", "delivered_has_a_time"),
    Index("ix_deliveries_due", "channel", "next_attempt_at", postgresql_where=text("status = 'pending'")),
    Index(
        "ix_deliveries_subject",
        "channel",
        "subject_id",
        "version",
        postgresql_where=text("status = 'pending'"),
    ),
    Index("ix_deliveries_dead", "channel", postgresql_where=text("status = 'dead'")),
    Index(
        "ix_deliveries_in_flight",
        "channel",
        "claimed_until",
        postgresql_where=text("claimed_until IS NOT NULL"),
    ),
)

endpoints = Table(
    "endpoints",
    metadata,
    Column("channel", Text, primary_key=True),
    Column("address_hash", Text, nullable=False),  # sha256 of the address that the rest is true of
    Column("failures", Integer, nullable=False, server_default=text("0")),  # in a row
    instant("disabled_at"),
    Column("disabled_reason", Text),
    instant("updated_at", nullable=False),
)

inbox = Table(
    "timbrado_inbox",
    metadata,
    Column("id", Uuid, primary_key=True, default=uuids.uuid7),
    Column("kind", Text, nullable=False, server_default=text("'submit'")),
    Column("payload", JSONB, nullable=False),
    Column("trace_id", Text),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Column("taken_at", DateTime(timezone=True)),
    CheckConstraint("kind IN ('submit', 'cancel', 'retry', 'withdraw', 'replace')", "kind"),
    Index("ix_timbrado_inbox_waiting", "created_at", postgresql_where=text("taken_at IS NULL")),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", Uuid, primary_key=True, default=uuids.uuid7),
    Column("message", JSONB, nullable=False),  # kept whole: nothing that arrives is lost
    Column("message_hash", Text, nullable=False, unique=True),
    Column("errors", JSONB, nullable=False),
    Column("task", Text),
    Column("queue", Text),
    Column("body", LargeBinary),  # as it came, bounded and without keys: what `dead-letters resend` sends
    Column("reason", Text),
    instant("resent_at"),
    instant("created_at", nullable=False),
)

seen_messages = Table(
    "seen_messages",
    metadata,
    Column("message_id", Text, primary_key=True),
    Column("task", Text, nullable=False),
    Column("account", Text),
    instant("sent_at"),
    instant("received_at", nullable=False),
    Index("ix_seen_messages_received_at", "received_at"),
)

actions = Table(
    "actions",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("subject_kind", Text, nullable=False),  # invoice | connection | event | message | installation
    Column("subject_id", Uuid),
    Column("account", Text),
    Column(
        "action", Text, nullable=False
    ),  # retry | withdraw | cancel | accept | resolve | hold | release | ...
    Column("actor", Text, nullable=False),  # a person's or a key's name; `cli:<user>` from a shell
    Column("reason", Text),
    Column("detail", JSONB),
    instant("at", nullable=False),
    Index("ix_actions_subject", "subject_id", "id"),
    Index("ix_actions_account", "account", "id"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Uuid, primary_key=True, default=uuids.uuid7),
    Column("name", Text, nullable=False, unique=True),
    Column("is_person", Boolean, nullable=False, server_default=text("false")),
    Column("role", Text),  # of a person: viewer | operator
    Column("scopes", JSONB, nullable=False, server_default=text("'[]'")),
    Column("account_glob", Text),  # NULL: every account
    Column("key_hash", Text, nullable=False, unique=True),
    instant("created_at", nullable=False),
    instant("expires_at"),
    instant("revoked_at"),
    instant("last_used_at"),
)

panel_sessions = Table(
    "panel_sessions",
    metadata,
    Column("token_hash", Text, primary_key=True),
    Column("api_key_id", Uuid, ForeignKey("api_keys.id", ondelete="CASCADE"), nullable=False),
    instant("created_at", nullable=False),
    instant("expires_at", nullable=False),
)

heartbeats = Table(
    "heartbeats",
    metadata,
    Column("name", Text, primary_key=True),  # sweep | beat | written | refused | store | dropped
    instant("at", nullable=False),  # by the database's clock
    Column("worker", Text),
    Column("detail", JSONB),
)

installation = Table(
    "installation",
    metadata,
    Column("name", Text, primary_key=True),  # channels | restore_mark
    Column("value", JSONB, nullable=False),
    instant("updated_at", nullable=False),
)

history = Table(
    "history",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("invoice_id", Uuid, ForeignKey("invoices.id"), nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("from_status", Text),
    Column("to_status", Text, nullable=False),
    Column("reason", Text),
    Column("uuid", Text),
    Column("claim", Integer, nullable=False),
    Column("content_hash", Text, nullable=False),
    Column("previous", LargeBinary),  # the hash of this invoice's entry before; NULL for its first
    Column("hash", LargeBinary, nullable=False),
    Index("ix_history_invoice_id", "invoice_id", "id"),
)

moves = Table(
    "invoice_moves",
    metadata,
    Column("from_status", Text, primary_key=True),
    Column("to_status", Text, primary_key=True),
)


# --- what is read of a row: fifty columns cost a millisecond each time, so the usual path asks for what it needs ---

EVENT_COLUMNS = [
    invoices.c[name]
    for name in (
        "id", "account", "external_id", "version", "status", "reason", "errors", "uuid", "serie", "folio",
        "fecha_timbrado", "trace_id", "doubt", "warnings", "withdraw_asked_at",
    )
]  # fmt: skip
"""What an event reports of an invoice."""
CLAIM_COLUMNS = [
    *EVENT_COLUMNS,
    *(
        invoices.c[name]
        for name in (
            "content", "content_hash", "fecha", "expires_at", "last_reminder", "created_at", "record_id",
            "record_empresa", "record_hash", "claim", "calls", "tries", "doubt_since", "lookups", "motivo",
            "uuid_sustitucion", "stamped_at", "record_base_url", "replaces_id",
        )
    ),
]  # fmt: skip
"""What the pipeline needs of an invoice that it has claimed."""
CONNECTION_COLUMNS = [
    connections.c[name]
    for name in (
        "id", "account", "status", "reason", "detail", "rfc", "razon_social", "codigo_postal", "base_url",
        "key_encrypted", "key_fingerprint", "id_empresa", "registered_name", "regimen_fiscal", "serie",
        "catalogs_at", "honours_id", "saves_only", "stamps_left", "paused", "throttled_until",
        "concurrency_limit", "validated_at", "ids",
    )
]  # fmt: skip
"""What it needs of the connection; the catalogues, which are large, are kept by stamping/prepare.py."""
