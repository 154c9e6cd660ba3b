"""Where an API key is decrypted: for the client alone, once for all calls of one invoice."""

from typing import Any

import sqlalchemy as sa
import structlog
from cryptography.fernet import InvalidToken

from contadigital.errors import NotSent
from contadigital.records import Credentials
from stamping.tools import Tools

log = structlog.get_logger(__name__)


def credentials_of(connection: sa.Row[Any], tools: Tools, *, id_empresa: int | None = None) -> Credentials:
    """Return the connection as the client needs it; the key is decrypted only when it is asked for."""
    encrypted: str = connection.key_encrypted or ""
    return Credentials(
        account=connection.account,
        base_url=connection.base_url,
        id_empresa=id_empresa or connection.id_empresa,
        decrypt_key=_Key(encrypted, tools),
    )


class _Key:
    """An API key that is decrypted when it is asked for: once for all calls of one invoice, and no longer kept."""

    __slots__ = ("_encrypted", "_key", "_tools")

    def __init__(self, encrypted: str, tools: Tools) -> None:
        self._encrypted, self._tools = encrypted, tools
        self._key: str | None = None

    def __call__(self) -> str:
        if self._key is None:
            self._key = reveal(self._encrypted, self._tools)
        return self._key


def reveal(encrypted: str, tools: Tools) -> str:
    """Return an API key in the clear, for the client alone. Raises NotSent where no key of ours decrypts it.

    That is an operator's mistake (a key taken out of TIMBRADO_ENCRYPTION_KEYS too early), so no user reads that his
    connection is broken: what is open waits, and goes on once the key is back.
    """
    try:
        return tools.fernet.decrypt(encrypted.encode()).decode()
    except InvalidToken:
        log.error("key_not_decrypted", setting="TIMBRADO_ENCRYPTION_KEYS")
        raise NotSent("the stored key can't be decrypted", call="conectar") from None
