"""The joints of a graph: what one node gives against what the next one takes, at any depth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NotRequired, Union

from typing_extensions import TypedDict

from hansang.errors import ModelError, SchemaError
from hansang.graph import Function, Node
from hansang.joints.fit import Fit, Misfit, Reading, in_words
from hansang.joints.hints import alternatives, bare, item_hint, item_of, outcomes, prediction_hint, row_hint
from hansang.models.model import Model
from hansang.models.schema import input_schema, output_schema
from hansang.models.signature import Signature
from hansang.outline import Outline, Side, outline

MOST_NAMES = 4

make_typed_dict: Any = TypedDict  # its fields are known at run time only
not_required: Any = NotRequired


@dataclass(frozen=True, slots=True)
class End:
    """One end of a joint: who gives or takes, and which type; `Any` where nobody has said."""

    name: str
    type: Any = Any
    reading: Reading = "python"

    @property
    def known(self) -> bool:
        """Whether the type says anything."""
        return Any not in [bare(kind) for kind in alternatives(self.type)]


@dataclass(frozen=True, slots=True)
class Joint:
    """Where the predictions of one node become the rows of another; `misfit` says what cannot fit."""

    giver: End
    taker: End
    misfit: Misfit | None = None

    @property
    def checked(self) -> bool:
        """Whether both sides are known."""
        return self.giver.known and self.taker.known

    def text(self) -> str:
        """Say what does not fit, and what to do."""
        giver, taker, misfit = self.giver.name, self.taker.name, self.misfit
        assert misfit is not None  # only asked of a joint that does not fit
        place = ".".join(misfit.place)
        inner = f" in {place}" if place else ""
        if misfit.lacks:
            fields, it = ("field", "it") if len(misfit.lacks) == 1 else ("fields", "them")
            return (
                f"{taker} needs the {fields} {misfit.takes}{inner}, which {giver} does not give "
                f"(it gives {misfit.gives}); add {it} there, or put a node between them that makes {it}"
            )
        if not misfit.takes:
            return (
                f"{giver} gives the field {place!r} ({misfit.gives}), which {taker} forbids; leave it out, or let "
                "the schema take it"
            )
        what = f"{place} as {misfit.takes}" if place else misfit.takes
        return f"{taker} takes {what}, {giver} gives {misfit.gives}; change one of the two, or put a node between them"


@dataclass(slots=True)
class Joints:
    """Collects the joints of one graph while walking along the way of its rows."""

    found: list[Joint] = field(default_factory=list)

    def meet(self, givers: Iterable[End], taker: End) -> None:
        """Note the joint of each giver with a taker."""
        fit = Fit(taker.reading)
        for giver in givers:
            self.found.append(Joint(giver, taker, fit.misfit(giver.type, taker.type)))

    def through(self, node: Node, givers: list[End]) -> list[End]:
        """Send what is given through a node; gives what comes out, an end for each way that a row can take."""
        shape = outline(node)
        match shape.kind:
            case "leaf":
                if shape.word != "constant":  # which looks at no row
                    self.meet(givers, taken_by(node, shape))
                return [given_by(node, shape)]
            case "chain":
                for side in shape.sides:
                    givers = self.side(side, givers)
                return givers
            case "one":
                ways = [(side, self.side(side, givers)) for side in shape.sides]
                return distinct(end for side, ends in ways if not side.aside for end in ends)
            case "all":
                answers = {side.name: self.side(side, givers) for side in shape.sides}
                return [End(title(shape), together(shape, answers))]
        for side in shape.sides:  # how rows go inside is not known: each side is checked by itself
            self.side(side, [End(title(shape))])
        return [End(title(shape))]

    def side(self, side: Side, givers: list[End]) -> list[End]:
        """Send what is given through one side of a pattern."""
        return self.through(side.node, givers)


def joints(graph: Node, row: Any, prediction: Any) -> list[Joint]:
    """Give every joint of a graph, from the rows of the input schema to the output schema; `None` is not known."""
    found = Joints()
    ends = found.through(graph, [End(schema_name("input", row), Any if row is None else row)])
    if prediction is not None:
        found.meet(ends, End(schema_name("output", prediction), prediction, "validated"))
    return found.found


def check(found: Iterable[Joint], path: str) -> None:
    """Raise a `SchemaError` that names every joint that cannot fit."""
    texts = list(dict.fromkeys(joint.text() for joint in found if joint.misfit is not None))
    if texts:
        raise SchemaError(f"endpoint {path}: " + "\n  and: ".join(texts))


def distinct(ends: Iterable[End]) -> list[End]:
    """Leave out an end that says what another one of the same name says."""
    kept: list[End] = []
    for end in ends:
        if not any(end.name == other.name and end.type is other.type for other in kept):
            kept.append(end)
    return kept


# --- what a node takes and gives ---


def taken_by(node: Node, shape: Outline) -> End:
    """Say what a node that is made of no others takes."""
    if isinstance(node, Function) and node.each:
        return End(title(shape), row_hint(node.function))
    signature = signature_of(node)
    if signature is None:
        return End(title(shape))
    return End(title(shape), input_schema(signature, name=braces(signature.input_names)), "model")


def given_by(node: Node, shape: Outline) -> End:
    """Say what a node that is made of no others gives."""
    if isinstance(node, Function):
        hint = prediction_hint(node.function)
        return End(title(shape), without_errors(hint if node.each else item_of(hint)))
    if shape.word == "constant":
        return End(title(shape), type_of(getattr(node, "value", None)))
    if isinstance(node, Model) and callable(node.source):
        return End(title(shape), without_errors(item_hint(node.source)))
    signature = signature_of(node)
    if signature is None or not signature.outputs:
        return End(title(shape))
    return End(title(shape), output_schema(signature, braces(signature.output_names)))


def signature_of(node: Node) -> Signature | None:
    """Give the signature of a model that is loaded and has one."""
    try:
        return node.loaded.runtime.signature if isinstance(node, Model) else None
    except ModelError:
        return None


def together(shape: Outline, answers: dict[str, list[End]]) -> Any:
    """Make the type of the answers of all sides under their names; a side that may be left out may be missing."""
    if shape.combined or not answers:
        return Any
    fields: dict[str, Any] = {}
    for name, ends in answers.items():
        kind = ends[0].type if len(ends) == 1 and ends[0].known else Any
        fields[name] = not_required[kind] if shape.partial else kind
    return make_typed_dict(braces(fields), fields)


def braces(names: Iterable[str]) -> str:
    """Name a type that has no name by its fields."""
    some = list(names)
    return f"{{{', '.join([*some[:MOST_NAMES], *(['…'] if len(some) > MOST_NAMES else [])])}}}"


def without_errors(hint: Any) -> Any:
    """Leave out the errors that a prediction can be: a row that failed goes no further."""
    kinds, good = alternatives(hint), outcomes(hint)
    if len(kinds) == len(good) or not good:
        return hint
    union: Any = Union
    return union[tuple(good)]


def title(shape: Outline) -> str:
    """Name a node in a sentence; the label of a constant is its value."""
    if shape.word == "constant":
        return f"the constant {shape.label}"
    return f"the {shape.word} {shape.label!r}" if shape.label else f"the {shape.word}"


def schema_name(side: str, schema: Any) -> str:
    """Name a schema in a sentence."""
    name = in_words(schema) if schema is not None else ""
    return f"the {side} schema {name}" if name not in ("", "anything") else f"the {side} schema"


def type_of(value: Any) -> Any:
    """Make the type of a constant."""
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return make_typed_dict("constant", {key: type_of(item) for key, item in value.items()})
    return Any if value is None or isinstance(value, list | tuple | set | Exception) else type(value)


# --- the models at the ends ---


def first_model(graph: Node) -> Model | None:
    """Give the model that rows meet first, if one does: its signature can say what a row is."""
    if isinstance(graph, Model):
        return graph
    sides = outline(graph).sides
    if outline(graph).kind == "chain":
        sides = sides[:1]
    elif outline(graph).kind == "own":
        return None
    return next((found for side in sides if (found := first_model(side.node))), None)


def last_model(graph: Node) -> Model | None:
    """Give the model that every prediction comes from, or the first of several that promise the same outputs."""
    if isinstance(graph, Model):
        return graph
    shape = outline(graph)
    if shape.kind not in ("chain", "one"):
        return None
    sides = shape.sides[-1:] if shape.kind == "chain" else [side for side in shape.sides if not side.aside]
    models = [last_model(side.node) for side in sides]
    signatures = [signature_of(model) if model is not None else None for model in models]
    outputs = [signature.outputs if signature is not None else None for signature in signatures]
    return models[0] if outputs and all(output == outputs[0] for output in outputs) else None
