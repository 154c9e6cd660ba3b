"""The SAT's catalogues: keys in force only, read safely by many threads, without importing satcfdi."""

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from cfdi.sat import catalogs, data
from cfdi.sat.usos import FISICA_ONLY, OTHER_TYPES_ONLY, REGIMENES, USOS, is_usual, suitable, suits


@pytest.mark.parametrize(
    ("table", "expired"),
    [
        (catalogs.formas_pago, ["07", "09", "10", "11", "16", "98"]),
        (catalogs.regimenes, ["609", "628", "629", "630"]),
        (catalogs.usos_cfdi, ["P01"]),
        (catalogs.tipos_relacion, ["08", "09"]),
    ],
)
def test_expired_keys_are_not_in_force(table, expired):
    """Keys that the SAT has ended are not among those on offer."""
    assert not set(expired) & set(table())


@pytest.mark.parametrize(
    ("table", "keys"),
    [
        (catalogs.formas_pago, {"01", "02", "03", "04", "05", "06", "08", "12", "13", "14", "15", "17", "23", "24",
                                "25", "26", "27", "28", "29", "30", "31", "99"}),
        (catalogs.usos_cfdi, set(USOS)),
        (catalogs.regimenes, REGIMENES["moral"] | REGIMENES["fisica"]),
        (catalogs.tipos_relacion, {"01", "02", "03", "04", "05", "06", "07"}),
        (catalogs.objetos_imp, {f"{n:02}" for n in range(1, 9)}),
        (catalogs.meses, {f"{n:02}" for n in range(1, 19)}),
        (catalogs.periodicidades, {"01", "02", "03", "04", "05"}),
        (catalogs.exportaciones, {"01", "02", "03", "04"}),
    ],
)  # fmt: skip
def test_keys_in_force(table, keys):
    """Each catalogue offers exactly the keys that are valid today."""
    assert set(table()) == keys


@pytest.mark.parametrize(
    ("clave", "decimals"), [("MXN", 2), ("USD", 2), ("EUR", 2), ("JPY", 0), ("CLP", 0), ("BHD", 3)]
)
def test_a_currency_has_its_decimals(clave, decimals):
    """Pesos two, yen none, dinars three."""
    assert catalogs.currency(clave).decimals == decimals


@pytest.mark.parametrize("clave", ["ZZZ", "mxn", "", "x" * 1000])
def test_no_other_currency_is_known(clave):
    """Lower case, empty, endless and ZZZ have no entry."""
    assert catalogs.currency(clave) is None


def test_products_and_units_are_looked_up():
    """A key gives the SAT's description."""
    assert "carga" in catalogs.clave_prod_serv("78101802")
    assert catalogs.clave_prod_serv("01010101") is not None
    assert catalogs.clave_unidad("E48") == "Unidad de servicio"


@pytest.mark.parametrize(
    "clave", ["1010101", "78101899", "", "x" * 1000, "7810180\N{ARABIC-INDIC DIGIT TWO}"]
)
def test_no_other_product_is_known(clave):
    """A key with a digit less, with foreign digits or endless has no entry."""
    assert catalogs.clave_prod_serv(clave) is None


@pytest.mark.parametrize("clave", ["e48", "SERV", "", "Dx"])
def test_no_other_unit_is_known(clave):
    """`Dx` is in the data and in no schema of the SAT."""
    assert catalogs.clave_unidad(clave) is None


def test_many_threads_may_ask_at_once():
    """Sixteen threads read 4,000 postcodes and each gets its own."""
    asked = [f"{n:05}" for n in range(20_000, 24_000)]

    with ThreadPoolExecutor(max_workers=16) as pool:
        found = list(pool.map(catalogs.postcode, asked, chunksize=50))

    assert found == [catalogs.postcode(codigo) for codigo in asked]
    assert sum(place is not None for place in found) > 3_900


def test_the_data_file_is_never_written():
    """Read-only and immutable: no lock file, no journal, whoever owns the folder."""
    before = data.current().catalogs.stat()
    with pytest.raises(Exception, match="readonly"):
        catalogs._connection().execute("DELETE FROM C756_c_UsoCFDI")

    assert data.current().catalogs.stat() == before


def test_data_that_is_code_is_refused():
    """The file is somebody else's: whatever would build an object is not read."""
    for blob in (pickle.dumps(subprocess.run), b"cos\nsystem\n(S'true'\ntR."):
        with pytest.raises(pickle.UnpicklingError):
            catalogs._plain(blob)


def test_validation_does_not_import_satcfdi():
    """Its import costs more than a thousand validations, and 100 MB."""
    code = (
        "import sys; from cfdi.validation import validate; "
        "from datetime import datetime, UTC; validate({'conceptos': []}, issuer=None, now=datetime.now(UTC)); "
        "print([name for name in sys.modules if name.split('.')[0] in ('satcfdi', 'lxml', 'cryptography')])"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.strip() == "[]"


# --- usos ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uso", "regimen", "persona", "tipo", "fits"),
    [
        ("G03", "601", "moral", "I", True),
        ("G03", "612", "fisica", "I", True),
        ("G03", "605", "fisica", "I", False),
        ("G03", "616", "fisica", "I", False),
        ("G03", "610", "moral", "I", False),
        ("D01", "605", "fisica", "I", True),
        ("D01", "612", "fisica", "I", True),
        ("D01", "626", "fisica", "I", False),
        ("D01", "621", "fisica", "I", False),
        ("D01", "601", "moral", "I", False),
        ("S01", "616", "fisica", "I", True),
        ("S01", "610", "moral", "E", True),
        ("G02", "616", "fisica", "E", True),
        ("G02", "616", "fisica", "I", False),
        ("G02", "601", "moral", "I", True),
        ("I08", "626", "moral", "I", True),
        ("CP01", "601", "moral", "I", False),
        ("CN01", "605", "fisica", "I", False),
        ("P01", "601", "moral", "I", False),
    ],
)
def test_a_use_suits_a_regimen_a_person_and_a_type(uso, regimen, persona, tipo, fits):
    """The table of uses decides by all three, for personas morales and físicas apart."""
    assert (suits(uso, regimen, persona) and is_usual(uso, regimen, tipo)) is fits
    assert (uso in suitable(regimen, persona, tipo)) is fits


@pytest.mark.parametrize(("uso", "regimen"), [("G02", "616"), ("CP01", "601"), ("CN01", "605")])
def test_what_the_catalogue_allows_and_the_guides_do_not_foresee_is_only_unusual(uso, regimen):
    """The SAT's table lists both; a test PAC stamped an Ingreso with CP01."""
    assert suits(uso, regimen, "fisica")
    assert not is_usual(uso, regimen, "I")


def test_the_table_of_uses_is_whole():
    """24 uses in force by 19 régimenes, and nothing that no catalogue has."""
    known = set(catalogs.regimenes())

    assert len(USOS) == 24
    assert len(known) == 19
    assert all(regimenes <= known for regimenes in USOS.values())
    assert set(USOS) >= FISICA_ONLY | OTHER_TYPES_ONLY


def test_everybody_has_a_use():
    """No receptor is left without any."""
    for persona, regimenes in REGIMENES.items():
        assert all("S01" in suitable(regimen, persona, "I") for regimen in regimenes)


def test_the_uses_that_most_receptors_give_are_named_first():
    """A refusal names five at most: an employee (605) who buys a service gives S01, which sorts after D01 to D10."""
    assert suitable("605", "fisica", "I")[:2] == ("S01", "D01")
    assert suitable("601", "moral", "I")[:3] == ("G03", "S01", "G01")
