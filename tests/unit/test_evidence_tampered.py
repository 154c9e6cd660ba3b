"""What is not the stamped CFDI of our invoice fails, each for its own reason and by the check's name."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest
from lxml import etree

from cfdi import evidence
from cfdi.document import read
from cfdi.evidence import Expected, Report, Result, examine
from cfdi.sat import seals
from tests.support import builders, signed_xml
from tests.support.signed_xml import FECHA, UUID, Stamping

PAC = signed_xml.a_pac()
KNOWN = {PAC.no_certificado: PAC.der}
INVOICE = builders.an_invoice(conceptos=[builders.a_concepto(), builders.a_concepto(descripcion="Maniobras")])
EXPECTED = Expected(read(INVOICE), builders.an_issuer(), FECHA, UUID)
GOOD = signed_xml.stamped(INVOICE)

CFDI, TFD = signed_xml.CFDI, signed_xml.TFD
EMISOR, RECEPTOR = "{*}Emisor", "{*}Receptor"
CONCEPTO = "{*}Conceptos/{*}Concepto"
LAST = "{*}Conceptos/{*}Concepto[2]"
TRASLADO = f"{CONCEPTO}/{{*}}Impuestos/{{*}}Traslados/{{*}}Traslado"
TIMBRE = "{*}Complemento/{*}TimbreFiscalDigital"


def look(xml: bytes, expected: Expected = EXPECTED) -> Report:
    return examine(xml, expected, known_pac_certificates=KNOWN, sat_authorities=(signed_xml.an_authority(),))


def made(**how) -> Report:
    return look(signed_xml.stamped(INVOICE, Stamping(**how)))


def failed(report: Report) -> list[str]:
    assert not report.ok
    return [check.name for check in report.checks if check.result is Result.FAILED]


def not_reached(report: Report) -> list[str]:
    return [check.name for check in report.checks if check.result is Result.NOT_REACHED]


def on(path, **attributes):
    def edit(root):
        node = root.find(path)
        assert node is not None
        for name, value in attributes.items():
            if value is None:
                del node.attrib[name]
            else:
                assert node.get(name) != value
                node.set(name, value)

    return edit


def remove(path):
    def edit(root):
        node = root.find(path)
        node.getparent().remove(node)

    return edit


def add(path, tag, **attributes):
    def edit(root):
        etree.SubElement(root.find(path), f"{{{CFDI}}}{tag}", attributes)

    return edit


def together(*edits):
    def edit(root):
        for one in edits:
            one(root)

    return edit


def repeat(path):
    def edit(root):
        node = root.find(path)
        node.getparent().append(etree.fromstring(etree.tostring(node)))

    return edit


def test_the_untouched_one_passes():
    """The document that the other tests spoil is good."""
    assert look(GOOD).ok


# --- a good seal over something else ------------------------------------------------------------------
# The issuer's seal and the PAC's are good in all of these: the provider invoiced what we did not send.

SOMETHING_ELSE = {
    "another total": (on(".", Total="33600.01"), ["total"]),
    "another subtotal": (on(".", SubTotal="30000.01"), ["subtotal"]),
    "a discount nobody gave": (on(".", Descuento="1.00"), ["descuento"]),
    "dollars instead of pesos": (on(".", Moneda="USD"), ["moneda"]),
    "another exchange rate": (on(".", TipoCambio="18.5"), ["tipo_cambio"]),
    "an egreso instead of an ingreso": (on(".", TipoDeComprobante="E"), ["tipo_de_comprobante"]),
    "paid in another way": (on(".", FormaPago="01"), ["forma_pago"]),
    "paid later": (on(".", MetodoPago="PPD"), ["metodo_pago"]),
    "another place of issue": (on(".", LugarExpedicion="64010"), ["lugar_expedicion"]),
    "an export": (on(".", Exportacion="02"), ["exportacion"]),
    "another day": (on(".", Fecha="2026-11-22T23:55:00"), ["fecha"]),
    "another receptor": (
        on(RECEPTOR, Rfc="IIA040805DZ4", Nombre="INDISTRIA ILUMINADORA DE ALMACENES"),
        ["partes", "receptor"],
    ),
    "another name of the receptor": (on(RECEPTOR, Nombre="XENON INDUSTRIAL ARTICLE"), ["receptor"]),
    "another postcode of the receptor": (on(RECEPTOR, DomicilioFiscalReceptor="76344"), ["receptor"]),
    "another régimen of the receptor": (on(RECEPTOR, RegimenFiscalReceptor="603"), ["receptor"]),
    "another use": (on(RECEPTOR, UsoCFDI="G01"), ["receptor"]),
    "another name of the emisor": (on(EMISOR, Nombre="ESCUELA KEMPER URGATE DOS"), ["emisor"]),
    "another régimen of the emisor": (on(EMISOR, RegimenFiscal="603"), ["emisor"]),
    "another product": (on(LAST, ClaveProdServ="78101803"), ["clave_prod_serv"]),
    "another unit": (on(LAST, ClaveUnidad="H87"), ["clave_unidad"]),
    "another quantity": (on(LAST, Cantidad="1.000001"), ["cantidad"]),
    "another price": (on(LAST, ValorUnitario="15000.01"), ["valor_unitario"]),
    "another line amount": (on(LAST, Importe="15000.02"), ["importe"]),
    "a line discount nobody gave": (on(LAST, Descuento="0.01"), ["concepto_descuento"]),
    "no longer subject to tax": (on(LAST, ObjetoImp="03"), ["objeto_imp"]),
    "another text altogether": (on(LAST, Descripcion="Renta de oficina"), ["descripcion"]),
    "hardly a text": (on(LAST, Descripcion="M"), ["descripcion"]),
    "another rate on a line": (on(TRASLADO, TasaOCuota="0.080000"), ["concepto_impuestos"]),
    "another tax amount on a line": (on(TRASLADO, Importe="2400.02"), ["concepto_impuestos"]),
    "another tax base on a line": (on(TRASLADO, Base="15000.01"), ["concepto_impuestos"]),
    "an exempt line": (
        on(TRASLADO, TipoFactor="Exento", TasaOCuota=None, Importe=None),
        ["concepto_impuestos"],
    ),
    "a withholding taken off a line": (
        remove(f"{CONCEPTO}/{{*}}Impuestos/{{*}}Retenciones"),
        ["concepto_impuestos"],
    ),
    "a tax added to a line": (repeat(TRASLADO), ["concepto_impuestos"]),
    "the withholdings taken off the totals": (
        together(remove("{*}Impuestos/{*}Retenciones"), on("{*}Impuestos", TotalImpuestosRetenidos=None)),
        ["impuestos"],
    ),
    "another total of taxes": (on("{*}Impuestos", TotalImpuestosTrasladados="4800.01"), ["impuestos"]),
    "another sum in a tax row": (
        on("{*}Impuestos/{*}Traslados/{*}Traslado", Base="30000.01"),
        ["impuestos"],
    ),
    "no taxes at all in the totals": (remove("{*}Impuestos"), ["impuestos"]),
    "a line added": (repeat(CONCEPTO), ["conceptos"]),
    "a line taken away": (remove(CONCEPTO), ["conceptos"]),
    "a relation nobody asked for": (
        lambda root: root.insert(
            0,
            etree.fromstring(
                f'<c:CfdiRelacionados xmlns:c="{CFDI}" TipoRelacion="04">'
                f'<c:CfdiRelacionado UUID="{UUID}"/></c:CfdiRelacionados>'
            ),
        ),
        ["cfdi_relacionados"],
    ),
    "made a global invoice": (
        lambda root: root.insert(
            0,
            etree.fromstring(
                f'<c:InformacionGlobal xmlns:c="{CFDI}" Periodicidad="04" Meses="11" Año="2026"/>'
            ),
        ),
        ["informacion_global"],
    ),
    "on behalf of a third party": (
        add(
            LAST,
            "ACuentaTerceros",
            RfcACuentaTerceros="IIA040805DZ4",
            NombreACuentaTerceros="OTRA",
            RegimenFiscalACuentaTerceros="601",
            DomicilioFiscalACuentaTerceros="64000",
        ),
        ["additions"],
    ),
    "a tax residence abroad": (on(RECEPTOR, ResidenciaFiscal="USA"), ["additions"]),
    "a confirmation number": (on(".", Confirmacion="a1B2c"), ["additions"]),
}


@pytest.mark.parametrize("case", SOMETHING_ELSE)
def test_a_good_seal_over_something_else_is_found(case):
    """A valid CFDI with other content fails in the check of that content."""
    edit, names = SOMETHING_ELSE[case]
    assert failed(made(before_seal=[edit])) == names


def test_a_document_of_another_invoice_is_found():
    """Two answers swapped: everything in it is good, only it is not ours."""
    other = builders.an_invoice(
        external_id="OP-77",
        receptor=builders.a_receptor(rfc="IIA040805DZ4", nombre="INDISTRIA ILUMINADORA DE ALMACENES"),
        conceptos=[builders.a_concepto(valor_unitario="99.00"), builders.a_concepto(descripcion="Maniobras")],
    )
    swapped = signed_xml.stamped(other, Stamping(uuid="11111111-2222-3333-4444-555555555555"))
    assert failed(look(swapped)) == [
        "uuid",
        "partes",
        "receptor",
        "valor_unitario",
        "importe",
        "subtotal",
        "impuestos",
        "total",
    ]


def test_lines_are_not_compared_with_each_other_when_their_number_differs():
    """Lines are not held against each other when their number differs."""
    report = made(before_seal=[repeat(CONCEPTO)])
    assert "clave_prod_serv" in not_reached(report)
    assert "3" in next(check.detail for check in report.checks if check.name == "conceptos")


# --- changed after it was sealed ----------------------------------------------------------------------

FORGED = {
    "the total, after the seal": (on(".", Total="16800.01"), ["sello", "total"]),
    "the receptor, after the seal": (on(RECEPTOR, Rfc="IIA040805DZ4"), ["sello", "partes", "receptor"]),
    "the price, after the seal": (on(LAST, ValorUnitario="15000.01"), ["sello", "valor_unitario"]),
    "a free text, after the seal": (on(LAST, Descripcion="Maniobras y flete"), ["sello"]),
    "the emisor's RFC, after the seal": (
        on(EMISOR, Rfc="IIA040805DZ4"),
        ["certificado_rfc", "sello", "partes", "emisor"],
    ),
    "NoCertificado": (on(".", NoCertificado="30001000000500003417"), ["certificado", "sello"]),
    "the seal's last letters": (
        lambda root: root.set("Sello", root.get("Sello")[:-4] + "AA=="),
        ["sello_cfd", "sello"],
    ),
    "a seal that is not base64": (
        on(".", Sello="esto no es un sello"),
        ["sello_cfd", "sello"],
    ),
    "the folio fiscal in the timbre": (
        on(TIMBRE, UUID=UUID.replace("9932", "9933")),
        ["uuid", "sello_sat"],
    ),
    "the moment of the stamp": (on(TIMBRE, FechaTimbrado="2026-11-23T10:15:43"), ["sello_sat"]),
    "the PAC's RFC": (on(TIMBRE, RfcProvCertif="SPR190613I52"), ["sello_sat"]),
    "the PAC's seal": (
        lambda root: root.find(TIMBRE).set("SelloSAT", root.get("Sello")),
        ["sello_sat"],
    ),
    "SelloCFD of another invoice": (
        lambda root: root.find(TIMBRE).set("SelloCFD", signed_xml.a_csd().seal("another")),
        ["sello_cfd", "sello_sat"],
    ),
    "an attribute outside the SAT's names": (
        on(".", **{"{urn:x}Total": "1.00"}),
        ["schema"],
    ),
    "an xsi:type that hides the rest": (
        on(EMISOR, **{f"{{{signed_xml.XSI}}}type": "anyType"}),
        ["schema"],
    ),
    "text between the nodes": (
        lambda root: setattr(root.find(EMISOR), "tail", "Total: 1.00"),
        ["schema"],
    ),
}


@pytest.mark.parametrize("case", FORGED)
def test_what_was_changed_after_it_was_sealed_is_found(case):
    """The seals no longer match."""
    edit, names = FORGED[case]
    assert failed(made(after_stamp=[edit])) == names


def test_a_stamp_for_another_seal_is_found():
    """The PAC stamped one document, and we were handed another with that stamp."""
    report = made(before_stamp=[], after_stamp=[lambda root: root.set("Sello", signed_xml.a_csd().seal("x"))])
    assert failed(report) == ["sello_cfd", "sello"]


def test_a_uuid_other_than_the_one_given_is_found():
    """The answer's UUID must be the timbre's."""
    given = replace(EXPECTED, uuid="6A5F0000-0000-4000-8000-000000000000")
    assert failed(look(GOOD, given)) == ["uuid"]


@pytest.mark.parametrize(
    "uuid", ["9932113E-09AC-47BA-8E8C-6F83100C814", "Z" * 36, "", "9932113E09AC47BA8E8C6F83100C814F"]
)
def test_a_uuid_that_is_none_is_found(uuid):
    """What has not a UUID's form fails schema and UUID."""
    assert failed(made(uuid=uuid)) == ["schema", "uuid"]


def test_a_uuid_given_that_is_none_is_found():
    """A word in the answer's UUID is a failure of its own."""
    assert failed(look(GOOD, replace(EXPECTED, uuid="pending"))) == ["uuid"]


# --- certificates -------------------------------------------------------------------------------------


def test_the_certificate_of_somebody_else_is_found():
    """Sealed with good keys, but not the emisor's."""
    assert failed(made(csd=signed_xml.a_csd("IIA040805DZ4"))) == ["certificado_rfc"]


def test_the_seal_of_another_key_is_found():
    """The emisor's certificate must fit the seal."""
    other = signed_xml.a_csd(holder="somebody else")
    report = made(csd=other, after_stamp=[on(".", Certificado=signed_xml.a_csd().base64)])
    assert failed(report) == ["sello"]


@pytest.mark.parametrize("certificado", ["", "MIIC", "%%%", "Ñandú", "bm90IGEgY2VydGlmaWNhdGU="])
def test_a_certificate_that_can_not_be_read_is_found(certificado):
    """What depends on it is reported as not reached."""
    report = made(after_stamp=[on(".", Certificado=certificado)])
    assert "certificado" in failed(report)
    assert not_reached(report) == ["certificado_rfc", "certificado_sat", "certificado_vigencia", "sello"]


def test_a_known_pac_certificate_that_is_another_is_found():
    """The table of PAC certificates was filled wrongly: the seal can't be called good."""
    report = examine(GOOD, EXPECTED, known_pac_certificates={PAC.no_certificado: signed_xml.a_csd().der})
    assert failed(report) == ["sello_sat"]
    report = examine(GOOD, EXPECTED, known_pac_certificates={PAC.no_certificado: b"not a certificate"})
    assert failed(report) == ["sello_sat"]


# --- the timbre ---------------------------------------------------------------------------------------

AFTER_THE_TIMBRE = ["uuid", "sello_cfd", "sello_sat", "fecha_timbrado"]


def stamp_twice(root):
    signed_xml.stamp(root, Stamping(uuid=UUID.replace("9932", "1111")))


def hide_in_addenda(root):
    addenda = etree.SubElement(root, f"{{{CFDI}}}Addenda")
    addenda.append(root.find(TIMBRE))


def hide_in_concepto(root):
    holder = etree.SubElement(root.find(CONCEPTO), f"{{{CFDI}}}ComplementoConcepto")
    holder.append(root.find(TIMBRE))


def rename_timbre(root):
    """The same letters in another namespace: tfd:TimbreFiscalDigital to the eye only."""
    timbre = root.find(TIMBRE)
    other = etree.SubElement(
        timbre.getparent(), "{http://www.sat.gob.mx/timbrefiscaldigital}TimbreFiscalDigital"
    )
    other.attrib.update(timbre.attrib)
    timbre.getparent().remove(timbre)


def comment_timbre(root):
    timbre = root.find(TIMBRE)
    timbre.getparent().replace(timbre, etree.Comment(etree.tostring(timbre).decode()))


@pytest.mark.parametrize(
    ("edit", "names"),
    [
        (stamp_twice, ["timbre"]),
        (remove("{*}Complemento"), ["timbre"]),
        (comment_timbre, ["timbre"]),
        (hide_in_addenda, ["timbre"]),
        (hide_in_concepto, ["timbre", "additions"]),
        (rename_timbre, ["timbre", "additions"]),
        (on(TIMBRE, Version="1.0"), ["schema", "sello_sat"]),
    ],
)
def test_a_document_without_its_one_timbre_is_found(edit, names):
    """None, two, hidden or renamed: the check of the timbre fails."""
    report = made(after_stamp=[edit])
    assert failed(report) == names
    if "timbre" in names:
        assert not_reached(report) == AFTER_THE_TIMBRE


# --- not a CFDI 4.0 -----------------------------------------------------------------------------------


def second_comprobante(root):
    addenda = etree.SubElement(root, f"{{{CFDI}}}Addenda")
    addenda.append(etree.fromstring(GOOD))


NOT_A_COMPROBANTE = {
    "CFDI 3.3": GOOD.replace(b"http://www.sat.gob.mx/cfd/4", b"http://www.sat.gob.mx/cfd/3").replace(
        b'Version="4.0"', b'Version="3.3"'
    ),
    "version 3.3 in the namespace of 4.0": GOOD.replace(b' Version="4.0"', b' Version="3.3"'),
    "the prefix bound to another namespace": GOOD.replace(
        b'xmlns:cfdi="http://www.sat.gob.mx/cfd/4"', b'xmlns:cfdi="http://www.sat.gob.mx/cfd/4/"'
    ),
    "a second Comprobante inside": signed_xml.stamped(INVOICE, Stamping(after_stamp=[second_comprobante])),
    "a Comprobante wrapped in a SOAP envelope": b"<Envelope>" + GOOD.split(b"?>\n", 1)[-1] + b"</Envelope>",
    "well-formed HTML": b"<html><body><h1>502 Bad Gateway</h1></body></html>",
    "only the timbre": etree.tostring(etree.fromstring(GOOD).find(TIMBRE)),
}


@pytest.mark.parametrize("case", NOT_A_COMPROBANTE)
def test_what_is_no_single_comprobante_is_found(case):
    """Another root or several documents end the examination there."""
    report = look(NOT_A_COMPROBANTE[case])
    assert failed(report) == ["comprobante"]
    assert not_reached(report) == list(evidence.CHECKS[3:])


# --- not even safe to read ----------------------------------------------------------------------------


def with_doctype(declarations: str, reference: str) -> bytes:
    body = GOOD.split(b"?>", 1)[1].replace(b"Flete terrestre", reference.encode(), 1)
    return f'<?xml version="1.0" encoding="UTF-8"?><!DOCTYPE x [{declarations}]>'.encode() + body


LAUGHS = '<!ENTITY a0 "ha">' + "".join(f'<!ENTITY a{level + 1} "{f"&a{level};" * 10}">' for level in range(9))

UNREADABLE = {
    "truncated": GOOD[: len(GOOD) * 2 // 3],
    "truncated by its last byte": GOOD[:-1],
    "two documents in one": GOOD + GOOD.split(b"?>", 1)[1],
    "an attribute twice": GOOD.replace(b' Total="', b' Total="1.00" Total="', 1),
    "HTML": b"<!doctype html><html><p>Servicio no disponible<br></html>",
    "JSON": b'{"Codigo": 3, "Resultado": null}',
    "blank": b"  \n ",
    "a PDF": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3",
    "UTF-16": GOOD.decode().replace("UTF-8", "UTF-16").encode("utf-16"),
    "UTF-16 without a mark": GOOD.decode().encode("utf-16-le"),
    "Latin-1, said to be UTF-8": signed_xml.stamped(
        INVOICE | {"receptor": builders.a_receptor(nombre="ORGANICOS ÑAVEZ")}
    )
    .decode()
    .encode("latin-1"),
    "Latin-1, said to be Latin-1": GOOD.replace(b"UTF-8", b"ISO-8859-1"),
    "UTF-7, where a DTD could hide": GOOD.replace(b"UTF-8", b"UTF-7"),
    "a null byte": GOOD.replace(b"Maniobras", b"Mani\x00bras"),
    "a file drawn in from outside (XXE)": with_doctype(
        '<!ENTITY file SYSTEM "file:///etc/passwd">', "&file;"
    ),
    "an address drawn in from outside": with_doctype(
        '<!ENTITY % dtd SYSTEM "http://127.0.0.1:1/evil.dtd"> %dtd;', "x"
    ),
    "a billion laughs": with_doctype(LAUGHS, "&a9;"),
    "an undeclared entity": GOOD.replace(b"Maniobras", b"&maniobras;"),
    "a DTD that says nothing": with_doctype("", "x"),
    "a processing instruction inside": GOOD.replace(b"<cfdi:Emisor", b"<?php echo 1 ?><cfdi:Emisor"),
    "nesting without end": b"<a>" * 100_000,
    "a crowd in one node": GOOD.replace(b"<cfdi:Emisor", b"<x/>" * 12_000 + b"<cfdi:Emisor"),
    "a crowd of comments": GOOD.replace(b"<cfdi:Emisor", b"<!---->" * 12_000 + b"<cfdi:Emisor"),
    "a crowd in all": GOOD.replace(
        b"<cfdi:Emisor", (b"<x>" + b"<y/>" * 999 + b"</x>") * 100 + b"<cfdi:Emisor"
    ),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_is_not_safe_to_read_is_not_read(case):
    """Nothing is opened, fetched or expanded on the way, and nothing after it is asked."""
    report = look(UNREADABLE[case])
    assert failed(report) == ["parse"]
    assert not_reached(report) == list(evidence.CHECKS[2:])


@pytest.mark.parametrize("xml", [b"", GOOD.replace(b"Maniobras", b"x" * 20_000_000)], ids=["empty", "20 MB"])
def test_a_wrong_size_is_not_even_parsed(xml):
    """Empty or too large, only the size is reported."""
    report = look(xml)
    assert failed(report) == ["size"]
    assert not_reached(report) == list(evidence.CHECKS[1:])


def test_the_limit_can_be_set():
    """A byte too many for max_bytes fails."""
    assert failed(examine(GOOD, EXPECTED, max_bytes=len(GOOD) - 1)) == ["size"]


# --- whatever comes ------------------------------------------------------------------------------------


def test_no_byte_can_be_changed_unseen():
    """Every 17th byte of a good document, changed: some check fails, and nothing is ever raised.

    One place may change unseen: the schema's address, which nobody follows. A changed NoCertificadoSAT is another PAC,
    whose seal the report then says it could not ask for.
    """
    address = range(GOOD.index(b"xsi:schemaLocation"), GOOD.index(b" Version="))
    for at in range(45, len(GOOD), 17):
        changed = bytearray(GOOD)
        changed[at] = ord("9") if changed[at] == ord("8") else ord("8")
        report = look(bytes(changed))
        if at not in address:
            unasked = [check.name for check in report.checks if check.result is Result.NOT_ASKED]
            assert not report.ok or unasked == ["sello_sat"], f"byte {at}: {GOOD[at - 20 : at + 20]!r}"


def test_fifty_threads_each_get_their_own_report():
    """The worker's pool looks at good and bad documents at once; no answer belongs to a neighbour."""
    bad = [
        (signed_xml.stamped(INVOICE, Stamping(before_seal=[edit])), names)
        for edit, names in list(SOMETHING_ELSE.values())[:25]
    ]
    documents: list[tuple[bytes, list[str]]] = [(GOOD, [])] * 25 + bad
    together = Barrier(len(documents))

    def work(document: tuple[bytes, list[str]]) -> tuple[list[str], list[str]]:
        xml, names = document
        together.wait()
        return names, [check.name for check in look(xml).checks if check.result is Result.FAILED]

    with ThreadPoolExecutor(len(documents)) as pool:
        answers = list(pool.map(work, documents))

    assert all(failures == names for names, failures in answers)


# --- certificates by themselves -----------------------------------------------------------------------


def test_an_rfc_in_latin_1_is_read_all_the_same():
    """cryptography refuses a whole name for one part of it; an Ñ in an RFC is law."""
    der = signed_xml.a_csd("ZUÑ920208KL4").der
    latin = der.replace("ZUÑ920208KL4 ".encode(), "ZUÑ920208KL4  ".encode("latin-1"))
    assert latin != der
    assert seals.from_der(der).rfc == seals.from_der(latin).rfc == "ZUÑ920208KL4"


def test_a_certificate_is_parsed_once():
    """The same bytes give the same object."""
    assert seals.from_der(PAC.der) is seals.from_der(bytes(bytearray(PAC.der)))
