"""The replay: each request to both servers, a few at a time; what differs is told as it is found, all is counted."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median, quantiles

import msgspec
from msgspec import Raw

from services.compare.requests import Request
from services.compare.server import Answer, Server
from shared import agreement
from shared.agreement import Reply
from shared.differences import Difference

PASSED_ON = "answered by the upstream"  # in place of the fleet: a server was compared with itself, or with its like
OUTCOMES = ("same", "moved", "different", "unanswered", PASSED_ON)
Tell = Callable[[str], None]
Done = Callable[[], object]


@dataclass
class Tally:
    """How many requests came out how, the deployments in compared answers, and the seconds of each first answer."""

    limit: int  # of the differences that are told
    tell: Tell
    outcomes: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    seconds: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))

    @property
    def agrees(self) -> bool:
        return not any(self.outcomes[name] for name in ("different", "unanswered", PASSED_ON))

    def add(self, outcome: str, request: Request, found: Difference | None) -> None:
        self.outcomes[outcome] += 1
        if found and self.outcomes[outcome] <= self.limit:
            self.tell(f"{request}\n    differs at {found.place}\n    first:  {found.one}\n    second: {found.other}\n")


@dataclass
class Asked:
    """One request, and what each server answered to it at first."""

    request: Request
    servers: Sequence[Server]
    first: dict[int, Answer] = field(default_factory=dict)
    passed_on: bool = False

    async def ask(self, which: int) -> Reply:
        answer = await self.servers[which].timed(self.request)
        self.first.setdefault(which, answer)
        self.passed_on = self.passed_on or answer.passed_on
        return answer.reply

    async def compare(self, one: Reply, other: Reply) -> Difference | None:
        return await asyncio.to_thread(agreement.difference, self.request.body or b"", one, other)

    async def rows(self) -> int | None:
        """The deployments in the fuller answer; None when neither is one to the search."""
        found = [await asyncio.to_thread(rows, answer.reply) for answer in self.first.values()]
        return max((number for number in found if number is not None), default=None)


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
    for which, answer in asked.first.items():
        tally.seconds[which].append(answer.seconds)
    if asked.passed_on:
        return PASSED_ON, None
    number = await asked.rows()
    if outcome == "same" and number is None:
        return "unanswered", None
    tally.rows += number or 0
    if found and begins:
        found = found._replace(one=found.other, other=found.one)
    return outcome, found


def rows(reply: Reply) -> int | None:
    """How many deployments are in an answer; None for what is no answer to a search, such as a page for people."""
    if not reply.tells or 300 <= reply.status < 400:
        return None
    try:
        top = msgspec.json.decode(reply.body, type=list[Raw] | dict[str, Raw] | int | float | str | bool | None)
        results = top.get("results") if isinstance(top, dict) else top
        found = msgspec.json.decode(results, type=list[Raw]) if isinstance(results, Raw) else results
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(found, list):
        return len(found)
    return int(reply.status == 200 and isinstance(top, dict))


def summary(tally: Tally, servers: Sequence[Server]) -> Iterator[str]:
    counted = ", ".join(f"{tally.outcomes[name]} {name}" for name in OUTCOMES)
    yield f"{tally.outcomes.total()} requests: {counted}"
    if not tally.outcomes:
        return
    yield from _what_it_is_worth(tally, servers)
    yield from _times(tally, servers)


def _what_it_is_worth(tally: Tally, servers: Sequence[Server]) -> Iterator[str]:
    """What was compared; and what was not, though it may look alike."""
    whole, passed_on = tally.outcomes.total(), tally.outcomes[PASSED_ON]
    if tally.rows:
        yield f"{tally.rows:,} deployments were compared"
    elif whole == passed_on + tally.outcomes["unanswered"]:
        yield "Nothing was compared"
    else:
        yield "No deployment was compared: no answer had one. Are there any in the database?"
    if passed_on:
        yield f"{passed_on} of {whole} were answered by the upstream in place of the fleet: nothing was compared there"
    for server in servers:
        for name, times in server.strangers.items():
            yield f"{server.url} is a gateway of Classis, but {times} of its answers came from {name}"


def _times(tally: Tally, servers: Sequence[Server]) -> Iterator[str]:
    times = [(1000 * median(each), 1000 * _p95(each)) for each in tally.seconds]
    yield f"{'':8}{'median':>12}{'p95':>12}"
    for name, (middle, high), server in zip(("first", "second"), times, servers, strict=True):
        yield f"{name:8}{middle:>9.1f} ms{high:>9.1f} ms   {server.url}"
    ratios = [one / max(other, 1e-9) for one, other in zip(*times, strict=True)]
    yield f"{'ratio':8}{ratios[0]:>12.2f}{ratios[1]:>12.2f}"


def _p95(seconds: Sequence[float]) -> float:
    return quantiles(seconds, n=20, method="inclusive")[-1] if len(seconds) > 1 else seconds[0]
