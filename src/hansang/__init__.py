"""Hansang: from a trained model to a production service that stays good.

The names below are the public ones; each is imported when it is first used, so that `import hansang` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hansang.batch import Batch as Batch
    from hansang.call import Call as Call
    from hansang.errors import HansangError as HansangError
    from hansang.errors import Problem as Problem
    from hansang.errors import UsageError as UsageError
    from hansang.graph import Chain as Chain
    from hansang.graph import Node as Node
    from hansang.graph import chain as chain
    from hansang.graph import node as node
    from hansang.models.model import Model as Model
    from hansang.nodes.cached import cached as cached
    from hansang.nodes.fallback import fallback as fallback
    from hansang.nodes.parallel import parallel as parallel
    from hansang.nodes.remote import remote as remote
    from hansang.nodes.shadow import shadow as shadow
    from hansang.nodes.split import split as split
    from hansang.nodes.staged import staged as staged
    from hansang.nodes.switch import switch as switch
    from hansang.service import Service as Service

__version__ = "0.1.0"

_PLACES = {
    "Batch": "hansang.batch",
    "Call": "hansang.call",
    "Chain": "hansang.graph",
    "HansangError": "hansang.errors",
    "Model": "hansang.models.model",
    "Node": "hansang.graph",
    "Problem": "hansang.errors",
    "Service": "hansang.service",
    "UsageError": "hansang.errors",
    "cached": "hansang.nodes.cached",
    "chain": "hansang.graph",
    "fallback": "hansang.nodes.fallback",
    "node": "hansang.graph",
    "parallel": "hansang.nodes.parallel",
    "remote": "hansang.nodes.remote",
    "shadow": "hansang.nodes.shadow",
    "split": "hansang.nodes.split",
    "staged": "hansang.nodes.staged",
    "switch": "hansang.nodes.switch",
}

__all__ = [*sorted(_PLACES), "__version__"]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'hansang' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
