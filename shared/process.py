"""One process: starts services in order, waits for a signal, leaves in reverse order."""

import asyncio
import logging
import signal
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import uvloop

import shared
from shared import logs, metrics, monitoring, readiness, tracing
from shared.settings import Settings, SettingsError

log = logging.getLogger(__name__)

Service = Callable[[Settings], AbstractAsyncContextManager[None]]
STOPPING = (signal.SIGTERM, signal.SIGINT)


class CannotStart(Exception):
    """Something outside is not as it must be. The text says what."""


def run(services: Sequence[tuple[str, Service]], settings: Settings) -> int:
    """Runs the services until SIGTERM or SIGINT. Gives the exit code; what went wrong is in the log."""
    titles = [title for title, _ in services]
    logs.configure(settings, titles)
    metrics.BUILD.info({"version": shared.VERSION, "services": ",".join(titles)})
    try:
        with tracing.exporting(titles):
            uvloop.run(_run(services, settings))
    except (CannotStart, SettingsError) as error:
        log.critical("%s", error)
        return 1
    except Exception:  # the outermost door: a traceback of Python's own would be no log line
        log.critical("ended by a mistake of ours", exc_info=True)
        return 1
    return 0


async def _run(services: Sequence[tuple[str, Service]], settings: Settings) -> None:
    main = asyncio.current_task()
    assert main  # noqa: S101 — tells the type checker that this runs in a task
    running = False
    for name in STOPPING:
        asyncio.get_running_loop().add_signal_handler(name, main.cancel)
    async with AsyncExitStack() as stack:
        try:
            stack.enter_context(readiness.needed("services", lambda: running))
            await _enter(stack, "monitoring", monitoring.serving(settings))
            for title, service in services:
                await _enter(stack, title, service(settings))
                log.info("%s runs", title)
            running = True
            await asyncio.get_running_loop().create_future()  # until a signal
        except asyncio.CancelledError:
            running = False
            for name in STOPPING:  # a second signal ends the process at once
                asyncio.get_running_loop().remove_signal_handler(name)
                signal.signal(name, signal.SIG_DFL)
            main.uncancel()
            log.info("stopping")


async def _enter(stack: AsyncExitStack, title: str, service: AbstractAsyncContextManager[None]) -> None:
    try:
        await stack.enter_async_context(service)
    except OSError as error:  # a port that is taken, a file that is not there
        raise CannotStart(f"{title} cannot start: {error}") from error
