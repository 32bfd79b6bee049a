"""Demo data: the same rows each time, skewed, with the characters that matter, and only into an empty database."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from services import seed
from services.__main__ import main

SCHEMA = Path(__file__).parents[2] / "deploy" / "schema.sql"
DEPLOYMENTS, FLOW_RUNS, TASK_RUNS = 300, 3_000, 9_000
load = partial(seed.seed, deployments=DEPLOYMENTS, flow_runs=FLOW_RUNS, task_runs=TASK_RUNS, progress=False)


@asynccontextmanager
async def database(server: str, name: str) -> AsyncIterator[str]:
    """A database of its own with the tables and no rows."""
    admin = await asyncpg.connect(server)
    await admin.execute(f"CREATE DATABASE {name}")
    dsn = urlsplit(server)._replace(path=f"/{name}").geturl()
    connection = await asyncpg.connect(dsn)
    await connection.execute(SCHEMA.read_text())
    await connection.close()
    try:
        yield dsn
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


@pytest.fixture
async def empty(postgres_dsn: str) -> AsyncIterator[str]:
    async with database(postgres_dsn, "for_seed_empty") as dsn:
        yield dsn


@pytest.fixture(scope="module")
async def seeded(postgres_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to demo data that no test changes."""
    async with database(postgres_dsn, "for_seed_full") as dsn:
        await load(dsn)
        connection = await asyncpg.connect(dsn)
        yield connection
        await connection.close()


async def fingerprints(dsn: str) -> dict[str, str]:
    connection = await asyncpg.connect(dsn)
    digest = "SELECT md5(string_agg(t::text, chr(10) ORDER BY id)) FROM {} t"
    prints = {name: await connection.fetchval(digest.format(name)) for name in seed.TABLES}
    await connection.close()
    return prints


async def test_the_same_seed_makes_the_same_rows_and_another_makes_others(empty: str) -> None:
    await load(empty)
    first = await fingerprints(empty)
    await load(empty, force=True)
    assert await fingerprints(empty) == first
    await load(empty, seed=2, force=True)
    other = await fingerprints(empty)
    assert all(other[name] != first[name] for name in seed.TABLES)


async def test_a_test_sized_load_takes_seconds_at_most(empty: str) -> None:
    start = time.monotonic()
    await load(empty)
    assert time.monotonic() - start < 10  # well under one on an idle machine


async def test_the_sizes_are_those_asked_for(seeded: asyncpg.Connection) -> None:
    for table, size in {"deployment": DEPLOYMENTS, "flow_run": FLOW_RUNS, "task_run": TASK_RUNS}.items():
        assert await seeded.fetchval(f"SELECT count(*) FROM {table}") == size


async def test_indexes_and_foreign_keys_are_as_before(empty: str) -> None:
    connection = await asyncpg.connect(empty)
    definitions = """
        SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = ANY($1::text[]::regclass[]) AND indisvalid
        UNION ALL
        SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = ANY($1::text[]::regclass[]) ORDER BY 1"""
    before = await connection.fetch(definitions, seed.TABLES)
    await seed.seed(empty, deployments=20, flow_runs=50, task_runs=100, progress=False)
    assert await connection.fetch(definitions, seed.TABLES) == before
    assert await connection.fetchval("SELECT reltuples FROM pg_class WHERE relname = 'task_run'") == 100
    await connection.close()


@pytest.mark.parametrize("sizes", [(0, 0, 0), (1, 0, 5), (0, 7, 3), (1, 1, 1)])
async def test_tiny_sizes_load(empty: str, sizes: tuple[int, int, int]) -> None:
    await seed.seed(empty, deployments=sizes[0], flow_runs=sizes[1], task_runs=sizes[2], progress=False)


async def test_a_database_with_rows_is_refused_and_left_alone(empty: str) -> None:
    await seed.seed(empty, deployments=3, flow_runs=5, task_runs=5, progress=False)
    before = await fingerprints(empty)
    with pytest.raises(seed.SeedError, match="--force"):
        await load(empty)
    assert await fingerprints(empty) == before


async def test_a_database_without_the_tables_is_refused(empty: str) -> None:
    connection = await asyncpg.connect(empty)
    await connection.execute("DROP TABLE deployment_schedule")
    await connection.close()
    with pytest.raises(seed.SeedError, match="deployment_schedule"):
        await load(empty)


async def test_a_load_that_breaks_leaves_nothing(empty: str) -> None:
    connection = await asyncpg.connect(empty)
    await connection.execute("ALTER TABLE task_run ADD CONSTRAINT breaks CHECK (task_key NOT LIKE 'load%')")
    with pytest.raises(asyncpg.CheckViolationError):
        await load(empty)
    assert await connection.fetchval("SELECT count(*) FROM flow") == 0
    await connection.close()


async def test_runs_are_skewed_over_deployments_and_states(seeded: asyncpg.Connection) -> None:
    owners = await seeded.fetch(
        "SELECT count(*) n FROM flow_run WHERE deployment_id IS NOT NULL GROUP BY deployment_id"
    )
    counts = sorted((row["n"] for row in owners), reverse=True)
    assert counts[0] > 20 * counts[len(counts) // 2]
    bare = "SELECT count(*) FROM deployment d WHERE NOT EXISTS (SELECT FROM flow_run r WHERE r.deployment_id = d.id)"
    assert await seeded.fetchval(bare) > 0
    assert 0.02 < await seeded.fetchval("SELECT avg((deployment_id IS NULL)::int) FROM flow_run") < 0.1
    rows = await seeded.fetch("SELECT state_type, count(*) FROM flow_run GROUP BY 1")
    states = {row["state_type"]: row["count"] for row in rows}
    assert len(states) == 10  # all nine and NULL
    assert states["COMPLETED"] > 0.8 * FLOW_RUNS
    assert states["COMPLETED"] > 5 * states["FAILED"] > 5 * states["CRASHED"]
    failed = """SELECT avg((t.state_type = 'FAILED')::int) FROM task_run t JOIN flow_run r ON r.id = t.flow_run_id
                 WHERE r.state_type = $1"""
    assert await seeded.fetchval(failed, "FAILED") > 3 * await seeded.fetchval(failed, "COMPLETED")


async def test_times_fit_each_other(seeded: asyncpg.Connection) -> None:
    oldest, newest = await seeded.fetchval("SELECT ARRAY[min(start_time), max(start_time)] FROM flow_run")
    assert seed.UNTIL - timedelta(days=91) < oldest < seed.UNTIL - timedelta(days=80)
    assert seed.UNTIL - timedelta(hours=1) < newest < seed.UNTIL + timedelta(minutes=2)
    assert await seeded.fetchval("SELECT bool_and(end_time >= start_time) FROM flow_run") is True
    assert await seeded.fetchval("SELECT count(*) FROM flow_run WHERE start_time > $1", seed.UNTIL - timedelta(hours=1))
    assert await seeded.fetchval("SELECT count(*) FROM flow_run WHERE expected_start_time > $1", seed.UNTIL)
    assert await seeded.fetchval("SELECT count(*) = count(DISTINCT updated) FROM deployment") is True


async def test_a_subflow_belongs_to_a_task_of_another_run(seeded: asyncpg.Connection) -> None:
    parents = """SELECT ARRAY[count(*), count(*) FILTER (WHERE t.flow_run_id = r.id)]
                   FROM flow_run r JOIN task_run t ON t.id = r.parent_task_run_id"""
    subflows, own = await seeded.fetchval(parents)
    assert subflows > 0.02 * FLOW_RUNS
    assert own == 0


@pytest.mark.parametrize("character", ["%", "_", "\\", "'"])
@pytest.mark.parametrize("table", ["flow", "deployment", "work_pool"])
async def test_names_hold_what_breaks_naive_searches(seeded: asyncpg.Connection, table: str, character: str) -> None:
    assert await seeded.fetchval(f"SELECT count(*) FROM {table} WHERE strpos(name, $1) > 0", character) > 0


async def test_names_repeat_and_differ_as_in_life(seeded: asyncpg.Connection) -> None:
    assert await seeded.fetchval("SELECT max(n) FROM (SELECT count(*) n FROM deployment GROUP BY name) AS named") > 5
    assert await seeded.fetchval("SELECT count(*) FROM deployment WHERE name ~ '[^ -~]'") > 0
    assert await seeded.fetchval("SELECT count(*) FROM flow_run WHERE name LIKE 'needle-00%'") == 3
    folded = "SELECT max(n) FROM (SELECT count(DISTINCT name) n FROM deployment GROUP BY lower(name)) AS named"
    assert await seeded.fetchval(folded) > 1


async def test_documents_are_of_all_shapes(seeded: asyncpg.Connection) -> None:
    for column in ("labels", "parameter_openapi_schema", "pull_steps", "work_queue_id", "description", "version"):
        nulls = await seeded.fetchval(f"SELECT count(*) FROM deployment WHERE {column} IS NULL")
        assert 0 < nulls < DEPLOYMENTS, column
    assert await seeded.fetchval("SELECT max(length(parameter_openapi_schema::text)) FROM deployment") > 3_000
    texts = [row[0] for row in await seeded.fetch("SELECT parameters::text FROM deployment")]
    values = [value for text in texts for value in json.loads(text).values()]
    assert any(isinstance(value, int) and value > 2**64 for value in values)
    assert {0.1, 0.5, 1e-7} <= {value for value in values if isinstance(value, float)}
    stale = """SELECT count(*) FROM deployment d JOIN work_queue q ON q.id = d.work_queue_id
                WHERE d.work_queue_name IS DISTINCT FROM q.name"""
    assert await seeded.fetchval(stale) > 0


async def test_schedules_are_of_three_kinds_and_well_formed(seeded: asyncpg.Connection) -> None:
    rows = await seeded.fetch("SELECT schedule::text, max_scheduled_runs FROM deployment_schedule")
    schedules = [json.loads(row["schedule"]) for row in rows]
    kinds = {frozenset(schedule) for schedule in schedules}
    assert kinds == {
        frozenset({"interval", "timezone", "anchor_date"}),
        frozenset({"cron", "timezone", "day_or"}),
        frozenset({"rrule", "timezone"}),
    }
    for zone in {schedule["timezone"] for schedule in schedules} - {None}:
        ZoneInfo(zone)
    assert all(row["max_scheduled_runs"] is None or 1 <= row["max_scheduled_runs"] <= 50 for row in rows)
    numbers = """SELECT array_agg(DISTINCT n ORDER BY n) FROM (
                     SELECT count(s.id) n FROM deployment d LEFT JOIN deployment_schedule s ON s.deployment_id = d.id
                      GROUP BY d.id) AS numbered"""
    assert await seeded.fetchval(numbers) == [0, 1, 2, 3]


async def test_limits_are_named_for_their_deployments(seeded: asyncpg.Connection) -> None:
    limits = "SELECT d.id, c.name FROM deployment d JOIN concurrency_limit_v2 c ON c.id = d.concurrency_limit_id"
    rows = await seeded.fetch(limits)
    assert len(rows) > 10
    assert all(row["name"] == f"deployment:{row['id']}" for row in rows)
    assert all(isinstance(row["id"], UUID) and row["id"].version == 4 for row in rows)


def test_the_command_loads_and_says_what_is_wrong(
    postgres_dsn: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLASSIS_POSTGRES_DSN", raising=False)
    assert main(["seed"]) == 2
    assert "--dsn" in capsys.readouterr().err
    nowhere = "postgresql://classis:x@127.0.0.1:1/classis"
    assert main(["seed", "--dsn", nowhere, "--until", datetime.now(UTC).isoformat()]) == 1
    assert "classis seed:" in capsys.readouterr().err


def test_only_a_database_that_is_named_here_is_emptied(
    empty: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable is the services' own: it may name what they read."""
    monkeypatch.setenv("CLASSIS_POSTGRES_DSN", empty)
    few = ["--deployments", "2", "--flow-runs", "3", "--task-runs", "3"]
    assert main(["seed", *few]) == 0
    before = asyncio.run(fingerprints(empty))
    capsys.readouterr()
    assert main(["seed", "--force", "--seed", "2", *few]) == 2
    assert "name it with --dsn" in capsys.readouterr().err
    assert asyncio.run(fingerprints(empty)) == before
    assert main(["seed", "--force", "--seed", "2", "--dsn", empty, *few]) == 0
    assert asyncio.run(fingerprints(empty)) != before
