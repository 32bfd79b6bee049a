"""One process: starts services in order, waits for a signal, leaves in reverse order."""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import uvloop

from shared.settings import Settings

log = logging.getLogger(__name__)

Service = Callable[[Settings], AbstractAsyncContextManager[None]]


def run(services: Sequence[tuple[str, Service]], settings: Settings) -> None:
    """Runs the services until SIGTERM or SIGINT."""
    logging.basicConfig(
        level=settings.log_level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    uvloop.run(_run(services, settings))


async def _run(services: Sequence[tuple[str, Service]], settings: Settings) -> None:
    main = asyncio.current_task()
    assert main  # noqa: S101 — tells the type checker that this runs in a task
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, main.cancel)
    async with AsyncExitStack() as stack:
        try:
            for title, service in services:
                await stack.enter_async_context(service(settings))
                log.info("%s runs", title)
            await asyncio.get_running_loop().create_future()  # until a signal
        except asyncio.CancelledError:
            for name in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().remove_signal_handler(name)
            main.uncancel()
            log.info("stopping")
