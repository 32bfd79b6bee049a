"""One connection to NATS: messages out, replies in, and payloads larger than a message on offer (`shared.parts`).

Replies arrive at one subscription of our own, told apart by the last token of their subject, so that a lost connection
is known at once to everybody who waits for one.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import inf
from time import monotonic
from types import MappingProxyType
from typing import Any

import msgspec
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from shared import contract, errors, metrics, parts
from shared.inbox import Inbox
from shared.natsclient import SteadyClient
from shared.parts import Offer, Offers

log = logging.getLogger(__name__)

Headers = Mapping[str, str]

HEADROOM = 1024  # bytes of a message left for the protocol and headers
TROUBLE = (NatsError, OSError, TimeoutError)  # what nats-py raises when the connection goes while it is in use
OFFER_KEPT = 30.0  # seconds an offered payload waits to be fetched
LEAVING = 2.0  # seconds NATS gets to confirm that we leave
TOLD = 100  # kinds of trouble that are remembered as told
TOLD_BELOW = 1024 * 1024  # bytes unsent; with more, nats-py makes who publishes wait
UNLIMITED = -1


@dataclass(frozen=True)
class Message:
    """What crosses the bus: the payload, and headers only where something is out of the ordinary."""

    payload: bytes = b""
    headers: Headers = field(default_factory=dict)


class Line:
    """The connection, and what both the asking and the answering side need of it."""

    def __init__(self, client: SteadyClient, service: str) -> None:
        self.client = client
        self.service = service
        self.id = secrets.token_hex(8)  # of this replica
        self.requests, self.replies = Offers(), Offers()
        self.down_since = -inf  # by the monotonic clock: when the connection was last lost,
        self.back_since = -inf  # and when it was last back
        self._inbox = f"_INBOX_{service}.{self.id}"
        self._parts = f"{parts.SUBJECT}.{service}.{self.id}"
        self._inboxes: dict[str, Inbox] = {}
        self._up = asyncio.Event()
        self._told: set[str] = set()
        self._began = False
        self._leaving = False

    @property
    def connected(self) -> bool:
        return self._up.is_set() and bool(self.client.is_connected)

    async def up(self, within: float | None = None) -> None:
        """Waits until there is a connection. Raises DeadlineSpent."""
        try:
            async with asyncio.timeout(within):  # not wait_for, which may swallow a cancellation on Python 3.11
                await self._up.wait()
        except TimeoutError:
            raise errors.DeadlineSpent(f"NATS did not answer within {within} s") from None

    async def start(self, subscribe: Callable[[], Awaitable[None]], **options: Any) -> None:
        """Connects, for as long as it takes; it is up once `subscribe` has subscribed what this process answers."""
        self._began = True
        await self.client.connect(
            disconnected_cb=self._on_disconnect,
            reconnected_cb=self._on_reconnect,
            error_cb=self._on_error,
            **options,
        )
        await self.client.subscribe(
            f"{self._inbox}.*", cb=self._on_reply, pending_msgs_limit=UNLIMITED, pending_bytes_limit=UNLIMITED
        )
        await self.client.subscribe(f"{self._parts}.*", cb=self._on_fetch)
        await subscribe()
        self._told.clear()
        self._up.set()
        log.info("connected to NATS")

    async def leave(self) -> None:
        """Sends what is still to be sent, and closes."""
        if not self._began:
            return
        if self.client.is_connected:
            with contextlib.suppress(*TROUBLE):
                async with asyncio.timeout(LEAVING):
                    await self.client.flush()
        self._leaving = True
        if not self.client.is_connected:
            self.client.abort()
        with contextlib.suppress(*TROUBLE):
            async with asyncio.timeout(LEAVING):
                await self.client.close()

    async def _on_disconnect(self) -> None:
        if not self._leaving:
            log.warning("lost the connection to NATS")
        if self._up.is_set():
            self.down_since = monotonic()
        self._up.clear()
        for inbox in self._inboxes.values():
            inbox.put(errors.Disconnected("lost the connection to NATS"))

    async def _on_reconnect(self) -> None:
        log.info("connected to NATS again")
        metrics.RECONNECTS.inc()
        self._told.clear()
        self.back_since = monotonic()
        self._up.set()

    async def _on_error(self, error: Exception) -> None:
        """Tells each kind of trouble once until it is over; nats-py tells it at every attempt to connect."""
        metrics.BUS_TROUBLE.labels(type(error).__name__).inc()
        if repr(error) not in self._told:
            log.warning("NATS: %r", error)
        if len(self._told) < TOLD:
            self._told.add(repr(error))

    # --- messages

    @contextlib.asynccontextmanager
    async def inbox(self) -> AsyncIterator[Inbox]:
        """An address for replies, for as long as the block lasts. Nobody can guess it.

        A large payload that is offered in a reply which nobody reads, or which comes later, is declined.
        """
        token = secrets.token_hex(12)
        made = self._inboxes[token] = Inbox(f"{self._inbox}.{token}")
        try:
            yield made
        finally:
            del self._inboxes[token]
            for msg in made.unread():
                await self._decline(msg)

    async def send(self, subject: str, message: Message, inbox: Inbox) -> None:
        """Asks for a reply at an inbox. Raises Disconnected."""
        if not self.connected:
            raise errors.Disconnected("no connection to NATS")
        task = asyncio.current_task()
        before = task.cancelling() if task else 0
        try:
            await self.publish(subject, message, inbox.address)
        except (NatsError, OSError) as error:
            raise errors.Disconnected(f"NATS: {error}") from error
        inbox.unanswered += 1
        inbox.asked = subject
        if task and task.cancelling() > before:
            raise asyncio.CancelledError  # nats-py swallows it while it waits for room to write

    async def tell(self, subject: str, payload: bytes) -> None:
        """Publishes, if that can be done without waiting; nobody relies on it."""
        if self.connected and self.client.pending_data_size < TOLD_BELOW:
            with contextlib.suppress(*TROUBLE):
                await self.publish(subject, Message(payload))

    async def publish(self, subject: str, message: Message, reply: str = "") -> None:
        await self.client.publish(subject, message.payload, reply, headers=dict(message.headers) or None)

    async def reply(self, msg: Msg, message: Message) -> None:
        """Replies to a message that has an address for it."""
        if not self.may_reply(msg.reply):
            return
        try:
            await self.publish(msg.reply, message)
        except TROUBLE as error:
            log.warning("a reply on %s was lost: %r", msg.subject, error)

    def may_reply(self, address: str) -> bool:
        """Whether an address may be somebody's inbox: NATS lets us reply anywhere, in our own name."""
        return bool(address) and not address.startswith(("classis.", "$", self._inbox))

    async def _on_reply(self, msg: Msg) -> None:
        if inbox := self._inboxes.get(msg.subject.rpartition(".")[2]):
            inbox.put(msg)
        else:
            await self._decline(msg)

    # --- payloads larger than a message

    @contextlib.contextmanager
    def offered(self, message: Message, within: float) -> Iterator[Message]:
        """A message that fits; what it offers can be fetched, by several replicas too, until the block is left."""
        sent, token = self._fitting(message, self.requests, {contract.WITHIN: str(within)})
        try:
            yield sent
        finally:
            self.requests.withdraw(token)

    def offer(self, message: Message) -> Message:
        """A reply that fits; what it offers can be fetched until the receiver has it, or for a while. Raises Busy."""
        sent, token = self._fitting(message, self.replies)
        if token:
            asyncio.get_running_loop().call_later(OFFER_KEPT, self.replies.withdraw, token)
        return sent

    def _fitting(self, message: Message, offers: Offers, extra: Headers = MappingProxyType({})) -> tuple[Message, str]:
        """The message itself when it fits, else one that says where its parts are, and the offer's token."""
        size = self.client.max_payload - HEADROOM
        total = len(message.payload)
        if total <= size:
            return message, ""
        metrics.LARGE.labels(self.service).inc()
        token = secrets.token_hex(12)
        offers.add(token, message.payload, size)
        offer = Offer(total, size, f"{self._parts}.{token}")
        return Message(b"", {**extra, **message.headers, parts.HEADER: offer.header()}), token

    async def _decline(self, msg: Msg) -> None:
        """Tells who offers a large payload that nobody will fetch it."""
        if header := (msg.headers or {}).get(parts.HEADER):
            with contextlib.suppress(errors.Malformed):
                await self.tell(parts.read(header, parts.LARGEST).subject, b"")

    async def _on_fetch(self, msg: Msg) -> None:
        token, asked = msg.subject.rpartition(".")[2], msg.data
        if not asked:
            self.replies.withdraw(token)
            return
        index = int(asked) if asked.isdigit() and len(asked) < 10 else -1
        part = self.requests.part(token, index) or self.replies.part(token, index)
        await self.reply(msg, failure(errors.DeadlineSpent()) if part is None else Message(part))


def raise_for(headers: Headers, subject: str) -> None:
    """Raises the error that the headers of a reply to a message on this subject tell of, if they do."""
    if code := headers.get(contract.ERROR_CODE):
        name = headers.get(contract.ERROR_NAME, "")
        raise errors.named(name, int(code) if code.isdecimal() else 500, f"told on {subject}")


def failure(error: errors.FleetError, **headers: str) -> Message:
    """A reply that says what went wrong, in the headers of NATS's own services and in Prefect's shape."""
    body = msgspec.json.encode({"exception_message": error.public})
    return Message(body, {contract.ERROR_CODE: str(error.code), contract.ERROR_NAME: type(error).__name__, **headers})
