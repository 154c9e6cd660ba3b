"""Saving, stamping and looking up invoices, and their documents.

`Id: 0` with `SoloGuardar: false` makes a new record each time it is sent.
That makes duplicates, which the ledger counts; only stamping a saved `Id` is safe to repeat.
"""

from __future__ import annotations

import base64
import json
import uuid as uuids
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from lxml import etree

from sandbox import bodies, builder, faults, refusals, rules, variants
from sandbox.accounts import Account
from sandbox.bodies import Comprobante
from sandbox.builder import Stamp
from sandbox.faults import FaultRule, Plan
from sandbox.provider import Provider
from sandbox.records import StoredInvoice
from sandbox.refusals import Codigo, Refusal
from sandbox.seals import Identity
from sandbox.slip import slip


class Invoicing:
    """POST /api/cfdi.json and the look-up, over the store of a provider."""

    def __init__(self, provider: Provider, links_to: str = "") -> None:
        self._provider = provider
        self._store = provider.store
        self._records = provider.store.records
        self.links_to = links_to
        """The address under which document links are given, e.g. http://127.0.0.1:8090."""

    def submit(self, account: Account, raw: object, plan: Plan) -> dict[str, Any]:
        """Save or stamp, as the body says; raises `Refusal`."""
        if not isinstance(raw, dict):
            raise refusals.body("El cuerpo debe ser un objeto")
        record_id, only_save = _whole(raw, "Id"), raw.get("SoloGuardar")
        if not isinstance(only_save, bool):
            raise refusals.body("SoloGuardar debe ser true o false")
        known = self._known(account, record_id)
        if known is not None and known.uuid is not None and not plan.get("ignores_id"):
            raise self._already_stamped(account, known, plan)
        doc = bodies.read(raw, account, self._store)
        text = json.dumps(raw, default=str, ensure_ascii=False)
        if only_save and not plan.get("stamps_on_save"):
            return self._save(account, known, doc, text)
        if plan.get("ignores_id"):
            known = None
        return self._stamp(account, known, doc, text, plan)

    def look_up(self, account: Account, record_id: int, plan: Plan) -> dict[str, Any]:
        """A record with its documents; an empty UUID while it is a draft. Raises `Refusal` for an unknown Id."""
        record = self._records.find(account.name, record_id)
        denial = plan.get("deny")
        if plan.get("not_found"):
            record = None
        if record is not None and record.uuid and denial and self._is_young(record, denial):
            if denial.form == "not_found":
                record = None
            else:
                denied = {"UUID": "", "Serie": None, "Folio": None, "Estatus": "Borrador", "Estado": ""}
                facts = self._facts(account, record)
                return facts | {name: value for name, value in denied.items() if name in facts}
        if record is None:
            raise self._unknown(account)
        return self.answer_about(account, record, plan)

    def answer_about(self, account: Account, record: StoredInvoice, plan: Plan) -> dict[str, Any]:
        """What is answered about a record: its facts and, once stamped, its documents."""
        facts = self._facts(account, record)
        if record.uuid is None or record.xml is None or plan.get("no_documents"):
            return facts
        xml = self._as_sent(account, record, plan)
        late = plan.get("pdf_late")
        has_pdf = not (late and self._is_young(record, late))
        if account.behaviour.documents == "links":
            names = (
                ("XmlLink", "PdfLink") if account.behaviour.link_names == "XmlLink" else ("UrlXml", "UrlPdf")
            )
            host = self.links_to if account.dialect.links == "absolute" else ""
            facts[names[0]] = f"{host}/documentos/{record.uuid}.xml"
            if has_pdf:
                facts[names[1]] = f"{host}/documentos/{record.uuid}.pdf"
            return facts
        facts["XmlBase64"] = base64.b64encode(xml).decode("ascii")
        if has_pdf:
            facts["PdfBase64"] = base64.b64encode(_pdf(account, record.xml)).decode("ascii")
        return facts

    def _facts(
        self, account: Account, record: StoredInvoice, doc: Comprobante | None = None
    ) -> dict[str, Any]:
        """What a record says of itself apart from its documents: as much as the account's dialect reports."""
        uuid = record.uuid or ""
        uuid = uuid.lower() if account.dialect.uuid_case == "lower" else uuid
        bare = {"Id": record.id, "UUID": uuid, "Serie": record.serie, "Folio": record.folio}
        style = account.dialect.look_up
        if style == "bare":
            return bare
        body: dict[str, Any] = json.loads(record.body)
        if doc is None and (record.uuid is None or style == "resolved"):
            doc = self._read_again(account, body)
        plain = bare | {
            "FolioOriginal": record.folio_original,
            "Fecha": record.fecha or (doc.fecha.isoformat(timespec="seconds") if doc else None),
            "Total": record.total or (str(doc.total) if doc else None),
            "Serie": record.serie or (doc.serie if doc else None),
        }
        states = record.states if account.behaviour.reports_cancellation else {}
        if style == "echo":
            return body | plain | states
        return plain | (_resolved(doc) if doc is not None and style == "resolved" else {}) | states

    def _read_again(self, account: Account, body: dict[str, Any]) -> Comprobante | None:
        """What a stored body says; None where the account has changed so that it says nothing any more."""
        try:
            return bodies.read(body, account, self._store, stored=True)
        except Refusal:
            return None

    def document(self, name: str, plan: Plan) -> tuple[bytes, str]:
        """The file behind a document link, with its media type; raises `Refusal` (404) for an unknown one."""
        uuid, _, kind = name.partition(".")
        record = self._records.with_uuid(uuid)
        if record is None or record.xml is None or kind not in ("xml", "pdf"):
            raise Refusal(Codigo.NOT_FOUND, "No se encontró el documento", status=404)
        if kind == "xml":
            return self._as_sent(self._provider.account(record.account), record, plan), "application/xml"
        late = plan.get("pdf_late")
        if late and self._is_young(record, late):
            raise Refusal(Codigo.NOT_FOUND, "El PDF aún no está disponible", status=404)
        return _pdf(self._provider.account(record.account), record.xml), "application/pdf"

    def _known(self, account: Account, record_id: int) -> StoredInvoice | None:
        if record_id == 0:
            return None
        record = self._records.find(account.name, record_id)
        if record is None:
            raise self._unknown(account)
        return record

    @staticmethod
    def _unknown(account: Account) -> Refusal:
        status = 404 if account.behaviour.unknown_record == "404" else 200
        return Refusal(Codigo.NOT_FOUND, "No se encontró la factura", status=status)

    def _already_stamped(self, account: Account, record: StoredInvoice, plan: Plan) -> Refusal:
        bare = plan.get("already_without_xml") or account.behaviour.already_stamped == "without_xml"
        result = None if bare else self.answer_about(account, record, plan)
        return Refusal(Codigo.ALREADY_STAMPED, "307 - CFDI previamente timbrado", resultado=result)

    def _save(
        self, account: Account, known: StoredInvoice | None, doc: Comprobante, text: str
    ) -> dict[str, Any]:
        with self._store.commit():
            record_id = self._write_draft(account, known, doc, text)
        return self._facts(account, self._records.get(account.name, record_id), doc)

    def _write_draft(self, account: Account, known: StoredInvoice | None, doc: Comprobante, text: str) -> int:
        if known is None:
            return self._records.add(account.name, doc.folio_original, text)
        self._records.rewrite(known.id, doc.folio_original, text)
        return known.id

    def _stamp(
        self, account: Account, known: StoredInvoice | None, doc: Comprobante, text: str, plan: Plan
    ) -> dict[str, Any]:
        provider = self._provider
        now = provider.clock.now()
        if account.stamps_left is not None and account.stamps_left <= 0:
            with self._store.commit():
                record_id = self._write_draft(account, known, doc, text)
            raise Refusal(
                Codigo.NO_STAMPS,
                "La factura se guardó pero no se timbró: la cuenta no tiene timbres disponibles",
                resultado=self._facts(account, self._records.get(account.name, record_id), doc),
            )
        rules.check(doc, provider.sat, account.behaviour, now)
        csd = provider.seals.csd(doc.emisor_rfc, doc.emisor_nombre)
        uuid = str(uuids.uuid4()).upper()
        with self._store.commit():
            stamp = Stamp(uuid, self._store.next_folio(account.name, doc.serie), now)
            xml = self._build(doc, stamp, csd, plan)
            record_id = self._write_draft(account, known, doc, text)
            self._records.stamp(
                record_id,
                uuid=uuid,
                serie=doc.serie,
                folio=stamp.folio,
                fecha=doc.fecha.isoformat(timespec="seconds"),
                total=str(doc.total),
                xml=xml,
                stamped_at=now,
            )
            self._store.spend_stamp(account)
        row = account.serie(doc.serie)
        if row is not None:
            row["FolioActual"] = stamp.folio
        result = self.answer_about(account, self._records.get(account.name, record_id), plan)
        if account.behaviour.reports_stamps and account.stamps_left is not None:
            result["TimbresDisponibles"] = account.stamps_left
        return result

    def _build(self, doc: Comprobante, stamp: Stamp, csd: Identity, plan: Plan) -> bytes:
        odd = plan.get("odd_stamp")
        if odd is None:
            return builder.build(doc, stamp, csd, self._provider.seals.pac)
        other = variants.changed(doc, odd.form)
        return builder.build(
            other, stamp, csd, self._provider.seals.pac, lambda root: variants.decorate(root, odd.form)
        )

    def _is_young(self, record: StoredInvoice, rule: FaultRule) -> bool:
        if record.stamped_at is None or record.uuid is None:
            return False
        age = self._provider.clock.now().timestamp() - record.stamped_at
        return 0 <= age < faults.lag(rule, record.uuid)  # a negative one: the clock was set back since

    def _as_sent(self, account: Account, record: StoredInvoice, plan: Plan) -> bytes:
        """The record's XML, or a wrong one where the scenario says so; the store holds the right one."""
        right = record.xml or b""
        wrapping = plan.get("odd_wrapping")
        if wrapping is not None:
            return variants.dressed(right, wrapping.form)
        wrong = plan.get("wrong_xml")
        if wrong is None:
            return right
        if wrong.form == "truncated":
            return right[: len(right) * 2 // 3]
        if wrong.form == "broken_seal":
            return right.replace(b'Descripcion="', b'Descripcion="X', 1)
        if wrong.form == "other_invoice":
            other = self._records.another_stamped(account.name, record.id)
            return other.xml if other is not None and other.xml else right
        return self._with_another_total(record, right)

    def _with_another_total(self, record: StoredInvoice, right: bytes) -> bytes:
        root = etree.fromstring(right)
        root.set("Total", str(Decimal(root.get("Total", "0")) + 1))
        emisor = root.find("{*}Emisor")
        if emisor is None or record.uuid is None or record.stamped_at is None:
            return right
        csd = self._provider.seals.csd(emisor.get("Rfc", ""), emisor.get("Nombre", ""))
        at = self._provider.clock.now() - timedelta(
            seconds=self._provider.clock.now().timestamp() - record.stamped_at
        )
        return builder.seal_again(
            root, Stamp(record.uuid, record.folio or 0, at), csd, self._provider.seals.pac
        )


def _pdf(account: Account, xml: bytes) -> bytes:
    if account.behaviour.pdf == "slip":
        return slip(xml)
    from sandbox import pdf  # noqa: PLC0415 - half of the sandbox's start, and most accounts never ask for a page

    return pdf.page(xml)


def _resolved(doc: Comprobante) -> dict[str, Any]:
    """An invoice as it was understood: what its CFDI will say."""
    return {
        "RFCEmisor": doc.emisor_rfc,
        "RFCReceptor": doc.receptor_rfc,
        "NombreReceptor": doc.receptor_nombre,
        "Serie": doc.serie,
        "Moneda": doc.moneda,
        "FormaDePago": doc.forma_pago,
        "MetodoDePago": doc.metodo_pago,
        "UsoCFDI": doc.uso_cfdi,
        "Subtotal": str(doc.subtotal),
        "Descuento": str(doc.descuento),
        "IVA": str(doc.iva),
        "RetencionIVA": str(doc.ret_iva),
        "RetencionISR": str(doc.ret_isr),
        "Total": str(doc.total),
        "Partidas": [
            {"Descripcion": line.descripcion, "Cantidad": str(line.cantidad), "Importe": str(line.importe)}
            for line in doc.lineas
        ],
    }


def _whole(raw: Mapping[str, Any], field: str) -> int:
    value = raw.get(field)
    if isinstance(value, bool) or not isinstance(value, int):
        raise refusals.body(f"{field} debe ser un número entero")
    return value
