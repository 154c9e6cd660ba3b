"""The first tables, their triggers, and the retention that the law wants.

Nothing is deployed: until the first release it is made from models/tables.py, and is written out with that release.
"""

from alembic import op

from migrations.watch import keep_five_years, route_events, watch_moves
from models.tables import metadata
from stamping import sql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    metadata.create_all(op.get_bind())
    watch_moves()
    route_events()
    keep_five_years()
    for step in sql.FUNCTIONS:
        op.get_bind().exec_driver_sql(sql.text(step))


def downgrade() -> None:
    op.execute("DROP FUNCTION IF EXISTS take_in, take_next")
    metadata.drop_all(op.get_bind())
    op.execute("DROP FUNCTION IF EXISTS watch_invoice() CASCADE")
    op.execute("DROP FUNCTION IF EXISTS route_events() CASCADE")
    op.execute("DROP FUNCTION IF EXISTS keep_five_years() CASCADE")
