"""Four times what the fleet can do: it goes on doing what it can, and refuses the rest at once."""

import asyncio
import itertools
import os
from collections.abc import Iterator, Sequence
from time import monotonic, thread_time
from typing import Any, NamedTuple

import uvloop

from tests.fault import memory
from tests.fault.load import Load
from tests.fault.questions import Expected, Question, answers
from tests.fault.records import OK, percentile
from tests.fault.stage import Stage
from tests.fault.wire import Address, encoded, opened

IN_TIME = 1.0  # seconds; an answer that comes later is of no use
AT_ONCE = 24  # requests under way when capacity is measured
HEAVY = 5  # one request in so many
CORES = len(os.sched_getaffinity(0))
MOST_MEMORY = 300.0  # MiB of one process


def shapes() -> Iterator[dict[str, Any]]:
    """Pages of fifty, each one different, and now and then a search for runs."""
    sorts = ("NAME_ASC", "NAME_DESC", "CREATED_DESC", "UPDATED_DESC")
    for number, (offset, sort) in enumerate(itertools.product(range(0, 250, 10), sorts)):
        body: dict[str, Any] = {"limit": 50, "offset": offset, "sort": sort}
        if number % HEAVY == 0:
            body |= {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}, "task_runs": {}}
        yield body


class Capacity(NamedTuple):
    """What a closed loop got: answers in time per second, and the CPU that the client itself used, in cores."""

    rate: float
    client: float


async def capacity(urls: Sequence[str], questions: Sequence[Question], expected: Expected, seconds: float) -> Capacity:
    """Asks with so many at once, each after the answer to the one before."""
    turn, good, until = itertools.cycle(questions), 0, monotonic() + seconds
    used = thread_time()

    async def one_after_another(url: str) -> None:
        nonlocal good
        line = await opened(Address.of(url))
        while (start := monotonic()) < until:
            question = next(turn)
            answer = await line.ask(question.request)
            assert answer.status == 200
            assert answer.body == expected[question.name]
            good += monotonic() - start < IN_TIME
        line.close()

    async with asyncio.TaskGroup() as group:
        for _, url in zip(range(AT_ONCE), itertools.cycle(urls), strict=False):
            group.create_task(one_after_another(url))
    return Capacity(good / seconds, (thread_time() - used) / seconds)


def test_under_four_times_its_capacity_it_does_what_it_can(stage: Stage) -> None:
    asked = [
        Question(str(number), encoded("/api/deployments/filter", body), frozenset())
        for number, body in enumerate(shapes())
    ]
    seconds = stage.lasting(2, 10)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        expected = runner.run(answers(stage.crowd.urls[0], asked))
        runner.run(capacity(stage.crowd.urls, asked, expected, seconds / 2))  # warm
        able = runner.run(capacity(stage.crowd.urls, asked, expected, seconds))
    fault = "four times its capacity"
    shares = []
    for _ in stage.repeated(fault):
        with Load(stage.crowd.urls, asked, expected, rate=4 * able.rate, poll=1.0) as load:
            used = load.cpu()
            load.mark()
            load.run(seconds)
            used = (load.cpu() - used) / seconds
            used_memory = _megabytes(stage)
        good = sum(sample.outcome == OK and sample.took < IN_TIME for sample in load.samples) / seconds
        rest = (CORES - used) / (CORES - able.client)  # what the client leaves to the fleet, of what it left before
        shares.append(good / able.rate / rest)
        refusals = sorted(sample.took for sample in load.samples if sample.outcome != OK)
        found = stage.noted(
            load,
            fault,
            f"capacity {able.rate:.0f}/s with {AT_ONCE} at once, client {able.client:.2f} cores",
            f"in time under load {good:.0f}/s = {good / able.rate:.0%} ({shares[-1]:.0%} of what the client left), client {used:.2f} cores",
            f"refusals: p50 {percentile(refusals, 0.5):.3f} s, p99 {percentile(refusals, 0.99):.3f} s",
            f"memory {max(used_memory):.0f} MiB at most",
        )
        assert set(found.failed) <= {"503"}
        assert not found.wrong
        assert not load.bad_refusals
        assert max(used_memory) < MOST_MEMORY
    if stage.rounds:
        assert min(shares) >= 0.9
    with stage.load() as load:
        load.mark()
        load.steady(10)


def _megabytes(stage: Stage) -> list[float]:
    return [memory.proportional(replica.process.pid) / memory.MIB for replica in stage.crowd.replicas]
