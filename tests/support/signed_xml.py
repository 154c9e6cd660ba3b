"""Signed and stamped CFDI for tests, written with lxml and cryptography from an invoice as Apunto sends it.

Nothing of `cfdi.amounts`, `cfdi.sat` or the sandbox is used, so that a mistake there can't agree with
itself here: amounts are added up once more, and the cadenas come from the SAT's whole stylesheets.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from lxml import etree

CFDI = "http://www.sat.gob.mx/cfd/4"
TFD = "http://www.sat.gob.mx/TimbreFiscalDigital"
XSI = "http://www.w3.org/2001/XMLSchema-instance"

UUID = "9932113E-09AC-47BA-8E8C-6F83100C814F"
FECHA = datetime(2026, 11, 23, 10, 15)
"""Local time of 64000, whose zone is the Centro's: FechaTimbrado comes a little later on the same clock."""

EMISOR = {"rfc": "EKU9003173C9", "nombre": "ESCUELA KEMPER URGATE", "regimen_fiscal": "601"}

Edit = Callable[[etree._Element], object]


@dataclass(frozen=True)
class Identity:
    """A look-alike certificate with its key: the SAT's shape, nobody's signature."""

    key: rsa.RSAPrivateKey
    der: bytes
    no_certificado: str

    def seal(self, text: str) -> str:
        return base64.b64encode(self.key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())).decode()

    @property
    def base64(self) -> str:
        return base64.b64encode(self.der).decode()


@cache
def a_key(holder: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def a_csd(
    rfc: str = "EKU9003173C9",
    no_certificado: str = "30001000000500003416",
    valid_from: datetime = datetime(2026, 1, 1, tzinfo=UTC),
    valid_days: int = 1460,
    holder: str = "emisor",
) -> Identity:
    """A CSD as the SAT makes them: 20 digits as the serial's bytes, the RFC in x500UniqueIdentifier."""
    key = a_key(holder)
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, rfc),
            x509.NameAttribute(NameOID.X500_UNIQUE_IDENTIFIER, f"{rfc} / VADA800927DJ3"),
        ]
    )
    authority = x509.Name([x509.NameAttribute(NameOID.X500_UNIQUE_IDENTIFIER, "SAT970701NN3")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(authority)
        .public_key(key.public_key())
        .serial_number(int.from_bytes(no_certificado.encode(), "big"))
        .not_valid_before(valid_from)
        .not_valid_after(valid_from + timedelta(days=valid_days))
        .sign(a_key("authority"), hashes.SHA256())
    )
    return Identity(key, certificate.public_bytes(Encoding.DER), no_certificado)


@cache
def an_authority() -> bytes:
    """The certificate (DER) of the look-alike authority that signs every CSD here."""
    name = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, "A.C. del Servicio de Administración Tributaria")]
    )
    key = a_key("authority")
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2040, 1, 1, tzinfo=UTC))
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.DER)


def a_pac() -> Identity:
    """The certificate with which the PAC of these tests stamps."""
    return a_csd("CDI200101AB5", "30001000000500009999", holder="pac")


@dataclass(frozen=True)
class Stamping:
    """How one test document is made; a test names only what differs.

    `before_seal` changes what the issuer signs (a provider that invoices something else), `before_stamp` what
    was signed already, `after_stamp` the finished document: forged later.
    """

    emisor: Mapping[str, str] = field(default_factory=lambda: EMISOR)
    fecha: datetime = FECHA
    fecha_timbrado: datetime = FECHA + timedelta(seconds=42)
    uuid: str = UUID
    serie: str | None = "A"
    folio: str | None = "1045"
    csd: Identity = field(default_factory=a_csd)
    pac: Identity = field(default_factory=a_pac)
    before_seal: Sequence[Edit] = ()
    before_stamp: Sequence[Edit] = ()
    after_stamp: Sequence[Edit] = ()


def stamped(invoice: Mapping[str, Any], how: Stamping | None = None) -> bytes:
    """The XML that a provider would return for this invoice."""
    return etree.tostring(stamped_tree(invoice, how), xml_declaration=True, encoding="UTF-8")


def stamped_tree(invoice: Mapping[str, Any], how: Stamping | None = None) -> etree._Element:
    how = how or Stamping()
    root = comprobante(invoice, how)
    for edit in how.before_seal:
        edit(root)
    root.set("Sello", how.csd.seal(_cadena(root, "4/cadenaoriginal_4_0/cadenaoriginal_4_0.xslt")))
    for edit in how.before_stamp:
        edit(root)
    stamp(root, how)
    for edit in how.after_stamp:
        edit(root)
    return root


def stamp(root: etree._Element, how: Stamping) -> etree._Element:
    """Add the TimbreFiscalDigital, sealed by the PAC."""
    complemento = root.find(_cfdi("Complemento"))
    if complemento is None:
        complemento = etree.SubElement(root, _cfdi("Complemento"))
    timbre = etree.SubElement(complemento, f"{{{TFD}}}TimbreFiscalDigital", nsmap={"tfd": TFD})
    _set(
        timbre,
        Version="1.1",
        UUID=how.uuid,
        FechaTimbrado=how.fecha_timbrado.isoformat(),
        RfcProvCertif="CDI200101AB5",
        SelloCFD=root.get("Sello"),
        NoCertificadoSAT=how.pac.no_certificado,
    )
    # Through bytes: the stylesheet must see a document whose root is the timbre.
    alone = etree.fromstring(etree.tostring(timbre))
    timbre.set("SelloSAT", how.pac.seal(_cadena(alone, "TimbreFiscalDigital/cadenaoriginal_TFD_1_1.xslt")))
    return timbre


def comprobante(invoice: Mapping[str, Any], how: Stamping) -> etree._Element:
    """The invoice as a Comprobante 4.0, not sealed yet: line amounts as shown or half up, then summed."""
    lines = [_amounts(line) for line in invoice["conceptos"]]
    has_discount = any(line.get("descuento") for line in invoice["conceptos"])
    subtotal = sum((line.importe for line in lines), Decimal(0))
    descuento = sum((line.descuento for line in lines), Decimal(0))
    traslados = [row for line in lines for row in line.traslados]
    retenciones = [row for line in lines for row in line.retenciones]
    trasladado = sum((row["importe"] for row in traslados if row["importe"] is not None), Decimal(0))
    retenido = sum((row["importe"] for row in retenciones), Decimal(0))
    root = etree.Element(_cfdi("Comprobante"), nsmap={"cfdi": CFDI, "xsi": XSI})
    root.set(f"{{{XSI}}}schemaLocation", f"{CFDI} http://www.sat.gob.mx/sitio_internet/cfd/4/cfdv40.xsd")
    _set(
        root,
        Version="4.0",
        Serie=how.serie,
        Folio=how.folio,
        Fecha=how.fecha.isoformat(),
        Sello="",
        FormaPago=invoice["forma_pago"],
        NoCertificado=how.csd.no_certificado,
        Certificado=how.csd.base64,
        SubTotal=subtotal,
        Descuento=descuento if has_discount else None,
        Moneda=invoice["moneda"],
        TipoCambio=invoice["tipo_cambio"],
        Total=subtotal - descuento + trasladado - retenido,
        TipoDeComprobante=invoice["tipo_de_comprobante"],
        Exportacion="01",
        MetodoPago=invoice["metodo_pago"],
        LugarExpedicion=invoice["lugar_expedicion"],
    )
    if invoice.get("informacion_global"):
        of_the_day = invoice["informacion_global"]
        node = _sub(
            root, "InformacionGlobal", Periodicidad=of_the_day["periodicidad"], Meses=of_the_day["meses"]
        )
        node.set("Año", str(of_the_day["anio"]))
    if invoice.get("cfdi_relacionados"):
        relation = invoice["cfdi_relacionados"]
        node = _sub(root, "CfdiRelacionados", TipoRelacion=relation["tipo_relacion"])
        for uuid in relation["uuids"]:
            _sub(node, "CfdiRelacionado", UUID=uuid)
    _sub(
        root,
        "Emisor",
        Rfc=how.emisor["rfc"],
        Nombre=how.emisor["nombre"],
        RegimenFiscal=how.emisor["regimen_fiscal"],
    )
    receptor = invoice["receptor"]
    _sub(
        root,
        "Receptor",
        Rfc=receptor["rfc"],
        Nombre=receptor["nombre"],
        DomicilioFiscalReceptor=receptor["domicilio_fiscal_receptor"],
        RegimenFiscalReceptor=receptor["regimen_fiscal_receptor"],
        UsoCFDI=receptor["uso_cfdi"],
    )
    conceptos = _sub(root, "Conceptos")
    for sent, line in zip(invoice["conceptos"], lines, strict=True):
        _concepto(conceptos, sent, line)
    if traslados or retenciones:
        _impuestos(root, traslados, retenciones)
    return root


@dataclass(frozen=True)
class _Line:
    importe: Decimal
    descuento: Decimal
    traslados: list[dict[str, Any]]
    retenciones: list[dict[str, Any]]


def _amounts(line: Mapping[str, Any]) -> _Line:
    importe = Decimal(
        line.get("importe") or _cents(Decimal(line["cantidad"]) * Decimal(line["valor_unitario"]))
    )
    descuento = Decimal(line.get("descuento") or 0)
    base = importe - descuento

    def taxed(tax: Mapping[str, Any]) -> dict[str, Any]:
        rate = tax.get("tasa_o_cuota")
        importe = None if rate is None else Decimal(tax.get("importe") or _cents(base * Decimal(rate)))
        return {**tax, "base": base, "importe": importe}

    return _Line(
        importe,
        descuento,
        [taxed(tax) for tax in line.get("traslados") or ()],
        [taxed(tax) for tax in line.get("retenciones") or ()],
    )


def _concepto(conceptos: etree._Element, sent: Mapping[str, Any], line: _Line) -> None:
    node = _sub(
        conceptos,
        "Concepto",
        ClaveProdServ=sent["clave_prod_serv"],
        NoIdentificacion=sent.get("no_identificacion"),
        Cantidad=sent["cantidad"],
        ClaveUnidad=sent["clave_unidad"],
        Descripcion=sent.get("descripcion") or sent["nombre"],
        ValorUnitario=sent["valor_unitario"],
        Importe=line.importe,
        Descuento=line.descuento if sent.get("descuento") else None,
        ObjetoImp=sent["objeto_imp"],
    )
    if not (line.traslados or line.retenciones):
        return
    impuestos = _sub(node, "Impuestos")
    for name, rows in (("Traslado", line.traslados), ("Retencion", line.retenciones)):
        if rows:
            group = _sub(impuestos, name + ("s" if name == "Traslado" else "es"))
            for row in rows:
                _sub(
                    group,
                    name,
                    Base=row["base"],
                    Impuesto=row["impuesto"],
                    TipoFactor=row["tipo_factor"],
                    TasaOCuota=row.get("tasa_o_cuota"),
                    Importe=row["importe"],
                )


def _impuestos(
    root: etree._Element, traslados: Sequence[Mapping[str, Any]], retenciones: Sequence[Mapping[str, Any]]
) -> None:
    node = _sub(root, "Impuestos")
    withheld: dict[str, Decimal] = {}
    for row in retenciones:
        withheld[row["impuesto"]] = withheld.get(row["impuesto"], Decimal(0)) + row["importe"]
    charged: dict[tuple[str, str, str | None], list[Decimal]] = {}
    for row in traslados:
        sums = charged.setdefault(
            (row["impuesto"], row["tipo_factor"], row.get("tasa_o_cuota")), [Decimal(0), Decimal(0)]
        )
        sums[0] += row["base"]
        sums[1] += row["importe"] or 0
    if withheld:
        node.set("TotalImpuestosRetenidos", str(sum(withheld.values())))
        group = _sub(node, "Retenciones")
        for impuesto, importe in withheld.items():
            _sub(group, "Retencion", Impuesto=impuesto, Importe=importe)
    if charged:
        with_rate = [sums[1] for (_, _, rate), sums in charged.items() if rate is not None]
        if with_rate:
            node.set("TotalImpuestosTrasladados", str(sum(with_rate)))
        group = _sub(node, "Traslados")
        for (impuesto, factor, rate), (base, importe) in charged.items():
            _sub(
                group,
                "Traslado",
                Base=base,
                Impuesto=impuesto,
                TipoFactor=factor,
                TasaOCuota=rate,
                Importe=None if rate is None else importe,
            )


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"), ROUND_HALF_UP)


def _cfdi(name: str) -> str:
    return f"{{{CFDI}}}{name}"


def _sub(parent: etree._Element, name: str, **attributes: object) -> etree._Element:
    node = etree.SubElement(parent, _cfdi(name))
    _set(node, **attributes)
    return node


def _set(node: etree._Element, **attributes: object) -> None:
    for name, value in attributes.items():
        if value is not None:
            node.set(name, str(value))


def _cadena(document: etree._Element, path: str) -> str:
    return str(_stylesheet(path)(document))


@cache
def _stylesheet(path: str) -> etree.XSLT:
    spec = find_spec("satcfdi")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "transform/schemas/www.sat.gob.mx/sitio_internet/cfd"
    return etree.XSLT(etree.parse(str(folder / path)))
