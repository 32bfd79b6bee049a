"""The HTTP door on a real socket, with an answer of the test's own behind it, and a client that speaks byte by byte."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any, NamedTuple

import uvloop

from services.gateway import door
from services.gateway.fanout import Answering, Deadline, Found
from shared import bus
from shared.filters import Count
from shared.settings import Settings
from tests import fleet

WITHIN = 10.0  # seconds, for anything that a test waits for
COUNT = "/api/deployments/count"
JSON = "content-type: application/json"


def on_uvloop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs a test on the event loop that our processes run on."""

    @wraps(test)
    def run(**given: Any) -> None:
        uvloop.run(test(**given))

    return run


class Reply(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """A client's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def ask(self, method: str, path: str, *headers: str, body: bytes = b"") -> Reply:
        self.send(request(method, path, *headers, body=body))
        return await self.reply()

    async def reply(self) -> Reply:
        """The next answer."""
        async with asyncio.timeout(WITHIN):
            status, _, rest = (await self._reader.readuntil(b"\r\n\r\n")).decode().partition("\r\n")
            lines = (line.partition(": ") for line in rest.splitlines() if line)
            headers = {name.lower(): value for name, _, value in lines}
            body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return Reply(int(status.split()[1]), headers, body)

    async def until(self, end: bytes) -> bytes:
        """What comes, up to and with `end`."""
        async with asyncio.timeout(WITHIN):
            return await self._reader.readuntil(end)

    async def rest(self) -> bytes:
        """What comes until the server closes."""
        async with asyncio.timeout(WITHIN):
            return await self._reader.read()


def request(method: str, path: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: x", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def head(length: int, *headers: str) -> bytes:
    """The head of a search whose body is to come."""
    lines = [f"POST {COUNT} HTTP/1.1", "host: x", JSON, f"content-length: {length}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


Connect = Callable[[], Awaitable[Wire]]


@asynccontextmanager
async def opened(nats_url: str, answering: Answering, **given: Any) -> AsyncIterator[Connect]:
    """An open door; gives what makes a connection to it. No service is behind it."""
    settings = Settings(**{"nats_url": nats_url, "port": fleet.free_port(), **given})
    wires: list[Wire] = []

    async def connect() -> Wire:
        wires.append(Wire(*await asyncio.open_connection(settings.host, settings.port)))
        return wires[-1]

    try:
        async with bus.connect(settings, "gateway") as line, door.serving(line, answering, settings):
            yield connect
    finally:
        for wire in wires:
            wire.writer.transport.abort()


async def nothing(_: Count, __: Deadline) -> Found:
    """Answers every search at once."""
    return Found(b"0", "")


class Held:
    """Answers nothing until it is told to."""

    def __init__(self) -> None:
        self.begun = asyncio.Semaphore(0)
        self.go_on = asyncio.Event()

    async def __call__(self, _: Count, __: Deadline) -> Found:
        self.begun.release()
        await self.go_on.wait()
        return Found(b"7", "")
