"""One answer for all who ask the same at the same time, and never one that is older than the question.

A computation that has begun may have read rows that have changed since, so nobody joins it. Who asks while fewer than
`AT_ONCE` are under way begins one; the others wait together for the next, which begins when one of those has ended. So
a question is worked on `AT_ONCE` times at once, however many ask it, and nobody waits longer than for two computations.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from typing import Generic, TypeVar

from services.gateway.fanout import Deadline
from shared.errors import DeadlineSpent

Q = TypeVar("Q")
R = TypeVar("R")

AT_ONCE = 2  # of one question: taking turns, they halve the wait for the next to begin


class Shared(Generic[Q, R]):
    """Is called like the computation it wraps, which gives the answer to a question by a deadline."""

    def __init__(self, compute: Callable[[Q, Deadline], Awaitable[R]], key: Callable[[Q], Hashable]) -> None:
        self._compute = compute
        self._key = key
        self._running: Counter[Hashable] = Counter()
        self._waiting: dict[Hashable, Batch[R]] = {}

    async def __call__(self, question: Q, deadline: Deadline) -> R:
        """What the computation gives or raises. Raises DeadlineSpent, for this caller alone, when it waits too long."""
        key = self._key(question)
        if self._running[key] >= AT_ONCE:
            return await self._join(key, question, deadline)
        self._running[key] += 1
        try:
            return await self._compute(question, deadline)
        finally:
            self._ended(key)

    async def _join(self, key: Hashable, question: Q, deadline: Deadline) -> R:
        batch = self._waiting.get(key)
        if batch is None:
            batch = self._waiting[key] = Batch(partial(self._compute, question), partial(self._ended, key))
        try:
            return await batch.result(deadline)
        finally:
            if not batch.members and self._waiting.get(key) is batch:  # given up before its turn
                del self._waiting[key]

    def _ended(self, key: Hashable) -> None:
        """The place of a computation goes to the batch that waits, or is free."""
        if batch := self._waiting.pop(key, None):
            batch.begin()
            return
        self._running[key] -= 1
        if not self._running[key]:
            del self._running[key]


class Batch(Generic[R]):
    """Those who wait for one computation. It begins at its turn, and is cancelled when nobody waits any more."""

    def __init__(self, compute: Callable[[Deadline], Awaitable[R]], ended: Callable[[], None]) -> None:
        self.members: set[Deadline] = set()
        self._turn = asyncio.Event()
        self._ended = ended
        self._computation = asyncio.create_task(self._in_turn(compute))
        self._computation.add_done_callback(self._done)

    def begin(self) -> None:
        """From here on nobody may join."""
        self._turn.set()

    async def result(self, deadline: Deadline) -> R:
        """What the computation gives or raises, for one member."""
        self.members.add(deadline)
        try:
            async with asyncio.timeout(deadline.left):
                return await asyncio.shield(self._computation)
        except TimeoutError:
            raise DeadlineSpent("the same search, asked before, took the time") from None
        finally:
            self.members.discard(deadline)
            if not self.members:
                self._computation.cancel()

    async def _in_turn(self, compute: Callable[[Deadline], Awaitable[R]]) -> R:
        await self._turn.wait()
        return await compute(max(self.members, key=lambda member: member.left))

    def _done(self, computation: asyncio.Task[R]) -> None:
        if not computation.cancelled():
            computation.exception()  # seen, should every member have left
        if self._turn.is_set():
            self._ended()
