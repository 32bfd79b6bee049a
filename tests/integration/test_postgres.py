"""The pool on a real Postgres: read only, bounded in time and number, and clear about what went wrong."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from shared import errors, postgres
from shared.settings import Settings
from tests.fleet import free_port
from tests.poolers import pooler


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[postgres.Pool]:
    async with postgres.pool(Settings(postgres_dsn=postgres_dsn, pool_size=2, deadline=3), "runs") as made:
        yield made


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE mine (id int)", "INSERT INTO flow (name) VALUES ('x')", "DELETE FROM flow", "TRUNCATE flow",
     "SELECT id FROM flow FOR UPDATE"],
)  # fmt: skip
async def test_nothing_is_ever_written(pool: postgres.Pool, statement: str) -> None:
    with pytest.raises(errors.DatabaseDown, match="ReadOnlySQLTransactionError"):
        await postgres.fetch(pool, statement, (), 3)


async def test_every_connection_is_set_up_for_reading(pool: postgres.Pool) -> None:
    names = ["application_name", "default_transaction_read_only", "statement_timeout", "plan_cache_mode", "jit"]
    found = [(await postgres.fetch(pool, f"SHOW {name}", (), 3))[0][0] for name in names]
    assert found == ["classis-runs", "on", "3s", "force_custom_plan", "off"]


@pytest.mark.parametrize(("ignoring", "why"), [(True, "PgBouncer"), (False, "unsupported startup parameter")])
async def test_a_pooler_in_between_is_refused(postgres_dsn: str, ignoring: bool, why: str) -> None:
    async with (
        pooler(postgres_dsn, ignoring=ignoring) as dsn,
        postgres.pool(Settings(postgres_dsn=dsn), "runs") as pool,
    ):
        with pytest.raises(errors.DatabaseDown, match=why):
            await postgres.fetch(pool, "SELECT 1", (), 3)


async def test_a_statement_ends_with_its_time_on_the_server_too(pool: postgres.Pool) -> None:
    with pytest.raises(errors.DeadlineSpent):
        await postgres.fetch(pool, "SELECT pg_sleep(60)", (), 0.2)
    async with asyncio.timeout(5):
        while await _still_running(pool):
            pass


async def _still_running(pool: postgres.Pool) -> bool:
    query = "SELECT 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' AND state = 'active'"
    return bool(await postgres.fetch(pool, query, (), 3))


async def test_the_servers_time_limit_follows_what_is_left(pool: postgres.Pool) -> None:
    """It never ends a statement early, and at most twice as late."""
    for within in (3, 2.9, 1.4, 0.2, 0.01, 2):
        [[shown]] = await postgres.fetch(
            pool, "SELECT setting::int / 1000.0 FROM pg_settings WHERE name = 'statement_timeout'", (), max(within, 0.2)
        )
        assert max(within, 0.2) <= shown <= 2 * max(within, 0.2)


async def test_whoever_gives_up_leaves_a_connection_as_it_was(pool: postgres.Pool, postgres_dsn: str) -> None:
    """At whatever moment: while the time limit is set, a statement is prepared, or executed."""
    busy = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'classis-runs' AND state <> 'idle'"
    looking = await asyncpg.connect(postgres_dsn)
    for attempt in range(400):
        fetching = asyncio.ensure_future(postgres.fetch(pool, f"SELECT {attempt}, count(*) FROM flow", (), 0.3))
        for _ in range(attempt % 100):
            await asyncio.sleep(0)  # so many turns of the event loop later
        fetching.cancel()
        await asyncio.wait([fetching])
        assert await looking.fetchval(busy) == 0, f"after {attempt}"
        [[limit]] = await postgres.fetch(pool, "SHOW statement_timeout", (), 3)
        assert limit == "3s", f"after {attempt}"
    await looking.close()


async def test_nothing_is_sent_while_the_limit_is_right(pool: postgres.Pool) -> None:
    async with postgres.connection(pool, 3) as borrowed:
        session: Any = borrowed
        queries: list[str] = []
        with borrowed.query_logger(lambda record: queries.append(record.query)):
            await session.bound(2.9)
            await session.bound(1.4)
            await session.bound(1.3)
            await session.bound(3)
    assert queries == ["SET statement_timeout = 1500", "SET statement_timeout = 3000"]


async def test_waiting_for_a_connection_counts(pool: postgres.Pool) -> None:
    async with pool.acquire(), pool.acquire():
        with pytest.raises(errors.DeadlineSpent):
            await postgres.fetch(pool, "SELECT 1", (), 0.1)
    assert await postgres.fetch(pool, "SELECT 1", (), 3)


@pytest.mark.parametrize(
    ("statement", "argument"),
    [("SELECT $1::text", "\0"), ("SELECT $1::bigint", 2**63), ("SELECT $1::text", "\ud800"), ("SELECT $1::uuid", "x")],
)
async def test_a_value_that_postgres_cannot_take_is_the_clients(
    pool: postgres.Pool, statement: str, argument: object
) -> None:
    with pytest.raises(errors.Unacceptable):
        await postgres.fetch(pool, statement, [argument], 3)


async def test_a_missing_table_is_trouble_of_the_database(pool: postgres.Pool) -> None:
    with pytest.raises(errors.DatabaseDown):
        await postgres.fetch(pool, "SELECT 1 FROM nothing_of_that_name", (), 3)


async def test_an_unreachable_or_foreign_server_is_told_at_once(postgres_dsn: str) -> None:
    user = urlsplit(postgres_dsn).username
    for dsn in (f"postgresql://127.0.0.1:{free_port()}/x", postgres_dsn.replace(f"{user}:", f"{user}:wrong", 1)):
        async with postgres.pool(Settings(postgres_dsn=dsn, deadline=3), "flows") as made, asyncio.timeout(2):
            with pytest.raises(errors.DatabaseDown):
                await postgres.fetch(made, "SELECT 1", (), 3)


async def test_a_killed_session_does_not_poison_the_pool(pool: postgres.Pool, postgres_dsn: str) -> None:
    admin = await asyncpg.connect(postgres_dsn)
    waiting = asyncio.ensure_future(postgres.fetch(pool, "SELECT pg_sleep(30)", (), 10))
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(30)' AND state = 'active'"
    async with asyncio.timeout(5):
        while not await admin.fetch(kill):
            pass
    with pytest.raises(errors.DatabaseDown):
        await waiting
    assert await postgres.fetch(pool, "SELECT 1", (), 3)
    await admin.close()
