"""The gateway: takes a search by HTTP or on the bus, plans its legs, fans out, answers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.gateway import http, subjects
from shared import bus
from shared.settings import Settings


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[None]:
    """Listens at once; until NATS is there, every search is answered with 503."""
    async with (
        bus.connect(settings, "gateway") as line,
        subjects.serving(line, settings),
        http.serving(line, settings),
    ):
        yield
