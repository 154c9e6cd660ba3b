"""What the API counts of itself, for Prometheus: requests by route and status, and how long they took."""

import time

from prometheus_client import Counter, Gauge, Histogram, start_http_server
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HttpMeter:
    """Counts requests; a route's name stands for all its paths, so no id becomes a label."""

    def __init__(self) -> None:
        self.requests = Counter(
            "timbrado_http_requests", "Requests of the HTTP API", ["method", "route", "status"]
        )
        self.seconds = Histogram("timbrado_http_request_seconds", "Until an answer began", ["route"])
        self.open = Gauge(
            "timbrado_http_requests_open", "Requests under way, open lines of events among them"
        )


class Measured:
    """Has each request counted."""

    def __init__(self, app: ASGIApp, *, meter: HttpMeter) -> None:
        self._app, self._meter = app, meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 500
        meter = self._meter

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                meter.seconds.labels(_route(scope)).observe(time.monotonic() - began)
            await send(message)

        meter.open.inc()
        try:
            await self._app(scope, receive, sent)
        finally:
            meter.open.dec()
            meter.requests.labels(scope["method"], _route(scope), status).inc()


def _route(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", None) or "(none)"


def serve_metrics(port: int) -> None:
    """Answer /metrics on a port of its own."""
    start_http_server(port)
