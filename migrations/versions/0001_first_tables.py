"""The first tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.watch import watch_moves

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "connections",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("rfc", sa.Text(), nullable=False),
        sa.Column("razon_social", sa.Text(), nullable=False),
        sa.Column("codigo_postal", sa.Text(), nullable=False),
        sa.Column("serie_asked", sa.Text(), nullable=True),
        sa.Column("id_empresa_asked", sa.BigInteger(), nullable=True),
        sa.Column("base_url", sa.Text(), nullable=False),
        sa.Column("key_encrypted", sa.Text(), nullable=True),
        sa.Column("key_last4", sa.Text(), nullable=True),
        sa.Column("key_fingerprint", sa.Text(), nullable=True),
        sa.Column("id_empresa", sa.BigInteger(), nullable=True),
        sa.Column("registered_name", sa.Text(), nullable=True),
        sa.Column("regimen_fiscal", sa.Text(), nullable=True),
        sa.Column("serie", sa.Text(), nullable=True),
        sa.Column("catalogs", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("catalogs_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("honours_id", sa.Boolean(), nullable=True),
        sa.Column("saves_only", sa.Boolean(), nullable=True),
        sa.Column("stamps_left", sa.Integer(), nullable=True),
        sa.Column("stamps_left_source", sa.Text(), nullable=True),
        sa.Column("stamps_low_notified", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("paused", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("throttled_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("concurrency_limit", sa.SmallInteger(), nullable=True),
        sa.Column("validated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("broken_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_probe_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("probes", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("version", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(status = 'broken') = (reason IS NOT NULL)", name=op.f("ck_connections_broken_has_a_reason")
        ),
        sa.CheckConstraint(
            "reason IS NULL OR reason IN ('api_not_enabled', 'empresa_unknown', 'key_malformed', 'key_rejected', 'lugar_expedicion_unknown', 'no_stamps', 'razon_social_mismatch', 'rfc_mismatch', 'serie_inactive', 'unreachable')",
            name=op.f("ck_connections_reason"),
        ),
        sa.CheckConstraint(
            "status <> 'active' OR (key_encrypted IS NOT NULL AND id_empresa IS NOT NULL AND catalogs IS NOT NULL)",
            name=op.f("ck_connections_active_is_complete"),
        ),
        sa.CheckConstraint(
            "status <> 'disconnected' OR key_encrypted IS NULL",
            name=op.f("ck_connections_disconnected_forgets_its_key"),
        ),
        sa.CheckConstraint(
            "status IN ('active', 'broken', 'disconnected', 'pending')", name=op.f("ck_connections_status")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_connections")),
        sa.UniqueConstraint("account", name=op.f("uq_connections_account")),
    )
    op.create_index(
        "ix_connections_probe",
        "connections",
        ["next_probe_at"],
        unique=False,
        postgresql_where=sa.text("next_probe_at IS NOT NULL"),
    )
    op.create_table(
        "endpoints",
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("address_hash", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("channel", name=op.f("pk_endpoints")),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("subject_kind", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("trace_id", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "subject_kind IN ('invoice', 'connection', 'message')", name=op.f("ck_events_subject_kind")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sa.UniqueConstraint("subject_id", "version", name=op.f("uq_events_subject_id_version")),
    )
    op.create_index("ix_events_created_at", "events", ["created_at"], unique=False)
    op.create_table(
        "invoice_moves",
        sa.Column("from_status", sa.Text(), nullable=False),
        sa.Column("to_status", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("from_status", "to_status", name=op.f("pk_invoice_moves")),
    )
    op.create_table(
        "invoices",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("content", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column(
            "errors", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False
        ),
        sa.Column("trace_id", sa.Text(), nullable=True),
        sa.Column("fecha", sa.DateTime(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("serie", sa.Text(), nullable=True),
        sa.Column("record_id", sa.BigInteger(), nullable=True),
        sa.Column("record_empresa", sa.BigInteger(), nullable=True),
        sa.Column("record_hash", sa.Text(), nullable=True),
        sa.Column("uuid", sa.Text(), nullable=True),
        sa.Column("folio", sa.Text(), nullable=True),
        sa.Column("fecha_timbrado", sa.DateTime(), nullable=True),
        sa.Column("stamped_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id_honoured", sa.Boolean(), nullable=True),
        sa.Column("claim", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("claimed_by", sa.Text(), nullable=True),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("enqueued_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("calls", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("doubt", sa.Text(), nullable=True),
        sa.Column("doubt_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lookups", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("motivo", sa.Text(), nullable=True),
        sa.Column("uuid_sustitucion", sa.Text(), nullable=True),
        sa.Column("cancelled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("pdf_due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("mail_due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("followup_tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("reminder_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_reminder", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(status <> 'in_doubt') OR (doubt IS NOT NULL AND doubt_since IS NOT NULL)",
            name=op.f("ck_invoices_doubt_has_a_beginning"),
        ),
        sa.CheckConstraint(
            "(status = 'failed') = (reason IS NOT NULL)", name=op.f("ck_invoices_failed_has_a_reason")
        ),
        sa.CheckConstraint(
            "(status IN ('cancelled', 'cancelling', 'stamped')) = (uuid IS NOT NULL AND stamped_at IS NOT NULL)",
            name=op.f("ck_invoices_stamped_has_a_uuid"),
        ),
        sa.CheckConstraint(
            "claimed_until IS NULL OR status IN ('cancelling', 'in_doubt', 'stamping')",
            name=op.f("ck_invoices_only_work_in_hand_is_claimed"),
        ),
        sa.CheckConstraint(
            "doubt IS NULL OR doubt IN ('save', 'stamp', 'cancel')", name=op.f("ck_invoices_doubt")
        ),
        sa.CheckConstraint(
            "reason IS NULL OR reason IN ('expired', 'needs_person')", name=op.f("ck_invoices_reason")
        ),
        sa.CheckConstraint(
            "status <> 'rejected' OR jsonb_array_length(errors) > 0",
            name=op.f("ck_invoices_rejected_says_why"),
        ),
        sa.CheckConstraint(
            "status <> 'stamping' OR claimed_until IS NOT NULL", name=op.f("ck_invoices_stamping_is_claimed")
        ),
        sa.CheckConstraint(
            "status IN ('accepted', 'cancelled', 'cancelling', 'failed', 'in_doubt', 'on_hold', 'rejected', 'stamped', 'stamping', 'waiting')",
            name=op.f("ck_invoices_status"),
        ),
        sa.CheckConstraint(
            "status NOT IN ('accepted', 'waiting', 'in_doubt', 'cancelling') OR next_attempt_at IS NOT NULL",
            name=op.f("ck_invoices_waiting_has_an_end"),
        ),
        sa.CheckConstraint(
            "status NOT IN ('cancelling', 'cancelled') OR motivo IS NOT NULL",
            name=op.f("ck_invoices_cancel_has_a_motivo"),
        ),
        sa.CheckConstraint(
            "uuid IS NULL OR uuid ~ '^[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}$'",
            name=op.f("ck_invoices_uuid_form"),
        ),
        sa.CheckConstraint(
            "(fecha IS NULL) = (expires_at IS NULL)", name=op.f("ck_invoices_fecha_has_a_deadline")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invoices")),
        sa.UniqueConstraint("account", "external_id", name=op.f("uq_invoices_account_external_id")),
        sa.UniqueConstraint("uuid", name=op.f("uq_invoices_uuid")),
    )
    op.create_index(
        "ix_invoices_claims",
        "invoices",
        ["claimed_until"],
        unique=False,
        postgresql_where=sa.text("claimed_until IS NOT NULL"),
    )
    op.create_index(
        "ix_invoices_due",
        "invoices",
        ["account", "next_attempt_at"],
        unique=False,
        postgresql_where=sa.text("status IN ('accepted', 'waiting')"),
    )
    op.create_index(
        "ix_invoices_on_hold",
        "invoices",
        ["account", "expires_at"],
        unique=False,
        postgresql_where=sa.text("status = 'on_hold'"),
    )
    op.create_index(
        "ix_invoices_in_flight",
        "invoices",
        ["account"],
        unique=False,
        postgresql_where=sa.text("status = 'stamping'"),
    )
    op.create_index(
        "ix_invoices_known_stamps",
        "invoices",
        ["account", "stamped_at"],
        unique=False,
        postgresql_where=sa.text("status = 'stamped' AND id_honoured"),
    )
    op.create_index("ix_invoices_listing", "invoices", ["status", "account", "created_at"], unique=False)
    op.create_index(
        "ix_invoices_look_ups",
        "invoices",
        ["next_attempt_at"],
        unique=False,
        postgresql_where=sa.text("status IN ('in_doubt', 'cancelling') AND claimed_until IS NULL"),
    )
    op.create_index(
        "ix_invoices_mail_due",
        "invoices",
        ["mail_due_at"],
        unique=False,
        postgresql_where=sa.text("mail_due_at IS NOT NULL"),
    )
    op.create_index(
        "ix_invoices_reminder",
        "invoices",
        ["reminder_at"],
        unique=False,
        postgresql_where=sa.text("reminder_at IS NOT NULL"),
    )
    op.create_index(
        "ix_invoices_pdf_due",
        "invoices",
        ["pdf_due_at"],
        unique=False,
        postgresql_where=sa.text("pdf_due_at IS NOT NULL"),
    )
    op.create_table(
        "providers",
        sa.Column("base_url", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_probe_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(opened_at IS NULL) = (next_probe_at IS NULL)", name=op.f("ck_providers_open_has_a_probe")
        ),
        sa.PrimaryKeyConstraint("base_url", name=op.f("pk_providers")),
    )
    op.create_table(
        "timbrado_inbox",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), server_default=sa.text("'submit'"), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("trace_id", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "kind IN ('submit', 'cancel', 'retry', 'withdraw', 'replace')",
            name=op.f("ck_timbrado_inbox_kind"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_timbrado_inbox")),
    )
    op.create_index(
        "ix_timbrado_inbox_waiting",
        "timbrado_inbox",
        ["created_at"],
        unique=False,
        postgresql_where=sa.text("taken_at IS NULL"),
    )
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("message", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("message_hash", sa.Text(), nullable=False),
        sa.Column("errors", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_unreadable_messages")),
        sa.UniqueConstraint("message_hash", name=op.f("uq_unreadable_messages_message_hash")),
    )
    op.create_table(
        "attempts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("invoice_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("call", sa.Text(), nullable=False),
        sa.Column("claim", sa.Integer(), nullable=False),
        sa.Column("record_id", sa.BigInteger(), nullable=True),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("http_status", sa.SmallInteger(), nullable=True),
        sa.Column("codigo", sa.Integer(), nullable=True),
        sa.Column("latency_ms", sa.Integer(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "call IN ('cancel', 'document', 'look_up', 'mail', 'save', 'stamp')",
            name=op.f("ck_attempts_call"),
        ),
        sa.CheckConstraint(
            "outcome IS NULL OR outcome IN ('done', 'late', 'lost', 'no', 'not_sent', 'proven_no', 'refused')",
            name=op.f("ck_attempts_outcome"),
        ),
        sa.CheckConstraint(
            "(outcome IS NULL) = (finished_at IS NULL)", name=op.f("ck_attempts_ended_has_an_end")
        ),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoices.id"], name=op.f("fk_attempts_invoice_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
        sa.UniqueConstraint("invoice_id", "number", name=op.f("uq_attempts_invoice_id_number")),
    )
    op.create_table(
        "deliveries",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("claim", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_status", sa.SmallInteger(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("latency_ms", sa.Integer(), nullable=True),
        sa.Column("tried_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(status = 'delivered') = (delivered_at IS NOT NULL)",
            name=op.f("ck_deliveries_delivered_has_a_time"),
        ),
        sa.CheckConstraint("channel IN ('celery', 'webhook')", name=op.f("ck_deliveries_channel")),
        sa.CheckConstraint(
            "status <> 'pending' OR next_attempt_at IS NOT NULL",
            name=op.f("ck_deliveries_pending_has_a_time"),
        ),
        sa.CheckConstraint("status IN ('dead', 'delivered', 'pending')", name=op.f("ck_deliveries_status")),
        sa.ForeignKeyConstraint(
            ["event_id"], ["events.id"], name=op.f("fk_deliveries_event_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("event_id", "channel", name=op.f("pk_deliveries")),
    )
    op.create_index(
        "ix_deliveries_due",
        "deliveries",
        ["channel", "next_attempt_at"],
        unique=False,
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_index(
        "ix_deliveries_dead",
        "deliveries",
        ["channel"],
        unique=False,
        postgresql_where=sa.text("status = 'dead'"),
    )
    op.create_index(
        "ix_deliveries_in_flight",
        "deliveries",
        ["channel", "claimed_until"],
        unique=False,
        postgresql_where=sa.text("claimed_until IS NOT NULL"),
    )
    op.create_index(
        "ix_deliveries_subject",
        "deliveries",
        ["channel", "subject_id", "version"],
        unique=False,
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_table(
        "documents",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("invoice_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("checks", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("quarantined_reason", sa.Text(), nullable=True),
        sa.Column("stored_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind IN ('acuse', 'pdf', 'xml')", name=op.f("ck_documents_kind")),
        sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_documents_sha256")),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoices.id"], name=op.f("fk_documents_invoice_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_documents")),
    )
    op.create_index("ix_documents_invoice_id", "documents", ["invoice_id"], unique=False)
    op.create_index(
        "uq_documents_believed",
        "documents",
        ["invoice_id", "kind"],
        unique=True,
        postgresql_where=sa.text("quarantined_reason IS NULL"),
    )
    op.create_table(
        "history",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("invoice_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("from_status", sa.Text(), nullable=True),
        sa.Column("to_status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("uuid", sa.Text(), nullable=True),
        sa.Column("claim", sa.Integer(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("previous", sa.LargeBinary(), nullable=True),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoices.id"], name=op.f("fk_history_invoice_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_history")),
    )
    op.create_index("ix_history_invoice_id", "history", ["invoice_id", "id"], unique=False)
    op.create_table(
        "provider_refs",
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("provider_id", sa.BigInteger(), nullable=True),
        sa.Column("fingerprint", sa.Text(), nullable=True),
        sa.Column("claim", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind IN ('customer', 'product')", name=op.f("ck_provider_refs_kind")),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["connections.id"],
            name=op.f("fk_provider_refs_connection_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("connection_id", "kind", "key", name=op.f("pk_provider_refs")),
    )
    watch_moves()


def downgrade() -> None:
    op.execute("DROP TRIGGER IF EXISTS watch_invoice ON invoices")
    op.drop_table("provider_refs")
    op.drop_index("ix_history_invoice_id", table_name="history")
    op.drop_table("history")
    op.drop_index(
        "uq_documents_believed",
        table_name="documents",
        postgresql_where=sa.text("quarantined_reason IS NULL"),
    )
    op.drop_index("ix_documents_invoice_id", table_name="documents")
    op.drop_table("documents")
    op.drop_index(
        "ix_deliveries_subject", table_name="deliveries", postgresql_where=sa.text("status = 'pending'")
    )
    op.drop_index("ix_deliveries_dead", table_name="deliveries", postgresql_where=sa.text("status = 'dead'"))
    op.drop_index(
        "ix_deliveries_in_flight",
        table_name="deliveries",
        postgresql_where=sa.text("claimed_until IS NOT NULL"),
    )
    op.drop_index(
        "ix_deliveries_due", table_name="deliveries", postgresql_where=sa.text("status = 'pending'")
    )
    op.drop_table("deliveries")
    op.drop_table("attempts")
    op.drop_table("dead_letters")
    op.drop_index(
        "ix_timbrado_inbox_waiting", table_name="timbrado_inbox", postgresql_where=sa.text("taken_at IS NULL")
    )
    op.drop_table("timbrado_inbox")
    op.drop_table("providers")
    op.drop_index(
        "ix_invoices_pdf_due", table_name="invoices", postgresql_where=sa.text("pdf_due_at IS NOT NULL")
    )
    op.drop_index(
        "ix_invoices_reminder", table_name="invoices", postgresql_where=sa.text("reminder_at IS NOT NULL")
    )
    op.drop_index(
        "ix_invoices_mail_due", table_name="invoices", postgresql_where=sa.text("mail_due_at IS NOT NULL")
    )
    op.drop_index(
        "ix_invoices_look_ups",
        table_name="invoices",
        postgresql_where=sa.text("status IN ('in_doubt', 'cancelling') AND claimed_until IS NULL"),
    )
    op.drop_index("ix_invoices_listing", table_name="invoices")
    op.drop_index(
        "ix_invoices_known_stamps",
        table_name="invoices",
        postgresql_where=sa.text("status = 'stamped' AND id_honoured"),
    )
    op.drop_index(
        "ix_invoices_in_flight", table_name="invoices", postgresql_where=sa.text("status = 'stamping'")
    )
    op.drop_index(
        "ix_invoices_on_hold", table_name="invoices", postgresql_where=sa.text("status = 'on_hold'")
    )
    op.drop_index(
        "ix_invoices_due",
        table_name="invoices",
        postgresql_where=sa.text("status IN ('accepted', 'waiting')"),
    )
    op.drop_index(
        "ix_invoices_claims", table_name="invoices", postgresql_where=sa.text("claimed_until IS NOT NULL")
    )
    op.drop_table("invoices")
    op.drop_table("invoice_moves")
    op.drop_index("ix_events_created_at", table_name="events")
    op.drop_table("events")
    op.drop_table("endpoints")
    op.drop_index(
        "ix_connections_probe",
        table_name="connections",
        postgresql_where=sa.text("next_probe_at IS NOT NULL"),
    )
    op.drop_table("connections")
    op.execute("DROP FUNCTION IF EXISTS watch_invoice() CASCADE")
