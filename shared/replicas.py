"""Whether a replica has all that the primary had when somebody asked.

The primary tells where its log ends, and the replica whether it has replayed as much. Every use of a replica asks anew:
there is nothing to remember, to tell others, or to get wrong after a restart. Why this is enough, and what it costs, is
told in docs/decisions/0011-searches-see-what-was-written.md.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from time import monotonic
from typing import NamedTuple

import asyncpg

PATIENCE = 0.05  # seconds a replica gets to catch up before the primary is asked instead
PAUSE = 0.003  # seconds between two looks

# What is committed is on disk before anybody sees it, unless the server does not wait for that: there, what is not on
# disk yet counts too.
POSITION = """
    SELECT CASE current_setting('synchronous_commit') WHEN 'off' THEN pg_current_wal_insert_lsn()
           ELSE pg_current_wal_flush_lsn() END, pg_postmaster_start_time()"""
# A server that is no replica is current when it is the primary itself. Any other (a replica that was promoted, or a
# logical one) has a log of its own, which tells nothing: null.
REPLAYED = """
    SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() >= $1::pg_lsn
                WHEN pg_postmaster_start_time() = $2::timestamptz THEN true END"""


class Position(NamedTuple):
    """Where a server's log ends, and which run of which server that is."""

    log: int
    server: datetime


async def catching_up(replica: asyncpg.pool.PoolConnectionProxy, position: Position, within: float) -> str:
    """How the replica came to have everything up to a position: `current` at once, or `waited`.

    Else `primary`, which is to be asked instead.
    """
    until = monotonic() + min(PATIENCE, within / 2)
    outcome = "current"
    while not (there := await replica.fetchval(REPLAYED, *position)):
        if there is None or monotonic() > until:
            return "primary"
        outcome = "waited"
        await asyncio.sleep(PAUSE)
    return outcome


class Log:
    """The primary's log: one question for all who wait at the same moment, sent after each of them began to."""

    def __init__(self, position: Callable[[], Awaitable[Position]]) -> None:
        self._position = position
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[Position] | None = None
        self.begun: set[asyncio.Task[Position]] = set()

    def asked(self) -> asyncio.Task[Position]:
        """Begins to ask, or joins those whose question is not sent yet. Cancel nothing: it is the others' too."""
        if self._next is None:
            self._next = asyncio.create_task(self._question())
            self.begun.add(self._next)
            self._next.add_done_callback(self._over)
        return self._next

    async def _question(self) -> Position:
        async with self._turn:
            self._next = None  # who comes from now on comes too late for this one
            return await self._position()

    def _over(self, task: asyncio.Task[Position]) -> None:
        self.begun.discard(task)
        if not task.cancelled():
            task.exception()  # told to whoever still waits


@asynccontextmanager
async def log(position: Callable[[], Awaitable[Position]]) -> AsyncIterator[Log]:
    """The log of a primary that can be asked for its position."""
    made = Log(position)
    try:
        yield made
    finally:
        for task in made.begun:
            task.cancel()
