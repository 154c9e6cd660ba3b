"""Keys: one document has one, no two accounts share one, and none leads out of the store."""

from datetime import date, datetime
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import document_key, quarantine_key
from storage.keys import check_key, segment

UUID_ = UUID("6A5F0B9C-2D41-4E7F-9C35-0D6E4F1B2A77")
SHA256 = "ab" * 32


@pytest.mark.parametrize(
    ("account", "kind", "expected"),
    [
        ("acme", "xml", "acme/2026/11/6a5f0b9c-2d41-4e7f-9c35-0d6e4f1b2a77.xml"),
        ("acme", "pdf", "acme/2026/11/6a5f0b9c-2d41-4e7f-9c35-0d6e4f1b2a77.pdf"),
        ("acme", "acuse", "acme/2026/11/6a5f0b9c-2d41-4e7f-9c35-0d6e4f1b2a77.acuse.xml"),
        ("Acme", "xml", "=41cme/2026/11/6a5f0b9c-2d41-4e7f-9c35-0d6e4f1b2a77.xml"),
        ("..", "xml", "=2e=2e/2026/11/6a5f0b9c-2d41-4e7f-9c35-0d6e4f1b2a77.xml"),
        ("../../etc", "xml", "=2e.=2f..=2fetc/2026/11/6a5f0b9c-2d41-4e7f-9c35-0d6e4f1b2a77.xml"),
        ("a/b", "xml", "a=2fb/2026/11/6a5f0b9c-2d41-4e7f-9c35-0d6e4f1b2a77.xml"),
        ("a\nb\0", "xml", "a=0ab=00/2026/11/6a5f0b9c-2d41-4e7f-9c35-0d6e4f1b2a77.xml"),
        ("_quarantine", "xml", "=5fquarantine/2026/11/6a5f0b9c-2d41-4e7f-9c35-0d6e4f1b2a77.xml"),
        ("peña", "xml", "pe=c3=b1a/2026/11/6a5f0b9c-2d41-4e7f-9c35-0d6e4f1b2a77.xml"),
    ],
)
def test_a_key_is_account_month_and_uuid(account, kind, expected):
    """The contract's form, with what is unsafe in a path written in hex."""
    assert document_key(account, date(2026, 11, 23), UUID_, kind) == expected


def test_text_and_uuid_in_any_case_name_the_same_document():
    """ContaDigital tells UUIDs in capitals, our database in small letters."""
    at = datetime(2026, 11, 30, 23, 59, 59)

    assert document_key("acme", at, str(UUID_).upper(), "xml") == document_key(
        "acme", at.date(), UUID_, "xml"
    )


@settings(max_examples=60)
@given(st.text(min_size=1), st.text(min_size=1))
def test_two_accounts_never_share_a_folder(one, other):
    """Whatever text an account is, also where a file system ignores case, and whatever its length."""
    assert (one == other) == (segment(one).lower() == segment(other).lower())


@settings(max_examples=60)
@given(st.text(min_size=1, max_size=400))
def test_no_account_leads_out_of_the_store(account):
    """Every account gives a key of four plain parts that stays below the store's root."""
    key = check_key(document_key(account, date(2026, 1, 2), UUID_, "pdf"))

    parts = key.split("/")
    assert len(parts) == 4
    assert all(part not in {"", ".", ".."} and not part.startswith((".", "_")) for part in parts)
    assert key.isascii()
    assert key.isprintable()
    assert all(len(part) <= 130 for part in parts)


@pytest.mark.parametrize(
    ("one", "other"),
    [("a" * 200, "a" * 201), ("ñ" * 90, "ñ" * 91), ("x" * 60 + "==", "x" * 60 + "==" + "y" * 90)],
)
def test_long_accounts_are_distinguished(one, other):
    """A shortened folder carries a hash of the whole account."""
    assert segment(one) != segment(other)


def test_quarantine_keeps_each_variant_once_and_belongs_to_no_account():
    """The hash is in the key; an account called `_quarantine` gets another folder."""
    key = quarantine_key("acme", date(2026, 11, 23), "0197-abc", SHA256, "xml")

    assert key == f"_quarantine/acme/2026/11/0197-abc.{SHA256[:32]}.xml"
    assert key != quarantine_key("acme", date(2026, 11, 23), "0197-abc", "cd" * 32, "xml")
    assert not document_key("_quarantine", date(2026, 11, 23), UUID_, "xml").startswith("_quarantine/")


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", "../a", "a/../b", "a/.x", "a b", "a\n", "ñ", "a#1", "a%2fb"]
)
def test_a_key_not_made_here_is_refused(key):
    """The store's methods take only keys that could have come from this module."""
    with pytest.raises(ValueError, match="not a document key"):
        check_key(key)


@pytest.mark.parametrize("uuid", ["", "6A5F", "../../x", "no-such-uuid"])
def test_a_uuid_that_is_none_makes_no_key(uuid):
    """What an answer calls UUID is somebody else's text until it has been read."""
    with pytest.raises(ValueError, match=r"UUID|badly formed"):
        document_key("acme", date(2026, 11, 23), uuid, "xml")


def test_no_key_without_an_account_or_a_hash():
    """Empty parts would meet each other."""
    with pytest.raises(ValueError, match="must not be empty"):
        document_key("", date(2026, 11, 23), UUID_, "xml")
    with pytest.raises(ValueError, match="64 lower-case hex"):
        quarantine_key("acme", date(2026, 11, 23), "x", "AB" * 32, "xml")
