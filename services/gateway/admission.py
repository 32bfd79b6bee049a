"""What the door takes in at once: so many searches, so many bytes of bodies. What is too much is refused on the spot.

A search gets its place when its body is there, so that clients who are slow to send cannot take the places of others.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from aiohttp import web

from services.gateway import envelope
from services.gateway.problems import Problem
from shared import metrics
from shared.errors import Busy
from shared.settings import Settings

BODIES = 4  # of the largest size, held at a time
SMALL = 64 * 1024  # bytes; bodies up to here are let in while large ones fill that measure

_REFUSED = metrics.REFUSED.labels("gateway")


class Admission:
    """What one process has taken in."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._taken = 0
        self._held = 0
        metrics.IN_FLIGHT.labels("http").set_function(lambda: self._taken)

    def check(self) -> None:
        """Raises Busy while every place is taken."""
        if self._taken >= self._settings.gateway_concurrency:
            raise _busy("as many searches as this process takes")

    @contextmanager
    def one(self) -> Iterator[None]:
        """A place for a search. Raises Busy when there is none."""
        self.check()
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    @asynccontextmanager
    async def body(self, request: web.BaseRequest) -> AsyncIterator[bytes]:
        """The body of a request, counted as held until the block is left.

        Raises Problem for one that is too large or too slow, Busy when too many bytes are held.
        """
        body = await self._arrival(request)
        try:
            yield body
        finally:
            self._held -= len(body)

    async def _arrival(self, request: web.BaseRequest) -> bytes:
        arrived, within = bytearray(), min(self._settings.slow_client, self._settings.deadline)
        self._check_size(request.content_length or 0)
        try:
            async with asyncio.timeout(None if request.content.is_eof() else within):
                await envelope.invite(request)
                async for part in request.content.iter_any():
                    arrived += part
                    self._held += len(part)
                    self._check_size(len(arrived))
            return bytes(arrived)
        except BaseException as error:  # given up, by whomever
            self._held -= len(arrived)
            if isinstance(error, TimeoutError):
                raise Problem(408, "The body did not arrive in time") from None
            raise

    def _check_size(self, size: int) -> None:
        if size > self._settings.max_body:
            raise Problem(413, "Request Entity Too Large")
        if size > SMALL and self._held > BODIES * self._settings.max_body:
            raise _busy("bodies that fill the memory set apart for them")


def _busy(what: str) -> Busy:
    _REFUSED.inc()
    return Busy(what)
