"""The invoice as an application writes it: names of Anexo 20, in snake_case, as a dict or with these models.

This is its one definition: the application, the worker and the published JSON Schema read it. It is about shape alone;
what the SAT asks of the values is the worker's `cfdi` package.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    TypeAdapter,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)
from pydantic.config import JsonDict

from timbrado_client.kinds import (
    NULL_IS_EMPTY,
    Amount,
    Identifier,
    MaybeAmount,
    MaybeInstant,
    MaybeText,
    Name,
    RefusedText,
    RequiredText,
    Text,
    Version,
    Year,
)

MAX_LINES = 5_000
"""Lines of one invoice."""
MAX_BYTES = 4_000_000
"""Size of one invoice, as compact JSON in UTF-8: twice what 5,000 ordinary lines take."""


class Unseen(LookupError):
    """A question about a field that could not be read: it has no answer."""


# What the published schema says of a field beyond its kind. Reading does not look at it: a rule of the worker says the
# same with the SAT's code and in a user's words.
_RFC: JsonDict = {"pattern": "^[A-Z&Ñ]{3,4}[0-9]{6}[A-Z0-9]{2}[0-9A]$"}
_POSTCODE: JsonDict = {"pattern": "^[0-9]{5}$"}


def _up_to(longest: int) -> JsonDict:
    return {"minLength": 1, "maxLength": longest}


def _one_of(*values: str) -> JsonDict:
    return {"enum": list(values)}


class Node(BaseModel):
    """A node of the invoice. `title` names a field to a user, `examples` shows how it is written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name in type(self).model_fields:
                raise Unseen(name)
            return super().__getattr__(name)


class Receptor(Node):
    """Who receives the invoice (nodo Receptor)."""

    rfc: RequiredText = Field(title="RFC del cliente", examples=["XIA190128J61"], json_schema_extra=_RFC)
    nombre: Name = Field(
        title="nombre o razón social del cliente",
        description="Como en la Constancia de Situación Fiscal, sin régimen de capital.",
        examples=["XENON INDUSTRIAL ARTICLES"],
        json_schema_extra=_up_to(300),
    )
    domicilio_fiscal_receptor: RequiredText = Field(
        title="código postal del domicilio fiscal del cliente",
        examples=["76343"],
        json_schema_extra=_POSTCODE,
    )
    regimen_fiscal_receptor: RequiredText = Field(title="régimen fiscal del cliente", examples=["601"])
    uso_cfdi: RequiredText = Field(title="uso del CFDI", examples=["G03"])
    email: MaybeText = Field(None, title="correo del cliente", examples=["cliente@ejemplo.mx"])
    residencia_fiscal: RefusedText = Field(
        None, title="residencia fiscal", description="No se admite en esta versión.", examples=[None]
    )
    num_reg_id_trib: RefusedText = Field(
        None,
        title="registro de identidad tributaria",
        description="No se admite en esta versión.",
        examples=[None],
    )


class Impuesto(Node):
    """What a Traslado and a Retencion of a line have in common."""

    impuesto: RequiredText = Field(title="clave del impuesto", examples=["002"])
    tipo_factor: RequiredText = Field(
        title="tipo de factor", examples=["Tasa"], json_schema_extra=_one_of("Tasa", "Exento")
    )
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

    clave_prod_serv: RequiredText = Field(
        title="clave de producto o servicio",
        examples=["78101802"],
        json_schema_extra={"pattern": "^[0-9]{8}$"},
    )
    no_identificacion: MaybeText = Field(
        None, title="número de identificación", examples=["FLT-01"], json_schema_extra={"maxLength": 100}
    )
    cantidad: Amount = Field(title="cantidad", examples=["1"])
    clave_unidad: RequiredText = Field(title="clave de unidad", examples=["E48"])
    unidad: MaybeText = Field(
        None, title="unidad", examples=["Servicio"], json_schema_extra={"maxLength": 20}
    )
    nombre: RequiredText = Field(
        title="nombre del producto",
        examples=["Flete terrestre"],
        json_schema_extra={"minLength": 2, "maxLength": 50},
    )
    descripcion: RequiredText = Field(
        title="descripción", examples=["Flete Monterrey - Laredo, OP-10234"], json_schema_extra=_up_to(1000)
    )
    valor_unitario: Amount = Field(title="valor unitario", examples=["15000.00"])
    importe: MaybeAmount = Field(
        None, title="importe", description="Lo que se le mostró al usuario: se revisa.", examples=["15000.00"]
    )
    descuento: MaybeAmount = Field(None, title="descuento", examples=["0.00"])
    objeto_imp: RequiredText = Field(
        title="objeto de impuesto", examples=["02"], json_schema_extra=_one_of("01", "02", "03", "04")
    )
    traslados: Annotated[tuple[Traslado, ...], NULL_IS_EMPTY] = Field((), title="impuestos trasladados")
    retenciones: Annotated[tuple[Retencion, ...], NULL_IS_EMPTY] = Field((), title="impuestos retenidos")


class InformacionGlobal(Node):
    """The period of a global invoice to PUBLICO EN GENERAL (nodo InformacionGlobal)."""

    periodicidad: RequiredText = Field(title="periodicidad", examples=["04"])
    meses: RequiredText = Field(title="mes o bimestre", examples=["11"])
    anio: Year = Field(title="año", examples=[2026])


class CfdiRelacionados(Node):
    """The CFDI this one refers to (nodo CfdiRelacionados)."""

    tipo_relacion: RequiredText = Field(title="tipo de relación", examples=["01"])
    uuids: tuple[Text, ...] = Field(
        title="folios fiscales relacionados",
        examples=[["9932113E-09AC-47BA-8E8C-6F83100C814F"]],
        json_schema_extra={"minItems": 1},
    )


_ONE_RELATION: TypeAdapter[CfdiRelacionados] = TypeAdapter(CfdiRelacionados)


def _read_relations(value: object, read_many: ValidatorFunctionWrapHandler) -> Any:
    """Take one relation as an object, several as a list; faults keep the path that was sent."""
    if value is None:
        return ()
    if isinstance(value, Mapping | CfdiRelacionados):
        return (_ONE_RELATION.validate_python(value),)
    return read_many(value)


def _write_relations(relations: tuple[CfdiRelacionados, ...]) -> object:
    written = [each.model_dump(mode="json", exclude_unset=True) for each in relations]
    return written[0] if len(written) == 1 else written or None


Relations = Annotated[
    tuple[CfdiRelacionados, ...],
    WrapValidator(_read_relations),
    PlainSerializer(_write_relations, when_used="json"),
    WithJsonSchema(
        {
            "anyOf": [
                CfdiRelacionados.model_json_schema(),
                {"type": "array", "items": CfdiRelacionados.model_json_schema()},
                {"type": "null"},
            ]
        }
    ),
]
"""One object, a list of them, or null: a CFDI 4.0 has a node for each kind of relation."""


class FilaTraslado(Node):
    """A row of the invoice's tax summary (nodo Impuestos/Traslados/Traslado)."""

    impuesto: RequiredText = Field(title="clave del impuesto", examples=["002"])
    tipo_factor: RequiredText = Field(title="tipo de factor", examples=["Tasa"])
    tasa_o_cuota: MaybeAmount = Field(None, title="tasa", examples=["0.160000"])
    base: MaybeAmount = Field(None, title="base", examples=["100.00"])
    importe: MaybeAmount = Field(None, title="importe", examples=["16.00"])


class FilaRetencion(Node):
    """A row of the invoice's withholdings (nodo Impuestos/Retenciones/Retencion)."""

    impuesto: RequiredText = Field(title="clave del impuesto", examples=["002"])
    importe: MaybeAmount = Field(None, title="importe", examples=["4.00"])


class Impuestos(Node):
    """The invoice's tax summary (nodo Impuestos), as Apunto showed it: checked, never trusted."""

    total_impuestos_trasladados: MaybeAmount = Field(
        None, title="total de impuestos trasladados", examples=["16.00"]
    )
    total_impuestos_retenidos: MaybeAmount = Field(
        None, title="total de impuestos retenidos", examples=["4.00"]
    )
    traslados: Annotated[tuple[FilaTraslado, ...], NULL_IS_EMPTY] = Field(
        (), title="resumen de impuestos trasladados"
    )
    retenciones: Annotated[tuple[FilaRetencion, ...], NULL_IS_EMPTY] = Field(
        (), title="resumen de impuestos retenidos"
    )


class Invoice(Node):
    """An invoice, version 1 of the contract.

    `account` and `external_id` together are the idempotency key: the same pair is the same invoice, however often
    it is sent.
    """

    version: Version = Field(1, title="versión", examples=[1])
    account: Identifier = Field(title="cuenta", examples=["acme"], json_schema_extra=_up_to(100))
    external_id: Identifier = Field(
        title="identificador de la factura", examples=["OP-10234-1"], json_schema_extra=_up_to(100)
    )
    tipo_de_comprobante: RequiredText = Field(
        title="tipo de comprobante",
        description="I ingreso, E egreso (nota de crédito).",
        examples=["I"],
        json_schema_extra=_one_of("I", "E"),
    )
    fecha: MaybeInstant = Field(
        None,
        title="fecha",
        description="Si falta, el momento del timbrado en el lugar de expedición.",
        examples=["2026-11-23T10:15:00-06:00"],
    )
    forma_pago: RequiredText = Field(title="forma de pago", examples=["03"])
    metodo_pago: RequiredText = Field(
        title="método de pago", examples=["PUE"], json_schema_extra=_one_of("PUE", "PPD")
    )
    condiciones_de_pago: MaybeText = Field(
        None, title="condiciones de pago", examples=["30 días"], json_schema_extra={"maxLength": 1000}
    )
    moneda: RequiredText = Field(title="moneda", examples=["MXN"])
    tipo_cambio: MaybeAmount = Field(None, title="tipo de cambio", examples=["18.2345"])
    exportacion: RequiredText = Field(
        "01", title="exportación", examples=["01"], json_schema_extra={"const": "01"}
    )
    lugar_expedicion: RequiredText = Field(
        title="código postal del lugar de expedición", examples=["64000"], json_schema_extra=_POSTCODE
    )
    confirmacion: RefusedText = Field(
        None, title="confirmación", description="No se admite en esta versión.", examples=[None]
    )
    receptor: Receptor = Field(title="datos del cliente")
    conceptos: tuple[Concepto, ...] = Field(
        title="conceptos", json_schema_extra={"minItems": 1, "maxItems": MAX_LINES}
    )
    informacion_global: InformacionGlobal | None = Field(None, title="información global")
    cfdi_relacionados: Relations = Field((), title="CFDI relacionados")
    impuestos: Impuestos | None = Field(None, title="resumen de impuestos")
    subtotal: Amount = Field(title="subtotal", examples=["15000.00"])
    descuento: MaybeAmount = Field(None, title="descuento", examples=["0.00"])
    total: Amount = Field(title="total", examples=["16800.00"])
    send_to: Annotated[tuple[Text, ...], NULL_IS_EMPTY] = Field(
        (), title="correos a los que se envía", examples=[["cliente@ejemplo.mx"]]
    )
