"""Good XMLs pass whatever their shape; what surrounds them or was not asked does not fail."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from lxml import etree

from cfdi import evidence
from cfdi.document import read
from cfdi.evidence import Expected, Report, Result, examine
from tests.support import builders, signed_xml
from tests.support.signed_xml import FECHA, UUID, Stamping

PAC = signed_xml.a_pac()
KNOWN = {PAC.no_certificado: PAC.der}


def expected(invoice, **changes) -> Expected:
    facts = Expected(read(invoice), builders.an_issuer(), FECHA, UUID)
    return replace(facts, **changes)


def look(invoice, how=None, **changes) -> Report:
    return examine(
        signed_xml.stamped(invoice, how),
        expected(invoice, **changes),
        known_pac_certificates=KNOWN,
        sat_authorities=(signed_xml.an_authority(),),
    )


def details(report: Report) -> dict[str, str]:
    return {check.name: check.detail for check in report.checks if check.detail}


def by_name(report: Report) -> dict[str, Result]:
    return {check.name: check.result for check in report.checks}


A_LINE = builders.a_concepto
EXEMPT = builders.an_exempt_traslado()
ZERO = builders.a_traslado(tasa_o_cuota="0.000000")
BORDER = builders.a_traslado(tasa_o_cuota="0.080000")

SHAPES = {
    "ingreso with a withholding": builders.an_invoice(),
    "egreso over an earlier invoice": builders.a_credit_note(),
    "global, to the public": builders.a_global_invoice(),
    "dollars": builders.an_invoice(moneda="USD", tipo_cambio="18.2345"),
    "yen, which has no decimals": builders.an_invoice(
        moneda="JPY", tipo_cambio="0.118", conceptos=[A_LINE(valor_unitario="15000", descuento=None)]
    ),
    "PPD": builders.an_invoice(metodo_pago="PPD", forma_pago="99"),
    "exempt": builders.an_invoice(conceptos=[A_LINE(traslados=[EXEMPT], retenciones=[])]),
    "zero rate": builders.an_invoice(conceptos=[A_LINE(traslados=[ZERO], retenciones=[])]),
    "border rate": builders.an_invoice(
        lugar_expedicion="88500", conceptos=[A_LINE(traslados=[BORDER], retenciones=[])]
    ),
    "not subject to tax": builders.an_invoice(
        conceptos=[A_LINE(objeto_imp="01", traslados=[], retenciones=[])]
    ),
    "every rate in one": builders.an_invoice(
        conceptos=[
            A_LINE(),
            A_LINE(traslados=[ZERO], retenciones=[]),
            A_LINE(traslados=[EXEMPT], retenciones=[]),
            A_LINE(objeto_imp="01", traslados=[], retenciones=[]),
        ]
    ),
    "professional fees, ISR and IVA withheld": builders.an_invoice(
        conceptos=[
            A_LINE(
                retenciones=[
                    builders.a_retencion(impuesto="001", tasa_o_cuota="0.100000"),
                    builders.a_retencion(tasa_o_cuota="0.106667"),
                ]
            )
        ]
    ),
    "discounts on some lines": builders.an_invoice(
        conceptos=[A_LINE(descuento="150.55"), A_LINE(descuento=None), A_LINE(descuento="0.00")]
    ),
    "cents that round up line by line": builders.an_invoice(
        conceptos=[A_LINE(cantidad="3.333333", valor_unitario="10.035001") for _ in range(7)]
    ),
    "a substitution": builders.an_invoice(
        cfdi_relacionados={"tipo_relacion": "04", "uuids": [UUID.lower(), UUID.replace("9932", "AA32")]}
    ),
    "Ñ and & in names": builders.an_invoice(
        receptor=builders.a_receptor(rfc="OÑO120726RX3", nombre="ORGANICOS ÑAVEZ & OSORIO"),
        conceptos=[A_LINE(descripcion='Pieza de 3" <acero> & latón, año 2026')],
    ),
    "an RFC with an &": builders.an_invoice(
        receptor=builders.a_receptor(rfc="H&E951128469", nombre="HERRERIA & ELECTRICOS")
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_good_xml_passes_every_check(shape):
    """For each shape of invoice no check fails or is skipped."""
    report = look(SHAPES[shape])
    assert by_name(report) == dict.fromkeys(evidence.CHECKS, Result.PASSED)
    assert details(report) == {}
    assert report.ok


def test_a_report_has_what_the_document_says_of_itself():
    """UUID in capitals, series, folio, times, certificate and PAC."""
    report = look(builders.an_invoice(), Stamping(uuid=UUID.lower()))
    assert report.uuid == UUID
    assert (report.serie, report.folio) == ("A", "1045")
    assert report.fecha_timbrado == FECHA + timedelta(seconds=42)
    assert report.no_certificado == "30001000000500003416"
    assert report.rfc_pac == "CDI200101AB5"


def test_a_report_can_be_kept_as_json():
    """The dictionary has every check in its order."""
    report = look(builders.an_invoice()).as_dict()
    assert report["ok"] is True
    assert report["fecha_timbrado"] == "2026-11-23T10:15:42"
    assert report["checks"][0] == {"name": "size", "result": "passed", "detail": ""}
    assert [check["name"] for check in report["checks"]] == list(evidence.CHECKS)


def test_every_check_says_what_it_promises():
    """Names are unique, and each has its sentence."""
    names = list(evidence.CHECKS)
    assert len(names) == len(set(names))
    assert all(evidence.OF_THE_DOCUMENT.values())


# --- what is not asked --------------------------------------------------------------------------------


def test_an_unknown_pac_is_not_asked_for_its_seal():
    """ContaDigital's PAC may be any; without its certificate the report says so, and is good all the same."""
    invoice = builders.an_invoice()
    report = examine(signed_xml.stamped(invoice), expected(invoice))
    assert report.ok
    assert by_name(report)["sello_sat"] is Result.NOT_ASKED
    assert PAC.no_certificado in details(report)["sello_sat"]
    assert [check.name for check in report.checks if check.passed is None] == ["certificado_sat", "sello_sat"]


@pytest.mark.parametrize(
    ("authorities", "result"),
    [
        ((), Result.NOT_ASKED),
        ((signed_xml.an_authority(),), Result.PASSED),
        ((PAC.der, signed_xml.an_authority()), Result.PASSED),
        ((PAC.der,), Result.FAILED),
        ((b"no certificate",), Result.FAILED),
    ],
)
def test_the_emisors_certificate_is_compared_with_the_sats_authorities(authorities, result):
    """Where they are provided: none come with the software, and without them the check says that it was not asked."""
    invoice = builders.an_invoice()
    report = examine(signed_xml.stamped(invoice), expected(invoice), sat_authorities=authorities)

    assert by_name(report)["certificado_sat"] is result
    assert report.is_good_cfdi == (result is not Result.FAILED)


def test_a_uuid_that_nobody_gave_is_only_read():
    """Without one to compare with, that check passes."""
    assert look(builders.an_invoice(), uuid=None).ok


def test_an_issuer_whose_regimen_is_not_known_yet_passes():
    """What we do not know is not held against the XML."""
    assert look(builders.an_invoice(), issuer=builders.an_issuer(regimen_fiscal=None)).ok


def test_a_stored_document_is_checked_again_without_its_invoice():
    """Seals and structure are asked, what was sent is not."""
    report = examine(
        signed_xml.stamped(builders.an_invoice()),
        None,
        known_pac_certificates=KNOWN,
        sat_authorities=(signed_xml.an_authority(),),
    )
    results = by_name(report)
    assert report.ok
    without_invoice = set(evidence.OF_THE_DOCUMENT) - {"partes"}
    assert report.is_good_cfdi
    assert {results[name] for name in without_invoice} == {Result.PASSED}
    assert {results[name] for name in results if name not in without_invoice} == {Result.NOT_ASKED}


# --- what may differ ----------------------------------------------------------------------------------


def set_on(path, **attributes):
    """An edit of one node: None takes an attribute away."""

    def edit(root):
        node = root.find(path)
        for name, value in attributes.items():
            if value is None:
                node.attrib.pop(name, None)
            else:
                node.set(name, value)

    return edit


CONCEPTO = "{*}Conceptos/{*}Concepto"


@pytest.mark.parametrize(
    "edit",
    [
        set_on(CONCEPTO, ValorUnitario="15000", Importe="15000.000000", Cantidad="1.000000"),
        set_on(".", SubTotal="15000", Total="16800.0"),
        set_on(".", TipoCambio="1"),
        set_on(".", Descuento=None),
        set_on(CONCEPTO, Descuento=None),
        set_on("{*}Emisor", Nombre="  ESCUELA KEMPER  URGATE "),
        set_on(".", Folio="77"),
    ],
)
def test_another_way_of_writing_the_same_passes(edit):
    """Zeros, blanks and left-out defaults are no difference."""
    assert look(builders.an_invoice(), Stamping(before_seal=[edit])).ok


def test_an_addenda_is_no_part_of_the_cfdi():
    """Nothing seals it and the SAT never sees it; the schema is asked about the rest."""

    def add_addenda(root):
        addenda = etree.SubElement(root, f"{{{signed_xml.CFDI}}}Addenda")
        etree.SubElement(addenda, "{urn:cliente}Pedido", numero="77")

    assert look(builders.an_invoice(), Stamping(after_stamp=[add_addenda])).ok


def test_comments_and_a_byte_order_mark_change_nothing():
    """Neither is part of what was sealed."""

    def add_comment(root):
        root.insert(0, etree.Comment(" made by a PAC "))

    invoice = builders.an_invoice()
    xml = b"\xef\xbb\xbf" + signed_xml.stamped(invoice, Stamping(after_stamp=[add_comment]))
    assert examine(xml, expected(invoice), known_pac_certificates=KNOWN).ok


# --- time ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lugar_expedicion", "fecha_timbrado"),
    [
        ("22000", datetime(2026, 11, 23, 12, 15, 30)),  # Tijuana: two hours behind the Centro in winter
        ("77500", datetime(2026, 11, 23, 9, 15, 30)),  # Cancún: one hour ahead
        ("64000", FECHA - timedelta(minutes=5)),  # two clocks that differ
        ("64000", FECHA + timedelta(hours=72, minutes=5)),  # the last moment
    ],
)
def test_a_stamp_is_placed_by_the_clock_of_the_centro(lugar_expedicion, fecha_timbrado):
    """FechaTimbrado is compared in that zone, wherever the invoice was issued."""
    invoice = builders.an_invoice(lugar_expedicion=lugar_expedicion)
    assert look(invoice, Stamping(fecha_timbrado=fecha_timbrado)).ok


@pytest.mark.parametrize(
    ("lugar_expedicion", "fecha_timbrado"),
    [
        ("22000", datetime(2026, 11, 23, 10, 15, 30)),
        ("64000", FECHA - timedelta(minutes=5, seconds=1)),
        ("64000", FECHA + timedelta(hours=72, minutes=5, seconds=1)),
    ],
)
def test_a_stamp_before_its_fecha_or_days_after_is_doubted(lugar_expedicion, fecha_timbrado):
    """Beyond five minutes before or 72 hours after it fails."""
    invoice = builders.an_invoice(lugar_expedicion=lugar_expedicion)
    report = look(invoice, Stamping(fecha_timbrado=fecha_timbrado))
    assert [check.name for check in report.failed] == ["fecha_timbrado"]


@pytest.mark.parametrize(
    "csd",
    [
        signed_xml.a_csd(valid_from=datetime(2022, 1, 1, tzinfo=UTC), valid_days=1460),
        signed_xml.a_csd(valid_from=datetime(2026, 12, 1, tzinfo=UTC)),
    ],
)
def test_a_certificate_outside_its_dates_is_doubted(csd):
    """Code 305 of the PACs: Fecha must lie within the certificate's validity."""
    report = look(builders.an_invoice(), Stamping(csd=csd))
    assert [check.name for check in report.failed] == ["certificado_vigencia"]


# --- size ---------------------------------------------------------------------------------------------


def test_every_one_of_many_lines_is_looked_at():
    """And reported with its place, a few of them by name and the others counted."""
    lines = [
        A_LINE(descripcion=f"Guía {number}", traslados=[], retenciones=[], objeto_imp="01")
        for number in range(300)
    ]

    def change_the_last_seven(root):
        for node in root.findall(CONCEPTO)[-7:]:
            node.set("ClaveUnidad", "H87")

    report = look(builders.an_invoice(conceptos=lines), Stamping(before_seal=[change_the_last_seven]))
    assert [check.name for check in report.failed] == ["clave_unidad"]
    detail = details(report)["clave_unidad"]
    assert detail.startswith(
        "Línea 294, clave de unidad: en tu factura es E48 (Unidad de servicio) y en el CFDI timbrado es H87 (Pieza)."
    )
    assert detail.endswith("y 2 más")
