"""The bus: a connection to NATS on which a process asks and answers.

Deadlines, errors, refusals, lost replicas and large payloads are dealt with below (`shared.calling`, `shared.serving`,
`shared.line`); no service sees them.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared import readiness
from shared.calling import Caller
from shared.line import Line
from shared.natsclient import SteadyClient
from shared.natsoptions import options
from shared.serving import Server
from shared.settings import Settings


class Bus:
    """One connection, of one replica of a service. Made by `connect`."""

    def __init__(self, settings: Settings, service: str) -> None:
        self.line = Line(SteadyClient(), service)
        self.server = Server(self.line, settings)
        self.call, self.ask = (caller := Caller(self.line)).call, caller.ask
        self.serve, self.listen = self.server.serve, self.server.listen
        self.up = self.line.up

    @property
    def connected(self) -> bool:
        return self.line.connected


@asynccontextmanager
async def connect(settings: Settings, service: str) -> AsyncIterator[Bus]:
    """A bus for one service. It connects in the background and never gives up; `Bus.up` waits for it.

    On leaving it finishes what was accepted, as far as its deadline lets it.
    """
    bus = Bus(settings, service)
    owner = asyncio.current_task()
    starting = asyncio.create_task(bus.line.start(bus.server.subscribe, **options(settings, service)))

    def ended(task: asyncio.Task[None]) -> None:
        if owner and not task.cancelled() and task.exception():
            owner.cancel()  # whoever holds this bus stops; the reason is raised below

    starting.add_done_callback(ended)
    try:
        with readiness.needed(f"NATS for {service}", lambda: bus.connected):
            yield bus
    except asyncio.CancelledError:
        if starting.done() and not starting.cancelled() and starting.exception() and owner:
            owner.uncancel()
            starting.result()
        raise
    finally:
        while not starting.done():  # a cancellation that meets a `wait_for` at its end is lost (Python 3.11)
            starting.cancel()
            await asyncio.wait([starting], timeout=0.1)
        await bus.server.finish()
        await bus.line.leave()
    if not starting.cancelled():
        starting.result()
