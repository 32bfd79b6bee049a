"""Connections, time and memory of what is passed on: nothing is mixed up, hoarded or waited for without end."""

import asyncio
import os
import tracemalloc
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from services import embedded
from tests import fleet
from tests.certificates import Authority
from tests.conftest import folder
from tests.doors import WITHIN, Connect, nothing, on_uvloop, opened, request
from tests.upstreams import OK, Exchange, gone, playing

SOON = 1.0
LARGE = 30_000_000
PART = b"x" * 50_000
FEW = 6_000_000  # bytes; what both ends of the test and the gateway hold of a body between them
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def nats_url() -> Iterator[str]:
    with folder() as home, embedded.nats(home) as url:
        yield url


# --- memory and pace


@on_uvloop
async def test_large_bodies_take_little_memory(nats_url: str) -> None:
    async def answer(exchange: Exchange) -> None:
        for _ in range(LARGE // len(PART)):
            await exchange.reader.readexactly(len(PART))
        exchange.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % LARGE)
        for _ in range(LARGE // len(PART)):
            exchange.send(PART)
            await exchange.writer.drain()

    async with playing(answer) as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        wire = await connect()
        tracemalloc.start()
        try:
            wire.send(f"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: {LARGE}\r\n\r\n".encode())
            for _ in range(LARGE // len(PART)):
                wire.send(PART)
                await wire.writer.drain()
            await wire.until(b"\r\n\r\n")
            for _ in range(LARGE // len(PART)):
                await wire.until(PART)
            assert tracemalloc.get_traced_memory()[1] < FEW
        finally:
            tracemalloc.stop()


@on_uvloop
async def test_an_upstream_that_takes_nothing_holds_up_the_client(nats_url: str) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.ended.wait()

    async with (
        playing(answer) as upstream,
        opened(nats_url, nothing, upstream=upstream.url, upstream_patience=SOON) as connect,
    ):
        wire = await connect()
        wire.send(f"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: {10 * LARGE}\r\n\r\n".encode())
        reply = asyncio.create_task(wire.reply())
        sent = 0
        with suppress(ConnectionError):
            while not reply.done():
                wire.send(PART)
                sent += len(PART)
                await asyncio.wait(
                    {reply, drained := asyncio.create_task(wire.writer.drain())}, return_when="FIRST_COMPLETED"
                )
                drained.cancel()
        assert (await reply).status == 504
        assert sent < 5 * LARGE, "what fits into the kernel's buffers, not all"
        upstream.seen[0].ended.set()


@on_uvloop
async def test_a_client_that_does_not_read_is_cut_off(nats_url: str) -> None:
    async def answer(exchange: Exchange) -> None:
        exchange.send(CHUNKED)
        while True:
            exchange.send(b"c350\r\n" + PART + b"\r\n")
            await exchange.writer.drain()

    async with (
        playing(answer) as upstream,
        opened(nats_url, nothing, upstream=upstream.url, slow_client=SOON) as connect,
    ):
        wire = await connect()
        wire.send(request("GET", "/endless"))
        exchange = await upstream.next()
        await asyncio.wait_for(exchange.ended.wait(), WITHIN)


@pytest.mark.parametrize("framed", ["content-length: 99", "transfer-encoding: chunked"])
@on_uvloop
async def test_a_client_that_does_not_go_on_sending_is_not_waited_for(nats_url: str, framed: str) -> None:
    async with playing() as upstream, opened(nats_url, nothing, upstream=upstream.url, slow_client=SOON) as connect:
        wire = await connect()
        wire.send(f"POST /x HTTP/1.1\r\nhost: x\r\n{framed}\r\n\r\n3\r\none\r\n".encode())
        reply = await wire.reply()
        assert (reply.status, reply.json) == (408, {"detail": "The body did not arrive in time"})
        assert await wire.rest() == b""
        await asyncio.wait_for(upstream.seen[0].ended.wait(), WITHIN)


@on_uvloop
async def test_a_steady_upload_may_take_longer(nats_url: str) -> None:
    taken: asyncio.Queue[bytes] = asyncio.Queue()

    async def answer(exchange: Exchange) -> None:
        async for part in exchange.chunks():
            taken.put_nowait(part)
        exchange.send(OK)

    limits = {"slow_client": 1.5, "upstream_patience": 1.5}
    async with playing(answer) as upstream, opened(nats_url, nothing, upstream=upstream.url, **limits) as connect:
        wire = await connect()
        wire.send(b"POST /x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        clock = asyncio.get_running_loop().time
        until = clock() + 2 * 1.5
        while clock() < until:
            wire.send(b"1\r\na\r\n")
            await asyncio.wait_for(taken.get(), WITHIN)
        wire.send(b"0\r\n\r\n")
        assert (await wire.reply()).body == b"ok"


@pytest.mark.parametrize("expect", ["x: y", "expect: 100-continue"])
@on_uvloop
async def test_an_upstream_that_takes_a_body_and_is_silent(nats_url: str, expect: str) -> None:
    async with (
        playing(gone) as upstream,
        opened(nats_url, nothing, upstream=upstream.url, upstream_patience=SOON) as connect,
    ):
        wire = await connect()
        wire.send(f"POST /x HTTP/1.1\r\nhost: x\r\n{expect}\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        if expect.startswith("x"):
            wire.send(b"1\r\na\r\n0\r\n\r\n")
        assert (await wire.reply()).status == 504
        await asyncio.wait_for(upstream.seen[0].ended.wait(), WITHIN)


@on_uvloop
async def test_an_answer_that_stops_is_not_waited_for(nats_url: str) -> None:
    async def answer(exchange: Exchange) -> None:
        exchange.send(CHUNKED + b"2\r\nok\r\n")
        await gone(exchange)

    async with (
        playing(answer) as upstream,
        opened(nats_url, nothing, upstream=upstream.url, upstream_patience=SOON) as connect,
    ):
        wire = await connect()
        wire.send(request("GET", "/x"))
        assert (await wire.rest()).endswith(b"\r\n2\r\nok\r\n")
        await asyncio.wait_for(upstream.seen[0].ended.wait(), WITHIN)


# --- connections to the upstream


@on_uvloop
async def test_one_connection_does_for_one_client_after_another(nats_url: str) -> None:
    async def answer(exchange: Exchange) -> None:
        body = await exchange.body()
        if "/chunked" in exchange.line:
            exchange.send(CHUNKED + b"2\r\nok\r\n0\r\n\r\n")
        elif "/none" in exchange.line:
            exchange.send(b"HTTP/1.1 204 X\r\n\r\n")
        else:
            exchange.send(OK[:-2] if exchange.line.startswith("HEAD") else OK)
        assert len(body) in (0, 200_000)

    async with playing(answer) as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        for method, path in [
            ("GET", "/x"),
            ("HEAD", "/x"),
            ("GET", "/chunked"),
            ("DELETE", "/none"),
            ("POST", "/x"),
        ] * 3:
            wire = await connect()
            wire.send(request(method, path, "connection: close", body=b"x" * 200_000 if method == "POST" else b""))
            assert (await wire.rest()).startswith(b"HTTP/1.1 20")
        assert len(upstream.seen) == 15
        assert len({id(exchange.writer) for exchange in upstream.seen}) == 1


@on_uvloop
async def test_answers_are_not_mixed_up_when_clients_go_away(nats_url: str) -> None:
    async def answer(exchange: Exchange) -> None:
        """The path, a thousand times, in parts."""
        await exchange.body()
        part = f"{exchange.line.split()[1]}\n".encode() * 100
        exchange.send(CHUNKED)
        for _ in range(10):
            exchange.send(b"%x\r\n%b\r\n" % (len(part), part))
            await exchange.writer.drain()
        exchange.send(b"0\r\n\r\n")

    async with playing(answer) as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        for turn in range(5):
            async with asyncio.TaskGroup() as clients:
                for number in range(40):
                    clients.create_task(_asks(connect, f"/{turn}-{number}", number % 4))
        assert len(upstream.seen) >= 100


async def _asks(connect: Connect, path: str, kind: int) -> None:
    """Takes all of the answer, or leaves: before it, at its head, in its middle."""
    wire = await connect()
    wire.send(request("POST", path, "connection: close", body=b"x" * 3000))
    if kind == 0:
        _, _, body = (await wire.rest()).partition(b"\r\n\r\n")
        lines = [line for line in body.split(b"\n") if line.startswith(b"/")]
        assert lines == [path.encode()] * 1000
    elif kind == 1:
        await wire.until(b"\r\n\r\n")
    elif kind == 2:
        await wire.until(b"\n\r\n")
    wire.writer.transport.abort()


@pytest.mark.parametrize(
    ("method", "body", "status", "times"),
    [("GET", b"", 200, 3), ("POST", b"{}", 502, 2), ("PATCH", b"", 502, 2), ("PUT", b"{}", 502, 2)],
)
@on_uvloop
async def test_a_kept_connection_that_closes_as_it_is_used(
    nats_url: str, method: str, body: bytes, status: int, times: int
) -> None:
    """What may be repeated is, once; the client is told of the rest in a way that Prefect's repeats."""
    used: set[int] = set()

    async def answer(exchange: Exchange) -> None:
        if id(exchange.writer) in used:
            raise ConnectionError
        used.add(id(exchange.writer))
        await exchange.body()
        exchange.send(OK)

    async with playing(answer) as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        wire = await connect()
        assert (await wire.ask("GET", "/first")).status == 200
        assert (await wire.ask(method, "/second", body=body)).status == status
        assert len(upstream.seen) == times


@on_uvloop
async def test_an_early_refusal_of_an_upload_arrives(nats_url: str) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.reader.readexactly(100_000)
        exchange.send(b"HTTP/1.1 413 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await exchange.writer.drain()
        await gone(exchange)

    async with (
        playing(answer) as upstream,
        opened(nats_url, nothing, upstream=upstream.url, slow_client=SOON) as connect,
    ):
        wire = await connect()
        wire.send(f"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: {LARGE}\r\n\r\n".encode() + b"x" * 200_000)
        assert (await wire.reply()).status == 413
        await asyncio.wait_for(upstream.seen[0].ended.wait(), WITHIN)


# --- leaving


async def _until_it_leaves(connect: Connect) -> None:
    """Returns when nobody is let in any more."""
    async with asyncio.timeout(WITHIN):
        with suppress(ConnectionError):
            while True:
                wire = await connect()
                wire.writer.close()
                await wire.writer.wait_closed()


@pytest.mark.parametrize("begun", [True, False])
@on_uvloop
async def test_an_answer_under_way_is_finished_before_it_leaves(nats_url: str, begun: bool) -> None:
    go_on = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n"
        exchange.send(head + b"half" if begun else b"")
        await go_on.wait()
        exchange.send(b"full" if begun else head + b"halffull")

    async with (
        playing(answer) as upstream,
        asyncio.TaskGroup() as others,
        opened(nats_url, nothing, upstream=upstream.url) as connect,
    ):
        wire = await connect()
        wire.send(request("GET", "/x"))
        await upstream.next()
        others.create_task(_told(connect, go_on))
        reply = others.create_task(wire.reply())
    assert reply.result().body == b"halffull"
    assert begun or reply.result().headers["connection"] == "close"


async def _told(connect: Connect, go_on: asyncio.Event) -> None:
    await _until_it_leaves(connect)
    go_on.set()


@on_uvloop
async def test_an_endless_answer_is_ended_in_time(nats_url: str) -> None:
    async with playing(gone) as upstream, asyncio.timeout(3 * WITHIN):
        clock = asyncio.get_running_loop().time
        async with opened(nats_url, nothing, upstream=upstream.url, deadline=1.0, slow_client=1.0) as connect:
            (await connect()).send(request("GET", "/x"))
            await upstream.next()
            began = clock()
        assert clock() - began < WITHIN


# --- TLS


@on_uvloop
async def test_a_certificate_of_nobody_known(nats_url: str, caplog: pytest.LogCaptureFixture) -> None:
    with folder() as home:
        async with (
            playing(certificate=Authority(home).issue("localhost")) as upstream,
            opened(nats_url, nothing, upstream=upstream.url) as connect,
        ):
            reply = await (await connect()).ask("GET", "/x")
            assert (reply.status, reply.json) == (503, {"exception_message": "Service Unavailable"})
            assert not upstream.seen
    assert "certificate verify failed" in caplog.text
    assert " ssl:" not in caplog.text


@on_uvloop
async def test_an_authority_of_our_own(nats_url: str) -> None:
    with folder() as home:
        authority = Authority(home)
        async with playing(certificate=authority.issue("localhost")) as upstream:
            await asyncio.to_thread(_ask_by_tls, nats_url, upstream.url, authority.ca)
            assert "GET /over-tls HTTP/1.1" in [exchange.line for exchange in upstream.seen]


def _ask_by_tls(nats_url: str, upstream: str, trusted: Path) -> None:
    """A gateway of its own process: OpenSSL looks for authorities once."""
    port = fleet.free_port()
    settings = {"CLASSIS_NATS_URL": nats_url, "CLASSIS_UPSTREAM": upstream, "CLASSIS_PORT": str(port)}
    with fleet.process(["gateway"], {**os.environ, **settings, "SSL_CERT_FILE": str(trusted)}):
        fleet.wait_until_ready(f"http://127.0.0.1:{port}")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/over-tls", timeout=WITHIN) as answer:
            assert answer.read() == b"ok"
