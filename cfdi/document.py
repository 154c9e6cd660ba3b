"""The invoice as Apunto sends it: its shape, and nothing but its shape.

`read` turns what came through the broker into an `Invoice` or tells, in Spanish and all at once, which
fields are missing, unknown or of the wrong kind. Whether the SAT would take it is for `cfdi.validation`.
The one thing a newcomer would get wrong: amounts come as strings (`"0.160000"`), because their printed
decimals matter to the SAT and a JSON number loses them; a number is refused, never converted.
"""

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from cfdi.faults import Fault, path_of

MAX_LINES = 5_000
"""Lines of one invoice."""
MAX_BYTES = 1_000_000
"""Size of one invoice, as compact JSON in UTF-8."""

# t_Importe of tdCFDI.xsd, with the sign let through so that the fault can speak of it.
_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")
DECIMAL_PATTERN = r"^[0-9]{1,18}(\.[0-9]{1,6})?$"
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)?")


class Unreadable(ValueError):
    """The invoice has not the shape of the contract; `faults` says everything that is wrong with it."""

    def __init__(self, faults: Sequence[Fault], readable: "Invoice | None" = None) -> None:
        super().__init__(f"unreadable invoice: {len(faults)} faults")
        self.faults = tuple(faults)
        self.readable = readable
        """What could be read all the same; a field that could not raises `Unseen`."""


class Unseen(LookupError):
    """A question about a field that could not be read: it has no answer yet."""


# --- the kinds of value -------------------------------------------------------------------------------


def _read_text(value: object) -> str:
    """Take a text as XSD's whiteSpace=collapse would leave it: no blanks at the ends nor doubled inside."""
    if type(value) is not str:
        raise PydanticCustomError("text_expected", "text expected")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise PydanticCustomError("text_broken", "lone surrogate") from None
    if "  " in value:
        value = re.sub(" {2,}", " ", value)
    return value.strip(" ")


def _read_name(value: object) -> str:
    """Take a name as the SAT writes it: upper case, single blanks; accents and Ñ stay."""
    return _read_text(value).upper()


def _read_amount(value: object) -> Decimal:
    """Take a decimal written as a string; its scale is kept."""
    if type(value) is not str:
        if isinstance(value, int | float) and not isinstance(value, bool):
            raise PydanticCustomError("amount_is_a_number", "decimal string expected")
        raise PydanticCustomError("amount_expected", "decimal string expected")
    if _DECIMAL.fullmatch(value) is None:
        raise PydanticCustomError("amount_malformed", "not a decimal")
    whole, _, fraction = value.partition(".")
    if whole.startswith("-"):
        raise PydanticCustomError("amount_negative", "negative")
    if len(fraction) > 6:
        raise PydanticCustomError("amount_too_fine", "more than 6 decimals")
    if len(whole) > 18:
        raise PydanticCustomError("amount_too_long", "more than 18 digits")
    return Decimal(value)


def _read_instant(value: object) -> datetime:
    """Take an RFC 3339 instant; one without its zone is refused, since nobody can tell what it means."""
    if isinstance(value, datetime):
        text = value.isoformat()
    elif isinstance(value, str):
        text = value.strip()
    else:
        raise PydanticCustomError("instant_expected", "instant expected")
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise PydanticCustomError("instant_malformed", "not RFC 3339")
    fraction, zone = match.groups()
    if zone is None:
        raise PydanticCustomError("instant_without_zone", "no zone")
    if fraction is not None:  # Fecha has whole seconds
        text = text.replace(fraction, "", 1)
    try:
        return datetime.fromisoformat(text.upper())
    except ValueError:
        raise PydanticCustomError("instant_malformed", "no such instant") from None


def _read_year(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch("[0-9]{4}", value):
        return int(value)
    raise PydanticCustomError("year_expected", "year expected")


def _read_version(value: object) -> int:
    if type(value) is int and value == 1:
        return 1
    raise PydanticCustomError("version_unknown", "version 1 expected")


def _blank_is_none(value: object) -> object:
    """Take an empty field of a form for what it means: nothing was said."""
    return None if isinstance(value, str) and not value.strip() else value


def _null_is_empty(value: object) -> object:
    return () if value is None else value


_DECIMAL_SCHEMA = {"type": "string", "pattern": DECIMAL_PATTERN}
_INSTANT_SCHEMA = {"type": "string", "format": "date-time"}

Text = Annotated[str, BeforeValidator(_read_text), WithJsonSchema({"type": "string"})]
Name = Annotated[str, BeforeValidator(_read_name), WithJsonSchema({"type": "string"})]
Amount = Annotated[Decimal, BeforeValidator(_read_amount), WithJsonSchema(_DECIMAL_SCHEMA)]
Instant = Annotated[datetime, BeforeValidator(_read_instant), WithJsonSchema(_INSTANT_SCHEMA)]
Year = Annotated[int, BeforeValidator(_read_year), WithJsonSchema({"type": ["integer", "string"]})]
Version = Annotated[int, BeforeValidator(_read_version), WithJsonSchema({"const": 1})]
MaybeText = Annotated[Text | None, BeforeValidator(_blank_is_none)]
MaybeAmount = Annotated[Amount | None, BeforeValidator(_blank_is_none)]
MaybeInstant = Annotated[Instant | None, BeforeValidator(_blank_is_none)]


class Node(BaseModel):
    """A node of the invoice. `title` names a field to a user, `examples` shows how it is written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name in type(self).model_fields:
                raise Unseen(name)
            return super().__getattr__(name)


# --- the nodes ----------------------------------------------------------------------------------------


class Receptor(Node):
    """Who receives the invoice (nodo Receptor)."""

    rfc: Text = Field(title="RFC del cliente", examples=["XIA190128J61"])
    nombre: Name = Field(title="nombre o razón social del cliente", examples=["XENON INDUSTRIAL ARTICLES"])
    domicilio_fiscal_receptor: Text = Field(
        title="código postal del domicilio fiscal del cliente", examples=["76343"]
    )
    regimen_fiscal_receptor: Text = Field(title="régimen fiscal del cliente", examples=["601"])
    uso_cfdi: Text = Field(title="uso del CFDI", examples=["G03"])
    email: MaybeText = Field(None, title="correo del cliente", examples=["cliente@ejemplo.mx"])
    residencia_fiscal: MaybeText = Field(
        None, title="residencia fiscal", description="No se admite en esta versión.", examples=[None]
    )
    num_reg_id_trib: MaybeText = Field(
        None,
        title="registro de identidad tributaria",
        description="No se admite en esta versión.",
        examples=[None],
    )


class Impuesto(Node):
    """What a Traslado and a Retencion of a line have in common."""

    impuesto: Text = Field(title="clave del impuesto", examples=["002"])
    tipo_factor: Text = Field(title="tipo de factor", examples=["Tasa"])
    tasa_o_cuota: MaybeAmount = Field(None, title="tasa", examples=["0.160000"])
    base: MaybeAmount = Field(
        None, title="base", description="Lo que se le mostró al usuario: se revisa.", examples=["100.00"]
    )
    importe: MaybeAmount = Field(
        None, title="importe", description="Lo que se le mostró al usuario: se revisa.", examples=["16.00"]
    )


class Traslado(Impuesto):
    """A tax added to a line (nodo Traslado): IVA."""


class Retencion(Impuesto):
    """A tax withheld from a line (nodo Retencion): IVA or ISR."""


class Concepto(Node):
    """One line of the invoice (nodo Concepto)."""

    clave_prod_serv: Text = Field(title="clave de producto o servicio", examples=["78101802"])
    no_identificacion: MaybeText = Field(None, title="número de identificación", examples=["FLT-01"])
    cantidad: Amount = Field(title="cantidad", examples=["1"])
    clave_unidad: Text = Field(title="clave de unidad", examples=["E48"])
    unidad: MaybeText = Field(None, title="unidad", examples=["Servicio"])
    nombre: Text = Field(title="nombre del producto o servicio", examples=["Flete terrestre"])
    descripcion: Text = Field(title="descripción", examples=["Flete Monterrey - Laredo, OP-10234"])
    valor_unitario: Amount = Field(title="valor unitario", examples=["15000.00"])
    importe: MaybeAmount = Field(
        None, title="importe", description="Lo que se le mostró al usuario: se revisa.", examples=["15000.00"]
    )
    descuento: MaybeAmount = Field(None, title="descuento", examples=["0.00"])
    objeto_imp: Text = Field(title="objeto de impuesto", examples=["02"])
    traslados: Annotated[tuple[Traslado, ...], BeforeValidator(_null_is_empty)] = Field(
        (), title="impuestos trasladados"
    )
    retenciones: Annotated[tuple[Retencion, ...], BeforeValidator(_null_is_empty)] = Field(
        (), title="impuestos retenidos"
    )


class InformacionGlobal(Node):
    """The period of a global invoice to PUBLICO EN GENERAL (nodo InformacionGlobal)."""

    periodicidad: Text = Field(title="periodicidad", examples=["04"])
    meses: Text = Field(title="mes o bimestre", examples=["11"])
    anio: Year = Field(title="año", examples=[2026])


class CfdiRelacionados(Node):
    """The CFDI this one refers to (nodo CfdiRelacionados)."""

    tipo_relacion: Text = Field(title="tipo de relación", examples=["01"])
    uuids: tuple[Text, ...] = Field(
        title="folios fiscales relacionados", examples=[["9932113E-09AC-47BA-8E8C-6F83100C814F"]]
    )


class FilaTraslado(Node):
    """A row of the invoice's tax summary (nodo Impuestos/Traslados/Traslado)."""

    impuesto: Text = Field(title="clave del impuesto", examples=["002"])
    tipo_factor: Text = Field(title="tipo de factor", examples=["Tasa"])
    tasa_o_cuota: MaybeAmount = Field(None, title="tasa", examples=["0.160000"])
    base: MaybeAmount = Field(None, title="base", examples=["100.00"])
    importe: MaybeAmount = Field(None, title="importe", examples=["16.00"])


class FilaRetencion(Node):
    """A row of the invoice's withholdings (nodo Impuestos/Retenciones/Retencion)."""

    impuesto: Text = Field(title="clave del impuesto", examples=["002"])
    importe: MaybeAmount = Field(None, title="importe", examples=["4.00"])


class Impuestos(Node):
    """The invoice's tax summary (nodo Impuestos), as Apunto showed it: checked, never trusted."""

    total_impuestos_trasladados: MaybeAmount = Field(
        None, title="total de impuestos trasladados", examples=["16.00"]
    )
    total_impuestos_retenidos: MaybeAmount = Field(
        None, title="total de impuestos retenidos", examples=["4.00"]
    )
    traslados: Annotated[tuple[FilaTraslado, ...], BeforeValidator(_null_is_empty)] = Field(
        (), title="resumen de impuestos trasladados"
    )
    retenciones: Annotated[tuple[FilaRetencion, ...], BeforeValidator(_null_is_empty)] = Field(
        (), title="resumen de impuestos retenidos"
    )


class Invoice(Node):
    """An invoice as Apunto sends it, version 1 of the contract."""

    version: Version = Field(1, title="versión", examples=[1])
    account: Text = Field(title="cuenta", examples=["acme"])
    external_id: Text = Field(title="identificador de la factura", examples=["OP-10234-1"])
    tipo_de_comprobante: Text = Field(
        title="tipo de comprobante", description="I ingreso, E egreso (nota de crédito).", examples=["I"]
    )
    fecha: MaybeInstant = Field(
        None,
        title="fecha",
        description="Si falta, el momento del timbrado en el lugar de expedición.",
        examples=["2026-11-23T10:15:00-06:00"],
    )
    forma_pago: Text = Field(title="forma de pago", examples=["03"])
    metodo_pago: Text = Field(title="método de pago", examples=["PUE"])
    condiciones_de_pago: MaybeText = Field(None, title="condiciones de pago", examples=["30 días"])
    moneda: Text = Field(title="moneda", examples=["MXN"])
    tipo_cambio: MaybeAmount = Field(None, title="tipo de cambio", examples=["18.2345"])
    exportacion: Text = Field("01", title="exportación", examples=["01"])
    lugar_expedicion: Text = Field(title="código postal del lugar de expedición", examples=["64000"])
    confirmacion: MaybeText = Field(
        None, title="confirmación", description="No se admite en esta versión.", examples=[None]
    )
    informacion_global: InformacionGlobal | None = Field(None, title="información global")
    cfdi_relacionados: CfdiRelacionados | None = Field(None, title="CFDI relacionados")
    receptor: Receptor = Field(title="datos del cliente")
    conceptos: tuple[Concepto, ...] = Field(title="conceptos")
    impuestos: Impuestos | None = Field(None, title="resumen de impuestos")
    subtotal: Amount = Field(title="subtotal", examples=["15000.00"])
    descuento: MaybeAmount = Field(None, title="descuento", examples=["0.00"])
    total: Amount = Field(title="total", examples=["16800.00"])
    send_to: Annotated[tuple[Text, ...], BeforeValidator(_null_is_empty)] = Field(
        (), title="correos a los que se envía", examples=[["cliente@ejemplo.mx"]]
    )


# --- reading ------------------------------------------------------------------------------------------


def read(raw: object) -> Invoice:
    """Return the invoice that `raw` (parsed JSON) holds, or raise `Unreadable` with every fault of shape."""
    refusal = _too_much(raw)
    if refusal is not None:
        raise Unreadable([refusal])
    try:
        return Invoice.model_validate(raw)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
    faults = [_told(detail) for detail in details]
    broken = {detail["loc"] for detail in details}
    readable = _what_can_be_read(Invoice, raw, (), broken) if isinstance(raw, dict) else None
    raise Unreadable(faults, readable) from None


def _too_much(raw: object) -> Fault | None:
    """Refuse what is no JSON object, or too big to look at."""
    if not isinstance(raw, dict):
        return Fault(
            "timbrado.no_es_objeto",
            "",
            "La factura no llegó como un objeto JSON.",
            'Envía un objeto con los campos de la factura: {"version": 1, "account": ...}.',
        )
    conceptos = raw.get("conceptos")
    if isinstance(conceptos, list) and len(conceptos) > MAX_LINES:
        return Fault(
            "timbrado.demasiadas_lineas",
            "conceptos",
            f"La factura tiene {len(conceptos):,} conceptos y el máximo es {MAX_LINES:,}.",
            "Divide la operación en varias facturas.",
        )
    try:
        size = len(
            json.dumps(raw, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
        )
    except (TypeError, ValueError, RecursionError):
        return Fault(
            "timbrado.no_es_json",
            "",
            "La factura trae valores que no existen en JSON.",
            "Envía solo textos, números, listas, objetos y null.",
        )
    if size > MAX_BYTES:
        return Fault(
            "timbrado.demasiado_grande",
            "",
            f"La factura ocupa {size:,} bytes y el máximo es {MAX_BYTES:,}.",
            "Divide la operación en varias facturas o acorta las descripciones.",
        )
    return None


@cache
def _reader(model: type[Node], name: str) -> TypeAdapter[Any]:
    return TypeAdapter(model.model_fields[name].rebuild_annotation())


def _node_in(annotation: object) -> tuple[type[Node] | None, bool]:
    """Return the node a field holds and whether it holds many: (Concepto, True) for conceptos."""
    if isinstance(annotation, type) and issubclass(annotation, Node):
        return annotation, False
    arguments = get_args(annotation)
    for argument in arguments:
        if isinstance(argument, type) and issubclass(argument, Node):
            return argument, Ellipsis in arguments
    return None, False


Location = tuple[str | int, ...]


def _what_can_be_read(model: type[Node], raw: Any, at: Location, broken: set[Location]) -> Any:
    """Build a node from whatever parts of it are sound; a part that is not is left out, and so `Unseen`."""
    parts: dict[str, Any] = {}
    for name, field in model.model_fields.items() if isinstance(raw, dict) else ():
        here = (*at, name)
        if here in broken:
            continue
        value = raw.get(name)
        inner, many = _node_in(field.annotation)
        if name not in raw:
            parts[name] = field.default
        elif inner is not None and many:
            rows = value or ()
            parts[name] = tuple(
                _what_can_be_read(inner, row, (*here, n), broken) for n, row in enumerate(rows)
            )
        elif inner is not None:
            parts[name] = None if value is None else _what_can_be_read(inner, value, here, broken)
        elif not any(loc[: len(here)] == here for loc in broken):
            parts[name] = _reader(model, name).validate_python(value)
    node = model.model_construct()
    node.__dict__.clear()
    node.__dict__.update(parts)
    return node


# --- telling what is wrong ----------------------------------------------------------------------------


def _field_at(location: Location) -> tuple[type[Node] | None, str, FieldInfo | None]:
    """Return the node, the name and the field a location leads to; the field is None for an unknown name."""
    model: type[Node] | None = Invoice
    owner, name, field = model, "", None
    for step in location:
        if isinstance(step, int):
            continue
        owner, name = model, step
        field = model.model_fields.get(step) if model is not None else None
        model = _node_in(field.annotation)[0] if field is not None else None
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


def _nearest(name: str, model: type[Node] | None) -> str | None:
    """Return the field of a node that an unknown name most likely meant."""
    if model is None:
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


def _told(detail: ErrorDetails) -> Fault:
    """Translate one finding of pydantic; what it says in English never leaves this function."""
    location, value, kind = detail["loc"], detail["input"], detail["type"]
    owner, name, field = _field_at(location)
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


# --- places -------------------------------------------------------------------------------------------

_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


def place_of(path: str) -> tuple[tuple[int, int | str], ...]:
    """Return a key that sorts paths as the contract orders its fields; what it does not know goes last."""
    model: type[Node] | None = Invoice
    place: list[tuple[int, int | str]] = []
    for name, number in _STEP.findall(path):
        if number:
            place.append((int(number), ""))
            continue
        order = list(model.model_fields) if model is not None else []
        # The emisor is not in the invoice as sent; in the CFDI it stands before everything told here.
        rank = -1 if name == "emisor" else order.index(name) if name in order else len(order)
        place.append((rank, name))
        field = model.model_fields.get(name) if model is not None else None
        model = _node_in(field.annotation)[0] if field is not None else None
    return tuple(place)
