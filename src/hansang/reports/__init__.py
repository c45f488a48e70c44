"""Reports on the prediction record: traffic, quality where the truth is known, drift against a reference."""

from hansang.reports.make import Report, report
from hansang.reports.verdict import Finding, Floors, Verdict

__all__ = ["Finding", "Floors", "Report", "Verdict", "report"]
