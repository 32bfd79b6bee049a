"""The gateway: takes a search by HTTP or on the bus, plans its legs, fans out, answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.gateway import http, subjects
from shared import bus
from shared.bus import Bus
from shared.settings import Settings


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[None]:
    """Listens at once; the subjects follow when NATS is there, and until then every search is answered with 503."""
    async with bus.connect(settings, "gateway") as line, http.serving(line, settings):
        stop = asyncio.Event()
        on_the_bus = asyncio.create_task(_subjects(line, settings, stop))
        try:
            yield
        finally:
            stop.set()
            if not line.connected:
                on_the_bus.cancel()
            await asyncio.gather(on_the_bus, return_exceptions=True)


async def _subjects(line: Bus, settings: Settings, stop: asyncio.Event) -> None:
    async with subjects.serving(line, settings):
        await stop.wait()
