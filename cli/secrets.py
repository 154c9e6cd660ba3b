"""`timbrado secrets`: the files that docker-compose.yml mounts, each made once.

The files are readable by all and their folder is closed. Compose mounts a
file with the owner and mode it has on the host, and the containers run as another user; the folder is what keeps other
users of the host out.
"""

import base64
import secrets as chance
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from cryptography.fernet import Fernet

from cli.console import err


def secrets(
    folder: Annotated[Path, typer.Argument(help="Where to put them; made if need be.")] = Path("secrets"),
) -> None:
    """Make the secrets of docker-compose.yml that are not there yet. None that is there is changed or shown."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    redis_password = _once(folder / "redis_password", _password)
    apunto_password = _once(folder / "apunto_password", _password)
    postgres_password = _once(folder / "postgres_password", _password)
    _once(folder / "broker_url", lambda: f"redis://:{redis_password}@redis:6379/0")
    _once(
        folder / "apunto_broker_url", lambda: f"redis://apunto:{apunto_password}@redis:6379/0"
    )  # for Apunto alone
    database = f"postgresql+psycopg://timbrado:{postgres_password}@postgres:5432/timbrado"
    _once(folder / "database_url", lambda: database)
    _once(folder / "encryption_keys", lambda: Fernet.generate_key().decode())
    _once(folder / "flower_basic_auth", lambda: f"timbrado:{_password()}")
    _once(folder / "webhook_secret", lambda: f"whsec_{base64.b64encode(chance.token_bytes(32)).decode()}")
    _once(folder / "aws_secret_access_key", lambda: "")  # yours to fill in, for s3:// without a role
    err().print(
        f"{folder} holds every secret of docker-compose.yml. Keep a copy of encryption_keys elsewhere:"
    )
    err().print("without it every stored API key is lost.")


def _password() -> str:
    return chance.token_urlsafe(24)


def _once(path: Path, make: Callable[[], str]) -> str:
    if not path.exists():
        path.write_text(f"{make()}\n", encoding="utf-8")
        path.chmod(0o444)
        err().print(f"made {path.name}")
    return path.read_text(encoding="utf-8").strip()
