"""Pieces of the examples that stand beside the rules: a line, its taxes.

An example is data for the tests and for `docs/validation.md`; no rule reads it.
"""

from cfdi.rules.rulebook import Changes

IVA: Changes = {"impuesto": "002", "tipo_factor": "Tasa", "tasa_o_cuota": "0.160000"}
EXEMPT: Changes = {"impuesto": "002", "tipo_factor": "Exento"}
WITHHELD: Changes = {"impuesto": "002", "tipo_factor": "Tasa", "tasa_o_cuota": "0.040000"}
FLETE: Changes = {
    "clave_prod_serv": "78141501",
    "cantidad": "1",
    "clave_unidad": "E48",
    "nombre": "Flete terrestre",
    "descripcion": "Flete terrestre",
    "valor_unitario": "100.00",
    "objeto_imp": "01",
}
"""A line without taxes, of 100.00."""


def line(**changes: object) -> Changes:
    """Change the first line."""
    return {f"conceptos[0].{name}": value for name, value in changes.items()}


def taxed(traslado: Changes | None = None, retencion: Changes | None = None, **changes: object) -> Changes:
    """Make of the first line one of 100.00 pesos with IVA, or another traslado, and perhaps a retencion."""
    pesos: Changes = {"moneda": "MXN", "tipo_cambio": None}
    return (
        pesos
        | line(
            cantidad="1",
            valor_unitario="100.00",
            importe=None,
            descuento=None,
            objeto_imp="02",
            traslados=[IVA if traslado is None else traslado],
            retenciones=[] if retencion is None else [retencion],
        )
        | line(**changes)
    )
