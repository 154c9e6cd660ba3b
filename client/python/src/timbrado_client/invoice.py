"""The invoice as an application writes it: names of Anexo 20, in snake_case, as a dict or with these models."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from timbrado_client.kinds import (
    NULL_IS_EMPTY,
    Amount,
    MaybeAmount,
    MaybeInstant,
    MaybeText,
    RefusedText,
    Text,
    Version,
    Year,
)

MAX_LINES = 5_000
"""Lines of one invoice."""
MAX_BYTES = 1_000_000
"""Size of one invoice, as compact JSON in UTF-8."""
_SHOWN = "Lo que se le mostró al usuario: se revisa."
_NOT_YET = "No se admite en esta versión."


class Node(BaseModel):
    """A node of the invoice. `title` names a field to a user, `examples` shows how it is written."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Receptor(Node):
    """Who receives the invoice (nodo Receptor)."""

    rfc: Text = Field(title="RFC del cliente", examples=["XIA190128J61"])
    nombre: Text = Field(title="nombre o razón social del cliente", examples=["XENON INDUSTRIAL ARTICLES"])
    domicilio_fiscal_receptor: Text = Field(
        title="código postal del domicilio fiscal del cliente", examples=["76343"]
    )
    regimen_fiscal_receptor: Text = Field(title="régimen fiscal del cliente", examples=["601"])
    uso_cfdi: Text = Field(title="uso del CFDI", examples=["G03"])
    email: MaybeText = Field(None, title="correo del cliente", examples=["cliente@ejemplo.mx"])
    residencia_fiscal: RefusedText = Field(None, title="residencia fiscal", description=_NOT_YET)
    num_reg_id_trib: RefusedText = Field(None, title="registro de identidad tributaria", description=_NOT_YET)


class Traslado(Node):
    """A tax added to a line (nodo Traslado): IVA."""

    impuesto: Text = Field(title="clave del impuesto", examples=["002"])
    tipo_factor: Text = Field(title="tipo de factor", examples=["Tasa"])
    tasa_o_cuota: MaybeAmount = Field(None, title="tasa", examples=["0.160000"])
    base: MaybeAmount = Field(None, title="base", description=_SHOWN, examples=["100.00"])
    importe: MaybeAmount = Field(None, title="importe", description=_SHOWN, examples=["16.00"])


class Retencion(Node):
    """A tax withheld from a line (nodo Retencion): IVA or ISR."""

    impuesto: Text = Field(title="clave del impuesto", examples=["002"])
    tipo_factor: Text = Field(title="tipo de factor", examples=["Tasa"])
    tasa_o_cuota: MaybeAmount = Field(None, title="tasa", examples=["0.040000"])
    base: MaybeAmount = Field(None, title="base", description=_SHOWN, examples=["100.00"])
    importe: MaybeAmount = Field(None, title="importe", description=_SHOWN, examples=["4.00"])


class Concepto(Node):
    """One line of the invoice (nodo Concepto). `nombre` is the product's in ContaDigital: 2 to 50 characters."""

    clave_prod_serv: Text = Field(title="clave de producto o servicio", examples=["78101802"])
    no_identificacion: MaybeText = Field(None, title="número de identificación", examples=["FLT-01"])
    cantidad: Amount = Field(title="cantidad", examples=["1"])
    clave_unidad: Text = Field(title="clave de unidad", examples=["E48"])
    unidad: MaybeText = Field(None, title="unidad", examples=["Servicio"])
    nombre: Text = Field(title="nombre del producto", examples=["Flete terrestre"])
    descripcion: Text = Field(title="descripción", examples=["Flete Monterrey - Laredo, OP-10234"])
    valor_unitario: Amount = Field(title="valor unitario", examples=["15000.00"])
    importe: MaybeAmount = Field(None, title="importe", description=_SHOWN, examples=["15000.00"])
    descuento: MaybeAmount = Field(None, title="descuento", examples=["0.00"])
    objeto_imp: Text = Field(title="objeto de impuesto", examples=["02"])
    traslados: Annotated[tuple[Traslado, ...], NULL_IS_EMPTY] = Field((), title="impuestos trasladados")
    retenciones: Annotated[tuple[Retencion, ...], NULL_IS_EMPTY] = Field((), title="impuestos retenidos")


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
    """The invoice's tax summary (nodo Impuestos), as the user was shown it: checked, never trusted."""

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
    confirmacion: RefusedText = Field(None, title="confirmación", description=_NOT_YET)
    receptor: Receptor = Field(title="datos del cliente")
    conceptos: tuple[Concepto, ...] = Field(title="conceptos")
    informacion_global: InformacionGlobal | None = Field(None, title="información global")
    cfdi_relacionados: CfdiRelacionados | None = Field(None, title="CFDI relacionados")
    impuestos: Impuestos | None = Field(None, title="resumen de impuestos")
    subtotal: Amount = Field(title="subtotal", examples=["15000.00"])
    descuento: MaybeAmount = Field(None, title="descuento", examples=["0.00"])
    total: Amount = Field(title="total", examples=["16800.00"])
    send_to: Annotated[tuple[Text, ...], NULL_IS_EMPTY] = Field(
        (), title="correos a los que se envía", examples=[["cliente@ejemplo.mx"]]
    )
