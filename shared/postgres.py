"""Postgres, read only: a bounded pool, and one way to fetch.

Every connection is read only by default, has a statement time limit, and plans each statement for its real values:
a generic plan for a list of ids is up to two hundred times slower.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from shared.errors import DatabaseDown, DeadlineSpent, Unacceptable
from shared.settings import Settings

Pool = asyncpg.Pool
Record = asyncpg.Record
Connection = asyncpg.pool.PoolConnectionProxy
CONNECTING = 2.0  # seconds a connection may take to be made
CLOSING = 2.0  # seconds a connection gets to close before it is cut


@asynccontextmanager
async def pool(settings: Settings, service: str, *, plan_once: bool = False) -> AsyncIterator[Pool]:
    """A pool for one service. Connections are made when first needed, so that it starts without its database.

    `plan_once` is for statements whose best plan is the same for all values, such as rows by their keys.
    """
    made = asyncpg.create_pool(
        settings.dsn(service),
        min_size=0,
        max_size=settings.pool_size,
        timeout=CONNECTING,
        max_inactive_connection_lifetime=60,
        reset=_as_it_was,
        server_settings={
            "application_name": f"classis-{service}",
            "default_transaction_read_only": "on",
            "statement_timeout": str(round(settings.deadline * 1000)),
            "plan_cache_mode": "force_generic_plan" if plan_once else "force_custom_plan",
            "client_connection_check_interval": "1s",
            "jit": "off",
            "parallel_setup_cost": "5000",  # to start workers takes some 10 ms, not the 3 that the default stands for
            "TimeZone": "UTC",
        },
    )
    try:
        yield await made
    finally:
        try:
            await asyncio.wait_for(made.close(), CLOSING)
        except TimeoutError:
            made.terminate()


async def _as_it_was(_: asyncpg.Connection) -> None:
    """Between two uses nothing is reset: no session state is ever changed. (asyncpg ends a transaction left open.)"""


async def fetch(pool: Pool, statement: str, arguments: Sequence[Any], within: float) -> list[Record]:
    """The rows of one statement, in at most `within` seconds, the wait for a connection included.

    Raises Unacceptable, DeadlineSpent or DatabaseDown.
    """
    async with connection(pool, within) as borrowed:
        return await borrowed.fetch(statement, *arguments)


@asynccontextmanager
async def snapshot(pool: Pool, within: float) -> AsyncIterator[Connection]:
    """A connection whose statements all see the database as it was at the first of them. Raises what `fetch` raises."""
    async with connection(pool, within) as borrowed, borrowed.transaction(isolation="repeatable_read", readonly=True):
        yield borrowed


@asynccontextmanager
async def connection(pool: Pool, within: float) -> AsyncIterator[Connection]:
    """A connection for at most `within` seconds, the wait for it included. Raises what `fetch` raises."""
    try:
        # The pool's own time-out bounds the release too, which waits for the server to confirm a cancelled statement.
        async with asyncio.timeout(within), pool.acquire(timeout=within) as borrowed:
            yield borrowed
    except (TimeoutError, asyncpg.QueryCanceledError) as error:
        raise DeadlineSpent(f"Postgres did not answer within {within:.1f} s") from error
    except (asyncpg.DataError, UnicodeEncodeError, OverflowError) as error:
        raise Unacceptable(str(error)) from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise DatabaseDown(f"{type(error).__name__}: {error}") from error
