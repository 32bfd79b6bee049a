"""Lines to a NATS of a test's own, under the name of any service."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from shared import bus
from shared.bus import Bus
from shared.contract import (
    Endpoint,
    Owners,
    Readiness,
    Ready,
    RunLeg,
)
from shared.line import Message
from shared.settings import Settings

Connect = Callable[..., Awaitable[Bus]]
MEGABYTE = 1024 * 1024
ECHO = Endpoint[Any, Any]("classis.v1.echo", Readiness, Ready, "test", "Replies what it is sent.")


@asynccontextmanager
async def connecting(nats_url: str) -> AsyncIterator[Connect]:
    """What makes a line, by the name of its service and its settings. All are closed when the block is left."""
    async with AsyncExitStack() as stack:

        async def made(service: str = "runs", **settings: Any) -> Bus:
            line = await stack.enter_async_context(bus.connect(Settings(nats_url=nats_url, **settings), service))
            await line.up(10)
            return line

        yield made


async def one_owner(_: RunLeg) -> Owners:
    return Owners(bytes(16), 1)


async def never() -> Owners:
    future: asyncio.Future[Owners] = asyncio.get_running_loop().create_future()
    return await future


async def echoed(message: Message) -> Message:
    return message
