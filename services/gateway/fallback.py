"""The upstream as a stand-in: it answers a search when the fleet cannot, a few at a time, lest it is run over."""

from dataclasses import replace

from aiohttp import web

from services.gateway.problems import Answer, Unreachable
from services.gateway.upstream import Upstream
from shared import metrics
from shared.errors import Unavailable

HEADER = "x-classis-fallback"  # tells the client, and whoever debugs, that and why the fleet did not answer


class Fallback:
    """So many places at the upstream."""

    def __init__(self, upstream: Upstream, most: int) -> None:
        self._upstream = upstream
        self._most = most
        self._taken = 0

    async def answer(self, request: web.BaseRequest, body: bytes, error: Unavailable) -> Answer:
        """The upstream's answer instead of this error, which is raised again when there is none to be had.

        Nor is trouble of its own one: clients ask again after our error, and Prefect's does not after a 500.
        """
        if self._taken >= self._most:
            raise error
        self._taken += 1
        try:
            answer = await self._upstream.answer(request, body)
        except Unreachable:
            raise error from None
        finally:
            self._taken -= 1
        if answer.status >= 500:
            raise error
        reason = type(error).__name__
        metrics.FALLBACKS.labels(reason).inc()
        return replace(answer, headers={**answer.headers, HEADER: reason})
