"""What is kept of a truth: the policies of the predictions that it is about, and those that name it.

Feedback does not say which endpoint it is about, so the policies of all outputs of a service hold together, and in a
folder of several services those of all. `policies/<service>.json` holds them for `hansang feedback`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from hansang.errors import SettingsError
from hansang.record.files import replace_text
from hansang.record.plan import Keeper, Schema, path_schema, plan_of
from hansang.record.policy import GONE, Kind, Policy, Secret, read_policy, strictest

FOLDER = "policies"
NO_SECRET = "a field of {} has the policy hash: set HANSANG_RECORD_KEY, a secret of 16 characters or more"


@dataclass(frozen=True, slots=True)
class Truths:
    """Applies policies to truths; one that is no object is kept by `alone`, the strictest of them."""

    keeper: Keeper
    alone: Policy

    def __call__(self, truth: bytes) -> bytes:
        """Give what is kept of a truth, `b""` for nothing."""
        if truth[:1] in (b"{", b""):
            return self.keeper(truth)
        kept = self.alone.of(from_json(truth), self.keeper.secret)
        return b"" if kept is GONE else json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode()


def truths_of(outputs: Sequence[Schema], paths: Mapping[str, str], secret: Secret | None) -> Truths | None:
    """Resolve what is kept of truths, by the schemas of predictions and the policies of paths; `""` is all of it.

    Raises `SettingsError` when one hashes and there is no secret.
    """
    schemas = [*outputs, *[path_schema(path, policy) for path, policy in paths.items()]]
    plan = plan_of(schemas)
    if plan is None:
        return None
    if secret is None and plan.has(Kind.hash):
        raise SettingsError(NO_SECRET.format("the feedback"))
    return Truths(Keeper(plan, secret), strictest([plan.strictest, *map(read_policy, paths.values())]))


def set_truths(folder: Path, service: str, outputs: Sequence[Schema], paths: Mapping[str, str]) -> None:
    """Say what is kept of truths about a service, for whoever writes feedback without it."""
    path = folder / FOLDER / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', service)}.json"
    if not paths and plan_of(outputs) is None:
        path.unlink(missing_ok=True)
        return
    text = json.dumps({"outputs": list(outputs), "paths": dict(paths)})
    if not path.exists() or path.read_text("utf-8") != text:
        replace_text(path, text)


def read_truths(folder: Path, secret: Secret | None) -> Truths | None:
    """Read what is kept of truths in a record; the strictest of its services counts."""
    outputs: list[Any] = []
    paths: dict[str, str] = {}
    for path in sorted((folder / FOLDER).glob("*.json")):
        document = json.loads(path.read_text("utf-8"))
        outputs += document["outputs"]
        for name, policy in document["paths"].items():
            known = [read_policy(each) for each in (policy, paths.get(name, "keep"))]
            paths[name] = str(strictest(known))
    return truths_of(outputs, paths, secret)
