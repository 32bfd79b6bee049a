"""PostgreSQL is restarted, crashes, is cut off, silent, slow or locked."""

import asyncio
import os
import signal
from collections.abc import Callable
from time import monotonic

import asyncpg

from tests.fault.crowd import Crowd
from tests.fault.load import Load
from tests.fault.records import OK
from tests.fault.stage import Stage, sessions
from tests.fleet import select_for_a_moment

SOON = 20.0
DEADLINE = 10.0
LATER = 1.0  # seconds beyond the deadline in which a refusal must be there


def suffers(stage: Stage, fault: str, happens: Callable[[Load], None], rate: float = 40.0) -> None:
    """What happens costs no more than refusals in time; then all is well again, without a restart of ours."""
    with stage.load(rate) as load:
        for _ in stage.repeated(fault):
            load.run(0.5)
            happens(load)
            load.mark()
            load.steady(SOON)
    refused_in_time(stage, load, fault, DEADLINE)


def refused_in_time(stage: Stage, load: Load, fault: str, deadline: float) -> None:
    found = stage.noted(load, fault)
    nothing_left(stage.database.dsn)
    assert set(found.failed) <= {"503"}
    assert not found.wrong
    assert not load.bad_refusals
    assert max((sample.took for sample in load.samples if sample.outcome != OK), default=0) < deadline + LATER


def nothing_left(dsn: str) -> None:
    """No session of ours goes on working."""
    until = monotonic() + 5
    while left := asyncio.run(sessions(dsn)):
        assert monotonic() < until, left
        select_for_a_moment()


def test_a_restart(stage: Stage) -> None:
    def restart(load: Load) -> None:
        load.mark()
        stage.database.restart()

    suffers(stage, "PostgreSQL restarted", restart)


def test_a_crash_of_one_backend(stage: Stage) -> None:
    def crash(load: Load) -> None:
        load.mark()
        os.kill(asyncio.run(_backend(stage.database.dsn)), signal.SIGKILL)

    suffers(stage, "SIGKILL of a PostgreSQL backend", crash)


async def _backend(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    pid = await connection.fetchval(
        "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'classis-%' ORDER BY query_start DESC LIMIT 1"
    )
    await connection.close()
    return int(pid)


def test_a_line_that_is_cut(stage: Stage) -> None:
    seconds = stage.lasting(2, 10)

    def cut(load: Load) -> None:
        stage.database.line.cut()
        load.run(seconds)
        stage.database.line.mend()

    suffers(stage, f"PostgreSQL cut off for {seconds:.0f} s", cut)


def test_a_line_that_is_silent(stage: Stage) -> None:
    seconds = stage.lasting(3, 10)

    def silence(load: Load) -> None:
        stage.database.line.silence()
        load.run(seconds)
        stage.database.line.mend()

    suffers(stage, f"PostgreSQL silent for {seconds:.0f} s", silence)


def test_a_slow_line(stage: Stage) -> None:
    def slow(load: Load) -> None:
        stage.database.line.delay = 0.3
        load.run(stage.lasting(3, 10))
        stage.database.line.mend()

    suffers(stage, "PostgreSQL slow: 300 ms each way", slow, rate=4.0)


def test_a_lock_for_longer_than_the_deadline(stage: Stage) -> None:
    stage.crowd.close()  # on the same bus, it would answer
    settings = {"deadline": "2"}
    fault = "a lock on flow, deadline 2 s"
    with Crowd(stage.home, stage.database.url, [stage.node.url], stage.crowd.layout, settings) as crowd:
        crowd.whole(2 if stage.rounds else 1)
        with stage.load(crowd=crowd) as load:
            for _ in stage.repeated(fault):
                load.run(0.5)
                asyncio.run(_locked(stage.database.dsn, load, stage.lasting(4, 8)))
                load.mark()
                load.steady(SOON)
        refused_in_time(stage, load, fault, 2)


async def _locked(dsn: str, load: Load, seconds: float) -> None:
    connection = await asyncpg.connect(dsn)
    async with connection.transaction():
        await connection.execute("LOCK TABLE flow IN ACCESS EXCLUSIVE MODE")
        await asyncio.to_thread(load.run, seconds)
    await connection.close()
