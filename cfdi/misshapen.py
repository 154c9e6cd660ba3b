"""What is wrong with the shape of an invoice, in a user's words.

The one thing a newcomer would get wrong: pydantic's findings are English and meant for programmers; none of
their text may leave `told`, which knows a field by its title and shows how it is written by its example.
"""

import json
import unicodedata
from collections.abc import Mapping
from decimal import Decimal
from difflib import get_close_matches
from typing import get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from cfdi.faults import Fault, path_of

Model = type[BaseModel]
Location = tuple[str | int, ...]


def node_in(annotation: object) -> tuple[Model | None, bool]:
    """Return the node a field holds and whether it holds many: (Concepto, True) for conceptos."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    arguments = get_args(annotation)
    for argument in arguments:
        if isinstance(argument, type) and issubclass(argument, BaseModel):
            return argument, Ellipsis in arguments
    return None, False


def _field_at(root: Model, location: Location) -> tuple[Model | None, str, FieldInfo | None]:
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
    plain = unicodedata.normalize("NFD", name)
    return "".join(c for c in plain.lower() if c.isalnum())


# Names that users of other systems write, which no likeness of letters would lead to ours.
_OTHER_NAMES = {
    "fechaemision": "fecha",
    "ano": "anio",
    "year": "anio",
    "codigopostal": "domicilio_fiscal_receptor",
    "cp": "domicilio_fiscal_receptor",
    "razonsocial": "nombre",
    "regimenfiscal": "regimen_fiscal_receptor",
    "precio": "valor_unitario",
    "preciounitario": "valor_unitario",
    "productos": "conceptos",
    "lineas": "conceptos",
    "items": "conceptos",
    "cliente": "receptor",
    "tasa": "tasa_o_cuota",
    "tipocomprobante": "tipo_de_comprobante",
}


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


def _kind(value: object) -> str:
    """Name what came, in a user's words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "verdadero o falso"
    if isinstance(value, int | float | Decimal):
        return "un número"
    if isinstance(value, str):
        return "un texto"
    if isinstance(value, Mapping):
        return "un objeto"
    return "una lista" if isinstance(value, list | tuple) else "otra cosa"


def _shown(value: object) -> str:
    """Return a value as JSON, short enough for a sentence."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def told(root: Model, detail: ErrorDetails) -> Fault:
    """Translate one finding of pydantic; what it says in English never leaves this function."""
    location, value, kind = detail["loc"], detail["input"], detail["type"]
    owner, name, field = _field_at(root, location)
    path = path_of(location)
    if location and isinstance(location[-1], int):
        title = f"el elemento {location[-1] + 1} de {name}"
        example = field.examples[0][0] if field is not None and field.examples else None
    else:
        title = field.title or name if field is not None else name
        example = field.examples[0] if field is not None and field.examples else None
    like = f", por ejemplo {_shown(example)}" if example is not None else ""
    what = title[:1].upper() + title[1:]

    def fault(code: str, message: str, fix: str) -> Fault:
        return Fault(f"timbrado.{code}", path, message, fix)

    match kind:
        case "missing":
            return fault("falta", f"Falta un dato: {title}.", f"Agrega {name}{like}.")
        case "extra_forbidden":
            nearest = _nearest(name, owner)
            fix = f"¿Quisiste decir {nearest}?" if nearest else "Quítalo: no es parte de la factura."
            return fault("campo_desconocido", f"No conocemos el campo {path}.", fix)
        case "amount_is_a_number":
            return fault(
                "numero_sin_comillas",
                f"{what}: llegó como número ({_shown(value)}) y se esperaba un texto con punto decimal.",
                f"Envíalo entre comillas: {_quoted(value)}.",
            )
        case "amount_malformed":
            return fault(
                "decimal_mal_escrito",
                f"{what}: {_shown(value)} no es un número decimal.",
                f"Usa solo dígitos y un punto decimal, sin comas, espacios ni signos{like}.",
            )
        case "amount_negative":
            return fault(
                "negativo",
                f"{what}: {_shown(value)} es negativo.",
                "Escribe una cantidad positiva; para devolver o descontar usa una nota de crédito (tipo E).",
            )
        case "amount_too_fine":
            return fault(
                "demasiados_decimales",
                f"{what}: {_shown(value)} tiene más de 6 decimales.",
                "Redondéalo a 6 decimales como máximo.",
            )
        case "amount_too_long":
            return fault(
                "demasiados_digitos",
                f"{what}: {_shown(value)} tiene más de 18 dígitos enteros.",
                "Revisa la cantidad: el SAT admite hasta 18 dígitos antes del punto.",
            )
        case "instant_malformed":
            return Fault(
                "CFDI40101",
                path,
                f"La fecha {_shown(value)} no está bien escrita.",
                f"Escríbela con fecha, hora y zona{like}.",
            )
        case "instant_without_zone":
            return Fault(
                "CFDI40101",
                path,
                f"La fecha {_shown(value)} no dice su zona horaria.",
                f"Agrega la zona al final{like}.",
            )
        case "text_broken":
            return fault(
                "texto_roto",
                f"{what}: el texto trae caracteres que no existen en Unicode.",
                "Escríbelo de nuevo, sin copiarlo de otra aplicación.",
            )
        case "version_unknown":
            return fault(
                "version",
                f"No conocemos la versión {_shown(value)} de la factura.",
                'Envía "version": 1.',
            )
        case _:
            wanted = _WANTED.get(kind, "otro tipo de valor")
            fix = f"Envía {wanted}{like}."
            if kind == "text_expected" and isinstance(value, int | float) and not isinstance(value, bool):
                fix = f"Envíalo entre comillas{like}."
            return fault("tipo", f"{what}: se esperaba {wanted} y llegó {_kind(value)}.", fix)


_WANTED = {
    "text_expected": "un texto",
    "amount_expected": "un texto con un número decimal",
    "instant_expected": "un texto con fecha y hora",
    "year_expected": "un año de cuatro dígitos",
    "model_type": "un objeto",
    "model_attributes_type": "un objeto",
    "dict_type": "un objeto",
    "tuple_type": "una lista",
}


def _quoted(value: object) -> str:
    """Write a JSON number as the string it should have been; money gets its two decimals."""
    number = Decimal(str(value))
    if not number.is_finite():
        return '"0.00"'
    text = f"{number:f}"
    return f'"{text}"' if "." in text and len(text.partition(".")[2]) > 1 else f'"{number:.2f}"'
