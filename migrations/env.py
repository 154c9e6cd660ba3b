"""How Alembic reaches the database: one at a time, never waiting long for a lock that workers need."""

import time

import sqlalchemy as sa
from alembic import context

from models.tables import metadata

ONE_AT_A_TIME = 7_461_530_021  # an advisory lock's number, ours alone


def wait_for_turn(connection: sa.Connection) -> None:
    """Take the lock, asking again and again rather than waiting for it inside a statement.

    CREATE INDEX CONCURRENTLY waits for every statement that began before it: for one that waits for the lock, too, and
    that one would wait for the index.
    """
    asked = sa.text("SELECT pg_try_advisory_lock(:number)").bindparams(number=ONE_AT_A_TIME)
    while not connection.execute(asked).scalar_one():
        connection.commit()
        time.sleep(0.2)
    connection.commit()


engine = sa.create_engine(context.config.attributes["database_url"], poolclass=sa.NullPool)
with engine.connect() as connection:
    wait_for_turn(connection)
    connection.execute(sa.text("SET lock_timeout = '5s'"))
    connection.commit()
    context.configure(connection=connection, target_metadata=metadata, compare_server_default=True)
    with context.begin_transaction():
        context.run_migrations()
    connection.execute(sa.text("SELECT pg_advisory_unlock(:number)"), {"number": ONE_AT_A_TIME})
    connection.commit()
engine.dispose()
