"""A pasted key is taken, taken with a word about the blanks, or refused with a fix; no call is made."""

import pytest

from contadigital.pasted_key import CleanKey, MalformedKey, clean_api_key

KEY = "k7Qm2xW9-aB3dE5fG7hJ9_LmN"
UUID_KEY = "3f2504e0-4f89-11d3-9a0c-0305e82c3301"
JWT_KEY = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dBjftJeZ4CVPmB92K27uhbUJU1p1r_wW1gFWFOEjXk"

GOOD = [
    KEY,
    UUID_KEY,
    JWT_KEY,
    "a" * 16,
    "Z9" * 256,
    "abc+/def==0123456789",
    "0123456789012345",
    "key_live_0123456789abcdef",
]

AROUND = [
    f" {KEY}",
    f"{KEY} ",
    f"\t{KEY}\n",
    f"\r\n{KEY}\r\n",
    f"\u00a0{KEY}\u00a0",
    f"\u3000{KEY}",
    f"\ufeff{KEY}",
    f"{KEY}\u200b",
    f" \u200b\n{KEY}\u2060 ",
]

BAD = [
    ("", "empty"),
    ("   ", "empty"),
    ("\u200b\ufeff", "empty"),
    (f'"{KEY}"', "quotes"),
    (f"'{KEY}'", "quotes"),
    (f"“{KEY}”", "quotes"),
    (f"«{KEY}»", "quotes"),
    (f"`{KEY}`", "quotes"),
    (f"{KEY}'", "quotes"),
    (f"ApiKey: {KEY}", "label"),
    (f"ApiKey:{KEY}", "label"),
    (f"API Key {KEY}", "label"),
    (f"api_key={KEY}", "label"),
    (f"X-Api-Key: {KEY}", "label"),
    (f"Bearer {KEY}", "label"),
    (f"Mi clave: {KEY}", "label"),
    (f"La llave: {KEY}", "label"),
    (f"Token\n{KEY}", "label"),
    (f"Api Key - {KEY}", "label"),
    (f"ContaDigital: {KEY}", "label"),
    (f'{{"ApiKey": "{KEY}"}}', "label"),
    (f"[{KEY}]", "label"),
    (f"<{KEY}>", "label"),
    (f"{KEY[:10]} {KEY[10:]}", "inner_blank"),
    (f"{KEY[:10]}\n{KEY[10:]}", "inner_blank"),
    (f"{KEY[:10]}\u00a0{KEY[10:]}", "inner_blank"),
    (f"{KEY}\n{KEY}", "inner_blank"),
    (f"{KEY[:10]}\u200b{KEY[10:]}", "invisible"),
    (f"{KEY[:10]}\u00ad{KEY[10:]}", "invisible"),
    (f"{KEY[:10]}\u202e{KEY[10:]}", "invisible"),
    (f"{KEY[:10]}\x00{KEY[10:]}", "control"),
    (f"{KEY}\x07", "control"),
    (f"\x1b[0m{KEY}", "control"),
    ("••••••••••••••••7hJ9", "masked"),
    ("************************7hJ9", "masked"),
    ("k7Qm2xW9…LmN4567890123", "masked"),
    ("https://app.contadigital.mx/perfil/api", "address"),
    ("www.contadigital.mx/facturacion", "address"),
    ("contador.fiscal@ejemplo.com.mx", "address"),
    ("EKU9003173C9", "rfc"),
    ("IAÑL750210963", "rfc"),
    ("k7Qm2xW9", "too_short"),
    ("a" * 15, "too_short"),
    ("a" * 513, "too_long"),
    ("x" * 10_000, "too_long"),
    (f"{KEY}ñ", "strange"),
    (f"{KEY[:10]}\u2013{KEY[10:]}", "strange"),
    (f"{KEY};", "strange"),
    (f"{KEY},", "strange"),
    ("\u041a7Qm2xW9aB3dE5fG7hJ9LmN", "strange"),
]


@pytest.mark.parametrize("pasted", GOOD, ids=range(len(GOOD)))
def test_a_good_key_is_taken_as_it_is(pasted: str):
    """Nothing is cut off a key that has nothing around it."""
    assert clean_api_key(pasted) == CleanKey(pasted, ())


@pytest.mark.parametrize("pasted", AROUND, ids=range(len(AROUND)))
def test_blanks_around_a_key_are_taken_away_and_reported(pasted: str):
    """Blanks around a key are taken away and mentioned."""
    taken = clean_api_key(pasted)

    assert isinstance(taken, CleanKey)
    assert taken.key == KEY
    assert taken.corrections == ("Quitamos los espacios que venían antes o después del API Key.",)


@pytest.mark.parametrize(
    ("pasted", "cause"), BAD, ids=[f"{cause}-{place}" for place, (_, cause) in enumerate(BAD)]
)
def test_what_cannot_be_a_key_is_refused_with_a_fix(pasted: str, cause: str):
    """Message and fix are sentences, and neither repeats what was pasted."""
    refused = clean_api_key(pasted)

    assert isinstance(refused, MalformedKey)
    assert refused.cause == cause
    assert refused.message.endswith(".")
    assert refused.fix.endswith(".")
    assert KEY[:8] not in refused.message + refused.fix


def test_a_key_does_not_show():
    """A key that may be tried is not in what a program prints of it."""
    taken = clean_api_key(KEY)

    assert isinstance(taken, CleanKey)
    assert KEY not in repr(taken)
