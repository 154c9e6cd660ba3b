"""What pydantic found wrong with the shape of an invoice, as faults that a user reads.

pydantic's texts are English and meant for programmers; none leaves this module. What a user could not have written
otherwise is the application's own defect: the fault says so, and its `detail` says to the application's developers
what came, what was expected, and which field was probably meant.
"""

import json
import unicodedata
from collections.abc import Mapping
from decimal import Decimal
from difflib import get_close_matches

from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from timbrado_client.faults import Fault, Whose, path_of
from timbrado_client.labels import Model, node_in

NOT_YOUR_FAULT = "No es culpa tuya: escribe a soporte de Apunto."

_OTHER_NAMES = {
    "fechaemision": "fecha",
    "ano": "anio",
    "year": "anio",
    "codigopostal": "domicilio_fiscal_receptor",
    "cp": "domicilio_fiscal_receptor",
    "postalcode": "domicilio_fiscal_receptor",
    "zipcode": "domicilio_fiscal_receptor",
    "razonsocial": "nombre",
    "legalname": "nombre",
    "name": "nombre",
    "description": "descripcion",
    "identification": "rfc",
    "taxid": "rfc",
    "regimenfiscal": "regimen_fiscal_receptor",
    "taxregime": "regimen_fiscal_receptor",
    "taxregimecode": "regimen_fiscal_receptor",
    "precio": "valor_unitario",
    "preciounitario": "valor_unitario",
    "price": "valor_unitario",
    "unitprice": "valor_unitario",
    "quantity": "cantidad",
    "discount": "descuento",
    "unitcode": "clave_unidad",
    "productcode": "clave_prod_serv",
    "productkey": "clave_prod_serv",
    "sku": "no_identificacion",
    "productos": "conceptos",
    "lineas": "conceptos",
    "items": "conceptos",
    "lineitems": "conceptos",
    "cliente": "receptor",
    "contact": "receptor",
    "customer": "receptor",
    "tasa": "tasa_o_cuota",
    "rate": "tasa_o_cuota",
    "tipocomprobante": "tipo_de_comprobante",
    "currency": "moneda",
    "currencycode": "moneda",
    "exchangerate": "tipo_cambio",
    # Apunto's API has these two the other way round from the SAT: its payment_method_code is "01", its
    # payment_type_code is "PUE"
    "paymentmethodcode": "forma_pago",
    "paymenttypecode": "metodo_pago",
    "cfdiusecode": "uso_cfdi",
}
"""Fields by the names that other systems, Apunto's API first, have for them; no likeness of letters leads there."""

_CAPTURED = frozenset(
    {
        *("fecha", "forma_pago", "metodo_pago", "moneda", "receptor", "conceptos", "nombre", "rfc"),
        *("domicilio_fiscal_receptor", "regimen_fiscal_receptor", "uso_cfdi", "clave_prod_serv", "cantidad"),
        *("clave_unidad", "descripcion", "valor_unitario", "periodicidad", "meses", "anio", "tipo_relacion"),
        *("lugar_expedicion", "uuids"),
    }
)
"""Fields that a user captures, and so can complete; the others the application fills in."""


def explain(root: Model, detail: ErrorDetails, within: str = "") -> Fault:
    """Put one finding of pydantic's into words; `root` is the model that was validated, `within` the path to it."""
    location, value, kind = detail["loc"], detail["input"], detail["type"]
    owner, name, field = _field_at(root, location)
    path = path_of((within, *location) if within else location)
    label = Fault("", path).label
    example = field.examples[0] if field is not None and field.examples else None
    if location and isinstance(location[-1], int):
        example = example[0] if isinstance(example, list) else None
    like = f", for example {_shown(example)}" if example is not None else ""

    def fault(code: str, message: str, fix: str, detail: str = "", whose: Whose | None = None) -> Fault:
        return Fault(code, path, message, fix, whose=whose, detail=detail)

    if kind == "missing" or (value is None and kind in _EXPECTED):
        if name in _CAPTURED:
            return fault(
                "timbrado.falta",
                f"Falta un dato: {label}.",
                "Captúralo en Apunto y envía la factura de nuevo. Si ya está capturado, es un error de Apunto: "
                "escribe a soporte.",
                f"missing{like}",
                "user",
            )
        return fault(
            "timbrado.falta",
            f"Apunto envió la factura sin un dato: {label}.",
            NOT_YOUR_FAULT,
            f"missing{like}",
        )
    match kind:
        case "extra_forbidden":
            nearest = _nearest(name, owner)
            meant = f"did you mean {nearest}?" if nearest else "leave it out"
            return fault(
                "timbrado.campo_desconocido",
                "Apunto envió un dato que no es parte de la factura.",
                NOT_YOUR_FAULT,
                f"unknown field; {meant}",
            )
        case "amount_is_a_number":
            return fault(
                "timbrado.numero_sin_comillas",
                f"Apunto envió mal un dato: {label}.",
                NOT_YOUR_FAULT,
                f"the number {_shown(value)} came; send a decimal string, {_quoted(value)}",
            )
        case "amount_malformed":
            return fault(
                "timbrado.decimal_mal_escrito",
                f"Apunto envió mal un dato: {label}.",
                NOT_YOUR_FAULT,
                f"{_shown(value)} is no decimal: digits and one point, without commas, blanks or signs{like}",
            )
        case "amount_negative":
            return fault(
                "timbrado.negativo",
                f"{label}: {value} es una cantidad negativa.",
                "Escribe una cantidad positiva; para devolver o descontar haz una nota de crédito.",
            )
        case "amount_too_fine":
            return fault(
                "timbrado.demasiados_decimales",
                f"Apunto envió un dato con más de 6 decimales: {label}.",
                NOT_YOUR_FAULT,
                f"{_shown(value)} has more than 6 decimals; round it",
            )
        case "amount_too_long":
            return fault(
                "timbrado.demasiados_digitos",
                f"{label}: la cantidad es demasiado grande, tiene más de 18 dígitos.",
                "Revisa la cantidad y corrígela.",
            )
        case "instant_malformed" | "instant_without_zone":
            wrong = "has no zone" if kind == "instant_without_zone" else "is no RFC 3339 instant"
            return fault(
                "CFDI40101",
                "Apunto envió mal la fecha de la factura.",
                NOT_YOUR_FAULT,
                f"{_shown(value)} {wrong}{like}",
                "apunto",
            )
        case "text_broken" | "string_unicode":  # the second is pydantic's, of a field's name
            return fault(
                "timbrado.texto_roto",
                f"Apunto envió mal un texto: {label}." if label else "Apunto envió mal un texto.",
                NOT_YOUR_FAULT,
                "a lone surrogate, which is no Unicode text",
            )
        case "version_unknown":
            return fault(
                "timbrado.version",
                "Apunto envió la factura en una versión que el servicio de timbrado no conoce.",
                NOT_YOUR_FAULT,
                f"{_shown(value)} came; the version of this contract is 1",
            )
        case _:
            return fault(
                "timbrado.tipo",
                f"Apunto envió mal un dato: {label}.",
                NOT_YOUR_FAULT,
                f"{_came(value)} came, expected is {_EXPECTED.get(kind, 'another kind of value')}{like}",
            )


_EXPECTED = {
    "text_expected": "a string",
    "amount_expected": "a decimal string",
    "instant_expected": "a string with an RFC 3339 instant",
    "year_expected": "a year of four digits",
    "id_expected": "a number, or a string that is not empty",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "dict_type": "an object",
    "tuple_type": "an array",
}


def _field_at(root: Model, location: tuple[str | int, ...]) -> tuple[Model | None, str, FieldInfo | None]:
    """Return the node, the name and the field a location leads to; the field is None for an unknown name."""
    model: Model | None = root
    owner, name, field = model, "", None
    for step in location:
        if isinstance(step, int):
            continue
        owner, name = model, step
        field = model.model_fields.get(step) if model is not None else None
        model = node_in(field.annotation)[0] if field is not None else None
    return owner, name, field


def _key(name: str) -> str:
    """Return a name without what spellings differ in: UsoCFDI, uso_cfdi and usoCfdi are one."""
    return "".join(letter for letter in unicodedata.normalize("NFD", name).lower() if letter.isalnum())


def _nearest(name: str, model: Model | None) -> str | None:
    """Return the field of a node that an unknown name most likely meant."""
    if model is None or len(name) > 60:
        return None
    keys = {_key(known): known for known in model.model_fields}
    key = _key(name)
    if _OTHER_NAMES.get(key) in model.model_fields:
        return _OTHER_NAMES[key]
    close = get_close_matches(key, keys, n=1, cutoff=0.75)
    return keys[close[0]] if close else None


def _came(value: object) -> str:
    """Name the kind of a JSON value."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float() | Decimal():
            return "a number"
        case str():
            return "a string"
        case Mapping():
            return "an object"
        case list() | tuple():
            return "an array"
        case _:
            return "something else"


def _shown(value: object) -> str:
    """Return a value as JSON, short enough for a sentence."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _quoted(value: object) -> str:
    """Write a JSON number as the string it should have been; money gets its two decimals."""
    number = Decimal(str(value))
    if not number.is_finite():
        return '"0.00"'
    text = f"{number:f}"
    return f'"{text}"' if "." in text and len(text.partition(".")[2]) > 1 else f'"{number:.2f}"'
