"""What was written is seen: searches on a real streaming replica that lags as much as a test wants it to."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import cycle, takewhile
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import aiohttp
import asyncpg
import pytest

from services import embedded
from shared import errors, metrics, postgres, replicas
from shared.replicas import Position
from shared.settings import Settings
from tests import fleet
from tests.conftest import SCHEMA, folder
from tests.relay import relay
from tests.replica import PRIMARY, replica

WITHIN = 20.0  # seconds; whoever is not to wait takes less than half of it
# Nothing but what a test writes moves the end of the log, and what is not waited for stays away from the disk.
QUIET = {**PRIMARY, "autovacuum": "off", "wal_writer_delay": "10s"}
LAST = "SELECT coalesce(max(n), 0) FROM written"
OURS = "FROM pg_stat_activity WHERE application_name = 'classis-runs'"


class Stage(NamedTuple):
    """A primary and its replica: their DSNs, and a superuser's connection to each."""

    primary: str
    replica: str
    writer: asyncpg.Connection
    lagging: asyncpg.Connection

    def settings(self, **given: Any) -> Settings:
        chosen = {"postgres_dsn": self.replica, "primary_postgres_dsn": self.primary, "pool_size": 3, **given}
        return Settings(**chosen, deadline=WITHIN)

    async def write(self) -> int:
        """A row more; gives its number."""
        statement = "INSERT INTO written SELECT coalesce(max(n), 0) + 1 FROM written RETURNING n"
        return int(await self.writer.fetchval(statement))

    async def caught_up(self) -> None:
        position = await self.writer.fetchval("SELECT pg_current_wal_flush_lsn()")
        await until(lambda: self.lagging.fetchval("SELECT pg_last_wal_replay_lsn() >= $1", position))

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """While the replica replays nothing."""
        await self.lagging.execute("SELECT pg_wal_replay_pause()")
        await until(lambda: self.lagging.fetchval("SELECT pg_get_wal_replay_pause_state() = 'paused'"))
        try:
            yield
        finally:
            await self.lagging.execute("SELECT pg_wal_replay_resume()")


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(WITHIN):
        while not await holds():
            pass


@pytest.fixture(scope="module")
def primary() -> Iterator[str]:
    with folder() as home, embedded.postgres(home, durable=False, settings=QUIET) as dsn:
        asyncio.run(execute(dsn, SCHEMA.read_text() + "CREATE TABLE written (n int)"))
        yield dsn


async def execute(dsn: str, statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(statements)
    await connection.close()


@pytest.fixture(scope="module")
def following(primary: str) -> Iterator[str]:
    with folder() as home, replica(primary, home, settings={"max_standby_streaming_delay": "10ms"}) as dsn:
        yield dsn


@pytest.fixture
async def stage(primary: str, following: str) -> AsyncIterator[Stage]:
    made = Stage(primary, following, await asyncpg.connect(primary), await asyncpg.connect(following))
    await made.write()
    await made.caught_up()
    yield made
    await made.writer.close()
    await made.lagging.close()


@pytest.fixture
async def pool(stage: Stage) -> AsyncIterator[postgres.Pool]:
    async with postgres.pool(stage.settings(), "runs") as made:
        yield made


async def last(pool: postgres.Pool, within: float = WITHIN) -> int:
    [[found]] = await postgres.fetch(pool, LAST, (), within)
    return int(found)


def told() -> Counter[str]:
    """How often each outcome was counted."""
    samples = [sample for family in metrics.FRESHNESS.collect() for sample in family.samples]
    return Counter({one.labels["outcome"]: int(one.value) for one in samples if one.name.endswith("_total")})


# --- what is seen


async def test_what_was_just_written_is_seen_while_the_replica_lags(stage: Stage, pool: postgres.Pool) -> None:
    async with stage.paused(), postgres.pool(stage.settings(primary_postgres_dsn=""), "flows") as bare:
        before, written = told(), await stage.write()
        assert await last(pool) == written
        assert told() - before == {"primary": 1}
        assert await last(bare) == written - 1  # so it was worth the question


async def test_a_replica_that_catches_up_soon_is_waited_for(
    stage: Stage, pool: postgres.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "PATIENCE", WITHIN)
    before = told()
    async with stage.paused():
        written = await stage.write()
        found = asyncio.create_task(last(pool, 2 * WITHIN))
        looks = f"SELECT count(*) {OURS} AND state = 'idle' AND query = $1"
        await until(lambda: stage.lagging.fetchval(looks, replicas.REPLAYED))
    assert await found == written
    assert told() - before == {"waited": 1}


async def test_a_replica_that_has_everything_is_read_at_once(stage: Stage, pool: postgres.Pool) -> None:
    before = told()
    [[there, found]] = await postgres.fetch(pool, f"SELECT pg_is_in_recovery(), ({LAST})", (), WITHIN)
    assert (there, found) == (True, await stage.writer.fetchval(LAST))
    assert told() - before == {"current": 1}


async def test_a_snapshot_is_of_a_current_server_too(stage: Stage, pool: postgres.Pool) -> None:
    async with stage.paused():
        written = await stage.write()
        async with postgres.snapshot(pool, WITHIN) as connection:
            assert await connection.fetchval(LAST) == written


async def test_a_commit_that_is_not_on_disk_yet_is_seen(stage: Stage) -> None:
    """As where the primary runs with `synchronous_commit = off`: what others see there is not sent to replicas yet."""
    await stage.writer.execute("ALTER DATABASE classis SET synchronous_commit = off; SET synchronous_commit = off")
    try:
        async with postgres.pool(stage.settings(), "runs") as pool:
            for _ in range(10):
                written = await stage.write()
                assert await last(pool) == written
            unsent = "SELECT pg_current_wal_flush_lsn() < pg_current_wal_insert_lsn()"
            assert await stage.writer.fetchval(unsent), "the commits were on disk: this test has tested nothing"
    finally:
        await stage.writer.execute("ALTER DATABASE classis RESET synchronous_commit; SET synchronous_commit = on")


async def test_nothing_stale_is_read_whatever_the_replica_does(
    stage: Stage, pool: postgres.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many readers, a writer, and a replica that stops and goes on all the time."""
    monkeypatch.setattr(replicas, "PATIENCE", 0.01)  # about as long as the replica stops
    written, before, over = await stage.write(), told(), asyncio.Event()

    async def writing() -> None:
        nonlocal written
        while not over.is_set():
            written = await stage.write()

    async def reading() -> None:
        while (told() - before).total() < 300 or len(told() - before) < 3:
            least = written
            assert await last(pool) >= least

    async def stop_and_go(rows: int) -> None:
        async with stage.paused():
            enough = written + rows
            await until(lambda: asyncio.sleep(0, over.is_set() or written >= enough))
        there = written
        await until(lambda: stage.lagging.fetchval(f"SELECT ({LAST}) >= $1", there))

    async def lagging() -> None:
        for rows in takewhile(lambda _: not over.is_set(), cycle((1, 10, 100))):
            await stop_and_go(rows)

    async with asyncio.timeout(60), asyncio.TaskGroup() as others:
        others.create_task(writing())
        others.create_task(lagging())
        async with asyncio.TaskGroup() as readers:
            for _ in range(8):
                readers.create_task(reading())
        over.set()
    assert (told() - before).keys() == {"current", "waited", "primary"}


# --- servers that are not what they should be


async def test_the_primary_itself_is_read_without_a_question(stage: Stage) -> None:
    async with postgres.pool(stage.settings(runs_postgres_dsn=stage.primary), "runs") as pool:
        assert pool.primary is None
    with relay(stage.primary) as line:  # where it has another name, that costs the question
        async with postgres.pool(stage.settings(postgres_dsn=line.url), "runs") as pool:
            before, written = told(), await stage.write()
            assert await last(pool) == written
            assert told() - before == {"current": 1}


async def test_a_replica_that_was_promoted_is_not_read(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "PATIENCE", 60.0)  # it is not waited for either
    with folder() as home, replica(stage.primary, home) as promoted:
        await execute(promoted, "SELECT pg_promote()")
        async with postgres.pool(stage.settings(postgres_dsn=promoted), "runs") as pool:
            before, written = told(), await stage.write()
            assert await last(pool, 60.0) == written
            assert told() - before == {"primary": 1}


async def test_a_replica_is_not_taken_for_the_primary(stage: Stage) -> None:
    with relay(stage.replica) as line:
        async with postgres.pool(stage.settings(primary_postgres_dsn=line.url), "runs") as pool:
            with pytest.raises(errors.DatabaseDown, match="the primary does not tell"):
                await last(pool)


async def test_without_the_primary_nothing_is_read_until_it_is_back(stage: Stage) -> None:
    with relay(stage.primary) as line:
        async with postgres.pool(stage.settings(primary_postgres_dsn=line.url), "runs") as pool:
            assert await last(pool)
            line.cut()
            for _ in range(3):
                started = monotonic()
                with pytest.raises(errors.DatabaseDown, match="the primary does not tell"):
                    await last(pool)
                assert monotonic() - started < WITHIN / 2
            line.mend()
            assert await last(pool) == await stage.writer.fetchval(LAST)


async def test_a_primary_that_is_mute_is_waited_for_no_longer_than_asked(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with relay(stage.primary) as line:
        async with postgres.pool(stage.settings(primary_postgres_dsn=line.url), "runs") as pool:
            assert await last(pool)
            line.silence()
            with monkeypatch.context() as shorter:
                shorter.setattr(postgres, "CONNECTING", 0.4)
                with pytest.raises(errors.DeadlineSpent):
                    await last(pool, 0.1)
                with pytest.raises(errors.DatabaseDown, match="the primary does not tell"):
                    await last(pool, 2 * WITHIN)
            line.mend()
            assert await last(pool) == await stage.writer.fetchval(LAST)


async def test_a_primary_that_is_mute_does_not_keep_us_from_leaving(stage: Stage) -> None:
    with relay(stage.primary) as line:
        async with postgres.pool(stage.settings(primary_postgres_dsn=line.url), "runs") as pool:
            assert await last(pool)
            line.silence()
            with pytest.raises(errors.DeadlineSpent):
                await last(pool, 0.1)
            started = monotonic()
        assert monotonic() - started < 2 * postgres.CLOSING + WITHIN / 2


async def test_what_a_replica_breaks_off_is_read_from_the_primary(stage: Stage, pool: postgres.Pool) -> None:
    """A statement that is in the way of what is to be replayed."""
    slow = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_sleep(30)::text ELSE 'read' END FROM written LIMIT 1"
    before, reading = told(), asyncio.create_task(postgres.fetch(pool, slow, (), WITHIN))
    await until(lambda: stage.lagging.fetchval(f"SELECT count(*) {OURS} AND wait_event = 'PgSleep'"))
    await stage.writer.execute("BEGIN; LOCK TABLE written; COMMIT")
    assert [tuple(record) for record in await reading] == [("read",)]
    assert told() - before == {"current": 1, "primary": 1}
    with pytest.raises(errors.DatabaseDown):  # other troubles are told at once
        await postgres.fetch(pool, "SELECT 1 FROM nothing_of_that_name", (), WITHIN)
    assert told() - before == {"current": 2, "primary": 1}


# --- who gives up, and who asks together


@pytest.mark.parametrize("lagging", [False, True], ids=["replica", "primary"])
async def test_whoever_gives_up_leaves_everything_as_it_was(stage: Stage, pool: postgres.Pool, lagging: bool) -> None:
    """At whatever moment: while one asks, waits, or reads on either server."""
    if lagging:
        await stage.lagging.execute("SELECT pg_wal_replay_pause()")
        await stage.write()
    try:
        for attempt in range(300):
            fetching = asyncio.ensure_future(postgres.fetch(pool, f"SELECT {attempt}, count(*) FROM flow", (), 0.5))
            for _ in range(attempt % 100):
                await asyncio.sleep(0)  # so many turns of the event loop later
            fetching.cancel()
            await asyncio.wait([fetching])
            for looking in (stage.writer, stage.lagging):
                assert not await looking.fetchval(f"SELECT count(*) {OURS} AND state LIKE 'idle in%'"), attempt
        async with asyncio.TaskGroup() as group:
            limits = [group.create_task(postgres.fetch(pool, "SHOW statement_timeout", (), WITHIN)) for _ in range(9)]
        assert {limit.result()[0][0] for limit in limits} == {f"{WITHIN:g}s"}
    finally:
        await stage.lagging.execute("SELECT pg_wal_replay_resume()")


async def test_the_time_limit_holds_on_the_primary_too(stage: Stage, pool: postgres.Pool) -> None:
    async with stage.paused():
        await stage.write()
        [[limit]] = await postgres.fetch(pool, "SHOW statement_timeout", (), 4.0)
        assert limit == "5s"
        with pytest.raises(errors.DeadlineSpent):
            await postgres.fetch(pool, "SELECT pg_sleep(60)", (), 0.5)
        await until(lambda: stage.writer.fetchval(f"SELECT count(*) = 0 {OURS} AND state = 'active'"))


async def test_nobody_joins_a_question_that_was_sent_before() -> None:
    sent: list[asyncio.Future[Position]] = []

    async def position() -> Position:
        sent.append(asyncio.get_running_loop().create_future())
        return await sent[-1]

    async with replicas.log(position) as log:
        first = log.asked()
        assert log.asked() is first  # it is not sent yet
        await until(lambda: asyncio.sleep(0, len(sent) == 1))
        second = [log.asked() for _ in range(100)]
        assert len({first, *second}) == 2
        sent[0].set_exception(ConnectionError())
        await until(lambda: asyncio.sleep(0, len(sent) == 2))
        third = log.asked()
        sent[1].set_result(answer := Position(1, None))  # type: ignore[arg-type]
        await asyncio.wait([first, *second])
        assert isinstance(first.exception(), ConnectionError)
        assert {one.result() for one in second} == {answer}
        await until(lambda: asyncio.sleep(0, len(sent) == 3))
    await asyncio.wait([third])
    assert third.cancelled()  # whoever leaves leaves no question behind


# --- the fleet

WRITE = """
    WITH flow AS (INSERT INTO flow (name) VALUES ($1) RETURNING id),
         deployment AS (INSERT INTO deployment (name, flow_id) SELECT $1, id FROM flow RETURNING id, flow_id)
    INSERT INTO flow_run (name, flow_id, deployment_id) SELECT $1, flow_id, id FROM deployment"""


async def search(http: aiohttp.ClientSession, url: str, name: str) -> tuple[int, Any]:
    """The names of the deployments that every service but one has found, or the refusal."""
    body = {"flows": {"name": {"any_": [name]}}, "flow_runs": {"name": {"any_": [name]}}}
    async with http.post(f"{url}/api/deployments/filter", json=body) as answer:
        rows = await answer.json()
        return answer.status, [row["name"] for row in rows] if answer.status == 200 else rows


async def test_a_search_sees_what_a_client_just_wrote(stage: Stage, home: Path) -> None:
    with folder() as other, embedded.nats(home) as one, embedded.nats(other) as two, relay(stage.primary) as line:
        ours = fleet.running(stage.replica, one, logs=home, primary_postgres_dsn=line.url, deadline=f"{WITHIN:g}")
        with ours as made, fleet.running(stage.replica, two, one_process=True) as bare:
            async with aiohttp.ClientSession() as http:
                for name in ("first", "second", "third"):
                    async with stage.paused():
                        await stage.writer.execute(WRITE, name)
                        assert await search(http, bare.url, name) == (200, [])
                        assert await search(http, made.url, name) == (200, [name])
                line.cut()
                started = monotonic()
                assert await search(http, made.url, "third") == (503, {"exception_message": "Service Unavailable"})
                assert monotonic() - started < WITHIN / 2
                line.mend()
                fleet.wait_until_ready(made.url)
                assert await search(http, made.url, "third") == (200, ["third"])
                for service in ("flows", "runs", "deployments"):
                    async with http.get(f"{made.monitors[service]}/metrics") as answer:
                        assert 'classis_replica_reads_total{outcome="primary"}' in await answer.text()
