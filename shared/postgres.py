"""Postgres, read only: a bounded pool, and one way to fetch.

Every connection is read only by default and plans each statement for its real values: a generic plan for a list of ids
is up to two hundred times slower. A statement is cancelled when its time is over; should that not reach the server, the
server's own time limit, kept near what is left of the deadline, ends it.

Where the database is a replica, a pool to its primary stands beside: no use of a connection sees less than what was
committed when it began (shared/replicas.py).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from time import monotonic
from typing import Any, NamedTuple, TypeVar, cast

import asyncpg

from shared import metrics, replicas, tracing
from shared.errors import DatabaseDown, DeadlineSpent, Unacceptable
from shared.settings import Settings

T = TypeVar("T")
Record = asyncpg.Record
Connection = asyncpg.pool.PoolConnectionProxy
CONNECTING = 5.0  # seconds a connection may take to be made
CLOSING = 2.0  # seconds a connection gets to close before it is cut
RELEASING = 0.5  # seconds the server gets to confirm that a statement is cancelled before its connection is cut
SHORTEST = 0.1  # seconds; a server's time limit is not set lower
POOLER = "a pooler such as PgBouncer stands in between, where sessions keep nothing: name PostgreSQL's own address"
TROUBLE = (OSError, UnicodeError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
BROKEN_OFF = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)  # by a replica, to go on replaying


class Session(asyncpg.Connection):
    """A connection that knows how long the server lets its statements run."""

    longest = 0.0  # seconds, that its time limit starts with
    limit = 0.0
    interrupted = False

    def interrupt(self) -> None:
        """Somebody gave up in the middle of a statement."""
        self.interrupted = True

    async def bound(self, within: float) -> None:
        """Sets the server's time limit to at most twice `within`. While it is the right one, nothing is sent."""
        wanted = self.longest
        while wanted / 2 > max(within, SHORTEST):
            wanted /= 2
        if wanted != self.limit:
            self.limit = 0.0  # unknown, should this be cancelled half-way
            await self.execute(f"SET statement_timeout = {round(wanted * 1000)}")
            self.limit = wanted


class Pool(asyncpg.Pool):
    """Connections to one database, and to its primary where that database is a replica."""

    answered: asyncio.Event  # set from the first use on that went well
    primary: "Primary | None" = None


class Primary(NamedTuple):
    """Where a replica's pool turns to: for the primary's position, and for connections while the replica is behind."""

    pool: Pool
    log: replicas.Log


@asynccontextmanager
async def pool(settings: Settings, service: str, *, plan_once: bool = False) -> AsyncIterator[Pool]:
    """A pool for one service. Connections are made when first needed, so that it starts without its database.

    `plan_once` is for statements whose best plan is the same for all values, such as rows by their keys.
    """
    name, primary = f"{service}-by-key" if plan_once else service, settings.primary_postgres_dsn
    opened = partial(_opened, settings, service, plan_once)
    async with AsyncExitStack() as stack:
        made = await stack.enter_async_context(opened(name, settings.dsn(service), settings.pool_size))
        if primary not in {"", settings.dsn(service)}:
            made.primary = Primary(
                await stack.enter_async_context(opened(f"{name}-primary", primary, settings.pool_size, "primary")),
                # Of its own, so that no position waits for a slow search.
                await stack.enter_async_context(_log(opened(f"{name}-log", primary, 1, "primary"))),
            )
        yield made


@asynccontextmanager
async def _opened(
    settings: Settings, service: str, plan_once: bool, name: str, dsn: str, size: int, wanted: str | None = None
) -> AsyncIterator[Pool]:
    """Up to so many connections to one database, of a server of the `wanted` kind."""

    async def begun(session: Any) -> None:
        await check(session)
        session.longest = session.limit = settings.deadline

    made = Pool(
        dsn,
        connection_class=Session,
        record_class=Record,
        loop=None,
        init=begun,
        setup=None,
        min_size=0,
        max_size=size,
        max_queries=50_000,
        timeout=CONNECTING,
        max_inactive_connection_lifetime=60,
        reset=_as_it_was,
        target_session_attrs=wanted,
        server_settings={
            "application_name": f"classis-{service}",
            "default_transaction_read_only": "on",
            "statement_timeout": str(round(settings.deadline * 1000)),
            "plan_cache_mode": "force_generic_plan" if plan_once else "force_custom_plan",
            "client_connection_check_interval": "1s",
            "tcp_keepalives_idle": "5",  # a client that vanished without a word leaves no session behind
            "tcp_keepalives_interval": "2",
            "tcp_keepalives_count": "3",
            "jit": "off",
            "parallel_setup_cost": "5000",  # to start workers takes some 10 ms, not the 3 that the default stands for
            "TimeZone": "UTC",
        },
    )
    made.answered = asyncio.Event()
    metrics.POOL.labels(name, "open").set_function(made.get_size)
    metrics.POOL.labels(name, "idle").set_function(made.get_idle_size)
    try:
        yield await made
    finally:
        try:
            await asyncio.wait_for(made.close(), CLOSING)
        except TimeoutError:
            made.terminate()


async def check(session: Any) -> None:
    """Raises InterfaceError when somebody between us and Postgres has dropped what a session was to be set to.

    A pooler does so when told to ignore it, and then hands our statements to sessions that are not ours.
    """
    if await session.fetchval("SHOW plan_cache_mode") == "auto":
        raise asyncpg.InterfaceError(POOLER)


async def _as_it_was(session: Any) -> None:
    """Between two uses nothing is reset, unless the last one was given up: between preparing a statement and executing
    it the server is left in a transaction, whose locks stay and whose time limit hits the next user.
    """
    if session.interrupted:
        await session.execute("ROLLBACK")
        session.interrupted = False


async def fetch(pool: Pool, statement: str, arguments: Sequence[Any], within: float) -> list[Record]:
    """The rows of one statement, in at most `within` seconds, the wait for a connection included.

    Raises Unacceptable, DeadlineSpent or DatabaseDown.
    """
    return await using(pool, within, lambda borrowed: borrowed.fetch(statement, *arguments))


async def using(pool: Pool, within: float, work: Callable[[Connection], Awaitable[T]]) -> T:
    """What `work` gives on a connection; on the primary's, when a replica breaks it off. Raises what `fetch` raises."""
    until = monotonic() + within
    try:
        async with connection(pool, within) as borrowed:
            return await work(borrowed)
    except DatabaseDown as error:
        if pool.primary is None or not isinstance(error.__cause__, BROKEN_OFF):
            raise
    metrics.FRESHNESS.labels("primary").inc()
    async with connection(pool.primary.pool, until - monotonic()) as borrowed:
        return await work(borrowed)


@asynccontextmanager
async def snapshot(pool: Pool, within: float) -> AsyncIterator[Connection]:
    """A connection whose statements all see the database as it was at the first of them. Raises what `fetch` raises."""
    async with connection(pool, within) as borrowed, borrowed.transaction(isolation="repeatable_read", readonly=True):
        yield borrowed


@asynccontextmanager
async def connection(pool: Pool, within: float) -> AsyncIterator[Connection]:
    """A connection for at most `within` seconds, the wait for it included. Raises what `fetch` raises."""
    began, outcome = monotonic(), "Cancelled"
    try:
        with tracing.span("postgres", kind="client", **{"db.system.name": "postgresql"}):
            borrowing = _borrowed if pool.primary is None else _current
            async with asyncio.timeout(within), borrowing(pool, within) as borrowed:
                yield borrowed
        outcome = "ok"
        pool.answered.set()
    except (TimeoutError, asyncpg.QueryCanceledError) as error:
        outcome = "DeadlineSpent"
        raise DeadlineSpent(f"Postgres did not answer within {within:.1f} s") from error
    except (asyncpg.DataError, UnicodeEncodeError, OverflowError) as error:
        outcome = "Unacceptable"
        raise Unacceptable(str(error)) from error
    except TROUBLE as error:
        outcome = "DatabaseDown"
        raise DatabaseDown(f"{type(error).__name__}: {error}") from error
    finally:
        metrics.QUERIES.labels(outcome).observe(monotonic() - began)


@asynccontextmanager
async def _borrowed(pool: Pool, within: float) -> AsyncIterator[Connection]:
    borrowed = await pool.acquire(timeout=within)
    try:
        await cast(Session, borrowed).bound(within)
        yield borrowed
    except BaseException:
        with suppress(AttributeError):  # the connection has gone, and its proxy is empty
            cast(Session, borrowed).interrupt()
        raise
    finally:
        await pool.release(borrowed, timeout=RELEASING)


@asynccontextmanager
async def _current(pool: Pool, within: float) -> AsyncIterator[Connection]:
    """A replica's connection, or one to the primary while the replica lacks what that had when this began."""
    primary = cast(Primary, pool.primary)
    asked = primary.log.asked()  # while a connection is being acquired
    async with _borrowed(pool, within) as borrowed:
        await asyncio.wait([asked])
        outcome = await replicas.catching_up(borrowed, asked.result(), within)
        metrics.FRESHNESS.labels(outcome).inc()
        if outcome != "primary":
            yield borrowed
            return
    async with _borrowed(primary.pool, within) as borrowed:
        yield borrowed


@asynccontextmanager
async def _log(opened: AbstractAsyncContextManager[Pool]) -> AsyncIterator[replicas.Log]:
    """The primary's log, and a connection to ask for its position."""
    async with opened as pool, replicas.log(partial(_position, pool)) as log:
        yield log


async def _position(pool: Pool) -> replicas.Position:
    try:
        async with asyncio.timeout(CONNECTING), _borrowed(pool, CONNECTING) as borrowed:
            [record] = await borrowed.fetch(replicas.POSITION)
            return replicas.Position(*record)
    except TROUBLE as error:
        raise ConnectionError(f"the primary does not tell where its log is: {error!r}") from error
