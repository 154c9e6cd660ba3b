"""What the database itself sees to: only known moves are made, and each leaves an entry in the hash chain.

The chain is one per invoice: each entry's hash covers the entry before it, so that a changed or removed line of
history shows in `timbrado verify`. `chain_input` in `models/chain.py` says the same in Python.
"""

from alembic import op

from models.transitions import TRANSITIONS

WATCH = """
CREATE FUNCTION watch_invoice() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    came_from text := CASE WHEN TG_OP = 'INSERT' THEN NULL ELSE OLD.status END;
    previous_hash bytea;
    noted_at timestamptz := clock_timestamp();
BEGIN
    IF came_from <> NEW.status AND NOT EXISTS (
        SELECT 1 FROM invoice_moves WHERE from_status = came_from AND to_status = NEW.status
    ) THEN
        RAISE EXCEPTION 'an invoice may not go from % to %', came_from, NEW.status USING ERRCODE = 'check_violation';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.uuid IS NOT NULL AND NEW.uuid IS DISTINCT FROM OLD.uuid THEN
        RAISE EXCEPTION 'the folio fiscal of an invoice never changes' USING ERRCODE = 'check_violation';
    END IF;
    IF TG_OP = 'INSERT' AND NEW.status = 'stamping' THEN  -- taken in and claimed in one commit: two moves
        previous_hash := sha256(convert_to(concat_ws('|',
            NEW.id::text, to_char(noted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), '-', 'accepted', '-', '-',
            '0', NEW.content_hash
        ), 'UTF8'));
        INSERT INTO history (invoice_id, at, from_status, to_status, claim, content_hash, hash)
        VALUES (NEW.id, noted_at, NULL, 'accepted', 0, NEW.content_hash, previous_hash);
        came_from := 'accepted';
    ELSIF came_from IS NOT NULL THEN
        SELECT hash INTO previous_hash FROM history WHERE invoice_id = NEW.id ORDER BY id DESC LIMIT 1;
    END IF;
    INSERT INTO history (invoice_id, at, from_status, to_status, reason, uuid, claim, content_hash, previous, hash)
    VALUES (
        NEW.id, noted_at, came_from, NEW.status, NEW.reason, NEW.uuid, NEW.claim, NEW.content_hash, previous_hash,
        sha256(coalesce(previous_hash, ''::bytea) || convert_to(concat_ws('|',
            NEW.id::text, to_char(noted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), coalesce(came_from, '-'),
            NEW.status, coalesce(NEW.reason, '-'), coalesce(NEW.uuid, '-'), NEW.claim::text, NEW.content_hash
        ), 'UTF8'))
    );
    RETURN NEW;
END $$;
"""


def watch_moves() -> None:
    """Write the allowed moves into their table and set the trigger that holds invoices to them."""
    rows = sorted((source, target) for source, targets in TRANSITIONS.items() for target in targets)
    values = ", ".join(f"('{source}', '{target}')" for source, target in rows)
    op.execute(f"INSERT INTO invoice_moves (from_status, to_status) VALUES {values} ON CONFLICT DO NOTHING")  # noqa: S608  # our own table of constants
    op.execute(WATCH)
    op.execute(
        "CREATE TRIGGER watch_new AFTER INSERT ON invoices FOR EACH ROW EXECUTE FUNCTION watch_invoice()"
    )
    op.execute(  # not called for what changes nothing that an entry says: the commit before each call
        "CREATE TRIGGER watch_changed AFTER UPDATE ON invoices FOR EACH ROW "
        "WHEN (OLD.status <> NEW.status OR OLD.content_hash <> NEW.content_hash "
        "OR OLD.uuid IS DISTINCT FROM NEW.uuid OR OLD.reason IS DISTINCT FROM NEW.reason) "
        "EXECUTE FUNCTION watch_invoice()"
    )


ROUTE = """
CREATE FUNCTION route_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO deliveries (event_id, channel, subject_id, version, status, next_attempt_at, created_at)
    SELECT written.id, channel, written.subject_id, written.version, 'pending', written.created_at, written.created_at
    FROM installation, jsonb_array_elements_text(installation.value) AS channel, written
    WHERE installation.name = 'channels';
    RETURN NULL;
END $$;
"""


def route_events() -> None:
    """Give each event its deliveries, over the installation's channels, whoever writes it."""
    op.execute(ROUTE)
    op.execute(
        "CREATE TRIGGER route_events AFTER INSERT ON events REFERENCING NEW TABLE AS written "
        "FOR EACH STATEMENT EXECUTE FUNCTION route_events()"
    )


RETAINED = ("invoices", "attempts", "documents", "history")

# Código Fiscal de la Federación, article 30: five years from the day on which the declarations concerned were filed or
# should have been. The last of them is the annual one, on 30 April of the year after. What was never stamped is kept as
# long: of some of it nobody is sure.
KEEP = """
CREATE FUNCTION keep_five_years() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    made timestamptz;
    free date;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        RAISE EXCEPTION '% is kept for five years', TG_TABLE_NAME USING ERRCODE = 'check_violation';
    ELSIF TG_OP = 'UPDATE' THEN
        RAISE EXCEPTION 'a line of history never changes' USING ERRCODE = 'check_violation';
    ELSIF TG_TABLE_NAME = 'invoices' THEN
        made := coalesce(OLD.stamped_at, OLD.created_at);
    ELSE
        SELECT coalesce(stamped_at, created_at) INTO made FROM invoices WHERE id = OLD.invoice_id;
    END IF;
    free := date_trunc('year', made AT TIME ZONE 'UTC') + interval '6 years 4 months';
    IF now() < free THEN
        RAISE EXCEPTION 'it is kept by law, and may be deleted from % on', free USING ERRCODE = 'check_violation';
    END IF;
    RETURN OLD;
END $$
"""


def keep_five_years() -> None:
    """Set the triggers that refuse to delete what the law wants kept, by anyone, before its time."""
    op.execute(KEEP)
    for table in RETAINED:
        changes = "UPDATE OR DELETE" if table == "history" else "DELETE"
        op.execute(
            f"CREATE TRIGGER keep_five_years BEFORE {changes} ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION keep_five_years()"
        )
        op.execute(
            f"CREATE TRIGGER keep_all BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION keep_five_years()"
        )
