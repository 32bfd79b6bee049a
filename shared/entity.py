"""The engine of a leg's service: a declaration goes in, a serving process comes out."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from shared import bus, metrics, postgres
from shared.contract import KEY_SIZE, READY, Call, Endpoint, Keys, Readiness, Ready
from shared.settings import Settings
from shared.sql import Arguments, Table, where

Answers = Mapping[Endpoint[Any, Any], Callable[[Any], Awaitable[Any]]]


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
    async with postgres.pool(settings, entity.endpoint.service) as pool:

        async def keys(request: Call) -> Keys:
            statement, arguments = select(entity, request)
            [record] = await postgres.fetch(pool, statement, arguments, request.within)
            packed = record[0] or b""
            found.inc(len(packed) // KEY_SIZE)
            return Keys(packed)

        async with served(settings, pool, entity.endpoint.service, {entity.endpoint: keys}):
            yield


@asynccontextmanager
async def served(
    settings: Settings,
    pool: postgres.Pool,
    service: str,
    answers: Answers,
) -> AsyncIterator[None]:
    """Serves endpoints, and the service's readiness, on a connection to NATS of their own."""

    async def ready(request: Readiness) -> Ready:
        await postgres.fetch(pool, "SELECT 1", (), request.within)
        return Ready()

    async with bus.connect(settings, service) as line, AsyncExitStack() as stack:
        for endpoint, answer in {**answers, READY[service]: ready}.items():
            await stack.enter_async_context(line.serve(endpoint, answer))
        yield
