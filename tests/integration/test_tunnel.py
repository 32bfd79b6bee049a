"""WebSockets through the gateway: real clients and servers of aiohttp at both ends, and bytes where these hide them."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession, WSMsgType, WSServerHandshakeError, web

from services import embedded
from shared import metrics
from tests.conftest import folder
from tests.doors import WITHIN, nothing, on_uvloop, opened, request
from tests.fleet import free_port
from tests.upstreams import Exchange, playing

UPGRADE = ["connection: Upgrade", "upgrade: websocket", "sec-websocket-version: 13",
           "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="]  # fmt: skip
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"


@pytest.fixture(scope="module")
def nats_url() -> Iterator[str]:
    with folder() as home, embedded.nats(home) as url:
        yield url


async def _echo(request: web.BaseRequest) -> web.StreamResponse:
    """Says everything again; closes with 4001 when it is told to."""
    if request.path != "/echo":
        return web.Response(status=403, text="not here", headers={"x-why": "no"})
    socket = web.WebSocketResponse(protocols=["prefect"], max_msg_size=0)
    await socket.prepare(request)
    async for message in socket:
        if message.data == "close":
            await socket.close(code=4001, message=b"as you wish")
        elif message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
        else:
            await socket.send_bytes(message.data)
    return socket


@asynccontextmanager
async def _through(nats_url: str) -> AsyncIterator[tuple[ClientSession, str]]:
    """A client, and the gateway's address; the server behind it echoes."""
    runner = web.ServerRunner(web.Server(_echo), shutdown_timeout=1)
    await runner.setup()
    behind, port = free_port(), free_port()
    await web.TCPSite(runner, "127.0.0.1", behind).start()
    try:
        async with (
            opened(nats_url, nothing, upstream=f"http://127.0.0.1:{behind}", port=port),
            ClientSession() as session,
        ):
            yield session, f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("compress", [0, 15])
@on_uvloop
async def test_messages_go_back_and_forth(nats_url: str, compress: int) -> None:
    async with _through(nats_url) as (session, url):
        async with session.ws_connect(
            f"{url}/echo", protocols=["other", "prefect"], compress=compress, max_msg_size=0
        ) as socket:
            assert (socket.protocol, socket.compress) == ("prefect", compress)
            assert _open() == 1
            large = os.urandom(5_000_000)
            await socket.send_str("grün")
            await socket.send_bytes(large)
            assert await socket.receive_str(timeout=WITHIN) == "grün"
            assert await socket.receive_bytes(timeout=WITHIN) == large
        await _closed()


def _open() -> float:
    return float(metrics.TUNNELS._value.get())


async def _closed() -> None:
    async with asyncio.timeout(WITHIN):
        while _open():
            await asyncio.get_running_loop().run_in_executor(None, os.sched_yield)


@on_uvloop
async def test_pings_and_the_reason_of_a_close_come_through(nats_url: str) -> None:
    async with _through(nats_url) as (session, url), session.ws_connect(f"{url}/echo", autoping=False) as socket:
        await socket.ping(b"there?")
        pong = await socket.receive(WITHIN)
        assert (pong.type, pong.data) == (WSMsgType.PONG, b"there?")
        await socket.send_str("close")
        closed = await socket.receive(WITHIN)
        assert (closed.type, closed.data, closed.extra) == (WSMsgType.CLOSE, 4001, "as you wish")


@on_uvloop
async def test_a_refusal_is_an_answer_like_any_other(nats_url: str) -> None:
    async with _through(nats_url) as (session, url):
        with pytest.raises(WSServerHandshakeError) as refused:
            await session.ws_connect(f"{url}/elsewhere")
        assert refused.value.status == 403
        async with session.get(f"{url}/elsewhere", headers={"connection": "upgrade", "upgrade": "websocket"}) as answer:
            assert (answer.status, answer.headers["x-why"], await answer.text()) == (403, "no", "not here")
    assert _open() == 0


@on_uvloop
async def test_nothing_that_is_sent_right_away_is_lost(nats_url: str) -> None:
    async def answer(exchange: Exchange) -> None:
        exchange.send(SWITCHED + b"early from the server")
        assert await exchange.reader.readexactly(21) == b"early from the client"
        exchange.send(b" and late")
        await exchange.writer.drain()
        raise ConnectionError

    async with playing(answer) as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        wire = await connect()
        wire.send(request("GET", "/ws", *UPGRADE) + b"early from the client")
        whole = await wire.rest()
        assert whole.lower().startswith(b"http/1.1 101")
        assert whole.endswith(b"\r\n\r\nearly from the server and late")


@on_uvloop
async def test_the_last_words_of_a_client_arrive(nats_url: str) -> None:
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def answer(exchange: Exchange) -> None:
        exchange.send(SWITCHED)
        heard.set_result(await exchange.reader.read(-1))

    async with playing(answer) as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        wire = await connect()
        wire.send(request("GET", "/ws", *UPGRADE))
        assert (await wire.until(b"\r\n\r\n")).lower().startswith(b"http/1.1 101")
        wire.send(b"x" * 300_000)
        wire.writer.close()
        assert await asyncio.wait_for(heard, WITHIN) == b"x" * 300_000


@on_uvloop
async def test_whoever_does_not_read_is_not_buffered_without_end(nats_url: str) -> None:
    async def answer(exchange: Exchange) -> None:
        exchange.send(SWITCHED)
        await exchange.ended.wait()  # reads nothing

    async with playing(answer) as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        wire = await connect()
        wire.send(request("GET", "/ws", *UPGRADE))
        await wire.until(b"\r\n\r\n")
        with pytest.raises(TimeoutError):  # of one part, so a slow machine may take as long for all as it likes
            for _ in range(300):
                wire.send(b"x" * 1_000_000)
                await asyncio.wait_for(wire.writer.drain(), 1)
        upstream.seen[0].ended.set()


@pytest.mark.parametrize(
    "headers", [["upgrade: websocket"], ["connection: upgrade", "upgrade: h2c", "http2-settings: x"]]
)
@on_uvloop
async def test_only_a_websocket_may_change_the_protocol(nats_url: str, headers: list[str]) -> None:
    async def answer(exchange: Exchange) -> None:
        assert not exchange.all("upgrade")
        exchange.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    async with playing(answer) as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        wire = await connect()
        assert (await wire.ask("GET", "/x", *headers)).status == 200


@on_uvloop
async def test_a_change_that_nobody_asked_for_is_none(nats_url: str) -> None:
    async def answer(exchange: Exchange) -> None:
        exchange.send(SWITCHED)

    async with playing(answer) as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        assert (await (await connect()).ask("GET", "/x")).status == 502


@on_uvloop
async def test_open_sockets_do_not_hold_up_a_gateway_that_leaves(nats_url: str) -> None:
    async def answer(exchange: Exchange) -> None:
        exchange.send(SWITCHED)
        await exchange.reader.read()

    async with playing(answer) as upstream, asyncio.timeout(WITHIN):
        async with opened(nats_url, nothing, upstream=upstream.url) as connect:
            wire = await connect()
            wire.send(request("GET", "/ws", *UPGRADE))
            await wire.until(b"\r\n\r\n")
            assert _open() == 1
        assert _open() == 0
        await upstream.seen[0].ended.wait()
        assert await wire.rest() == b""
