"""Asking the far side in time, and again where that is safe."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hansang.errors import DeadlineExceeded, Unavailable
from hansang.peers.http import Answer, NoAnswer, Pool
from hansang.peers.outcomes import retry_after_of

FIRST_PAUSE = 0.02


@dataclass(slots=True, eq=False)
class Client:
    """Sends requests to one far side; `retried` is called for every request that is sent again.

    A request is sent again, at most `retries` times, when it was not reached or closed before a byte of the answer,
    and when it answers 503 with a Retry-After that the time allows. After a time-out or a broken answer the request
    may have been worked on: it is sent again only when it is `idempotent`.
    """

    pool: Pool
    label: str
    timeout: float
    retries: int = 1
    idempotent: bool = False
    retried: Callable[[], None] | None = None

    async def ask(
        self, method: str, path: str, fields: Mapping[str, str], body: bytes = b"", until: float | None = None
    ) -> Answer:
        """Give the answer, whatever its status; `until` is on the event loop's clock.

        Raises `Unavailable` when there is none, and `DeadlineExceeded` when it does not come in time.
        """
        tries = 0
        while True:
            now = asyncio.get_running_loop().time()
            by = now + self.timeout if until is None else min(until, now + self.timeout)
            again = tries < self.retries
            try:
                async with asyncio.timeout_at(by):
                    answer = await self.pool.ask(method, path, fields, body)
            except TimeoutError:
                if not (again and self.idempotent and (until is None or by < until)):
                    raise DeadlineExceeded(f"{self.label}: no answer within {by - now:.3g} s") from None
                pause = 0.0
            except NoAnswer as error:
                pause = FIRST_PAUSE * 2**tries
                if not again or (error.begun and not self.idempotent) or not in_time(pause, until):
                    raise Unavailable(f"{self.label} is not available", retry_after=1.0) from error
            else:
                wait = retry_after_of(answer) if answer.status == 503 else None
                if not again or wait is None or not in_time(wait, by):
                    return answer
                pause = wait
            tries += 1
            if self.retried is not None:
                self.retried()
            await asyncio.sleep(pause)


def in_time(pause: float, until: float | None) -> bool:
    """Say whether there is time left after a pause."""
    return until is None or asyncio.get_running_loop().time() + pause < until
