"""A load balancer in front of gateways, as small as one can be and still behave like one.

It polls `/api/ready` and leaves out who is not ready; when nobody is, it tries everybody, as common ones do. A request is
sent once: to another gateway it goes only when the first refuses the connection, because then nothing was sent.
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

from tests.fault.wire import Address, Answer, Line, Lost, Refused, encoded, opened

READY = encoded("/api/ready")
POLL_WITHIN = 3.0
MOST = 512  # connections to a gateway; who comes when all are in use waits
KEPT = 3.0  # seconds an idle connection is used again: fewer than the gateway keeps it


class Gateway:
    """One gateway: its connections, and whether it is ready."""

    def __init__(self, url: str, every: float) -> None:
        self.url = url
        self.address = Address.of(url)
        self.ready = True
        self._every = every
        self._idle: list[Line] = []
        self._free = asyncio.Semaphore(MOST)
        self._polling = asyncio.create_task(self._poll())

    async def ask(self, request: bytes) -> Answer:
        """Raises Refused or Lost."""
        async with self._free:
            line = self._kept() or await opened(self.address)
            answer = await line.ask(request)
        if answer.closing:
            line.close()
        else:
            line.idle_since = asyncio.get_running_loop().time()
            self._idle.append(line)
        return answer

    def _kept(self) -> Line | None:
        now = asyncio.get_running_loop().time()
        while self._idle:
            line = self._idle.pop()
            if line.usable and now - line.idle_since < KEPT:
                return line
            line.close()
        return None

    async def _poll(self) -> None:
        """Looks at its clock rather than waiting for an event: this is what the probes of a load balancer do."""
        while True:
            try:
                async with asyncio.timeout(POLL_WITHIN):
                    self.ready = (await self.ask(READY)).status == 200
            except (Refused, Lost, TimeoutError):
                self.ready = False
            await asyncio.sleep(self._every)

    async def close(self) -> None:
        self._polling.cancel()
        with suppress(asyncio.CancelledError):
            await self._polling
        for line in self._idle:
            line.close()


class Balancer:
    """Gateways come and go; requests go round among those that are ready."""

    def __init__(self, every: float) -> None:
        self._every = every
        self._gateways: list[Gateway] = []
        self._turn = 0

    def add(self, url: str) -> None:
        self._gateways.append(Gateway(url, self._every))

    async def remove(self, url: str) -> None:
        gone = [gateway for gateway in self._gateways if gateway.url == url]
        self._gateways = [gateway for gateway in self._gateways if gateway.url != url]
        for gateway in gone:
            await gateway.close()

    async def ask(self, request: bytes) -> Answer:
        """Raises Lost, or Refused when everybody refuses."""
        for gateway in self._in_turn():
            try:
                return await gateway.ask(request)
            except Refused:
                gateway.ready = False
        raise Refused("no gateway listens")

    def _in_turn(self) -> Iterator[Gateway]:
        self._turn += 1
        for chosen in (True, False):  # those that are ready first
            group = [gateway for gateway in self._gateways if gateway.ready is chosen]
            for place in range(len(group)):
                yield group[(self._turn + place) % len(group)]

    async def close(self) -> None:
        for gateway in self._gateways:
            await gateway.close()
