"""Which policy holds where in a value: resolved once from schemas, then applied to JSON before it is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import from_json, to_json

from hansang.errors import SchemaError
from hansang.record.policy import GONE, KEEP, KEYWORD, Kind, Policy, Secret, read_policy, strictest

Schema = Mapping[str, Any]
CHOICES = ("anyOf", "oneOf", "allOf")
ANYTHING: Schema = {}  # one object, for schemas are told apart by identity


@dataclass(slots=True, eq=False)
class Plan:
    """What is kept of a value and of its parts; `fields` of an array are its places, as text.

    `others` is for the values of names that are not in `fields`, `items` for the elements of an array.
    """

    policy: Policy = KEEP
    fields: dict[str, Plan] = field(default_factory=dict)
    items: Plan | None = None
    others: Plan | None = None

    def apply(self, value: Any, secret: Secret | None) -> Any:
        """Give what is kept of a value, which is changed; `GONE` when nothing is."""
        if self.policy.kind:
            return self.policy.of(value, secret)
        if isinstance(value, dict):
            self._apply_names(value, secret)
        elif isinstance(value, list):
            return self._apply_places(value, secret)
        return value

    def _apply_names(self, value: dict[str, Any], secret: Secret | None) -> None:
        fields, others = self.fields, self.others
        for name in fields if others is None else list(value):
            if name in value:
                part = fields.get(name, others)
                kept = value[name] if part is None else part.apply(value[name], secret)
                if kept is GONE:
                    del value[name]
                else:
                    value[name] = kept

    def _apply_places(self, value: list[Any], secret: Secret | None) -> list[Any]:
        kept = []
        for place, item in enumerate(value):
            own = self.fields.get(str(place))
            part = own or self.items
            left = item if part is None else part.apply(item, secret)
            if left is not GONE:
                kept.append(left)
            elif own is not None:
                kept.append(None)  # so that the others of a tuple stay in their places
        return kept

    @property
    def parts(self) -> list[Plan]:
        """The plans of its parts."""
        return [*self.fields.values(), *[part for part in (self.items, self.others) if part is not None]]

    def walk(self) -> Iterator[Plan]:
        """Give every plan inside, each once."""
        seen: set[int] = set()
        todo = [self]
        while todo:
            plan = todo.pop()
            if id(plan) not in seen:
                seen.add(id(plan))
                yield plan
                todo += plan.parts

    @property
    def strictest(self) -> Policy:
        """The strictest policy in it."""
        return strictest([plan.policy for plan in self.walk()])

    def has(self, kind: Kind) -> bool:
        """Say whether some field has a policy of a kind."""
        return any(plan.policy.kind is kind for plan in self.walk())


@dataclass(frozen=True, slots=True)
class Keeper:
    """Applies a plan to JSON; what cannot be read is not kept at all."""

    plan: Plan
    secret: Secret | None

    def __call__(self, body: bytes) -> bytes:
        """Give what is kept of a value, `b""` for nothing."""
        if not body:
            return body
        try:
            value = self.plan.apply(from_json(body), self.secret)
        except ValueError:
            return b""
        return b"" if value is GONE else to_json(value, inf_nan_mode="constants")

    def all(self, bodies: list[bytes]) -> list[bytes]:
        """Do the same for many."""
        return [self(body) for body in bodies]


# --- from schemas ---


def plan_of(schemas: Sequence[Schema]) -> Plan | None:
    """Make the plan that holds what all of these JSON schemas say, the strictest where they differ; None for nothing.

    Raises `SchemaError` for a policy that is none, or that stands on the names of an object.
    """
    plans: dict[frozenset[int], Plan] = {}
    made: list[Plan] = []
    root = planned([(schema, schema) for schema in schemas], plans, made)
    active = {id(plan): any(inner.policy.kind for inner in plan.walk()) for plan in made}
    for plan in made:
        plan.items = plan.items if plan.items is not None and active[id(plan.items)] else None
        plan.others = plan.others if plan.others is not None and active[id(plan.others)] else None
        if plan.items is None and plan.others is None:  # else they would count as one of these
            plan.fields = {name: part for name, part in plan.fields.items() if active[id(part)]}
    return root if active[id(root)] else None


Node = tuple[Schema, Schema]  # a schema, and the document that its references are found in


def planned(nodes: Iterable[Node], plans: dict[frozenset[int], Plan], made: list[Plan]) -> Plan:
    """Make the plan of a value that all of these schemas describe; a set of schemas that comes again has one plan."""
    nodes = list(closure(nodes))
    name = frozenset(id(schema) for schema, _ in nodes)
    if name in plans:
        return plans[name]
    plan = plans[name] = Plan(strictest([read_policy(schema[KEYWORD]) for schema, _ in nodes if KEYWORD in schema]))
    made.append(plan)
    parts: dict[str, list[Node]] = {}
    items: list[Node] = []
    others: list[Node] = []
    for schema, root in nodes:
        refuse_names(schema, root)
        for key, part in schema.get("properties", {}).items():
            parts.setdefault(key, []).append((part, root))
        for place, part in enumerate(schema.get("prefixItems", ())):
            parts.setdefault(str(place), []).append((part, root))
        items += [(schema["items"], root)] if isinstance(schema.get("items"), Mapping) else []
        open_names = [schema.get("additionalProperties"), *schema.get("patternProperties", {}).values()]
        others += [(part, root) for part in open_names if isinstance(part, Mapping)]
    plan.fields = {key: planned(found, plans, made) for key, found in parts.items()}
    plan.items = planned(items, plans, made) if items else None
    plan.others = planned(others, plans, made) if others else None
    return plan


def closure(nodes: Iterable[Node]) -> Iterator[Node]:
    """Give schemas with those that they refer to or choose from, each once."""
    seen: set[int] = set()
    todo = list(nodes)
    while todo:
        schema, root = todo.pop()
        if id(schema) in seen:
            continue
        seen.add(id(schema))
        yield schema, root
        if "$ref" in schema:
            todo.append((root.get("$defs", {}).get(str(schema["$ref"]).rsplit("/", 1)[-1], ANYTHING), root))
        todo += [(part, root) for word in CHOICES for part in schema.get(word, ())]


def refuse_names(schema: Schema, root: Schema) -> None:
    """Refuse a policy for the names of an object: two that become one would lose a value."""
    names = schema.get("propertyNames")
    if isinstance(names, Mapping) and any(KEYWORD in part for part, _ in closure([(names, root)])):
        raise SchemaError("a policy cannot stand on the names of an object; put it on the values, or on the whole")


def schemas_of(kind: Any) -> list[Schema]:
    """Give the JSON schemas of a type: as it is read and as it is written, by its names and by its aliases."""
    adapter = TypeAdapter(kind)
    schemas: list[Schema] = [adapter.json_schema(by_alias=alias) for alias in (True, False)]
    for alias in (True, False):
        try:
            schemas.append(adapter.json_schema(by_alias=alias, mode="serialization"))
        except Exception:  # a serializer of the user's own may have no schema; how the field is read counts then
            continue
    return schemas


# --- from settings ---


def path_schema(path: str, policy: str) -> Schema:
    """Make the schema of a path such as `person.name`; arrays on the way are gone through."""
    schema: dict[str, Any] = {KEYWORD: policy}
    for name in reversed(path.split(".")):
        schema = {"properties": {name: schema}}
        schema["items"] = schema
    return schema


def is_declared(path: str, schemas: Sequence[Schema]) -> bool:
    """Say whether values of these schemas can have a field at a path."""
    nodes = list(through_arrays([(schema, schema) for schema in schemas]))
    for name in path.split("."):
        found: list[Node] = []
        for schema, root in nodes:
            if name in schema.get("properties", {}):
                found.append((schema["properties"][name], root))
            elif is_open(schema):
                found.append((ANYTHING, root))
        nodes = list(through_arrays(found))
    return bool(nodes)


def is_open(schema: Schema) -> bool:
    """Say whether values can have fields that are not declared."""
    if schema.get("type", "object") != "object" or any(word in schema for word in ("$ref", *CHOICES)):
        return False
    return schema.get("additionalProperties", "properties" not in schema) is not False


def through_arrays(nodes: Iterable[Node]) -> Iterator[Node]:
    """Give schemas with those of the elements, where they are arrays."""
    todo = list(nodes)
    seen: set[int] = set()
    while todo:
        for schema, root in closure([todo.pop()]):
            if id(schema) not in seen:
                seen.add(id(schema))
                yield schema, root
                parts = [schema.get("items"), *schema.get("prefixItems", ())]
                todo += [(part, root) for part in parts if isinstance(part, Mapping)]
