"""The SAT's files: the slim schema says what the whole one says, and both cadenas are the official ones."""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from lxml import etree

from cfdi.sat import files as sat_files
from tests.support import signed_xml

INVOICE = {
    "tipo_de_comprobante": "I",
    "forma_pago": "03",
    "metodo_pago": "PUE",
    "moneda": "MXN",
    "tipo_cambio": None,
    "lugar_expedicion": "64000",
    "receptor": {
        "rfc": "OÑO120726RX3",
        "nombre": "ORGANICOS ÑAVEZ & OSORIO",
        "domicilio_fiscal_receptor": "40501",
        "regimen_fiscal_receptor": "601",
        "uso_cfdi": "G03",
    },
    "conceptos": [
        {
            "clave_prod_serv": "78101802",
            "cantidad": "1",
            "clave_unidad": "E48",
            "nombre": "Flete",
            "descripcion": "  Flete  Monterrey \n Laredo ",
            "valor_unitario": "15000.00",
            "objeto_imp": "02",
            "traslados": [{"impuesto": "002", "tipo_factor": "Tasa", "tasa_o_cuota": "0.160000"}],
        }
    ],
}


@pytest.fixture
def comprobante():
    return signed_xml.stamped_tree(INVOICE)


def test_a_stamped_cfdi_is_valid(comprobante):
    """The SAT's own XSD finds nothing in what the tests seal."""
    assert sat_files.schema_errors(comprobante) == ()


def edit(path, **attributes):
    def change(root):
        node = root.find(path)
        for name, value in attributes.items():
            if value is None:
                del node.attrib[name]
            else:
                node.set(name, value)

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (edit(".", Fecha="2026-11-23T10:00:00.123"), "Fecha"),
        (edit(".", FormaPago="07"), "FormaPago"),
        (edit(".", Total="1,00"), "Total"),
        (edit(".", Total=None), "Total"),
        (edit(".", LugarExpedicion="6400"), "LugarExpedicion"),
        (edit("{*}Conceptos/{*}Concepto", ClaveProdServ="7810180"), "ClaveProdServ"),
        (edit("{*}Conceptos/{*}Concepto", ClaveUnidad="E-48"), "ClaveUnidad"),
        (edit("{*}Conceptos/{*}Concepto", Descripcion="Flete | Laredo"), "Descripcion"),
        (edit("{*}Conceptos/{*}Concepto", Importe="1.0000001"), "Importe"),
        (edit("{*}Complemento/{*}TimbreFiscalDigital", UUID="not-a-uuid"), "UUID"),
        (edit("{*}Complemento/{*}TimbreFiscalDigital", Version="1.0"), "Version"),
    ],
)
def test_what_the_official_schema_refuses_is_refused_by_name(comprobante, change, named):
    """Each error names its attribute."""
    change(comprobante)
    errors = sat_files.schema_errors(comprobante)
    assert errors
    assert all(f"attribute '{named}'" in error for error in errors)


@pytest.mark.parametrize("clave_unidad", ["E48", "H87", "ACT", "5", "Gd", "Ohm", "X1w"])
def test_every_way_of_writing_a_unit_passes_the_pattern(comprobante, clave_unidad):
    """The pattern stands for the whole of c_ClaveUnidad, with its few keys in lower case."""
    edit("{*}Conceptos/{*}Concepto", ClaveUnidad=clave_unidad)(comprobante)
    assert sat_files.schema_errors(comprobante) == ()


def test_the_patterns_let_every_code_of_the_catalogues_pass():
    """Slim is never stricter than whole: each code of the four lists matches what stands in its place."""
    whole = (sat_files.folder() / "catalogos" / "catCFDI.xsd").read_text("utf-8")
    slim = sat_files._slim_catalogues()
    for name, pattern in sat_files._PATTERNS.items():
        in_whole, in_slim = (
            text.partition(f'<xs:simpleType name="{name}">')[2].partition("</xs:simpleType>")[0]
            for text in (whole, slim)
        )
        codes = re.findall('<xs:enumeration value="([^"]*)"', in_whole)
        assert f'<xs:pattern value="{pattern}"/>' in in_slim
        assert "enumeration" not in in_slim
        assert len(codes) > 2000
        assert [code for code in codes if not re.fullmatch(pattern, code)] == []


def test_the_cadena_is_the_official_one_blanks_collapsed(comprobante):
    """Our shortened stylesheet gives what the whole one gave."""
    cadena = sat_files.cadena_original(comprobante)
    assert cadena.startswith("||4.0|A|1045|2026-11-23T10:15:00|03|")
    assert cadena.endswith("||")
    assert "|OÑO120726RX3|ORGANICOS ÑAVEZ & OSORIO|40501|" in cadena
    assert "|Flete Monterrey Laredo|" in cadena
    # The whole stylesheet sealed it in signed_xml; the slim one has to say the same, to the letter.
    assert comprobante.get("Sello") == signed_xml.a_csd().seal(cadena)


def test_a_complement_is_part_of_the_cadena():
    """Only the complements' own stylesheets know how; the slim one would leave them out."""
    leyendas = "http://www.sat.gob.mx/leyendasFiscales"

    def add_complement(root):
        complemento = etree.SubElement(root, f"{{{signed_xml.CFDI}}}Complemento")
        node = etree.SubElement(complemento, f"{{{leyendas}}}LeyendasFiscales", version="1.0")
        etree.SubElement(node, f"{{{leyendas}}}Leyenda", textoLeyenda="Sin efectos fiscales")

    root = signed_xml.stamped_tree(INVOICE, signed_xml.Stamping(before_seal=[add_complement]))
    cadena = sat_files.cadena_original(root)
    assert cadena.endswith("|1.0|Sin efectos fiscales||")
    assert root.get("Sello") == signed_xml.a_csd().seal(cadena)


def test_the_timbres_cadena_is_what_the_pac_sealed(comprobante):
    """The PAC's seal verifies over it."""
    timbre = comprobante.find("{*}Complemento/{*}TimbreFiscalDigital")
    cadena = sat_files.cadena_original_tfd(timbre)
    assert cadena == (
        f"||1.1|{signed_xml.UUID}|2026-11-23T10:15:42|CDI200101AB5|{comprobante.get('Sello')}|30001000000500009999||"
    )
    assert timbre.get("SelloSAT") == signed_xml.a_pac().seal(cadena)


def test_fifty_threads_get_their_own_answers():
    """The worker's pool: each thread has its own stylesheet, and no thread reads another's schema errors."""
    threads = 50
    together = Barrier(threads)

    def work(number: int) -> tuple[int, str, tuple[str, ...]]:
        root = etree.fromstring(
            f'<cfdi:Comprobante xmlns:cfdi="{sat_files.CFDI}" Serie="S{number}" Total="T{number}"/>'
        )
        together.wait()
        return number, sat_files.cadena_original(root), sat_files.schema_errors(root)

    with ThreadPoolExecutor(threads) as pool:
        answers = list(pool.map(work, range(threads)))

    for number, cadena, errors in answers:
        assert cadena.startswith(f"|||S{number}|")
        about_total = [error for error in errors if "attribute 'Total'" in error]
        assert about_total
        assert all(f"'T{number}'" in error for error in about_total)


def test_nothing_is_fetched_because_a_document_asks_for_it(comprobante, tmp_path):
    """xsi:schemaLocation of a returned document is its own claim: nothing is read from there."""
    elsewhere = tmp_path / "anything.xsd"
    elsewhere.write_text("this is no schema")
    comprobante.set(f"{{{signed_xml.XSI}}}schemaLocation", f"{sat_files.CFDI} {elsewhere.as_uri()}")
    assert sat_files.schema_errors(comprobante) == ()
    comprobante.set(
        f"{{{signed_xml.XSI}}}schemaLocation", f"{sat_files.CFDI} http://127.0.0.1:1/never-asked.xsd"
    )
    assert sat_files.schema_errors(comprobante) == ()


def test_satcfdi_is_found_without_being_imported():
    """Importing it would cost every worker process 600 ms and 90 MB."""
    program = "import sys; from cfdi.sat import files; files.schema(); sys.exit('satcfdi' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
