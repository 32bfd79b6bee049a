"""`classis doctor` on installations that are well, and on some of each kind that are not."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

import shared
from services import embedded
from services.doctor import examined, indexes, places, report
from services.doctor import replica as replicas
from services.doctor.places import SERVICES
from services.doctor.report import Finding, Subject
from services.seed import seed
from shared import bus, discovery
from shared.contract import FLOWS, Keys
from shared.settings import Settings
from tests import secured
from tests.conftest import SCHEMA, folder
from tests.fleet import ROOT, free_port, process
from tests.poolers import pooler
from tests.replica import PRIMARY, replica
from tests.secured import PASSWORDS
from tests.servers import database

PASSWORD = "for the test only"
NOBODY = "nats://127.0.0.1:1"
ROLES = (SCHEMA.parent / "readonly.sql").read_text()


class Found:
    """What the doctor found: its findings by subject."""

    def __init__(self, subjects: list[Subject]) -> None:
        self.subjects = {subject.title: subject.findings for subject in subjects}
        self.failed = report.failed(subjects)
        self.text = "\n".join(report.as_table(subjects))

    def bad(self, title: str) -> list[Finding]:
        return [finding for finding in self.subjects[title] if finding.mark in {"warning", "FAILED"}]

    def one(self, title: str, text: str) -> Finding:
        """The one finding of a subject that says this."""
        [found] = [finding for finding in self.subjects[title] if text in f"{finding.about}: {finding.text}"]
        assert found.mark == "ok" or found.next, found
        return found


async def doctor(replicas: int = 2, role: str = "", **settings: Any) -> Found:
    settings = {"nats_url": NOBODY, **settings}
    return Found(await examined(Settings(**settings), replicas, role))


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[Any]:
    made = await asyncpg.connect(dsn)
    try:
        yield made
    finally:
        await made.close()


async def told(dsn: str, *statements: str) -> None:
    async with connected(dsn) as connection:
        for statement in statements:
            await connection.execute(statement)


def as_role(dsn: str, role: str) -> str:
    place = urlsplit(dsn)
    return place._replace(netloc=f"{role}:{quote(PASSWORD)}@{place.netloc.rpartition('@')[2]}").geturl()


def as_roles(dsn: str) -> dict[str, Any]:
    """The settings of services that each log in as themselves."""
    return {f"{service}_postgres_dsn": as_role(dsn, f"classis_{service}") for service in SERVICES}


PASSWORDS_OF_ROLES = [f"ALTER ROLE classis_{service} PASSWORD '{PASSWORD}'" for service in SERVICES]


@pytest.fixture(scope="module")
async def well(postgres_dsn: str) -> str:
    """A database as it should be, of some size, with the roles of deploy/readonly.sql."""
    made = await database(postgres_dsn, "doctor_well", SCHEMA.read_text())
    await seed(made, deployments=30, flow_runs=300, task_runs=900, progress=False)
    await told(made, ROLES, *PASSWORDS_OF_ROLES)
    return made


@pytest.fixture
async def ill(postgres_dsn: str) -> str:
    """An empty database of the test's own, as it should be yet."""
    made = await database(postgres_dsn, "doctor_ill", SCHEMA.read_text())
    await told(made, ROLES, *PASSWORDS_OF_ROLES)
    return made


# --- a database that is well


async def test_what_is_well_is_said_to_be(well: str) -> None:
    found = await doctor(**as_roles(well), pool_size=4)
    for title in ("This machine", "Postgres", "Schema", "Indexes", "Connections", "Replicas"):
        assert found.bad(title) == [], title
    for service in SERVICES:
        assert found.one("Schema", f"{service}: may read all that").mark == "ok"
    assert found.one("Schema", "schema revision d4a7e1c93f52, of Prefect 3.8.8").mark == "ok"
    assert found.one("Postgres", "the role classis_runs cannot write")
    assert found.one("Postgres", "the clocks agree")
    assert "task_run 900" in found.one("Indexes", "rows, by the planner").text
    assert found.one("Connections", "up to 40 connections").mark == "ok"


async def test_the_revision_is_told_by_whoever_may_read_it(ill: str) -> None:
    await told(ill, *(f"REVOKE ALL ON alembic_version FROM classis_{service}" for service in SERVICES))
    found = await doctor(**as_roles(ill))
    assert found.one("Schema", "may not read Prefect's schema revision").mark == "note"
    assert not found.bad("Schema")
    found = await doctor(**{**as_roles(ill), "runs_postgres_dsn": ill})
    assert found.one("Schema", "schema revision d4a7e1c93f52").mark == "ok"


async def test_each_role_may_know_which_cluster_it_is_on(ill: str) -> None:
    """Without that, a primary and another server cannot be told apart."""
    tried = await places.reached(Settings(**as_roles(ill)))
    assert all(isinstance(place, places.Place) and place.cluster for place in tried.values())
    for place in tried.values():
        assert isinstance(place, places.Place)
        place.connection.terminate()


# --- schema and rights


async def test_a_table_that_may_not_be_read(ill: str) -> None:
    await told(ill, "REVOKE SELECT ON task_run FROM classis_runs")
    found = await doctor(**as_roles(ill))
    [failed] = found.bad("Schema")
    assert (failed.mark, failed.about) == ("FAILED", "runs")
    assert "permission denied for table task_run" in failed.text
    assert "deploy/readonly.sql" in failed.next


@pytest.mark.parametrize(
    ("change", "service", "text"),
    [
        ("ALTER TABLE flow_run DROP COLUMN created_by CASCADE", "runs", "created_by does not exist"),
        ("ALTER TABLE deployment DROP COLUMN labels", "deployments", "labels does not exist"),
        ("ALTER TABLE task_run RENAME TO task_runs", "runs", '"task_run" does not exist'),
        ("ALTER TYPE state_type RENAME TO kind_of_state", "runs", '"state_type[]" does not exist'),
        ("ALTER TABLE work_pool ALTER name TYPE jsonb USING '1'::jsonb", "work_pools", "operator does not exist"),
    ],
)
async def test_a_schema_that_cannot_be_read(ill: str, change: str, service: str, text: str) -> None:
    await told(ill, change)
    found = await doctor(postgres_dsn=ill)
    failed = [finding for finding in found.bad("Schema") if finding.about == service]
    assert any(finding.mark == "FAILED" and text in finding.text for finding in failed), found.text
    assert "3.8.8" in failed[0].next


async def test_an_unknown_revision_that_can_be_read_is_a_warning(ill: str) -> None:
    await told(ill, "UPDATE alembic_version SET version_num = '0123456789ab'")
    found = await doctor(postgres_dsn=ill)
    assert [finding.mark for finding in found.bad("Schema")] == ["warning"]
    assert found.one("Schema", "schema revision 0123456789ab is not known here")


async def test_no_revision_at_all_is_a_warning(ill: str) -> None:
    await told(ill, "DROP TABLE alembic_version")
    assert (await doctor(postgres_dsn=ill)).one("Schema", "no table alembic_version").mark == "warning"


async def test_a_database_of_something_else(postgres_dsn: str) -> None:
    other = await database(postgres_dsn, "doctor_other", "CREATE TABLE x ()")
    found = await doctor(postgres_dsn=other)
    assert {finding.about for finding in found.bad("Schema") if finding.mark == "FAILED"} == set(SERVICES)
    assert found.one("Indexes", "none of the tables is there")


async def test_tokens_are_looked_for_where_they_are_asked_for(ill: str) -> None:
    assert not (await doctor(**as_roles(ill), csrf_protection_enabled=True)).bad("Schema")
    await told(ill, "REVOKE ALL ON csrf_token FROM classis_deployments")
    found = await doctor(**as_roles(ill), csrf_protection_enabled=True)
    assert found.one("Schema", "permission denied for table csrf_token").about == "deployments"
    await told(ill, "ALTER TABLE csrf_token RENAME client TO who")
    found = await doctor(postgres_dsn=ill, csrf_protection_enabled=True)
    assert found.one("Schema", '"client" does not exist').mark == "FAILED"
    assert not (await doctor(postgres_dsn=ill)).bad("Schema")


async def test_more_rights_than_needed(ill: str) -> None:
    assert "superuser" in (await doctor(postgres_dsn=ill)).one("Postgres", "more rights than needed").text
    await told(ill, "GRANT INSERT ON flow, flow_run TO classis_flows")
    [warning] = (await doctor(**as_roles(ill))).bad("Postgres")
    assert (warning.mark, warning.about) == ("warning", "flows")
    assert "may write to flow, flow_run: more" in warning.text


# --- indexes


MANY = "UPDATE pg_class SET reltuples = 1e6 WHERE relname IN ('deployment', 'flow_run')"


async def missing(dsn: str) -> list[Finding]:
    found = await doctor(postgres_dsn=dsn)
    return [finding for finding in found.subjects["Indexes"] if finding.next]


async def test_the_indexes_that_pay_are_a_remark_on_a_small_database_and_a_warning_on_a_large_one(ill: str) -> None:
    [small] = await missing(ill)
    assert (small.mark, small.text.split()[0]) == ("note", "4")
    await told(ill, MANY)
    large = await missing(ill)
    assert [finding.mark for finding in large] == ["warning"] * 4
    assert [finding.next for finding in large] == [index.statement for index in indexes.EXTRA]
    await told(ill, *(finding.next for finding in large))
    assert await missing(ill) == []


async def test_an_index_counts_by_what_it_is(ill: str) -> None:
    await told(
        ill,
        "CREATE INDEX mine ON deployment (name, id, paused)",
        "CREATE INDEX yours ON flow_run (deployment_id, state_type, id)",
        "CREATE INDEX classis_flow_run_tags ON flow_run USING gin (tags jsonb_path_ops)",
        MANY,  # last: making an index counts the rows
    )
    [state, tags] = await missing(ill)
    assert "classis_flow_run_state_deployment" in state.next
    assert "classis_flow_run_tags" in tags.next


async def test_an_index_of_prefects_own_that_is_gone_or_invalid(ill: str) -> None:
    await told(
        ill,
        "DROP INDEX trgm_ix_flow_run_name",
        "DROP INDEX ix_flow_run__deployment_id",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_task_run__name'::regclass",
        "UPDATE pg_class SET reltuples = 1e6 WHERE relname = 'flow_run'",
    )
    found = await doctor(postgres_dsn=ill)
    for text, mark in (
        ("no index on flow_run (name), which Prefect's schema has: for parts of names", "warning"),
        ("no index on flow_run (deployment_id)", "warning"),
        ("ix_task_run__name on task_run is invalid", "warning"),
        ("no index on task_run (name)", "note"),
    ):
        assert found.one("Indexes", text).mark == mark
    wanted = [finding.next for finding in await missing(ill)]
    await told(ill, *(statement for statement in wanted if statement.startswith("CREATE INDEX")))
    assert [finding.text for finding in await missing(ill)] == [found.one("Indexes", "is invalid").text]


async def test_every_declared_index_can_be_made_and_is_then_seen(ill: str) -> None:
    await told(
        ill,
        *(index.statement for index in (*indexes.PREFECTS, *indexes.EXTRA)),
        "UPDATE pg_index SET indisvalid = false FROM pg_class c WHERE c.oid = indexrelid AND relname !~ '^classis_' AND relnamespace = 'public'::regnamespace",
    )
    found = await doctor(postgres_dsn=ill)
    assert f"{len(indexes.PREFECTS) + 4} of {len(indexes.PREFECTS) + 4} indexes" in found.text


async def test_a_table_that_the_planner_knows_nothing_of(ill: str) -> None:
    await told(
        ill,
        "ALTER TABLE flow SET (autovacuum_enabled = off)",
        "INSERT INTO flow (name) SELECT repeat('x', 90) || n FROM generate_series(1, 70000) n",
        "UPDATE pg_class SET reltuples = -1 WHERE relname = 'flow'",
    )
    found = await doctor(postgres_dsn=ill)
    assert found.one("Indexes", "never analyzed: flow;").next == "ANALYZE flow;"
    assert "not analyzed yet, run ANALYZE: " in found.one("Indexes", "rows, by the planner").text


# --- connections


async def room(dsn: str) -> int:
    """The connections that the server has for those who are no superusers."""
    async with connected(dsn) as connection:
        found = await connection.fetchval(
            "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
        )
    return int(found)


async def test_more_connections_than_there_are(ill: str) -> None:
    found = await doctor(replicas=1000, postgres_dsn=ill)
    assert found.one("Connections", "40000 connections").mark == "FAILED"
    found = await doctor(postgres_dsn=ill, pool_size=await room(ill) // 10)
    assert found.one("Connections", "in an update").mark == "note"


async def test_others_may_hold_what_the_fleet_needs(ill: str) -> None:
    size = await room(ill) // 5
    async with connected(ill), connected(ill), connected(ill), connected(ill), connected(ill):
        found = await doctor(replicas=1, pool_size=size, postgres_dsn=ill)
    assert found.one("Connections", "that others use now").mark == "warning"


async def test_a_role_or_database_with_a_limit_of_its_own(ill: str) -> None:
    await told(ill, "ALTER ROLE classis_runs CONNECTION LIMIT 7", "ALTER DATABASE doctor_ill CONNECTION LIMIT 35")
    try:
        found = await doctor(**as_roles(ill), pool_size=4)
    finally:
        await told(ill, "ALTER ROLE classis_runs CONNECTION LIMIT -1")
    assert found.one("Connections", "role classis_runs").mark == "FAILED"
    assert found.one("Connections", "database doctor_ill").mark == "FAILED"
    assert found.one("Connections", "server").mark == "ok"


# --- servers that are not there


async def test_a_postgres_that_is_down_is_told_and_the_rest_goes_on(well: str) -> None:
    down = f"postgresql://reader:{quote(PASSWORD)}@127.0.0.1:{free_port()}/prefect"
    found = await doctor(postgres_dsn=down, flows_postgres_dsn=as_role(well, "classis_flows"))
    assert found.failed
    assert found.one("Postgres", "runs, work_pools, deployments: cannot connect").mark == "FAILED"
    assert found.one("Schema", "flows: may read all").mark == "ok"
    assert PASSWORD not in found.text
    assert quote(PASSWORD) not in found.text


async def test_a_postgres_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "PATIENCE", 0.2)

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        found = await doctor(postgres_dsn=f"postgresql://x@127.0.0.1:{port}/x?sslmode=disable")
    assert "no answer within" in found.one("Postgres", "cannot connect").text


@pytest.mark.parametrize("ignoring", [True, False])
async def test_a_pooler_in_between_is_told(well: str, ignoring: bool) -> None:
    async with pooler(as_role(well, "classis_flows"), ignoring=ignoring) as dsn:
        found = await doctor(postgres_dsn=dsn)
    assert "PgBouncer" in found.one("Postgres", "cannot connect").text


async def test_a_wrong_password_is_told_without_it(ill: str) -> None:
    await told(ill, "ALTER ROLE classis_flows PASSWORD 'another'")
    try:
        found = await doctor(**as_roles(ill))
    finally:
        await told(ill, *PASSWORDS_OF_ROLES)
    assert found.one("Postgres", 'password authentication failed for user "classis_flows"').mark == "FAILED"
    assert quote(PASSWORD) not in found.text


async def test_a_table_that_is_locked_is_not_waited_for(ill: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration may hold it."""
    monkeypatch.setattr(places, "PATIENCE", 0.3)
    async with connected(ill) as migration, migration.transaction():
        await migration.execute("LOCK TABLE flow IN ACCESS EXCLUSIVE MODE")
        found = await doctor(postgres_dsn=ill, pool_size=4)
    assert found.one("Schema", "could not be looked at").mark == "FAILED"
    assert found.one("Connections", "server").mark == "ok"


async def test_nats_that_is_down(well: str) -> None:
    found = await doctor(postgres_dsn=well)
    assert found.one("NATS", f"{NOBODY}: cannot connect").mark == "FAILED"
    assert found.subjects["The fleet"] == []


async def test_one_of_several_nats_that_is_down_is_a_warning(well: str, nats_url: str) -> None:
    found = await doctor(postgres_dsn=well, nats_url=f"{NOBODY},{nats_url}")
    assert found.one("NATS", f"{NOBODY}: cannot connect").mark == "warning"
    assert not found.failed


# --- replicas


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[str, str]]:
    with folder() as home, embedded.postgres(home, durable=False, settings=PRIMARY) as primary:
        asyncio.run(told(primary, SCHEMA.read_text()))
        with replica(primary, home) as second:
            yield primary, second


async def test_a_replica_without_its_primary(pair: tuple[str, str]) -> None:
    found = await doctor(postgres_dsn=pair[1])
    assert not found.bad("Schema")
    assert found.one("Replicas", "searches may not see what was just written").mark == "warning"
    assert found.one("Replicas", "a replica, ").mark == "ok"


async def test_a_replica_and_its_primary(pair: tuple[str, str]) -> None:
    primary, second = pair
    found = await doctor(postgres_dsn=second, primary_postgres_dsn=primary)
    assert not found.bad("Replicas")
    assert "bytes behind" in found.one("Replicas", "a replica, ").text
    assert found.one("Replicas", "primary: the primary of the replicas")
    assert len([finding for finding in found.subjects["Schema"] if "on the primary" in finding.about]) == len(SERVICES)
    assert "up to 80 connections" in found.text
    assert "up to 90 connections" in found.text


async def test_a_replica_whose_replay_is_paused(pair: tuple[str, str]) -> None:
    primary, second = pair
    await told(second, "SELECT pg_wal_replay_pause()")
    try:
        found = await doctor(postgres_dsn=second, primary_postgres_dsn=primary)
    finally:
        await told(second, "SELECT pg_wal_replay_resume()")
    assert found.one("Replicas", "replay is paused").mark == "warning"


async def test_a_replica_that_does_not_keep_up(pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody reads there, in a transaction that keeps a lock that the replay needs."""
    primary, second = pair
    monkeypatch.setattr(replicas, "LATE", 0.2)
    await told(primary, "CREATE TABLE held ()")
    async with connected(second) as reader:
        await settled(reader, "SELECT to_regclass('held')")
        async with reader.transaction():
            await reader.execute("SELECT FROM held")
            await told(primary, "DROP TABLE held")
            found = await doctor(postgres_dsn=second, primary_postgres_dsn=primary)
    assert "still" in found.one("Replicas", "this replica was").text
    assert found.one("Replicas", "this replica was").mark == "warning"


async def settled(connection: Any, question: str) -> None:
    """Returns once a replica has the answer."""
    async with asyncio.timeout(60):
        while not await connection.fetchval(question):
            pass


async def test_a_primary_that_is_none(pair: tuple[str, str], well: str) -> None:
    primary, second = pair
    found = await doctor(postgres_dsn=primary, primary_postgres_dsn=second)
    assert found.one("Replicas", "names a replica").mark == "FAILED"
    found = await doctor(postgres_dsn=second, primary_postgres_dsn=well)
    assert found.one("Replicas", "is not the primary of what").mark == "FAILED"
    found = await doctor(
        postgres_dsn=second, primary_postgres_dsn=urlsplit(primary)._replace(path="/postgres").geturl()
    )
    assert found.one("Replicas", "names another database").mark == "FAILED"
    found = await doctor(postgres_dsn=primary, primary_postgres_dsn=primary)
    assert found.one("Replicas", "no service reads a replica").mark == "note"


# --- NATS


@pytest.fixture(scope="module")
def guarded_url() -> Iterator[str]:
    with folder() as home, secured.nats(home) as url:
        yield url


def login(user: str) -> dict[str, Any]:
    return {"nats_user": user, "nats_password": PASSWORDS[user]}


@pytest.mark.parametrize("user", secured.USERS)
async def test_a_user_suits_its_service_and_no_other(guarded_url: str, user: str) -> None:
    found = await doctor(nats_url=guarded_url, **login(user))
    assert found.one("NATS", f"these credentials suit {user}").text == f"these credentials suit {user}"
    other = "runs" if user == "flows" else "flows"
    found = await doctor(nats_url=guarded_url, role=other, **login(user))
    lacks = found.one("NATS", f"these credentials lack, of what {other} needs")
    assert lacks.mark == "FAILED"
    assert PASSWORDS[user] not in found.text


async def test_a_wrong_nats_password(guarded_url: str) -> None:
    found = await doctor(nats_url=guarded_url, nats_user="flows", nats_password="wrong#one")
    assert "authorization" in found.one("NATS", "cannot connect").text.lower()
    assert "wrong#one" not in found.text


async def test_a_user_that_is_not_up_to_date(home: Path) -> None:
    config = secured.CONFIG.replace('"classis.v1.flows.peers", "classis.v1.flows.released" ', "", 1)
    assert config != secured.CONFIG
    with secured.nats(home, config) as url:
        found = await doctor(nats_url=url, role="flows", **login("flows"))
    lacks = found.one("NATS", "these credentials lack, of what flows needs")
    assert "classis.v1.flows.peers, classis.v1.flows.released" in lacks.text


async def test_a_nats_without_users_and_with_nobody_there(nats_url: str) -> None:
    found = await doctor(nats_url=nats_url)
    assert found.one("NATS", "these credentials may do everything").mark == "note"
    assert found.one("NATS", "max_payload is 1,048,576 bytes").mark == "ok"
    assert found.one("The fleet", "nothing of the fleet runs").mark == "note"


@pytest.mark.parametrize(("size", "mark"), [(65536, "warning"), (1500, "FAILED")])
async def test_a_nats_that_takes_little(home: Path, size: int, mark: str) -> None:
    with embedded.nats(home, config=f"max_payload: {size}\nmax_control_line: 1024") as url:
        assert (await doctor(nats_url=url)).one("NATS", "max_payload").mark == mark


async def test_a_fleet_that_runs(well: str, guarded_url: str, home: Path) -> None:
    each = {service: {f"{service}_postgres_dsn": as_role(well, f"classis_{service}")} for service in SERVICES}
    with secured.ready(home, guarded_url, each, row_cache="0") as fleet:
        seen = await doctor(nats_url=guarded_url, **as_roles(well), **login("monitor"))
        unasked = seen.one("The fleet", "these credentials may not ask flows, runs, work_pools, deployments whether")
        assert (unasked.mark, "CLASSIS_NATS_USER=gateway" in unasked.next) == ("note", True)
        lonely = seen.one("The fleet", "1 replica of each")
        assert (lonely.mark, lonely.about) == ("note", "flows, runs, work_pools, deployments, gateway")
        assert seen.one("The fleet", f"versions: all are {shared.VERSION}").mark == "ok"
        assert not seen.failed

        asked = await doctor(nats_url=guarded_url, **as_roles(well), **login("gateway"))
        for service in SERVICES:
            assert asked.one("The fleet", f"{service}: answers, and reaches its database").mark == "ok"

        unversioned = asked.one("The fleet", "these credentials may not ask for versions, and whether a gateway runs")
        assert (unversioned.mark, "CLASSIS_NATS_USER=monitor" in unversioned.next) == ("note", True)

        for user in (*SERVICES, "client"):
            unseen = await doctor(nats_url=guarded_url, **as_roles(well), **login(user))
            unknown = unseen.one("The fleet", "may not ask who runs")
            assert (unknown.mark, "CLASSIS_NATS_USER=gateway" in unknown.next) == ("note", True)

        embedded.stop(fleet.processes["runs"])
        for user in ("monitor", "gateway"):
            found = await doctor(nats_url=guarded_url, **as_roles(well), **login(user))
            assert found.one("The fleet", "runs: nobody answers: searches that need it fail").mark == "FAILED"
        behind = {"upstream": f"http://127.0.0.1:{free_port()}", **login("monitor")}
        found = await doctor(nats_url=guarded_url, **as_roles(well), **behind)
        assert found.one("The fleet", "runs: nobody answers: searches that need it go to Prefect's server")


async def test_a_service_without_its_database(nats_url: str) -> None:
    settings: dict[str, Any] = {"nats_url": nats_url, "flows_postgres_dsn": f"postgresql://x@127.0.0.1:{free_port()}/x"}
    environment = {**os.environ, **{f"CLASSIS_{name.upper()}": value for name, value in settings.items()}}
    with process(["flows"], environment):
        async with asyncio.timeout(60):
            while "1 replica" not in (found := await doctor(**settings)).text:
                pass
    assert found.one("The fleet", "flows: cannot work (DatabaseDown)").mark == "FAILED"
    assert found.one("The fleet", "gateway: nobody answers").mark == "FAILED"


async def test_versions_side_by_side(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def keys(_: Any) -> Keys:
        return Keys(b"")

    settings = Settings(nats_url=nats_url)
    async with (
        bus.connect(settings, "flows") as first, first.serve(FLOWS, keys),
        bus.connect(settings, "flows") as second, second.serve(FLOWS, keys),
    ):  # fmt: skip
        await first.up(5)
        await second.up(5)
        monkeypatch.setattr(discovery, "shared", Versions("0.0.9", "0.0.9"))
        found = await doctor(nats_url=nats_url)
        assert found.one("The fleet", "the fleet is 0.0.9, this doctor is").mark == "note"
        assert found.one("The fleet", "does not listen on classis.v1.flows.ready").mark == "FAILED"
        assert found.one("The fleet", "replicas: 2 flows").mark == "ok"
        monkeypatch.setattr(discovery, "shared", Versions("0.0.8", "0.0.9"))
        found = await doctor(nats_url=nats_url)
        assert found.one("The fleet", "(0.0.8: flows; 0.0.9: flows)").mark == "warning"


class Versions:
    """The version that each next replica tells."""

    def __init__(self, *versions: str) -> None:
        self._left = list(versions)

    @property
    def VERSION(self) -> str:  # noqa: N802
        return self._left.pop()


# --- Prefect's server: its answers, as 3.8.8 gives them


def prefect(*, secret: str = "", csrf: bool = False, origins: str = "*", version: str = "3.8.8") -> web.Application:
    @web.middleware
    async def guarding(request: web.Request, handler: Any) -> web.StreamResponse:
        if csrf and request.method == "POST":
            return web.json_response({"detail": "Missing CSRF token."}, status=403)
        if secret and request.headers.get("Authorization") != f"Basic {secret}":
            return web.json_response({"exception_message": "Unauthorized"}, status=401)
        return await handler(request)  # type: ignore[no-any-return]

    async def told_version(_: web.Request) -> web.Response:
        return web.json_response(version)

    async def allow_reading(request: web.Request, response: web.StreamResponse) -> None:
        if origins in {"*", request.headers.get("Origin")}:
            response.headers["Access-Control-Allow-Origin"] = origins

    made = web.Application(middlewares=[guarding])
    made.router.add_get("/api/admin/version", told_version)
    made.on_response_prepare.append(allow_reading)
    return made


SECRET = "admin:geheim"
PACKED = "YWRtaW46Z2VoZWlt"  # the same in base64


@pytest.mark.parametrize(
    ("there", "here", "failed"),
    [
        ({}, {}, ""),
        ({"secret": PACKED}, {"api_auth_string": SECRET}, ""),
        ({"csrf": True}, {"csrf_protection_enabled": True}, ""),
        ({"secret": PACKED, "csrf": True}, {"api_auth_string": SECRET, "csrf_protection_enabled": True}, ""),
        ({"secret": PACKED}, {}, "API_AUTH_STRING is not set, but the upstream answers 401"),
        ({"secret": PACKED}, {"api_auth_string": "admin:other"}, "API_AUTH_STRING is not the upstream's"),
        ({}, {"api_auth_string": SECRET}, "API_AUTH_STRING is set, but the upstream lets everybody in"),
        ({"csrf": True}, {}, "CSRF_PROTECTION_ENABLED is not true"),
        ({}, {"csrf_protection_enabled": True}, "CSRF_PROTECTION_ENABLED is true, but"),
        ({"origins": "https://ui"}, {"cors_allowed_origins": "https://ui"}, ""),
        ({"origins": "https://ui"}, {}, "CORS_ALLOWED_ORIGINS allows any origin, but"),
        (
            {"origins": "https://ui"},
            {"cors_allowed_origins": "https://b"},
            "CORS_ALLOWED_ORIGINS allows https://b, but",
        ),
        ({}, {"cors_allowed_origins": "https://ui"}, "CORS_ALLOWED_ORIGINS names origins, but"),
        ({"version": "<html>" * 20}, {}, "not with a version"),
        ({"version": "<HTML><BODY>"}, {}, "not with a version"),
    ],
)
async def test_doors_are_guarded_alike_or_not(there: dict[str, Any], here: dict[str, Any], failed: str) -> None:
    async with TestServer(prefect(**there)) as server:
        found = await doctor(upstream=str(server.make_url("")).rstrip("/"), **here)
    if failed:
        assert found.one("Prefect's server", failed).mark == "FAILED"
    else:
        assert found.bad("Prefect's server") == []
    assert "geheim" not in found.text


async def test_a_size_of_pages_that_is_not_told_is_a_note() -> None:
    async with TestServer(prefect()) as server:
        found = await doctor(upstream=str(server.make_url("")).rstrip("/"))
    assert found.one("Prefect's server", "/api/admin/settings").mark == "note"


async def test_another_version_of_prefect_is_a_warning() -> None:
    async with TestServer(prefect(version="3.9.0")) as server:
        found = await doctor(upstream=str(server.make_url("")).rstrip("/"))
    assert found.one("Prefect's server", "Prefect 3.9.0").mark == "warning"


async def test_an_upstream_that_is_down_or_not_prefect() -> None:
    found = await doctor(upstream=f"http://127.0.0.1:{free_port()}")
    assert found.one("Prefect's server", "does not answer").mark == "FAILED"
    async with TestServer(web.Application()) as server:
        found = await doctor(upstream=str(server.make_url("")).rstrip("/"))
    assert found.one("Prefect's server", "status 404").mark == "FAILED"


# --- the command


def command(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CLASSIS_")}
    environment |= {f"CLASSIS_{name.upper()}": value for name, value in settings.items()}
    return subprocess.run(
        [sys.executable, "-m", "services", "doctor", *arguments],
        env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_the_exit_code_tells_whether_something_failed(well: str, nats_url: str) -> None:
    done = command(postgres_dsn=well, nats_url=nats_url)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Postgres\n  ok " in done.stdout
    assert "\x1b" not in done.stdout
    done = command("--json", "--replicas", "1000", postgres_dsn=well, nats_url=nats_url)
    assert (done.returncode, done.stderr) == (1, "")
    assert json.loads(done.stdout)["failed"] is True


def test_what_is_not_named_is_said_not_to_be() -> None:
    """Something may listen at the usual ports of this machine."""
    said = command().stdout
    assert "CLASSIS_POSTGRES_DSN is not set" in said or "Schema\n" in said
    assert "no NATS is named" in said or "nats-server" in said


def test_nothing_that_is_missing_makes_it_stumble() -> None:
    done = command(postgres_dsn=f"postgresql://x:{quote(PASSWORD)}@127.0.0.1:{free_port()}/x", nats_url=NOBODY)
    assert (done.returncode, done.stderr) == (1, "")
    assert quote(PASSWORD) not in done.stdout


def test_wrong_settings_and_options_end_it_otherwise(home: Path) -> None:
    for settings in ({"port": "x"}, {"postgres_dsn": "nonsense"}, {"nats_credentials": str(home / "none")}):
        done = command(**settings)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("classis: CLASSIS_")
    assert command("--replicas", "0").returncode == 2
    assert "exit code" in command("--help").stdout
    assert command("--indexes").stdout == indexes.document()
