"""Versions looked at, compared and held against what a swap asks of them: `hansang models`."""
