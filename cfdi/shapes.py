"""Every demand on the shape of an invoice, with an example that breaks it.

For `docs/validation.md` and for the test that holds each row against `read`; the product itself never imports
this, since some examples are as big as what they are refused for.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Shape:
    """A demand on the shape of an invoice, for `docs/validation.md` and its test."""

    code: str
    says: str
    field: str
    fails: dict[str, Any]
    """Changes to a valid invoice; a value of `...` takes the field away."""


SHAPES = (
    Shape("timbrado.no_es_objeto", "La factura es un objeto JSON.", "", {"": ["una lista"]}),
    Shape(
        "timbrado.no_es_json",
        "La factura solo trae valores que existen en JSON.",
        "account",
        {"account": {1}},
    ),
    Shape(
        "timbrado.demasiadas_lineas",
        "La factura tiene a lo más 5,000 conceptos.",
        "conceptos",
        {"conceptos": [{}] * 5_001},
    ),
    Shape("timbrado.demasiado_grande", "La factura ocupa a lo más 4 MB.", "", {"account": "a" * 4_000_001}),
    Shape("timbrado.version", "La versión es 1.", "version", {"version": 2}),
    Shape("timbrado.falta", "Todo campo obligatorio está.", "receptor.uso_cfdi", {"receptor.uso_cfdi": ...}),
    Shape("timbrado.campo_desconocido", "No hay campos desconocidos.", "UsoCFDI", {"UsoCFDI": "G03"}),
    Shape(
        "timbrado.tipo",
        "Cada campo trae el tipo de valor que le toca.",
        "conceptos[0].clave_prod_serv",
        {"conceptos[0].clave_prod_serv": 78101802},
    ),
    Shape(
        "timbrado.numero_sin_comillas", "Los importes van entre comillas.", "subtotal", {"subtotal": 15000.0}
    ),
    Shape(
        "timbrado.decimal_mal_escrito",
        "Los importes se escriben con dígitos y punto decimal.",
        "total",
        {"total": "16,800.00"},
    ),
    Shape(
        "timbrado.negativo",
        "Los importes no son negativos.",
        "conceptos[0].cantidad",
        {"conceptos[0].cantidad": "-1"},
    ),
    Shape(
        "timbrado.demasiados_decimales",
        "Los importes tienen a lo más 6 decimales.",
        "conceptos[0].valor_unitario",
        {"conceptos[0].valor_unitario": "1.0000001"},
    ),
    Shape(
        "timbrado.demasiados_digitos",
        "Los importes tienen a lo más 18 dígitos enteros.",
        "total",
        {"total": "1234567890123456789.00"},
    ),
    Shape(
        "timbrado.texto_roto",
        "Los textos son Unicode.",
        "conceptos[0].nombre",
        {"conceptos[0].nombre": "Flete \ud83d"},
    ),
    Shape("CFDI40101", "La fecha lleva día, hora y zona horaria.", "fecha", {"fecha": "2026-11-23T10:15:00"}),
)
"""Every fault of shape, with an example of each."""
