"""`Timbrado`: what an application asks of the worker, as messages of the contract.

Nothing here waits for the stamp: a call returns once the broker has the message. What becomes of it comes as an event
(`timbrado_client.verify`, `timbrado_client.parse`), and can be read over HTTP (`timbrado_client.http.Api`).
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from cryptography.fernet import Fernet

from timbrado_client import requests
from timbrado_client.broker import TIMEOUT, Broker, Unanswered
from timbrado_client.errors import BrokerUnavailable
from timbrado_client.invoice import Invoice
from timbrado_client.reading import check

if TYPE_CHECKING:  # an application need not have Celery
    from celery import Celery


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that the broker has: `message_id` and `trace_id` are found again in the worker's log."""

    task: str
    message_id: str
    trace_id: str


class Timbrado:
    """The connection to one timbrado. Make one per process and share it between threads.

        timbrado = Timbrado("redis://redis:6379/0", encryption_keys=os.environ["TIMBRADO_ENCRYPTION_KEYS"])

    Every method raises RequestInvalid (InvoiceInvalid) where the message would be refused, and BrokerUnavailable
    where the broker did not confirm it within some seconds. `trace_id` may be given to follow a request through
    both systems (a W3C trace id, or any text up to 100 characters).
    """

    def __init__(
        self,
        broker_url: str | None = None,
        encryption_keys: str | Sequence[str] = (),
        *,
        celery_app: "Celery | None" = None,
        timeout: timedelta = timedelta(seconds=TIMEOUT),
    ) -> None:
        """Take the broker's URL, or the application's Celery app where timbrado uses the same broker.

        `encryption_keys` are those of TIMBRADO_ENCRYPTION_KEYS (comma separated, or a list); only `connect` needs
        them. After `timeout` no further try is begun; a broker that hangs adds two seconds to it.
        Raises ValueError for a key that is no Fernet key, and where there is no broker, or there are two.
        """
        broker = broker_url or celery_app  # an empty URL would be kombu's own default, on this machine
        if broker is None or broker == "" or (broker_url and celery_app):
            raise ValueError("Timbrado takes a broker_url or a celery_app, and not both")
        self._broker = Broker(broker, timeout.total_seconds())
        keys = encryption_keys.split(",") if isinstance(encryption_keys, str) else encryption_keys
        self._fernets = [_fernet(key.strip()) for key in keys if key.strip()]

    def submit(self, invoice: Invoice | Mapping[str, Any], *, trace_id: str | None = None) -> Sent:
        """Send an invoice to be stamped. The same one again is harmless: it is stamped once."""
        raw = check(invoice)
        return self._send(
            "stamping.submit_invoice", raw["account"], raw["external_id"], {"invoice": raw}, trace_id
        )

    def cancel(
        self,
        account: str,
        external_id: str,
        motivo: str,
        uuid_sustitucion: str | None = None,
        *,
        trace_id: str | None = None,
    ) -> Sent:
        """Ask for the cancellation of a stamped invoice; `motivo` is "01" to "04", and 01 names its substitute."""
        payload = requests.cancellation(account, external_id, motivo, uuid_sustitucion)
        return self._send("stamping.cancel_invoice", account, external_id, payload, trace_id)

    def retry(self, account: str, external_id: str, *, trace_id: str | None = None) -> Sent:
        """Try again an invoice that stopped; one whose outcome is unknown is looked up, never sent again."""
        payload = requests.of_invoice(account, external_id)
        return self._send("stamping.retry_invoice", account, external_id, payload, trace_id)

    def withdraw(self, account: str, external_id: str, *, trace_id: str | None = None) -> Sent:
        """Take back an invoice that is not stamped; one whose outcome is unknown is looked up first."""
        payload = requests.of_invoice(account, external_id)
        return self._send("stamping.withdraw_invoice", account, external_id, payload, trace_id)

    def replace(
        self,
        account: str,
        external_id: str,
        invoice: Invoice | Mapping[str, Any],
        *,
        trace_id: str | None = None,
    ) -> Sent:
        """Replace a stamped invoice by a new one, which has an external_id of its own.

        The new one is stamped with relation 04 to the old, and once its XML is safe the old one is cancelled with
        motivo 01: the relation need not be in `invoice`.
        """
        payload = requests.replacement(account, external_id, invoice)
        return self._send("stamping.replace_invoice", account, external_id, payload, trace_id)

    def connect(
        self,
        account: str,
        api_key: str,
        rfc: str,
        razon_social: str,
        codigo_postal: str,
        *,
        empresa_id: int | str | None = None,
        serie: str | None = None,
        base_url: str | None = None,
        ids: Mapping[str, Any] | None = None,
        trace_id: str | None = None,
    ) -> Sent:
        """Store or replace an account's connection to ContaDigital, and have it validated.

        The key is sent as the user pasted it, encrypted; what is wrong with it comes back as `connection.broken`.
        `ids` are ContaDigital's ids where its lists cannot be read, in the form of `timbrado_client.ids.Ids`.
        """
        if not self._fernets:
            raise ValueError("connect needs encryption_keys: those of TIMBRADO_ENCRYPTION_KEYS")
        facts = {
            "rfc": rfc,
            "razon_social": razon_social,
            "codigo_postal": codigo_postal,
            "empresa_id": empresa_id,
            "serie": serie,
            "base_url": base_url,
            "ids": ids,
        }
        payload = requests.connection(account, api_key, facts)
        payload["api_key_encrypted"] = self._fernets[0].encrypt(api_key.encode()).decode()
        return self._send("stamping.connect", account, None, payload, trace_id)

    def validate_connection(self, account: str, *, trace_id: str | None = None) -> Sent:
        """Have an account's connection validated again."""
        return self._send(
            "stamping.validate_connection", account, None, requests.of_account(account), trace_id
        )

    def disconnect(self, account: str, *, trace_id: str | None = None) -> Sent:
        """Have an account's key forgotten; its open invoices are put on hold."""
        return self._send("stamping.disconnect", account, None, requests.of_account(account), trace_id)

    def close(self) -> None:
        """Close the connections to the broker."""
        self._broker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def _send(
        self,
        task: str,
        account: str,
        external_id: str | None,
        kwargs: Mapping[str, Any],
        trace_id: str | None,
    ) -> Sent:
        message_id = str(uuid.uuid4())
        try:
            self._broker.publish(message_id, task, kwargs, trace_id)
        except Unanswered as error:
            raise BrokerUnavailable(task, account, external_id, error.tries) from error.__cause__
        return Sent(task, message_id, trace_id or message_id)


def _fernet(key: str) -> Fernet:
    try:
        return Fernet(key)
    except ValueError:
        raise ValueError("encryption_keys holds something that is no Fernet key") from None
