"""The load: a steady stream of searches at a fixed rate, whether or not the answers come, in a thread of its own.

A request's time counts from the moment it was due, so a stall shows in every request it delayed. Each answer is compared
with the one it must be.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from math import inf
from time import monotonic, thread_time
from types import TracebackType
from typing import Any, Self, TypeVar

import uvloop

from tests.fault.balancer import Balancer
from tests.fault.questions import Expected, Question
from tests.fault.records import OK, WRONG, Mark, Record, Sample, record
from tests.fault.wire import Answer, Lost, Refused

T = TypeVar("T")

PATIENCE = 30.0  # seconds; longer than any deadline of a test
STREAK = 12  # requests in a row that are answered well: it has recovered


class Load:
    """Runs while its block does; leaving waits for what is under way."""

    def __init__(
        self,
        urls: Sequence[str],
        questions: Sequence[Question],
        expected: Expected,
        rate: float = 40.0,
        poll: float = 0.2,
    ) -> None:
        self.samples: list[Sample] = []
        self.marks: list[Mark] = []
        self.bad_refusals = 0  # 503 without Retry-After
        self._urls = urls
        self._questions = questions
        self._expected = expected
        self._pause = 1 / rate
        self._poll = poll
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="load")
        self._under_way: set[asyncio.Task[None]] = set()
        self._streak = deque[float](maxlen=10 * STREAK)  # when its requests were due
        self._seen: dict[Callable[[], bool], asyncio.Future[None]] = {}
        self._mistakes: list[BaseException] = []  # ours, not the fleet's
        self._next: asyncio.TimerHandle | None = None

    # --- from the test's thread

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._begin())
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        try:
            self._do(self._end())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def mark(self) -> None:
        """From now on counts the time to recover, until it is steady."""
        self.marks.append((monotonic(), inf))

    def run(self, seconds: float) -> None:
        """Goes on for a while."""
        self._do(self._wait(seconds))

    def steady(self, within: float) -> float:
        """Waits until requests due after now are answered well, many in a row; gives the seconds that took."""
        took = self._do(self._recovery(within))
        if self.marks:
            self.marks[-1] = (self.marks[-1][0], monotonic())
        return took

    def taken(self) -> list[Sample]:
        """The samples since the last time."""
        given, self.samples = self.samples, []
        return given

    def cpu(self) -> float:
        """CPU seconds that the load itself has used."""
        return self._do(self._cpu())

    def add(self, url: str) -> None:
        self._do(self._add(url))

    def remove(self, url: str) -> None:
        self._do(self._balancer.remove(url))

    def record(self, fault: str) -> Record:
        made = record(fault, self.samples, self.marks or [(0.0, inf)])
        if self.bad_refusals:
            made.notes.append(f"{self.bad_refusals} refusals without Retry-After")
        return made

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    # --- in the load's own thread

    async def _begin(self) -> None:
        self._balancer = Balancer(self._poll)
        for url in self._urls:
            self._balancer.add(url)
        self._due(0, monotonic())

    async def _end(self) -> None:
        if self._next:
            self._next.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way)
        await self._balancer.close()
        if self._mistakes:
            raise self._mistakes[0]

    async def _cpu(self) -> float:
        return thread_time()

    async def _add(self, url: str) -> None:
        self._balancer.add(url)

    async def _wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)  # the load is the event: it goes on meanwhile

    def _due(self, number: int, at: float) -> None:
        """Sends the request that is due, and those that should have been sent by now."""
        while at <= monotonic():
            question = self._questions[number % len(self._questions)]
            task = self._loop.create_task(self._ask(question, at))
            self._under_way.add(task)
            task.add_done_callback(self._done)
            number, at = number + 1, at + self._pause
        self._next = self._loop.call_later(at - monotonic(), self._due, number, at)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if error := task.exception():
            self._mistakes.append(error)

    async def _ask(self, question: Question, at: float) -> None:
        outcome = await self._outcome(question)
        self.samples.append(Sample(question.name, at, monotonic() - at, outcome))
        self._count(at, outcome)

    async def _outcome(self, question: Question) -> str:
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await self._balancer.ask(question.request)
        except (Refused, Lost) as error:
            return type(error).__name__.lower()
        except TimeoutError:
            return "no answer"
        return self._judged(question, answer)

    def _judged(self, question: Question, answer: Answer) -> str:
        if answer.status == 200:
            return OK if answer.body == self._expected[question.name] else WRONG
        if answer.status == 503 and b"\r\nretry-after: " not in answer.head:
            self.bad_refusals += 1
        return str(answer.status)

    def _count(self, at: float, outcome: str) -> None:
        if outcome == OK:
            self._streak.append(at)
        else:
            self._streak.clear()
        for done, seen in tuple(self._seen.items()):
            if done() and not seen.done():
                seen.set_result(None)

    async def _recovery(self, within: float) -> float:
        start = monotonic()

        def done() -> bool:
            return sum(at >= start for at in self._streak) >= STREAK

        seen = self._seen[done] = self._loop.create_future()
        try:
            async with asyncio.timeout(within):
                await seen
        except TimeoutError:
            last = [sample.outcome for sample in self.samples[-STREAK:]]
            raise AssertionError(f"not steady after {within} s; the last outcomes: {last}") from None
        finally:
            del self._seen[done]
        return max(0.0, next(at for at in self._streak if at >= start) - start)
