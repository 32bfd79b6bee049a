"""NATS: connect, call, serve. Deadlines, errors and large payloads are dealt with here; no service sees them.

Three things that nats-py leaves to its users are done here. Calls share one inbox of our own, so that a lost connection
fails them at once. Each accepted message becomes a task, because a subscription runs one callback at a time. And a
payload larger than the server takes is *offered*: the message tells how many parts there are and on which subject to
fetch them, the other side fetches them a few at a time, so nobody's connection is flooded.
"""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from nats.aio.client import PING_PROTO, Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from shared import contract, errors
from shared.contract import Call, Endpoint
from shared.settings import Settings

log = logging.getLogger(__name__)

Q = TypeVar("Q", bound=Call)
R = TypeVar("R")
Headers = Mapping[str, str]

HEADROOM = 1024  # bytes of a message left for the protocol and headers
PARTS_AT_ONCE = 4
TROUBLE = (NatsError, OSError, TimeoutError)  # what nats-py raises when the connection goes while it is in use
OFFER_KEPT = 30.0  # seconds an offered payload waits to be fetched
UNLIMITED = -1

encode = msgspec.msgpack.Encoder(uuid_format="bytes").encode


@dataclass(frozen=True)
class Message:
    """What crosses the bus: the payload, and headers only where something is out of the ordinary."""

    payload: bytes = b""
    headers: Headers = field(default_factory=dict)


Answer = Callable[[Message], Awaitable[Message]]


class OrderedClient(Client):
    """nats-py's client with its PING in line.

    Its own PING overtakes what waits to be written. The PONG that ends a `flush` or a `drain` then proves nothing: a
    caller may still find nobody behind a new subscription, and a drained one may lose requests.
    """

    async def _send_ping(self, future: "asyncio.Future[Any] | None" = None) -> None:
        self._pongs.append(future or asyncio.get_running_loop().create_future())
        await self._send_command(PING_PROTO)
        await self._flush_pending()


class Bus:
    """One connection to NATS. Made by `connect`."""

    def __init__(self, client: Client, concurrency: int) -> None:
        self._client = client
        self._concurrency = concurrency
        self._ids = itertools.count()
        self._calls: dict[str, asyncio.Future[Msg]] = {}
        self._offers: dict[str, bytes] = {}
        self._accepted: set[asyncio.Task[None]] = set()
        self._inbox = client.new_inbox()
        self._parts = f"{contract.PARTS_SUBJECT}.{self._inbox.rpartition('.')[2]}"
        self._started: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        return bool(self._client.is_connected)

    def start(self, **options: Any) -> None:
        """Connects in the background, for as long as it takes: a gateway answers 503 meanwhile."""
        self._started = asyncio.create_task(self._start(options))

    async def _start(self, options: dict[str, Any]) -> None:
        await self._client.connect(disconnected_cb=self._on_disconnect, error_cb=self._on_error, **options)
        replies = f"{self._inbox}.*"
        await self._client.subscribe(
            replies, cb=self._on_reply, pending_msgs_limit=UNLIMITED, pending_bytes_limit=UNLIMITED
        )
        await self._client.subscribe(f"{self._parts}.*", cb=self._on_fetch)
        log.info("connected to NATS")

    async def up(self, within: float | None = None) -> None:
        """Waits until the first connection stands, for as long as it takes or raises DeadlineSpent."""
        if self._started:
            try:
                await asyncio.wait_for(asyncio.shield(self._started), within)
            except TimeoutError:
                raise errors.DeadlineSpent(f"NATS did not answer within {within} s") from None

    async def close(self) -> None:
        """Finishes what was accepted, then leaves."""
        if self._started and not self._started.done():
            self._started.cancel()
            await asyncio.gather(self._started, return_exceptions=True)
        if self._accepted:
            await asyncio.wait(self._accepted)
        with contextlib.suppress(*TROUBLE):
            if self.connected:
                await self._client.flush(1)
        with contextlib.suppress(*TROUBLE):
            await self._client.close()

    # --- the caller's side

    async def call(self, endpoint: Endpoint[Q, R], request: Q, within: float) -> R:
        """Asks a service. `within` is what is left of the deadline, in seconds, and is told to the service.

        Raises what the service raised, Absent when none listens, Disconnected, or DeadlineSpent.
        """
        request = msgspec.structs.replace(request, within=within)
        reply = await self.ask(endpoint.subject, Message(encode(request)), within)
        if code := reply.headers.get(contract.ERROR_CODE):
            raise errors.named(reply.headers.get(contract.ERROR_NAME, ""), int(code))
        try:
            return msgspec.msgpack.decode(reply.payload, type=endpoint.reply)  # type: ignore[no-any-return]
        except msgspec.DecodeError as error:
            raise errors.Broken(f"{endpoint.subject} replied what we cannot read: {error}") from error

    async def ask(self, subject: str, message: Message, within: float) -> Message:
        """Sends one message and gives the reply to it, be it an error.

        Raises Absent when none listens, Disconnected, or DeadlineSpent.
        """
        try:
            async with asyncio.timeout(within):
                with self._offered(message) as sent:
                    return await self._gather(await self._exchange(subject, sent))
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
        if self._client.is_closed:
            return
        log.warning("lost the connection to NATS")
        for future in self._calls.values():
            if not future.done():
                future.set_exception(errors.Disconnected("lost the connection to NATS"))

    async def _on_error(self, error: Exception) -> None:
        log.warning("NATS: %s: %s", type(error).__name__, error)

    # --- the service's side

    @asynccontextmanager
    async def serve(self, endpoint: Endpoint[Q, R], answer: Callable[[Q], Awaitable[R]]) -> AsyncIterator[None]:
        """Answers the requests of an endpoint until the block is left; then finishes those accepted."""
        decode = msgspec.msgpack.Decoder(endpoint.request).decode

        async def decoded(message: Message) -> Message:
            try:
                request = decode(message.payload)
            except (msgspec.DecodeError, RecursionError) as error:
                raise errors.Malformed(str(error)) from error
            async with asyncio.timeout(request.within or None):
                return Message(encode(await answer(request)))

        async with self.listen(endpoint.subject, endpoint.service, decoded):
            yield

    @asynccontextmanager
    async def listen(self, subject: str, group: str, answer: Answer) -> AsyncIterator[None]:
        """Answers every message on a subject, each in a task of its own, as one member of a queue group."""

        async def accept(msg: Msg) -> None:
            full = len(self._accepted) >= self._concurrency
            task = asyncio.create_task(self._answer(msg, _refuse if full else answer))
            self._accepted.add(task)
            task.add_done_callback(self._accepted.discard)

        await self.up()
        subscription = await self._client.subscribe(subject, queue=group, cb=accept)
        with contextlib.suppress(*TROUBLE):
            await self._client.flush()  # from here on, whoever calls is heard
        try:
            yield
        finally:
            with contextlib.suppress(*TROUBLE):
                if self.connected:
                    await subscription.drain()  # type: ignore[no-untyped-call]

    async def _answer(self, msg: Msg, answer: Answer) -> None:
        try:
            reply = await answer(await self._gather(msg))
        except TimeoutError:
            reply = failure(errors.DeadlineSpent())
        except errors.FleetError as error:
            log.log(logging.INFO if error.code < 500 else logging.WARNING, "%s: %r", msg.subject, error)
            reply = failure(error)
        except Exception:  # the door of a service: a mistake of ours is logged here and told as no more than that
            log.exception("%s failed", msg.subject)
            reply = failure(errors.Broken())
        try:
            await self._publish(msg.reply, self._offer(reply))
        except TROUBLE as error:
            log.warning("a reply on %s was lost: %s", msg.subject, error)

    # --- payloads larger than a message

    @contextlib.contextmanager
    def _offered(self, message: Message) -> Any:
        sent = self._offer(message)
        try:
            yield sent
        finally:
            if sent is not message:
                self._withdraw(sent)

    def _offer(self, message: Message) -> Message:
        """The message itself when it fits, else one that says where its parts are."""
        size = self._client.max_payload - HEADROOM
        if len(message.payload) <= size:
            return message
        token = str(next(self._ids))
        self._offers[token] = message.payload
        asyncio.get_running_loop().call_later(OFFER_KEPT, self._offers.pop, token, None)
        parts = -(-len(message.payload) // size)
        return Message(b"", {**message.headers, contract.PARTS: f"{parts} {self._parts}.{token}"})

    def _withdraw(self, sent: Message) -> None:
        self._offers.pop(sent.headers[contract.PARTS].rpartition(".")[2], None)

    async def _on_fetch(self, msg: Msg) -> None:
        """Replies with one part; an offer that is gone is not answered, its caller's time is over."""
        payload = self._offers.get(msg.subject.rpartition(".")[2])
        size = self._client.max_payload - HEADROOM
        if payload is not None and msg.reply:
            start = int(msg.data) * size
            await self._client.publish(msg.reply, payload[start : start + size])

    async def _gather(self, msg: Msg) -> Message:
        """The whole message, its parts fetched if it only offers them."""
        headers = msg.headers or {}
        if contract.PARTS not in headers:
            return Message(msg.data, headers)
        count, _, subject = headers[contract.PARTS].partition(" ")
        if not subject.startswith(contract.PARTS_SUBJECT + "."):
            raise errors.Malformed("parts are offered on a foreign subject")
        turn = asyncio.Semaphore(PARTS_AT_ONCE)

        async def part(index: int) -> bytes:
            async with turn:
                return bytes((await self._exchange(subject, Message(b"%d" % index))).data)

        return Message(b"".join(await asyncio.gather(*map(part, range(int(count))))), headers)

    async def _publish(self, subject: str, message: Message, reply: str = "") -> None:
        await self._client.publish(subject, message.payload, reply, headers=dict(message.headers) or None)


async def _refuse(_: Message) -> Message:
    raise errors.Busy("as many requests as this service takes are under way")


def failure(error: errors.FleetError) -> Message:
    """A reply that says what went wrong, in the headers of NATS's own services and in Prefect's shape."""
    body = msgspec.json.encode({"exception_message": error.public})
    return Message(body, {contract.ERROR_CODE: str(error.code), contract.ERROR_NAME: type(error).__name__})


@asynccontextmanager
async def connect(settings: Settings, name: str) -> AsyncIterator[Bus]:
    """A bus for one service. It connects in the background and never gives up; `Bus.up` waits for it."""
    bus = Bus(OrderedClient(), settings.concurrency)
    bus.start(
        servers=[url.strip() for url in settings.nats_url.split(",")],
        name=f"classis-{name}",
        connect_timeout=2,
        reconnect_time_wait=0.2,
        max_reconnect_attempts=-1,
        ping_interval=2,
        max_outstanding_pings=2,
    )
    try:
        yield bus
    finally:
        await bus.close()
