"""How a setting's text becomes a value, or one sentence on what is wrong with it.

These sentences are printed at start, so they never repeat a value.
"""

import base64
import binascii
import re
from datetime import timedelta
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, parse_qs, parse_qsl, unquote, urlencode, urlsplit

from net.addresses import address_fault, plain_host

BROKER_SCHEMES = ("redis", "rediss", "redis+socket", "amqp", "amqps")
QUEUES = ("intake", "stamp", "stamp.bulk", "events", "upkeep")
"""The queues that our workers take from."""
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", re.ASCII)
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)


def words(value: Any) -> Any:
    """Cut `a, b` into its parts; anything but text passes as it is."""
    return (
        tuple(part for part in map(str.strip, value.split(",")) if part) if isinstance(value, str) else value
    )


def seconds(value: Any) -> Any:
    """Read a number of seconds, more than none, as a duration."""
    if not isinstance(value, str):
        return value
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 < number < 10**8:
        raise ValueError("must be a positive number of seconds")
    return timedelta(seconds=number)


def split(url: str) -> SplitResult:
    """Cut an address into its parts; ValueError in our own words when it cannot be."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError("must be an address: scheme://host:port/path") from None
    return parts


def broker(url: str) -> str:
    """A Redis or RabbitMQ address, as Celery writes them."""
    parts = split(url)
    if parts.scheme not in BROKER_SCHEMES:
        raise ValueError(f"must begin with one of {', '.join(f'{scheme}://' for scheme in BROKER_SCHEMES)}")
    if parts.scheme == "redis+socket" and not parts.path.startswith("/"):
        raise ValueError("must name a socket: redis+socket:///srv/redis.sock")
    if parts.scheme in ("redis", "rediss") and not re.fullmatch(r"/?|/[0-9]+/?", parts.path, re.ASCII):
        raise ValueError("must end in the number of a database: redis://host:6379/0")
    return _verified(parts) if parts.scheme == "rediss" else url


def _verified(parts: SplitResult) -> str:
    """A `rediss://` address that says whose certificate will do: kombu takes anybody's where the address is silent.

    Celery's spelling (`CERT_REQUIRED`) becomes redis-py's, which kombu reads as well.
    """
    query = dict(parse_qsl(parts.query))
    reqs = query.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    if reqs not in ("required", "optional", "none"):
        raise ValueError("must have ssl_cert_reqs=required, or none of it (which is the same)")
    return parts._replace(query=urlencode({**query, "ssl_cert_reqs": reqs}, safe="/")).geturl()


def redis_from_broker(url: str) -> str:
    """The same Redis for redis-py: `redis+socket:///p?virtual_host=1` is `unix:///p?db=1` there."""
    parts = urlsplit(url)
    if parts.scheme != "redis+socket":
        return url
    database = parse_qs(parts.query).get("virtual_host", ["0"])[0].lstrip("/") or "0"
    password = f":{parts.password}@" if parts.password else ""
    return f"unix://{password}{unquote(parts.path)}?db={database}"


def database(url: str) -> str:
    """A PostgreSQL address for SQLAlchemy; the driver is always psycopg 3, named or not."""
    parts = split(url)
    if parts.scheme in ("postgres", "postgresql"):
        return f"postgresql+psycopg://{url.partition('://')[2]}"
    if parts.scheme != "postgresql+psycopg":
        raise ValueError("must begin with postgresql+psycopg://")
    return url


def storage(url: str) -> str:
    """Where documents rest: file:///..., s3://... (memory:// is for tests)."""
    parts = split(url)
    if parts.scheme not in ("file", "s3", "memory"):
        raise ValueError("must begin with file:/// or s3://")
    if parts.scheme == "file" and (parts.netloc or not parts.path.startswith("/")):
        raise ValueError("must be an absolute path: file:///srv/cfdi")
    if parts.scheme == "s3" and not parts.netloc:
        raise ValueError("must name a bucket: s3://bucket/prefix")
    if parts.password or parts.username:
        raise ValueError(
            "must hold no credentials: they belong in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    return url


def https(url: str) -> str:
    """An address that secrets may travel to: https, or what is on this machine or in one compose with it."""
    parts = split(url)
    if re.search(r"[\s\x00-\x1f]", url) or parts.fragment:
        raise ValueError("must be an address: https://host:port/path")
    match address_fault(url):
        case None:
            return url.rstrip("/")
        case "not https":
            raise ValueError("must begin with https:// (plain http is for this machine only)")
        case "credentials in the address":
            raise ValueError("must hold no user or password")
        case _:
            raise ValueError("must begin with https://")


def base(url: str) -> str:
    """An address as of `https` that paths are added to."""
    if urlsplit(https(url)).query:
        raise ValueError("must hold no question mark: paths are added to it")
    return https(url)


def host(name: str) -> str:
    """A host name, lower case, without port or scheme."""
    lowered = plain_host(name)
    if not _HOST.fullmatch(lowered) and not _is_ip_address(lowered):
        raise ValueError("must be host names, comma separated, without scheme or port")
    return lowered


def _is_ip_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def fernet_key(key: str) -> str:
    """A Fernet key: 32 bytes in URL-safe base64."""
    try:
        whole = len(base64.b64decode(key.encode("ascii"), altchars=b"-_", validate=True)) == 32
    except (binascii.Error, UnicodeEncodeError):
        whole = False
    if not whole:
        raise ValueError("must be Fernet keys, comma separated (cryptography.fernet.Fernet.generate_key())")
    return key


def webhook_secret(secret: str) -> str:
    """A Standard Webhooks secret: whsec_ and 24 to 64 bytes in base64."""
    prefix, _, body = secret.partition("_")
    try:
        size = len(base64.b64decode(body.encode("ascii"), validate=True)) if prefix == "whsec" else 0
    except (binascii.Error, UnicodeEncodeError):
        size = 0
    if not 24 <= size <= 64:
        raise ValueError(
            "must be whsec_ followed by 24 to 64 bytes in base64 (two, comma separated, while rotating)"
        )
    return secret


def basic_auth(pairs: str) -> str:
    """`user:password`, several comma separated, as Flower reads them."""
    if not all(
        len(user) and len(password) >= 8 for user, _, password in (p.partition(":") for p in pairs.split(","))
    ):
        raise ValueError("must be user:password (8 characters or more), several comma separated")
    return pairs


def bind(text: str) -> str:
    """Check where a server listens: host and port."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError("must be host:port, such as 127.0.0.1:8085")
    return text


def events_queue(name: str) -> str:
    """A queue of the application: in one of ours its events would be taken by our own workers, and be gone."""
    if not re.fullmatch(r"\S+", name):
        raise ValueError("must be a queue's name, such as apunto")
    if name in QUEUES:
        raise ValueError("must be a queue of the application: this one is our workers' own")
    return name


def dotted(name: str) -> str:
    """A task's name: words joined by dots."""
    if not _DOTTED.fullmatch(name):
        raise ValueError("must be a task's name, such as apunto.stamping_event")
    return name
