"""NATS: connect, call, serve. Deadlines, errors and large payloads are dealt with here; no service sees them.

Three things that nats-py leaves to its users are done here. Calls share one inbox of our own, so that a lost connection
fails them at once. Each accepted message becomes a task, because a subscription runs one callback at a time. And a
payload larger than the server takes goes in parts (`shared.parts`).
"""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from shared import contract, errors, parts
from shared.contract import Call, Endpoint
from shared.natsclient import SteadyClient
from shared.parts import Offers
from shared.settings import Settings

log = logging.getLogger(__name__)

Q = TypeVar("Q", bound=Call)
R = TypeVar("R")
Headers = Mapping[str, str]

HEADROOM = 1024  # bytes of a message left for the protocol and headers
PARTS_AT_ONCE = 4
TROUBLE = (NatsError, OSError, TimeoutError)  # what nats-py raises when the connection goes while it is in use
OFFER_KEPT = 30.0  # seconds an offered payload waits to be fetched
LEAVING = 2.0  # seconds NATS gets to confirm that we leave
UNLIMITED = -1

encode = msgspec.msgpack.Encoder(uuid_format="bytes").encode


@dataclass(frozen=True)
class Message:
    """What crosses the bus: the payload, and headers only where something is out of the ordinary."""

    payload: bytes = b""
    headers: Headers = field(default_factory=dict)


Answer = Callable[[Message], Awaitable[Message]]


class Listener:
    """One subject that is answered, as a member of a queue group; subscribed once there is a connection."""

    def __init__(self, subject: str, group: str, accept: Callable[[Msg], Awaitable[None]]) -> None:
        self.subject = subject
        self.group = group
        self.accept = accept
        self.subscription: Subscription | None = None


class Bus:
    """One connection to NATS. Made by `connect`."""

    def __init__(self, client: SteadyClient, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._ids = itertools.count()
        self._calls: dict[str, asyncio.Future[Msg]] = {}
        self._inbox = client.new_inbox()
        self._offers = Offers(f"{parts.SUBJECT}.{self._inbox.rpartition('.')[2]}")
        self._listeners: list[Listener] = []
        self._accepted: set[asyncio.Task[None]] = set()
        self._up = asyncio.Event()
        self._told: set[str] = set()
        self._leaving = False

    @property
    def connected(self) -> bool:
        return self._up.is_set() and bool(self._client.is_connected)

    async def up(self, within: float | None = None) -> None:
        """Waits until the first connection stands and every listener is heard. Raises DeadlineSpent."""
        try:
            await asyncio.wait_for(self._up.wait(), within)
        except TimeoutError:
            raise errors.DeadlineSpent(f"NATS did not answer within {within} s") from None

    async def start(self, **options: Any) -> None:
        """Connects, for as long as it takes, and subscribes what listens already."""
        await self._client.connect(
            disconnected_cb=self._on_disconnect,
            reconnected_cb=self._on_reconnect,
            error_cb=self._on_error,
            **options,
        )
        replies = f"{self._inbox}.*"
        await self._client.subscribe(
            replies, cb=self._on_reply, pending_msgs_limit=UNLIMITED, pending_bytes_limit=UNLIMITED
        )
        await self._client.subscribe(f"{self._offers.subject}.*", cb=self._on_fetch)
        for listener in tuple(self._listeners):
            await self._subscribe(listener)
        self._up.set()
        log.info("connected to NATS")

    async def close(self) -> None:
        """Finishes what was accepted, as far as its deadline lets it, then leaves."""
        if self._accepted:
            _, late = await asyncio.wait(self._accepted, timeout=self._settings.deadline)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=LEAVING)
        if self._client.is_connected:
            with contextlib.suppress(*TROUBLE):
                async with asyncio.timeout(LEAVING):
                    await self._client.flush()
        self._leaving = True
        if self._up.is_set():
            if not self._client.is_connected:
                self._client.abort()
            with contextlib.suppress(*TROUBLE):
                async with asyncio.timeout(LEAVING):
                    await self._client.close()

    # --- the caller's side

    async def call(self, endpoint: Endpoint[Q, R], request: Q, within: float) -> R:
        """Asks a service. `within` is what is left of the deadline, in seconds, and is told to the service.

        Raises what the service raised, and what `ask` raises.
        """
        request = msgspec.structs.replace(request, within=within)
        reply = await self.ask(endpoint.subject, Message(encode(request)), within)
        raise_for(reply.headers)
        try:
            return msgspec.msgpack.decode(reply.payload, type=endpoint.reply)  # type: ignore[no-any-return]
        except msgspec.DecodeError as error:
            raise errors.Broken(f"{endpoint.subject} replied what we cannot read: {error}") from error

    async def ask(self, subject: str, message: Message, within: float) -> Message:
        """Sends one message and gives the reply to it, be it an error.

        Raises Absent when none listens, Disconnected, DeadlineSpent, or Busy when too much is on its way already.
        """
        try:
            async with asyncio.timeout(within):
                with self._offered(message, within) as sent:
                    return await self._whole(await self._exchange(subject, sent), parts.LARGEST)
        except TimeoutError:
            raise errors.DeadlineSpent(f"{subject} did not answer within {within:.1f} s") from None

    async def _exchange(self, subject: str, message: Message) -> Msg:
        """One message and its one reply, both within the server's limit."""
        if not self.connected:
            raise errors.Disconnected("no connection to NATS")
        token = str(next(self._ids))
        future: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._calls[token] = future
        try:
            await self._publish(subject, message, reply=f"{self._inbox}.{token}")
            if (task := asyncio.current_task()) and task.cancelling():
                raise asyncio.CancelledError  # nats-py swallows it while it waits for room to write
            reply = await future
        except (NatsError, OSError) as error:
            raise errors.Disconnected(f"NATS: {error}") from error
        finally:
            self._calls.pop(token, None)
        if reply.headers and reply.headers.get("Status") == "503":
            raise errors.Absent(f"nobody listens on {subject}")
        return reply

    async def _on_reply(self, msg: Msg) -> None:
        future = self._calls.get(msg.subject.rpartition(".")[2])
        if future and not future.done():
            future.set_result(msg)

    async def _on_disconnect(self) -> None:
        if not self._leaving:
            log.warning("lost the connection to NATS")
        for future in self._calls.values():
            if not future.done():
                future.set_exception(errors.Disconnected("lost the connection to NATS"))

    async def _on_reconnect(self) -> None:
        log.info("connected to NATS again")
        self._told.clear()

    async def _on_error(self, error: Exception) -> None:
        """Tells each kind of trouble once until it is over; nats-py tells it at every attempt to connect."""
        if repr(error) not in self._told:
            log.warning("NATS: %r", error)
        self._told.add(repr(error))

    # --- the service's side

    @asynccontextmanager
    async def serve(self, endpoint: Endpoint[Q, R], answer: Callable[[Q], Awaitable[R]]) -> AsyncIterator[None]:
        """Answers the requests of an endpoint until the block is left."""
        decode = msgspec.msgpack.Decoder(endpoint.request).decode

        async def decoded(message: Message) -> Message:
            try:
                request = decode(message.payload)
            except (msgspec.DecodeError, RecursionError) as error:
                raise errors.Malformed(str(error)) from error
            if request.within <= 0:
                raise errors.DeadlineSpent("the caller waits no more")
            async with asyncio.timeout(request.within):
                return Message(encode(await answer(request)))

        async with self.listen(endpoint.subject, endpoint.service, decoded, parts.LARGEST):
            yield

    @asynccontextmanager
    async def listen(self, subject: str, group: str, answer: Answer, largest: int) -> AsyncIterator[None]:
        """Answers every message on a subject, each in a task of its own, as one member of a queue group.

        A payload of more than `largest` bytes is refused. On leaving, no more is accepted; `close` waits for the rest.
        """

        async def accept(msg: Msg) -> None:
            if len(self._accepted) >= self._settings.concurrency:
                await self._reply(msg, failure(errors.Busy()))
                return
            task = asyncio.create_task(self._answer(msg, answer, largest))
            self._accepted.add(task)
            task.add_done_callback(self._accepted.discard)

        listener = Listener(subject, group, accept)
        self._listeners.append(listener)
        if self._up.is_set():
            await self._subscribe(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)
            await self._unsubscribe(listener)

    async def _subscribe(self, listener: Listener) -> None:
        listener.subscription = await self._client.subscribe(listener.subject, listener.group, cb=listener.accept)
        with contextlib.suppress(*TROUBLE):
            await self._client.flush()  # from here on, whoever calls is heard

    async def _unsubscribe(self, listener: Listener) -> None:
        if listener.subscription and self.connected:
            with contextlib.suppress(*TROUBLE):
                async with asyncio.timeout(LEAVING):
                    await listener.subscription.drain()  # type: ignore[no-untyped-call]

    async def _answer(self, msg: Msg, answer: Answer, largest: int) -> None:
        try:
            async with asyncio.timeout(min(self._settings.deadline, _within(msg))):
                reply = self._offer(await answer(await self._whole(msg, largest)))
        except TimeoutError:
            reply = failure(errors.DeadlineSpent())
        except errors.FleetError as error:
            log.log(logging.INFO if error.code < 500 else logging.WARNING, "%s: %r", msg.subject, error)
            reply = failure(error)
        except Exception:  # the door of a service: a mistake of ours is logged here and told as no more than that
            log.exception("%s failed", msg.subject)
            reply = failure(errors.Broken())
        await self._reply(msg, reply)

    async def _reply(self, msg: Msg, reply: Message) -> None:
        if not msg.reply:  # it was published, not asked
            return
        try:
            await self._publish(msg.reply, reply)
        except TROUBLE as error:
            log.warning("a reply on %s was lost: %r", msg.subject, error)

    # --- payloads larger than a message

    @contextlib.contextmanager
    def _offered(self, message: Message, within: float) -> Iterator[Message]:
        """A message that fits; what it offers is withdrawn when the block is left."""
        sent = self._offer(message, {contract.WITHIN: str(within)})
        try:
            yield sent
        finally:
            if sent is not message:
                self._offers.withdraw(sent.headers[parts.HEADER].rpartition(".")[2])

    def _offer(self, message: Message, extra: Headers | None = None) -> Message:
        """The message itself when it fits, else one that says where its parts are."""
        size = self._client.max_payload - HEADROOM
        if len(message.payload) <= size:
            return message
        token = str(next(self._ids))
        offer = self._offers.add(token, message.payload, size)
        asyncio.get_running_loop().call_later(OFFER_KEPT, self._offers.withdraw, token)
        return Message(b"", {**(extra or {}), **message.headers, parts.HEADER: offer.header()})

    async def _on_fetch(self, msg: Msg) -> None:
        token = msg.subject.rpartition(".")[2]
        part = self._offers.part(token, int(msg.data)) if msg.data.isdigit() else None
        await self._reply(msg, failure(errors.DeadlineSpent()) if part is None else Message(part))

    async def _whole(self, msg: Msg, largest: int) -> Message:
        """The message with its payload, fetched in parts if it only offers them."""
        headers = msg.headers or {}
        if parts.HEADER not in headers:
            return Message(msg.data, headers)
        offer = parts.read(headers[parts.HEADER], largest)
        found: list[bytes] = [b""] * offer.number
        indices = iter(range(offer.number))

        async def fetch() -> None:
            for index in indices:
                reply = await self._exchange(offer.subject, Message(b"%d" % index))
                raise_for(reply.headers or {})
                found[index] = reply.data

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(PARTS_AT_ONCE):
                    group.create_task(fetch())
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        payload = b"".join(found)
        if len(payload) != offer.total:
            raise errors.Malformed("the parts are not what was offered")
        return Message(payload, headers)

    async def _publish(self, subject: str, message: Message, reply: str = "") -> None:
        await self._client.publish(subject, message.payload, reply, headers=dict(message.headers) or None)


def _within(msg: Msg) -> float:
    """The seconds that a caller allows, where a header tells them."""
    try:
        return max(0.0, float((msg.headers or {}).get(contract.WITHIN, "inf")))
    except ValueError:
        return float("inf")


def raise_for(headers: Headers) -> None:
    """Raises the error that the headers of a reply tell of, if they do."""
    if code := headers.get(contract.ERROR_CODE):
        raise errors.named(headers.get(contract.ERROR_NAME, ""), int(code) if code.isdecimal() else 500)


def failure(error: errors.FleetError) -> Message:
    """A reply that says what went wrong, in the headers of NATS's own services and in Prefect's shape."""
    body = msgspec.json.encode({"exception_message": error.public})
    return Message(body, {contract.ERROR_CODE: str(error.code), contract.ERROR_NAME: type(error).__name__})


@asynccontextmanager
async def connect(settings: Settings, name: str) -> AsyncIterator[Bus]:
    """A bus for one service. It connects in the background and never gives up; `Bus.up` waits for it."""
    bus = Bus(SteadyClient(), settings)
    owner = asyncio.current_task()
    starting = asyncio.create_task(
        bus.start(
            servers=settings.nats_servers,
            name=f"classis-{name}",
            connect_timeout=2,
            reconnect_time_wait=0.2,
            max_reconnect_attempts=-1,
            ping_interval=1,
            max_outstanding_pings=2,
        )
    )

    def ended(task: asyncio.Task[None]) -> None:
        if owner and not task.cancelled() and task.exception():
            owner.cancel()  # whoever holds this bus stops; the reason is raised below

    starting.add_done_callback(ended)
    try:
        yield bus
    finally:
        starting.cancel()
        await asyncio.wait([starting])
        await bus.close()
    if not starting.cancelled():
        starting.result()
