"""One node of a service, served alone: `hansang serve service.py --node NAME`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from hansang.joints.check import first_model
from hansang.models.model import Model
from hansang.places import find
from hansang.service import Endpoint, Service


@dataclass(frozen=True, eq=False)
class NodeEndpoint(Endpoint):
    """The route of a node; the process that asks has checked the rows by the schema of its endpoint."""

    def resolve(self) -> None:
        """Find an example row for the readiness check: the first model's own, where the node starts with one."""
        first = first_model(self.placed)
        if first is not None and first.loaded.artifact is not None:
            self._resolved["example"] = next(iter(first.loaded.artifact.example or []), None)


def closed_models(service: Service) -> list[Model]:
    """Give the models whose service has the schema of their signature; see `check_compatible`."""
    endpoints = [endpoint for endpoint in service.endpoints if not isinstance(endpoint, NodeEndpoint)]
    first = {first_model(endpoint.placed) for endpoint in endpoints if endpoint.input is None}
    return [model for model in service.models if model in first]


def alone(service: Service, name: str) -> Service:
    """Give a service that serves one node of another, with its resources and settings.

    Raises `UsageError` when no node, or more than one, has this name.
    """
    node = find({endpoint.path: endpoint.graph for endpoint in service.endpoints}, name)
    only = Service(
        service.name,
        owner=service.owner,
        version=service.version,
        resources=service.resources,
        settings=service.settings_class,
    )
    only.whole = service
    only.description = f"The node {name} of {service.name}."
    only.endpoints.append(NodeEndpoint(f"/nodes/{quote(name, safe='')}", node, name, input=dict[str, Any]))
    return only
