-- The commit that says that a CFDI exists: the invoice, how its last call ended, its documents and its event, in one
-- statement, and only while the claim is ours. No row comes back where it has passed to another worker.
WITH moved AS (
    UPDATE invoices
    SET status = %(status)s, version = version + 1, claimed_until = NULL, claimed_by = NULL,
        uuid = %(uuid)s, serie = %(serie)s, folio = %(folio)s, fecha_timbrado = %(fecha_timbrado)s,
        stamped_at = %(now)s, updated_at = %(now)s, record_id = %(record_id)s, id_honoured = %(id_honoured)s,
        differences = %(differences)s, errors = %(errors)s, tries = 0, doubt = NULL,
        next_attempt_at = NULL, reminder_at = NULL, pdf_due_at = %(pdf_due_at)s, mail_due_at = %(mail_due_at)s
    WHERE id = %(invoice_id)s AND claim = %(claim)s AND status IN ('stamping', 'in_doubt')
    RETURNING id, account, external_id, version, trace_id
), closed AS (
    UPDATE attempts
    SET outcome = %(outcome)s, finished_at = %(now)s, http_status = %(http_status)s, codigo = %(codigo)s,
        latency_ms = %(latency_ms)s, detail = %(detail)s
    FROM moved
    WHERE attempts.invoice_id = moved.id AND attempts.number = %(number)s AND attempts.outcome IS NULL
    RETURNING attempts.call
), stored AS (
    INSERT INTO documents (invoice_id, kind, key, sha256, bytes, checks, quarantined_reason, stored_at)
    SELECT moved.id, one.kind, one.key, one.sha256, one.bytes, one.checks, one.quarantined_reason, %(now)s
    FROM moved, jsonb_to_recordset(%(documents)s) AS one (
        kind text, key text, sha256 text, bytes bigint, checks jsonb, quarantined_reason text
    )
), emitted AS (
    INSERT INTO events (
        id, subject_kind, subject_id, account, external_id, version, type, data, trace_id, created_at
    )
    SELECT %(event_id)s, 'invoice', moved.id, moved.account, moved.external_id, moved.version, %(event_type)s,
        jsonb_set(%(event_data)s, '{version}', to_jsonb(moved.version)), moved.trace_id, %(now)s
    FROM moved
)
SELECT moved.version, closed.call FROM moved LEFT JOIN closed ON true
