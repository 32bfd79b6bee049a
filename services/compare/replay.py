"""The replay: each request to both servers, a few at a time; what differs is told as it is found, all is counted."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median, quantiles

from services.compare.requests import Request
from services.compare.server import Server
from shared import agreement
from shared.agreement import Reply
from shared.differences import Difference

OUTCOMES = ("same", "moved", "different", "unanswered")
Tell = Callable[[str], None]
Done = Callable[[], object]


@dataclass
class Tally:
    """How many requests came out how, and the seconds of the first answer of each server."""

    limit: int  # of the differences that are told
    tell: Tell
    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))

    @property
    def agrees(self) -> bool:
        return not self.outcomes["different"] and not self.outcomes["unanswered"]

    def add(self, outcome: str, request: Request, found: Difference | None) -> None:
        self.outcomes[outcome] += 1
        if found and self.outcomes[outcome] <= self.limit:
            self.tell(f"{request}\n    differs at {found.place}\n    first:  {found.one}\n    second: {found.other}\n")


@dataclass
class Asked:
    """One request, and what each server answered to it at first."""

    request: Request
    servers: Sequence[Server]
    first: dict[int, tuple[Reply, float]] = field(default_factory=dict)

    async def ask(self, which: int) -> Reply:
        reply, seconds = await self.servers[which].timed(self.request)
        self.first.setdefault(which, (reply, seconds))
        return reply

    async def compare(self, one: Reply, other: Reply) -> Difference | None:
        return await asyncio.to_thread(agreement.difference, self.request.body or b"", one, other)


async def replay(
    servers: Sequence[Server], requests: Iterable[Request], at_once: int, tally: Tally, done: Done
) -> None:
    """Asks all; `done` is called for each."""
    waiting = iter(enumerate(requests))

    async def work() -> None:
        for number, request in waiting:
            outcome, found = await _compared(number % 2, Asked(request, servers), tally)
            tally.add(outcome, request, found)
            done()

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work())


async def _compared(begins: int, asked: Asked, tally: Tally) -> tuple[str, Difference | None]:
    """The outcome. The servers take turns to be asked first: the second one finds a warm database."""
    one, other = (partial(asked.ask, which) for which in (begins, 1 - begins))
    outcome, found = await agreement.settled(one, other, asked.compare)
    for which, (_, seconds) in asked.first.items():
        tally.seconds[which].append(seconds)
    if outcome == "same" and not any(reply.tells for reply, _ in asked.first.values()):
        return "unanswered", None
    if found and begins:
        found = found._replace(one=found.other, other=found.one)
    return outcome, found


def summary(tally: Tally, servers: Sequence[Server]) -> Iterator[str]:
    counted = ", ".join(f"{tally.outcomes[name]} {name}" for name in OUTCOMES)
    yield f"{tally.outcomes.total()} requests: {counted}"
    if not tally.outcomes:
        return
    times = [(1000 * median(each), 1000 * _p95(each)) for each in tally.seconds]
    yield f"{'':8}{'median':>12}{'p95':>12}"
    for name, (middle, high), server in zip(("first", "second"), times, servers, strict=True):
        yield f"{name:8}{middle:>9.1f} ms{high:>9.1f} ms   {server.url}"
    ratios = [one / max(other, 1e-9) for one, other in zip(*times, strict=True)]
    yield f"{'ratio':8}{ratios[0]:>12.2f}{ratios[1]:>12.2f}"


def _p95(seconds: Sequence[float]) -> float:
    return quantiles(seconds, n=20, method="inclusive")[-1] if len(seconds) > 1 else seconds[0]
