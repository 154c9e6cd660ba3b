"""What is known about an invoice before it costs a stamp: every fault at once, in the order of its fields.

A clean verdict is not the SAT's: whether an RFC, a name or a postcode is the registered one nobody can know before
the call (CFDI40143, 40145, 40147, 40148).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType

from cfdi.document import MAX_FAULTS, Invoice, Unreadable, read
from cfdi.faults import Fault
from cfdi.issuer import Issuer
from cfdi.places import place_of
from cfdi.rules import RULEBOOK
from cfdi.rules.rulebook import InvoiceCase

_NO_RATES: Mapping[str, Decimal] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What validation found; `invoice` is None when it could not be read as one."""

    invoice: Invoice | None
    faults: tuple[Fault, ...]
    """What has to be fixed before it can be stamped."""
    warnings: tuple[Fault, ...]
    """What looks wrong and does not stand in the way."""


def validate(
    raw: object,
    *,
    issuer: Issuer | None,
    now: datetime,
    fix_rates: Mapping[str, Decimal] = _NO_RATES,
) -> Verdict:
    """Say everything that is wrong with an invoice as it was sent (parsed JSON), and never raise.

    `now` is timezone-aware. `fix_rates` are pesos per unit by currency (FIX of the day), where known.
    """
    invoice, readable, faults = _read(raw)
    warnings: list[Fault] = []
    if readable is not None:
        for rule, fault in RULEBOOK.ask(InvoiceCase(readable, issuer, now, fix_rates)):
            (warnings if rule.only_warns else faults).append(fault)
    return Verdict(invoice, _in_order(faults), _in_order(warnings))


def _read(raw: object) -> tuple[Invoice | None, Invoice | None, list[Fault]]:
    """Return the invoice, what could be read of it, and the faults of its shape."""
    try:
        invoice = read(raw)
    except Unreadable as error:
        return None, error.readable, list(error.faults)
    return invoice, invoice, []


def _in_order(faults: list[Fault]) -> tuple[Fault, ...]:
    """Sort by place in the document, without repeating, and no more than a person or an event can take."""
    ordered = sorted(dict.fromkeys(faults), key=lambda fault: place_of(fault.field))
    if len(ordered) <= MAX_FAULTS:
        return tuple(ordered)
    more = Fault(
        "timbrado.hay_mas",
        "",
        f"La factura tiene más de {MAX_FAULTS:,} errores; aquí van los primeros.",
        "Corrige estos y envía la factura otra vez.",
    )
    return (*ordered[:MAX_FAULTS], more)
