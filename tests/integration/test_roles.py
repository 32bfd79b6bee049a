"""deploy/readonly.sql: each service's role may read what the service reads, and nothing else."""

import asyncio
import json
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import asyncpg
import pytest
from asyncpg import InsufficientPrivilegeError, ReadOnlySQLTransactionError

from services import flows, work_pools
from services.deployments import csrf, statements
from services.gateway import decode
from services.gateway.plan import plan
from services.runs.select import OWNS, question
from services.seed import seed
from shared.contract import CSRF, FLOWS, PAGE, RUNS, SERVICES, WORK_POOLS, RunLeg
from shared.entity import select
from shared.filters import Filter
from tests import declared, secured
from tests.conftest import SCHEMA
from tests.servers import database

SCRIPT = (SCHEMA.parent / "readonly.sql").read_text()
READERS = SERVICES[:-1]
ENTITIES = {FLOWS: flows.ENTITY, WORK_POOLS: work_pools.ENTITY}
PASSWORD = "for the test only"
READS = {
    "flows": {"flow"},
    "work_pools": {"work_pool", "work_queue"},
    "runs": {"flow_run", "task_run", "deployment", "flow"},
    "deployments": {"deployment", "deployment_schedule", "concurrency_limit_v2", "flow", "work_queue", "work_pool"},
}
REVISION = "alembic_version"  # which all may read
TOKEN = {"prefect-csrf-token": "a" * 64, "prefect-csrf-client": "roles"}
DSN = Callable[[str], str]


@pytest.fixture(scope="module")
async def admin_dsn(postgres_dsn: str) -> str:
    """A seeded database with the roles, made twice: the script may be run again."""
    made = await database(postgres_dsn, "roles", SCHEMA.read_text())
    await seed(made, deployments=30, flow_runs=300, task_runs=900, progress=False)
    async with connected(made) as admin:
        await admin.execute("CREATE TABLE of_somebody_else (secret text)")
        await admin.execute(SCRIPT)
        await admin.execute("GRANT ALL ON task_run TO classis_flows")  # as an earlier version might have
        await admin.execute(SCRIPT)
        await admin.execute(
            "INSERT INTO csrf_token (token, client, expiration) VALUES ($1, $2, 'infinity')", *TOKEN.values()
        )
        for service in READERS:
            await admin.execute(f"ALTER ROLE classis_{service} PASSWORD '{PASSWORD}'")
    return made


@pytest.fixture(scope="module")
def dsn(admin_dsn: str) -> DSN:
    """The DSN of a service's role."""
    place = urlsplit(admin_dsn)

    def made(service: str) -> str:
        login = f"classis_{service}:{quote(PASSWORD)}"
        return place._replace(netloc=f"{login}@{place.netloc.rpartition('@')[2]}").geturl()

    return made


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[Any]:
    made = await asyncpg.connect(dsn)
    try:
        yield made
    finally:
        await made.close()


async def test_every_statement_of_a_service_runs_as_its_role(dsn: DSN) -> None:
    found = Counter[str]()
    async with AsyncExitStack() as stack:
        lines = {name: await stack.enter_async_context(connected(dsn(name))) for name in READERS}
        for _, body in declared.searches():
            for service, statement, arguments in asked(body):
                await lines[service].fetch(statement, *arguments)
                found[service] += 1
    assert all(found[service] > 5 for service in READERS)


def asked(body: dict[str, Any]) -> Iterator[tuple[str, str, list[Any]]]:
    """What a search asks Postgres, by service."""
    legs, selection = plan(decode.settled(decode.read(Filter, json.dumps(body).encode(), 200), 200), 200)
    for endpoint, leg in legs.values():
        yield endpoint.service, *select(ENTITIES[endpoint], leg)
    if isinstance(selection, RunLeg):
        for strategy in OWNS:
            yield RUNS.service, *question(selection).statement(strategy)
    else:
        yield PAGE.service, *statements.page(selection)
        yield PAGE.service, *statements.count(selection)


async def test_a_fleet_of_roles_answers(dsn: DSN, nats_url: str, home: Path) -> None:
    """Every endpoint: legs, both kinds of pages, single deployments by both of their names, and CSRF tokens."""
    everything: dict[str, Any] = {
        name: {} for name in ("flows", "flow_runs", "task_runs", "work_pools", "work_pool_queues", "deployments")
    }
    each = {service: {f"{service}_postgres_dsn": dsn(service)} for service in READERS}
    each["gateway"] = {"csrf_protection_enabled": "true"}
    with secured.ready(home, nats_url, each, postgres_dsn="postgresql://nobody@127.0.0.1:1/none") as fleet:
        for search in ({}, everything):
            [found, *_] = await asyncio.to_thread(posted, f"{fleet.url}/api/deployments/filter", search)
        assert (await asyncio.to_thread(posted, f"{fleet.url}/api/deployments/paginate", everything))["count"] > 0
        assert await asyncio.to_thread(posted, f"{fleet.url}/api/deployments/count", {}) == 30
        assert (await asyncio.to_thread(posted, f"{fleet.url}/api/deployments/{found['id']}"))["id"] == found["id"]
        async with connected(dsn("flows")) as connection:
            flow = quote(await connection.fetchval("SELECT name FROM flow WHERE id = $1", found["flow_id"]))
        named = f"{fleet.url}/api/deployments/name/{flow}/{quote(found['name'])}"
        assert (await asyncio.to_thread(posted, named))["id"] == found["id"]


def posted(url: str, search: dict[str, Any] | None = None) -> Any:
    body = None if search is None else json.dumps(search).encode()
    headers = {"content-type": "application/json", **TOKEN}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=20) as answer:
        return json.load(answer)


@pytest.mark.parametrize("service", READERS)
async def test_a_role_reads_its_tables_and_no_others(admin_dsn: str, dsn: DSN, service: str) -> None:
    async with connected(admin_dsn) as admin:
        relations = await admin.fetch(
            """SELECT oid::regclass::text AS name FROM pg_class
                WHERE relkind IN ('r', 'v', 'm', 'p', 'f', 'S') AND relnamespace = current_schema()::regnamespace"""
        )
    readable = set()
    async with connected(dsn(service)) as connection:
        for name in (relation["name"] for relation in relations):
            try:
                await connection.fetch(f"SELECT * FROM {name} LIMIT 1")
                readable.add(name)
            except InsufficientPrivilegeError:
                pass
    assert "of_somebody_else" in {relation["name"] for relation in relations}
    assert readable == READS[service] | {REVISION}


async def test_tokens_are_for_the_service_that_compares_them(dsn: DSN) -> None:
    for service in READERS:
        async with connected(dsn(service)) as connection:
            for column in ("id", "created", "updated"):
                with pytest.raises(InsufficientPrivilegeError):
                    await connection.fetch(f"SELECT {column} FROM csrf_token")
            if service == CSRF.service:
                assert [token for [token] in await connection.fetch(csrf.GIVEN, "roles")] == ["a" * 64]
                continue
            with pytest.raises(InsufficientPrivilegeError):
                await connection.fetch(csrf.GIVEN, "roles")


CHANGES = (
    "INSERT INTO {table} SELECT * FROM {table} LIMIT 1",
    "UPDATE {table} SET name = 'x'",
    "DELETE FROM {table}",
    "TRUNCATE {table}",
    "DROP TABLE {table}",
    "ALTER TABLE {table} ADD x int",
    "CREATE INDEX ON {table} (id)",
    "DO $$BEGIN LOCK TABLE {table}; END$$",
    "SELECT * FROM {table} FOR UPDATE",
    "CREATE SCHEMA mine",
    "CREATE ROLE mine",
    "COPY {table} TO PROGRAM 'true'",
    "ALTER SYSTEM SET work_mem = '1GB'",
)


@pytest.mark.parametrize("service", READERS)
async def test_a_role_changes_nothing_even_when_it_asks_for_it(dsn: DSN, service: str) -> None:
    table = min(READS[service] - {"concurrency_limit_v2"})
    async with connected(dsn(service)) as connection:
        major = connection.get_server_version().major
        create = () if major < 15 else ("CREATE TABLE mine ()", "CREATE TYPE mine AS ENUM ()")
        for change in (*CHANGES, *create):
            await connection.execute("SET default_transaction_read_only = on")
            with pytest.raises((InsufficientPrivilegeError, ReadOnlySQLTransactionError)):
                await connection.execute(change.format(table=table))
            await connection.execute("SET default_transaction_read_only = off")
            with pytest.raises(InsufficientPrivilegeError):
                await connection.execute(change.format(table=table))


async def test_a_role_is_bounded_before_the_service_says_so(dsn: DSN) -> None:
    async with connected(dsn("runs")) as connection:
        assert await connection.fetchval("SHOW default_transaction_read_only") == "on"
        assert await connection.fetchval("SHOW statement_timeout") == "1min"
        [role] = await connection.fetch("SELECT * FROM pg_roles WHERE rolname = current_user")
        assert not any(
            role[power] for power in ("rolsuper", "rolcreaterole", "rolcreatedb", "rolreplication", "rolbypassrls")
        )
