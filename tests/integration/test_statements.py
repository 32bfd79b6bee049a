"""Every term of the declared grammar becomes a statement that Postgres accepts: a new field is covered by existing."""

import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from services import flows, work_pools
from services.deployments import statements as pages
from services.gateway import decode
from services.gateway.plan import plan
from services.runs import select as runs
from shared.contract import FLOWS, WORK_POOLS, RunLeg
from shared.entity import select
from shared.filters import Filter
from tests import declared

ENTITIES = {FLOWS: flows.ENTITY, WORK_POOLS: work_pools.ENTITY}
SEARCHES = [pytest.param(body, id=f"{path}={json.dumps(body)[-24:]}") for path, body in declared.searches()]


@pytest.fixture(scope="module")
async def connection(postgres_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    made = await asyncpg.connect(postgres_dsn)
    yield made
    await made.close()


def statements(body: dict[str, Any]) -> list[tuple[str, list[Any]]]:
    search = decode.settled(decode.read(Filter, json.dumps(body).encode(), 200), 200)
    legs, selection = plan(search, 200)
    found = [select(ENTITIES[endpoint], leg) for endpoint, leg in legs.values()]
    if isinstance(selection, RunLeg):
        return [*found, *(runs.question(selection).statement(strategy) for strategy in runs.OWNS)]
    return [*found, pages.page(selection), pages.count(selection)]


@pytest.mark.parametrize("body", SEARCHES)
async def test_every_term_is_a_statement(connection: asyncpg.Connection, body: dict[str, Any]) -> None:
    for statement, arguments in statements(body):
        await connection.fetch(statement, *arguments)


@pytest.mark.parametrize("body", SEARCHES)
def test_a_value_is_bound_and_never_written_into_the_statement(body: dict[str, Any]) -> None:
    for statement, arguments in statements(body):
        assert len(arguments) == len(
            {word.split("::")[0] for word in statement.replace("(", " ").split() if "$" in word}
        )
        assert "00000000-0000" not in statement
        assert "'text'" not in statement


def texts(body: dict[str, Any]) -> list[str]:
    return [statement for statement, _ in statements(body)]


def test_every_term_has_a_say_but_the_ignored_ones() -> None:
    nothing = [texts({}), *(texts({entity: {}}) for entity in ("flows", "flow_runs", "task_runs", "work_pools"))]
    silent = {path for path, body in declared.searches() if texts(body) in nothing}
    assert silent == {f"deployments.concurrency_limit.{term}" for term in ("ge_", "le_", "is_null_")}
