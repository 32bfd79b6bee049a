"""Equal questions at the same time: computed seldom, never answered with what began before they were asked."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.fanout import Deadline
from services.gateway.sharing import AT_ONCE, Shared
from shared import errors

Step = tuple[str, int]
LONG = 60.0  # seconds; no test waits for it


class Work:
    """Computations that end when a test says so. Each gives the moment at which it began, on a clock that only counts."""

    def __init__(self) -> None:
        self.clock = itertools.count()
        self.under_way: list[tuple[str, asyncio.Future[None]]] = []
        self.begun = self.cancelled = 0
        self.deadlines: list[float] = []
        self.most: Counter[str] = Counter()
        self.tasks: list[asyncio.Task[int]] = []
        self.shared = Shared(self.compute, str)

    async def compute(self, question: str, deadline: Deadline) -> int:
        began = next(self.clock)
        self.begun += 1
        self.deadlines.append(deadline.left)
        mine = question, asyncio.get_running_loop().create_future()
        self.under_way.append(mine)
        self.most[question] = max(self.most[question], sum(asked == question for asked, _ in self.under_way))
        try:
            await mine[1]
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way.remove(mine)
        return began

    async def ask(self, question: str = "a", within: float = LONG) -> "asyncio.Task[int]":
        """Asks, and returns when the question is at its place."""
        arrived = next(self.clock)

        async def asking() -> int:
            began = await self.shared(question, Deadline(within))
            assert began > arrived, "an answer that is older than the question"
            return began

        task = asyncio.create_task(asking())
        self.tasks.append(task)
        await settled()
        return task

    async def end(self, index: int = 0, error: Exception | None = None) -> None:
        _, future = self.under_way[index]
        if not future.done():  # it may be cancelled, and not know it yet
            future.set_exception(error) if error else future.set_result(None)
        await settled()

    async def all_leave(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await settled()


@pytest.fixture
async def work() -> AsyncIterator[Work]:
    made = Work()
    yield made
    await made.all_leave()
    assert nothing_is_left(made)


async def settled() -> None:
    """Lets everything that can go on go on. No time passes."""
    for _ in range(12):
        await asyncio.sleep(0)


async def left(task: "asyncio.Task[Any]") -> None:
    task.cancel()
    await settled()


async def test_each_begins_its_own_until_two_are_under_way_and_the_rest_share_the_next(work: Work) -> None:
    members = [await work.ask() for _ in range(10)]
    assert (work.begun, len(work.under_way)) == (AT_ONCE, AT_ONCE)
    await work.end()
    assert work.begun == AT_ONCE + 1
    late = [await work.ask() for _ in range(5)]
    await work.end()
    await work.end()
    assert len({member.result() for member in members[AT_ONCE:]}) == 1
    assert not any(member.done() for member in late)
    await work.end()
    assert len({member.result() for member in late}) == 1
    assert work.begun == AT_ONCE + 2


async def test_other_questions_do_not_wait(work: Work) -> None:
    for question in "aaabbbc":
        await work.ask(question)
    assert Counter(question for question, _ in work.under_way) == {"a": 2, "b": 2, "c": 1}


async def test_an_error_goes_to_every_member_and_to_nobody_else(work: Work) -> None:
    first, second, *batch = [await work.ask() for _ in range(5)]
    await work.end(0, errors.Absent("one"))
    await work.end(1, errors.Broken("three"))
    await work.end()
    assert isinstance(first.exception(), errors.Absent)
    assert second.exception() is None
    assert all(isinstance(member.exception(), errors.Broken) for member in batch)


async def test_a_member_out_of_time_is_refused_alone(work: Work) -> None:
    _, _, short, long = [await work.ask(within=within) for within in (LONG, LONG, 0.01, LONG)]
    with pytest.raises(errors.DeadlineSpent):
        await short
    await work.end()
    await work.end()
    await work.end()
    assert long.result()


async def test_a_computation_has_the_longest_deadline_of_those_who_wait_when_it_begins(work: Work) -> None:
    _, _, _, middle, longest = [await work.ask(within=within) for within in (LONG, LONG, 10, 20, 50)]
    await work.end()
    assert 49 < work.deadlines[-1] <= 50
    await work.end()
    await work.end()
    assert middle.result() == longest.result()
    for within in (LONG, LONG, 10, 40):
        gone = await work.ask(within=within)
    await left(gone)
    await work.end()
    assert 9 < work.deadlines[-1] <= 10


async def test_who_leaves_is_dropped_and_the_last_one_ends_the_computation(work: Work) -> None:
    members = [await work.ask() for _ in range(4)]
    await work.end()
    await left(members[2])
    assert work.cancelled == 0
    await left(members[3])
    assert work.cancelled == 1
    await left(members[1])
    assert work.cancelled == 2


async def test_a_batch_that_all_have_left_never_begins_and_harms_nobody_who_comes_then(work: Work) -> None:
    first, second, gone = [await work.ask() for _ in range(3)]
    gone.cancel()  # and before anything else happens, another asks
    after = await work.ask()
    await work.end()
    await work.end()
    await work.end()
    assert all(task.done() and not task.cancelled() for task in (first, second, after))
    assert work.begun == 3


async def test_a_batch_that_all_leave_at_its_turn_gives_its_place_back(work: Work) -> None:
    first, second, gone = [await work.ask() for _ in range(3)]
    work.under_way[0][1].set_result(None)
    gone.cancel()
    await settled()
    assert first.done()
    third, fourth = await work.ask(), await work.ask()
    assert len(work.under_way) == AT_ONCE
    for _ in range(3):
        await work.end()
    assert all(task.done() and not task.cancelled() for task in (second, third, fourth))
    assert nothing_is_left(work)


def nothing_is_left(work: Work) -> bool:
    return not (work.under_way or work.shared._running or work.shared._waiting)


STEPS = st.lists(
    st.tuples(st.sampled_from(["ask", "ask", "ask", "end", "fail", "leave"]), st.integers(0, 7)), max_size=60
)


@settings(deadline=None)
@given(STEPS)
def test_whatever_happens_no_answer_is_older_than_its_question(steps: list[Step]) -> None:
    asyncio.run(_played(steps))


async def _played(steps: list[Step]) -> None:
    work = Work()
    tasks: list[asyncio.Task[int]] = []
    stayed: list[asyncio.Task[int]] = []
    for name, number in steps:
        await STEP[name](work, number, tasks, stayed)
        assert all(most <= AT_ONCE for most in work.most.values())
    while work.under_way:
        await work.end()
    assert all(task.done() for task in tasks)
    assert all(isinstance(task.exception(), errors.Broken | None) for task in stayed)
    assert nothing_is_left(work)


async def _ask(work: Work, number: int, tasks: list[Any], stayed: list[Any]) -> None:
    tasks.append(await work.ask("ab"[number % 2]))
    stayed.append(tasks[-1])


async def _end(work: Work, number: int, tasks: list[Any], stayed: list[Any]) -> None:
    if work.under_way:
        await work.end(number % len(work.under_way))


async def _fail(work: Work, number: int, tasks: list[Any], stayed: list[Any]) -> None:
    if work.under_way:
        await work.end(number % len(work.under_way), errors.Broken())


async def _leave(work: Work, number: int, tasks: list[Any], stayed: list[Any]) -> None:
    if waiting := [task for task in stayed if not task.done()]:
        gone = waiting[number % len(waiting)]
        stayed.remove(gone)
        gone.cancel()
        if number % 2:  # else the next step comes before anybody knows
            await settled()


STEP: dict[str, Callable[[Work, int, list[Any], list[Any]], Awaitable[None]]] = {
    "ask": _ask, "end": _end, "fail": _fail, "leave": _leave,
}  # fmt: skip
