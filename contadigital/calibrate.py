"""Finds the dialect by trying: drafts whose answers decide something (drafts.py), and stamps only where none does.

A draft costs nothing: what is refused in one reading and taken in another decides an aspect. Where both are taken, the
saved record is read back, and where that says nothing one invoice is stamped (never more than was allowed), its XML
read against what was meant, and cancelled again. What can't be decided is said to be so, with the reason.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from cfdi.amounts import compute
from cfdi.document import Invoice
from cfdi.evidence import Expected, examine
from cfdi.evidence.strict_xml import UnsafeXml, parse
from cfdi.issuer import Issuer
from cfdi.rfc import PUBLICO_EN_GENERAL
from contadigital.calibration_invoices import (
    ALL,
    AMOUNTS,
    AT_ZERO,
    CREDIT_NOTE,
    STAGES,
    TERMS,
    Stage,
    invoice_of,
    of_the_public,
    readings,
    related,
    related_twice,
    says_words,
)
from contadigital.catalogs import Catalogs, Id
from contadigital.client import ContaDigital
from contadigital.dialect import ASPECTS, BY_NAME, Dialect
from contadigital.draft_differences import differences, facts_of, is_rich
from contadigital.errors import (
    AnswerLost,
    ConnectionRefused,
    ContaDigitalError,
    DocumentRejected,
    NotSent,
    Refused,
    Throttled,
)
from contadigital.recognise import plain_name
from contadigital.records import Credentials, Customer, Product, Record
from contadigital.request_body import invoice_body
from contadigital.resolve_ids import GivenIds, ResolvedIds, resolve
from contadigital.text import redact

Verdict = str
CONFIRMED, FALSE, UNKNOWN = "confirmed", "false", "not to be known"
MOST_DRAFTS: Final = 120
"""Saves of one calibration; they rewrite one draft where the provider lets them."""


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
    interrupted: str = ""
    """Why it ended before everything was tried; empty where it did not."""

    @property
    def is_settled(self) -> bool:
        """Whether it is known how this provider reads amounts: what was found stamps what was meant."""
        undecided = {each.aspect for each in self.findings if each.verdict == UNKNOWN}
        return bool(self.findings) and not self.interrupted and not undecided & AMOUNTS

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
            "interrupted": self.interrupted,
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
        *, spend: int, fecha: Callable[[], datetime], related: str | None = None,
        examine_xml: Callable[..., Any] = examine,
    ) -> None:  # fmt: skip
        """`base` is a good invoice of the account, whose receptor and product are tried with; `fecha` says the date.

        `related` is the UUID of a stamp of this account, where there is one: what a relation is tried with.
        """
        self._client = client
        self._account = account
        self._base = base
        self._dialect = dialect
        self._spend = spend
        self._fecha = fecha
        self._examine = examine_xml
        self._draft = 0
        self._works = False
        self._no_stamp = "solo un timbre lo decide"
        self._related = related
        self._updated = False
        self._spoken: dict[str, str] = {}
        self._customers: dict[str, int] = {}
        self._products: dict[str, Id] = {}
        self.result = Calibration()

    def run(self) -> Calibration:
        """Try everything. Raises CannotCalibrate, and ContaDigitalError where not one draft was answered.

        What comes in between later ends it: what was found until then, and what it left behind, is returned.
        """
        try:
            self._try_everything()
        except ContaDigitalError as error:
            if not self.result.drafts:
                raise
            self.result.interrupted = _redacted(error)
        decided = {each.aspect for each in self.result.findings}
        for aspect in ASPECTS:
            if aspect.name not in decided:
                self._unknown(aspect.name, self._why_open(aspect.name))
        self.result.findings.sort(key=lambda each: [one.name for one in ASPECTS].index(each.aspect))
        if self._draft:
            self.result.left.append(f"el borrador {self._draft}")
        return self.result

    def _try_everything(self) -> None:
        dialect = self._dialect
        if self._spend and self._try(ALL, dialect).is_good and self._is_right(ALL, dialect):
            for name in (*ALL.aspects, *(["palabra_retencion"] if says_words([dialect]) else [])):
                self._decided(name, dialect, f"{ALL.name}: {BY_XML}")
        else:
            for stage in STAGES:
                dialect = self._stage(stage, dialect)
        if not self._works:
            return  # no reading of the simplest invoice is taken: others would only be refused for the same reason
        for stage in (AT_ZERO, CREDIT_NOTE):
            dialect = self._stage(stage, dialect)
        dialect = self._relations(dialect)
        self._global(dialect)

    def _why_open(self, name: str) -> str:
        if self.result.interrupted:
            return f"se interrumpió antes: {self.result.interrupted}"
        return WHY_OPEN.get(name, "ninguna respuesta lo decide")

    # --- drafts --------------------------------------------------------------------------------------

    def _stage(self, stage: Stage, dialect: Dialect) -> Dialect:
        """Try every reading of a stage by drafts, and what they leave open by stamps; return the one that goes on."""
        tried = self._tried(stage, dialect)
        good = [candidate for candidate, trial in tried if trial.is_good]
        read_back = any(trial.taken and trial.wrong is False for _, trial in tried)
        refused = [trial for _, trial in tried if not trial.is_good]
        for name in stage.aspects:
            values = {candidate[name] for candidate in good}
            if name == "palabra_retencion" and not says_words(good):
                self._unknown(name, IDLE_WORD)
            elif not values:
                says = refused[0].says if refused else f"se llegó a {MOST_DRAFTS} borradores"
                self._unknown(name, f"{stage.name}: todas se rechazaron: {says}")
            elif len(values) == 1 and (refused or read_back):
                how = (
                    "leído de lo guardado"
                    if read_back
                    else f"{len(refused)} de {len(tried)} lecturas se rechazaron"
                )
                self._decided(name, good[0], f"{stage.name}: {how}")
            else:
                alike = ", ".join(sorted(values))
                self._unknown(name, f"{stage.name}: se guarda igual con {alike}; {self._no_stamp}")
        if any(len({candidate[name] for candidate in good}) > 1 for name in stage.aspects):
            return self._by_stamps(stage, good)
        return good[0] if good else dialect

    def _tried(self, stage: Stage, dialect: Dialect) -> list[tuple[Dialect, _Trial]]:
        tried: list[tuple[Dialect, _Trial]] = []
        for candidate in readings(dialect, stage.aspects):
            if self.result.drafts >= MOST_DRAFTS:
                break
            try:
                tried.append((candidate, self._try(stage, candidate)))
            except DocumentRejected as unsaid:  # ours: this reading has no word or id for it
                tried.append(
                    (candidate, _Trial(taken=False, says=f"no se puede decir: {unsaid.text}", wrong=None))
                )
        return tried

    def _try(self, stage: Stage, dialect: Dialect) -> _Trial:
        invoice = invoice_of(self._base, stage)
        try:
            saved = self._save(invoice, dialect)
        except (NotSent, Throttled):
            raise
        except ContaDigitalError as refused:
            if refused.is_outage or (isinstance(refused, ConnectionRefused) and not self._works):
                raise
            return _Trial(taken=False, says=_redacted(refused), wrong=None)
        if saved.uuid:
            raise CannotCalibrate("this provider stamps on saving: every draft would be a fiscal invoice")
        contents = self._contents(saved)
        wrong = None
        if {"subtotal", "iva", "total"} & facts_of(contents).keys() and is_rich(contents):
            found = differences(contents, invoice, compute(invoice), rfc=self._account.issuer.rfc, serie=None)
            wrong = bool(found)
        self._works = self._works or not wrong
        return _Trial(taken=True, says="se guardó", wrong=wrong)

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

    def _by_stamps(self, stage: Stage, good: list[Dialect]) -> Dialect:
        """Stamp in one reading after the other, until an XML is what was meant; what is refused costs nothing."""
        if not self._may_stamp():
            return good[0]
        before = self.result.stamps
        for reading in good:
            if self._is_right(stage, reading):
                for name in stage.aspects:
                    if name != "palabra_retencion" or says_words([reading]):
                        self._decided(name, reading, f"{stage.name}: {BY_XML}")
                return reading
            if not self._may_stamp():
                break
        if self.result.stamps > before:
            why = "ningún XML timbrado dice lo que se quiso"
        else:
            why = "el timbre se rechaza" if self._may_stamp() else self._no_stamp
        for name in stage.aspects:
            if len({each[name] for each in good}) > 1:
                self._unknown(name, f"{stage.name}: {why}")
        return good[0]

    def _may_stamp(self) -> bool:
        return self.result.stamps < self._spend

    def _is_right(self, stage: Stage, dialect: Dialect) -> bool | None:
        """Stamp and read the XML; None where the stamp was refused. A stamp is cancelled again, or said to be left."""
        wrong = self._stamped_otherwise(stage, dialect)
        return None if wrong is None else not wrong

    def _stamped_otherwise(self, stage: Stage, dialect: Dialect) -> set[str] | None:
        """Stamp, and return what the XML says otherwise; None where the stamp was refused or its answer lost."""
        invoice, fecha = invoice_of(self._base, stage), self._fecha()
        try:
            saved = self._save(invoice, dialect)
            record = self._client.stamp(
                self._account.credentials, self._body(invoice, dialect, fecha), saved.id
            )
        except ConnectionRefused as refused:
            if refused.reason != "no_stamps":
                raise
            self._spend = self.result.stamps  # what drafts decide is still tried
            self._no_stamp = "la cuenta se quedó sin timbres"
            return None
        except (Throttled, NotSent):
            raise
        except Refused:
            return None
        except AnswerLost:
            self.result.stamps += 1  # it may have been done
            self.result.left.append(f"el registro {self._draft}: no se sabe si se timbró")
            self._draft = 0
            return None
        self.result.stamps += 1
        self._draft = 0
        self._related = record.uuid or self._related
        wrong = self._wrong_in(record, invoice, fecha, dialect)
        self._undo(record)
        if wrong:
            self.result.seen.append(f"{stage.name}: el XML difiere en {', '.join(sorted(wrong))}")
        return wrong

    def _wrong_in(self, record: Record, invoice: Invoice, fecha: datetime, dialect: Dialect) -> set[str]:
        xml = record.xml
        if xml is None and record.xml_link:
            xml = self._client.document(self._account.credentials, record.xml_link)
        if xml is None:
            return {"el XML no llegó"}
        issuer = self._account.issuer
        if invoice.tipo_de_comprobante == "E":
            issuer = replace(issuer, serie=None)  # credit notes may have a series of their own
        report = self._examine(xml, Expected(invoice, issuer, fecha, record.uuid))
        self._see_comments(xml, invoice, dialect)
        says_terms = dialect[TERMS] == "field"
        return {
            each.code
            for each in report.differences
            if each.is_substantial or (each.code == TERMS and says_terms)
        }

    def _see_comments(self, xml: bytes, invoice: Invoice, dialect: Dialect) -> None:
        """Whether a line's own text comes to stand in the CFDI."""
        line = invoice.conceptos[0]
        try:
            found = " ".join(text for node in parse(xml).root.iter("{*}Concepto")
                             if (text := node.get("Descripcion")))  # fmt: skip
        except UnsafeXml:
            return
        if line.descripcion in found:
            self._decided("comentarios", dialect, "la descripción de la línea está en el XML timbrado")
        elif line.nombre in found:
            self._unknown("comentarios", "el XML solo lleva el nombre del producto, se envíe lo que se envíe")

    def _undo(self, record: Record) -> None:
        try:
            self._client.cancel(self._account.credentials, record.id, "02")
        except ContaDigitalError as error:
            self.result.left.append(
                f"la factura timbrada {record.uuid}: no se pudo cancelar ({_redacted(error)})"
            )
        else:
            self.result.left.append(f"la factura timbrada {record.uuid}: se pidió su cancelación")

    # --- relations and global invoices -----------------------------------------------------------------

    def _relations(self, dialect: Dialect) -> Dialect:
        """How a relation is said, on a credit note where its word is known; `refused` is no way to say it, but none."""
        word = next(each for each in self.result.findings if each.aspect == "palabra_egreso")
        is_note = word.verdict != UNKNOWN
        stage = related(self._related, is_note=is_note)
        found = self._stage(stage, dialect)
        open_ones = {each.aspect for each in self.result.findings if each.verdict == UNKNOWN}
        tried = [each for each in self.result.findings if each.aspect == "relaciones"]
        if open_ones >= set(stage.aspects) and "todas se rechazaron" in tried[0].evidence and self._related:
            says = tried[0].evidence.partition("todas se rechazaron: ")[2]
            self._decided(
                "relaciones", dialect.having(relaciones="refused"),
                f"{stage.name}: ninguna forma se acepta, y sin ella sí: {says}",
            )  # fmt: skip
            self._unknown("tipo_relacion", "no hay forma de decir una relación")
        return self._several_kinds(stage, found)

    def _several_kinds(self, stage: Stage, dialect: Dialect) -> Dialect:
        """Whether a kind in each row is read: where rows are taken with it and without, only two kinds show it."""
        bare, typed = (dialect.having(relaciones=form) for form in ("objects", "typed"))
        if dialect["relaciones"] not in ("objects", "typed") or not self._may_stamp():
            return dialect
        if not (self._try(stage, bare).is_good and self._try(stage, typed).is_good):
            return dialect
        two = related_twice(stage)
        wrong = self._stamped_otherwise(two, typed) if self._try(two, typed).is_good else {"no se guarda"}
        if wrong is None:
            self._unknown("relaciones", f"{two.name}: el timbre se rechaza")
            return dialect
        right = bare if wrong else typed
        says = "el XML no los lleva" if wrong else BY_XML
        self._decided("relaciones", right, f"{two.name}: {says}")
        return right

    def _global(self, dialect: Dialect) -> None:
        """How the period of a global invoice is said; a day's, which no provider makes of the date by itself.

        Where ContaDigital stamps a period of its own whatever is sent, that is what is found.
        """
        stage = of_the_public(
            self._base.get("lugar_expedicion") or self._account.codigo_postal, self._fecha()
        )
        if self._is_another(stage.root["receptor"]):
            self._unknown(
                "factura_global",
                f"el cliente {PUBLICO_EN_GENERAL} lleva otros datos en ContaDigital, y no se cambia para probar",
            )
            return
        ways = [dialect.having(factura_global=way) for way in ("object", "flat", "automatic")]
        ways.sort(key=lambda each: each["factura_global"] != dialect["factura_global"])
        tried = {each["factura_global"]: (each, self._try(stage, each)) for each in ways}
        taken = [name for name, (_, trial) in tried.items() if trial.is_good]
        if not self._may_stamp():
            forms = [name for name in taken if name != "automatic"]
            if len(forms) == 1:  # the other one is refused; without any period the stamp would be
                self._decided("factura_global", tried[forms[0]][0], f"{stage.name}: la otra forma se rechazó")
            else:
                self._unknown("factura_global", f"{stage.name}: {self._no_stamp}")
            return
        own_period = False
        for name in taken:
            wrong = self._stamped_otherwise(stage, tried[name][0]) if self._may_stamp() else {"sin probar"}
            if wrong == set():
                self._decided("factura_global", tried[name][0], f"{stage.name}: {BY_XML}")
                return
            own_period = own_period or wrong == {"informacion_global"}
            if wrong:
                break  # a stamp was spent, and another form would only be ignored like this one
        else:
            says = next(
                (trial.says for _, trial in tried.values() if not trial.taken), "el timbre se rechazó"
            )
            self._decided(
                "factura_global", dialect.having(factura_global="refused"),
                f"{stage.name}: ninguna forma se timbra: {says}",
            )  # fmt: skip
            return
        if own_period:
            self._decided(
                "factura_global", dialect.having(factura_global="automatic"),
                f"{stage.name}: el XML lleva un periodo que ContaDigital puso por su cuenta",
            )  # fmt: skip
        else:
            self._unknown("factura_global", f"{stage.name}: el XML timbrado no dice lo que se quiso")

    def _is_another(self, receptor: Mapping[str, Any]) -> bool:
        """Whether ContaDigital holds other data of a customer than we would stamp with."""
        there = self._client.find_customer(self._account.credentials, receptor["rfc"])
        return there is not None and (
            there.razon_social != receptor["nombre"]
            or there.regimen_fiscal != receptor["regimen_fiscal_receptor"]
            or there.codigo_postal != receptor["domicilio_fiscal_receptor"]
            or not there.active
        )

    # --- what is sent --------------------------------------------------------------------------------

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
        line, rfc = invoice.conceptos[0], invoice.receptor.rfc
        if rfc not in self._customers:
            self._customers[rfc] = self._customer(invoice, ids, dialect)
        if line.clave_prod_serv not in self._products:
            self._products[line.clave_prod_serv] = self._product(invoice, ids)
        return replace(
            ids, id_cliente=self._customers[rfc], id_productos=(self._products[line.clave_prod_serv],)
        )

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
        if there is None:
            return self._make_customer(customer, dialect)
        if not customer.differs_from(there, exactly=True):
            return there.id
        # an older name would have the SAT refuse each stamp, and so hide what the readings do
        try:
            made = self._client.put_customer(
                self._account.credentials, customer, there, dialect.having(cliente_actualizar="whole")
            )
        except ContaDigitalError as refused:
            _raise_unless_refused(refused)
            raise CannotCalibrate(
                "the customer of the invoice is kept with other data, and its update is refused "
                f"({_redacted(refused)}): bring it up to date at ContaDigital, or give another --invoice"
            ) from refused
        self.result.left.append("el cliente de la factura de prueba, con sus datos fiscales al día")
        self._see_update(there, "un cliente que ya estaba")
        return made

    def _make_customer(self, customer: Customer, dialect: Dialect) -> int:
        """Make a new customer in the first reading that is taken, and update it once: nobody's data can be lost."""
        credentials, made, says = self._account.credentials, 0, ""
        names = ("cliente_contacto", "cliente_pais")
        for place, reading in enumerate(readings(dialect.having(**self._spoken), names)):
            try:
                made = self._client.put_customer(credentials, customer, None, reading)
            except ContaDigitalError as refused:
                _raise_unless_refused(refused)
                says = says or _redacted(refused)
                continue
            for name in names:
                self._spoken[name] = reading[name]
                self._decided(
                    name, reading, "un cliente nuevo se creó así" if place == 0 else f"de otra forma: {says}"
                )
            break
        else:
            raise CannotCalibrate(f"the customer of the invoice can't be made: {says}")
        is_public = customer.rfc == PUBLICO_EN_GENERAL
        self.result.left.append(f"el cliente de la factura {'global' if is_public else 'de prueba'}")
        there = self._client.find_customer(credentials, customer.rfc)
        if there is not None and there.whole and not self._updated:
            self._updated = True
            for way in dict.fromkeys((dialect["cliente_actualizar"], *BY_NAME["cliente_actualizar"].choices)):
                try:
                    self._client.put_customer(
                        credentials, customer, there, dialect.having(cliente_actualizar=way)
                    )
                except ContaDigitalError as refused:
                    _raise_unless_refused(refused)
                    self._unknown("cliente_actualizar", f"se rechaza: {_redacted(refused)}")
                    continue
                if self._see_update(there, "un cliente recién creado", way):
                    break
        return made

    def _see_update(self, before: Customer, which: str, way: str = "whole") -> bool:
        """Whether an update kept everything that it was not to change."""
        after = self._client.find_customer(self._account.credentials, before.rfc)
        if after is None:
            return False
        lost = [
            name for name, value in before.whole.items()
            if plain_name(name) not in FISCAL_FIELDS and after.whole.get(name) != value
        ]  # fmt: skip
        self._updated = True
        if lost:
            names = ", ".join(str(name) for name in lost[:8])
            self._unknown("cliente_actualizar", f"{which}: con {way} cambió lo que no se quiso: {names}")
            return False
        reading = self._dialect.having(cliente_actualizar=way)
        self._decided("cliente_actualizar", reading, f"{which} se actualizó y conserva todo lo demás")
        return True

    def _product(self, invoice: Invoice, ids: ResolvedIds) -> Id:
        """The product of the line; the call is tried also where one was given, since other lines may have none."""
        given = ids.given_productos[0]
        line = invoice.conceptos[0]
        wanted = Product(
            line.clave_prod_serv, line.nombre, ids.id_ums[0], line.objeto_imp, clave="TIMBRADO-CALIBRA"
        )
        try:
            there = self._client.find_product(self._account.credentials, wanted)
            found = there.id if there is not None else 0
            if not found:
                found = self._client.put_product(self._account.credentials, wanted)
                self.result.left.append("un producto de prueba, con clave TIMBRADO-CALIBRA")
        except ContaDigitalError as error:
            _raise_unless_refused(error)
            if given is None:
                raise CannotCalibrate(
                    f"products can't be had by the call ({_redacted(error)}): give one by hand, "
                    f"ids.producto.{line.clave_prod_serv} or ids.producto.*, and "
                    "`timbrado dialect set productos given`"
                ) from error
            reading = self._dialect.having(productos="given")
            self._decided("productos", reading, f"la llamada no da un id: {_redacted(error)}")
            return given
        self._decided("productos", self._dialect.having(productos="call"), "la llamada da un id")
        return given if given is not None else found

    # --- what was found ------------------------------------------------------------------------------

    def _decided(self, aspect: str, right: Dialect, evidence: str) -> None:
        verdict = CONFIRMED if right[aspect] == self._dialect[aspect] else FALSE
        self._find(Finding(aspect, verdict, right[aspect], evidence))

    def _unknown(self, aspect: str, why: str) -> None:
        """Say why an aspect is open; what was decided before stays decided."""
        known = next((each for each in self.result.findings if each.aspect == aspect), None)
        if known is None or known.verdict == UNKNOWN:
            self._find(Finding(aspect, UNKNOWN, self._dialect[aspect], why))

    def _find(self, found: Finding) -> None:
        self.result.findings = [each for each in self.result.findings if each.aspect != found.aspect]
        self.result.findings.append(found)


FISCAL_FIELDS: Final = frozenset({"razonsocial", "regimenfiscal", "cp", "estatus", "email"})
"""What an update of a customer may change."""
IDLE_WORD: Final = "solo cuenta donde tipo_retencion es word"
BY_XML: Final = "el XML timbrado dice lo que se quiso"
WHY_OPEN: Final[Mapping[str, str]] = {
    "palabra_retencion": IDLE_WORD,
    "comentarios": "solo un XML timbrado lo muestra",
    "cliente_contacto": "el cliente ya estaba: no se creó ninguno",
    "cliente_pais": "el cliente ya estaba: no se creó ninguno",
    "cliente_actualizar": "no hizo falta actualizar ningún cliente",
    "relaciones": "ninguna lectura de la factura simple se aceptó",
    "factura_global": "ninguna lectura de la factura simple se aceptó",
}
"""Why an aspect that nothing was tried for is open."""


def _raise_unless_refused(error: ContaDigitalError) -> None:
    """Raise what is no answer about what was sent: nobody was there, or the account itself is refused."""
    if isinstance(error, NotSent | Throttled | ConnectionRefused) or error.is_outage:
        raise error


def _redacted(error: ContaDigitalError) -> str:
    """What an answer said, without anybody's RFC or address."""
    return f"HTTP {error.http_status}, Codigo {error.codigo}: {redact(error.text)}"
