"""The doctor: finds the anti-patterns of serving in a service, with evidence and a remedy for each."""

from hansang.doctor.examine import Report, examine
from hansang.doctor.finding import Finding

__all__ = ["Finding", "Report", "examine"]
