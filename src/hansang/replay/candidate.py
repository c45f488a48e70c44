"""Who answers the recorded input now: from the words of the command to a service, and the same in other processes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hansang.errors import UsageError
from hansang.replay.recorded import named
from hansang.service import Endpoint, Service
from hansang.target import SCHEMES, load_target

NAME = re.compile(r"[\w-]+")


@dataclass(frozen=True, slots=True)
class Candidate:
    """The name of a service in the record, and what answers in its place: a target, with another model in it or not."""

    name: str
    target: str
    instead: str
    service: Service

    def endpoint(self, name: str) -> Endpoint:
        """Find the endpoint that answers rows of a recorded endpoint: of the same name or path, or the only one."""
        for endpoint in self.service.endpoints:
            if name == endpoint.name or name == named(endpoint.path):
                return endpoint
        if len(self.service.endpoints) == 1:
            return self.service.endpoints[0]
        there = ", ".join(endpoint.path for endpoint in self.service.endpoints)
        raise UsageError(f"{self.target} has no endpoint {name!r}; it has: {there}")


def find_candidate(service: str, instead: str = "") -> Candidate:
    """Read the command's words.

    `service` is a name in the record, or a target whose service has that name there. With a name, `instead` is the
    target that answers. With a target, `instead` is a model that takes the place of one of its own, or a whole target
    (a Python file or a module). Raises `UsageError`.
    """
    if is_name(service):
        if not instead:
            raise UsageError(
                f"say who answers in the place of {service}: --with models:/NAME/VERSION, or a service file"
            )
        return Candidate(service, instead, "", load_target(instead))
    if is_service(instead):
        return Candidate(load_target(service).name, instead, "", load_target(instead))
    loaded = load_target(service, instead)
    return Candidate(loaded.name, service, instead, loaded)


def name_of(service: str) -> str:
    """Give the name in the record of what the command calls a service."""
    return service if is_name(service) else load_target(service).name


def is_name(text: str) -> bool:
    """Say whether a word is the name of a service in the record; a module is named as `module:service`."""
    return NAME.fullmatch(text) is not None and not Path(text).exists()


def is_service(text: str) -> bool:
    """Say whether a text means a whole service and not a model."""
    if not text or "=" in text or text.startswith(SCHEMES):
        return False
    place = text.partition(":")[0]
    return Path(place).suffix == ".py" or (":" in text and not Path(text).exists())
