"""The HTTP door: who is let in, how many at once, and what is said and counted of each request."""

import asyncio
import logging
import re
import socket
from base64 import b64encode
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from services import embedded
from services.gateway.admission import SMALL
from services.gateway.fanout import Deadline, Found
from shared import bus, metrics, origin
from shared.contract import READY, Readiness, Ready
from shared.filters import Count
from shared.process import CannotStart
from shared.settings import Settings
from tests.conftest import folder
from tests.doors import COUNT, JSON, Held, Wire, head, nothing, on_uvloop, opened

SECRET = "admin:pass"
AUTHORIZED = f"authorization: Basic {b64encode(SECRET.encode()).decode()}"
ROW = "/api/deployments/00000de9-0000-4000-8000-000000000001"
ORIGIN = "origin: https://a.example"
BUSY = {"exception_message": "Service Unavailable"}


@pytest.fixture(scope="module")
def nats_url() -> Iterator[str]:
    with folder() as home, embedded.nats(home) as url:
        yield url


# --- who is let in


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", COUNT, [], 401),
        ("POST", COUNT, [AUTHORIZED], 200),
        ("POST", COUNT, ["authorization: Basic eA=="], 401),
        ("GET", "/api/unknown", [], 401),
        ("GET", "/api/unknown", [AUTHORIZED], 404),
        ("GET", COUNT, [], 401),
        ("GET", "/api/%68ealth", [], 200),
        ("GET", "/api/ready", [], 503),
        ("POST", "/api/health", [], 401),
        ("GET", "/unknown", [], 404),
        ("OPTIONS", COUNT, [ORIGIN, "access-control-request-method: POST"], 200),
    ],
)
@on_uvloop
async def test_authentication(nats_url: str, method: str, path: str, headers: list[str], status: int) -> None:
    async with opened(nats_url, nothing, api_auth_string=SECRET) as connect:
        wire = await connect()
        reply = await wire.ask(method, path, ORIGIN, *headers)
        assert (reply.status, reply.headers["access-control-allow-origin"]) == (status, "*")
        assert "www-authenticate" not in reply.headers
        if status == 401:
            assert reply.body == b'{"exception_message":"Unauthorized"}'
        assert (await wire.ask("GET", "/api/health")).body == b"true"


@on_uvloop
async def test_without_a_secret_everybody_is_let_in(nats_url: str) -> None:
    async with opened(nats_url, nothing) as connect:
        assert (await (await connect()).ask("POST", COUNT)).body == b"0"


# --- how many at once


@on_uvloop
async def test_searches_beyond_the_places_are_refused_at_once(nats_url: str) -> None:
    held = Held()
    async with opened(nats_url, held, gateway_concurrency=2) as connect:
        inside = [await connect(), await connect()]
        asked = [asyncio.create_task(wire.ask("POST", COUNT)) for wire in inside]
        for _ in inside:
            await held.begun.acquire()
        late = await connect()
        for method, path in (("POST", COUNT), ("GET", ROW), ("GET", "/api/deployments/name/a/b")):
            reply = await late.ask(method, path)
            assert (reply.status, reply.json, reply.headers["retry-after"]) == (503, BUSY, "1")
        assert (await late.ask("GET", "/api/health")).status == 200
        held.go_on.set()
        assert [reply.body for reply in await asyncio.gather(*asked)] == [b"7", b"7"]
        assert (await late.ask("POST", COUNT)).body == b"7"


@on_uvloop
async def test_a_client_that_goes_away_frees_its_place(nats_url: str) -> None:
    ended = asyncio.Event()
    held = Held()

    async def watched(search: Count, deadline: Deadline) -> Found:
        try:
            return await held(search, deadline)
        finally:
            ended.set()

    async with opened(nats_url, watched, gateway_concurrency=1) as connect:
        gone = await connect()
        gone.send(head(0))
        await held.begun.acquire()
        gone.writer.transport.abort()
        await ended.wait()
        held.go_on.set()
        assert (await (await connect()).ask("POST", COUNT)).status == 200


@on_uvloop
async def test_who_is_still_sending_holds_no_place(nats_url: str) -> None:
    async with opened(nats_url, nothing, gateway_concurrency=1) as connect:
        sending = [await invited(await connect(), 2) for _ in range(3)]
        assert (await (await connect()).ask("POST", COUNT, JSON, body=b"{}")).status == 200
        for wire in sending:
            wire.send(b"{}")
            assert (await wire.reply()).status == 200


async def invited(wire: Wire, length: int) -> Wire:
    """A client that was told to send a body."""
    wire.send(head(length, "expect: 100-continue"))
    assert (await wire.reply()).status == 100
    return wire


@on_uvloop
async def test_bodies_on_the_way_fill_a_bounded_memory(nats_url: str) -> None:
    size = 2 * SMALL
    async with opened(nats_url, nothing, max_body=size) as connect:
        wires = [await invited(await connect(), size) for _ in range(5)]
        for wire in wires:
            wire.send(b" " * (size - 100))
        replies = {asyncio.create_task(wire.reply()): wire for wire in wires}
        [refused], others = await asyncio.wait(replies, return_when=asyncio.FIRST_COMPLETED)
        assert (refused.result().status, refused.result().json) == (503, BUSY)
        assert refused.result().headers["connection"] == "close"
        small = await (await connect()).ask("POST", COUNT, JSON, body=b"{}")
        assert small.status == 200, "what is small is let in past the large ones"
        for task in others:
            replies[task].send(b" " * 98 + b"{}")
        assert {(await task).status for task in others} == {200}
        assert (await (await connect()).ask("POST", COUNT, JSON, body=b" " * (size - 2) + b"{}")).status == 200


@pytest.mark.parametrize("expect", [[], ["expect: 100-continue"]])
@on_uvloop
async def test_a_body_that_is_announced_too_large_is_refused_unread(nats_url: str, expect: list[str]) -> None:
    async with opened(nats_url, nothing, max_body=1000, slow_client=0.3) as connect:
        wire = await connect()
        wire.send(head(1001, *expect))
        reply = await wire.reply()
        assert (reply.status, reply.json) == (413, {"detail": "Request Entity Too Large"})
        assert reply.headers["connection"] == "close"
        assert await wire.rest() == b""


@on_uvloop
async def test_a_body_in_chunks_is_measured_as_it_arrives(nats_url: str) -> None:
    async with opened(nats_url, nothing, max_body=1000, slow_client=0.3) as connect:
        for size, status in ((1000, 200), (1001, 413)):
            wire = await connect()
            start = f"POST {COUNT} HTTP/1.1\r\nhost: x\r\n{JSON}\r\ntransfer-encoding: chunked\r\n\r\n"
            wire.send(start.encode() + b"%x\r\n%b\r\n" % (size, b"{}".rjust(size)))
            if status == 200:
                wire.send(b"0\r\n\r\n")
            assert (await wire.reply()).status == status
            if status == 413:
                assert await wire.rest() == b""


@on_uvloop
async def test_a_refused_body_leaves_the_connection_in_step(nats_url: str) -> None:
    async with opened(nats_url, nothing, slow_client=0.3) as connect:
        whole = await connect()
        assert (await whole.ask("POST", "/api/unknown", JSON, body=b"GET / HTTP/1.1")).status == 404
        assert (await whole.ask("POST", COUNT)).status == 200
        partly = await connect()
        partly.send(head(100).replace(b"count", b"xxx"))
        assert (await partly.reply()).headers["connection"] == "close"
        assert await partly.rest() == b""


# --- what is no HTTP


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nauthorization: s3cret\x01\r\n\r\n",
        b"GET / HTTP/1.1\r\nauthorization: s3cret\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: s3cret\r\n\r\n",
    ],
)
@on_uvloop
async def test_what_is_no_request_is_told_so_and_no_more(
    nats_url: str, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with opened(nats_url, nothing) as connect:
        wire = await connect()
        wire.send(sent)
        reply = await wire.reply()
        assert (reply.status, reply.body) == (400, b'{"detail":"Invalid HTTP request received."}')
        assert reply.headers["content-type"] == "application/json"
        assert re.fullmatch("[0-9a-f]{32}", reply.headers["x-request-id"])
        assert await wire.rest() == b""
    assert "s3cret" not in caplog.text


# --- what is said and counted


@on_uvloop
async def test_a_request_keeps_its_name(nats_url: str) -> None:
    names = []

    async def noting(_: Count, __: Deadline) -> Found:
        names.append(origin.request_id.get())
        return Found(b"0", 'W/"x"')

    async with opened(nats_url, noting, api_auth_string=SECRET) as connect:
        wire = await connect()
        named = "x-request-id: trace-1"
        for status, *headers in ((200, AUTHORIZED), (304, AUTHORIZED, 'if-none-match: "x"'), (401,)):
            reply = await wire.ask("POST", COUNT, named, *map(str, headers))
            assert (reply.status, reply.headers["x-request-id"]) == (status, "trace-1")
        preflight = await wire.ask("OPTIONS", COUNT, named, ORIGIN, "access-control-request-method: POST")
        assert preflight.headers["x-request-id"] == "trace-1"
        made = await wire.ask("POST", COUNT, AUTHORIZED, "x-request-id: two words")
        assert re.fullmatch("[0-9a-f]{32}", made.headers["x-request-id"])
        assert names == ["trace-1", "trace-1", made.headers["x-request-id"]]


@pytest.mark.parametrize(("allowed", "told"), [("*", "*"), ("https://a.example", "https://a.example"), ("b", None)])
@on_uvloop
async def test_a_search_tells_where_its_time_went(nats_url: str, allowed: str, told: str | None) -> None:
    async with opened(nats_url, nothing, cors_allowed_origins=allowed) as connect:
        wire = await connect()
        reply = await wire.ask("POST", COUNT, ORIGIN)
        assert re.fullmatch(r"(\w+;dur=\d+\.\d\d?, )*total;dur=\d+\.\d\d?", reply.headers["server-timing"])
        assert reply.headers.get("timing-allow-origin") == told
        assert "timing-allow-origin" not in (await wire.ask("POST", COUNT)).headers


@on_uvloop
async def test_every_request_is_counted_under_a_short_name(nats_url: str) -> None:
    async with opened(nats_url, nothing) as connect:
        wire = await connect()
        before = dict(samples())
        await wire.ask("POST", f"{COUNT}?s3cret")
        await wire.ask("GET", "/api/a/path/of/any/length")
        wire.send(b"no HTTP\r\n\r\n")
        await wire.reply()
        grown = {labels for labels, count in samples() if count > before.get(labels, 0)}
        assert grown == {("count", "200"), ("other", "404"), ("other", "400")}


def samples() -> Iterator[tuple[tuple[str, str], float]]:
    for metric in metrics.REQUESTS.collect():
        for sample in metric.samples:
            if sample.name.endswith("_count"):
                yield (sample.labels["endpoint"], sample.labels["status"]), sample.value


@on_uvloop
async def test_the_log_tells_of_trouble_and_of_no_secret(nats_url: str, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(_: Count, __: Deadline) -> Found:
        raise ValueError("inside")

    caplog.set_level(logging.DEBUG, "services.gateway")
    async with opened(nats_url, broken) as connect:
        wire = await connect()
        secret = "authorization: Basic s3cret"
        reply = await wire.ask("POST", f"{COUNT}?q=s3cret", secret, JSON, body=b'{"s3cret":1}')
        assert (reply.status, reply.json) == (500, {"exception_message": "Internal Server Error"})
        await wire.ask("GET", "/api/health", secret)
    assert "s3cret" not in caplog.text
    told = [(line.levelname, line.getMessage()) for line in caplog.records if " ms" in line.getMessage()]
    assert [(level, text.rsplit(" ", 2)[0]) for level, text in told] == [
        ("DEBUG", f"POST '{COUNT}' 500"),
        ("DEBUG", "GET '/api/health' 200"),
    ]


@on_uvloop
async def test_however_many_ask_whether_we_are_ready_the_services_are_asked_once_at_a_time(nats_url: str) -> None:
    asked = 0

    async def counting(_: Readiness) -> Ready:
        nonlocal asked
        asked += 1
        return Ready()

    async with AsyncExitStack() as stack:
        for service, endpoint in READY.items():
            line = await stack.enter_async_context(bus.connect(Settings(nats_url=nats_url), service))
            await line.up(10)
            await stack.enter_async_context(line.serve(endpoint, counting))
        connect = await stack.enter_async_context(opened(nats_url, nothing))
        while (await (await connect()).ask("GET", "/api/ready")).status != 200:  # the gateway's own line is on its way
            pass
        wires = [await connect() for _ in range(50)]
        replies = await asyncio.gather(*(wire.ask("GET", "/api/ready") for wire in wires))
    assert {reply.status for reply in replies} == {200}
    assert asked < 10 * len(READY)


@pytest.mark.parametrize("host", ["127.0.0.1", "nosuch.invalid"])
@on_uvloop
async def test_an_address_where_nothing_can_listen_is_told_with_the_settings_that_name_it(
    nats_url: str, host: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        says = rf"^cannot listen on {host}:{port} \(.+\); CLASSIS_HOST and CLASSIS_PORT say where$"
        with pytest.raises(CannotStart, match=says):
            async with opened(nats_url, nothing, host=host, port=port):
                pass
