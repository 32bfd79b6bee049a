"""The engine of a leg's service: a declaration goes in, a serving process comes out.

It answers on NATS at once, whether or not its database does. Until that has been read for the first time it is tried
again and again, and the process is not ready: a replica that cannot read its database replaces none that can. Later
nothing of the kind counts, for a database that is away must not take all replicas out.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from shared import bus, metrics, postgres, readiness
from shared.contract import KEY_SIZE, READY, Call, Endpoint, Keys, Readiness, Ready
from shared.errors import FleetError
from shared.settings import PREFIX, Settings
from shared.sql import Arguments, Table, where

log = logging.getLogger(__name__)

AGAIN = 1.0  # seconds between two attempts to read the database for the first time
TRYING = 5.0  # seconds for one

Answers = Mapping[Endpoint[Any, Any], Callable[[Any], Awaitable[Any]]]
Statements = Sequence[tuple[str, Sequence[Any]]]  # with their arguments


@dataclass(frozen=True)
class Entity:
    """A leg: its endpoint, the table behind each filter of the request, and the statement that gives the keys.

    `statement` holds a `{filter}` for each filter's condition and selects one uuid column, `id`.
    """

    endpoint: Endpoint[Any, Keys]
    tables: Mapping[str, Table]
    statement: str


PACKED = "SELECT string_agg(uuid_send(found.id), ''::bytea) FROM ({statement}) found"  # 16 bytes an id, no row each


def select(entity: Entity, request: Call) -> tuple[str, Arguments]:
    """The statement that answers a request, and its arguments. Pure."""
    arguments = Arguments()
    conditions = {name: where(getattr(request, name), table, arguments) for name, table in entity.tables.items()}
    return PACKED.format(statement=entity.statement.format(**conditions)), arguments


@asynccontextmanager
async def serving(entity: Entity, settings: Settings) -> AsyncIterator[None]:
    """A leg's service, from its connections to its last answer."""
    found = metrics.ROWS.labels(entity.endpoint.service)
    everything = entity.statement.format(**dict.fromkeys(entity.tables, "true"))
    async with postgres.pool(settings, entity.endpoint.service) as pool:

        async def keys(request: Call) -> Keys:
            statement, arguments = select(entity, request)
            [record] = await postgres.fetch(pool, statement, arguments, request.within)
            packed = record[0] or b""
            found.inc(len(packed) // KEY_SIZE)
            return Keys(packed)

        async with served(settings, pool, entity.endpoint.service, {entity.endpoint: keys}, [(everything, ())]):
            yield


@asynccontextmanager
async def served(
    settings: Settings, pool: postgres.Pool, service: str, answers: Answers, statements: Statements
) -> AsyncIterator[None]:
    """Serves endpoints, and the service's readiness, on a connection to NATS of their own.

    `statements` name all that the service reads; until the database has answered, they are what it is tried with.
    """

    async def ready(request: Readiness) -> Ready:
        if pool.answered.is_set():
            await postgres.fetch(pool, "SELECT 1", (), request.within)
        else:
            await _planned(pool, statements, request.within)
        return Ready()

    async with bus.connect(settings, service) as line, AsyncExitStack() as stack:
        stack.enter_context(readiness.needed(f"database for {service}", pool.answered.is_set))
        for endpoint, answer in {**answers, READY[service]: ready}.items():
            await stack.enter_async_context(line.serve(endpoint, answer))
        await stack.enter_async_context(beside(_tried(settings, pool, service, statements)))
        yield


async def _tried(settings: Settings, pool: postgres.Pool, service: str, statements: Statements) -> None:
    """Tries until the database has answered, be it a search. Each kind of trouble is told once."""
    told = set[str]()
    while not pool.answered.is_set():
        try:
            await _planned(pool, statements, TRYING)
        except FleetError as error:
            trouble = " ".join(str(error).split())
            if trouble not in told:
                log.warning("%s cannot read its database (%s): %s", service, _variables(settings, service), trouble)
            told.add(trouble)
            await asyncio.sleep(AGAIN)
    log.info("%s reads its database", service)


async def _planned(pool: postgres.Pool, statements: Statements, within: float) -> None:
    """Has the statements planned, which needs each table, column and right that they name, and reads no row."""

    async def plan(connection: postgres.Connection) -> None:
        for statement, arguments in statements:
            await connection.fetch(f"EXPLAIN {statement}", *arguments)

    await postgres.using(pool, within, plan)


def _variables(settings: Settings, service: str) -> str:
    """The settings that name a service's database; never what they say, which holds passwords."""
    own = f"{service}_postgres_dsn"
    names = [own if getattr(settings, own) else "postgres_dsn"]
    if settings.primary_postgres_dsn:
        names.append("primary_postgres_dsn")
    return " or ".join(f"{PREFIX}{name.upper()}" for name in names)


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Does other work while the block runs, and no longer."""
    task = asyncio.create_task(work)
    task.add_done_callback(_ended)
    try:
        yield
    finally:
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=1)


def _ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("work beside a service ended by a mistake of ours", exc_info=error)
