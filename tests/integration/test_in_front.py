"""A gateway in front of an upstream that is slow, away, or odd: searches go on, and what is told of it is true."""

import asyncio
import logging
from collections.abc import Iterator

import pytest

from services import embedded
from services.gateway.fanout import Deadline, Found
from shared import metrics
from shared.errors import Absent
from shared.filters import Count
from tests.conftest import folder
from tests.doors import COUNT, JSON, WITHIN, nothing, on_uvloop, opened, request
from tests.fleet import free_port
from tests.upstreams import Exchange, gone, playing


@pytest.fixture(scope="module")
def nats_url() -> Iterator[str]:
    with folder() as home, embedded.nats(home) as url:
        yield url


async def absent(_: Count, __: Deadline) -> Found:
    raise Absent("deployments")


def _upstream_seconds(outcome: str) -> float:
    name = "classis_upstream_seconds_count"
    [family] = metrics.UPSTREAM.collect()
    return sum(s.value for s in family.samples if s.name == name and s.labels == {"outcome": outcome})


@on_uvloop
async def test_calls_that_wait_for_the_upstream_leave_connections_for_searches(nats_url: str) -> None:
    limits = {"max_connections": 8, "deadline": 1.0, "slow_client": 1.0}
    async with (
        playing(gone) as upstream,
        opened(nats_url, nothing, upstream=upstream.url, **limits) as connect,
    ):
        for _ in range(6):
            (await connect()).send(request("GET", "/slow"))
            await upstream.next()
        refused = await connect()
        assert (await refused.ask("GET", "/slow")).status == 503
        assert (await refused.ask("POST", COUNT, JSON, body=b"{}")).body == b"0"
        assert len(upstream.seen) == 6


@on_uvloop
async def test_who_is_turned_away_is_counted(nats_url: str) -> None:
    before = metrics.TURNED_AWAY._value.get()
    async with opened(nats_url, nothing, max_connections=1) as connect:
        first = await connect()
        assert (await first.ask("POST", COUNT, JSON, body=b"{}")).body == b"0"
        assert await (await connect()).rest() == b""
        assert metrics.TURNED_AWAY._value.get() == before + 1


@on_uvloop
async def test_a_client_that_leaves_is_no_failure_of_the_upstream(nats_url: str) -> None:
    given_up, failed = _upstream_seconds("given_up"), _upstream_seconds("failed")
    async with playing(gone) as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        wire = await connect()
        wire.send(request("GET", "/slow"))
        exchange = await upstream.next()
        wire.writer.close()
        await asyncio.wait_for(exchange.ended.wait(), WITHIN)
    assert (_upstream_seconds("given_up"), _upstream_seconds("failed")) == (given_up + 1, failed)


@on_uvloop
async def test_the_upstream_has_as_long_for_a_search_as_the_fleet(nats_url: str) -> None:
    async with (
        playing(gone) as upstream,
        opened(nats_url, absent, upstream=upstream.url, deadline=0.2, upstream_patience=1000) as connect,
    ):
        assert (await (await connect()).ask("POST", COUNT, JSON, body=b"{}")).status == 503
        await asyncio.wait_for(upstream.seen[0].ended.wait(), WITHIN)


@on_uvloop
async def test_the_log_tells_of_a_fallback(nats_url: str, caplog: pytest.LogCaptureFixture) -> None:
    async with playing() as upstream, opened(nats_url, absent, upstream=upstream.url) as connect:
        assert (await (await connect()).ask("POST", COUNT, JSON, body=b"{}")).body == b"ok"
    assert [record.message for record in caplog.records if record.name.endswith("fallback")] == [
        "the upstream answered instead: Absent('deployments')"
    ]


@on_uvloop
async def test_an_answer_that_is_compressed_unasked_does_not_stand_in(nats_url: str) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.body()
        assert exchange.all("accept-encoding") == ["identity"]
        exchange.send(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n\x1f\x8b")

    async with playing(answer) as upstream, opened(nats_url, absent, upstream=upstream.url) as connect:
        assert (await (await connect()).ask("POST", COUNT, JSON, body=b"{}")).status == 503


@on_uvloop
async def test_calls_under_way_are_told_when_the_gateway_leaves(
    nats_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with playing(gone) as upstream:
        async with opened(
            nats_url, nothing, upstream=upstream.url, deadline=0.2, slow_client=0.2, upstream_patience=1000
        ) as connect:
            wires = [await connect() for _ in range(3)]
            for wire in wires:
                wire.send(request("GET", "/slow"))
                await upstream.next()
            replies = asyncio.gather(*(wire.reply() for wire in wires))
        answers = await replies
        assert [(reply.status, reply.headers["connection"]) for reply in answers] == [(503, "close")] * 3
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("target", ["/api/variables/name/ui-settings", "/api/work_pools/ui-settings"])
@on_uvloop
async def test_something_of_the_api_with_the_name_of_the_uis_settings_is_not_these(nats_url: str, target: str) -> None:
    async def answer(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nx-foo: bar\r\ncontent-length: 2\r\n\r\n{}")

    async with playing(answer) as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        assert (await (await connect()).ask("GET", target)).headers["x-foo"] == "bar"


@on_uvloop
async def test_nothing_is_cut_off_a_target(nats_url: str) -> None:
    async with playing() as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        wire = await connect()
        wire.send(request("POST", f"{COUNT}#x", "connection: close"))
        assert (await wire.rest()).split()[1] == b"400"
        assert not upstream.seen


@pytest.mark.parametrize(("well", "status"), [(b"200 OK", 200), (b"503 X", 503)])
@on_uvloop
async def test_it_is_ready_while_the_upstream_stands_in_for_the_fleet(nats_url: str, well: bytes, status: int) -> None:
    async def answer(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 %b\r\ncontent-length: 0\r\n\r\n" % well)

    async with playing(answer) as upstream, opened(nats_url, nothing, upstream=upstream.url) as connect:
        reply = await (await connect()).ask("GET", "/api/ready")  # no service is there
        assert reply.status == status
        assert status == 200 or "upstream" in reply.json["message"]


@on_uvloop
async def test_it_is_not_ready_when_nobody_answers(nats_url: str) -> None:
    async with opened(nats_url, nothing, upstream=f"http://127.0.0.1:{free_port()}") as connect:
        reply = await (await connect()).ask("GET", "/api/ready")
        assert reply.status == 503
        assert reply.json["message"] in {  # NATS may not have answered yet
            "Not ready: flows, runs, work_pools, deployments; upstream",
            "Not ready: NATS; upstream",
        }


@on_uvloop
async def test_the_log_says_why_the_upstream_is_out_of_reach(nats_url: str, caplog: pytest.LogCaptureFixture) -> None:
    number = free_port()
    async with opened(nats_url, nothing, upstream=f"http://127.0.0.1:{number}") as connect:
        assert (await (await connect()).ask("GET", "/api/flows")).status == 503
    [told] = [record.getMessage() for record in caplog.records if record.name.endswith("door")]
    assert told == f"upstream: Unreachable('127.0.0.1:{number}: Connection refused')"
