"""Finds the dialect by trying: drafts designed so that each answer decides something, and stamps only where none does.

A draft costs nothing: what is refused in one reading and taken in another decides an aspect. Where both are taken, the
saved record is read back, and where that says nothing one invoice is stamped (never more than was allowed), its XML
read against what was meant, and cancelled again. What can't be decided is said to be so.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import product
from typing import Any, Final

from cfdi import document
from cfdi.amounts import compute
from cfdi.document import Invoice
from cfdi.evidence import Expected, examine
from cfdi.issuer import Issuer
from contadigital.catalogs import Catalogs
from contadigital.client import ContaDigital
from contadigital.dialect import ASPECTS, BY_NAME, Dialect
from contadigital.errors import (
    AnswerLost,
    ConnectionRefused,
    ContaDigitalError,
    DocumentRejected,
    NotSent,
    Throttled,
)
from contadigital.ids import GivenIds, ResolvedIds, resolve
from contadigital.records import Credentials, Customer, Product, Record
from contadigital.reported import differences, facts_of, is_rich
from contadigital.wire import invoice_body

Verdict = str
CONFIRMED, FALSE, UNKNOWN = "confirmed", "false", "not to be known"
MOST_DRAFTS: Final = 120
"""Saves of one calibration; they rewrite one draft where the provider lets them."""
_RFC: Final = re.compile(r"[A-ZÑ&]{3,4}\d{6}[A-Z0-9]{3}")


class CannotCalibrate(Exception):  # named for what happened, like the errors of the other packages
    """Nothing can be tried: the text says why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One aspect: whether what is set is right, what is, and how that is known (redacted)."""

    aspect: str
    verdict: Verdict
    value: str
    evidence: str


@dataclass(slots=True)
class Calibration:
    """What a calibration found, spent and left behind."""

    findings: list[Finding] = field(default_factory=list)
    drafts: int = 0
    stamps: int = 0
    left: list[str] = field(default_factory=list)
    """What stands at ContaDigital now that did not before: drafts, and stamps that could not be cancelled."""
    record_reports: bool | None = None
    seen: list[str] = field(default_factory=list)
    """What the XMLs of stamps said otherwise than was meant."""

    @property
    def changes(self) -> dict[str, str]:
        """The choices that are right and not the ones that are set."""
        return {each.aspect: each.value for each in self.findings if each.verdict == FALSE}

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for --json and for the developers."""
        return {
            "findings": [
                {
                    "aspect": each.aspect,
                    "verdict": each.verdict,
                    "value": each.value,
                    "evidence": each.evidence,
                }
                for each in self.findings
            ],
            "drafts": self.drafts,
            "stamps": self.stamps,
            "left": self.left,
            "record_reports": self.record_reports,
            "seen": self.seen,
        }


@dataclass(frozen=True, slots=True)
class TrialAccount:
    """The account that is tried with."""

    credentials: Credentials
    catalogs: Catalogs
    given: GivenIds
    issuer: Issuer
    codigo_postal: str
    serie_asked: str | None


@dataclass(frozen=True, slots=True)
class _Stage:
    """A designed invoice, and the aspects that its answers decide."""

    name: str
    aspects: tuple[str, ...]
    changes: Mapping[str, Any]


_IVA = {"impuesto": "002", "tipo_factor": "Tasa", "tasa_o_cuota": "0.160000"}
_RETENTION = {"impuesto": "002", "tipo_factor": "Tasa", "tasa_o_cuota": "0.040000"}
_PLAIN = {
    "cantidad": "2",
    "valor_unitario": "500.00",
    "descuento": "0.00",
    "traslados": [_IVA],
    "retenciones": [],
}
STAGES: Final = (
    _Stage("simple", ("numeros", "forma_pago", "tasas"), _PLAIN),
    _Stage("con descuento", ("importe", "subtotal"), {**_PLAIN, "descuento": "130.00"}),
    _Stage("con retención", ("total_linea", "tipo_retencion", "palabra_retencion"),
           {**_PLAIN, "retenciones": [_RETENTION]}),
)  # fmt: skip
_ALL = {**_PLAIN, "descuento": "130.00", "retenciones": [_RETENTION]}
"""What a stamp is spent on: one invoice that shows every amount."""


class _Trial:
    """One draft that was tried: taken or refused, and what the record says it understood."""

    def __init__(self, *, taken: bool, says: str, wrong: bool | None) -> None:
        self.taken = taken
        self.says = says
        self.wrong = wrong  # None: the record says nothing

    @property
    def is_good(self) -> bool:
        return self.taken and self.wrong is not True


class Calibrator:
    """Tries one account. Make one for each calibration."""

    def __init__(
        self, client: ContaDigital, account: TrialAccount, base: Mapping[str, Any], dialect: Dialect,
        *, spend: int, fecha: Callable[[], datetime], examine_xml: Callable[..., Any] = examine,
    ) -> None:  # fmt: skip
        """`base` is a good invoice of the account, whose receptor and product are tried with; `fecha` says the date."""
        self._client = client
        self._account = account
        self._base = base
        self._dialect = dialect
        self._spend = spend
        self._fecha = fecha
        self._examine = examine_xml
        self._draft = 0
        self._ids: dict[str, tuple[int, int]] = {}
        self.result = Calibration()

    def run(self) -> Calibration:
        """Try everything. Raises CannotCalibrate, and ContaDigitalError where nobody answers or the key is refused."""
        dialect = self._dialect
        if (
            self._spend
            and self._try(_ALL, dialect).is_good
            and self._is_right(_ALL, dialect, "todo junto") is True
        ):
            for name in [*(name for stage in STAGES for name in stage.aspects), "comentarios"]:
                if name != "palabra_retencion":
                    self._find(name, CONFIRMED, dialect[name], "el XML timbrado dice lo que se quiso")
        else:
            for stage in STAGES:
                dialect = self._stage(stage, dialect)
        decided = {each.aspect for each in self.result.findings}
        for aspect in ASPECTS:
            if aspect.name not in decided:
                self._find(aspect.name, UNKNOWN, self._dialect[aspect.name], "ninguna respuesta lo decide")
        self.result.findings.sort(key=lambda each: [one.name for one in ASPECTS].index(each.aspect))
        if self._draft:
            self.result.left.append(f"el borrador {self._draft}")
        return self.result

    # --- drafts --------------------------------------------------------------------------------------

    def _stage(self, stage: _Stage, dialect: Dialect) -> Dialect:
        """Try every reading of a stage by drafts, and what they leave open by stamps; return the one that goes on."""
        tried: list[tuple[Dialect, _Trial]] = []
        for candidate in _readings(dialect, stage.aspects):
            if self.result.drafts >= MOST_DRAFTS:
                break
            try:
                tried.append((candidate, self._try(stage.changes, candidate)))
            except DocumentRejected as unsaid:  # ours: this reading has no word or id for it
                tried.append(
                    (candidate, _Trial(taken=False, says=f"no se puede decir: {unsaid.text}", wrong=None))
                )
        good = [candidate for candidate, trial in tried if trial.is_good]
        read_back = any(trial.taken and trial.wrong is False for _, trial in tried)
        refused = [trial for _, trial in tried if not trial.is_good]
        for name in stage.aspects:
            values = {candidate[name] for candidate in good}
            if not values:
                says = refused[0].says if refused else "no se probó"
                self._find(name, UNKNOWN, dialect[name], f"{stage.name}: todas se rechazaron: {says}")
            elif len(values) == 1 and (refused or read_back):
                (value,) = values
                if name == "palabra_retencion" and value == dialect[name] and not _is_word(good):
                    continue
                how = (
                    "leído de lo guardado"
                    if read_back
                    else f"{len(refused)} de {len(tried)} lecturas se rechazaron"
                )
                self._find(
                    name, CONFIRMED if value == self._dialect[name] else FALSE, value, f"{stage.name}: {how}"
                )
        is_open = any(len({candidate[name] for candidate in good}) > 1 for name in stage.aspects)
        if is_open and not read_back:
            return self._by_stamps(stage, good)
        return good[0] if good else dialect

    def _try(self, changes: Mapping[str, Any], dialect: Dialect) -> _Trial:
        invoice = self._invoice(changes)
        try:
            saved = self._save(invoice, dialect)
        except (NotSent, Throttled, ConnectionRefused):
            raise
        except ContaDigitalError as refused:
            if refused.is_outage:
                raise
            return _Trial(taken=False, says=_redacted(refused), wrong=None)
        if saved.uuid:
            raise CannotCalibrate("this provider stamps on saving: every draft would be a fiscal invoice")
        contents = self._contents(saved)
        if not {"subtotal", "iva", "total"} & facts_of(contents).keys() or not is_rich(contents):
            return _Trial(taken=True, says="se guardó", wrong=None)
        issuer = self._account.issuer
        found = differences(contents, invoice, compute(invoice), rfc=issuer.rfc, serie=None)
        return _Trial(taken=True, says="se guardó", wrong=bool(found))

    def _contents(self, saved: Record) -> Mapping[str, Any]:
        """What the record says of itself: in the answer to its save, or in a look-up."""
        if is_rich(saved.whole):
            return saved.whole
        if self.result.record_reports is False:
            return {}
        try:
            shown = self._client.look_up(self._account.credentials, saved.id).whole
        except ContaDigitalError:
            shown = {}
        self.result.record_reports = is_rich(shown)
        return shown

    def _save(self, invoice: Invoice, dialect: Dialect) -> Record:
        body = self._body(invoice, dialect)  # before anything is counted: it may have no word for it
        self.result.drafts += 1
        saved = self._client.save(self._account.credentials, body, self._draft)
        if self._draft not in (0, saved.id):
            self.result.left.append(f"el borrador {self._draft}")
        self._draft = saved.id
        return saved

    # --- stamps --------------------------------------------------------------------------------------

    def _by_stamps(self, stage: _Stage, good: list[Dialect]) -> Dialect:
        """Stamp in one reading after the other, until an XML is what was meant; what is refused costs nothing."""
        for reading in good:
            if self.result.stamps >= self._spend:
                break
            if self._is_right(stage.changes, reading, stage.name):
                for name in stage.aspects:
                    if name != "palabra_retencion" or _is_word([reading]):
                        verdict = CONFIRMED if reading[name] == self._dialect[name] else FALSE
                        self._find(
                            name,
                            verdict,
                            reading[name],
                            f"{stage.name}: el XML timbrado dice lo que se quiso",
                        )
                return reading
        return good[0]

    def _is_right(self, changes: Mapping[str, Any], dialect: Dialect, name: str) -> bool | None:
        """Stamp and read the XML; None where the stamp was refused. A stamp is cancelled again, or said to be left."""
        invoice, fecha = self._invoice(changes), self._fecha()
        try:
            saved = self._save(invoice, dialect)
            record = self._client.stamp(
                self._account.credentials, self._body(invoice, dialect, fecha), saved.id
            )
        except DocumentRejected:
            return None
        except AnswerLost:
            self.result.stamps += 1  # it may have been done
            self.result.left.append(f"el registro {self._draft}: no se sabe si se timbró")
            self._draft = 0
            return None
        self.result.stamps += 1
        self._draft = 0
        wrong = self._wrong_in(record, invoice, fecha)
        self._undo(record)
        if wrong:
            self.result.seen.append(f"{name}: el XML difiere en {', '.join(sorted(wrong))}")
        return not wrong

    def _wrong_in(self, record: Record, invoice: Invoice, fecha: datetime) -> set[str]:
        xml = record.xml
        if xml is None and record.xml_link:
            xml = self._client.document(self._account.credentials, record.xml_link)
        if xml is None:
            return {"el XML no llegó"}
        report = self._examine(xml, Expected(invoice, self._account.issuer, fecha, record.uuid))
        return {each.code for each in report.differences if each.is_substantial}

    def _undo(self, record: Record) -> None:
        try:
            self._client.cancel(self._account.credentials, record.id, "02")
        except ContaDigitalError as error:
            self.result.left.append(
                f"la factura timbrada {record.uuid}: no se pudo cancelar ({_redacted(error)})"
            )
        else:
            self.result.left.append(f"la factura timbrada {record.uuid}: se pidió su cancelación")

    # --- what is sent --------------------------------------------------------------------------------

    def _invoice(self, changes: Mapping[str, Any]) -> Invoice:
        base = dict(self._base)
        line = {**base["conceptos"][0], **changes}
        for name in ("subtotal", "total", "fecha", "informacion_global", "cfdi_relacionados", "send_to"):
            base.pop(name, None)
        raw = {**base, "tipo_de_comprobante": "I", "moneda": "MXN", "tipo_cambio": None, "conceptos": [line]}
        draft = {**raw, "subtotal": "0.00", "total": "0.00"}
        amounts = compute(document.read(draft))
        return document.read({**raw, "subtotal": str(amounts.subtotal), "total": str(amounts.total)})

    def _body(self, invoice: Invoice, dialect: Dialect, fecha: datetime | None = None) -> dict[str, Any]:
        return invoice_body(
            invoice,
            compute(invoice),
            self._resolved(invoice, dialect),
            record_id=0,
            folio_original="TIMBRADO-CALIBRA",
            fecha=fecha or self._fecha(),
            solo_guardar=True,
            dialect=dialect,
        )

    def _resolved(self, invoice: Invoice, dialect: Dialect) -> ResolvedIds:
        account = self._account
        ids = resolve(
            account.catalogs,
            invoice,
            id_empresa=account.credentials.id_empresa or 0,
            rfc=account.issuer.rfc,
            serie=account.serie_asked,
            codigo_postal=account.codigo_postal,
            given=account.given,
        )
        line = invoice.conceptos[0]
        key = f"{invoice.receptor.rfc} {line.clave_prod_serv}"
        if key not in self._ids:
            self._ids[key] = self._customer(invoice, ids, dialect), self._product(invoice, ids)
        id_cliente, id_producto = self._ids[key]
        return replace(ids, id_cliente=id_cliente, id_productos=(id_producto,))

    def _customer(self, invoice: Invoice, ids: ResolvedIds, dialect: Dialect) -> int:
        receptor = invoice.receptor
        there = self._client.find_customer(self._account.credentials, receptor.rfc)
        customer = Customer(
            receptor.rfc,
            receptor.nombre,
            receptor.regimen_fiscal_receptor,
            receptor.domicilio_fiscal_receptor,
            receptor.uso_cfdi,
            id_forma_pago=ids.id_forma_pago,
        )
        if there is not None and not customer.differs_from(there, exactly=True):
            return there.id
        # an older name would have the SAT refuse each stamp, and so hide what the readings do
        made = self._client.put_customer(self._account.credentials, customer, there, dialect)
        what = "el cliente de la factura de prueba"
        self.result.left.append(what if there is None else f"{what}, con sus datos fiscales al día")
        return made

    def _product(self, invoice: Invoice, ids: ResolvedIds) -> int:
        given = ids.given_productos[0]
        if given is not None:
            return given
        line = invoice.conceptos[0]
        wanted = Product(
            line.clave_prod_serv, line.nombre, ids.id_ums[0], line.objeto_imp, clave="TIMBRADO-CALIBRA"
        )
        try:
            there = self._client.find_product(self._account.credentials, wanted)
            found = (
                there.id if there is not None else self._client.put_product(self._account.credentials, wanted)
            )
        except (NotSent, Throttled, ConnectionRefused):
            raise
        except ContaDigitalError as error:
            raise CannotCalibrate(
                f"products can't be had by the call ({_redacted(error)}): give one by hand, "
                f"ids.producto.{line.clave_prod_serv} or ids.producto.*, and `timbrado dialect set productos given`"
            ) from error
        self._find(
            "productos",
            CONFIRMED if self._dialect["productos"] == "call" else FALSE,
            "call",
            "la llamada da un id",
        )
        return found

    def _find(self, aspect: str, verdict: Verdict, value: str, evidence: str) -> None:
        self.result.findings = [each for each in self.result.findings if each.aspect != aspect]
        self.result.findings.append(Finding(aspect, verdict, value, evidence))


def _readings(dialect: Dialect, aspects: tuple[str, ...]) -> Iterator[Dialect]:
    """Every reading of these aspects, what is set first; words only where the reading says words."""
    choices = [
        [dialect[name], *(choice for choice in BY_NAME[name].choices if choice != dialect[name])]
        for name in aspects
    ]
    for picked in product(*choices):
        reading = dict(zip(aspects, picked, strict=True))
        is_idle = "palabra_retencion" in reading and reading["tipo_retencion"] != "word"
        if is_idle and reading["palabra_retencion"] != dialect["palabra_retencion"]:
            continue
        yield dialect.having(**reading)


def _is_word(good: list[Dialect]) -> bool:
    return any(each["tipo_retencion"] == "word" for each in good)


def _redacted(error: ContaDigitalError) -> str:
    """What an answer said, without anybody's RFC."""
    text = _RFC.sub("RFC", error.text)[:120]
    return f"HTTP {error.http_status}, Codigo {error.codigo}: {text}"
