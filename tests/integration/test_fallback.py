"""Prefect's server as a stand-in: what its answer becomes on its way to the client, and when it is none."""

import asyncio
import gzip
import json
from collections.abc import Iterator

import pytest

from services import embedded
from services.gateway.fanout import Deadline, Found
from shared.errors import Absent
from shared.filters import Count
from tests.conftest import folder
from tests.doors import COUNT, JSON, WITHIN, Reply, on_uvloop, opened, request
from tests.upstreams import Answering, Exchange, gone, playing

PAGE = json.dumps([{"name": f"deployment {number}"} for number in range(200)]).encode()
SOON = 1.0


@pytest.fixture(scope="module")
def nats_url() -> Iterator[str]:
    with folder() as home, embedded.nats(home) as url:
        yield url


async def absent(_: Count, __: Deadline) -> Found:
    raise Absent("deployments")


def saying(status: int, body: bytes, *headers: str) -> Answering:
    """An upstream that answers so."""
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", *headers]

    async def answer(exchange: Exchange) -> None:
        await exchange.body()
        exchange.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    return answer


async def _answered(nats_url: str, answer: Answering, *headers: str) -> Reply:
    async with playing(answer) as upstream, opened(nats_url, absent, upstream=upstream.url) as connect:
        return await (await connect()).ask("POST", COUNT, JSON, *headers, body=b"{}")


@on_uvloop
async def test_a_body_in_parts_is_sent_whole(nats_url: str) -> None:
    async with playing() as upstream, opened(nats_url, absent, upstream=upstream.url) as connect:
        wire = await connect()
        top = (
            f"POST {COUNT} HTTP/1.1\r\nhost: x\r\n{JSON}\r\nexpect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        wire.send(top.encode())
        assert (await wire.reply()).status == 100
        wire.send(b'4\r\n{"fl\r\n9\r\nows": {}}\r\n0\r\n\r\n')
        reply = await wire.reply()
        assert (reply.body, reply.headers["x-classis-fallback"]) == (b"ok", "Absent")
        [exchange] = upstream.seen
        assert exchange.all("content-length") == ["13"]
        assert not exchange.all("expect")


@pytest.mark.parametrize("status", [401, 403, 404, 409, 422, 429])
@on_uvloop
async def test_a_refusal_of_the_upstream_is_the_answer(nats_url: str, status: int) -> None:
    reply = await _answered(nats_url, saying(status, b"{}", "content-type: application/json", "retry-after: 7"))
    assert (reply.status, reply.body, reply.headers["retry-after"]) == (status, b"{}", "7")
    assert reply.headers["x-classis-fallback"] == "Absent"


@pytest.mark.parametrize("status", [500, 502, 503, 504, 508])
@on_uvloop
async def test_trouble_of_the_upstream_is_none(nats_url: str, status: int) -> None:
    reply = await _answered(nats_url, saying(status, b"inside"))
    assert (reply.status, reply.headers["retry-after"], reply.json) == (
        503,
        "1",
        {"exception_message": "Service Unavailable"},
    )
    assert "x-classis-fallback" not in reply.headers


@on_uvloop
async def test_scripts_of_other_origins_are_told_once_and_by_us(nats_url: str) -> None:
    told = ["access-control-allow-origin: https://other", "vary: Origin", "content-type: application/json"]
    async with (
        playing(saying(200, b"1", *told)) as upstream,
        opened(nats_url, absent, upstream=upstream.url, cors_allowed_origins="https://a") as connect,
    ):
        wire = await connect()
        wire.send(request("POST", COUNT, JSON, "origin: https://a", "connection: close", body=b"{}"))
        lines = (await wire.rest()).decode().lower().split("\r\n")
        assert [line for line in lines if line.startswith(("access-control", "vary"))] == [
            "access-control-allow-origin: https://a",
            "vary: origin",
        ]


@on_uvloop
async def test_it_is_compressed_for_whom_takes_it(nats_url: str) -> None:
    async def answer(exchange: Exchange) -> None:
        assert exchange.all("accept-encoding") == ["identity"]
        await saying(200, PAGE, "content-type: application/json")(exchange)

    reply = await _answered(nats_url, answer, "accept-encoding: gzip")
    assert reply.headers["content-encoding"] == "gzip"
    assert gzip.decompress(reply.body) == PAGE
    assert (await _answered(nats_url, answer)).body == PAGE


@on_uvloop
async def test_it_has_no_validator(nats_url: str) -> None:
    reply = await _answered(nats_url, saying(200, PAGE, 'etag: "theirs"'), 'if-none-match: "theirs"')
    assert (reply.status, "etag" in reply.headers) == (200, False)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"])
@on_uvloop
async def test_silence_is_our_own_error_and_frees_the_place(nats_url: str, said: bytes) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.body()
        exchange.send(said)
        await gone(exchange)

    limits = {"upstream_patience": SOON, "fallback": 1}
    async with playing(answer) as upstream, opened(nats_url, absent, upstream=upstream.url, **limits) as connect:
        for _ in range(2):
            assert (await (await connect()).ask("POST", COUNT, JSON, body=b"{}")).status == 503
        assert len(upstream.seen) == 2
        for exchange in upstream.seen:
            await asyncio.wait_for(exchange.ended.wait(), WITHIN)


@on_uvloop
async def test_a_client_that_goes_away_frees_the_place(nats_url: str) -> None:
    first = True

    async def answer(exchange: Exchange) -> None:
        nonlocal first
        first, slow = False, first
        await (gone if slow else saying(200, b"1"))(exchange)

    async with playing(answer) as upstream, opened(nats_url, absent, upstream=upstream.url, fallback=1) as connect:
        wire = await connect()
        wire.send(request("POST", COUNT, JSON, body=b"{}"))
        exchange = await upstream.next()
        wire.writer.close()
        await asyncio.wait_for(exchange.ended.wait(), WITHIN)
        assert (await (await connect()).ask("POST", COUNT, JSON, body=b"{}")).body == b"1"
