"""The client's labels cover what the worker can say."""

import pytest
from timbrado_client import CONNECTION_LABELS, REASON_LABELS, STATUS_LABELS

from models.vocabulary import BrokenReason, ConnectionStatus, InvoiceStatus


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (InvoiceStatus, STATUS_LABELS),
        (ConnectionStatus, CONNECTION_LABELS),
        (BrokenReason, REASON_LABELS),
    ],
)
def test_every_value_that_the_worker_says_has_a_label(values, labels):
    """A status or a reason without a label would be shown to users in English."""
    assert {str(value) for value in values} <= set(labels)
