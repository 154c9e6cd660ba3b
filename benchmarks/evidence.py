"""What the evidence of one returned XML costs, in milliseconds of CPU: `python -m benchmarks.evidence`.

CPU time of this process, not time on the wall, so that neighbours on the machine hardly count; the median of
several rounds, so that one disturbed round doesn't either.
"""

import json
from collections.abc import Callable

from benchmarks.processes import median_ms
from cfdi.document import read
from cfdi.evidence import Expected, examine, strict_xml
from cfdi.sat import files as sat_files
from cfdi.sat import seals
from tests.support import builders, signed_xml


def measure(runs: int = 100) -> dict[str, float]:
    """Milliseconds of CPU for 1, 3 and 20 lines, and for the steps of 3 lines; about 3 s with 100 runs."""
    figures = {f"evidence_{lines}_lines_ms": _evidence(lines, runs) for lines in (1, 3, 20)}
    return figures | _steps(runs)


def _evidence(lines: int, runs: int) -> float:
    xml, expected = _document(lines)
    pac = signed_xml.a_pac()
    known = {pac.no_certificado: pac.der}
    report = examine(xml, expected, known_pac_certificates=known)
    if not report.ok:
        raise AssertionError(f"the benchmark's own document fails: {report.failed}")
    return median_ms(lambda: examine(xml, expected, known_pac_certificates=known), runs)


def _steps(runs: int) -> dict[str, float]:
    xml, _ = _document(3)
    root = strict_xml.parse(xml).root
    timbre = next(root.iter(sat_files.TIMBRE))
    certificate = seals.from_base64(root.get("Certificado", ""))
    cadena = sat_files.cadena_original(root)
    sello = root.get("Sello", "")
    der = signed_xml.a_csd().der
    steps: dict[str, Callable[[], object]] = {
        "parse": lambda: strict_xml.parse(xml),
        "schema": lambda: sat_files.schema_errors(root),
        "cadena": lambda: sat_files.cadena_original(root),
        "cadena_tfd": lambda: sat_files.cadena_original_tfd(timbre),
        "certificate_first_time": lambda: seals.from_der.__wrapped__(der),
        "verify": lambda: certificate.has_sealed(cadena, sello),
    }
    return {f"{name}_ms": median_ms(step, runs) for name, step in steps.items()}


def _document(lines: int) -> tuple[bytes, Expected]:
    invoice = builders.an_invoice(
        conceptos=[
            builders.a_concepto(
                valor_unitario=f"{1250 + number}.35", descripcion=f"Flete, tramo {number + 1}"
            )
            for number in range(lines)
        ]
    )
    expected = Expected(read(invoice), builders.an_issuer(), signed_xml.FECHA, signed_xml.UUID)
    return signed_xml.stamped(invoice), expected


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
