"""What is passed on stays one well-formed request and one answer, whatever either side sends: HTTP at its edges."""

import asyncio
import gc
import logging
import os
from collections.abc import Iterator

import pytest
from aiohttp import web

from services import embedded
from shared import metrics
from tests.conftest import folder
from tests.doors import COUNT, JSON, WITHIN, nothing, on_uvloop, opened, request
from tests.fleet import free_port
from tests.upstreams import OK, Exchange, playing

GET = b"GET /x HTTP/1.1\r\nhost: x\r\n"
POST = b"POST /x HTTP/1.1\r\nhost: x\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"
ABC = b"3\r\nabc\r\n0\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture(scope="module")
def nats_url() -> Iterator[str]:
    with folder() as home, embedded.nats(home) as url:
        yield url


# --- requests that two parsers could read differently


@pytest.mark.parametrize(
    ("status", "sent"),
    [
        (400, POST + b"content-length: 3\r\n" + CHUNKED + b"\r\n0\r\n\r\n"),
        (400, POST + CHUNKED + b"content-length: 3\r\n\r\n0\r\n\r\n"),
        (400, POST + b"content-length: 3\r\ncontent-length: 3\r\n\r\nabc"),
        (400, POST + b"content-length: 3, 3\r\n\r\nabc"),
        (400, POST + b"content-length: +3\r\n\r\nabc"),
        (400, POST + b"transfer-encoding: identity\r\n\r\n"),
        (400, POST + b"transfer-encoding: chunked, gzip\r\n\r\n" + ABC),
        (400, POST + b"transfer-encoding: xchunked\r\n\r\n" + ABC),
        (400, POST + CHUNKED + CHUNKED + b"\r\n" + ABC),
        (400, POST + b"transfer-encoding : chunked\r\n\r\n" + ABC),
        (400, POST + b"transfer-encoding:\x0bchunked\r\n\r\n" + ABC),
        (501, POST + b"transfer-encoding: gzip, chunked\r\n\r\n" + ABC),
        (400, GET + b"a: b\r\n c\r\n\r\n"),
        (400, GET + b"a: b\rc: d\r\n\r\n"),
        (400, GET + b"a: b\0c\r\n\r\n"),
        (400, b"GET /x HTTP/1.1\nhost: x\n\n"),
        (400, b"GET /x HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"),
        (400, b"GET /gr\xfcn HTTP/1.1\r\nhost: x\r\n\r\n"),
        (400, b"get /x HTTP/1.1\r\nhost: x\r\n\r\n"),
        (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        (405, b"CONNECT evil.example:443 HTTP/1.1\r\nhost: x\r\n\r\n"),
        (405, b"CONNECT /x HTTP/1.1\r\nhost: x\r\n\r\n"),
    ],
)
@on_uvloop
async def test_what_is_no_plain_request_stays_here(nats_url: str, status: int, sent: bytes) -> None:
    async with playing() as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        wire = await connect()
        wire.send(sent)
        assert (await wire.reply()).status == status
        assert not upstream.seen


@pytest.mark.parametrize(
    ("sent", "framed"),
    [
        (POST + b"connection: content-length\r\ncontent-length: 3\r\n\r\nabc", ("transfer-encoding", "chunked")),
        (POST + CHUNKED + b'\r\n3;a="b"\r\nabc\r\n0;c\r\nafter: wards\r\n\r\n', ("transfer-encoding", "chunked")),
        (b"POST /x HTTP/1.0\r\nhost: x\r\n" + CHUNKED + b"\r\n" + ABC, ("transfer-encoding", "chunked")),
        (GET + b"content-length: 3\r\n\r\nabc", ("content-length", "3")),
        (GET + b"connection: upgrade\r\nupgrade: websocket\r\ncontent-length: 3\r\n\r\nabc", ("content-length", "3")),
    ],
)
@on_uvloop
async def test_a_body_arrives_once_and_whole(nats_url: str, sent: bytes, framed: tuple[str, str]) -> None:
    async def answer(exchange: Exchange) -> None:
        assert await exchange.body() == b"abc"
        exchange.send(OK)

    async with playing(answer) as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        wire = await connect()
        wire.send(sent)
        assert (await wire.reply()).body == b"ok"
        [exchange] = upstream.seen
        assert [header for header in exchange.headers if header[0] in ("content-length", "transfer-encoding")] == [
            framed
        ]


@on_uvloop
async def test_requests_sent_at_once_are_answered_in_their_order(nats_url: str) -> None:
    async def answer(exchange: Exchange) -> None:
        body = exchange.line.encode()
        exchange.send(ANSWER + b"content-length: %d\r\n\r\n%b" % (len(body), body))

    async with playing(answer) as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        wire = await connect()
        ours = request("POST", COUNT, JSON, body=b"{}")
        declined = request("GET", "/ws", "connection: upgrade", "upgrade: websocket")
        wire.send(request("GET", "/1") + ours + declined + request("GET", "/2") + ours)
        bodies = [(await wire.reply()).body for _ in range(5)]
        assert bodies == [b"GET /1 HTTP/1.1", b"0", b"GET /ws HTTP/1.1", b"GET /2 HTTP/1.1", b"0"]


@on_uvloop
async def test_no_client_can_have_its_host_left_out(nats_url: str) -> None:
    async with playing() as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        await (await connect()).ask("GET", "/x", "connection: host, via, forwarded", "x-request-id: mine")
        [exchange] = upstream.seen
        assert exchange.all("host") == ["x"]
        assert len(exchange.all("via")) == len(exchange.all("forwarded")) == 1
        assert exchange.all("x-request-id") == ["mine"]


# --- clients of an older kind, or that want no more than one answer


@pytest.mark.parametrize(
    "said", [ANSWER + b"content-length: 2\r\n\r\nok", ANSWER + CHUNKED + b"\r\n2\r\nok\r\n0\r\n\r\n"]
)
@pytest.mark.parametrize("top", [b"GET /x HTTP/1.0\r\n\r\n", GET + b"connection: close\r\n\r\n"])
@on_uvloop
async def test_a_connection_for_one_answer_ends_with_it(nats_url: str, top: bytes, said: bytes) -> None:
    async def answer(exchange: Exchange) -> None:
        exchange.send(said)

    async with playing(answer) as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        wire = await connect()
        wire.send(top)
        head, _, body = (await wire.rest()).partition(b"\r\n\r\n")
        chunked = b"transfer-encoding" in head.lower()
        assert chunked is (b"HTTP/1.1" in top and b"chunked" in said)
        assert body == (b"2\r\nok\r\n0\r\n\r\n" if chunked else b"ok")


# --- answers at the edges


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n" + OK,
        b"HTTP/1.1 102 Processing\r\n\r\n" * 3 + OK,
        ANSWER + b"trailer: a\r\n" + CHUNKED + b"\r\n2;a=b\r\nok\r\n0\r\na: b\r\n\r\n",
        ANSWER
        + b"".join(b"a%d: %b\r\n" % (number, b"x" * 15_000) for number in range(4))
        + b"content-length: 2\r\n\r\nok",
        ANSWER + b"a: " + b"x" * 60_000 + b"\r\ncontent-length: 2\r\n\r\nok",
    ],
)
@on_uvloop
async def test_an_odd_answer_is_one_answer(nats_url: str, said: bytes) -> None:
    async def answer(exchange: Exchange) -> None:
        exchange.send(OK if "/y" in exchange.line else said)

    async with playing(answer) as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        wire = await connect()
        wire.send(GET + b"connection: close\r\n\r\n")
        head, _, body = (await wire.rest()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert body in {b"ok", b"2\r\nok\r\n0\r\n\r\n"}
        assert (await (await connect()).ask("GET", "/y")).body == b"ok"


@on_uvloop
async def test_early_hints_do_not_ask_for_a_body_in_vain(nats_url: str) -> None:
    async def answer(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        assert await exchange.body() == b"abc"
        exchange.send(OK)

    async with playing(answer) as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        assert (await (await connect()).ask("POST", "/x", body=b"abc")).body == b"ok"


@pytest.mark.parametrize(
    "said",
    [
        ANSWER + b"content-length: 2\r\n" + CHUNKED + b"\r\n2\r\nok\r\n0\r\n\r\n",
        ANSWER + b"content-length: 2\r\ncontent-length: 3\r\n\r\nok",
        ANSWER + b"content-length: 99999999999999999999999\r\n\r\nok",
        ANSWER + b"a: " + b"x" * 70_000 + b"\r\n\r\n",
        ANSWER + b"a: b\0c\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 20 OK\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 204 OK\r\ncontent-length: 2\r\n\r\nok",
    ],
)
@on_uvloop
async def test_an_answer_that_is_none(nats_url: str, said: bytes) -> None:
    async def answer(exchange: Exchange) -> None:
        exchange.send(OK if "/y" in exchange.line else said)

    async with playing(answer) as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        wire = await connect()
        assert (await wire.ask("GET", "/x")).status == 502
        assert (await wire.ask("GET", "/y")).body == b"ok"


@on_uvloop
async def test_a_body_that_is_none_ends_the_connection(nats_url: str) -> None:
    go_on = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        exchange.send(ANSWER + CHUNKED + b"\r\n2\r\nok\r\n")
        await go_on.wait()
        exchange.send(b"zz\r\n")

    async with (
        playing(answer) as upstream,
        opened(nats_url, nothing, upstream=upstream.url, upstream_patience=0.2) as connect,
    ):
        wire = await connect()
        wire.send(request("GET", "/x"))
        await wire.until(b"ok\r\n")
        go_on.set()
        assert await wire.rest() == b""


@on_uvloop
async def test_what_the_upstream_says_in_latin_1_arrives_in_utf_8(nats_url: str) -> None:
    async def answer(exchange: Exchange) -> None:
        names = b"x-a: gr\xfcn.csv\r\nx-b: " + "grün".encode() + b"\r\n"
        exchange.send(ANSWER + names + b"content-length: 0\r\n\r\n")

    async with playing(answer) as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        headers = (await (await connect()).ask("GET", "/x")).headers
        assert (headers["x-a"], headers["x-b"]) == ("grün.csv", "grün")


# --- what is told, and what is kept


@pytest.mark.parametrize(
    "said", [None, b"", b"HTTP/1.1 200 OK\r\nset-cookie: 5ecret\r\n", ANSWER + b"a b: 5ecret\r\n\r\n", b"5ecret"]
)
@on_uvloop
async def test_trouble_tells_nothing_of_the_client_or_the_upstream(
    nats_url: str, said: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    async def answer(exchange: Exchange) -> None:
        exchange.send(said or b"")
        raise ConnectionError

    async with playing(answer) as upstream:
        url = f"http://127.0.0.1:{free_port()}" if said is None else upstream.url
        async with opened(nats_url, nothing, upstream=url) as connect:
            caplog.set_level(logging.DEBUG)
            told = ["authorization: Basic 5ecret", "cookie: a=5ecret", "prefect-csrf-token: 5ecret"]
            reply = await (await connect()).ask("POST", "/api/x?token=5ecret", *told, body=b"5ecret")
        assert reply.status in (502, 503)
        everything = f"{caplog.text}{reply.headers}"
        assert "Unreachable" in everything
        assert "5ecret" not in everything
        assert url.rpartition(":")[2] not in f"{reply.headers}{reply.body!r}"


@on_uvloop
async def test_a_witness_that_breaks_off_is_no_mistake_of_ours(nats_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """The upstream is asked after the client's answer, when aiohttp lets nobody read the client's body any more."""

    async def answer(_: Exchange) -> None:
        raise ConnectionError

    failed = metrics.SHADOWS.labels("failed")._value.get
    before = failed()
    async with playing(answer) as upstream, opened(nats_url, nothing, upstream=upstream.url, shadow=1.0) as connect:
        assert (await (await connect()).ask("POST", COUNT, JSON, body=b"{}")).status == 200
        async with asyncio.timeout(WITHIN):
            while failed() == before:
                await asyncio.get_running_loop().run_in_executor(None, os.sched_yield)
    assert "comparison" not in caplog.text


@pytest.mark.parametrize("path", ["/x", COUNT])
@on_uvloop
async def test_nothing_is_kept_of_broken_requests(nats_url: str, path: str, caplog: pytest.LogCaptureFixture) -> None:
    """An error that is raised again and again would keep every request it was raised for."""
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\n{JSON}\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n"
    async with playing() as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        for _ in range(20):
            wire = await connect()
            wire.send(head.encode())
            if path == "/x":
                await upstream.next()
            wire.send(b"zz\r\n")
            assert (await wire.reply()).status == 400
            assert await wire.rest() == b""
        assert "Traceback" not in caplog.text
        gc.collect()
        assert len([one for one in gc.get_objects() if isinstance(one, web.BaseRequest)]) < 5


@on_uvloop
async def test_an_upstream_on_ipv6(nats_url: str) -> None:
    try:
        server = await asyncio.start_server(_one_answer, "::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6")
    url = f"http://[::1]:{server.sockets[0].getsockname()[1]}"
    async with server, opened(nats_url, nothing, upstream=url) as connect, asyncio.timeout(WITHIN):
        assert (await (await connect()).ask("GET", "/x")).body == b"ok"


async def _one_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(OK)
    await writer.drain()
    writer.close()
