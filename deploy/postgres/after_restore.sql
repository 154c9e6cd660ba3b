-- Run once, as the owner of the tables, with workers and beat stopped, after a restore from a backup that is older than the
-- last stamp (docs/operations.md). What stood open then may be stamped by now, and must not be sent on its own:
-- everything that could be sent goes before a person, from where `timbrado retry` looks it up and sends nothing.
BEGIN;

UPDATE invoices
SET status = 'failed',
    reason = 'needs_person',
    errors = '[{"code": "timbrado.requiere_revision", "field": "", "source": "timbrado",
                "message": "La base de datos se restauró de un respaldo y no se sabe si esta factura ya se timbró.",
                "fix": "Busca la factura en ContaDigital antes de emitirla de nuevo, o contacta a soporte."}]',
    claim = claim + 1,
    claimed_until = NULL,
    claimed_by = NULL,
    next_attempt_at = NULL,
    reminder_at = NULL,
    enqueued_at = NULL,
    updated_at = now()
WHERE status IN ('accepted', 'waiting', 'on_hold', 'stamping');

-- What Apunto was told since the backup had higher versions than these rows: it would take what comes now for old.
UPDATE invoices SET version = version + 1000;
UPDATE connections SET version = version + 1000;

-- What was on its way then has arrived or is told anew.
UPDATE deliveries SET status = 'dead', next_attempt_at = NULL, claimed_until = NULL, last_error = 'restored from a backup'
WHERE status = 'pending';

-- Submissions that were taken in since would be taken in again, and sent.
UPDATE timbrado_inbox SET taken_at = now() WHERE taken_at IS NULL;

-- Tokens and remembered ids are learnt again.
UPDATE connections SET catalogs_at = to_timestamp(0) WHERE catalogs_at IS NOT NULL;
DELETE FROM provider_refs;

COMMIT;

SELECT account, external_id, record_id AS "Id at ContaDigital",
       CASE WHEN record_id IS NULL THEN 'look for its FolioOriginal at ContaDigital' ELSE 'timbrado retry' END AS "what to do"
FROM invoices
WHERE status = 'failed' AND reason = 'needs_person'
ORDER BY account, external_id;
