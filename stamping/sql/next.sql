-- The commit that claims what goes next: the invoice that a message names, else its account's most urgent one.
-- `why` is claimed, gone (nothing is due), full, closed (paused or throttled), broken, or unsure (whether the provider
-- is well is not known here: claims.py asks). `connection_version` says which connection was locked; `following` is what
-- is due next, where more may be in flight and `p_count` of them are asked for. A function, as in take.sql.
CREATE FUNCTION take_next(
    p_invoice uuid, p_account text, p_now timestamptz, p_until timestamptz, p_worker text, p_most int,
    p_most_untried int, p_well text[], p_count int
) RETURNS TABLE (
    why text, of_account text, connection_version text, of_address text, taken invoices, following uuid[]
) LANGUAGE plpgsql AS $$
DECLARE
    asked text := coalesce(p_account, (SELECT i.account FROM invoices i WHERE i.id = p_invoice));
    c record;
    claimed_now invoices;
    reason text;
    due uuid[];
    free int;
BEGIN
    IF NOT EXISTS (
        SELECT FROM invoices i
        WHERE i.account = asked AND i.status IN ('accepted', 'waiting') AND i.next_attempt_at <= p_now
    ) AND EXISTS (
        SELECT FROM connections k
        WHERE k.account = asked AND k.status = 'active' AND NOT k.paused
            AND (k.throttled_until IS NULL OR k.throttled_until <= p_now)
    ) THEN  -- seen without the lock, which would be a commit that flushes
        RETURN QUERY SELECT 'gone', asked, NULL::text, NULL::text, NULL::invoices, NULL::uuid[];
        RETURN;
    END IF;
    SELECT k.status, k.paused, k.throttled_until, k.concurrency_limit, k.honours_id, k.saves_only, k.base_url,
        k.xmin::text || ' ' || extract(epoch FROM k.updated_at)::text AS version
    INTO c FROM connections k WHERE k.account = asked FOR NO KEY UPDATE;
    IF NOT FOUND OR c.status <> 'active' THEN
        reason := 'broken';
    ELSIF c.paused OR c.throttled_until > p_now THEN
        reason := 'closed';
    ELSE
        free := least(
            coalesce(c.concurrency_limit, p_most),
            CASE WHEN c.honours_id IS NULL AND c.saves_only IS NOT FALSE THEN p_most_untried END
        ) - (SELECT count(*) FROM invoices i WHERE i.account = asked AND i.status = 'stamping');
        IF free <= 0 THEN
            reason := 'full';
        ELSIF NOT c.base_url = ANY (p_well) THEN
            reason := 'unsure';
        END IF;
    END IF;
    IF reason IS NOT NULL THEN
        RETURN QUERY SELECT reason, asked, NULL::text, c.base_url, NULL::invoices, NULL::uuid[];
        RETURN;
    END IF;
    IF p_invoice IS NOT NULL THEN
        UPDATE invoices i
        SET status = 'stamping', claim = i.claim + 1, claimed_until = p_until, claimed_by = p_worker,
            enqueued_at = NULL, updated_at = p_now
        WHERE i.id = p_invoice AND i.account = asked AND i.status IN ('accepted', 'waiting')
            AND i.next_attempt_at <= p_now
        RETURNING * INTO claimed_now;
    END IF;
    IF claimed_now.id IS NULL THEN
        UPDATE invoices i
        SET status = 'stamping', claim = i.claim + 1, claimed_until = p_until, claimed_by = p_worker,
            enqueued_at = NULL, updated_at = p_now
        WHERE i.id = (
            SELECT d.id FROM invoices d
            WHERE d.account = asked AND d.status IN ('accepted', 'waiting') AND d.next_attempt_at <= p_now
            ORDER BY d.next_attempt_at LIMIT 1 FOR UPDATE SKIP LOCKED
        )
        RETURNING * INTO claimed_now;
    END IF;
    IF claimed_now.id IS NULL THEN
        RETURN QUERY SELECT 'gone', asked, NULL::text, NULL::text, NULL::invoices, NULL::uuid[];
        RETURN;
    END IF;
    IF free > 1 AND p_count > 0 THEN
        due := ARRAY(
            SELECT d.id FROM invoices d
            WHERE d.account = asked AND d.status IN ('accepted', 'waiting') AND d.next_attempt_at <= p_now
            ORDER BY d.next_attempt_at LIMIT p_count
        );
    END IF;
    RETURN QUERY SELECT 'claimed', asked, c.version, c.base_url, claimed_now, due;
END $$;
