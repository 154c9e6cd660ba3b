"""Where a path stands in the invoice, so that faults come in the order in which a reader meets their fields."""

import re

from timbrado_client.labels import Model, node_in

from cfdi.document import Invoice

_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


def place_of(path: str) -> tuple[tuple[int, int | str], ...]:
    """Return a key that sorts paths as the contract orders its fields; what it does not know goes last."""
    model: Model | None = Invoice
    place: list[tuple[int, int | str]] = []
    for name, number in _STEP.findall(path):
        if number:
            place.append((int(number), ""))
            continue
        order = list(model.model_fields) if model is not None else []
        # The emisor is not in the invoice as sent; in the CFDI it stands before all that is in the invoice.
        rank = -1 if name == "emisor" else order.index(name) if name in order else len(order)
        place.append((rank, name))
        field = model.model_fields.get(name) if model is not None else None
        model = node_in(field.annotation)[0] if field is not None else None
    return tuple(place)
