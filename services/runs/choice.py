"""The choice of a strategy: by the planner's own estimates, guarded by the clock, then by the times it took.

The cheapest strategy by estimate begins. When it has not answered after a while, the runner-up begins beside it, and
whichever answers first wins: a wrong guess costs that while and a second connection, never more. The next equal request
begins with the strategy that is known to be fastest. Every strategy gives the same answer, so neither estimates nor
times can make an answer wrong.
"""

import asyncio
import hashlib
import json
import logging
from collections import OrderedDict
from collections.abc import Coroutine
from time import monotonic
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from services.runs.select import Question, Strategy, question
from shared import metrics, postgres
from shared.contract import KEY_SIZE, RUNS, Owners, RunLeg
from shared.postgres import Pool, Record

log = logging.getLogger(__name__)

T = TypeVar("T")
Outcome = tuple[Strategy, Record]  # a strategy, and its row: (count or None, ids or None)

CHEAP = 1000.0  # the planner's units of cost, some milliseconds: what costs less is not worth comparing
SAME = 1.01  # estimates this close to each other are most likely of the same plan
PROBING = {"flow_runs": 0.5, "task_runs": 0.1}  # what probes really cost: the planner takes each for a read from disk
PATIENCE = 0.05  # seconds the chosen strategy has before the runner-up begins beside it
LONGEST_PATIENCE = 1.0  # seconds, however long it took the last time
REMEMBERED = 1024  # requests
FRESH = 600.0  # seconds until the estimates are asked again


class Estimate(NamedTuple):
    cost: float
    strategy: Strategy


class Known(NamedTuple):
    """What one request has taught: the seconds that strategies took, or took at least when they were cancelled."""

    times: dict[Strategy, float]
    until: float  # of the monotonic clock

    def fastest(self, *but: Strategy) -> Strategy | None:
        return min(self.times.keys() - but, key=self.times.__getitem__, default=None)


class Choice:
    """Answers runs legs on one pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._known: OrderedDict[bytes, Known] = OrderedDict()
        self._begun: set[asyncio.Task[Any]] = set()  # held until they are gone, the cancelled ones too

    async def owners(self, leg: RunLeg) -> Owners:
        """The page's ids and the count. Raises what `postgres.fetch` raises."""
        asked, known = question(leg), self._recall(_key(leg))
        strategy, (count, ids) = await self._race(asked, known)
        metrics.STRATEGIES.labels(strategy).inc()
        metrics.ROWS.labels(RUNS.service).inc(len(ids or b"") // KEY_SIZE)
        return Owners(ids or b"", count or 0, strategy)

    async def _race(self, asked: Question, known: Known) -> Outcome:
        """What the first strategy gives, or the runner-up if that is faster. Only the first one's trouble is ours."""
        first = known.fastest() or (await self._estimates(asked, CHEAP))[0].strategy
        patience = min(max(PATIENCE, 2 * known.times.get(first, 0.0)), LONGEST_PATIENCE)
        began: dict[Strategy, float] = {}
        leading, beside = self._task(self._run(asked, first, began)), None
        try:
            done, _ = await asyncio.wait([leading], timeout=patience)
            if not done:
                beside = self._task(self._runner_up(asked, known, first, began))
                both: list[asyncio.Task[Any]] = [leading, beside]
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            outcome = None if leading.done() or beside is None or beside.exception() else beside.result()
            strategy, record = outcome or await leading
            for tried, start in began.items():
                # Who came second and is cancelled had company all the time: alone it may take half as long.
                known.times[tried] = (monotonic() - start) / (1 if tried in {first, strategy} else 2)
            return strategy, record
        finally:
            leading.cancel()
            if beside:
                beside.cancel()

    def _task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._begun.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._begun.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.debug("a strategy failed: %r", error)

    async def _run(self, asked: Question, strategy: Strategy, began: dict[Strategy, float]) -> Outcome:
        began[strategy] = monotonic()
        statement, arguments = asked.statement(strategy)
        [record] = await postgres.fetch(self._pool, statement, arguments, asked.leg.within)
        return strategy, record

    async def _runner_up(
        self, asked: Question, known: Known, first: Strategy, began: dict[Strategy, float]
    ) -> Outcome | None:
        """What the best of the others gives; nothing when it is the same plan, or connections are scarce."""
        if self._pool.get_size() - self._pool.get_idle_size() > self._pool.get_max_size() // 2:
            return None
        second = known.fastest(first) or await self._next(asked, first)
        if second is None:
            return None
        log.info("%s takes long: %s begins beside it", first, second)
        return await self._run(asked, second, began)

    async def _next(self, asked: Question, first: Strategy) -> Strategy | None:
        """The best of the others by the estimates, unless it is the same plan."""
        estimates = await self._estimates(asked)
        costs = {estimate.strategy: estimate.cost for estimate in estimates}
        return next((e.strategy for e in estimates if not 1 / SAME < e.cost / costs[first] < SAME), None)

    async def _estimates(self, asked: Question, cheap: float = 0.0) -> list[Estimate]:
        """The strategies that can answer, cheapest first; only the planner's own when it is cheap."""
        async with postgres.connection(self._pool, asked.leg.within) as connection:

            async def plan(strategy: Strategy) -> dict[str, float]:
                text = await connection.fetchval(f"EXPLAIN (FORMAT JSON) {asked.matching(strategy)}", *asked.arguments)
                return json.loads(text)[0]["Plan"]  # type: ignore[no-any-return]

            join = await plan("join")
            found = [Estimate(join["Total Cost"], "join")]
            if join["Total Cost"] >= cheap:
                probing = PROBING["flow_runs" if asked.leg.task_runs is None else "task_runs"]
                probe, driven = probing * (await plan("probe"))["Total Cost"], (await plan("driven"))["Total Cost"]
                found += [Estimate(probe, "probe"), Estimate(driven, "driven")]
                if asked.leg.limit and not asked.leg.count:
                    share = min(1.0, (asked.leg.limit + asked.leg.offset) / join["Plan Rows"])
                    found.append(Estimate(probe * share, "walk"))
            return sorted(found)

    def _recall(self, key: bytes) -> Known:
        """What is known of a request, to be added to; the requests unused longest are forgotten."""
        known = self._known.pop(key, None)
        if known is None or monotonic() > known.until:
            known = Known({}, monotonic() + FRESH)
        self._known[key] = known
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return known


def _key(leg: RunLeg) -> bytes:
    """Equal for legs that differ in nothing but the page: its number decides only for `walk`."""
    page_only = bool(leg.limit) and not leg.count
    asked = replace(
        leg,
        within=0.0,
        request_id="",
        traceparent="",
        sort="NAME_ASC",
        limit=None,
        count=page_only,
        offset=leg.offset if page_only else 0,
    )
    return hashlib.blake2b(msgspec.msgpack.encode(asked), digest_size=16).digest()
