"""The Ruby client's labels are the Python client's."""

import json
import os
from pathlib import Path

import timbrado_client

LABELS = Path(__file__).parents[2] / "client/ruby/lib/timbrado/labels.json"


def test_ruby_says_of_statuses_reasons_and_fields_what_python_says() -> None:
    """One set of texts: `./dev golden tests/unit/test_client_ruby_labels.py` writes the Ruby client's file."""
    labels = {
        "status": timbrado_client.STATUS_LABELS,
        "connection": timbrado_client.CONNECTION_LABELS,
        "reason": timbrado_client.REASON_LABELS,
        "field": timbrado_client.FIELD_LABELS,
    }
    text = json.dumps(labels, ensure_ascii=False, indent=2) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        LABELS.write_text(text, encoding="utf-8")

    assert LABELS.read_text(encoding="utf-8") == text
