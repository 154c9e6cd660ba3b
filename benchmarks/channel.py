"""A delivery channel that is switched on in a benchmark: a webhook receiver, and the environment that names it."""

import base64
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from config.running import CHECKOUT
from devstack.ports import any_port

SECRET = "whsec_" + base64.b64encode(bytes(24)).decode()  # of the benchmark's own receiver

EVENTS = 2
"""Webhooks that an invoice which is stamped at once sends: accepted, stamped."""


class WebhookReceiver:
    """The receiver's process, asked over HTTP."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.environment = {
            "TIMBRADO_WEBHOOK_URL": f"{self.url}/hook",
            "TIMBRADO_WEBHOOK_SECRET": SECRET,
            "TIMBRADO_WEBHOOK_HOSTS": "127.0.0.1",
        }

    def count(self) -> int:
        """How many webhooks came."""
        return int(self._get("count"))

    def last(self) -> float:
        """The instant of the last one, in Unix time."""
        return float(self._get("last"))

    def _get(self, what: str) -> bytes:
        with urllib.request.urlopen(f"{self.url}/{what}", timeout=10) as answer:
            return bytes(answer.read())


@contextmanager
def a_receiver(delay: float = 0.0) -> Iterator[WebhookReceiver]:
    """Start a receiver that answers after `delay` seconds; stopped at the end."""
    port = any_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.webhook_receiver", str(port), str(delay)], cwd=CHECKOUT
    )
    receiver = WebhookReceiver(port)
    try:
        for _ in range(100):
            try:
                receiver.count()
                break
            except OSError:
                time.sleep(0.1)
        yield receiver
    finally:
        process.terminate()
        process.wait()
