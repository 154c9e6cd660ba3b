"""What the doctor checks of what it takes to read and to send for an account: keys, deliveries, connections."""

from collections import Counter
from datetime import timedelta

import sqlalchemy as sa
from cryptography.fernet import Fernet, InvalidToken

from cli import format
from cli.connections import summaries
from cli.doctor import database
from cli.doctor.findings import CheckResults, bad, ok, warn
from cli.doctor.installation import Installation
from events import channels as installed
from events import endpoints
from events.outbox import backlogs
from models.tables import connections
from worker import resources

OLD_DELIVERY = timedelta(hours=1)
SHOWN = 200
"""Active connections that have a line of their own."""


def check_keys(installation: Installation) -> CheckResults:
    """Try to decrypt every stored API key."""
    newest = Fernet(installation.settings.encryption_keys[0].get_secret_value())
    with installation.shared(database.engine).connect() as db:
        stored = list(
            db.execute(
                sa.select(connections.c.account, connections.c.key_encrypted).where(
                    connections.c.key_encrypted.is_not(None)
                )
            )
        )
    old, lost = 0, []
    for row in stored:
        token = row.key_encrypted.encode()
        try:
            resources.tools().fernet.decrypt(token)
        except InvalidToken:
            lost.append(row.account)
            continue
        try:
            newest.decrypt(token)
        except InvalidToken:
            old += 1
    if lost:
        shown = ", ".join(lost[:5]) + (" ..." if len(lost) > 5 else "")
        yield bad(
            "keys",
            f"{len(lost)} stored API keys cannot be decrypted: {shown}",
            "put the old key back into TIMBRADO_ENCRYPTION_KEYS, or connect these accounts again",
        )
    elif old:
        yield warn("keys", f"{old} of {len(stored)} stored API keys use an older key", "timbrado rotate-keys")
    else:
        yield ok("keys", f"{len(stored)} stored API keys fit TIMBRADO_ENCRYPTION_KEYS")


def check_connections(installation: Installation) -> CheckResults:
    """Report each account's connection."""
    found = summaries(resources.tools())
    if not found:
        yield warn("connection", "no account is connected", "timbrado connect ACCOUNT")
    shown: Counter[str] = Counter()
    for each in found:
        shown[each["status"]] += 1
        if each["status"] == "active" and shown["active"] > SHOWN:
            continue
        name = f"{each['account']}: {each['status']}"
        waiting = f", {each['on_hold']:,} invoices on hold" if each["on_hold"] else ""
        if each["status"] == "broken":
            yield warn("connection", f"{name}, {each['reason']}{waiting}", f"{each['message']} {each['fix']}")
        elif each["status"] == "disconnected":
            yield (
                warn("connection", f"{name}{waiting}", f"timbrado connect {each['account']}")
                if each["on_hold"]
                else ok("connection", name)
            )
        elif each["status"] == "pending":
            yield warn("connection", f"{name}{waiting}", f"timbrado validate {each['account']}")
        elif each["paused"]:
            yield warn("connection", f"{name}, paused by an operator", f"timbrado release {each['account']}")
        else:
            stamps = f", {each['stamps_left']:,} stamps left" if each["stamps_left"] is not None else ""
            yield ok("connection", f"{name}, serie {each['serie']}{stamps}")
    if shown["active"] > SHOWN:
        yield ok("connection", f"{shown['active'] - SHOWN:,} more are active: timbrado connections")


def check_events(installation: Installation) -> CheckResults:
    """See whether Apunto learns what happens."""
    now = installation.shared(database.clock).now()
    with installation.shared(database.engine).connect() as db:
        found = backlogs(db)
        channels = installed.current(db)
        far = {channel: endpoints.state(db, channel) for channel in channels}
    if not channels:
        yield warn(
            "events",
            "they leave over no channel: the workers have neither a webhook nor a task",
            "set TIMBRADO_WEBHOOK_URL and _SECRET, or TIMBRADO_EVENTS_TASK and _QUEUE, where the workers run",
        )
    for channel, state in far.items():
        if state is not None and state.disabled_at is not None:
            yield bad(
                "events",
                f"the {channel} is switched off: {state.disabled_reason}",
                "set another address, or fix it and `timbrado events replay --dead`",
            )
        elif state is not None and state.failures >= endpoints.FAILING:
            yield warn(
                "events", f"the {channel} failed {state.failures} times in a row", "look at Apunto's receiver"
            )
    well = True
    for each in found:
        if each.status == "dead":
            well = False
            text = f"{each.count:,} over {each.channel} were given up"
            yield warn(
                "events", text, "timbrado events list --status dead, then timbrado events replay --dead"
            )
        elif each.oldest_at < now - OLD_DELIVERY:
            well = False
            text = (
                f"{each.count:,} over {each.channel} wait, the oldest since {format.ago(each.oldest_at, now)}"
            )
            yield warn("events", text, "look at Apunto's receiver: timbrado events list --status pending")
    if well and channels:
        waiting = sum(each.count for each in found if each.status == "pending")
        yield ok("events", f"sent by {', '.join(channels)}; {waiting:,} on their way")
