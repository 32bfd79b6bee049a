"""One process: starts services in order, waits for a signal, leaves in reverse order."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import uvloop

import shared
from shared import logs, metrics, monitoring, readiness, tracing
from shared.errors import reason
from shared.settings import PREFIX, Settings, SettingsError

log = logging.getLogger(__name__)

Service = Callable[[Settings], AbstractAsyncContextManager[None]]
STOPPING = (signal.SIGTERM, signal.SIGINT)


class CannotStart(Exception):
    """Something outside is not as it must be. The text says what."""


def cannot_listen(host: str, port: int, settings: str, error: OSError) -> CannotStart:
    """Why nothing can listen at an address, and which settings name another."""
    return CannotStart(f"cannot listen on {host}:{port} ({reason(error)}); {settings} say where")


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
            await _enter(stack, "monitoring", _monitoring(settings))
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
    except (OSError, CannotStart) as error:  # a file that is not there, a port that is taken
        raise CannotStart(f"{title} cannot start: {error}") from error


@asynccontextmanager
async def _monitoring(settings: Settings) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(monitoring.serving(settings))
        except OSError as error:
            names = f"{PREFIX}METRICS_HOST and {PREFIX}METRICS_PORT"
            raise cannot_listen(settings.where_metrics_are, settings.metrics_port, names, error) from error
        yield
