"""What is passed on to the upstream and back, byte for byte, and what a client gets when the upstream fails it."""

import asyncio
import json
import zlib
from collections.abc import Iterator

import pytest

from services import embedded
from services.gateway.fanout import Deadline, Found
from shared import metrics
from shared.errors import Absent, Busy, DatabaseDown, DeadlineSpent, Disconnected, Unacceptable, Unavailable
from shared.filters import Count
from tests.conftest import folder
from tests.doors import COUNT, JSON, WITHIN, head, nothing, on_uvloop, opened, request
from tests.fleet import free_port
from tests.upstreams import OK, Exchange, gone, playing

ROW = "/api/deployments/00000de9-0000-4000-8000-000000000001"


@pytest.fixture(scope="module")
def nats_url() -> Iterator[str]:
    with folder() as home, embedded.nats(home) as url:
        yield url


# --- requests


METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "TRACE"]


@pytest.mark.parametrize(
    "target",
    [
        "/", "/v2/assets/index-1.js", "/api/flows/filter", "/api/health", "/api/deployments/filter/", "/api/%2e%2e/x",
        "/a%2Fb%20c+d/%C3%BC;v=1?q=%20+&&a=1&a=2&b", "//evil.example/x", "/a/../b/./c", f"/{'x' * 4000}?{'y' * 4000}",
    ],
)  # fmt: skip
@on_uvloop
async def test_any_method_and_path_arrives_as_it_is(nats_url: str, target: str) -> None:
    async with playing() as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        wire = await connect()
        for method in METHODS:
            reply = await wire.ask(method, target)
            assert (reply.status, reply.body) == (200, b"ok")
        assert [exchange.line for exchange in upstream.seen] == [f"{method} {target} HTTP/1.1" for method in METHODS]


@pytest.mark.parametrize("method", ["PATCH", "DELETE", "HEAD", "OPTIONS"])
@on_uvloop
async def test_other_methods_of_our_own_paths_are_the_upstreams(nats_url: str, method: str) -> None:
    async with playing() as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        (await connect()).send(request(method, ROW, "origin: https://a", "access-control-request-method: PATCH"))
        assert (await upstream.next()).line == f"{method} {ROW} HTTP/1.1"


@pytest.mark.parametrize("target", ["@evil.example/", "http://evil.example/x", "*", "evil"])
@on_uvloop
async def test_no_target_names_another_host(nats_url: str, target: str) -> None:
    async with playing() as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        wire = await connect()
        wire.send(request("GET", target, "connection: close"))
        status = int((await wire.rest()).split()[1])
        assert 400 <= status < 500
        assert not upstream.seen


@on_uvloop
async def test_headers_of_the_request(nats_url: str) -> None:
    async with playing() as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        sent = ["x-a: 1", "cookie: a=1", "cookie: b=2", "X-A: 2", "x-u: grün", "te: trailers", "keep-alive: 5",
                "connection: keep-alive, X-Mine", "x-mine: secret", "proxy-authorization: x"]  # fmt: skip
        await (await connect()).ask("GET", "/x", *sent)
        [exchange] = upstream.seen
        assert exchange.all("host") == ["x"]
        assert exchange.all("x-a") == ["1", "2"]
        assert exchange.all("cookie") == ["a=1", "b=2"]
        assert exchange.all("x-u") == ["grün"]
        for name in ("te", "keep-alive", "x-mine", "proxy-authorization", "accept", "accept-encoding", "user-agent"):
            assert exchange.all(name) == [], name
        assert exchange.all("x-forwarded-for") == ["127.0.0.1"]
        assert exchange.all("x-forwarded-host") == ["x"]
        assert exchange.all("x-forwarded-proto") == ["http"]
        assert exchange.all("forwarded") == ['for=127.0.0.1;host="x";proto=http']


@on_uvloop
async def test_what_an_earlier_proxy_told_stays(nats_url: str) -> None:
    told = ["x-forwarded-for: 10.0.0.1", "x-forwarded-proto: https", "x-forwarded-host: prefect.example",
            'forwarded: for=10.0.0.1;proto=https', "via: 1.1 edge"]  # fmt: skip
    async with playing() as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        await (await connect()).ask("GET", "/x", *told)
        [exchange] = upstream.seen
        assert exchange.all("x-forwarded-for") == ["10.0.0.1, 127.0.0.1"]
        assert exchange.all("x-forwarded-proto") == ["https"]
        assert exchange.all("x-forwarded-host") == ["prefect.example"]
        assert exchange.all("forwarded")[0] == "for=10.0.0.1;proto=https"
        assert exchange.all("via")[0] == "1.1 edge"


@pytest.mark.parametrize(("value", "status"), [("a\xa0b\tc".encode(), 200), (b"gr\xfcn", 400), (b"\xed\xa0\x80", 400)])
@on_uvloop
async def test_a_header_arrives_whole_or_not_at_all(nats_url: str, value: bytes, status: int) -> None:
    async with playing() as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        wire = await connect()
        wire.send(b'GET /x HTTP/1.1\r\nhost: a"\\b\r\nx-a: ' + value + b"\r\n\r\n")
        assert (await wire.reply()).status == status
        assert [exchange.all("x-a") for exchange in upstream.seen] == ([[value.decode()]] if status == 200 else [])


@on_uvloop
async def test_an_upstream_that_is_the_gateway_itself_is_noticed(nats_url: str) -> None:
    port = free_port()
    async with opened(nats_url, nothing, upstream=f"http://127.0.0.1:{port}", port=port) as connect:
        reply = await (await connect()).ask("GET", "/api/flows")
        assert (reply.status, reply.json) == (508, {"detail": "Loop Detected"})


@on_uvloop
async def test_an_upload_streams(nats_url: str) -> None:
    first = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        parts = exchange.chunks()
        assert await anext(parts) == b"one"
        first.set()
        assert [part async for part in parts] == [b"two"]
        exchange.send(OK)

    async with playing(answer) as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        wire = await connect()
        wire.send(b"POST /up HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        await asyncio.wait_for(first.wait(), WITHIN)
        wire.send(b"3\r\ntwo\r\n0\r\n\r\n")
        assert (await wire.reply()).body == b"ok"


@on_uvloop
async def test_a_body_keeps_its_length_and_its_compression(nats_url: str) -> None:
    packed = zlib.compress(b"x" * 5000, wbits=31)
    async with playing() as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        await (await connect()).ask("PUT", "/x", "content-encoding: gzip", body=packed)
        [exchange] = upstream.seen
        assert exchange.all("content-length") == [str(len(packed))]
        assert exchange.all("content-encoding") == ["gzip"]


@on_uvloop
async def test_expect_goes_all_the_way(nats_url: str) -> None:
    async def answer(exchange: Exchange) -> None:
        assert exchange.all("expect") == ["100-continue"]
        exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await exchange.body() == b"abc"
        exchange.send(OK)

    async with playing(answer) as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        wire = await connect()
        wire.send(b"POST /x HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n")
        assert (await wire.reply()).status == 100
        wire.send(b"abc")
        assert (await wire.reply()).body == b"ok"


@on_uvloop
async def test_an_upstream_may_refuse_before_it_is_sent_a_body(nats_url: str) -> None:
    async def answer(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")

    async with playing(answer) as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        wire = await connect()
        wire.send(b"POST /x HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n")
        assert (await wire.reply()).status == 413


@on_uvloop
async def test_a_client_that_goes_away_ends_the_work_for_it(nats_url: str) -> None:
    async with playing(gone) as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        wire = await connect()
        wire.send(request("GET", "/slow"))
        exchange = await upstream.next()
        wire.writer.close()
        await asyncio.wait_for(exchange.ended.wait(), WITHIN)


@on_uvloop
async def test_a_broken_upload_is_the_clients_mistake(nats_url: str) -> None:
    async with playing() as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        wire = await connect()
        wire.send(b"POST /x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        await upstream.next()
        wire.send(b"zz\r\n")
        assert (await wire.reply()).json == {"detail": "Invalid HTTP request received."}
        assert (await wire.rest()) == b""


@on_uvloop
async def test_a_broken_body_of_a_search_too(nats_url: str) -> None:
    async with opened(nats_url, nothing) as connect:
        wire = await connect()
        wire.send(
            f"POST {COUNT} HTTP/1.1\r\nhost: x\r\n{JSON}\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{{\r\n".encode()
        )
        wire.send(b"zz\r\n")
        reply = await wire.reply()
        assert (reply.status, reply.json) == (400, {"detail": "Invalid HTTP request received."})


# --- answers


@on_uvloop
async def test_headers_of_the_answer(nats_url: str) -> None:
    told = ["set-cookie: a=1", "set-cookie: b=2; Path=/", "x-mine: secret", "connection: X-Mine", "server: uvicorn",
            "date: Sun, 22 Nov 2026 00:00:00 GMT", "content-encoding: br", "content-length: 3", "x-u: grün"]  # fmt: skip

    async def answer(exchange: Exchange) -> None:
        exchange.send(("HTTP/1.1 418 Odd One\r\n" + "\r\n".join(told) + "\r\n\r\nabc").encode())

    async with playing(answer) as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        wire = await connect()
        wire.send(request("GET", "/x", "connection: close"))
        top, _, body = (await wire.rest()).partition(b"\r\n\r\n")
        lines = [line.lower() for line in top.decode().split("\r\n")]
        assert (lines[0], body) == ("http/1.1 418 odd one", b"abc")
        kept = {line.lower() for line in told if not line.startswith(("x-mine", "connection"))}
        assert kept <= set(lines)
        assert not [line for line in lines if line.startswith("x-mine")]


@on_uvloop
async def test_an_answer_streams(nats_url: str) -> None:
    more = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        await more.wait()
        exchange.send(b"3\r\ntwo\r\n0\r\n\r\n")

    async with playing(answer) as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        wire = await connect()
        wire.send(request("GET", "/x", "connection: close"))
        first = await wire.until(b"one")
        more.set()
        assert first + await wire.rest() == first + b"\r\n3\r\ntwo\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("method", "status", "length"), [("HEAD", 200, "content-length: 5"), ("GET", 204, ""), ("GET", 304, "etag: x")]
)
@on_uvloop
async def test_answers_without_a_body(nats_url: str, method: str, status: int, length: str) -> None:
    async def answer(exchange: Exchange) -> None:
        exchange.send(OK if "/y" in exchange.line else f"HTTP/1.1 {status} X\r\n{length or 'x: y'}\r\n\r\n".encode())

    async with playing(answer) as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        wire = await connect()
        wire.send(request(method, "/x") + request("GET", "/y", "connection: close"))
        top, _, rest = (await wire.rest()).partition(b"\r\n\r\n")
        assert int(top.split()[1]) == status
        assert not length or length in top.decode().lower()
        assert rest.startswith(b"HTTP/1.1")


@on_uvloop
async def test_redirects_and_cookies_are_for_the_client(nats_url: str) -> None:
    async def answer(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 307 X\r\nlocation: /y\r\nset-cookie: a=1\r\ncontent-length: 0\r\n\r\n")

    async with playing(answer) as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        for _ in range(2):
            assert (await (await connect()).ask("GET", "/x")).headers["location"] == "/y"
        assert [exchange.all("cookie") for exchange in upstream.seen] == [[], []]


# --- an upstream that fails


@on_uvloop
async def test_an_upstream_that_is_down(nats_url: str) -> None:
    async with opened(nats_url, nothing, upstream=f"http://127.0.0.1:{free_port()}") as connect:
        reply = await (await connect()).ask("GET", "/api/flows")
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert reply.json == {"exception_message": "Service Unavailable"}


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200", b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"]
)
@on_uvloop
async def test_an_upstream_that_breaks_off_before_its_answer(nats_url: str, said: bytes) -> None:
    async def answer(exchange: Exchange) -> None:
        exchange.send(said)
        raise ConnectionError

    async with playing(answer) as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        reply = await (await connect()).ask("POST", "/api/flows", body=b"{}")
        assert (reply.status, reply.json) == (502, {"exception_message": "Bad Gateway"})
        assert len(upstream.seen) == 1  # a POST is not asked twice


@on_uvloop
async def test_an_upstream_that_is_silent(nats_url: str) -> None:
    async with (
        playing(gone) as upstream,
        opened(nats_url, nothing, upstream=upstream.url, upstream_patience=0.2) as connect,
    ):
        reply = await (await connect()).ask("GET", "/api/flows")
        assert (reply.status, reply.json) == (504, {"exception_message": "Gateway Timeout"})
        await asyncio.wait_for(upstream.seen[0].ended.wait(), WITHIN)


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ],
)
@on_uvloop
async def test_an_answer_that_breaks_off_is_seen_to(nats_url: str, said: bytes) -> None:
    async def answer(exchange: Exchange) -> None:
        exchange.send(said)
        await exchange.writer.drain()
        raise ConnectionError

    async with playing(answer) as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        wire = await connect()
        wire.send(request("GET", "/x"))
        whole = await wire.rest()
        assert b"\r\n0\r\n\r\n" not in whole
        assert whole.endswith(b"abc") or whole.endswith(b"abc\r\n")


# --- what is answered here all the same


@on_uvloop
async def test_searches_are_ours(nats_url: str) -> None:
    async with playing() as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        reply = await (await connect()).ask("POST", COUNT, JSON, body=b"{}")
        assert (reply.status, reply.body, reply.headers["server"]) == (200, b"0", "classis")
        assert not upstream.seen


def _settings_page(exchange: Exchange) -> bytes:
    page: dict[str, object] = {"api_url": "http://127.0.0.1:4200/api", "auth": None, "flags": [], "v2_base_url": "/v2"}
    body = json.dumps(page).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


@pytest.mark.parametrize("path", ["/ui-settings", "/prefect/ui-settings"])
@on_uvloop
async def test_the_web_ui_is_told_to_ask_here(nats_url: str, path: str) -> None:
    async def answer(exchange: Exchange) -> None:
        assert exchange.all("accept-encoding") == ["identity"]
        exchange.send(_settings_page(exchange))

    async with playing(answer) as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        reply = await (await connect()).ask("GET", path, "accept-encoding: gzip")
        assert reply.json == {"api_url": "/api", "auth": None, "flags": [], "v2_base_url": "/v2"}


@on_uvloop
async def test_other_ui_settings_stay_as_they_are(nats_url: str) -> None:
    async def answer(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 404 X\r\ncontent-length: 4\r\ncontent-type: text/plain\r\n\r\nnope")

    async with playing(answer) as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        reply = await (await connect()).ask("GET", "/ui-settings")
        assert (reply.status, reply.body, reply.headers["content-type"]) == (404, b"nope", "text/plain")


# --- the upstream stands in


class Failing:
    def __init__(self, error: Exception) -> None:
        self.error = error

    async def __call__(self, _: Count, __: Deadline) -> Found:
        raise self.error


@pytest.mark.parametrize("error", [Absent, Busy, DatabaseDown, DeadlineSpent, Disconnected])
@on_uvloop
async def test_the_upstream_answers_when_the_fleet_cannot(nats_url: str, error: type[Unavailable]) -> None:
    before = _fallbacks(error.__name__)
    async with (
        playing() as upstream,
        opened(nats_url, Failing(error("inside")), upstream=upstream.url) as connect,
    ):
        reply = await (await connect()).ask("POST", COUNT, JSON, "authorization: Basic x", body=b'{"flows": {}}')
        assert (reply.status, reply.body) == (200, b"ok")
        assert reply.headers["x-classis-fallback"] == error.__name__
        [exchange] = upstream.seen
        assert (exchange.line, exchange.all("authorization")) == (f"POST {COUNT} HTTP/1.1", ["Basic x"])
        assert exchange.all("content-length") == ["13"]
    assert _fallbacks(error.__name__) == before + 1


def _fallbacks(reason: str) -> float:
    return float(metrics.FALLBACKS.labels(reason)._value.get())


@on_uvloop
async def test_single_deployments_too(nats_url: str) -> None:
    async with playing() as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        reply = await (await connect()).ask("GET", ROW)  # no service is there
        assert reply.body == b"ok"
        assert reply.headers["x-classis-fallback"] in {"Absent", "Disconnected"}  # NATS may not have answered yet


@on_uvloop
async def test_a_setting_turns_it_off(nats_url: str) -> None:
    async with (
        playing() as upstream,
        opened(nats_url, Failing(Absent("x")), upstream=upstream.url, fallback=0) as connect,
    ):
        assert (await (await connect()).ask("POST", COUNT, JSON, body=b"{}")).status == 503
        assert not upstream.seen


@on_uvloop
async def test_the_clients_mistakes_are_not_asked_again(nats_url: str) -> None:
    async with (
        playing() as upstream,
        opened(nats_url, Failing(Unacceptable("x")), upstream=upstream.url) as connect,
    ):
        assert (await (await connect()).ask("POST", COUNT, JSON, body=b"{}")).status == 422
        assert (await (await connect()).ask("POST", COUNT, JSON, body=b"{")).status == 422
        assert not upstream.seen


@on_uvloop
async def test_it_stands_in_for_so_many_at_a_time(nats_url: str) -> None:
    go_on = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await exchange.body()
        await go_on.wait()
        exchange.send(OK)

    async with (
        playing(slow) as upstream,
        opened(nats_url, Failing(Absent("x")), upstream=upstream.url, fallback=2) as connect,
    ):
        taken = [await connect() for _ in range(2)]
        for wire in taken:
            wire.send(request("POST", COUNT, JSON, body=b"{}"))
        await upstream.next(), await upstream.next()
        assert (await (await connect()).ask("POST", COUNT, JSON, body=b"{}")).status == 503
        go_on.set()
        assert [(await wire.reply()).status for wire in taken] == [200, 200]


@on_uvloop
async def test_both_down(nats_url: str) -> None:
    down = f"http://127.0.0.1:{free_port()}"
    async with opened(nats_url, Failing(Absent("x")), upstream=down, api_auth_string="a:b") as connect:
        reply = await (await connect()).ask("POST", COUNT, JSON, "authorization: Basic YTpi", body=b"{}")
        assert (reply.status, "x-classis-fallback" in reply.headers) == (503, False)


@on_uvloop
async def test_a_search_beyond_the_places_is_passed_on(nats_url: str) -> None:
    held = asyncio.Event()

    async def answering(_: Count, __: Deadline) -> Found:
        await held.wait()
        return Found(b"7", "")

    async with (
        playing() as upstream,
        opened(nats_url, answering, upstream=upstream.url, gateway_concurrency=1) as connect,
    ):
        first = await connect()
        first.send(request("POST", COUNT, JSON, body=b"{}"))
        second = await connect()
        second.send(head(2))
        second.send(b"{}")
        reply = await second.reply()
        assert (reply.body, reply.headers["x-classis-fallback"]) == (b"ok", "Busy")
        held.set()
        assert (await first.reply()).body == b"7"
