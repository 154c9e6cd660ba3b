"""`timbrado schema`: the invoice of the contract, as JSON Schema."""

from cli.console import print_json


def schema() -> None:
    """Print the JSON schema of an invoice: its shape. What the SAT asks of its values, `submit` tells."""
    from cfdi.document import Invoice

    print_json({"$schema": "https://json-schema.org/draft/2020-12/schema", **Invoice.model_json_schema()})
