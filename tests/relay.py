"""A line to a server that can be cut, silenced, slowed and mended: how it vanishes and comes back under one address."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Relay:
    """Passes bytes on, in a thread of its own. While cut, connections are refused and the open ones are reset.

    While silent, they are taken and kept, and what they send arrives when it is mended, as it does after packets were
    lost. `delay` is the time, in seconds, that each piece takes in each direction.
    """

    def __init__(self, server: str) -> None:
        address = urlsplit(server)
        self.delay = 0.0
        self.turn_to(server)
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._passing: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._flows = asyncio.Event()
        self._thread.start()
        self.port = 0
        self.mend()
        user = f"{address.netloc.rpartition('@')[0]}@" if "@" in address.netloc else ""
        self.url = address._replace(netloc=f"{user}127.0.0.1:{self.port}").geturl()

    def turn_to(self, server: str) -> None:
        """New connections lead there."""
        address = urlsplit(server)
        self._far = (address.hostname or "127.0.0.1", address.port or 5432)

    def mend(self) -> None:
        self.delay = 0.0
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()

    def cut(self) -> None:
        asyncio.run_coroutine_threadsafe(self._hang_up(), self._loop).result()

    def silence(self) -> None:
        self._loop.call_soon_threadsafe(self._flows.clear)

    def close(self) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> None:
        self._flows.set()
        if self._server is not None:
            return
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _hang_up(self) -> None:
        if self._server is not None:
            self._server.close()
        self._server = None
        self._flows.set()
        while passing := set(self._passing):
            for writer in list(self._open):
                writer.transport.abort()
            await asyncio.wait(passing, timeout=1)  # one that was still connecting shows its writers only now

    async def _pass_on(self, *near: *Streams) -> None:
        task = asyncio.current_task()
        assert task
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)
        try:
            far = await asyncio.open_connection(*self._far)
        except OSError:
            near[1].transport.abort()
            return
        self._open |= {near[1], far[1]}
        try:
            await asyncio.gather(self._pump(near[0], far[1]), self._pump(far[0], near[1]))
        finally:
            self._open -= {near[1], far[1]}

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        """Until either side is gone; then the other one goes too."""
        with suppress(OSError):
            while data := await source.read(65536):
                if self.delay:
                    await asyncio.sleep(self.delay)  # this is what the line does, not a wait for something
                await self._flows.wait()
                target.write(data)
                await target.drain()
        target.close()


@contextmanager
def relay(server: str) -> Iterator[Relay]:
    line = Relay(server)
    try:
        yield line
    finally:
        line.close()
