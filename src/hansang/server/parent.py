"""Whether the process that started this one is still there."""

from __future__ import annotations

import os

PARENT = "HANSANG_PARENT"


def orphaned() -> bool:
    """Say whether `hansang up` started this process and has ended without ending it."""
    parent = os.environ.get(PARENT, "")
    return parent.isdigit() and os.getppid() != int(parent)
