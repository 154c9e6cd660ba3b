"""The statements of `dispatch`: one claims a batch, one settles it.

Statuses are spelled out, since a prepared plan with a parameter in their place could not use the partial indexes.
"""

import sqlalchemy as sa

from models.tables import one_of
from models.vocabulary import Channel

# Losing one of these commits sends an event a second time, which receivers must bear anyway: no flush is waited for.
_WITHOUT_FLUSH = "set_config('synchronous_commit', 'off', true)"
WITHOUT_FLUSH = sa.text(f"SELECT {_WITHOUT_FLUSH}")
QUEUE_UP = sa.text(
    f"SELECT pg_advisory_xact_lock(hashtext('timbrado.deliveries.' || :channel)), {_WITHOUT_FLUSH}"
)

IN_FLIGHT = sa.text(
    "SELECT EXISTS (SELECT FROM deliveries "
    "WHERE channel = :channel AND claimed_until IS NOT NULL AND claimed_until > :at)"
)

# One candidate: due, in nobody's hands, not behind an older one of its subject. So a batch never holds two of one
# subject: of two that are due, the older is in the way of the newer.
_CANDIDATES = """
    SELECT d.event_id, d.next_attempt_at FROM deliveries d
    WHERE d.channel = :channel AND d.status = 'pending' AND d.next_attempt_at {range}
      AND (d.claimed_until IS NULL OR d.claimed_until <= :at)
      AND NOT EXISTS (
        SELECT FROM deliveries other
        WHERE other.channel = d.channel AND other.subject_id = d.subject_id AND other.event_id <> d.event_id
          AND other.status = 'pending'
          AND (other.claimed_until > :at
               OR (other.version < d.version AND (other.tries = 0 OR other.next_attempt_at <= :at))))
    ORDER BY d.next_attempt_at LIMIT :room FOR UPDATE SKIP LOCKED"""

CLAIM = sa.text(
    f"""
WITH fresh AS ({_CANDIDATES.format(range="> :fresh_from AND d.next_attempt_at <= :at")}),
backlog AS ({_CANDIDATES.format(range="<= :fresh_from")}),
chosen AS (
    SELECT event_id, place, kind FROM (
        SELECT event_id, 0 AS kind, row_number() OVER (ORDER BY next_attempt_at, event_id) AS place FROM fresh
        UNION ALL
        SELECT event_id, 1, row_number() OVER (ORDER BY next_attempt_at, event_id) FROM backlog) each
    ORDER BY place, kind LIMIT :room)
UPDATE deliveries d
SET claim = d.claim + 1, tries = d.tries + 1, tried_at = :at, claimed_until = :until
FROM chosen, events e
WHERE d.channel = :channel AND d.event_id = chosen.event_id AND e.id = chosen.event_id
RETURNING chosen.place, chosen.kind, d.event_id, d.subject_id, d.version, d.claim, d.tries, d.created_at AS due_from,
          e.type, e.created_at, e.data, e.trace_id"""  # noqa: S608  # made of the constants above
).bindparams(
    sa.bindparam("at", type_=sa.DateTime(timezone=True)),
    sa.bindparam("fresh_from", type_=sa.DateTime(timezone=True)),
    sa.bindparam("until", type_=sa.DateTime(timezone=True)),
)

SETTLE = sa.text(
    """
UPDATE deliveries d
SET status = s.status, delivered_at = s.delivered_at, claimed_until = NULL,
    next_attempt_at = CASE WHEN s.sent THEN s.next_at ELSE d.next_attempt_at END,
    tries = d.tries - CASE WHEN s.sent THEN 0 ELSE 1 END,
    last_error = CASE WHEN s.sent THEN s.error ELSE d.last_error END,
    last_status = CASE WHEN s.sent THEN s.http_status ELSE d.last_status END,
    latency_ms = CASE WHEN s.sent THEN s.latency_ms ELSE d.latency_ms END
FROM jsonb_to_recordset(CAST(:settled AS jsonb)) AS s(
    id uuid, fence integer, status text, next_at timestamptz, delivered_at timestamptz, sent boolean,
    error text, http_status smallint, latency_ms integer)
WHERE d.event_id = s.id AND d.channel = :channel AND d.claim = s.fence AND d.claimed_until IS NOT NULL
RETURNING d.event_id"""
)

HASTEN = sa.text(
    """
UPDATE deliveries d SET next_attempt_at = soon.at
FROM (SELECT event_id,
             GREATEST(
                 LEAST(created_at, :at),
                 LEAST(tried_at, :at) + CASE WHEN tries <= :quick_tries THEN :quick ELSE :slow END
             ) AS at
      FROM deliveries
      WHERE channel = :channel AND status = 'pending' AND next_attempt_at > :at AND tries > 0
        AND claimed_until IS NULL
      FOR UPDATE SKIP LOCKED) soon  -- whoever holds one settles it; waiting for it could deadlock
WHERE d.channel = :channel AND d.event_id = soon.event_id AND d.next_attempt_at > soon.at"""
).bindparams(
    sa.bindparam("at", type_=sa.DateTime(timezone=True)),
    sa.bindparam("quick", type_=sa.Interval),
    sa.bindparam("slow", type_=sa.Interval),
)

CLAIMED_AHEAD = sa.text(
    f"UPDATE deliveries SET claimed_until = NULL, next_attempt_at = :at WHERE {one_of('channel', Channel)}"  # noqa: S608  # a constant
    " AND claimed_until IS NOT NULL AND claimed_until > :far AND status = 'pending'"
)
# a first try is due at once; few wait for a later one, since a receiver that fails is asked with one at a time
DUE_AHEAD = sa.text(
    f"UPDATE deliveries SET next_attempt_at = :at, created_at = :at WHERE {one_of('channel', Channel)}"  # noqa: S608  # a constant
    " AND status = 'pending' AND next_attempt_at > :far AND tries = 0"
)
