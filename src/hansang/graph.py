"""The one idea: a node maps a Batch of rows to a Batch of predictions."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import repeat
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from hansang.batch import Batch
from hansang.call import Call
from hansang.errors import UsageError, WrongRows
from hansang.fingerprint import described_fields
from hansang.isolate import attempt, failure
from hansang.lanes import Lane
from hansang.logs.whose import around

if TYPE_CHECKING:
    from hansang.site import Site


class Node:
    """Maps a `Batch` of rows to a `Batch` of predictions, one outcome a row, in the same order.

    A node is called with rows that have not failed, and may be called many times at once. `a >> b` feeds the
    predictions of one node to the next. `aside` names the fields whose nodes no answer waits for.
    """

    __slots__ = ()
    aside: ClassVar[tuple[str, ...]] = ()
    changing: ClassVar[bool] = False

    @property
    def moves(self) -> int:
        """How often what answers was exchanged since the start; a cache asks those that are `changing`."""
        return 0

    async def __call__(self, batch: Batch) -> Batch:
        """Predict every row of the batch."""
        raise TypeError(f"{type(self).__name__} is not a node: it has no __call__")

    @property
    def label(self) -> str:
        """The name it goes by in metrics, trails and pictures."""
        return str(getattr(self, "name", "") or type(self).__name__.lower())

    def bind(self, site: Site) -> Node:
        """Give this node as it runs in a service; a pattern takes its counters there and binds what it is made of.

        The node itself is not changed: it is the declaration, and what comes back is what runs.
        """
        return rebuilt(self, site.bind)

    def check(self, schema: Any) -> None:
        """Refuse, by a `SchemaError` when the service is built, rows of this schema; None is rows of any kind.

        It is the endpoint's schema where rows reach the node as they came in, and None anywhere else.
        """

    def prompt(self, batch: Batch) -> bool:
        """Say whether a call with this batch would most likely give its answers without ever waiting.

        A prompt part of a dispatcher runs at once, in the task that is there; another one gets a task of its own.
        """
        return False

    def fingerprint(self) -> str:
        """Say what its answers depend on beside the rows; a cache keeps apart what differs in it.

        By default its class and its fields: inner nodes by their own, functions by their code. A node of which it can
        change while it runs is `changing`, and asked for every batch.
        """
        return described_fields(self)

    def __rshift__(self, other: Node | Callable[..., Any]) -> Chain:
        return chain(self, other)

    def __rrshift__(self, other: Callable[..., Any]) -> Chain:
        return chain(other, self)


@runtime_checkable
class Lifetime(Protocol):
    """A node that holds something: it is entered once at start-up and left after the drain."""

    async def __aenter__(self) -> Any: ...

    async def __aexit__(self, *exc: object) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class Function(Node):
    """A plain function as a node; see `node`."""

    function: Callable[..., Any]
    name: str
    each: bool = False
    is_async: bool = False

    async def __call__(self, batch: Batch) -> Batch:
        """Call the function on the batch, or on each row."""
        if self.each:
            return await self._predict_each(batch)
        if not self.is_async:
            return attempt(self._predict, batch, True, self.name)
        try:
            return batch.replace(await self.function(batch), name=self.name)
        except Exception as error:
            return batch.fail(failure(error, self.name))

    def bind(self, site: Site) -> Node:
        """Give this function as it runs in a service: in the background a sync one has a thread of its own."""
        return OffLoop(self, Lane(self.name)) if site.background and not self.is_async else self

    def prompt(self, batch: Batch) -> bool:
        """Say whether it is a sync one."""
        return not self.is_async

    def now(self, batch: Batch) -> Batch:
        """Call a sync function here and now; nothing that it raises comes out."""
        if not self.each:
            return attempt(self._predict, batch, True, self.name)
        rows = []
        before = around.set(None)
        for row, call in zip(batch.rows, callers_of(batch), strict=False):
            around.set(call)
            try:
                rows.append(self.function(row))
            except BaseException as error:  # a function that calls sys.exit() must not take its thread along
                rows.append(failure(error, self.name))
        around.reset(before)
        return batch.replace(rows, name=self.name)

    async def _predict_each(self, batch: Batch) -> Batch:
        """Call the function on each row; what it logs is about the request of this row."""
        function, is_async, name = self.function, self.is_async, self.name
        outcomes = []
        before = around.set(None)
        try:
            for row, call in zip(batch.rows, callers_of(batch), strict=False):
                around.set(call)
                outcomes.append(await outcome(function, row, is_async, name))
        finally:
            around.reset(before)
        return batch.replace(outcomes, name=name)

    def _predict(self, batch: Batch) -> Batch:
        return batch.replace(self.function(batch), name=self.name)


@dataclass(frozen=True, slots=True, eq=False)
class OffLoop(Node):
    """A sync function on a thread of its own, one batch at a time: it may sleep or compute and holds up nobody."""

    function: Function
    lane: Lane

    @property
    def label(self) -> str:
        """The name of the function."""
        return self.function.name

    async def __call__(self, batch: Batch) -> Batch:
        """Call the function on the thread; a call that hangs is waited for by those that follow."""
        return await self.lane.run(lambda: self.function.now(batch))

    async def __aenter__(self) -> OffLoop:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.lane.close()


def callers_of(batch: Batch) -> Iterable[Call | None]:
    """Give the call of each row; rows for which nobody waits one by one have none."""
    return batch.calls if batch.has_calls else repeat(None)


async def outcome(function: Callable[..., Any], row: Any, is_async: bool, name: str) -> Any:
    """Run a row function; what it raises is the outcome of this row alone."""
    try:
        answer = function(row)
        return await answer if is_async else answer
    except Exception as error:
        return failure(error, name)


class NodeDecorator:
    """`@node` turns a function on a `Batch` into a node; `@node.each` a function on one row.

    The function may be sync or async and returns a list, an array or a `Batch` with one prediction a row, in order;
    an exception in a position is the outcome of that row. A sync function runs on the event loop: make it async, or
    wrap it in a `Model`, when it blocks.

    The rows of one batch come from many requests. A sync function that raises is called again on fewer rows until
    the bad ones stand alone; an async one is not, for it may be waiting for another service: all its rows fail.
    """

    def __call__(self, function: Callable[..., Any]) -> Function:
        """Make a node of a function that takes a `Batch`."""
        return Function(function, getattr(function, "__name__", "node"), False, awaits(function))

    def each(self, function: Callable[..., Any]) -> Function:
        """Make a node of a function that takes one row; what it raises fails this row alone."""
        return Function(function, getattr(function, "__name__", "node"), True, awaits(function))


node = NodeDecorator()


def awaits(function: Callable[..., Any]) -> bool:
    """Say whether a function, or an object that is called like one, is async."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def as_node(value: Any) -> Node:
    """Take a node as it is and make one of a plain function; anything else is a `UsageError`."""
    if isinstance(value, Node):
        return value
    if callable(value):
        return node(value)
    raise UsageError(f"{value!r} is not a node; give a Model, a pattern, or a function of a Batch")


@dataclass(frozen=True, slots=True, eq=False)
class Chain(Node):
    """Feed each node's predictions to the next one; a row that failed is not sent on."""

    nodes: tuple[Node, ...]

    async def __call__(self, batch: Batch) -> Batch:
        """Send the batch through the nodes in their order."""
        for node in self.nodes:
            batch = await pass_on(node, batch)
        return batch

    def prompt(self, batch: Batch) -> bool:
        """Say whether none of its nodes would wait for as many rows."""
        return all(node.prompt(batch) for node in self.nodes)


def chain(*nodes: Any) -> Chain:
    """Chain nodes or plain functions of a `Batch`; chains in a chain become one."""
    flat: list[Node] = []
    for value in nodes:
        inner = as_node(value)
        flat.extend(inner.nodes if isinstance(inner, Chain) else (inner,))
    return Chain(tuple(flat))


async def pass_on(node: Callable[[Batch], Awaitable[Batch]], batch: Batch) -> Batch:
    """Send only the rows that have not failed through a node, and put the failed ones back in their places."""
    if not batch.failed:
        return await node(batch)
    good = batch.good
    if not good:
        return batch
    return batch.fill(good, await node(batch.take(good)))


async def settle(node: Callable[[Batch], Awaitable[Batch]], batch: Batch) -> Batch:
    """Run a graph so that whatever happens every row has an outcome: what the graph raises fails all its rows."""
    try:
        answers = await pass_on(node, batch)
    except Exception as error:
        return batch.fail(failure(error, "the graph"))
    if len(answers) != len(batch):
        return batch.fail(
            WrongRows(f"the graph gave {len(answers)} predictions for {len(batch)} rows; return one per row")
        )
    return answers


def rebuilt(node: Node, change: Callable[[Node], Node], **fields_too: Any) -> Node:
    """Give a node of the same fields with every node in them changed, but for those given; itself when nothing is."""
    changed = dict(fields_too)
    if not is_dataclass(node):
        return node
    for name in [field.name for field in fields(node) if field.init and field.name not in fields_too]:
        before = getattr(node, name)
        after = rebuilt_value(before, change)
        if after is not before:
            changed[name] = after
    return replace(node, **changed) if changed else node


def rebuilt_value(value: Any, change: Callable[[Node], Node]) -> Any:
    """Change the nodes in a field's value: a node, or a sequence or a mapping of nodes."""
    if isinstance(value, Node):
        return change(value)
    if isinstance(value, tuple | list) and any(isinstance(item, Node) for item in value):
        items = [rebuilt_value(item, change) for item in value]
        same = all(new is old for new, old in zip(items, value, strict=True))
        return value if same else type(value)(items)
    if isinstance(value, Mapping) and any(isinstance(item, Node) for pair in value.items() for item in pair):
        pairs = {rebuilt_value(key, change): rebuilt_value(item, change) for key, item in value.items()}
        same = all(a is b and value[a] is pairs[b] for a, b in zip(value, pairs, strict=True))
        return value if same else pairs
    return value


def members(value: Node, aside: bool = True) -> Iterator[Node]:
    """Give the nodes that a node is made of, found by walking its fields; `aside` says whether with those beside it."""
    if not is_dataclass(value):
        return
    for field in fields(value):
        if not aside and field.name in value.aside:
            continue
        inner = getattr(value, field.name)
        if isinstance(inner, Node):
            yield inner
        elif isinstance(inner, tuple | list):
            yield from (item for item in inner if isinstance(item, Node))
        elif isinstance(inner, Mapping):
            yield from (item for pair in inner.items() for item in pair if isinstance(item, Node))


def walk(graph: Node, aside: bool = True) -> Iterator[Node]:
    """Give every node of a graph once, outermost first; without those `aside`, the ones that an answer waits for."""
    seen: set[int] = set()
    todo = [graph]
    while todo:
        current = todo.pop()
        if id(current) not in seen:
            seen.add(id(current))
            yield current
            todo.extend(reversed(list(members(current, aside))))


def inside_out(graph: Node, seen: set[int]) -> Iterator[Node]:
    """Give every node of a graph that is not in `seen` once, each after the nodes that it is made of."""
    if id(graph) not in seen:
        seen.add(id(graph))
        for inner in members(graph):
            yield from inside_out(inner, seen)
        yield graph
