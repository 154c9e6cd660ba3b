"""Nothing that comes back is believed unseen: is this XML the stamped CFDI of the invoice that was sent?"""

from cfdi.evidence.examination import CHECKS, OF_THE_DOCUMENT, Expected, examine
from cfdi.evidence.report import Check, Difference, Report, Result, Severity

__all__ = [
    "CHECKS",
    "OF_THE_DOCUMENT",
    "Check",
    "Difference",
    "Expected",
    "Report",
    "Result",
    "Severity",
    "examine",
]
