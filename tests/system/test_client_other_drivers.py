"""The client in other company: Django, psycopg 2, pg8000, SQLAlchemy 1.4, and the oldest versions of what it needs.

Off unless TEST_DRIVERS=1, since it has pip fetch them into an environment of their own:

    TEST_DRIVERS=1 ./dev test tests/system/test_client_other_drivers.py
"""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from packaging.requirements import Requirement
from timbrado_client import inbox

from models.tables import inbox as table
from tests.support.builders import an_invoice
from tests.support.doc_examples import examples

OLDEST = ("kombu[redis]==5.3.4", "pydantic==2.10.0", "cryptography==42.0.0")  # client/python/pyproject.toml
COMPANY = (
    "Django~=5.2.0",
    "celery==5.4.0",
    "httpx==0.27.0",
    "psycopg2-binary",
    "pg8000",
    "SQLAlchemy[asyncio]~=1.4.0",
    "asyncpg",
    "pytest",
    "pytest-timeout",
)
CLIENT = Path(__file__).resolve().parents[2] / "client" / "python"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.environ.get("TEST_DRIVERS") != "1", reason="TEST_DRIVERS=1 has pip fetch them"),
]

WAYS = {
    "psycopg2": """
        import psycopg2
        db = psycopg2.connect(dsn)
        db.cursor().execute("INSERT INTO orders VALUES ('OP-1')")
        submit_in(db, invoice)
        finish(db)
        """,
    "psycopg2 cursor": """
        import psycopg2
        db = psycopg2.connect(dsn)
        with db.cursor() as cursor:
            cursor.execute("INSERT INTO orders VALUES ('OP-1')")
            submit_in(cursor, invoice)
        finish(db)
        """,
    "pg8000": """
        import pg8000.dbapi
        db = pg8000.dbapi.connect(user, unix_sock=home + "/.s.PGSQL.5432", database=name, password=password)
        db.cursor().execute("INSERT INTO orders VALUES ('OP-1')")
        submit_in(db, invoice)
        finish(db)
        """,
    "SQLAlchemy 1.4 session": """
        import sqlalchemy as sa
        from sqlalchemy.orm import Session
        assert sa.__version__.startswith("1.4.")
        db = Session(sa.create_engine("postgresql+psycopg2://", creator=lambda: __import__("psycopg2").connect(dsn)))
        db.execute(sa.text("INSERT INTO orders VALUES ('OP-1')"))
        submit_in(db, invoice)
        finish(db)
        """,
    "SQLAlchemy 1.4 connection": """
        import sqlalchemy as sa
        db = sa.create_engine("postgresql+psycopg2://", creator=lambda: __import__("psycopg2").connect(dsn)).connect()
        transaction = db.begin()
        db.execute(sa.text("INSERT INTO orders VALUES ('OP-1')"))
        submit_in(db, invoice)
        finish(transaction)
        """,
    "SQLAlchemy 1.4 asynchronous": """
        import asyncio, os
        from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
        from sqlalchemy import text
        async def main():
            engine = create_async_engine(f"postgresql+asyncpg://{user}:{password}@/{name}?host={home}")
            async with AsyncSession(engine) as db:
                await db.execute(text("INSERT INTO orders VALUES ('OP-1')"))
                try:
                    submit_in(db, invoice)
                except TypeError as error:
                    assert "run_sync" in str(error)
                else:
                    raise AssertionError("an awaitable was left lying")
                await db.run_sync(submit_in, invoice)
                await (db.commit() if commits else db.rollback())
            await engine.dispose()
        asyncio.run(main())
        """,
    "Django": """
        import django
        from django.conf import settings
        settings.configure(DATABASES={"default": {
            "ENGINE": "django.db.backends.postgresql", "NAME": name, "USER": user, "PASSWORD": password, "HOST": home}})
        django.setup()
        from django.db import connection, transaction
        class Order:
            def save(self):
                with connection.cursor() as cursor:
                    cursor.execute("INSERT INTO orders VALUES ('OP-1')")
        order = Order()
        class Undone(Exception): pass
        try:
            with transaction.atomic():
                exec(guide)
                if not commits:
                    raise Undone
        except Undone:
            pass
        """,
}


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("company")
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, timeout=60)
    asked = subprocess.run(
        [
            str(home / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "-qq",
            "--only-binary",
            ":all:",
            *OLDEST,
            *COMPANY,
        ],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if asked.returncode != 0:
        pytest.skip(f"pip could not install: {asked.stderr.strip().splitlines()[-1:]}")
    return home / "bin" / "python"


@pytest.fixture
def theirs(database_url: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine(database_url)
    with engine.begin() as db:
        db.exec_driver_sql("DROP TABLE timbrado_inbox; CREATE TABLE orders (name text)")
        db.exec_driver_sql(inbox.DDL)
    yield engine
    engine.dispose()


@pytest.fixture
def run(python: Path, theirs: sa.Engine, tmp_path: Path) -> Callable[[str, bool], None]:
    url = theirs.url
    facts: dict[str, Any] = {
        "user": url.username,
        "password": url.password,
        "name": url.database,
        "home": url.query["host"],
        "invoice": an_invoice(),
        "guide": examples("connect-apunto.md")["django"],
    }

    def run(way: str, commits: bool) -> None:
        lines = [line.removeprefix("        ") for line in WAYS[way].splitlines()]
        script = (
            "import json, sys\n"
            "from timbrado_client import submit_in\n"
            f"globals().update(json.loads({json.dumps(facts)!r}), commits={commits})\n"
            "dsn = f'host={home} dbname={name} user={user} password={password}'\n"
            "def finish(db):\n    db.commit() if commits else db.rollback()\n" + "\n".join(lines)
        )
        path = tmp_path / "script.py"
        path.write_text(script)
        env = {"PYTHONPATH": str(CLIENT / "src"), "PATH": os.environ["PATH"]}
        ended = subprocess.run(
            [str(python), "-W", "ignore", str(path)],
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr

    return run


@pytest.mark.parametrize("way", WAYS)
def test_every_driver_writes_in_its_caller_s_transaction(way: str, run: Any, theirs: sa.Engine) -> None:
    """Rolled back: neither order nor invoice. Committed: both."""

    def seen() -> tuple[int, list[Any]]:
        with theirs.begin() as db:
            orders = db.exec_driver_sql("SELECT count(*) FROM orders").scalar_one()
            return orders, list(db.execute(sa.select(table.c.kind, table.c.payload)).all())

    run(way, False)
    assert seen() == (0, [])
    run(way, True)
    assert seen() == (1, [("submit", an_invoice())])


def test_the_guide_s_django_migration_makes_the_table(
    python: Path, theirs: sa.Engine, tmp_path: Path
) -> None:
    """As it is printed, in an application's migrations."""
    url = theirs.url
    package = tmp_path / "shop" / "migrations"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").write_text("")
    (package / "0001_inbox.py").write_text(examples("connect-apunto.md")["django-migration"])
    with theirs.begin() as db:
        db.exec_driver_sql("DROP TABLE timbrado_inbox")
    script = (
        "import django\nfrom django.conf import settings\nfrom django.core.management import call_command\n"
        f"settings.configure(INSTALLED_APPS=['shop'], DATABASES={{'default': {{'ENGINE': "
        f"'django.db.backends.postgresql', 'NAME': {url.database!r}, 'USER': {url.username!r}, "
        f"'PASSWORD': {url.password!r}, 'HOST': {url.query['host']!r}}}}})\n"
        "django.setup()\ncall_command('migrate', 'shop')\n"
    )
    (tmp_path / "manage.py").write_text(script)
    env = {"PYTHONPATH": f"{CLIENT / 'src'}:{tmp_path}", "PATH": os.environ["PATH"]}

    subprocess.run(
        [str(python), str(tmp_path / "manage.py")], env=env, check=True, timeout=60, capture_output=True
    )

    with theirs.begin() as db:
        assert {column["name"] for column in sa.inspect(db).get_columns("timbrado_inbox")} == set(
            table.c.keys()
        )


def test_the_oldest_are_what_the_client_allows() -> None:
    """So that the versions tried below are the bounds that are declared."""
    declared = tomllib.loads((CLIENT / "pyproject.toml").read_text())["project"]["dependencies"]

    for each in OLDEST:
        name, _, version = each.partition("==")
        (bounds,) = (line for line in declared if line.startswith(name))
        assert Requirement(bounds).specifier.contains(version)
        assert not Requirement(bounds).specifier.contains(f"{int(version.split('.')[0]) - 1}.999")


def test_the_client_s_own_tests_pass_with_the_oldest_it_allows(python: Path, tmp_path: Path) -> None:
    """kombu, pydantic and cryptography at the lower bounds of its pyproject.toml."""
    env = {"PYTHONPATH": str(CLIENT / "src"), "PATH": os.environ["PATH"]}

    ended = subprocess.run(
        [*f"{python} -m pytest -q --import-mode=importlib -p no:cacheprovider tests".split()],
        cwd=CLIENT,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout[-3000:]
