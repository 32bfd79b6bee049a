"""The gateway: takes a search by HTTP or on the bus, plans its legs, fans out, answers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from services.gateway import door, fanout, subjects
from services.gateway.fanout import Answering
from services.gateway.sharing import Shared
from shared import bus
from shared.bus import Bus
from shared.settings import Settings


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[None]:
    """Listens at once; until NATS is there, every search is answered with 503."""
    async with bus.connect(settings, "gateway") as line:
        answer = _answering(line, settings)
        async with subjects.serving(line, answer, settings), door.serving(line, answer, settings):
            yield


def _answering(line: Bus, settings: Settings) -> Answering:
    answer = partial(fanout.answer, line, settings.default_limit)
    return Shared(answer, fanout.question) if settings.share_searches else answer
