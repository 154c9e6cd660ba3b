"""Reading an XML that came from outside, so that it can hide nothing and reach nothing.

What could open files or addresses or swell to gigabytes needs a DTD, and is refused before the parser sees
it. What a newcomer would get wrong: to search the bytes for `<!DOCTYPE` is worth something only once the
parser is sure to read the same letters in them; so the encoding is pinned to UTF-8, as Anexo 20 has it for
every CFDI, and any other that is declared is refused.
"""

from __future__ import annotations

import re
from typing import Final

from lxml import etree

_BOM: Final = b"\xef\xbb\xbf"
_DECLARED_ENCODING: Final = re.compile(rb"""\A\s*<\?xml[^>]*?encoding\s*=\s*["']([^"']*)""")

MOST_ELEMENTS: Final = 100_000
"""5,000 lines, the most we send, with their taxes are 40,000."""
MOST_CHILDREN: Final = 12_000
"""Of one node, blanks and comments included. For every error, libxml2 counts a node's way through its siblings:
a million of them would keep the schema's validation busy for days."""


class UnsafeXml(ValueError):
    """Not a well-formed document that is safe to read; the message says why."""


def parse(xml: bytes) -> etree._Element:
    """The root of a document in UTF-8 without DTD, entities or processing instructions; raises UnsafeXml."""
    body = xml.removeprefix(_BOM)
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnsafeXml(f"not UTF-8: {error.reason} at byte {error.start}") from error
    declared = _DECLARED_ENCODING.search(body)
    if declared is not None and declared[1].lower() not in (b"utf-8", b"utf8"):
        raise UnsafeXml(f"declared as {declared[1].decode('ascii', 'replace')}, not UTF-8")
    if b"<!DOCTYPE" in body:
        raise UnsafeXml("it has a DTD")
    # A parser for each call: lxml lets one thread at a time use it, and making it costs microseconds.
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        recover=False,
    )
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise UnsafeXml(str(error)) from error
    if root.xpath("boolean(//processing-instruction())"):
        raise UnsafeXml("it has processing instructions")
    if root.xpath(f"count(//*) > {MOST_ELEMENTS} or boolean(//*[count(node()) > {MOST_CHILDREN}])"):
        raise UnsafeXml("it has more nodes than any CFDI we could have sent")
    return root
