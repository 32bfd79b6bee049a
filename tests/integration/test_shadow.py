"""Searches that the upstream is asked too: what is counted and told, and that no client notices."""

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from aiohttp import web

from services import embedded
from services.gateway import shadow
from services.gateway.fanout import Deadline, Found
from services.gateway.problems import Answer
from services.gateway.shadow import Shadow
from services.gateway.upstream import Upstream
from shared import bus, metrics
from shared.contract import BY_ID, DeploymentById, Row
from shared.errors import Absent
from shared.filters import Count
from shared.settings import Settings, SettingsError
from tests.conftest import folder
from tests.doors import COUNT, JSON, WITHIN, Wire, nothing, on_uvloop, opened
from tests.fleet import free_port

ROW = "/api/deployments/00000de9-0000-4000-8000-000000000001"


@pytest.fixture(scope="module")
def nats_url() -> Iterator[str]:
    with folder() as home, embedded.nats(home) as url:
        yield url


class Outcomes(asyncio.Queue[str]):
    """What is counted, as it is counted."""

    async def next(self) -> str:
        return await asyncio.wait_for(self.get(), WITHIN)


@pytest.fixture
def outcomes(monkeypatch: pytest.MonkeyPatch) -> Outcomes:
    counted = Outcomes()
    monkeypatch.setattr(shadow, "_count", counted.put_nowait)
    return counted


@dataclass
class Played:
    """An upstream that answers searches as the test says."""

    url: str = ""
    asked: list[bytes] = field(default_factory=list)
    begun: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    left: asyncio.Event = field(default_factory=asyncio.Event)


Answering = Callable[[], Awaitable[tuple[int, bytes]]]


@asynccontextmanager
async def playing(answer: Answering) -> AsyncIterator[Played]:
    played = Played()

    async def respond(asked: web.Request) -> web.Response:
        if not asked.path.startswith("/api/deployments/"):  # what else the gateway wants to know
            open_to_all = {"access-control-allow-origin": "*"}
            return web.Response(status=200 if asked.method == "GET" else 405, headers=open_to_all)
        played.asked.append(await asked.read())
        played.begun.release()
        try:
            status, body = await answer()
        except asyncio.CancelledError:
            played.left.set()
            raise
        return web.Response(status=status, body=body, content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", respond)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    played.url = f"http://127.0.0.1:{port}"
    try:
        yield played
    finally:
        await runner.cleanup()


class Saying:
    """One after the other, the last one for ever."""

    def __init__(self, *said: bytes, status: int = 200) -> None:
        self._said = list(said)
        self._status = status

    def _next(self) -> bytes:
        return self._said.pop(0) if len(self._said) > 1 else self._said[0]

    async def __call__(self) -> tuple[int, bytes]:
        return self._status, self._next()

    async def found(self, _: Count, __: Deadline) -> Found:
        return Found(self._next(), "")


class Holding:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def __call__(self) -> tuple[int, bytes]:
        await self.go_on.wait()
        return 200, b"0"


UNUSED: Any = (None, b"", Answer(b""), None)


async def full(share: float) -> Shadow:
    """One whose places are taken, so that whatever it takes up is skipped."""
    made = Shadow(cast(Upstream, None), share, 200)
    made._running = {asyncio.create_task(_for_ever()) for _ in range(shadow.AT_ONCE)}
    return made


async def _for_ever() -> None:
    await asyncio.Event().wait()


async def ask(wire: Wire, body: bytes = b"{}") -> int:
    return (await wire.ask("POST", COUNT, JSON, body=body)).status


# --- outcomes


@pytest.mark.parametrize(
    ("ours", "status", "theirs", "outcome"),
    [
        ([b"7"], 200, [b"7"], "same"),
        ([b"[1.50]"], 200, [b"[1.5 ]"], "same"),
        ([b"7"], 200, [b"8"], "different"),
        ([b"7"], 200, [b"7.0"], "different"),
        ([b"7"], 404, [b"7"], "different"),
        ([b"7", b"8"], 200, [b"8"], "moved"),
        ([b"8"], 200, [b"7", b"8"], "moved"),
        ([b"7"], 500, [b"7"], "failed"),
        ([b"7"], 503, [b""], "failed"),
        ([b"7"], 401, [b""], "failed"),
    ],
)
@on_uvloop
async def test_outcomes(
    nats_url: str, outcomes: Outcomes, ours: list[bytes], status: int, theirs: list[bytes], outcome: str
) -> None:
    async with (
        playing(Saying(*theirs, status=status)) as upstream,
        opened(nats_url, Saying(*ours).found, upstream=upstream.url, shadow=1.0) as connect,
    ):
        reply = await (await connect()).ask("POST", COUNT, JSON, body=b'{"flows":{}}')
        assert (reply.status, reply.body) == (200, ours[0])
        assert await outcomes.next() == outcome
        assert set(upstream.asked) == {b'{"flows":{}}'}


@on_uvloop
async def test_they_are_metrics() -> None:
    before = metrics.SHADOWS.labels("skipped")._value.get()
    made = await full(1.0)
    made.follow(*UNUSED)
    assert metrics.SHADOWS.labels("skipped")._value.get() == before + 1
    await made.leave()


@on_uvloop
async def test_a_difference_is_told(nats_url: str, outcomes: Outcomes, caplog: pytest.LogCaptureFixture) -> None:
    body = json.dumps({"flows": {"name": {"any_": ["x" * 9000]}}}).encode()
    async with (
        playing(Saying(b'{"a":[1,"theirs"]}')) as upstream,
        opened(nats_url, Saying(b'{"a":[1,"ours"]}').found, upstream=upstream.url, shadow=1.0) as connect,
    ):
        with caplog.at_level(logging.WARNING, shadow.log.name):
            assert await ask(await connect(), body) == 200
            assert await outcomes.next() == "different"
    [line] = [record.getMessage() for record in caplog.records if record.name == shadow.log.name]
    assert 'at $.a[1]: ours "ours", theirs "theirs"; asked: POST /api/deployments/count {"flows"' in line
    assert len(line) < shadow.TOLD + 200


@pytest.mark.parametrize(
    ("body", "status", "theirs", "outcome"),
    [
        (b'{"flows":1}', 422, {"exception_detail": [{"type": "model_attributes_type", "loc": ["body", "flows"]}]}, "same"),
        (b'{"flows":1}', 422, {"exception_detail": [{"type": "missing", "loc": ["body", "flows"]}]}, "different"),
        (b'{"flows":1}', 200, 7, "different"),
        (b"\xff", 400, {"detail": "There was an error parsing the body"}, "same"),
    ],
)  # fmt: skip
@on_uvloop
async def test_refusals(
    nats_url: str, outcomes: Outcomes, body: bytes, status: int, theirs: object, outcome: str
) -> None:
    said = Saying(json.dumps(theirs).encode(), status=status)
    async with (
        playing(said) as upstream,
        opened(nats_url, nothing, upstream=upstream.url, shadow=1.0) as connect,
    ):
        assert await ask(await connect(), body) >= 400
        assert await outcomes.next() == outcome


@on_uvloop
async def test_an_upstream_that_is_down(nats_url: str, outcomes: Outcomes) -> None:
    down = f"http://127.0.0.1:{free_port()}"
    async with opened(nats_url, nothing, upstream=down, shadow=1.0, api_auth_string="a:b") as connect:
        login = "authorization: Basic YTpi"
        assert (await (await connect()).ask("POST", COUNT, JSON, login, body=b"{}")).status == 200
        assert await outcomes.next() == "failed"


@on_uvloop
async def test_what_the_upstream_answered_is_not_compared(nats_url: str, outcomes: Outcomes) -> None:
    async def failing(_: Count, __: Deadline) -> Found:
        raise Absent("nobody")

    async with (
        playing(Saying(b"7")) as upstream,
        opened(nats_url, failing, upstream=upstream.url, shadow=1.0) as connect,
    ):
        assert await ask(await connect()) == 200
        assert len(upstream.asked) == 1
    assert outcomes.empty()


@on_uvloop
async def test_a_single_deployment(nats_url: str, outcomes: Outcomes) -> None:
    rows = [b'{"name":"a"}', b'{"name":"b"}']

    async def single(_: DeploymentById) -> Row:
        return Row(row=rows.pop(0) if rows else None)

    async with (
        playing(Saying(b'{"name":"b"}')) as upstream,
        bus.connect(Settings(nats_url=nats_url), "deployments") as line,
        line.serve(BY_ID, single),
        opened(nats_url, nothing, upstream=upstream.url, shadow=1.0, fallback=0) as connect,
    ):
        await line.up(10)
        wire = await connect()
        while (reply := await wire.ask("GET", ROW)).status == 503:  # the gateway's own line is on its way
            pass
        assert (reply.body, await outcomes.next()) == (b'{"name":"a"}', "moved")
        assert (await wire.ask("GET", ROW)).status == 404
        assert await outcomes.next() == "different"


# --- nobody notices


@on_uvloop
async def test_a_few_at_a_time_and_no_client_waits(nats_url: str, outcomes: Outcomes) -> None:
    slow = Holding()
    async with (
        playing(slow) as upstream,
        opened(nats_url, nothing, upstream=upstream.url, shadow=1.0) as connect,
    ):
        wire = await connect()
        for _ in range(shadow.AT_ONCE):
            assert await ask(wire) == 200
            await asyncio.wait_for(upstream.begun.acquire(), WITHIN)
        assert await ask(wire) == 200
        assert await outcomes.next() == "skipped"
        slow.go_on.set()
        assert [await outcomes.next() for _ in range(shadow.AT_ONCE)] == ["same"] * shadow.AT_ONCE
        assert await ask(wire) == 200
        assert await outcomes.next() == "same"


@on_uvloop
async def test_a_client_that_has_gone_is_no_matter(nats_url: str, outcomes: Outcomes) -> None:
    slow = Holding()
    async with (
        playing(slow) as upstream,
        opened(nats_url, nothing, upstream=upstream.url, shadow=1.0) as connect,
    ):
        wire = await connect()
        assert await ask(wire) == 200
        await asyncio.wait_for(upstream.begun.acquire(), WITHIN)
        wire.writer.transport.abort()
        assert await ask(await connect()) == 200
        slow.go_on.set()
        assert [await outcomes.next(), await outcomes.next()] == ["same", "same"]


@on_uvloop
async def test_leaving_gives_comparisons_up(nats_url: str, outcomes: Outcomes) -> None:
    async with playing(Holding()) as upstream:
        async with asyncio.timeout(WITHIN):
            async with opened(nats_url, nothing, upstream=upstream.url, shadow=1.0) as connect:
                assert await ask(await connect()) == 200
                await upstream.begun.acquire()
            await upstream.left.wait()
    assert outcomes.empty()
    assert not [task for task in asyncio.all_tasks() if "_told" in repr(task.get_coro())]


@on_uvloop
async def test_without_a_share_nobody_is_asked(nats_url: str, outcomes: Outcomes) -> None:
    async with (
        playing(Saying(b"0")) as upstream,
        opened(nats_url, nothing, upstream=upstream.url) as connect,
    ):
        wire = await connect()
        assert [await ask(wire) for _ in range(20)] == [200] * 20
    assert outcomes.empty()
    assert not upstream.asked


@on_uvloop
async def test_the_share_is_kept(outcomes: Outcomes) -> None:
    random.seed(1)
    made = await full(0.1)
    for _ in range(10_000):
        made.follow(*UNUSED)
    assert 900 < outcomes.qsize() < 1100
    await made.leave()


@on_uvloop
async def test_a_share_needs_an_upstream(nats_url: str) -> None:
    with pytest.raises(SettingsError, match="CLASSIS_UPSTREAM"):
        async with opened(nats_url, nothing, shadow=0.5):
            pass
