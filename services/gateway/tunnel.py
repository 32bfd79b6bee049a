"""An upgraded connection (a WebSocket): bytes go back and forth until one side closes, or the gateway leaves.

Nothing in it is looked at: frames, extensions and pings stay what they are.
"""

import asyncio
from typing import Any, cast

from aiohttp import ClientResponse, StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import StreamWriter

from services.gateway.problems import Unreachable
from shared import metrics

BUFFERED = 64 * 1024  # bytes on their way in each direction, before the sender has to wait


class Raw:
    """Where aiohttp expects a parser of frames: everything goes into a stream as it comes."""

    def __init__(self, stream: StreamReader) -> None:
        self._stream = stream

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self._stream.feed_data(data)
        return False, b""

    def feed_eof(self) -> None:
        self._stream.feed_eof()


async def tunnel(
    request: web.BaseRequest, response: ClientResponse, made: web.StreamResponse, leaving: asyncio.Event
) -> web.StreamResponse:
    """Sends the answer that accepts the change of protocol, and returns when the connection is over."""
    connection = response.connection
    if connection is None or connection.protocol is None:
        raise Unreachable(502, "closed as soon as upgraded")
    made.force_close()
    to_client = cast(StreamWriter, await made.prepare(request))
    to_client.send_headers()
    connection.protocol.read_timeout = None
    from_upstream = _read(connection.protocol)
    from_client = _read(cast(Any, request.protocol))
    to_upstream = StreamWriter(connection.protocol, asyncio.get_running_loop())
    with metrics.TUNNELS.track_inprogress():
        await _first_to_end(
            asyncio.create_task(_pump(from_upstream, to_client)),
            asyncio.create_task(_pump(from_client, to_upstream)),
            asyncio.create_task(leaving.wait()),
        )
    return made


def _read(protocol: Any) -> StreamReader:
    """What arrives at a protocol from now on; what has arrived already comes first."""
    stream = StreamReader(cast(BaseProtocol, protocol), BUFFERED, loop=asyncio.get_running_loop())
    if isinstance(protocol, web.RequestHandler):
        protocol.set_parser(cast(Any, Raw(stream)))
    else:
        protocol.set_parser(Raw(stream), stream)
    return stream


async def _pump(source: StreamReader, sink: StreamWriter) -> None:
    try:
        async for part in source.iter_any():
            await sink.write(part)
            await sink.drain()
    finally:  # the other side closed; what was said before is still delivered
        if source.exception() is None and (left := source.read_nowait()):
            await sink.write(left, drain=False)


async def _first_to_end(*tasks: asyncio.Task[Any]) -> None:
    """Returns when one has ended, however it did; the others are cancelled."""
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
