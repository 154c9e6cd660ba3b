"""What an audit compares with: the SAT's metadata files, and XML files in a folder or a ZIP, read one at a time."""

import hashlib
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

from lxml import etree

from cfdi.evidence.reading import words
from cfdi.sat.files import CFDI, TIMBRE

MAX_XML = 10_000_000
"""Bytes of one XML that are read."""
METADATA = (
    "Uuid", "RfcEmisor", "NombreEmisor", "RfcReceptor", "NombreReceptor", "RfcPac", "FechaEmision",
    "FechaCertificacionSat", "Monto", "EfectoComprobante", "Estatus", "FechaCancelacion",
)  # fmt: skip
"""The columns of the SAT's metadata (Descarga Masiva), separated by `~`; Estatus is 1 (vigente) or 0 (cancelado)."""
_UUID = re.compile(r"[0-9A-F]{8}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{12}")
_OF_THE_STAMP = frozenset({"Sello", "NoCertificado", "Certificado", "Fecha", "Serie", "Folio"})
"""Attributes in which two stamps of one invoice differ."""


class UnreadableSource(Exception):
    """A file is neither the SAT's metadata nor XML nor a ZIP of them; its text names the file and what is wrong."""


@dataclass(frozen=True, slots=True, order=False)
class Issued:
    """One CFDI that a source holds."""

    uuid: str  # upper case
    emisor: str
    receptor: str
    total: Decimal
    fecha: datetime | None
    source: str
    cancelled: bool | None = None  # None where the source does not say
    xml: bytes | None = None
    content: str | None = None  # SHA-256 of what it says besides its stamp, where its XML is there
    words: frozenset[str] = frozenset()  # of the descriptions of its lines, likewise


def read(path: Path, *, keep_xml: bool = True) -> Iterator[Issued]:
    """Read one source: a folder or ZIP of XML, one XML, or a metadata file (.txt, .csv). Raises UnreadableSource."""
    if path.is_dir():
        for each in sorted(path.rglob("*")):
            if each.suffix.lower() in {".xml", ".zip", ".txt", ".csv"} and each.is_file():
                yield from read(each, keep_xml=keep_xml)
    elif path.suffix.lower() == ".zip":
        yield from _of_a_zip(path, keep_xml)
    elif path.suffix.lower() == ".xml":
        yield of_xml(path.read_bytes(), str(path), keep_xml=keep_xml)
    else:
        with path.open(encoding="utf-8-sig", errors="replace") as lines:
            yield from of_metadata(lines, str(path))


def _of_a_zip(path: Path, keep_xml: bool) -> Iterator[Issued]:
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                name = f"{path}:{entry.filename}"
                suffix = entry.filename.lower().rpartition(".")[2]
                if suffix == "xml" and entry.file_size <= MAX_XML:
                    yield of_xml(archive.read(entry), name, keep_xml=keep_xml)
                elif suffix in {"txt", "csv"}:
                    with archive.open(entry) as data:
                        yield from of_metadata((line.decode("utf-8-sig", "replace") for line in data), name)
    except (zipfile.BadZipFile, OSError) as error:
        raise UnreadableSource(f"{path}: not a ZIP that can be read ({type(error).__name__})") from error


def of_metadata(lines: Iterator[str], name: str) -> Iterator[Issued]:
    """Read the SAT's metadata; its first line names the columns."""
    columns = next(lines, "").strip().split("~")
    if not {"Uuid", "RfcEmisor", "RfcReceptor", "Monto", "Estatus"} <= set(columns):
        raise UnreadableSource(
            f"{name}: not a metadata file of the SAT: its first line must name {METADATA[0]}~..."
        )
    for number, line in enumerate(lines, 2):
        values = dict(zip(columns, line.rstrip("\r\n").split("~"), strict=False))
        if not values.get("Uuid"):
            continue
        try:
            yield Issued(
                uuid=_uuid(values["Uuid"]),
                emisor=values["RfcEmisor"].strip(),
                receptor=values["RfcReceptor"].strip(),
                total=Decimal(values["Monto"].strip()),
                fecha=_instant(values.get("FechaEmision", "")),
                source=f"{name}:{number}",
                cancelled=values["Estatus"].strip().casefold() in {"0", "cancelado"},
            )
        except (KeyError, ValueError, InvalidOperation) as error:
            raise UnreadableSource(f"{name}, line {number}: not a line of metadata") from error


def of_xml(data: bytes, name: str, *, keep_xml: bool = True) -> Issued:
    """Read what an audit needs of one stamped XML; its seals are not verified here."""
    try:
        root = etree.fromstring(
            data.strip(),
            etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False, recover=False),
        )
        timbre = root.find(f".//{TIMBRE}")
        emisor, receptor = (root.find(f"{{{CFDI}}}{each}") for each in ("Emisor", "Receptor"))
        if timbre is None or emisor is None or receptor is None:
            raise ValueError("no stamped CFDI 4.0")
        return Issued(
            uuid=_uuid(timbre.get("UUID", "")),
            emisor=emisor.get("Rfc", ""),
            receptor=receptor.get("Rfc", ""),
            total=Decimal(root.get("Total", "")),
            fecha=_instant(root.get("Fecha", "")),
            source=name,
            xml=data if keep_xml else None,
            content=_content(root),
            words=frozenset(
                word
                for line in root.iter(f"{{{CFDI}}}Concepto")
                for word in words(line.get("Descripcion", ""))
            ),
        )
    except (etree.XMLSyntaxError, etree.C14NError, ValueError, InvalidOperation) as error:
        raise UnreadableSource(f"{name}: not a stamped CFDI 4.0 that can be read") from error


def _content(root: etree._Element) -> str:
    """What the CFDI says, without what a second stamp of the same invoice would have anew."""
    digest = hashlib.sha256()
    for name, value in sorted(root.attrib.items()):
        if name not in _OF_THE_STAMP and not str(name).startswith("{"):
            digest.update(f"{name!s}={value!s}\n".encode())
    for node in root:
        if isinstance(node.tag, str) and etree.QName(node).localname not in {"Complemento", "Addenda"}:
            digest.update(etree.tostring(node, method="c14n"))
    return digest.hexdigest()


def _uuid(text: str) -> str:
    uuid = text.strip().upper()
    if not _UUID.fullmatch(uuid):
        raise ValueError("not a folio fiscal")
    return uuid


def _instant(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.strip().replace("T", " ")).replace(tzinfo=None)
    except ValueError:
        return None
