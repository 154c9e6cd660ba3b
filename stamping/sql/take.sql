-- The commit that takes an invoice in: the invoice, the message it came in, `invoice.accepted`; where a place of its
-- account is free, the claim on it; and where all that its save needs was in memory, the intent of that save.
-- Nothing is written where the connection is not that of `p_version` (stale), or the invoice is known.
-- A function, so that each step sees what was committed before the account's row was locked: its limit is exact.
CREATE FUNCTION take_in(
    p_id uuid, p_account text, p_external_id text, p_content jsonb, p_content_hash text, p_warnings jsonb,
    p_trace_id text, p_sent_at timestamptz, p_fecha timestamp, p_expires_at timestamptz, p_reminder_at timestamptz,
    p_now timestamptz, p_message_id text, p_task text, p_event_id uuid, p_event_data jsonb, p_version text,
    p_count int, p_claims bool, p_until timestamptz, p_worker text, p_most int, p_most_untried int,
    p_begins bool, p_dialect int, p_relied jsonb,
    p_sent_fecha timestamp, p_sent_expires_at timestamptz, p_sent_reminder_at timestamptz
) RETURNS TABLE (outcome text, waiting int) LANGUAGE plpgsql AS $$
DECLARE
    c record;
    claims bool := p_claims;
    begins bool := p_begins;
BEGIN
    IF claims THEN  -- what waits goes first, by the table; seen without the lock, for which others would wait
        claims := NOT EXISTS (
            SELECT FROM invoices i WHERE i.account = p_account AND i.status IN ('accepted', 'waiting')
        );
    END IF;
    IF claims THEN
        SELECT k.id, k.status, k.paused, k.throttled_until, k.concurrency_limit, k.honours_id, k.saves_only,
            k.base_url, k.xmin::text || ' ' || extract(epoch FROM k.updated_at)::text AS version
        INTO c FROM connections k WHERE k.account = p_account FOR NO KEY UPDATE;
    ELSE
        SELECT k.status, k.base_url, k.xmin::text || ' ' || extract(epoch FROM k.updated_at)::text AS version
        INTO c FROM connections k WHERE k.account = p_account;
    END IF;
    IF NOT FOUND OR c.version <> p_version OR c.status <> 'active' THEN
        RETURN QUERY SELECT 'stale', 0;
        RETURN;
    END IF;
    IF claims THEN  -- a message that was seen before claims nothing
        claims := NOT c.paused AND (c.throttled_until IS NULL OR c.throttled_until <= p_now)
            AND NOT EXISTS (SELECT FROM seen_messages s WHERE s.message_id = p_message_id)
            AND (SELECT count(*) FROM invoices i WHERE i.account = p_account AND i.status = 'stamping') < least(
                coalesce(c.concurrency_limit, p_most),
                CASE WHEN c.honours_id IS NULL AND c.saves_only IS NOT FALSE THEN p_most_untried END
            );
    END IF;
    begins := claims AND begins;
    IF begins THEN  -- the ids that the save names, as they are now: to change one takes this account's row
        begins := jsonb_array_length(p_relied) = (
            SELECT count(*)
            FROM jsonb_to_recordset(p_relied) AS w (kind text, key text, id bigint, fingerprint text)
            JOIN provider_refs r ON r.connection_id = c.id AND r.kind = w.kind AND r.key = w.key
                AND r.provider_id = w.id AND r.fingerprint = w.fingerprint
                AND (r.claimed_until IS NULL OR r.claimed_until <= p_now)
        );
    END IF;
    INSERT INTO invoices (
        id, account, external_id, status, version, content, content_hash, warnings, trace_id, sent_at, fecha,
        expires_at, reminder_at, next_attempt_at, claim, claimed_until, claimed_by, calls, record_base_url, created_at,
        updated_at
    ) VALUES (
        p_id, p_account, p_external_id, CASE WHEN claims THEN 'stamping' ELSE 'accepted' END, 1, p_content,
        p_content_hash, p_warnings, p_trace_id, p_sent_at, CASE WHEN begins THEN p_sent_fecha ELSE p_fecha END,
        CASE WHEN begins THEN p_sent_expires_at ELSE p_expires_at END,
        CASE WHEN begins THEN p_sent_reminder_at ELSE p_reminder_at END,
        CASE WHEN NOT claims THEN p_now END, claims::int, CASE WHEN claims THEN p_until END,
        CASE WHEN claims THEN p_worker END, begins::int,
        CASE WHEN begins THEN c.base_url END, p_now, p_now
    ) ON CONFLICT (account, external_id) DO NOTHING;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'known', 0;
        RETURN;
    END IF;
    IF p_message_id IS NOT NULL THEN
        INSERT INTO seen_messages (message_id, task, account, sent_at, received_at)
        VALUES (p_message_id, p_task, p_account, p_sent_at, p_now) ON CONFLICT (message_id) DO NOTHING;
    END IF;
    INSERT INTO events (
        id, subject_kind, subject_id, account, external_id, version, type, data, trace_id, created_at
    ) VALUES (
        p_event_id, 'invoice', p_id, p_account, p_external_id, 1, 'invoice.accepted', p_event_data, p_trace_id, p_now
    );
    IF begins THEN
        INSERT INTO attempts (invoice_id, number, call, claim, worker, dialect_version, started_at)
        VALUES (p_id, 1, 'save', 1, p_worker, p_dialect, p_now);
        RETURN QUERY SELECT 'begun', 0;
    ELSIF claims THEN
        RETURN QUERY SELECT 'claimed', 0;
    ELSE
        RETURN QUERY SELECT 'accepted', (
            SELECT count(*) FROM (
                SELECT FROM invoices i
                WHERE i.account = p_account AND i.status IN ('accepted', 'waiting') AND i.next_attempt_at <= p_now
                LIMIT p_count
            ) AS due
        )::int;
    END IF;
END $$;
