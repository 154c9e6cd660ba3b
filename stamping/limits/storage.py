"""No stamp without a place for its XML: while the document store refuses, nothing new is sent and nothing looked up."""

import structlog

from stamping import heartbeat
from stamping.tools import Tools

log = structlog.get_logger(__name__)


def takes_documents(tools: Tools) -> bool:
    """Whether what would be stamped now could be stored; where not, an operator can learn it from the database.

    Each process goes by its own store, as it may be a disk of its host: another host's goes on.
    """
    before = tools.store.fault
    if tools.store.takes():
        if before is not None:
            log.info("storage_takes_again")
        return True
    log.warning("storage_refuses", why=tools.store.fault)
    heartbeat.leave_word(tools, heartbeat.STORE, why=tools.store.fault)
    return False
