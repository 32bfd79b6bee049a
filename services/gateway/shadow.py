"""The upstream as a witness: it is asked a share of the searches too, and what it answers otherwise is told.

That happens after the client's answer was made, to a few searches at a time. A difference counts when it stays while
both are asked again, because the data may have changed between two answers.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from services.gateway import decode, problems
from services.gateway.problems import Answer, Problem, Unreachable
from services.gateway.upstream import Upstream
from shared import agreement, metrics
from shared.agreement import Reply
from shared.differences import Difference
from shared.settings import Settings

log = logging.getLogger(__name__)

AT_ONCE = 2
TOLD = 2048  # bytes of a body
OUTCOMES = ("same", "moved", "different", "failed", "skipped")


class Silent(Exception):
    """One of the two has no answer, so there is nothing to compare."""


@dataclass
class Question:
    """A search that was answered, and the ways to ask it again."""

    request: web.BaseRequest
    body: bytes
    outcome: Answer | Exception | None  # ours, until it is used
    again: Callable[[], Awaitable[Answer]]
    upstream: Upstream
    most: int  # rows of a page whose search sets no limit

    async def ours(self) -> Reply:
        """First what the client got, then what it would get now."""
        outcome, self.outcome = self.outcome, None
        if outcome is None:
            try:
                outcome = await self.again()
            except Exception as error:  # a refusal is an answer too
                outcome = error
        if isinstance(outcome, Exception):
            outcome = await decode.aside(len(self.body), problems.answer_to, outcome)
        return _reply(outcome)

    async def theirs(self) -> Reply:
        try:
            return _reply(await self.upstream.answer(self.request, self.body))
        except (Unreachable, Problem) as error:
            raise Silent from error

    async def compare(self, ours: Reply, theirs: Reply) -> Difference | None:
        size = len(ours.body) + len(theirs.body)
        return await decode.aside(size, agreement.difference, self.body, ours, theirs, self.most)


class Shadow:
    """So many comparisons at a time."""

    def __init__(self, upstream: Upstream, share: float, most_rows: int) -> None:
        self._upstream = upstream
        self._share = share
        self._most_rows = most_rows
        self._running: set[asyncio.Task[None]] = set()

    def follow(
        self,
        request: web.BaseRequest,
        body: bytes,
        outcome: Answer | Exception,
        again: Callable[[], Awaitable[Answer]],
    ) -> None:
        """Has the upstream asked too, by chance and where there is a place. Returns at once."""
        if random.random() >= self._share:  # noqa: S311 — a sample
            return
        if len(self._running) >= AT_ONCE:
            _count("skipped")
            return
        question = Question(request, body, outcome, again, self._upstream, self._most_rows)
        task = asyncio.create_task(_told(question))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def leave(self) -> None:
        """Gives up what is not done."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


@asynccontextmanager
async def opened(upstream: Upstream, settings: Settings) -> AsyncIterator[Shadow | None]:
    """The comparisons, if there are to be any."""
    if not settings.shadow:
        yield None
        return
    for outcome in OUTCOMES:
        metrics.SHADOWS.labels(outcome)  # a counter that begins at 1 would hide the first difference from an alert
    shadow = Shadow(upstream, settings.shadow, settings.default_limit)
    try:
        yield shadow
    finally:
        await shadow.leave()


async def _told(question: Question) -> None:
    """Compares, and tells. This is a task's own door: an error is told here or nowhere."""
    try:
        outcome, found = await agreement.settled(question.ours, question.theirs, question.compare)
    except Silent:
        _count("failed")
    except Exception:
        _count("failed")
        log.exception("a comparison with the upstream failed")
    else:
        _count(outcome)
        if found:
            request, body = question.request, question.body[:TOLD].decode(errors="backslashreplace")
            place = f"{request.method} {request.raw_path} {body}"
            log.warning("the upstream differs at %s: ours %s, theirs %s; asked: %s", *found, place)


def _reply(answer: Answer) -> Reply:
    reply = Reply(answer.status, answer.body)
    if not reply.tells:
        raise Silent
    return reply


def _count(outcome: str) -> None:
    metrics.SHADOWS.labels(outcome).inc()
