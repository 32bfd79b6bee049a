"""Clients that take their time, and a door that closes: no connection is kept for nothing, no request is lost."""

import asyncio
import select
import socket
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any

import pytest

from services import embedded
from services.gateway import connection
from services.gateway.fanout import Deadline, Found
from shared.filters import Count
from tests.conftest import folder
from tests.doors import COUNT, JSON, WITHIN, Held, Wire, head, nothing, on_uvloop, opened, request

SOON = 1.0  # seconds; a busy machine may need some tenths to send what is to arrive in time
ENDLESS = b"GET /api/health HTTP/1.1\r\nhost: x\r\nx-long: " + b"x" * 10_000


@pytest.fixture(scope="module")
def nats_url() -> Iterator[str]:
    with folder() as home, embedded.nats(home) as url:
        yield url


async def dribbled(wire: Wire, text: bytes, hearing: Coroutine[Any, Any, bytes]) -> bytes:
    """What the server said, while we sent a byte now and then. One that it closed upon may have reset the connection."""
    heard = asyncio.create_task(hearing)
    for number in range(len(text)):
        wire.send(text[number : number + 1])
        await asyncio.wait({heard}, timeout=SOON / 10)
        if heard.done():
            break
    with suppress(ConnectionError):
        return await heard
    return b""


@on_uvloop
async def test_who_says_nothing_is_not_waited_for(nats_url: str) -> None:
    async with opened(nats_url, nothing, slow_client=SOON) as connect:
        assert await (await connect()).rest() == b""


@pytest.mark.parametrize("heads", [0, 1])
@on_uvloop
async def test_a_head_that_comes_byte_by_byte_is_not_waited_for(nats_url: str, heads: int) -> None:
    async with opened(nats_url, nothing, slow_client=SOON) as connect:
        wire = await connect()
        for _ in range(heads):
            assert (await wire.ask("GET", "/api/health")).status == 200
        assert await dribbled(wire, ENDLESS, wire.rest()) == b""


@pytest.mark.parametrize("limit", [{"slow_client": SOON}, {"deadline": SOON}])
@on_uvloop
async def test_a_body_that_comes_byte_by_byte_is_not_waited_for(nats_url: str, limit: dict[str, float]) -> None:
    async with opened(nats_url, nothing, **{"slow_client": 3 * SOON, **limit}) as connect:
        wire = await connect()
        wire.send(head(10_000))
        said = await dribbled(wire, b" " * 9_000, wire.until(b"}"))
        assert said.startswith(b"HTTP/1.1 408 ")
        assert b"\r\nConnection: close\r\n" in said
        assert said.endswith(b'{"detail":"The body did not arrive in time"}')


@pytest.mark.parametrize("headers", [[], ["connection: close"]])
@on_uvloop
async def test_who_does_not_take_an_answer_is_cut_off(nats_url: str, headers: list[str]) -> None:
    async with opened(nats_url, large, slow_client=SOON) as connect:
        wire = await connect()
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        wire.send(request("POST", COUNT, *headers))
        await hung_up(wire)


@on_uvloop
async def test_answers_that_nobody_takes_fill_a_bounded_memory(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "UNTAKEN", 60_000_000)
    async with opened(nats_url, large) as connect:
        first, second = await connect(), await connect()
        for wire in (first, second):
            wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
            wire.send(request("POST", COUNT))
        await hung_up(first)
        second.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert len((await second.reply()).body) == 50_000_000


async def hung_up(wire: Wire) -> None:
    poll = select.poll()
    poll.register(wire.writer.get_extra_info("socket").fileno(), 0)  # its end is told of unasked
    assert await asyncio.to_thread(poll.poll, 1000 * WITHIN)


async def large(_: Count, __: Deadline) -> Found:
    return Found(bytes(50_000_000), "")


@on_uvloop
async def test_who_takes_an_answer_in_time_gets_all_of_it(nats_url: str) -> None:
    async with opened(nats_url, large) as connect:
        wire = await connect()
        for _ in range(2):
            assert len((await wire.ask("POST", COUNT)).body) == 50_000_000


# --- leaving


@asynccontextmanager
async def leaving(opening: Any) -> AsyncIterator[tuple[Any, Any]]:
    """An open door, and what begins to close it and gives the task that does."""
    stack = opening
    connect = await stack.__aenter__()
    closing: list[asyncio.Task[Any]] = []

    def leave() -> "asyncio.Task[Any]":
        closing.append(asyncio.create_task(stack.__aexit__(None, None, None)))
        return closing[0]

    yield connect, leave
    await (closing[0] if closing else leave())


@on_uvloop
async def test_what_was_accepted_is_answered(nats_url: str) -> None:
    held = Held()
    async with leaving(opened(nats_url, held)) as (connect, leave):
        wires = [await connect() for _ in range(3)]
        asked = [asyncio.create_task(wire.ask("POST", COUNT)) for wire in wires]
        for _ in asked:
            await held.begun.acquire()
        idle = await connect()
        assert (await idle.ask("GET", "/api/health")).headers.get("connection") is None
        left = leave()
        assert await idle.rest() == b""
        with pytest.raises(OSError):
            await connect()
        assert not left.done()
        held.go_on.set()
        for reply in await asyncio.gather(*asked):
            assert (reply.status, reply.body, reply.headers["connection"]) == (200, b"7", "close")
        await left


@on_uvloop
async def test_who_stands_before_the_door_when_it_closes_still_comes_in(nats_url: str) -> None:
    async with leaving(opened(nats_url, nothing)) as (connect, leave):
        address = (await connect()).writer.get_extra_info("peername")
        with ExitStack() as stack:
            # The kernel takes these connections while we leave the event loop no time to accept them.
            late = [stack.enter_context(socket.create_connection(address)) for _ in range(50)]
            left = leave()
            for client in late:
                client.settimeout(WITHIN)
                client.sendall(request("POST", COUNT))
            for client in late:
                assert (await asyncio.to_thread(client.recv, 1000)).startswith(b"HTTP/1.1 200 ")
            await left


@on_uvloop
async def test_before_the_door_is_closed_it_is_said_that_it_will_be(nats_url: str) -> None:
    async with leaving(opened(nats_url, nothing, drain=3.0)) as (connect, leave):
        kept = await connect()
        assert (await kept.ask("POST", COUNT)).headers.get("connection") is None
        leave()
        reply = await (await connect()).ask("GET", "/api/ready")
        assert (reply.status, reply.json) == (503, {"message": "Not ready: leaving"})
        for wire in (kept, await connect()):
            reply = await wire.ask("POST", COUNT)
            assert (reply.status, reply.headers["connection"]) == (200, "close")
            assert await wire.rest() == b""


@on_uvloop
async def test_a_head_without_end_is_cut_off(nats_url: str) -> None:
    async with opened(nats_url, nothing) as connect:
        wire = await connect()
        wire.send(b"GET /api/health HTTP/1.1\r\n")
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(10):
                for number in range(100_000):
                    wire.send(b"x-%d: %b\r\n" % (number, b"y" * 60_000))
                    await wire.writer.drain()
        assert (await (await connect()).ask("GET", "/api/health")).status == 200


@on_uvloop
async def test_many_requests_and_large_bodies_on_one_connection_are_no_endless_head(nats_url: str) -> None:
    async with opened(nats_url, nothing) as connect:
        wire = await connect()
        for size in (10, 1_000_000, 10, 1_000_000):
            assert (await wire.ask("POST", COUNT, JSON, body=b" " * size + b"{}")).status == 200
        for _ in range(300):
            assert (await wire.ask("GET", f"/api/{'x' * 4000}")).status == 404
