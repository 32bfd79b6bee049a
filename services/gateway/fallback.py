"""The upstream as a stand-in: it answers a search when the fleet cannot, a few at a time, lest it is run over."""

import asyncio
import logging
from dataclasses import replace

from aiohttp import web

from services.gateway.problems import Answer, Unreachable
from services.gateway.upstream import Upstream
from shared import metrics
from shared.errors import Unavailable
from shared.settings import Settings

log = logging.getLogger(__name__)

HEADER = "x-classis-fallback"  # tells the client, and whoever debugs, that and why the fleet did not answer


class Fallback:
    """So many places at the upstream."""

    def __init__(self, upstream: Upstream, settings: Settings) -> None:
        self._upstream = upstream
        self._most = settings.fallback
        self._within = settings.deadline
        self._taken = 0

    async def answer(self, request: web.BaseRequest, body: bytes, error: Unavailable) -> Answer:
        """The upstream's answer instead of this error, which is raised again when there is none to be had.

        It has as long for it as the fleet had. Trouble of its own is none: clients ask again after our error, and
        Prefect's does not after a 500.
        """
        if self._taken >= self._most:
            raise error
        self._taken += 1
        try:
            async with asyncio.timeout(self._within):
                answer = await self._upstream.answer(request, body)
        except (Unreachable, TimeoutError):
            raise error from None
        finally:
            self._taken -= 1
        if answer.status >= 500:
            raise error
        reason = type(error).__name__
        metrics.FALLBACKS.labels(reason).inc()
        log.warning("the upstream answered instead: %r", error)
        return replace(answer, headers={**answer.headers, HEADER: reason})
