"""Switch: a rule says for each row which node answers it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any

from hansang.batch import Batch
from hansang.call import Call
from hansang.dispatch import Dispatcher, Part
from hansang.graph import Node, as_node, rebuilt
from hansang.metrics import Counter
from hansang.nodes.rules.branch import Branch, branches, parted
from hansang.nodes.rules.decision import Decision
from hansang.nodes.rules.read import DEFAULT, Rule, decided, rule_of, sides_of, variant_of
from hansang.nodes.rules.source import Source, zone
from hansang.site import Site


@dataclass(frozen=True, slots=True, eq=False)
class Switch(Dispatcher):
    """A rule says for each row which node answers it; `switch` tells its three forms.

    `sides` has a node for each value of the rule, or for each condition by its name. The variant of a row is that
    key, or `default`. A row for which there is neither fails with `InvalidRow`, and a function of the row that raises
    fails this row alone. The time is that of the zone `tz`, read once a batch from `clock`, in seconds since 1970.
    """

    rule: str | Callable[[Any], Any] | Mapping[str, str]
    sides: Mapping[Any, Node]
    default: Node | None = None
    name: str = "switch"
    tz: str | tzinfo = "UTC"
    clock: Callable[[], float] = field(default=time.time, repr=False)
    counters: Sequence[Counter] = field(default=(), repr=False)
    _rule: Rule = field(init=False, repr=False)
    _zone: tzinfo = field(init=False, repr=False)
    _ways: Sequence[Branch] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        owner = f"switch {self.name!r}"
        ways = [(variant_of(key), node) for key, node in self.sides.items()]
        if self.default is not None:
            ways.append((DEFAULT, self.default))
        object.__setattr__(self, "_rule", rule_of(self.rule, self.sides, self.default is not None, owner))
        object.__setattr__(self, "_zone", zone(self.tz, owner))
        object.__setattr__(self, "_ways", branches(self.name, ways, self.counters))

    def bind(self, site: Site) -> Node:
        """Give this node as it runs in a service, with its counters."""
        text = "Rows by the branch of a switch that they took."
        counters = [
            site.counter("hansang_switch_rows_total", text, node=self.name, variant=branch.step.variant)
            for branch in self._ways
        ]
        return rebuilt(self, site.bind, counters=counters)

    def check(self, schema: Any) -> None:
        """Refuse a rule that rows of this schema cannot follow, and a table with neither a default nor every value."""
        self._rule.prove(schema)

    @property
    def sources(self) -> Sequence[Source]:
        """What the rule looks at."""
        return self._rule.sources

    def parts(self, batch: Batch) -> Iterable[Part]:
        """Cut the batch by what the rule says of its rows."""
        return parted(batch, self._rule.choose(batch, self._now()), self._ways)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.clock(), self._zone)

    def table(self) -> list[dict[str, Any]]:
        """Give the branches in their order: `condition`, `variant`, `node`, and whether it is the `default`."""
        conditions = [*self._rule.table(), "otherwise"]
        return [
            {"condition": text, "variant": way.step.variant, "node": way.node.label, "default": text == "otherwise"}
            for text, way in zip(conditions, self._ways, strict=False)
        ]

    def explain(self, row: Any, call: Call | None = None) -> Decision:
        """Say which branch one row takes, and why."""
        return decided(self._rule, self._ways, self.name, row, call or Call(), self._now())


def switch(
    rule: str | Callable[[Any], Any] | Mapping[str, Any],
    table: Mapping[Any, Any] | None = None,
    default: Any = None,
    name: str = "switch",
    *,
    tz: str | tzinfo = "UTC",
    clock: Callable[[], float] = time.time,
) -> Switch:
    """Let a rule choose for each row which node answers it.

    Three forms: `switch("country", {"kr": a, "jp": b}, default=c)`, where the rule is a field of the row,
    `"header:x-tier"`, `"key"` or a part of the time such as `"time.hour"`; the same with a function of the row;
    and conditions of which the first true one fires, `switch({"age < 18": a, "header['x-tier'] == 'gold'": b},
    default=c)`, or `{"young": ("age < 18", a)}` to give them names. `hansang.nodes.rules.expression` says what may
    stand in a condition, and what becomes of missing values.

    `default` may be left out only where the table has all values of a bool, Literal or Enum field, or of a part of
    the time: this is checked when the service is built. Raises `UsageError` for what cannot be a rule or a table.
    """
    spec, sides = sides_of(rule, table, default is not None, f"switch {name!r}")
    return Switch(spec, sides, None if default is None else as_node(default), name, tz, clock)
