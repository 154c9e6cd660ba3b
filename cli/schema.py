"""`timbrado schema`: the invoice of the contract, as JSON Schema."""

from timbrado_client.reading import json_schema

from cli.console import print_json


def schema() -> None:
    """Print the JSON schema of an invoice: its shape. What the SAT asks of its values, `submit` checks."""
    print_json(json_schema())
