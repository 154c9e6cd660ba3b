"""Looks whether what was saved is what was meant, before a stamp is spent on it.

Where a record says nothing of itself no call is made for it: that is learnt once per provider address.
"""

from collections.abc import Mapping
from typing import Any

from contadigital.draft_differences import differences, is_rich
from contadigital.errors import ContaDigitalError, DocumentRejected, UnknownRecord
from contadigital.records import Record
from models.vocabulary import Call
from stamping.attempts import Attempt
from stamping.connections import providers

LEARNT = "record_reports"


def compare(attempt: Attempt, saved: Record, facts: dict[str, Any]) -> None:
    """Raise DocumentRejected where the record that was just saved says something else than what was meant.

    `facts` are the Id to be kept: written before a look-up leaves.
    """
    base_url, tools = attempt.connection.base_url, attempt.tools
    contents = saved.whole
    known = providers.learnt(base_url, tools).get(LEARNT)
    if not is_rich(contents) and known is not False:
        shown = _looked_up(attempt, saved, facts)
        if shown is not None and known is None:
            providers.learn(base_url, {LEARNT: is_rich(shown)}, tools)
        contents = shown or contents
    prepared = attempt.prepared
    faults = differences(
        contents,
        prepared.invoice,
        prepared.amounts,
        rfc=attempt.connection.rfc,
        serie=prepared.issuer.serie if prepared.invoice.tipo_de_comprobante == "I" else None,
    )
    if faults:
        raise DocumentRejected("the saved record is not what was sent", faults=faults, call="factura")


def _looked_up(attempt: Attempt, saved: Record, facts: dict[str, Any]) -> Mapping[str, Any] | None:
    """What a look-up says of the record; None where it can't be had: the XML is examined all the same."""
    prepared = attempt.prepared
    try:
        record = attempt.ask(
            Call.LOOK_UP,
            lambda: attempt.tools.provider.look_up(prepared.credentials, saved.id),
            record_id=saved.id,
            facts=facts,
        )
    except UnknownRecord:  # it knows no drafts
        return {}
    except ContaDigitalError:
        return None
    return record.whole
