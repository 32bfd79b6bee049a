"""The answering side of the bus: a task per message, bounded, finished before leaving.

nats-py runs one callback at a time per subscription, so each accepted message becomes a task. Every subject is heard by
the queue group, and by each replica under its own name. Two more subjects let callers ask who holds a call, and give
one up (`shared.calling`).
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache
from time import monotonic
from typing import Any, TypeVar

import msgspec
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from shared import contract, discovery, errors, metrics, origin, parts, tracing
from shared.calling import encode, traced
from shared.contract import Call, Endpoint, Peer
from shared.discovery import Tally
from shared.fetching import Fetching
from shared.line import LEAVING, TROUBLE, Line, Message, failure
from shared.settings import Settings

log = logging.getLogger(__name__)

Q = TypeVar("Q", bound=Call)
R = TypeVar("R")
Answer = Callable[[Message], Awaitable[Message]]
_timed = cache(metrics.SERVED.labels)  # prometheus_client takes longer to find it
Accept = Callable[[Msg], Awaitable[None]]


class Listener:
    """One subject that is heard; subscribed once there is a connection."""

    def __init__(self, subject: str, group: str, accept: Accept) -> None:
        self.subject = subject
        self.group = group
        self.accept = accept
        self.subscription: Subscription | None = None


class Server:
    """Answers on one line."""

    def __init__(self, line: Line, settings: Settings) -> None:
        self._line = line
        self._fetching = Fetching(line)
        self._settings = settings
        self._listeners: list[Listener] = []
        self._tallies: list[Tally] = []
        self._working: set[asyncio.Task[None]] = set()
        self._held: dict[str, asyncio.Task[None]] = {}  # by reply address
        self._started = False
        self._leaving = False
        metrics.IN_FLIGHT.labels(line.service).set_function(self._working.__len__)

    async def subscribe(self) -> None:
        """Subscribes what is heard already, and what joins meanwhile; nats-py does so again when it reconnects."""
        for listener in self._listeners:
            await self._subscribe(listener)
        self._started = True

    async def finish(self) -> None:
        """Waits for what was accepted, as far as its deadline lets it, and cancels the rest."""
        if not self._working:
            return
        _, late = await asyncio.wait(self._working, timeout=self._settings.deadline)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=LEAVING)

    @asynccontextmanager
    async def serve(self, endpoint: Endpoint[Q, R], answer: Callable[[Q], Awaitable[R]]) -> AsyncIterator[None]:
        """Answers the requests of an endpoint until the block is left."""
        decode = msgspec.msgpack.Decoder(endpoint.request).decode

        async def decoded(message: Message) -> Message:
            try:
                request = decode(message.payload)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise errors.Malformed(str(error)) from error
            if request.within <= 0:
                raise errors.DeadlineSpent("the caller waits no more")
            origin.request_id.set(origin.named(request.request_id))
            about = traced(endpoint.subject)
            with tracing.span(f"serve {endpoint.subject}", parent=request.traceparent, kind="server", **about):
                async with asyncio.timeout(request.within):
                    return Message(encode(await answer(request)))

        async with self.listen(endpoint, decoded, parts.LARGEST):
            yield

    @asynccontextmanager
    async def listen(self, endpoint: Endpoint[Any, Any], answer: Answer, largest: int) -> AsyncIterator[None]:
        """Answers every message of an endpoint, each in a task of its own.

        A payload of more than `largest` bytes is refused. On leaving, no more is accepted; `finish` waits for the rest.
        """
        tally = Tally(endpoint.subject, endpoint.service)

        async def accept(msg: Msg) -> None:
            await self._accept(msg, tally, answer, largest)

        if not self._tallies:
            await self._hear(*self._about_us())
        self._tallies.append(tally)
        listeners = (
            Listener(endpoint.subject, endpoint.service, accept),
            Listener(contract.direct(endpoint.subject, self._line.id), "", accept),
        )
        await self._hear(*listeners)
        try:
            yield
        finally:
            self._leaving = True
            self._tallies.remove(tally)
            for listener in listeners:
                self._listeners.remove(listener)
                await self._unsubscribe(listener)

    def _about_us(self) -> list[Listener]:
        """What is heard besides the endpoints, until the connection is closed."""
        service, replica = self._line.service, self._line.id
        told = discovery.Replica(service, replica, self._tallies)
        return [
            Listener(contract.peers(service), "", self._on_peers),
            Listener(contract.released(service), "", self._on_released),
            *(Listener(subject, "", self._telling(tell)) for subject, tell in told.subjects()),
        ]

    def _telling(self, tell: Callable[[], bytes]) -> Accept:
        async def accept(msg: Msg) -> None:
            await self._line.reply(msg, Message(tell()))

        return accept

    async def _hear(self, *listeners: Listener) -> None:
        self._listeners += listeners
        if self._started:
            for listener in listeners:
                await self._subscribe(listener)

    async def _subscribe(self, listener: Listener) -> None:
        listener.subscription = await self._line.client.subscribe(listener.subject, listener.group, cb=listener.accept)
        with contextlib.suppress(*TROUBLE):
            await self._line.client.flush()  # from here on, whoever calls is heard

    async def _unsubscribe(self, listener: Listener) -> None:
        if listener.subscription and self._line.connected:
            with contextlib.suppress(*TROUBLE):
                async with asyncio.timeout(LEAVING):
                    await listener.subscription.drain()  # type: ignore[no-untyped-call]

    # --- one message

    async def _accept(self, msg: Msg, tally: Tally, answer: Answer, largest: int) -> None:
        if msg.reply in self._held:  # sent again while we work on it: it has one reply
            return
        if msg.reply and not self._line.may_reply(msg.reply):
            return
        if len(self._working) >= self._settings.concurrency:
            metrics.REFUSED.labels(tally.service).inc()
            await self._line.reply(msg, self._failure(errors.Busy()))
            return
        task = asyncio.create_task(self._work(msg, tally, answer, largest))
        self._working.add(task)
        if msg.reply:
            self._held[msg.reply] = task

        def over(_: asyncio.Task[None]) -> None:
            self._working.discard(task)
            self._held.pop(msg.reply, None)

        task.add_done_callback(over)

    async def _work(self, msg: Msg, tally: Tally, answer: Answer, largest: int) -> None:
        began, outcome = monotonic(), "Cancelled"
        try:
            reply, outcome = await self._answered(msg, answer, largest)
            await self._line.reply(msg, reply)
        finally:
            took = monotonic() - began
            tally.add(took, outcome)
            _timed(tally.subject, outcome).observe(took)
            log.debug("%s: %s in %.1f ms", tally.subject, outcome, took * 1000)

    async def _answered(self, msg: Msg, answer: Answer, largest: int) -> tuple[Message, str]:
        """The reply, and how it is called: ok, or the name of an error."""
        try:
            async with asyncio.timeout(min(self._settings.deadline, _within(msg))):
                async with self._fetching.whole(msg, largest) as message:
                    answered = await answer(message)
                reply = self._line.offer(answered)  # outside: until it is sent, no cancellation may come between
                return reply, reply.headers.get(contract.ERROR_NAME, "ok")
        except TimeoutError:
            return self._failure(errors.DeadlineSpent()), "DeadlineSpent"
        except errors.FleetError as error:
            log.log(logging.INFO if error.code < 500 else logging.WARNING, "%s: %r", msg.subject, error)
            return self._failure(error), type(error).__name__
        except Exception:  # the door of a service: a mistake of ours is logged here and told as no more than that
            log.exception("%s failed", msg.subject)
            return self._failure(errors.Broken()), "Broken"

    def _failure(self, error: errors.FleetError) -> Message:
        return failure(error, **{contract.REPLICA: self._line.id})

    # --- what callers ask about their calls

    async def _on_peers(self, msg: Msg) -> None:
        holds = msg.data.decode("ascii", "replace") in self._held
        if holds or not self._leaving:
            await self._line.reply(msg, Message(encode(Peer(self._line.id, holds))))

    async def _on_released(self, msg: Msg) -> None:
        if task := self._held.get(msg.data.decode("ascii", "replace")):
            metrics.RELEASED.labels(self._line.service).inc()
            task.cancel()


def _within(msg: Msg) -> float:
    """The seconds that a caller allows, where a header tells them."""
    try:
        return max(0.0, float((msg.headers or {}).get(contract.WITHIN, "inf")))
    except ValueError:
        return float("inf")
