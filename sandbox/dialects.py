"""What is not known of ContaDigital's wire, each aspect with its choices: how an account reads and answers.

An account has one `SandboxDialect`; its defaults are what the sources wrote (net amounts, JSON numbers). It is set by
name (`NAMED`), by a seed (`random_dialect`), or field by field, where an account is opened or changed. Nothing here is
taken from a client.
"""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Utiles = Literal[
    "assumed",
    "lower",
    "camel",
    "own_ids",
    "value_text",
    "nested",
    "flat",
    "by_key",
    "by_id",
    "other_names",
    "pairs",
    "by_company",
    "mixed",
    "empty",
    "404",
]


class SandboxDialect(BaseModel):
    """How one account reads what it is sent, and what its answers look like."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    importe: Literal["net", "gross", "either"] = Field(
        "net",
        description="A line's Importe: after its discount, before it, or whichever of the two adds up.",
    )
    subtotal: Literal["net", "gross", "either"] = Field(
        "net",
        description="The root's Subtotal: after discounts (and Descuento 0), before them (and Descuento their sum), "
        "or either.",
    )
    line_total: Literal["without_withholdings", "with_withholdings", "either"] = Field(
        "without_withholdings",
        description="A line's Total: Importe + IVA, or less what is withheld (net of the discount in both).",
    )
    sums: Literal["check", "use", "ignore"] = Field(
        "check",
        description="What is done with amounts that were sent: refused where they do not add up as this dialect "
        "reads them; used as it reads them, so that a wrong reading is a CFDI with other amounts; or not looked at "
        "(Cantidad, Precio, Descuento and the rates are enough).",
    )
    tipo_retencion: Literal["percent", "fraction", "list", "word"] = Field(
        "percent",
        description="TipoRetIVA: 4, 0.04, the number of an entry of a list, or the entry's word (RETENCIONES).",
    )
    lists_withholdings: bool = Field(
        True, description="utiles.json has the list of withholdings, where `tipo_retencion` is of a list."
    )
    rates: Literal["percent", "fraction"] = Field(
        "percent", description="PorcentajeIVA and TasaISR: 16 and 10, or 0.16 and 0.10."
    )
    numbers: Literal["number", "string", "either"] = Field(
        "number", description="Amounts, quantities and rates are JSON numbers, texts, or both are taken."
    )
    tipo_egreso: Literal["Nota de Credito", "Nota de Crédito", "NotaCredito", "Egreso", "E"] = Field(
        "Nota de Credito", description="TipoComprobante of a credit note."
    )
    moneda: Literal["sat", "pesos", "names"] = Field(
        "sat", description="How lists call currencies: MXN, PESOS (as the bulk template does), Peso mexicano."
    )
    peso_id: Literal["dealt", "one"] = Field("dealt", description="IdMoneda of pesos: any number, or 1.")
    forma_pago: Literal["starts_with_key", "exact", "dashed", "key", "description", "ignored"] = Field(
        "starts_with_key",
        description="What the text FormaDePago must be, beside IdFormaDePago (exact: 03 Transferencia..., dashed: 03 - "
        "Transferencia...).",
    )
    comentarios: Literal["replaces", "appended", "ignored"] = Field(
        "replaces", description="What Comentarios is to Descripcion, which else is the product's name."
    )
    relations: Literal["uuids", "objects", "text", "typed", "refused"] = Field(
        "uuids",
        description='CFDIRelacionados: ["UUID"], [{"UUID": "..."}], "UUID,UUID", [{"TipoRelacion": "04", "UUID": '
        '"..."}] (the one way for several kinds in one invoice), or not to be had by API.',
    )
    relation_type: Literal["number", "text"] = Field("number", description='TipoRelacion: 1, or "01".')
    payment_terms: Literal["taken", "refused"] = Field(
        "taken", description="CondicionesDePago: a field of the invoice, or none."
    )
    global_invoice: Literal["object", "flat", "automatic", "refused"] = Field(
        "object",
        description="InformacionGlobal {Periodicidad, Meses, Anio}; the three as fields of the root; made from Fecha "
        "(monthly) for PUBLICO EN GENERAL whatever is sent; or not to be had by API.",
    )
    unknown_fields: Literal["refused", "ignored"] = Field(
        "refused",
        description="A field of an invoice, or of one of its related CFDI, that has no meaning; where it is ignored a "
        "related CFDI without TipoRelacion takes the root's.",
    )
    customer_put: Literal["merge", "replace"] = Field(
        "merge", description="A field that a PUT leaves out stays as it was, or is emptied."
    )
    customer_needs: Literal["identity", "contact"] = Field(
        "identity",
        description="A customer needs RFC, RazonSocial, RegimenFiscal, CP; or Contacto, Calle and Pais (México) too.",
    )
    products: Literal["call", "404", "405", "refused", "no_id"] = Field(
        "call",
        description="productos.json lists and makes products; or there are only those made by hand, and the call is "
        "not found, not allowed, refused in words, or answers without an Id.",
    )
    look_up: Literal["bare", "plain", "echo", "resolved"] = Field(
        "plain",
        description="What factura.json says of an invoice: Id and UUID; its folio and Total; the body it was sent; or "
        "amounts, parties, series and currency as they were understood.",
    )
    utiles: Utiles = Field("assumed", description="The shape of utiles.json (see lists.py).")
    series: Literal["letter", "name", "both"] = Field(
        "letter", description="A series in a list: by the CFDI's Serie, by a name of its own, or by both."
    )
    list_keys: Literal["text", "number"] = Field(
        "text", description="Postcodes and payment forms in lists: 06000 and 03, or the numbers 6000 and 3."
    )
    active_flag: Literal["bool", "number", "word", "letter"] = Field(
        "bool", description="Whether a series is in use: true, 1, Activo, or S."
    )
    extra_lists: Literal["none", "unknown", "ambiguous"] = Field(
        "none",
        description="Other lists in utiles.json: banks, users and sellers; or a second one of places and currencies.",
    )
    mensaje: Literal["Mensaje", "Message", "Errores", "none"] = Field(
        "Mensaje",
        description="Under which name the words of an answer stand (Errores: a list), if there are any.",
    )
    envelope: Literal["Codigo", "codigo", "text"] = Field(
        "Codigo", description="The envelope's names in lower case; or Codigo as a text."
    )
    id_type: Literal["number", "text"] = Field(
        "number", description="Ids in answers about customers, products and invoices."
    )
    uuid_case: Literal["upper", "lower"] = Field(
        "upper", description="The UUID in an answer; the XML's is upper."
    )
    links: Literal["absolute", "relative"] = Field(
        "absolute",
        description="Links to documents, where they come as links: with the host, or from the root.",
    )
    ampersand: Literal["taken", "400"] = Field(
        "taken", description="A path with an escaped & is read, or answered with 400 and a page in HTML."
    )
    catalogue_ids: Literal["number", "guid"] = Field(
        "number",
        description="Ids of the account's own lists (IdRFC, IdSerie, IdMoneda ...): numbers, or GUIDs.",
    )


# What `list` and `word` withholdings say: (number where no list is reported, word, rate).
RETENCIONES: Final = (
    (0, "No aplica", Decimal(0)),
    (1, "10.6667 %", Decimal("0.106667")),
    (2, "4 %", Decimal("0.04")),
    (3, "6 %", Decimal("0.06")),
    (4, "16 %", Decimal("0.16")),
    (5, "5.3333 %", Decimal("0.053333")),
    (6, "8 %", Decimal("0.08")),
    (7, "3 %", Decimal("0.03")),
)

NAMED: Final[dict[str, dict[str, Any]]] = {
    "sources": {},
    "lenient": {"importe": "either", "subtotal": "either", "line_total": "either", "numbers": "either"},
    "gross": {"importe": "gross", "subtotal": "gross", "line_total": "with_withholdings"},
    "bulk_template": {
        "importe": "gross",
        "tipo_retencion": "word",
        "moneda": "pesos",
        "comentarios": "appended",
        "series": "name",
        "relations": "text",
    },
    "by_hand": {
        "products": "404",
        "utiles": "404",
        "customer_needs": "contact",
        "customer_put": "replace",
        "peso_id": "one",
    },
    "as_written": {
        "forma_pago": "exact",
        "customer_needs": "contact",
        "customer_put": "replace",
        "products": "404",
        "peso_id": "one",
        "look_up": "bare",
    },
    "uses_what_it_reads": {"importe": "gross", "line_total": "with_withholdings", "sums": "use"},
}


def named_dialect(name: str) -> SandboxDialect:
    """The dialect of this name; raises ValueError for an unknown one."""
    if name not in NAMED:
        raise ValueError(f"no such dialect: {name}; there are {', '.join(NAMED)}")
    return SandboxDialect(**NAMED[name])


def random_dialect(seed: int) -> SandboxDialect:
    """Any choice of every aspect, the same for the same seed; `either` is left out, since it decides nothing."""
    dice = random.Random(f"dialect:{seed}")
    return SandboxDialect(**{name: dice.choice(choices_of(name)) for name in SandboxDialect.model_fields})


def chosen_dialect(choice: Any) -> Any:
    """A dialect by name (a text) or from a seed (a whole number); anything else is left as it is."""
    if isinstance(choice, str):
        return named_dialect(choice)
    return random_dialect(choice) if isinstance(choice, int) else choice


def choices_of(aspect: str) -> list[Any]:
    """What an aspect can be, without the choice that takes everything."""
    annotation: Any = SandboxDialect.model_fields[aspect].annotation
    choices = [True, False] if annotation is bool else list(get_args(annotation))
    return [choice for choice in choices if choice != "either"]


def aspects() -> dict[str, dict[str, Any]]:
    """Every aspect with its meaning, its choices and its default, for GET /sandbox/dialects."""
    return {
        name: {"meaning": field.description, "choices": choices_of(name), "default": field.default}
        for name, field in SandboxDialect.model_fields.items()
    }
