"""Valid invoices in wide variety, for hypothesis; and how many of them a run makes.

`invoices()` draws I and E as Apunto sends them: every currency, régimen, use, tax and extra that we take.
Whatever it makes must pass our rules and be stamped by the sandbox, so receptors, postcodes and units are
those the sandbox holds. Amounts are added up here once more, by hand, so that `cfdi.amounts` has a second
opinion. HYPOTHESIS_EXAMPLES makes a run as thorough as you have time for.
"""

import json
import os
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

from hypothesis import strategies as st

from cfdi.characters import entity_in
from cfdi.rfc import Persona
from cfdi.sat import usos
from tests.support.builders import JSON, NOW

EXAMPLES = int(os.environ.get("HYPOTHESIS_EXAMPLES", "25"))

TAXPAYERS: dict[str, list[str]] = json.loads(
    (Path(__file__).parents[2] / "sandbox" / "data" / "taxpayers.json").read_text("utf-8")
)["taxpayers"]
"""The SAT's test taxpayers: name and postcode by RFC."""
EMISOR = "EKU9003173C9"
LUGARES = ("42501", "64000", "22000", "88000", "06000", "77500")
BORDER = frozenset({"22000", "88000"})
MONEDAS = {"MXN": 2, "USD": 2, "EUR": 2, "CAD": 2, "JPY": 0, "CLP": 0}
UNIDADES = ("E48", "ACT", "E54", "KGM", "TNE", "H87", "KMT", "HUR", "11")
CLAVES = ("78101802", "78101801", "78121603", "78131702", "84111506", "01010101", "80101600", "43211500")
FORMAS = ("01", "02", "03", "04", "05", "06", "08", "12", "15", "17", "25", "28", "30", "31")

_LETTERS = "abcdefghijklmnñopqrstuvwxyzABCDEFGHIJKLMNÑOPQRSTUVWXYZáéíóúüÁÉÍÓÚÜ0123456789"
_SIGNS = " .,;:-_/()&<>\"'#%$+*=¿?¡!°€@[]{}"
_ALPHABET = st.sampled_from(_LETTERS + _SIGNS)


def texts(shortest: int, longest: int) -> st.SearchStrategy[str]:
    """Texts that a person could type and the SAT takes: single blanks, no pipes, no HTML."""
    drawn = st.text(_ALPHABET, min_size=shortest, max_size=longest).map(lambda text: " ".join(text.split()))
    return drawn.filter(lambda text: shortest <= len(text) <= longest and not entity_in(text))


def rounded(value: Decimal, places: int) -> Decimal:
    """Half up, to so many decimals."""
    return value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)


def _decimals(lowest: str, highest: str, *places: int) -> st.SearchStrategy[Decimal]:
    return st.one_of([st.decimals(lowest, highest, places=p) for p in places])


def _rates(highest: str) -> st.SearchStrategy[str]:
    """Rates above zero, their six decimals written out."""
    return st.decimals("0.000001", highest, places=6).map(lambda rate: f"{rate:.6f}")


# A strategy made inside a draw is made again for every line: these are made once.
_CANTIDAD = _decimals("1", "5000", 0, 0, 2, 3, 6)
_VALOR = _decimals("1", "99999", 0, 2, 2, 4, 6)
_PERCENT_OFF = st.sampled_from([None, None, 0, 1, 15, 50, 100]) | st.integers(0, 100)
_TIPO_CAMBIO = _decimals("0.01", "40", 2, 4, 6).map(str)
_RET_IVA = st.none() | st.just("0.040000") | st.just("0.106667") | _rates("0.160000")
_RET_ISR = st.none() | st.none() | st.just("0.012500") | st.just("0.100000") | _rates("0.350000")
_IVA = st.sampled_from(["0.160000", "0.160000", "0.000000", None])
_IVA_AT_THE_BORDER = st.sampled_from(["0.160000", "0.080000", "0.000000", None])
_OBJETO = st.sampled_from(["02", "02", "02", "01", "03", "04"])
_CLAVE, _UNIDAD = st.sampled_from(CLAVES), st.sampled_from(UNIDADES)
_NOMBRE, _DESCRIPCION = texts(2, 50), texts(1, 80)
_NO_IDENTIFICACION, _UNIDAD_TEXT = st.none() | texts(1, 40), st.none() | texts(1, 20)
_EXTERNAL_ID, _CONDICIONES = texts(1, 100), texts(1, 60)
_EMAIL = st.sampled_from([None, "cliente@ejemplo.mx"])
_SEND_TO = st.sampled_from([[], ["cliente@ejemplo.mx"], ["a@b.mx", "c.d@e-f.com"]])
_AGE = st.none() | st.integers(-240, 70 * 3600)
_UUIDS = st.lists(st.uuids().map(str) | st.uuids().map(lambda u: str(u).upper()), min_size=1, max_size=3)
_KIND = st.sampled_from(["named", "named", "named", "public", "foreign", "unnamed"])
_RFC = st.sampled_from(sorted(set(TAXPAYERS) - {EMISOR}))
_SPELLING = st.sampled_from([str, str.lower, " {} ".format])
_REGIMEN = {persona: st.sampled_from(sorted(regimenes)) for persona, regimenes in usos.REGIMENES.items()}


@st.composite
def receptores(draw: st.DrawFn, tipo: str, lugar: str) -> JSON:
    """Companies, persons, the public, foreigners, and customers without an RFC."""
    kind = draw(_KIND)
    if kind == "named":
        rfc = draw(_RFC)
        nombre, codigo_postal = TAXPAYERS[rfc]
        persona: Persona = "moral" if len(rfc) == 12 else "fisica"
        regimen = draw(_REGIMEN[persona])
        uso = draw(st.sampled_from(usos.suitable(regimen, persona, tipo)))
        nombre = draw(_SPELLING)(nombre)
    else:
        rfc = "XEXX010101000" if kind == "foreign" else "XAXX010101000"
        nombre = {"public": "PUBLICO EN GENERAL", "foreign": "ACME & LOGISTICS INC", "unnamed": "JUANA PEÑA"}[
            kind
        ]
        codigo_postal, regimen = lugar, "616"
        uso = draw(st.sampled_from(["S01", "G02"] if tipo == "E" else ["S01"]))
    return {
        "rfc": rfc,
        "nombre": nombre,
        "domicilio_fiscal_receptor": codigo_postal,
        "regimen_fiscal_receptor": regimen,
        "uso_cfdi": uso,
        "email": draw(_EMAIL),
    }


@st.composite
def conceptos(draw: st.DrawFn, lugar: str, places: int) -> JSON:
    """One line, with or without discount, taxes, and what Apunto showed of them."""
    cantidad, valor = draw(_CANTIDAD), draw(_VALOR)
    importe = rounded(cantidad * valor, places)
    percent = draw(_PERCENT_OFF)
    descuento = None if percent is None else rounded(importe * percent / 100, places)
    base = importe - (descuento or 0)
    shows = draw(st.booleans())
    line = {
        "clave_prod_serv": draw(_CLAVE),
        "no_identificacion": draw(_NO_IDENTIFICACION),
        "cantidad": str(cantidad),
        "clave_unidad": draw(_UNIDAD),
        "unidad": draw(_UNIDAD_TEXT),
        "nombre": draw(_NOMBRE),
        "descripcion": draw(_DESCRIPCION),
        "valor_unitario": str(valor),
        "descuento": None if descuento is None else str(descuento),
        "objeto_imp": draw(_OBJETO) if base > 0 else "01",
    }
    if shows:
        line["importe"] = str(importe)
    if line["objeto_imp"] == "02":
        iva = draw(_IVA_AT_THE_BORDER if lugar in BORDER else _IVA)
        withheld = {"002": draw(_RET_IVA), "001": draw(_RET_ISR)}
        line["traslados"] = [_tax("002", iva, base, places, shows)]
        line["retenciones"] = [
            _tax(impuesto, rate, base, places, shows)
            for impuesto, rate in withheld.items()
            if rate is not None
        ]
    return line


def _tax(impuesto: str, rate: str | None, base: Decimal, places: int, shows: bool) -> JSON:
    tax: JSON = {"impuesto": impuesto, "tipo_factor": "Exento" if rate is None else "Tasa"}
    if rate is not None:
        tax["tasa_o_cuota"] = rate
    if shows:
        tax["base"] = str(base)
        if rate is not None:
            tax["importe"] = str(rounded(base * Decimal(rate), places))
    return tax


def added_up(lines: list[JSON], places: int) -> JSON:
    """Subtotal, descuento, total and tax summary of lines, worked out here and nowhere else."""
    subtotal = descuento = Decimal(0)
    traslados: dict[tuple[str, str, str | None], list[Decimal]] = {}
    retenciones: dict[str, Decimal] = {}
    for line in lines:
        importe = rounded(Decimal(line["cantidad"]) * Decimal(line["valor_unitario"]), places)
        base = importe - Decimal(line["descuento"] or 0)
        subtotal, descuento = subtotal + importe, descuento + Decimal(line["descuento"] or 0)
        for tax in line.get("traslados", []):
            rate = tax.get("tasa_o_cuota")
            row = traslados.setdefault((tax["impuesto"], tax["tipo_factor"], rate), [Decimal(0), Decimal(0)])
            row[0] += base
            row[1] += rounded(base * Decimal(rate), places) if rate else 0
        for tax in line.get("retenciones", []):
            amount = rounded(base * Decimal(tax["tasa_o_cuota"]), places)
            retenciones[tax["impuesto"]] = retenciones.get(tax["impuesto"], Decimal(0)) + amount
    charged = sum((importe for _, importe in traslados.values()), Decimal(0))
    withheld = sum(retenciones.values(), Decimal(0))
    rows = [
        {"impuesto": impuesto, "tipo_factor": factor, "base": str(base)}
        | ({} if rate is None else {"tasa_o_cuota": rate, "importe": str(rounded(importe, places))})
        for (impuesto, factor, rate), (base, importe) in traslados.items()
    ]
    has_importe = any(rate for _, _, rate in traslados)
    return {
        "subtotal": str(rounded(subtotal, places)),
        "descuento": str(rounded(descuento, places)),
        "total": str(rounded(subtotal - descuento + charged - withheld, places)),
        "impuestos": {
            "total_impuestos_trasladados": str(rounded(charged, places)) if has_importe else None,
            "total_impuestos_retenidos": str(rounded(withheld, places)) if retenciones else None,
            "traslados": rows,
            "retenciones": [
                {"impuesto": name, "importe": str(amount)} for name, amount in retenciones.items()
            ],
        },
    }


@st.composite
def invoices(draw: st.DrawFn, account: str = "acme", now: datetime = NOW, max_lines: int = 4) -> JSON:
    """A valid invoice as Apunto sends it, for an emisor of régimen 601."""
    tipo, lugar = draw(st.sampled_from("IIIE")), draw(st.sampled_from(LUGARES))
    moneda = draw(st.sampled_from(["MXN", "MXN", "MXN", *MONEDAS]))
    receptor = draw(receptores(tipo, lugar))
    lines = draw(st.lists(conceptos(lugar, MONEDAS[moneda]), min_size=1, max_size=max_lines))
    sums = added_up(lines, MONEDAS[moneda])
    metodo, age = draw(st.sampled_from(["PUE", "PPD"])), draw(_AGE)
    is_global = tipo == "I" and receptor["nombre"] == "PUBLICO EN GENERAL"
    related = {"I": [None, None, "02", "04", "06", "07"], "E": ["01", "03", "04", "07"]}[tipo]
    relation = draw(st.sampled_from(related))
    invoice: JSON = {
        "version": 1,
        "account": account,
        "external_id": draw(_EXTERNAL_ID),
        "tipo_de_comprobante": tipo,
        "fecha": None if age is None else (now - timedelta(seconds=age)).isoformat(),
        "forma_pago": "99" if metodo == "PPD" else draw(st.sampled_from(FORMAS)),
        "metodo_pago": metodo,
        "moneda": moneda,
        "tipo_cambio": draw(st.sampled_from([None, "1"])) if moneda == "MXN" else draw(_TIPO_CAMBIO),
        "lugar_expedicion": lugar,
        "receptor": receptor,
        "conceptos": lines,
        "informacion_global": draw(_periods(now)) if is_global else None,
        "cfdi_relacionados": relation and {"tipo_relacion": relation, "uuids": draw(_UUIDS)},
        "subtotal": sums["subtotal"],
        "total": sums["total"],
        "send_to": draw(_SEND_TO),
    }
    extras: JSON = {
        "exportacion": "01",
        "condiciones_de_pago": draw(_CONDICIONES),
        "descuento": sums["descuento"],
        "impuestos": sums["impuestos"],
    }
    return invoice | {name: value for name, value in extras.items() if draw(st.booleans())}


@st.composite
def _periods(draw: st.DrawFn, now: datetime) -> JSON:
    """Periods that an emisor of régimen 601 can name: no bimesters."""
    return {
        "periodicidad": draw(st.sampled_from(["01", "02", "03", "04"])),
        "meses": f"{draw(st.integers(1, 12)):02}",
        # A year that is this or the last wherever the clock stands around New Year's Eve.
        "anio": (now - timedelta(days=4)).year,
    }
