"""The strategies of the runs leg give the same answer, and the choice between them is guarded and remembered."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from msgspec.structs import replace

from services.gateway import decode, validation
from services.runs import choice
from services.runs.choice import Choice, Estimate, Outcome
from services.runs.select import OWNS, Question, Strategy, question
from services.seed import seed
from shared import errors, postgres
from shared.contract import RunLeg
from shared.filters import Count, FlowRunFilter, State, StateType
from shared.settings import Settings
from tests.conformance.generate import Generator, stories
from tests.conftest import SCHEMA
from tests.servers import database

REQUESTS = 400
SIZE = 7
COMPLETED = FlowRunFilter(state=State(type=StateType(any_=["COMPLETED"])))
RARE = FlowRunFilter(state=State(type=StateType(any_=["CANCELLING"])))


@pytest.fixture(scope="module")
async def dsn(postgres_dsn: str) -> str:
    made = await database(postgres_dsn, "runs", SCHEMA.read_text())
    await seed(made, deployments=300, flow_runs=6_000, task_runs=18_000, progress=False)
    return made


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[postgres.Pool]:
    async with postgres.pool(Settings(postgres_dsn=dsn), "runs") as made:
        yield made


async def answer(pool: postgres.Pool, leg: RunLeg, strategy: Strategy) -> tuple[int | None, bytes | None]:
    statement, arguments = question(leg).statement(strategy)
    [record] = await postgres.fetch(pool, statement, arguments, 10)
    return record[0], record[1]


async def legs(dsn: str) -> list[RunLeg]:
    """What generated searches ask of the runs service, by itself and with the deployments' own filter."""
    generator, found = Generator(11, await stories(dsn)), []
    for number in range(REQUESTS):
        try:
            search = decode.settled(decode.read(Count, generator.request(number).body or b"", 200), 200)
        except (validation.Invalid, validation.LimitOutOfRange):
            continue
        if search.flow_runs is not None or search.task_runs is not None:
            leg = RunLeg(flow_runs=search.flow_runs, task_runs=search.task_runs)
            found += [leg, replace(leg, deployments=search.deployments)]
    return found


@pytest.mark.timeout(300)
async def test_every_strategy_gives_the_same_answer(dsn: str, pool: postgres.Pool) -> None:
    asked = await legs(dsn)
    telling = 0
    for number, leg in enumerate(asked):
        both = replace(leg, limit=SIZE, offset=number % 3 * SIZE, sort="NAME_DESC", count=True)
        page, number_only = replace(both, count=False), replace(leg, count=True)
        count, ids = await answer(pool, both, "join")
        telling += bool(ids)
        for strategy in OWNS:
            assert await answer(pool, page, strategy) == (None, ids), (strategy, page)
            if strategy != "walk":
                assert await answer(pool, both, strategy) == (count, ids), (strategy, both)
                assert await answer(pool, number_only, strategy) == (count, None), (strategy, number_only)
    assert telling > len(asked) / 3 > 50


async def test_the_planner_estimates_decide(pool: postgres.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "CHEAP", 0.0)
    page = RunLeg(flow_runs=COMPLETED, limit=3, within=5)
    found = {
        "page": (await Choice(pool).owners(page)).strategy,
        "rare page": (await Choice(pool).owners(replace(page, flow_runs=RARE))).strategy,
        "all": (await Choice(pool).owners(replace(page, limit=None, count=True))).strategy,
    }
    assert found["page"] == "walk"
    assert found["rare page"] != "walk"
    assert found["all"] != "walk"


async def test_two_strategies_side_by_side_answer_once(pool: postgres.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    leg = RunLeg(flow_runs=COMPLETED, limit=SIZE, count=True, within=5)
    expected = await answer(pool, leg, "join")
    began: list[Strategy] = []
    choose = Choice(pool)
    run = choose._run

    async def noted(asked: Question, strategy: Strategy, times: dict[Strategy, float]) -> Outcome:
        began.append(strategy)
        return await run(asked, strategy, times)

    monkeypatch.setattr(choice, "PATIENCE", 0.0)  # every first guess has taken too long
    monkeypatch.setattr(choice, "LONGEST_PATIENCE", 0.0)
    monkeypatch.setattr(choose, "_run", noted)
    for _ in range(20):
        choose._recall(choice._key(leg)).times.update({"join": 1e-9, "probe": 1e-8})
        found = await choose.owners(leg)
        assert (found.count, found.packed) == expected
        assert found.strategy in began[-2:]
    assert len(began) == 40
    async with asyncio.timeout(5):
        while choose._begun:
            await asyncio.wait(choose._begun)
    assert pool.get_idle_size() == pool.get_size()  # no connection is left behind


@pytest.mark.parametrize("trouble", ["fails", "hangs"])
async def test_a_runner_up_in_trouble_costs_the_request_nothing(
    pool: postgres.Pool, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    choose = Choice(pool)
    leg = RunLeg(flow_runs=COMPLETED, limit=SIZE, count=True, within=5)
    choose._recall(choice._key(leg)).times["join"] = 1e-9
    asked = asyncio.Event()

    async def estimates(*_: object) -> list[Estimate]:
        asked.set()
        if trouble == "hangs":
            await asyncio.Event().wait()
        raise errors.DatabaseDown("no connection for a second one")

    monkeypatch.setattr(choice, "PATIENCE", 0.0)
    monkeypatch.setattr(choice, "LONGEST_PATIENCE", 0.0)
    monkeypatch.setattr(choose, "_estimates", estimates)
    found = await choose.owners(leg)
    assert asked.is_set()
    assert (found.count, found.packed, found.strategy) == (*await answer(pool, leg, "join"), "join")


async def test_a_second_strategy_takes_no_connection_when_they_are_scarce(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "PATIENCE", 0.0)
    leg = RunLeg(flow_runs=COMPLETED, limit=SIZE, count=True, within=5)
    async with postgres.pool(Settings(postgres_dsn=dsn, pool_size=2), "runs") as pool, postgres.connection(pool, 5):
        found = await Choice(pool).owners(leg)  # one connection is all there is, and it is enough
        assert (found.count, found.packed) == await answer(pool, leg, "join")


async def test_the_winner_is_remembered_for_the_same_request_on_any_page(
    pool: postgres.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "CHEAP", 0.0)
    choose, asked = Choice(pool), []
    estimates = choose._estimates

    async def noted(question: Question, cheap: float = 0.0) -> list[Estimate]:
        asked.append(question)
        return await estimates(question, cheap)

    monkeypatch.setattr(choose, "_estimates", noted)
    leg = RunLeg(flow_runs=RARE, limit=SIZE, count=True, within=5)
    for request in (leg, leg, replace(leg, offset=SIZE), replace(leg, sort="CREATED_DESC"), replace(leg, within=3)):
        await choose.owners(request)
    assert len(asked) == 1
    await choose.owners(replace(leg, flow_runs=COMPLETED))
    assert len(asked) == 2


async def test_what_is_remembered_is_bounded_and_ages(pool: postgres.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "REMEMBERED", 2)
    choose = Choice(pool)
    for name in "abcd":
        await choose.owners(RunLeg(flow_runs=FlowRunFilter(work_queue_name=None), limit=ord(name), within=5))
        await choose.owners(RunLeg(flow_runs=COMPLETED, limit=SIZE, offset=ord(name), within=5))
    assert len(choose._known) == 2
    monkeypatch.setattr(choice, "FRESH", -1.0)
    leg = RunLeg(flow_runs=RARE, limit=SIZE, count=True, within=5)
    assert choose._recall(b"") is not choose._recall(b"")
    assert (await choose.owners(leg)).count == (await choose.owners(leg)).count


async def test_who_lost_in_company_is_tried_alone_and_the_fastest_stays(pool: postgres.Pool) -> None:
    choose = Choice(pool)
    leg = RunLeg(flow_runs=COMPLETED, limit=SIZE, count=True, within=5)
    known = choose._recall(choice._key(leg))
    known.times.update({"join": 5.0, "probe": 4.0, "driven": 6.0})
    assert (await choose.owners(leg)).strategy == "probe"
    assert known.times["probe"] < 4.0
    known.times["driven"] = 0.0
    assert (await choose.owners(leg)).strategy == "driven"
    assert known.times["driven"] > 0.0
    known.times["join"] = 1e-9
    assert {(await choose.owners(leg)).strategy for _ in range(3)} & {"join"}


async def test_a_trouble_is_told_and_not_hidden_by_the_second_strategy(dsn: str) -> None:
    async with postgres.pool(Settings(postgres_dsn=dsn), "runs") as pool:
        with pytest.raises(errors.DeadlineSpent):
            await Choice(pool).owners(RunLeg(flow_runs=COMPLETED, count=True, within=1e-9))
        admin = await asyncpg.connect(dsn)
        await admin.execute("ALTER TABLE flow_run RENAME TO gone")
        try:
            with pytest.raises(errors.DatabaseDown):
                await Choice(pool).owners(RunLeg(flow_runs=COMPLETED, count=True, within=5))
        finally:
            await admin.execute("ALTER TABLE gone RENAME TO flow_run")
            await admin.close()
