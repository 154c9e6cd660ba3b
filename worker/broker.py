"""How the broker is reached, and which queues it has: as plain options of a Celery app, with none of its tasks."""

import ssl
from typing import Any

from kombu import Queue

from config import values
from config.settings import Settings

QUEUES = values.QUEUES


def options(settings: Settings) -> dict[str, Any]:
    """Return Celery's options of the connection."""
    url = settings.broker_url.get_secret_value()
    return {
        "broker_url": url,
        "task_queues": [Queue(name, routing_key=name) for name in QUEUES],
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # a worker waits for its broker, however long
        "broker_channel_error_retry": True,  # also for one that answers, and refuses: a Redis that is a replica now
        "broker_transport_options": {
            # a half-open connection hung the worker for ever with the defaults; measured: 10 to 16 s with these
            "socket_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 10,
            # a killed worker's messages come back after this; one that runs longer runs twice, which is harmless
            "visibility_timeout": int(settings.lease.total_seconds()) + 60,
        }
        if url.startswith("redis")
        else {"confirm_publish": True, "read_timeout": 20, "write_timeout": 20},  # one that blocks publishers
        "broker_use_ssl": _certificate_of_rabbitmq(url),
    }


def _certificate_of_rabbitmq(url: str) -> dict[str, Any] | None:
    """Ask an `amqps://` broker for a certificate of its own name: left alone, py-amqp takes that of any other host.

    What Redis must show is in its address (config/values.py). Where several brokers are named only who signed is asked:
    kombu would want the first one's name of all of them, and never reach the second.
    """
    if not url.startswith("amqps:") or ";" in url:
        return None
    return {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": None}  # None: the host of the address
