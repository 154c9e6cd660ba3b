"""What the law wants kept is not deleted before its time, whoever asks."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KEPT = ("invoices", "attempts", "documents", "history")

# Código Fiscal de la Federación, article 30: five years from the day on which the declarations concerned were filed or
# should have been. The last of them is the annual one, on 30 April of the year after. What was never stamped is kept as
# long: of some of it nobody is sure.
KEEP = """
CREATE OR REPLACE FUNCTION keep_five_years() RETURNS trigger LANGUAGE plpgsql AS $$
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


def upgrade() -> None:
    # each in a transaction of its own: holding one table while waiting for the next, it could meet a worker halfway
    with op.get_context().autocommit_block():
        op.execute(KEEP)
        for table in KEPT:
            changes = "UPDATE OR DELETE" if table == "history" else "DELETE"
            op.execute(
                f"CREATE OR REPLACE TRIGGER keep_five_years BEFORE {changes} ON {table} "
                "FOR EACH ROW EXECUTE FUNCTION keep_five_years()"
            )
            op.execute(
                f"CREATE OR REPLACE TRIGGER keep_all BEFORE TRUNCATE ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION keep_five_years()"
            )


def downgrade() -> None:
    for table in KEPT:
        op.execute(f"DROP TRIGGER keep_five_years ON {table}")
        op.execute(f"DROP TRIGGER keep_all ON {table}")
    op.execute("DROP FUNCTION keep_five_years()")
