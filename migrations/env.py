"""How Alembic reaches the database: one at a time, never waiting long for a lock that workers need."""

import sqlalchemy as sa
from alembic import context

from models.tables import metadata

ONE_AT_A_TIME = 7_461_530_021  # an advisory lock's number, ours alone

engine = sa.create_engine(context.config.attributes["database_url"], poolclass=sa.NullPool)
with engine.connect() as connection:
    connection.execute(sa.text("SELECT pg_advisory_lock(:number)"), {"number": ONE_AT_A_TIME})
    connection.execute(sa.text("SET lock_timeout = '5s'"))
    connection.commit()
    context.configure(connection=connection, target_metadata=metadata, compare_server_default=True)
    with context.begin_transaction():
        context.run_migrations()
    connection.execute(sa.text("SELECT pg_advisory_unlock(:number)"), {"number": ONE_AT_A_TIME})
    connection.commit()
engine.dispose()
