"""One try at one webhook, in Standard Webhooks form.

The library's `sign` takes the wall clock of whatever datetime it is given and calls it UTC (v1.1 replaces the time
zone instead of converting), so the instant is brought to UTC here, once, and both the signature and the header are
made of it. The id stays the same over retries; the timestamp is that of the try.
"""

import base64
import binascii
import ssl
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from math import floor

import httpx
from standardwebhooks import Webhook as Signer

from events.delivery import Delivered, DeliveryFailed, Gone, Outcome, Outgoing
from events.schedule import LONGEST_WAIT
from net.addresses import is_loopback, is_private_literal, plain_host
from net.headers import retry_after
from net.sockets import ForbiddenAddress, PublicSockets, Resolver, until
from net.transport import first_bytes, open_http

WHOLE_CALL = timedelta(seconds=15)
"""From the first look-up of the name to the status line and a little body: what the contract gives a
receiver."""

_BODY_LIMIT = 16_384  # bytes read to keep the connection usable; more is not worth it
_BODY_TIME = 2.0  # seconds for them: the status line was the answer
_SHOWN = 160  # characters of a refusal's body that an operator sees
_GONE = 410


class BadEndpoint(ValueError):
    """The URL or a secret of a webhook can't be used; the text names what is wrong and never shows a
    secret."""


class WebhookSender:
    """Sends events to one URL; one instance for all threads of a process. Close it, or use it with
    `with`."""

    def __init__(
        self,
        url: str,
        secrets: Iterable[str],
        *,
        allowed_hosts: Iterable[str] = (),
        whole_call: timedelta = WHOLE_CALL,
        resolver: Resolver | None = None,
        clock: Callable[[], float] = time.monotonic,
        connections: int = 16,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Take one secret, or two while rotating (both sign); `allowed_hosts` may be private, or plain http.

        Raises BadEndpoint. `clock` counts seconds, for latencies and the time limit; `tls` is for a receiver
        whose certificate is of an authority of its own.
        """
        allowed = frozenset(map(plain_host, allowed_hosts))
        check_url(url, allowed)
        self.address = url
        self._url = httpx.URL(url)
        self._signers = [Signer(check_secret(secret)) for secret in secrets]
        if not self._signers:
            raise BadEndpoint("a webhook needs a secret: webhooks are always signed")
        self._clock = clock
        self._whole_call = whole_call.total_seconds()
        self._http = open_http(
            sockets=PublicSockets(allowed, resolver=resolver, monotonic=clock),
            connections=connections,
            keep_alive=timedelta(seconds=20),
            connect=whole_call,
            read=whole_call,
            write=whole_call,
            pool=timedelta(seconds=5),
            tls=tls,
        )

    def send(self, outgoing: Outgoing, now: datetime) -> Outcome:
        """Try once; every way it can end is a value. `now` must know its time zone."""
        began = self._clock()
        headers = self._headers(outgoing, now)
        request = httpx.Request("POST", self._url, content=outgoing.body.encode(), headers=headers)
        try:
            with until(began + self._whole_call), closing(self._http.handle_request(request)) as response:
                shown = self._read(response)
        except httpx.HTTPError as error:
            return DeliveryFailed(None, _why(error, self._whole_call), self._since(began))
        return _judge(response, shown, self._since(began), now)

    def close(self) -> None:
        """Close the connections kept for the next event."""
        self._http.close()

    def __enter__(self) -> "WebhookSender":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _headers(self, outgoing: Outgoing, now: datetime) -> dict[str, str]:
        if now.tzinfo is None:
            raise ValueError("now needs a time zone")
        at = now.astimezone(UTC)
        message_id = str(outgoing.id)
        headers = {
            "user-agent": "timbrado/1",
            "accept": "*/*",
            "accept-encoding": "identity",
            "content-type": "application/json; charset=utf-8",
            "webhook-id": message_id,
            "webhook-timestamp": str(floor(at.timestamp())),
            "webhook-signature": " ".join(each.sign(message_id, at, outgoing.body) for each in self._signers),
        }
        if outgoing.trace_id and outgoing.trace_id.isascii() and outgoing.trace_id.isprintable():
            headers["x-trace-id"] = outgoing.trace_id[:128]
        return headers

    def _read(self, response: httpx.Response) -> bytes:
        """The first bytes of the answer; a body that is longer, or that never ends, is cut off."""
        try:
            with until(self._clock() + _BODY_TIME):
                return first_bytes(response, _BODY_LIMIT)
        except httpx.HTTPError:
            return b""  # the status line is the answer; a body that breaks off changes nothing

    def _since(self, began: float) -> timedelta:
        return timedelta(seconds=self._clock() - began)


def check_url(url: str, allowed_hosts: frozenset[str] = frozenset()) -> None:
    """Raise BadEndpoint for a URL that webhooks are not sent to: no https, credentials inside, a private
    address.

    Plain http is for this machine and for hosts allowed by name. What a name resolves to is checked at each
    try.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise BadEndpoint(f"not a URL: {error}") from error
    host = plain_host(parsed.host)
    if parsed.scheme not in {"http", "https"} or not host:
        raise BadEndpoint("must begin with https://")
    if parsed.userinfo:
        raise BadEndpoint("must hold no user or password")
    if host in allowed_hosts:
        return
    if parsed.scheme == "http" and not is_loopback(host):
        raise BadEndpoint(f"must begin with https:// (or TIMBRADO_WEBHOOK_HOSTS names {host})")
    if is_private_literal(host):
        raise BadEndpoint(f"{host} is not a public address (TIMBRADO_WEBHOOK_HOSTS allows it by name)")


def check_secret(secret: str) -> str:
    """The secret itself when it is `whsec_` and 24 to 64 bytes in base64; the library would take almost
    anything."""
    prefix, _, encoded = secret.partition("_")
    try:
        size = len(base64.b64decode(encoded.encode("ascii"), validate=True)) if prefix == "whsec" else 0
    except (binascii.Error, UnicodeEncodeError):
        size = 0
    if not 24 <= size <= 64:
        raise BadEndpoint("a webhook secret is whsec_ followed by 24 to 64 bytes in base64")
    return secret


def _judge(response: httpx.Response, shown: bytes, latency: timedelta, now: datetime) -> Outcome:
    status = response.status_code
    if response.is_success:
        return Delivered(status, latency)
    if status == _GONE:
        return Gone(latency)
    if response.is_redirect:
        return DeliveryFailed(
            status, "redirects are not followed: put the new address in the setting", latency
        )
    text = " ".join(shown.decode("utf-8", "replace").split())
    readable = "".join(each for each in text if each.isprintable())[:_SHOWN]
    why = f"HTTP {status}: {readable}" if readable else f"HTTP {status}"
    asked = retry_after(response.headers.get("retry-after"), now, longest=LONGEST_WAIT)
    return DeliveryFailed(status, why, latency, asked)


def _why(error: httpx.HTTPError, limit: float) -> str:
    """One line for an operator: what to look at first."""
    if isinstance(error, ForbiddenAddress):
        return f"address not allowed: {error}"
    if isinstance(error, httpx.ConnectTimeout):
        return f"no connection in time: {error}"
    if isinstance(error, httpx.TimeoutException):
        return f"no answer within {limit:g} s"
    if isinstance(error, httpx.ConnectError):
        return f"no connection: {error}"
    return f"the connection broke: {error or type(error).__name__}"
