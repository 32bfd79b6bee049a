"""HTTP/1.1 as cheap as a client can have it: requests encoded beforehand, on connections that are kept."""

import asyncio
import json
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

HEAD_ENDS = b"\r\n\r\n"
LENGTH = b"\r\ncontent-length:"


class Answer(NamedTuple):
    """`head` is in lower case."""

    status: int
    head: bytes
    body: bytes

    @property
    def closing(self) -> bool:
        return b"\r\nconnection: close" in self.head


class Refused(Exception):
    """Nobody listens there: nothing was sent."""


class Lost(Exception):
    """The connection went after the request was sent, so nobody knows what became of it."""


def encoded(path: str, body: Any = None) -> bytes:
    """A whole request: POST with a body, GET without."""
    payload = b"" if body is None else json.dumps(body).encode()
    method = "GET" if body is None else "POST"
    lines = [f"{method} {path} HTTP/1.1", "host: classis", f"content-length: {len(payload)}"]
    if payload:
        lines.append("content-type: application/json")
    return "\r\n".join(lines).encode() + HEAD_ENDS + payload


class Line(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._read = bytearray()
        self._answer: asyncio.Future[Answer] | None = None
        self.idle_since = 0.0

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing() and not self._read

    async def ask(self, request: bytes) -> Answer:
        """The answer. Raises Lost; a caller that gives up closes the connection."""
        assert self._transport
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._answer
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            self._answer = None

    def close(self) -> None:
        if self._transport:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no instances of it

    def data_received(self, data: bytes) -> None:
        self._read += data
        end = self._read.find(HEAD_ENDS)
        if end < 0 or self._answer is None or self._answer.done():
            return
        head = bytes(self._read[:end]).lower()
        start = head.index(LENGTH) + len(LENGTH)
        length = int(head[start:].split(b"\r\n", 1)[0])
        whole = end + len(HEAD_ENDS) + length
        if len(self._read) >= whole:
            body = bytes(self._read[end + len(HEAD_ENDS) : whole])
            del self._read[:whole]
            self._answer.set_result(Answer(int(head[9:12]), head, body))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_exception(Lost(repr(exc)))


class Address(NamedTuple):
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> "Address":
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        return cls(parts.hostname, parts.port)


async def opened(address: Address) -> Line:
    """A connection. Raises Refused."""
    try:
        _, line = await asyncio.get_running_loop().create_connection(Line, *address)
    except OSError as error:
        raise Refused(str(error)) from None
    return line
