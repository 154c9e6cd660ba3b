"""From `TIMBRADO_STORAGE_URL` to a store: `file:///srv/cfdi`, `s3://bucket/prefix`, `memory://` (tests).

S3 takes its credentials, region and endpoint from the usual AWS_* variables (or an instance's own role), or
from `options`. Any server will do that honours `If-None-Match: *` on PUT; `DocumentStore.probe` finds one
that does not.
"""

import os
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from obstore.exceptions import BaseError
from obstore.store import LocalStore, MemoryStore, S3Store

from storage.documents import DocumentStore
from storage.errors import StorageUnavailable, one_line
from storage.local import DurableDirectory

if TYPE_CHECKING:  # obstore has these names for type checkers only
    from obstore.store import ClientConfig, RetryConfig, S3Config

S3_OPTIONS = frozenset({"endpoint", "region", "access_key_id", "secret_access_key", "session_token"})

_ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")

# A document is some 10 KB and a sweep comes back anyway: a worker's thread must not hang here for obstore's
# own defaults (10 tries, 3 minutes).
_CLIENT: "ClientConfig" = {"connect_timeout": timedelta(seconds=5), "timeout": timedelta(seconds=15)}
_RETRY: "RetryConfig" = {
    "max_retries": 2,
    "retry_timeout": timedelta(seconds=25),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=2), "base": 2},
}


def open_store(url: str, options: Mapping[str, str] | None = None) -> DocumentStore:
    """The store a URL names; a directory is made when it is not there.

    `options` (S3 only): endpoint, region, access_key_id, secret_access_key, session_token; they win over
    AWS_*. Raises ValueError for a URL that names no store, StorageUnavailable when the directory can't be
    made.
    """
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise ValueError("a storage URL holds no credentials: use AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY")
    if parts.query or parts.fragment:
        raise ValueError(f"a storage URL ends with its path: {url!r}")
    match parts.scheme:
        case "file":
            return _open_directory(url, parts.netloc, unquote(parts.path))
        case "s3":
            return _open_s3(parts.netloc, parts.path.strip("/"), dict(options or {}))
        case "memory":
            return DocumentStore(MemoryStore(), "memory://")
        case _:
            raise ValueError(f"{url!r} names no store: file:///absolute/path or s3://bucket/prefix")


def _open_directory(url: str, host: str, path: str) -> DocumentStore:
    if host not in {"", "localhost"} or not path.startswith("/"):
        raise ValueError(f"{url!r} must be file:/// and an absolute path (three slashes)")
    root = Path(path)
    try:
        disk = DurableDirectory(root)
        return DocumentStore(LocalStore(root), f"file://{root}", disk)
    except (BaseError, OSError) as error:
        raise StorageUnavailable(f"open {url}", error) from error


def _open_s3(bucket: str, prefix: str, options: dict[str, str]) -> DocumentStore:
    if not bucket:
        raise ValueError("s3:// needs a bucket: s3://bucket/prefix")
    if unknown := options.keys() - S3_OPTIONS:
        raise ValueError(f"unknown storage option: {', '.join(sorted(unknown))}")
    _forget_empty_variables()
    config: S3Config = {"disable_bulk_delete": True}  # only probes are deleted, one by one
    if secret := _secret_of_a_file():
        options = {"secret_access_key": secret, **options}
    config.update(options)  # type: ignore[typeddict-item]  # names checked above against S3_OPTIONS
    endpoint = options.get("endpoint") or next(filter(None, map(os.environ.get, _ENDPOINT_VARIABLES)), None)
    client: ClientConfig = {**_CLIENT}
    if endpoint:
        config["endpoint"] = endpoint
        client["allow_http"] = _may_be_clear(endpoint)
    if not (options.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")):
        config["region"] = "us-east-1"  # what S3 servers of one's own expect when they are given nothing
    try:
        objects = S3Store(
            bucket, prefix=prefix or None, config=config, client_options=client, retry_config=_RETRY
        )
    except BaseError as error:
        raise ValueError(f"s3://{bucket}: {one_line(error)}") from error
    return DocumentStore(objects, f"s3://{bucket}/{prefix}".rstrip("/"))


def _forget_empty_variables() -> None:
    """Take AWS_* that are empty, as a compose file hands them over, for not set: obstore reads them itself, would sign
    with an empty key instead of asking for the instance's role, and panics over an empty endpoint."""
    for name in [name for name, value in os.environ.items() if name.startswith("AWS_") and not value]:
        del os.environ[name]


def _secret_of_a_file() -> str | None:
    """Return what AWS_SECRET_ACCESS_KEY_FILE holds: a secret of Docker, Kubernetes or systemd. Raises ValueError."""
    path = os.environ.get("AWS_SECRET_ACCESS_KEY_FILE")
    if not path:
        return None
    try:
        return Path(path).read_text(encoding="utf-8").strip() or None
    except OSError as error:
        raise ValueError(
            f"AWS_SECRET_ACCESS_KEY_FILE names a file that cannot be read: {error.strerror}"
        ) from error


def _may_be_clear(endpoint: str) -> bool:
    """Whether documents may go without TLS: on this machine, or where an operator said AWS_ALLOW_HTTP."""
    parts = urlsplit(endpoint)
    if parts.scheme != "http":
        return False
    host = parts.hostname or ""
    try:
        near = ip_address(host).is_loopback
    except ValueError:
        near = host == "localhost"
    if not near and os.environ.get("AWS_ALLOW_HTTP", "").lower() not in {"1", "true", "yes"}:
        raise ValueError(
            f"{endpoint} is not encrypted: use https (or AWS_ALLOW_HTTP=true in a closed network)"
        )
    return True
