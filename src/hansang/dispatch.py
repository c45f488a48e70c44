"""Nodes that only decide who answers, so that a row's answer leaves when its own branch is done.

`cached`, `split`, `switch`, `fallback` and their kind are dispatchers: they do not wait for anything, they cut a batch
into parts. Where a dispatcher stands last in a graph, the server runs `flow` and sends every row as soon as it is
settled; anywhere else `gathered` puts the parts together again. Both are the same walk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hansang.batch import Batch
from hansang.errors import WrongRows
from hansang.graph import Chain, Node
from hansang.isolate import failure

Places = Sequence[int]
Send = Callable[[Places, Batch], None]


@dataclass(slots=True)
class Part:
    """Some rows of a batch, and who answers them; `at` are their places in the batch that was cut, all by default.

    Without a `node` the rows are settled: they are the answers. `then` gets answers as they come, with their places
    in `batch`, and gives what is to become of them: settled parts, or parts for another node. It is called as often
    as rows are settled, and must give a part for each of them.

    A `limit` is for a part whose batch is a fork: what is not settled in time fails, and its calls are told that
    nobody waits any more.

    `ended` is called when the part is over, however it ended: its rows were settled, or it was cancelled, even before
    it began. It may be called more than once.
    """

    batch: Batch
    node: Callable[[Batch], Awaitable[Batch]] | None = None
    at: Places | None = None
    then: Callable[[Places, Batch], Iterable[Part]] | None = None
    limit: Limit | None = None
    ended: Callable[[], None] | None = None


@dataclass(slots=True)
class Limit:
    """How long a part may take, in seconds, and the outcome of the rows that take longer."""

    seconds: float
    error: Exception


class Dispatcher(Node):
    """A node that decides who answers which rows, and nothing else."""

    __slots__ = ()

    def parts(self, batch: Batch) -> Iterable[Part]:
        """Cut a batch into parts, every row in exactly one; settled parts first, for they are sent first."""
        raise TypeError(f"{type(self).__name__} is not a dispatcher: it has no parts")

    async def __call__(self, batch: Batch) -> Batch:
        """Predict every row of the batch by whoever answers it."""
        return await gathered(self, batch)


def spreads(node: Node) -> bool:
    """Say whether rows of one batch can be settled at different times: whether a dispatcher stands last."""
    while isinstance(node, Chain):
        node = node.nodes[-1]
    return isinstance(node, Dispatcher)


async def gathered(node: Node, batch: Batch) -> Batch:
    """Run a graph and put its settled rows back into one batch, in their order."""
    outcomes: list[Any] = [None] * batch.size
    whole: list[Batch] = []

    def put(at: Places, answers: Batch) -> None:
        if in_order(at, batch.size):
            whole.append(answers)
        else:
            for place, row in zip(at, answers.rows, strict=True):
                outcomes[place] = row

    await flow(node, batch, range(batch.size), put)
    return batch.adopt(whole[0]) if whole else batch.replace(outcomes)


async def flow(node: Any, batch: Batch, at: Places, send: Send) -> None:
    """Run a graph over the rows that stand at these places, and send every row as soon as its own branch is done.

    `node` is anything that is called like one, and no row has failed yet. Whatever it raises is the outcome of the
    rows it had.
    """
    steps: tuple[Any, ...] = node.nodes if isinstance(node, Chain) else (node,)
    for step in steps[:-1]:
        batch, at = without_failed(await answered(step, batch), at, send)
        if not batch.size:
            return
    last = steps[-1]
    if isinstance(last, Dispatcher):
        await dispatch(last, batch, at, send)
    else:
        send(at, await answered(last, batch))


async def answered(node: Any, batch: Batch) -> Batch:
    """Call a node so that every row has an outcome: what it raises fails the rows."""
    try:
        return batch.replace(await node(batch), name=name_of(node))
    except WrongRows as error:
        return batch.fail(error)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return batch.fail(failure(error, name_of(node)))  # something that the node waited for was cancelled, not we
    except Exception as error:
        return batch.fail(failure(error, name_of(node)))


def without_failed(batch: Batch, at: Places, send: Send) -> tuple[Batch, Places]:
    """Send the rows that have failed already; give the others with their places."""
    if not batch.failed:
        return batch, at
    good = batch.good
    bad = [place for place, row in enumerate(batch.rows) if isinstance(row, Exception)]
    send([at[place] for place in bad], batch.take(bad))
    return batch.take(good), [at[place] for place in good]


async def dispatch(node: Dispatcher, batch: Batch, at: Places, send: Send) -> None:
    """Run a dispatcher's parts side by side, the settled ones first; those that wait for nothing need no task."""
    try:
        parts = list(node.parts(batch))
    except Exception as error:
        send(at, batch.fail(failure(error, name_of(node))))
        return
    prompt, waiting = [], []
    try:
        for part in parts:
            places = at if part.at is None else [at[place] for place in part.at]
            if part.node is None:
                send(places, part.batch)
            elif isinstance(part.node, Node) and part.node.prompt(part.batch):
                prompt.append((part, places))
            else:
                waiting.append((part, places))
        tasks = [asyncio.ensure_future(run(part, places, send)) for part, places in waiting[not prompt :]]
        ways = [run(part, places, send) for part, places in prompt or waiting[:1]]
        await side_by_side(ways, tasks)
    finally:
        end(parts)


def end(parts: Iterable[Part]) -> None:
    """Tell the parts that they are over."""
    for part in parts:
        if part.ended is not None:
            part.ended()


async def run(part: Part, at: Places, send: Send) -> None:
    """Run one part, and what becomes of its answers."""
    try:
        if part.then is not None:
            await run_on(part, part.then, at, send)
        elif part.limit is not None:
            await run_limited(part, part.limit, at, send)
        else:
            await flow(part.node, part.batch, at, send)
    finally:
        if part.ended is not None:
            part.ended()


async def run_on(part: Part, then: Callable[[Places, Batch], Iterable[Part]], at: Places, send: Send) -> None:
    """Run one part, and the parts that its answers become."""
    more: list[asyncio.Task[None]] = []
    begun: list[Part] = []

    def settled(places: Places, answers: Batch) -> None:
        here = at if in_order(places, len(at)) else [at[place] for place in places]
        try:
            following = list(then(places, answers))
        except Exception as error:
            send(here, answers.fail(failure(error, name_of(part.node))))
            return
        for next_part in following:
            next_at = here if next_part.at is None else [here[place] for place in next_part.at]
            if next_part.node is None:
                send(next_at, next_part.batch)
            else:
                begun.append(next_part)
                more.append(asyncio.ensure_future(run(next_part, next_at, send)))

    try:
        if part.limit is None:
            await flow(part.node, part.batch, range(part.batch.size), settled)
        else:
            await run_limited(part, part.limit, range(part.batch.size), settled)
        if more:
            await asyncio.gather(*more)
    finally:
        for task in more:
            task.cancel()
        end(begun)


async def run_limited(part: Part, limit: Limit, at: Places, send: Send) -> None:
    """Run a part's node until all its rows are settled, or its time is over.

    What is not settled by then fails at that moment, even if the node takes its time to be cancelled.
    """
    batch = part.batch
    unsettled: set[int] | None = set(range(batch.size))

    def settled(places: Places, answers: Batch) -> None:
        if unsettled is not None:  # else it is late
            unsettled.difference_update(places)
            send(places if at == range(batch.size) else [at[place] for place in places], answers)

    def expire() -> None:
        nonlocal unsettled
        rest, unsettled = sorted(unsettled or ()), None
        if rest:
            late = batch.take(rest)
            for call in late.calls if late.has_calls else ():
                call.leave()
            send([at[place] for place in rest], late.fail(limit.error))

    timer = asyncio.get_running_loop().call_later(limit.seconds, expire)
    try:
        async with asyncio.timeout(limit.seconds):
            await flow(part.node, batch, range(batch.size), settled)
    except TimeoutError:
        expire()
    finally:
        timer.cancel()


async def side_by_side(ways: Sequence[Coroutine[Any, Any, None]], tasks: Sequence[asyncio.Task[None]]) -> None:
    """Run coroutines one after the other beside tasks, and wait for all of them."""
    try:
        for way in (*ways, *tasks):
            await way
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    finally:
        for way in ways:
            way.close()  # of those that were not reached


def in_order(at: Places, size: int) -> bool:
    """Say whether places are those of a whole batch in its order."""
    return len(at) == size and (isinstance(at, range) or list(at) == list(range(size)))


def name_of(node: Any) -> str:
    """Name whatever is called like a node."""
    return str(getattr(node, "label", "") or getattr(node, "name", "") or type(node).__name__)
