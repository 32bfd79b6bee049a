"""A client goes away in the middle of a slow search: its SQL ends soon, long before the deadline, and nobody else's."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic

import asyncpg

from shared.client import connect
from shared.filters import Filter, FlowRunFilter
from tests.fault.stage import Stage, sessions
from tests.fault.wire import Address, Answer, Line, encoded, opened
from tests.fleet import select_for_a_moment

SOON = 2.0
WAITING = "wait_event_type = 'Lock'"
SEARCH = {"flow_runs": {}, "limit": 7}


@asynccontextmanager
async def locked(dsn: str, table: str) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Whoever reads the table waits, until the block is left or what it gives is called."""
    connection = await asyncpg.connect(dsn)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
    try:
        yield transaction.rollback
    finally:
        await connection.close()


async def waiting(dsn: str, some: bool, within: float) -> None:
    """Until some of our sessions wait for a lock, or none. One search may have two strategies under way."""
    until = monotonic() + within
    while bool(found := await sessions(dsn, WAITING)) is not some:
        assert monotonic() < until, found
        select_for_a_moment()


async def asked(url: str) -> tuple[Line, asyncio.Task[Answer]]:
    line = await opened(Address.of(url))
    return line, asyncio.create_task(line.ask(encoded("/api/deployments/paginate", SEARCH)))


async def test_by_http(stage: Stage) -> None:
    dsn = stage.database.dsn
    for url in stage.crowd.urls:
        async with locked(dsn, "flow_run"):
            line, answer = await asked(url)
            await waiting(dsn, True, 5)
            line.close()
            await waiting(dsn, False, SOON)
            await asyncio.wait([answer])
            assert answer.exception()


async def test_on_the_bus(stage: Stage) -> None:
    dsn = stage.database.dsn
    async with connect(stage.node.url, 30) as client, locked(dsn, "flow_run"):
        search = asyncio.create_task(client.filter(Filter(limit=7, flow_runs=FlowRunFilter())))
        await waiting(dsn, True, 5)
        search.cancel()
        await asyncio.wait([search])
        await waiting(dsn, False, SOON)


async def test_of_several_who_ask_the_same(stage: Stage) -> None:
    """Two are worked on, the others wait for the next turn: one of each leaves, the rest get their answers."""
    dsn, url = stage.database.dsn, stage.crowd.urls[0]
    line, first = await asked(url)
    right = (await first).body
    line.close()
    async with locked(dsn, "flow_run") as unlock:
        clients = [await asked(url) for _ in range(4)]
        await waiting(dsn, True, 5)
        await left(clients[::2])
        await waiting(dsn, True, 5)
        await unlock()
        answers = [await answer for _, answer in clients[1::2]]
        for line, _ in clients:
            line.close()
    assert [(answer.status, answer.body) for answer in answers] == [(200, right)] * 2
    async with locked(dsn, "flow_run"):
        clients = [await asked(url) for _ in range(4)]
        await waiting(dsn, True, 5)
        await left(clients)
        await waiting(dsn, False, SOON)


async def left(clients: list[tuple[Line, asyncio.Task[Answer]]]) -> None:
    for line, _ in clients:
        line.close()
    gone, _ = await asyncio.wait([answer for _, answer in clients])
    assert all(answer.exception() for answer in gone)
