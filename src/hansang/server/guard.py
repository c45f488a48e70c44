"""What may be written of the rows of an endpoint, by the policies of its fields; resolved once, when it starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hansang.errors import SchemaError, SettingsError, problem
from hansang.graph import walk
from hansang.nodes.split import Split
from hansang.record import Rows
from hansang.record.plan import Keeper, Plan, Schema, is_declared, path_schema, plan_of, schemas_of
from hansang.record.policy import GONE, KEEP, Drop, Hash, Kind, Policy, Secret, read_policy, secret_from, strictest
from hansang.record.truths import NO_SECRET, Truths, truths_of
from hansang.server.quiet import told
from hansang.service import Endpoint, Service
from hansang.settings import Settings

ROOTS = ("input", "output", "truth", "tags")
Schemas = tuple[list[Schema], list[Schema]]


@dataclass(frozen=True, slots=True)
class Guard:
    """Applies the policies of one endpoint to what is written of its rows; the answers are not touched."""

    secret: Secret | None
    input: Keeper | None = None
    output: Keeper | None = None
    key: Policy = KEEP
    tags: Mapping[str, Policy] = field(default_factory=dict)

    def protect(self, group: Rows, *, bodies: bool = True) -> None:
        """Change a group of rows into what may be written of it; its `bodies` may have been seen to already."""
        if bodies and self.input is not None:
            group.inputs = self.input.all(group.inputs)
        if bodies and self.output is not None:
            group.outputs = self.output.all(group.outputs)
        if group.keys is not None and self.key.kind:
            kept = [self.key.of(key, self.secret) for key in group.keys]
            group.keys = [None if key is GONE else key for key in kept]
        if group.tags is not None and self.tags:
            group.tags = [None if tags is None else self._tags(tags) for tags in group.tags]

    def _tags(self, tags: dict[str, Any]) -> dict[str, Any]:
        kept = {name: self.tags.get(name, KEEP).of(value, self.secret) for name, value in tags.items()}
        return {name: value for name, value in kept.items() if value is not GONE}

    def written(self, prediction: bytes) -> bytes:
        """Give what may be written of a prediction where there must be one: null for one that is dropped."""
        return prediction if self.output is None else self.output(prediction) or b"null"

    def problem(self, error: BaseException, request_id: str) -> dict[str, Any]:
        """Give what may be written of an error's problem document."""
        document = problem(error, request_id) | {"detail": told(error)}
        document.pop("errors", None)
        return document


@dataclass(frozen=True, slots=True)
class Guards:
    """The guards of a service by the path of the endpoint, and what its feedback and its log must not say.

    `outputs` and `paths` are what the truths are resolved from.
    """

    endpoints: Mapping[str, Guard] = field(default_factory=dict)
    truths: Truths | None = None
    quiet: bool = False
    outputs: list[Schema] = field(default_factory=list)
    paths: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Given:
    """A policy from the settings: `root` is one of `ROOTS`, or empty for a path in all of them."""

    root: str
    path: str
    policy: str

    def of(self, *roots: str) -> bool:
        """Say whether it holds for one of these."""
        return self.root in ("", *roots) and (self.root, self.path) != ("", "key")


def guards_of(service: Service, settings: Settings) -> Guards:
    """Resolve the policies of a loaded service.

    Raises `SettingsError` when a policy of the settings names no field, or when one hashes and there is no secret.
    """
    secret = secret_from(settings.record_key)
    given = [read_given(path, policy) for path, policy in settings.policies.items()]
    if service.whole is not service:  # a node alone writes nothing but its log
        return Guards(quiet=bool(given) or any(plan_of([*i, *o]) for i, o in map(declared, service.whole.endpoints)))
    known = {endpoint.path: declared(endpoint) for endpoint in service.endpoints}
    refuse_unknown(given, list(known.values()))
    guards = {endpoint.path: guard_of(endpoint, known[endpoint.path], given, secret) for endpoint in service.endpoints}
    outputs = [schema for _, schemas in known.values() for schema in schemas]
    paths = {each.path: each.policy for each in given if each.of("output", "truth")}
    found = {path: guard for path, guard in guards.items() if guard is not None}
    return Guards(found, truths_of(outputs, paths, secret), bool(found), outputs, paths)


def read_given(path: str, policy: str) -> Given:
    """Read a policy of the settings."""
    try:
        read_policy(policy)
    except SchemaError as error:
        raise SettingsError(f"HANSANG_POLICIES: {path}: {error}") from None
    root, _, rest = path.partition(".")
    if path == "truth":
        return Given("truth", "", policy)
    return Given(root, rest, policy) if root in ROOTS and rest else Given("", path, policy)


def declared(endpoint: Endpoint) -> Schemas:
    """Give the schemas of the rows that enter an endpoint and of its predictions, as far as they are known."""
    row, prediction = endpoint.given, endpoint.prediction
    inputs = [] if row is None or row is Any else schemas_of(row)
    return inputs, [] if prediction is None else schemas_of(prediction)


def refuse_unknown(given: list[Given], known: list[Schemas]) -> None:
    """Raise a `SettingsError` for a path that no schema has: a name that is not quite right must not leak."""
    for each in given:
        places = [schemas for each_known in known for schemas in sides(each, each_known)]
        sure = each.path in ("", "key") or each.root == "tags" or not places
        unknown = each.root and not all(places)  # the names of predictions without a schema are not known
        if not sure and not unknown and not any(is_declared(each.path, schemas) for schemas in places):
            raise SettingsError(f"HANSANG_POLICIES: no endpoint has a field {each.path!r} in its {each.root or 'rows'}")


def sides(given: Given, schemas: Schemas) -> list[list[Schema]]:
    """Give the schemas that a policy is about."""
    return [side for side, root in zip(schemas, ("input", "output"), strict=True) if given.root in ("", root, "truth")]


def guard_of(endpoint: Endpoint, known: Schemas, given: list[Given], secret: Secret | None) -> Guard | None:
    """Resolve the policies of one endpoint; None when there are none."""
    plans = [
        plan_of([*schemas, *[path_schema(each.path, each.policy) for each in given if each.of(root)]])
        for schemas, root in zip(known, ("input", "output"), strict=True)
    ]
    tags = {each.path: read_policy(each.policy) for each in given if each.of("tags")}
    asked = [read_policy(each.policy) for each in given if (each.root, each.path) == ("", "key")]
    if not any(plans) and not asked and not tags:
        return None
    key = strictest([*asked, key_policy(endpoint, plans[0], known[0], secret)])
    kinds = {policy.kind for policy in (*tags.values(), key)}
    if secret is None and (Kind.hash in kinds or any(plan is not None and plan.has(Kind.hash) for plan in plans)):
        raise SettingsError(NO_SECRET.format(endpoint.path))
    rows, predictions = (None if plan is None else Keeper(plan, secret) for plan in plans)
    named = {} if plans[0] is None else {name: part.policy for name, part in plans[0].fields.items()}
    return Guard(secret, rows, predictions, key, {**named, **tags})


def key_policy(endpoint: Endpoint, plan: Plan | None, rows: list[Schema], secret: Secret | None) -> Policy:
    """Give what is kept of the column `key`: a field's key has the field's policy.

    Nobody knows what a key from a function, a header or the user's own code says, so it is hashed, or dropped.
    """
    unknown = Hash() if secret is not None else Drop()
    found = [node.source for node in walk(endpoint.graph) if isinstance(node, Split) and node.source is not None]
    policies = []
    for source in found:
        if source.kind == "field" and rows and is_declared(source.name, rows):
            part = plan.fields.get(source.name) if plan is not None else None
            policies.append(KEEP if part is None else part.policy)
        else:
            policies.append(unknown)
    return strictest(policies) if found else unknown
