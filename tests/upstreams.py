"""An upstream of the test's own: a socket that tells byte for byte what it got, and answers what the test says."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from services.gateway import posture
from tests.certificates import Pair

OK = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok"
# Nothing is asked of clients; and the tests' connections are their own.
POSTURE = OK.replace(b"\r\n", b"\r\naccess-control-allow-origin: *\r\nconnection: close\r\n", 1)
WITHIN = 10.0  # seconds, for anything that a test waits for
LONGEST_HEAD = 1024 * 1024  # bytes


@dataclass
class Exchange:
    """One request as it arrived, and its connection."""

    head: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def line(self) -> str:
        return self.head.partition(b"\r\n")[0].decode("latin-1")

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Names in small letters, in the order of their arrival."""
        lines = self.head.decode("utf-8", "surrogateescape").split("\r\n")[1:]
        return [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines if line)]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    async def body(self) -> bytes:
        """The body by its length, or by its chunks, joined."""
        if length := self.all("content-length"):
            return await self.reader.readexactly(int(length[0]))
        return b"".join([part async for part in self.chunks()]) if self.all("transfer-encoding") else b""

    async def chunks(self) -> AsyncIterator[bytes]:
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            yield await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        await self.reader.readline()

    def send(self, data: bytes) -> None:
        self.writer.write(data)


Answering = Callable[[Exchange], Awaitable[None]]


@dataclass
class Played:
    """The upstream: its address, and what it was asked."""

    url: str = ""
    seen: list[Exchange] = field(default_factory=list)
    arrived: asyncio.Queue[Exchange] = field(default_factory=asyncio.Queue)

    async def next(self) -> Exchange:
        """The next request, as soon as its head is there."""
        return await asyncio.wait_for(self.arrived.get(), WITHIN)


async def gone(exchange: Exchange) -> None:
    """Answers nothing; `exchange.ended` tells when the gateway has closed the connection."""
    while await exchange.reader.read(65536):
        pass


async def ok(exchange: Exchange) -> None:
    await exchange.body()
    exchange.send(OK)


@asynccontextmanager
async def playing(answer: Answering = ok, certificate: Pair | None = None) -> AsyncIterator[Played]:
    """Listens while the block runs; each request of a client is answered by `answer`. TLS with a certificate."""
    played = Played()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                exchange = Exchange(await reader.readuntil(b"\r\n\r\n"), reader, writer)
                if exchange.line.split()[1] == posture.PATH:  # what the gateway asks of its own accord
                    exchange.send(POSTURE)
                    continue
                played.seen.append(exchange)
                played.arrived.put_nowait(exchange)
                try:
                    await answer(exchange)
                    await writer.drain()
                finally:
                    exchange.ended.set()
        writer.close()

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if certificate else None
    if context and certificate:
        context.load_cert_chain(*certificate)
    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context, limit=LONGEST_HEAD)
    port = server.sockets[0].getsockname()[1]
    played.url = f"https://localhost:{port}" if certificate else f"http://127.0.0.1:{port}"
    try:
        yield played
    finally:
        server.close()
        for exchange in played.seen:
            exchange.writer.transport.abort()
