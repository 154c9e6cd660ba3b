"""What pydantic found, in a user's words.

The one thing a newcomer would get wrong: pydantic's own texts are English and meant for programmers; none leaves
this module. A field is known to its reader by its title, and how it is written is shown by its example.
"""

import json
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from timbrado_client.faults import Fault, path_of

Model = type[BaseModel]
MAX_TOLD = 1_000
"""Faults told at once; whoever has more will find them after mending these."""


def explain(error: ValidationError, root: Model) -> list[Fault]:
    """Return every finding as a `Fault` with its path; `root` is the model that was validated."""
    details = error.errors(include_url=False, include_context=False)
    return [_told(root, detail) for detail in details[:MAX_TOLD]]


def _node_in(annotation: object) -> Model | None:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _place(root: Model, location: tuple[str | int, ...]) -> tuple[Model | None, str, FieldInfo | None]:
    """Return the node, the name and the field a location leads to; the field is None for an unknown name."""
    model: Model | None = root
    owner, name, field = model, "", None
    for step in location:
        if isinstance(step, int):
            continue
        owner, name = model, step
        field = model.model_fields.get(step) if model is not None else None
        model = _node_in(field.annotation) if field is not None else None
    return owner, name, field


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "verdadero o falso"
        case int() | float():
            return "un número"
        case str():
            return "un texto"
        case Mapping():
            return "un objeto"
        case _:
            return "una lista"


def _told(root: Model, detail: ErrorDetails) -> Fault:
    location, value = detail["loc"], detail["input"]
    owner, name, field = _place(root, location)
    title = (field.title or name) if field is not None else name
    example: Any = field.examples[0] if field is not None and field.examples else None
    if location and isinstance(location[-1], int):
        title = f"el elemento {location[-1] + 1} de {name}"
        example = example[0] if isinstance(example, list) else example
    code, message, fix = _words(
        detail["type"],
        what=title[:1].upper() + title[1:],
        name=name,
        value=value,
        like=f", por ejemplo {_shown(example)}" if example is not None else "",
        known=list(owner.model_fields) if owner is not None else [],
    )
    return Fault(code=code, field=path_of(location), message=message, fix=fix)


def _words(
    kind: str, *, what: str, name: str, value: object, like: str, known: list[str]
) -> tuple[str, str, str]:
    """Return (code, message, fix) of one kind of finding."""
    shown = _shown(value)
    match kind:
        case "missing":
            return "timbrado.falta", f"Falta un dato: {what}.", f"Agrega {name}{like}."
        case "extra_forbidden":
            near = (
                get_close_matches(name.lower().replace("-", "_"), known, n=1, cutoff=0.75)
                if len(name) < 60
                else []
            )
            fix = f"¿Quisiste decir {near[0]}?" if near else "Quítalo: no es parte de la factura."
            return "timbrado.campo_desconocido", f"No conocemos el campo {name}.", fix
        case "amount_is_a_number":
            return (
                "timbrado.numero_sin_comillas",
                f"{what}: llegó como número ({shown}) y se esperaba un texto con punto decimal.",
                f"Envíalo como texto (o como Decimal){like}.",
            )
        case "amount_malformed":
            return (
                "timbrado.decimal_mal_escrito",
                f"{what}: {shown} no es un número decimal.",
                f"Usa solo dígitos y un punto decimal, sin comas, espacios ni signos{like}.",
            )
        case "amount_negative":
            return (
                "timbrado.negativo",
                f"{what}: {shown} es negativo.",
                "Escribe una cantidad positiva; para devolver o descontar usa una nota de crédito (tipo E).",
            )
        case "amount_too_fine":
            return (
                "timbrado.demasiados_decimales",
                f"{what}: {shown} tiene más de 6 decimales.",
                "Redondéalo a 6 decimales como máximo.",
            )
        case "amount_too_long":
            return (
                "timbrado.demasiados_digitos",
                f"{what}: {shown} tiene más de 18 dígitos enteros.",
                "Revisa la cantidad: el SAT admite hasta 18 dígitos antes del punto.",
            )
        case "instant_malformed":
            return (
                "CFDI40101",
                f"La fecha {shown} no está bien escrita.",
                f"Escríbela con fecha, hora y zona{like}.",
            )
        case "instant_without_zone":
            return (
                "CFDI40101",
                f"La fecha {shown} no dice su zona horaria.",
                f"Agrega la zona al final{like}.",
            )
        case "text_broken":
            return (
                "timbrado.texto_roto",
                f"{what}: el texto trae caracteres que no existen en Unicode.",
                "Escríbelo de nuevo, sin copiarlo de otra aplicación.",
            )
        case "version_unknown":
            return (
                "timbrado.version",
                f"No conocemos la versión {shown} de la factura.",
                'Envía "version": 1.',
            )
        case _:
            wanted = _WANTED.get(kind, "otro tipo de valor")
            return (
                "timbrado.tipo",
                f"{what}: se esperaba {wanted} y llegó {_kind(value)}.",
                f"Envía {wanted}{like}.",
            )


_WANTED = {
    "text_expected": "un texto",
    "amount_expected": "un texto con un número decimal",
    "instant_expected": "un texto con fecha y hora",
    "year_expected": "un año de cuatro dígitos",
    "model_type": "un objeto",
    "model_attributes_type": "un objeto",
    "tuple_type": "una lista",
}
