"""Nothing that comes back is believed unseen: is this XML the stamped CFDI of the invoice we sent?"""

from cfdi.evidence.examination import CHECKS, OF_THE_DOCUMENT, Check, Expected, Report, Result, examine

__all__ = ["CHECKS", "OF_THE_DOCUMENT", "Check", "Expected", "Report", "Result", "examine"]
