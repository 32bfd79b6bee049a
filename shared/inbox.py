"""Where the replies to one call arrive, or the news that the connection is lost."""

import asyncio
from collections import deque

from nats.aio.msg import Msg

from shared import errors


class Inbox:
    """The address of one call, and what has come to it. Made by `Line.inbox`."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.asked = ""  # the subject of the last message sent with this address
        self.unanswered = 0  # messages sent with this address, less the replies to them
        self._arrived: deque[Msg | errors.Disconnected] = deque()
        self._waiter: asyncio.Future[None] | None = None

    @property
    def empty(self) -> bool:
        return not self._arrived

    def put(self, item: Msg | errors.Disconnected) -> None:
        self._arrived.append(item)
        self._wake()

    def unread(self) -> list[Msg]:
        """The replies that nobody has taken."""
        return [item for item in self._arrived if isinstance(item, Msg)]

    def forget_losses(self) -> None:
        """Takes out what tells of a lost connection, once it is known."""
        self._arrived = deque(item for item in self._arrived if not isinstance(item, errors.Disconnected))

    async def next(self, within: float) -> Msg | None:
        """The next reply, or None when there is none in that time. Raises Disconnected, Absent."""
        if not self._arrived:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = loop.call_later(within, self._wake)
            try:
                await self._waiter
            finally:
                timer.cancel()
        if not self._arrived:
            return None
        item = self._arrived.popleft()
        if isinstance(item, errors.Disconnected):
            raise item
        self.unanswered -= 1
        if item.headers and item.headers.get("Status") == "503":
            raise errors.Absent(f"nobody listens on {self.asked}")
        return item

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)
