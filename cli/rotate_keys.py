"""`timbrado rotate-keys`: encrypts every stored API key with the newest key, while everything runs.

The order that makes it safe: put the new key first in TIMBRADO_ENCRYPTION_KEYS with the old one behind it, restart
workers and Apunto's side, run this, and only then take the old key out.
"""

from typing import Any

import sqlalchemy as sa
from cryptography.fernet import Fernet, InvalidToken

from cli import format, session
from cli.console import AsJson, Problem, out, print_json
from models.tables import connections
from stamping.tools import Tools
from worker import resources


def rotate_keys(as_json: AsJson = False) -> None:
    """Encrypt the API keys of all connections with the first key of TIMBRADO_ENCRYPTION_KEYS.

    Safe while everything runs, and safe to run twice. Exit code 1 if one could not be decrypted with any key.
    """
    first = resources.settings().encryption_keys[0].get_secret_value()
    with session.tools() as tools:
        result = rotate(tools, first)
    if as_json:
        print_json(result)
    else:
        out().print(
            f"{format.count(result['rotated'], 'key')} encrypted anew, {result['fresh']} were already; "
            f"{result['changed_meanwhile']} changed meanwhile."
        )
    if result["lost"]:
        names = ", ".join(result["lost"])
        raise Problem(
            f"no key of TIMBRADO_ENCRYPTION_KEYS decrypts that of {names}: put the old key back, or connect again"
        )


def rotate(tools: Tools, first: str) -> dict[str, Any]:
    """Encrypt anew what the key `first` did not encrypt, each by a guarded UPDATE: a key that just came in stays."""
    newest = Fernet(first)
    result: dict[str, Any] = {"rotated": 0, "fresh": 0, "changed_meanwhile": 0, "lost": []}
    with tools.engine.connect() as db:
        rows = list(
            db.execute(
                sa.select(connections.c.id, connections.c.account, connections.c.key_encrypted)
                .where(connections.c.key_encrypted.is_not(None))
                .order_by(connections.c.account)
            )
        )
    for row in rows:
        token = row.key_encrypted.encode()
        try:
            newest.decrypt(token)
        except InvalidToken:
            pass
        else:
            result["fresh"] += 1
            continue
        try:
            anew = tools.fernet.rotate(token).decode()
        except InvalidToken:
            result["lost"].append(row.account)
            continue
        with tools.engine.begin() as db:
            written = db.execute(
                sa.update(connections)
                .where(connections.c.id == row.id, connections.c.key_encrypted == row.key_encrypted)
                .values(key_encrypted=anew, updated_at=tools.clock.now())
            ).rowcount
        result["rotated" if written else "changed_meanwhile"] += 1
    return result
