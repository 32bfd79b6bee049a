"""Payloads larger than a message, taken in: in parts (`shared.parts`), as many bytes as there is room for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nats.aio.msg import Msg

from shared import errors, parts
from shared.line import Line, Message, raise_for
from shared.parts import Offer, Room

PARTS_AT_ONCE = 4  # of one payload
PARTS_ON_THE_WAY = 16  # of all: what arrives faster than we read makes the server cut us off
PART_WITHIN = 3.0  # seconds one part may take


class Fetching:
    """Takes in others' payloads, in parts where they are large. Requests and replies are fetched apart from each other,
    so that who asks for too much keeps nobody from an answer.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self._room = Room()
        self._on_the_way = asyncio.Semaphore(PARTS_ON_THE_WAY)

    @asynccontextmanager
    async def whole(self, msg: Msg, largest: int) -> AsyncIterator[Message]:
        """The message with its payload, while the block runs. Raises Malformed, Busy or another Unavailable."""
        headers = msg.headers or {}
        if parts.HEADER not in headers:
            yield Message(msg.data, headers)
            return
        offer = parts.read(headers[parts.HEADER], largest)
        try:
            with self._room.taken(offer.total):
                yield Message(await self._joined(offer), headers)
        finally:
            await self._line.tell(offer.subject, b"")

    async def _joined(self, offer: Offer) -> bytes:
        found: list[bytes] = [b""] * offer.number
        indices = iter(range(offer.number))

        async def fetch() -> None:
            for index in indices:
                found[index] = await self._part(offer.subject, index)

        # No TaskGroup: on Python 3.11 one whose child fails leaves this task marked as cancelled.
        fetching = [asyncio.ensure_future(fetch()) for _ in range(min(PARTS_AT_ONCE, offer.number))]
        try:
            await asyncio.gather(*fetching)
        finally:
            for task in fetching:
                task.cancel()
        payload = b"".join(found)
        if len(payload) != offer.total:
            raise errors.Malformed("the parts are not what was offered")
        return payload

    async def _part(self, subject: str, index: int) -> bytes:
        async with self._on_the_way, self._line.inbox() as inbox:
            await self._line.send(subject, Message(b"%d" % index), inbox)
            reply = await inbox.next(PART_WITHIN)
        if reply is None:
            raise errors.DeadlineSpent(f"a part did not come within {PART_WITHIN} s")
        raise_for(reply.headers or {}, subject)
        return bytes(reply.data)
