"""The SAT's own files: XSDs of CFDI 4.0 and TimbreFiscalDigital 1.1, XSLTs of both cadenas originales.

`data` says where they lie. An `XSLT` writes into the string dictionary of the thread that compiled it, with the GIL
released, so every thread compiles its own here: 2 ms and 0.5 MB once a thread, since only the templates of CFDI 4.0
itself are taken (with every complement: 12 ms and 4 MB). An `XMLSchema` is only read while it validates, so one serves
all threads; but it keeps one error log for all, hence the lock in `_faults`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lxml import etree

from cfdi.sat import data

if TYPE_CHECKING:  # lxml has it for type checkers only
    from lxml.etree._docloader import _InputDocument

CFDI: Final = "http://www.sat.gob.mx/cfd/4"
TFD: Final = "http://www.sat.gob.mx/TimbreFiscalDigital"

COMPLEMENTO: Final = f"{{{CFDI}}}Complemento"
COMPLEMENTO_CONCEPTO: Final = f"{{{CFDI}}}ComplementoConcepto"
TIMBRE: Final = f"{{{TFD}}}TimbreFiscalDigital"

_XSL_INCLUDE: Final = "{http://www.w3.org/1999/XSL/Transform}include"

# catCFDI.xsd lists 95,777 postcodes and 52,747 products, and libxml2 walks a list from its head for every
# value: 4.5 ms an invoice, 0.03 ms with patterns. Whether a code exists is asked of the catalogues instead.
_PATTERNS: Final = {
    "c_CodigoPostal": "[0-9]{5}",
    "c_ClaveProdServ": "[0-9]{8}",
    "c_ClaveUnidad": "[0-9A-Za-z]{1,3}",  # lower case too: Gd, Jo, Ohm, Ts, Tu, X1w, Xyv
    "c_Colonia": "[0-9]{4}",
}

# The cadena is made of the document alone: a stylesheet that reaches for anything else is stopped.
_SEALED_OFF: Final = etree.XSLTAccessControl(
    read_file=False, write_file=False, create_dir=False, read_network=False, write_network=False
)

_compiling = threading.Lock()
_validating = threading.Lock()
_of_this_thread = threading.local()


def folder() -> Path:
    """The copy of www.sat.gob.mx/sitio_internet/cfd; raises `data.DataMissing` without one."""
    return data.current().schemas


def schema() -> etree.XMLSchema:
    """The official schema of a stamped CFDI 4.0, compiled once for the process.

    Only its four huge catalogues are patterns instead of lists. Any thread may validate with it; whoever also
    wants to know why a document is invalid asks `schema_errors`.
    """
    with _compiling:
        return _compiled_schema()


@dataclass(frozen=True, slots=True)
class SchemaFault:
    """One breach of the official schema."""

    text: str
    is_unknown_key: bool
    """Whether it is only a key that the schema's list does not have: the SAT's own list may be newer."""


def schema_errors(document: etree._Element) -> tuple[str, ...]:
    """Why this Comprobante breaks the official schema, a line for each fault; empty when it does not."""
    return tuple(fault.text for fault in _faults(document))


def schema_faults(document: etree._Element) -> tuple[SchemaFault, ...]:
    """The same of a CFDI that others made: complements whose schema we do not have are not asked about."""
    if any(True for _ in _foreign_complements(document)):
        document = deepcopy(document)
        for node in list(_foreign_complements(document)):
            parent = node.getparent()
            if parent is not None:
                parent.remove(node)
    return _faults(document)


def _foreign_complements(document: etree._Element) -> Iterator[etree._Element]:
    for holder in document.iter(COMPLEMENTO, COMPLEMENTO_CONCEPTO):
        for child in holder.iterchildren("*"):
            if etree.QName(child).namespace not in (CFDI, TFD):
                yield child


def _faults(document: etree._Element) -> tuple[SchemaFault, ...]:
    compiled = schema()
    with _validating:
        if compiled.validate(document):
            return ()
        return tuple(
            SchemaFault(
                f"line {error.line}: {error.message}",
                error.type == etree.ErrorTypes.SCHEMAV_CVC_ENUMERATION_VALID,
            )
            for error in compiled.error_log
        )


def cadena_original(comprobante: etree._Element) -> str:
    """The cadena original of a CFDI 4.0, `||4.0|...||`: what the issuer's Sello is made over (Anexo 20)."""
    other_complements = any(
        child.tag != TIMBRE
        for node in comprobante.iter(COMPLEMENTO, COMPLEMENTO_CONCEPTO)
        for child in node.iterchildren("*")
    )
    stylesheet = _of_each_thread("with_complements" if other_complements else "comprobante")
    return str(stylesheet(comprobante))


def cadena_original_tfd(timbre: etree._Element) -> str:
    """The cadena original of a TimbreFiscalDigital, `||1.1|...||`: what the PAC's SelloSAT is made over."""
    return str(_of_each_thread("timbre")(timbre))


@cache
def _compiled_schema() -> etree.XMLSchema:
    parser = _local_parser()
    parser.resolvers.add(_SlimCatalogues())
    # Both in one: with cfdv40 alone a stamped document fails at Complemento, whose wildcard is strict.
    files = {CFDI: "4/cfdv40.xsd", TFD: "TimbreFiscalDigital/TimbreFiscalDigitalv11.xsd"}
    imports = "".join(
        f'<xs:import namespace="{namespace}" schemaLocation="{(folder() / path).as_uri()}"/>'
        for namespace, path in files.items()
    )
    wrapper = f'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">{imports}</xs:schema>'
    return etree.XMLSchema(etree.fromstring(wrapper, parser))


class _SlimCatalogues(etree.Resolver):
    """Hands out catCFDI.xsd with its huge lists made patterns; any other file is read as it lies there."""

    def resolve(
        self, system_url: str | None, public_id: str | None, context: object, /
    ) -> _InputDocument | None:
        if system_url is None or not system_url.endswith("/catalogos/catCFDI.xsd"):
            return None
        return self.resolve_string(_slim_catalogues(), context, base_url=system_url)


def _slim_catalogues() -> str:
    text = (folder() / "catalogos" / "catCFDI.xsd").read_text("utf-8")
    end = "</xs:simpleType>"
    for name, pattern in _PATTERNS.items():
        head, start, rest = text.partition(f'<xs:simpleType name="{name}">')
        if not start:
            raise data.DataMissing(f"catCFDI.xsd has no {name}: is it the SAT's?")
        slim = (
            '<xs:restriction base="xs:string"><xs:whiteSpace value="collapse"/>'
            f'<xs:pattern value="{pattern}"/></xs:restriction>'
        )
        text = head + start + slim + end + rest.partition(end)[2]
    return text


def _of_each_thread(name: str) -> etree.XSLT:
    made_from, compiled = getattr(_of_this_thread, name, (None, None))
    if compiled is None or made_from != folder():
        compiled = _compile(name)
        setattr(_of_this_thread, name, (folder(), compiled))
    return compiled


def _compile(name: str) -> etree.XSLT:
    path = "4/cadenaoriginal_4_0/cadenaoriginal_4_0.xslt"
    if name == "timbre":
        path = "TimbreFiscalDigital/cadenaoriginal_TFD_1_1.xslt"
    source = etree.parse(str(folder() / path), _local_parser())
    if name == "comprobante":
        root = source.getroot()
        for include in root.findall(_XSL_INCLUDE):
            if not include.get("href", "").endswith("utilerias.xslt"):
                root.remove(include)
    return etree.XSLT(source, regexp=False, access_control=_SEALED_OFF)


data.on_change(_compiled_schema.cache_clear)


def _local_parser() -> etree.XMLParser:
    return etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
