"""Invoices from files, folders and standard input, as `timbrado submit` takes them."""

import io
import json

import pytest

from cli.invoice_files import NotAnInvoice, read_all


def an_entry(number: int, **changes: object) -> dict[str, object]:
    return {"account": "acme", "external_id": f"OP-{number}"} | changes


def read(text: str, tmp_path, name: str = "some.json", **options):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read_all([str(path)], io.StringIO(), **options)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(an_entry(1)) + "\n" + json.dumps(an_entry(2)),
        json.dumps(an_entry(1)) + "\n\n" + json.dumps(an_entry(2)) + "\n\n",
        json.dumps([an_entry(1), an_entry(2)]),
        json.dumps([an_entry(1), an_entry(2)], indent=2),
    ],
    ids=["lines", "lines with blank ones", "list", "list over lines"],
)
def test_lines_and_lists_are_many(text, tmp_path):
    """JSON Lines with blank lines and JSON lists give each invoice once, in order."""
    assert [each.key for each in read(text, tmp_path)] == [("acme", "OP-1"), ("acme", "OP-2")]


def test_one_document_over_many_lines_is_one_invoice(tmp_path):
    """An indented object is not taken for JSON Lines."""
    assert [each.invoice for each in read(json.dumps(an_entry(1), indent=2), tmp_path)] == [an_entry(1)]


def test_a_byte_order_mark_is_no_part_of_an_invoice(tmp_path):
    """A file as Windows saves it is read."""
    assert len(read("\ufeff" + json.dumps(an_entry(1)), tmp_path)) == 1


def test_a_folder_gives_its_files_by_name_and_those_below(tmp_path):
    """.json and .jsonl in order of path; other files are passed over."""
    (tmp_path / "b").mkdir()
    for number, name in enumerate(("b/2.json", "c.jsonl", "a.json"), 1):
        (tmp_path / name).write_text(json.dumps(an_entry(number)), encoding="utf-8")
    (tmp_path / "README.md").write_text("not an invoice", encoding="utf-8")

    found = read_all([str(tmp_path)], io.StringIO())

    assert [each.invoice["external_id"] for each in found] == ["OP-3", "OP-1", "OP-2"]


def test_standard_input_is_a_dash():
    """`-` reads invoices from standard input."""
    assert read_all(["-"], io.StringIO(json.dumps(an_entry(7))))[0].key == ("acme", "OP-7")


def test_the_account_that_was_named_stands_in_for_theirs(tmp_path):
    """--account serves invoices that name none."""
    assert read(json.dumps({"external_id": "OP-1"}), tmp_path, account="other")[0].key == ("other", "OP-1")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('{"account": "a", "external_id": "1"}\n{"a": \n', "some.json:2: not JSON"),
        ('{\n  "a": 1,\n  "b" 2\n}', "some.json:3: not JSON"),
        ("hello", "some.json:1: not JSON"),
        ("", "some.json: empty"),
        ("\n \n", "some.json: empty"),
        ('{"total": NaN}', "some.json:1: not JSON: NaN"),
        ('{"total": ' + "9" * 5_000 + "}", "some.json:1: not JSON"),
        ("[" * 100_000, "some.json:1: not JSON"),
        ("[1]", "some.json, number 1: an invoice is a JSON object, this is a number"),
        ('"text"', "some.json: an invoice is a JSON object, this is text"),
        ('{"external_id": "OP-1"}', "some.json: no account"),
        ('{"account": "acme"}', "some.json: no external_id"),
        ('{"account": "acme", "external_id": 7}', "some.json: no external_id"),
        ('{"account": "acme", "external_id": " "}', "some.json: no external_id"),
    ],
)
def test_what_is_no_invoice_is_named_with_its_place(text, where, tmp_path):
    """File, line or number in the list, and what is wrong there."""
    with pytest.raises(NotAnInvoice) as caught:
        read(text, tmp_path)

    assert where in str(caught.value)


def test_a_file_that_is_not_utf_8_is_named(tmp_path):
    """With the byte at which that shows."""
    path = tmp_path / "latin.json"
    path.write_bytes('{"external_id": "Ñ"}'.encode("latin-1"))
    with pytest.raises(NotAnInvoice, match=r"latin\.json: not UTF-8 at byte 17"):
        read_all([str(path)], io.StringIO())


def test_a_folder_without_invoices_is_named(tmp_path):
    """An empty folder is an error: nothing would have been sent."""
    with pytest.raises(NotAnInvoice, match=r"no \.json"):
        read_all([str(tmp_path)], io.StringIO())
