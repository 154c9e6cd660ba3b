"""Reading an XML that came from outside, so that it can hide nothing and reach nothing.

What could open files or addresses or swell to gigabytes needs a DTD, and is refused before the parser sees it.
A search of the bytes for `<!DOCTYPE` is worth something only where the parser reads the same letters in them, so
the encoding is pinned to UTF-8, as Anexo 20 has it for every CFDI, and any other that is declared is refused.

What only surrounds the document is no part of it and is forgiven, by name: blanks before the declaration or after
the end, a NUL after the end, a processing instruction outside the root, and a namespace that is no URI
(`xmlns:schemaLocation`, which some providers write for `xsi:schemaLocation`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from lxml import etree

_BOM: Final = b"\xef\xbb\xbf"
_BLANKS: Final = b" \t\r\n"
_DECLARED_ENCODING: Final = re.compile(rb"""\A<\?xml[^>]*?encoding\s*=\s*["']([^"']*)""")

MOST_ELEMENTS: Final = 100_000
"""5,000 lines, the most we send, with their taxes are 40,000."""
MOST_CHILDREN: Final = 12_000
"""Of one node, blanks and comments included. For every error, libxml2 counts a node's way through its siblings:
a million of them would keep the schema's validation busy for days."""


class UnsafeXml(ValueError):
    """Not a well-formed document that is safe to read; the message says why."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """The root of a document, and in Spanish what was forgiven around it."""

    root: etree._Element
    forgiven: tuple[str, ...]


def parse(xml: bytes) -> Parsed:
    """Read a document in UTF-8 without DTD or entities; raises UnsafeXml."""
    body = xml.removeprefix(_BOM)
    forgiven = []
    if body[:1] in (b" ", b"\t", b"\r", b"\n"):
        body = body.lstrip(_BLANKS)
        forgiven.append("hay espacios o saltos de línea antes del XML")
    if body.endswith(b"\x00"):
        body = body.rstrip(b"\x00" + _BLANKS)
        forgiven.append("hay caracteres nulos después del XML")
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnsafeXml(f"not UTF-8: {error.reason} at byte {error.start}") from error
    declared = _DECLARED_ENCODING.search(body)
    if declared is not None and declared[1].lower() not in (b"utf-8", b"utf8"):
        raise UnsafeXml(f"declared as {declared[1].decode('ascii', 'replace')}, not UTF-8")
    if b"<!DOCTYPE" in body:
        raise UnsafeXml("it has a DTD")
    try:
        root = etree.fromstring(body, _parser())
    except (etree.XMLSyntaxError, ValueError) as error:
        if getattr(error, "code", None) != etree.ErrorTypes.WAR_NS_URI:
            raise UnsafeXml(str(error)) from error
        root = _parse_with_odd_namespaces(body)
        forgiven.append("declara un espacio de nombres que no es una dirección (xmlns:schemaLocation)")
    if root.xpath("boolean(//processing-instruction()[ancestor::*])"):
        raise UnsafeXml("it has processing instructions inside")
    if root.xpath("boolean(//processing-instruction())"):
        forgiven.append("lleva una instrucción de presentación (xml-stylesheet)")
    if root.xpath(f"count(//*) > {MOST_ELEMENTS} or boolean(//*[count(node()) > {MOST_CHILDREN}])"):
        raise UnsafeXml("it has more nodes than any CFDI we could have sent")
    return Parsed(root, tuple(forgiven))


def _parser(*, recover: bool = False) -> etree.XMLParser:
    """A parser for each call: lxml lets one thread at a time use it, and making it costs microseconds."""
    return etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        recover=recover,
    )


def _parse_with_odd_namespaces(body: bytes) -> etree._Element:
    """Forgive a namespace that is no URI, and no other fault: libxml2 goes on after it, and logs every other."""
    parser = _parser(recover=True)
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise UnsafeXml(str(error)) from error
    others = [entry.message for entry in parser.error_log if entry.type != etree.ErrorTypes.WAR_NS_URI]
    if others or root is None:
        raise UnsafeXml(others[0] if others else "nothing in it can be read")
    return root
