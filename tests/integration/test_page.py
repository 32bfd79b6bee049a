"""Pages whose rows are kept show what pages read anew show, whatever changes, and whenever it does."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest

from services.deployments import page, statements
from services.deployments.kept import Kept
from shared import postgres
from shared.contract import DeploymentById, DeploymentByName, Page, Row, Selection
from shared.filters import DeploymentFilter, Flag, Name, Sort
from shared.settings import Settings
from tests import servers
from tests.conftest import SCHEMA

WITHIN = 20.0
NUMBER = 12
ROOM = 1 << 20
ALL = Selection(limit=NUMBER, count=True, within=WITHIN)


def key(kind: int, number: int) -> str:
    return f"0000000{kind}-0000-4000-8000-{number:012d}"


FLOW, DEPLOYMENT, SCHEDULE, QUEUE, POOL, LIMIT = range(6)
FIRST = UUID(key(DEPLOYMENT, 0))
SEED = f"""
    TRUNCATE deployment, flow, work_queue, work_pool, concurrency_limit_v2 CASCADE;
    INSERT INTO flow (id, name) VALUES ('{key(FLOW, 0)}', 'first'), ('{key(FLOW, 1)}', 'second');
    INSERT INTO work_pool (id, name, type) VALUES ('{key(POOL, 0)}', 'pool', 'process'), ('{key(POOL, 1)}', 'other', 'process');
    INSERT INTO work_queue (id, name, work_pool_id)
        SELECT ('{key(QUEUE, 0)[:-1]}' || n)::uuid, 'queue ' || n, '{key(POOL, 0)}' FROM generate_series(0, 2) n;
    INSERT INTO concurrency_limit_v2 (id, name, "limit", active, active_slots, denied_slots, slot_decay_per_second,
                                      avg_slot_occupancy_seconds)
        SELECT ('{key(LIMIT, 0)[:-1]}' || n)::uuid, 'limit ' || n, 3, true, 0, 0, 0, 2 FROM generate_series(0, 1) n;
    INSERT INTO deployment (id, name, flow_id, work_queue_id, concurrency_limit_id, parameters, paused, created, updated)
        SELECT ('{key(DEPLOYMENT, 0)[:-2]}' || to_char(n, 'FM00'))::uuid, 'deployment ' || to_char(n, 'FM00'),
               ('{key(FLOW, 0)[:-1]}' || n % 2)::uuid,
               CASE WHEN n % 4 < 3 THEN ('{key(QUEUE, 0)[:-1]}' || n % 4)::uuid END,
               CASE WHEN n % 3 < 2 THEN ('{key(LIMIT, 0)[:-1]}' || n % 3)::uuid END,
               jsonb_build_object('n', n, 'half', n / 2.0), n % 5 = 4, '2024-01-01', '2024-01-02'
          FROM generate_series(0, {NUMBER - 1}) n;
    INSERT INTO deployment_schedule (id, deployment_id, schedule, active, created, updated)
        SELECT ('{key(SCHEDULE, 0)[:-2]}' || to_char(10 * copy + n, 'FM00'))::uuid,
               ('{key(DEPLOYMENT, 0)[:-2]}' || to_char(n, 'FM00'))::uuid, '{{"cron": "0 0 * * *"}}', true,
               '2024-01-01', '2024-01-02'
          FROM generate_series(0, 5) n, generate_series(0, 1) copy WHERE copy <= n;
"""

THE = f"id = '{FIRST}'"
AGAIN = f"""CREATE TEMP TABLE same ON COMMIT DROP AS SELECT * FROM deployment WHERE {THE};
    DELETE FROM deployment WHERE {THE}; UPDATE same SET description = 'made again'; INSERT INTO deployment SELECT * FROM same"""
CHANGES = {
    "a column": f"UPDATE deployment SET description = 'new' WHERE {THE}",
    "polled": f"UPDATE deployment SET last_polled = now(), status = 'READY' WHERE {THE}",
    "renamed": f"UPDATE deployment SET name = 'z' WHERE {THE}",
    "moved to another queue": f"UPDATE deployment SET work_queue_id = '{key(QUEUE, 1)}' WHERE {THE}",
    "a schedule added": f"""INSERT INTO deployment_schedule (deployment_id, schedule, active)
        VALUES ('{FIRST}', '{{"rrule": "FREQ=DAILY"}}', true)""",
    "a schedule changed": f"UPDATE deployment_schedule SET active = false WHERE deployment_id = '{FIRST}'",
    "a schedule deleted": f"DELETE FROM deployment_schedule WHERE deployment_id = '{FIRST}'",
    "a schedule handed over": f"""UPDATE deployment_schedule SET deployment_id = '{key(DEPLOYMENT, 1)}'
        WHERE deployment_id = '{FIRST}'""",
    "a queue renamed": f"UPDATE work_queue SET name = 'new' WHERE id = '{key(QUEUE, 0)}'",
    "a queue in another pool": f"UPDATE work_queue SET work_pool_id = '{key(POOL, 1)}' WHERE id = '{key(QUEUE, 0)}'",
    "a queue deleted": f"DELETE FROM work_queue WHERE id = '{key(QUEUE, 0)}'",
    "a pool renamed": f"UPDATE work_pool SET name = 'new' WHERE id = '{key(POOL, 0)}'",
    "a letter goes from the pool's name to the queue's": f"""
        UPDATE work_pool SET name = 'ool' WHERE id = '{key(POOL, 0)}'; UPDATE work_queue SET name = name || 'p'""",
    "a slot taken": f"UPDATE concurrency_limit_v2 SET active_slots = 1 WHERE id = '{key(LIMIT, 0)}'",
    "a limit deleted": f"DELETE FROM concurrency_limit_v2 WHERE id = '{key(LIMIT, 0)}'",
    "two updates in one transaction": f"""UPDATE deployment SET description = 'once' WHERE {THE};
        UPDATE deployment SET description = 'twice' WHERE {THE}""",
    "an update rolled back to a savepoint": f"""UPDATE deployment SET description = 'kept' WHERE {THE}; SAVEPOINT s;
        UPDATE deployment SET description = 'lost' WHERE {THE}; ROLLBACK TO s; UPDATE flow SET tags = '["x"]'""",
    "deleted and made again": AGAIN,
    "deleted": f"DELETE FROM deployment WHERE {THE}",
}  # fmt: skip
SILENT = {
    "a queue polled": f"UPDATE work_queue SET last_polled = now() WHERE id = '{key(QUEUE, 0)}'",
    "a pool's status": f"UPDATE work_pool SET status = 'READY' WHERE id = '{key(POOL, 0)}'",
    "nothing": "SELECT 1",
}


@pytest.fixture(scope="module")
async def dsn(postgres_dsn: str) -> str:
    return await servers.database(postgres_dsn, "page", SCHEMA.read_text())


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[postgres.Pool]:
    async with postgres.pool(Settings(postgres_dsn=dsn), "deployments") as made:
        yield made


@pytest.fixture
async def writer(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    made = await asyncpg.connect(dsn)
    await made.execute(SEED)
    yield made
    await made.close()


class Reader:
    """Everything this service answers, with one store of rows."""

    def __init__(self, pool: postgres.Pool, room: int) -> None:
        self.pool = pool
        self.kept = Kept(room)

    async def page(self, selection: Selection = ALL) -> Page:
        return await page.page(self.pool, self.kept, selection)

    async def all(self) -> tuple[Page, Row, Row]:
        by_id = DeploymentById(id=FIRST, within=WITHIN)
        by_name = DeploymentByName(flow="first", deployment="deployment 00", within=WITHIN)
        return (
            await self.page(),
            await page.by_id(self.pool, self.kept, by_id),
            await page.by_name(self.pool, self.kept, by_name),
        )


@pytest.fixture
def keeping(pool: postgres.Pool) -> Reader:
    return Reader(pool, ROOM)


@pytest.fixture
def fresh(pool: postgres.Pool) -> Reader:
    return Reader(pool, 0)


def names(found: Page) -> list[str]:
    return [row["name"] for row in msgspec.json.decode(found.rows)]


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_shows_at_once(keeping: Reader, fresh: Reader, writer: asyncpg.Connection, change: str) -> None:
    before = await keeping.all()
    assert before == await fresh.all() == await keeping.all()
    async with writer.transaction():
        await writer.execute(CHANGES[change])
        assert await keeping.all() == before, "not committed yet"
    after = await fresh.all()
    assert after[0].rows != before[0].rows
    assert after[0].tag != before[0].tag
    assert await keeping.all() == after


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_rolled_back_never_shows(
    keeping: Reader, fresh: Reader, writer: asyncpg.Connection, change: str
) -> None:
    before = await fresh.all()
    with contextlib.suppress(ZeroDivisionError):
        async with writer.transaction():
            await writer.execute(CHANGES[change])
            assert await keeping.all() == before
            raise ZeroDivisionError
    assert await keeping.all() == await fresh.all() == before


def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of rows that were printed, each time that some were."""
    printed: list[int] = []
    original = page._printed

    def counted(records: Any, kept: Kept) -> Any:
        printed.append(len(records))
        return original(records, kept)

    monkeypatch.setattr(page, "_printed", counted)
    return printed


@pytest.mark.parametrize("change", SILENT)
async def test_what_is_not_shown_prints_nothing_anew(
    keeping: Reader, writer: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    printed = reads(monkeypatch)
    before = await keeping.all()
    assert printed == [NUMBER]
    await writer.execute(SILENT[change])
    for table in ("deployment", "deployment_schedule", "concurrency_limit_v2"):
        await writer.execute(f"VACUUM (FULL, FREEZE) {table}")
    assert await keeping.all() == before
    assert printed == [NUMBER]


async def test_only_what_changed_is_printed_anew(
    keeping: Reader, writer: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = reads(monkeypatch)
    await keeping.page()
    await writer.execute(CHANGES["polled"])
    await keeping.page()
    assert printed == [NUMBER, 1]


def some_change(dice: random.Random) -> str:
    number = dice.randrange(NUMBER)
    deployment, schedule = key(DEPLOYMENT, number), key(SCHEDULE, dice.randrange(20))
    queue, limit = key(QUEUE, dice.randrange(3)), key(LIMIT, dice.randrange(2))
    word = f"'{dice.choice('abcdefgh')}{dice.randrange(10**9)}'"
    return dice.choice([
        f"UPDATE deployment SET name = {word} WHERE id = '{deployment}'",
        f"UPDATE deployment SET paused = NOT paused WHERE id = '{deployment}'",
        f"UPDATE deployment SET last_polled = now(), status = 'READY' WHERE work_queue_id = '{queue}'",
        f"UPDATE deployment SET work_queue_id = '{queue}' WHERE id = '{deployment}'",
        f"UPDATE deployment SET concurrency_limit_id = '{limit}' WHERE id = '{deployment}'",
        f"UPDATE work_queue SET name = {word} WHERE id = '{queue}'",
        f"UPDATE work_queue SET name = name WHERE id = '{queue}'",
        f"UPDATE work_pool SET name = {word} WHERE id = '{key(POOL, 0)}'",
        f"UPDATE concurrency_limit_v2 SET active_slots = active_slots + 1 WHERE id = '{limit}'",
        f"UPDATE deployment_schedule SET active = NOT active WHERE id = '{schedule}'",
        f"UPDATE deployment_schedule SET deployment_id = '{deployment}' WHERE id = '{schedule}'",
        f"DELETE FROM deployment_schedule WHERE id = '{schedule}'",
        f"""INSERT INTO deployment_schedule (id, deployment_id, schedule, active)
            VALUES ('{schedule}', '{deployment}', '{{"cron": "@daily"}}', true) ON CONFLICT DO NOTHING""",
        AGAIN,
        "VACUUM FREEZE deployment",
        "CHECKPOINT",
    ])  # fmt: skip


SORTS: tuple[Sort, ...] = ("NAME_ASC", "NAME_DESC", "CREATED_DESC", "UPDATED_DESC")


def some_selection(dice: random.Random) -> Selection:
    filters = [None, DeploymentFilter(paused=Flag(eq_=False)), DeploymentFilter(name=Name(like_="a"))]
    return Selection(
        deployments=dice.choice(filters),
        flow_ids=dice.choice([None, UUID(key(FLOW, 0)).bytes]),
        sort=dice.choice(SORTS),
        limit=dice.choice([1, 5, NUMBER]),
        offset=dice.choice([0, 0, 3, NUMBER]),
        count=dice.choice([True, False]),
        within=WITHIN,
    )


@pytest.mark.parametrize("seed", range(4))
async def test_after_any_changes_kept_rows_are_those_read_anew(
    pool: postgres.Pool, fresh: Reader, writer: asyncpg.Connection, seed: int
) -> None:
    dice = random.Random(seed)
    readers = [Reader(pool, ROOM), Reader(pool, 8_000)]  # the second has room for a few rows only
    seen = set()
    for _ in range(150):
        await writer.execute(some_change(dice))
        selection = some_selection(dice)
        expected = await fresh.page(selection)
        for reader in readers:
            assert await reader.page(selection) == expected, selection
        seen.add(expected.tag)
    assert len(seen) > 50


async def test_pages_are_of_one_moment_while_others_write(keeping: Reader, writer: asyncpg.Connection) -> None:
    """Each transaction writes one number into all rows, schedules, limits and queues: no page holds two of them."""
    seen: set[str] = set()

    async def write() -> None:
        while len(seen) < 30:
            await numbered(writer, f"{random.randrange(10**6)}")

    await numbered(writer, "0")
    writing = asyncio.create_task(write())
    while len(seen) < 30 and not writing.done():
        found = await keeping.page()
        numbers = {number for row in msgspec.json.decode(found.rows) for number in numbers_of(row)}
        assert len(numbers) == 1, numbers
        seen |= numbers
    await writing


async def numbered(writer: asyncpg.Connection, number: str) -> None:
    await writer.execute(f"""UPDATE deployment SET version = '{number}';
        UPDATE deployment_schedule SET max_scheduled_runs = {number};
        UPDATE concurrency_limit_v2 SET active_slots = {number};
        UPDATE work_queue SET name = '{number} ' || id""")


def numbers_of(row: Any) -> set[str]:
    limit = row["global_concurrency_limit"]
    return {
        row["version"],
        *({row["work_queue_name"].split()[0]} if row["work_queue_name"] else ()),
        *({str(limit["active_slots"])} if limit else ()),
        *(str(schedule["max_scheduled_runs"]) for schedule in row["schedules"]),
    }


# --- what happens between the two steps


class Between:
    """A connection on which something happens once, right before rows are read."""

    def __init__(self, connection: postgres.Connection, happens: list[Callable[[], Awaitable[Any]]]) -> None:
        self._connection = connection
        self._happens = happens

    async def fetch(self, statement: str, *arguments: Any) -> Any:
        if statement == statements.ROWS and self._happens:
            await self._happens.pop()()
        return await self._connection.fetch(statement, *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], Awaitable[Any]]]:
    """What is put in here happens between the two steps of a page."""
    happens: list[Callable[[], Awaitable[Any]]] = []
    original = postgres.connection

    @asynccontextmanager
    async def connection(pool: postgres.Pool, within: float) -> AsyncIterator[Any]:
        async with original(pool, within) as borrowed:
            yield Between(borrowed, happens)

    monkeypatch.setattr(postgres, "connection", connection)
    return happens


async def test_a_row_deleted_between_the_steps_does_not_shorten_the_page(
    keeping: Reader, fresh: Reader, writer: asyncpg.Connection, between: list[Any]
) -> None:
    selection = Selection(limit=3, count=True, within=WITHIN)
    between.append(lambda: writer.execute(CHANGES["deleted"]))
    found = await keeping.page(selection)
    assert not between
    assert names(found) == ["deployment 01", "deployment 02", "deployment 03"]
    assert found.count == NUMBER - 1
    assert found == await fresh.page(selection)


async def test_a_row_that_ceases_to_match_between_the_steps_is_not_shown(
    keeping: Reader, fresh: Reader, writer: asyncpg.Connection, between: list[Any]
) -> None:
    selection = Selection(deployments=DeploymentFilter(paused=Flag(eq_=False)), limit=3, within=WITHIN)
    between.append(lambda: writer.execute(f"UPDATE deployment SET paused = true WHERE {THE}"))
    found = await keeping.page(selection)
    assert not between
    assert names(found) == ["deployment 01", "deployment 02", "deployment 03"]
    assert found == await fresh.page(selection)


async def test_the_second_reading_is_not_disturbed(
    keeping: Reader, writer: asyncpg.Connection, between: list[Any]
) -> None:
    statement = "DELETE FROM deployment WHERE id = $1"
    between += [
        partial(writer.execute, statement, key(DEPLOYMENT, number)) for number in (3, 0)
    ]  # the last comes first
    found = await keeping.page(Selection(limit=3, count=True, within=WITHIN))
    assert not between
    assert names(found) == ["deployment 01", "deployment 02", "deployment 03"]
    assert found.count == NUMBER - 1


async def test_one_deleted_between_the_steps_is_not_there(
    keeping: Reader, writer: asyncpg.Connection, between: list[Any]
) -> None:
    between.append(lambda: writer.execute(CHANGES["deleted"]))
    assert await page.by_id(keeping.pool, keeping.kept, DeploymentById(id=FIRST, within=WITHIN)) == Row(None)
    assert not between


# --- the shape of a page


async def test_a_long_page_is_read_in_slices(
    keeping: Reader, writer: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = reads(monkeypatch)
    monkeypatch.setattr(page, "AT_ONCE", 5)
    found = await keeping.page()
    assert names(found) == [f"deployment {number:02}" for number in range(NUMBER)]
    assert printed == [5, 5, 2]


@pytest.mark.parametrize("deployments", [None, DeploymentFilter(), DeploymentFilter(paused=Flag(eq_=False))])
async def test_the_count_is_of_all_matches(
    keeping: Reader, writer: asyncpg.Connection, deployments: DeploymentFilter | None
) -> None:
    matches = 10 if deployments and deployments.paused else NUMBER
    for limit, offset in ((None, 0), (0, 0), (3, 0), (3, 9), (3, NUMBER), (200, 0)):
        asked = Selection(deployments=deployments, limit=limit, offset=offset, count=True, within=WITHIN)
        found = await keeping.page(asked)
        assert found.count == matches
        assert len(names(found)) == max(0, min(limit or 0, matches - offset))
        without = await keeping.page(msgspec.structs.replace(asked, count=False))
        assert without == Page(found.rows, 0, found.tag)


@pytest.mark.parametrize("sort", SORTS)
async def test_pages_follow_one_another(keeping: Reader, writer: asyncpg.Connection, sort: Sort) -> None:
    whole = names(await keeping.page(Selection(limit=200, sort=sort, within=WITHIN)))
    followed: list[str] = []
    for offset in (0, 5, 10):
        followed += names(await keeping.page(Selection(limit=5, offset=offset, sort=sort, within=WITHIN)))
    assert followed == whole
    assert len(whole) == NUMBER


async def test_equal_tags_are_of_equal_rows(keeping: Reader, writer: asyncpg.Connection) -> None:
    selections = [Selection(limit=limit, offset=offset, within=WITHIN) for limit in (1, 2, 12) for offset in (0, 1, 12)]
    pages = [await keeping.page(selection) for selection in selections]
    assert len({found.tag for found in pages}) == len({found.rows for found in pages}) == 7
    assert {found.tag for found in pages if found.rows == b"[]"} == {b""}


async def test_what_is_printed_with_the_present_time_is_not_kept(keeping: Reader, writer: asyncpg.Connection) -> None:
    first = await keeping.all()
    await writer.execute(
        f"""UPDATE deployment_schedule SET schedule = '{{"interval": 60}}' WHERE deployment_id = '{FIRST}'"""
    )
    second, third = await keeping.all(), await keeping.all()
    assert first[0].tag != second[0].tag != third[0].tag != first[0].tag
    assert second[1].tag != third[1].tag


# --- another run of the server


@pytest.fixture
def own_postgres(kind: str, home: Path) -> Iterator[str]:
    with servers.postgres(kind, home) as dsn:
        yield dsn


async def test_a_transaction_id_that_comes_again_after_a_crash_is_another_version(own_postgres: str) -> None:
    """A commit that was seen is lost when a backend crashes before it is on disk, and its id is given out again."""
    writer = await asyncpg.connect(own_postgres)
    await writer.execute("SET synchronous_commit = on")
    await writer.execute(SCHEMA.read_text() + SEED)
    started = await writer.fetchval("SELECT pg_postmaster_start_time()")
    async with postgres.pool(Settings(postgres_dsn=own_postgres), "deployments") as pool:
        keeping, fresh = Reader(pool, ROOM), Reader(pool, 0)
        again = False
        for _ in range(10):
            await writer.execute("SET synchronous_commit = off")
            for number in range(100):
                seen = await transaction_of(writer, f"before {number}")
            await keeping.page()
            writer = await crashed(writer, own_postgres)
            last = 0
            while last < seen:
                last = await transaction_of(writer, f"after {last}")
            assert await keeping.page() == await fresh.page()
            again = again or last == seen
        assert again, "no transaction id came again: this test has tested nothing"
        assert await writer.fetchval("SELECT pg_postmaster_start_time()") == started
        await writer.close()


async def transaction_of(writer: asyncpg.Connection, description: str) -> int:
    await writer.execute(f"UPDATE deployment SET description = $1 WHERE {THE}", description)
    return int(await writer.fetchval(f"SELECT xmin::text FROM deployment WHERE {THE}"))


async def crashed(writer: asyncpg.Connection, dsn: str) -> asyncpg.Connection:
    """The backend is killed, by itself: the server recovers, with new processes, without being started anew."""
    checkpointer = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
    before = await writer.fetchval(checkpointer)
    with contextlib.suppress(asyncpg.PostgresError, OSError):
        await writer.execute("COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID'")
    async with asyncio.timeout(WITHIN):
        while True:
            with contextlib.suppress(asyncpg.PostgresError, OSError):
                made = await asyncpg.connect(dsn)
                if await made.fetchval(checkpointer) != before:
                    return made
                await made.close()
