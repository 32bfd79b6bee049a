"""A pooler in front of a real PostgreSQL, as far as it is one at the start of a session: PgBouncer's way with settings."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from struct import pack, unpack
from urllib.parse import urlsplit

KNOWN = {b"user", b"database", b"client_encoding", b"TimeZone", b"application_name"}  # what PgBouncer keeps


@asynccontextmanager
async def pooler(dsn: str, *, ignoring: bool) -> AsyncIterator[str]:
    """A DSN that leads to the same database. Other settings of a session than a few are ignored, or refused."""
    near = urlsplit(dsn)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        version, wanted = await _wanted(reader)
        odd = [name for name in wanted if name not in KNOWN]
        if odd and not ignoring:
            writer.write(_refusal(b"unsupported startup parameter: " + odd[0]))
        else:
            far = await asyncio.open_connection(near.hostname, near.port)
            kept = b"".join(b"%b\0%b\0" % item for item in wanted.items() if item[0] in KNOWN) + b"\0"
            far[1].write(pack("!II", 8 + len(kept), version) + kept)
            await asyncio.gather(_pump(reader, far[1]), _pump(far[0], writer))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        user = near.netloc.rpartition("@")[0]
        yield near._replace(netloc=f"{user}@127.0.0.1:{port}", query="sslmode=disable").geturl()


async def _wanted(reader: asyncio.StreamReader) -> tuple[int, dict[bytes, bytes]]:
    """The version of the protocol, and the settings in the first message of a connection."""
    length, version = unpack("!II", await reader.readexactly(8))
    words = (await reader.readexactly(length - 8)).split(b"\0")
    return version, dict(zip(words[:-2:2], words[1:-2:2], strict=True))


def _refusal(text: bytes) -> bytes:
    fields = b"SFATAL\0C08P01\0M" + text + b"\0\0"
    return b"E" + pack("!I", 4 + len(fields)) + fields


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        target.write(data)
    target.close()
