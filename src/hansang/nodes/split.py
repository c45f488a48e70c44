"""Split: each row goes to one of several sides by weight, and rows of one key always to the same one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hansang.batch import Batch
from hansang.call import Call
from hansang.dispatch import Dispatcher, Part
from hansang.errors import UsageError
from hansang.graph import Node, rebuilt
from hansang.metrics import Counter
from hansang.nodes.assign.assigned import Assigned
from hansang.nodes.assign.sides import checked_overrides, sides_of
from hansang.nodes.rules.branch import Branch, branches, parted
from hansang.nodes.rules.decision import Decision
from hansang.nodes.rules.fields import refuse_unknown
from hansang.nodes.rules.source import Source, source
from hansang.site import Site


@dataclass(frozen=True, slots=True, eq=False)
class Split(Dispatcher):
    """Each row goes to one side by weight; rows of one key to the same side, in every process and every release.

    The key is what `by` finds (see `split`), and is written into `Call.key`, so that the record has it. A row without
    one is assigned by the prediction's id and its row number; where there is no id, offline, by what is in the row.
    Changing weights moves only the difference, and splits of different names are independent of each other.

    `overrides` gives keys their side whatever the weights are. The header named by `header` gives a request the side
    that it names, before anything else. Rows that were forced in these ways have the tag `NAME.forced` in the record.
    """

    sides: Mapping[str, Node]
    weights: Mapping[str, float]
    by: str | Callable[[Any], Any] | None = None
    name: str = "split"
    overrides: Mapping[str, str] = field(default_factory=dict)
    header: str | None = None
    counters: Sequence[Counter] = field(default=(), repr=False)
    keyless: Counter | None = field(default=None, repr=False)
    _assigned: Assigned = field(init=False, repr=False)
    _branches: Sequence[Branch] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        found = None if self.by is None else source(self.by, f"split {self.name!r}")
        assigned = Assigned(self.name, self.weights, found, self.overrides, self.header, self.keyless)
        object.__setattr__(self, "_assigned", assigned)
        object.__setattr__(self, "_branches", branches(self.name, self.sides.items(), self.counters))

    def bind(self, site: Site) -> Node:
        """Give this node as it runs in a service, with its counters."""
        text = "Rows by the side of a split that they went to."
        counters = [
            site.counter("hansang_split_rows_total", text, node=self.name, variant=label) for label in self.sides
        ]
        text = "Rows that a split by a key had to assign without one."
        keyless = site.counter("hansang_split_keyless_rows_total", text, node=self.name)
        return rebuilt(self, site.bind, counters=counters, keyless=keyless)

    @property
    def source(self) -> Source | None:
        """What the key is read from."""
        return self._assigned.source

    def check(self, schema: Any) -> None:
        """Refuse a field that rows of this schema cannot have."""
        if self._assigned.source is not None:
            refuse_unknown([self._assigned.source], schema, f"split {self.name!r}")

    @property
    def sources(self) -> Sequence[Source]:
        """What of a row its side depends on; nothing where every request is assigned by its own id."""
        return [] if self._assigned.source is None else [self._assigned.source]

    def parts(self, batch: Batch) -> Iterable[Part]:
        """Cut the batch by the sides of its rows."""
        return parted(batch, self._assigned.choose(batch), self._branches)

    def explain(self, row: Any, call: Call | None = None) -> Decision:
        """Say which side one row goes to, and why; the call is not changed."""
        return self._assigned.explain(row, call or Call(), self._branches)


def split(
    sides: Mapping[Any, Any],
    by: str | Callable[[Any], Any] | None = None,
    name: str = "split",
    labels: Sequence[str] | None = None,
    overrides: Mapping[Any, str] | None = None,
    header: str | None = None,
) -> Split:
    """Split rows between nodes by weight: `split({a: 90, b: 10}, by="user_id")`.

    `sides` is `{node: weight}`, with labels that are the nodes' own or `labels=`, or `{label: (node, weight)}`. Weights
    are any numbers; a side of weight 0 gets only what is forced. `by` is a field of the row, `"header:x-user"`,
    `"key"` (the call's), or a function of the row. `name` salts the assignment: keep it while an experiment runs.

    `overrides={"tester-7": "b"}` gives a key its side; `header="x-variant"` lets a request name its side in that
    header. Raises `UsageError` for sides, weights and labels that make no split.
    """
    owner = f"split {name!r}"
    nodes, weights = sides_of(sides, labels, owner)
    forced = checked_overrides(overrides, nodes, owner)
    if isinstance(by, str) and by.startswith("time."):
        raise UsageError(
            f"{owner} cannot keep rows together by {by!r}; give a field, 'header:NAME', 'key' or a function"
        )
    if forced and by is None:
        raise UsageError(f"{owner} has overrides by key, but no key; say with by= where it is")
    return Split(nodes, weights, by, name, forced, header.lower() if header else None)
