"""The régimen de capital is found in its many spellings, suggested, and never cut off."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfdi.names import (
    is_same_company,
    is_same_name,
    regimen_capital,
    without_regimen_capital,
)
from cfdi.rfc import has_real_date, has_right_check_digit, is_well_formed, persona

SPELLINGS = [
    "S.A. DE C.V.", "SA DE CV", "S.A DE C.V", "S. A. DE C. V.", "S A DE C V", "s.a. de c.v.", "SADECV", "S.A.DE C.V.",
    "S.A. de Capital Variable", "S. DE R.L. DE C.V.", "S DE RL DE CV", "S. de R. L. de C. V.", "S. DE R.L.",
    "S DE RL MI",
    "S.A.P.I. DE C.V.", "SAPI DE CV", "S.A.P.I.B. DE C.V.", "S.A.B. DE C.V.", "S.A.S.", "SAS DE CV", "S.C.", "SC",
    "A.C.", "AC", "S.C. DE R.L. DE C.V.", "S.P.R. DE R.L. DE C.V.", "S.P.R. DE R.I.", "S. EN C.",
    "S. EN C. POR A. DE C.V.", "S. EN N.C.", "I.A.P.", "A.B.P.", "S.A. DE C.V., SOFOM, E.N.R.", "SAPI DE CV SOFOM ER",
    "S.N.C.", "S.A. DE C.V. EN LIQUIDACIÓN", "SOCIEDAD ANÓNIMA DE CAPITAL VARIABLE", "SOCIEDAD ANONIMA",
    "Sociedad de Responsabilidad Limitada de Capital Variable", "ASOCIACIÓN CIVIL", "SOCIEDAD CIVIL",
    "SOCIEDAD POR ACCIONES SIMPLIFICADA", "S.A. INSTITUCIÓN DE BANCA MÚLTIPLE", "S. DE R.L. DE I.P. DE C.V.", "S.A.",
]  # fmt: skip


@pytest.mark.parametrize("joint", [" ", ", ", "   "])
def test_a_regimen_is_found_however_it_is_written(joint):
    """With dots, without, with commas and blanks: name and suffix are distinguished."""
    for spelling in SPELLINGS:
        found = regimen_capital(f"TRANSPORTES ÑANDÚ & HIJOS{joint}{spelling}")

        assert found is not None, spelling
        assert found.nombre == "TRANSPORTES ÑANDÚ & HIJOS", spelling
        assert found.sufijo == spelling.replace(",", ", ").replace("  ", " ")


@pytest.mark.parametrize(
    "nombre",
    ["ESCUELA KEMPER URGATE", "XENON INDUSTRIAL ARTICLES", "INDISTRIA ILUMINADORA DE ALMACENES",
     "UNIVERSIDAD ROBOTICA ESPAÑOLA", "INTERNACIONAL XIMBO Y SABORES", "HERRERIA & ELECTRICOS", "LUCES & OBRAS",
     "S & SOFTWARE", "ORGANICOS ÑAVEZ OSORIO", "ZAPATERIA URTADO ÑERI", "XOCHILT CASAS CHAVEZ", "LUIS IAN ÑUZCO",
     "TRANSPORTES LA CASA", "GRUPO MESA", "SACV", "FLETES SA 2", "PROYECTOS DE CV2", "A", "", " ", "|", "..."],
)  # fmt: skip
def test_names_without_a_regimen_are_left_alone(nombre):
    """Among them every taxpayer of the SAT's test list."""
    assert regimen_capital(nombre) is None


@pytest.mark.parametrize("nombre", ["SA DE CV", "S.A. DE C.V.", "S.C.", ", SA", "- AC"])
def test_a_name_that_is_nothing_else_has_no_regimen(nombre):
    """A suffix alone is a name."""
    assert regimen_capital(nombre) is None


@pytest.mark.parametrize(
    ("nombre", "is_certain"),
    [
        ("FLETES DEL NORTE SA DE CV", True),
        ("CLUB DEPORTIVO A.C.", True),
        ("CLUB DEPORTIVO AC", True),
        ("PLAN A C", False),  # initials
        ("GRUPO SC", False),  # an acronym of the name's own
        ("GRUPO S.C.", True),
        ("PROMOTORA SAS", False),
        ("INICIATIVA DE LA SOCIEDAD CIVIL", False),  # what follows an article belongs to the name
        ("AMIGOS Y AC", False),
        ("FLETES S.A. DE C.V.", True),
    ],
)
def test_what_could_be_part_of_the_name_is_not_certain(nombre, is_certain):
    """Initials, acronyms and words after an article only warrant a warning."""
    assert regimen_capital(nombre).is_certain is is_certain


def test_the_suggestion_is_in_the_sats_form():
    """Capitals, single blanks, without the regimen de capital."""
    assert without_regimen_capital("  Fletes  del Norte, S.A. de C.V. ") == "FLETES DEL NORTE"
    assert without_regimen_capital("Fletes del Norte") == "FLETES DEL NORTE"


@pytest.mark.parametrize(
    ("one", "other", "same", "company"),
    [
        ("Escuela Kemper Urgate", "ESCUELA  KEMPER URGATE", True, True),
        ("ESCUELA KEMPER URGATE SA DE CV", "ESCUELA KEMPER URGATE", False, True),
        ("ESCUELA KEMPER URGATE, S.A. DE C.V.", "ESCUELA KEMPER URGATE SA DE CV", False, True),
        ("UNIVERSIDAD ROBOTICA ESPAÑOLA", "UNIVERSIDAD ROBOTICA ESPANOLA", False, False),
        ("CAFÉ", "CAFE", False, False),
        ("LUCES & OBRAS", "LUCES Y OBRAS", False, False),
    ],
)
def test_names_are_compared_as_the_sat_does(one, other, same, company):
    """Case and blanks do not count; accents, Ñ and & do."""
    assert is_same_name(one, other) is same
    assert is_same_company(one, other) is company


@given(st.text(max_size=60))
def test_any_text_can_be_asked(nombre):
    """No text raises, and what is found is never empty."""
    found = regimen_capital(nombre)

    assert found is None or (found.nombre and found.sufijo)


# --- RFC ----------------------------------------------------------------------------------------------

TAXPAYERS = [
    "EKU9003173C9", "XIA190128J61", "IIA040805DZ4", "URE180429TM6", "IVD920810GU2", "IXS7607092R5",
    "JES900109Q90", "KIJ0906199R1", "H&E951128469", "L&O950913MSA", "S&S051221SE2", "OÑO120726RX3",
    "ZUÑ920208KL4", "CACX7605101P8", "FUNK671228PH6", "IAÑL750210963", "JUFA7608212V6", "KAHO641101B39",
    "KICR630120NX3", "MISC491214B86", "RAQÑ7701212M3", "WATM640917J45", "WERX631016S30",
    "XAMA620210DQ5", "XIQB891116QE4", "XOJI740919U48",
]  # fmt: skip


def test_every_test_taxpayer_has_a_sound_rfc():
    """Form, date and check digit of each RFC that tests use."""
    for rfc in TAXPAYERS:
        assert is_well_formed(rfc), rfc
        assert has_real_date(rfc), rfc
        assert has_right_check_digit(rfc), rfc
        assert persona(rfc) == ("moral" if len(rfc) == 12 else "fisica")


@pytest.mark.parametrize(
    "rfc",
    ["", "EKU900317", "EKU9003173C", "EKU9013173C9", "EKU9003323C9", "eku9003173c9", "EKU9003173C9 ", "EKU9003173CB",
     "E1U9003173C9", "EKUUU9003173C9", "EKÜ9003173C9"],
)  # fmt: skip
def test_what_has_not_the_pattern_is_no_rfc(rfc):
    """Too short, an impossible date, lower case, a trailing blank: no RFC, nobody's."""
    assert not is_well_formed(rfc)
    assert persona(rfc) is None


@pytest.mark.parametrize("rfc", ["XAXX010101000", "XEXX010101000"])
def test_a_generic_rfc_is_nobodys(rfc):
    """It is well formed, and neither moral nor física."""
    assert is_well_formed(rfc)
    assert persona(rfc) is None


@pytest.mark.parametrize(
    ("rfc", "real"), [("EKU0002293C9", True), ("EKU0102293C9", False), ("EKU9004313C9", False)]
)
def test_the_date_of_an_rfc_has_to_exist(rfc, real):
    """29 February 2000 did; a year of two digits is looked up in both centuries."""
    assert has_real_date(rfc) is real


@pytest.mark.parametrize("digit", list("012345678A"))
def test_only_one_check_digit_is_right(digit):
    """Of eleven the other ten are wrong."""
    assert not has_right_check_digit(f"EKU9003173C{digit}")
