"""Offline scoring: the graph and the validation of a service over files instead of requests."""

from hansang.scoring.run import score
from hansang.scoring.summary import Summary

__all__ = ["Summary", "score"]
