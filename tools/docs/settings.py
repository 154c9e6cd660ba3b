"""Makes `docs/settings.md`: every setting with its default and what it is for, from `config/settings.py`.

What a setting means is said in its docstring there, and here only for those
that have none; a test refuses a setting without either, and one with both.
"""

from datetime import timedelta
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from config.settings import PREFIX, Settings
from tools.docs.source import fields_of, table

GROUPS = {
    "contract.md, section 4": "installation",
    "where else things are": "places",
    "how the pipeline behaves": "pipeline",
    "what operators see": "operators",
    "the test runtime: refused in production": "test",
}
"""Which table of the page the settings below a comment go to."""

MEANINGS = {
    "broker_url": "Celery's broker: `redis://`, `rediss://`, `redis+socket://`, `amqp://` or `amqps://`.",
    "database_url": (
        "PostgreSQL: `postgresql+psycopg://user@host/name`, with `?sslmode=verify-full` beyond this machine."
    ),
    "storage_url": "Where XML and PDF rest: `file:///srv/cfdi` or `s3://bucket/prefix` (with the usual `AWS_*`).",
    "encryption_keys": (
        "Fernet keys, comma separated: the first encrypts, all decrypt. Whoever sends "
        "`stamping.connect` has the first too."
    ),
    "contadigital_url": "Where ContaDigital is: `https://app.contadigital.mx`, or its tests, or the sandbox.",
    "webhook_url": "Where events go as webhooks ([events.md](events.md)); together with WEBHOOK_SECRET.",
    "webhook_secret": "`whsec_...`, two comma separated while rotating; together with WEBHOOK_URL.",
    "events_task": "The Celery task that events are sent to as well, by name; together with EVENTS_QUEUE.",
    "events_queue": "The queue of EVENTS_TASK, on the same broker.",
    "in_flight_per_account": "Calls to ContaDigital at once for one account, over all workers.",
    "stamps_low_at": "With this many stamps left, or fewer, `connection.stamps_low` is sent, where it can be known.",
    "sweep_every": "How often beat enqueues the sweep: for how long at most a lost message is missed.",
    "connect_timeout": "How long a connection to ContaDigital may take to open.",
    "log_format": "`json` for machines, `console` for people. One event a line in both.",
    "log_level": "What is left out: everything below this.",
    "metrics_port": "Where a worker (or beat) answers `/metrics`, `/healthz` and `/readyz`; one process a port.",
    "flower_basic_auth": "`user:password`, several comma separated. Without it Flower listens on loopback only.",
    "test_runtime": "Allows what follows.",
    "test_failpoints": "Where a process dies or stops, by the names of `stamping/failpoints.py`.",
}

EMBEDDED = {
    "broker_url": "its own Redis",
    "database_url": "its own PostgreSQL",
    "storage_url": "`var/documents`",
    "encryption_keys": "made once, in `var/encryption.keys`",
    "contadigital_url": "the sandbox",
    "inbox_url": "DATABASE_URL",
    "var": "`var/` of the checkout",
}
"""What a setting is when nothing is set."""


def blocks() -> dict[str, list[str]]:
    """Return the tables of the page by the names in GROUPS."""
    made: dict[str, list[str]] = {}
    for field in fields_of("config/settings.py", "Settings"):
        info = Settings.model_fields[field.name]
        meaning = _plain(field.says or MEANINGS[field.name])
        secret = " *(secret)*" if _is_secret(info.annotation) else ""
        row = f"| `{PREFIX}{field.name.upper()}` | {_default(field.name, info)} | {meaning}{secret} |"
        made.setdefault(GROUPS[field.group], []).append(row)
    return {name: table("setting | default | what it is for", rows) for name, rows in made.items()}


def _plain(text: str) -> str:
    return text.replace("|", "\\|")


def _is_secret(annotation: Any) -> bool:
    return SecretStr.__name__ in str(annotation)


def _default(name: str, info: FieldInfo) -> str:
    if name in EMBEDDED:
        return EMBEDDED[name]
    match info.default:
        case timedelta() as duration:
            return f"{duration.total_seconds():g}"
        case None | () | False:
            return (
                "off"
                if name.endswith(("_url", "_secret", "_task", "_queue", "runtime", "failpoints"))
                else "—"
            )
        case value:
            return f"`{value}`"
