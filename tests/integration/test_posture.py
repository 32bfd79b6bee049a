"""A gateway that asks less of clients than its upstream does leaves searches to the upstream, and says why."""

import asyncio
import logging
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from services import embedded
from services.gateway import posture
from services.gateway.posture import Seen, differences
from shared.settings import Settings
from tests.conftest import folder
from tests.doors import COUNT, WITHIN, Connect, nothing, on_uvloop, opened
from tests.fleet import free_port

SECRET, OTHER = "admin:a-pass-w0rd", "admin:an-0ther-one"
ROW = "/api/deployments/00000de9-0000-4000-8000-000000000001"
NO_AUTH, WRONG_AUTH = "CLASSIS_API_AUTH_STRING is not set", "CLASSIS_API_AUTH_STRING is not the upstream's"
NO_CSRF = "CLASSIS_CSRF_PROTECTION_ENABLED is not true"
NO_CORS, WRONG_CORS = "CLASSIS_CORS_ALLOWED_ORIGINS allows any", "CLASSIS_CORS_ALLOWED_ORIGINS allows https://b, but"
MORE_AUTH, MORE_CSRF, MORE_CORS = "lets everybody in", "gives no tokens", "names origins"
UNKNOWN = "not known yet"
FORBIDDEN = "/api/block_types/protected"
TOKENS = "/api/csrf-token?client=00000000-0000-4000-8000-000000000000"
NO_TOKENS = {"detail": "CSRF protection is disabled."}


@pytest.fixture(scope="module")
def nats_url() -> Iterator[str]:
    with folder() as home, embedded.nats(home) as url:
        yield url


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posture, "PAUSE", 0.01)
    monkeypatch.setattr(posture, "SOON", 0.01)


@dataclass
class Prefect:
    """Answers as Prefect's server does with these settings."""

    secret: str = ""
    tokens: bool = False
    origins: str = "*"
    trouble: bool = False
    base: str = "/api/"
    port: int = field(default_factory=free_port)
    seen: list[str] = field(default_factory=list)
    looked_at: int = 0
    looks: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def answer(self, request: web.BaseRequest) -> web.Response:
        if request.path == posture.PATH:
            if request.method == "POST":  # of each look, one
                self.looked_at += 1
                self.looks.release()
        else:
            self.seen.append(f"{request.method} {request.path}")
        return web.Response(status=self.status(request), text="of the upstream", headers=self.cors(request))

    def status(self, request: web.BaseRequest) -> int:
        if self.trouble:
            return 500
        if not request.path.startswith(self.base):
            return 404
        if request.path == FORBIDDEN:
            return 403
        if self.tokens and request.method == "POST" and "prefect-csrf-token" not in request.headers:
            return 403
        if self.secret and request.headers.get("authorization") != login(self.secret):
            return 401
        return 405 if (request.method, request.path) == ("POST", posture.PATH) else 200

    def cors(self, request: web.BaseRequest) -> dict[str, str]:
        origin = request.headers.get("origin")
        if origin is None or not {"*", origin} & set(self.origins.split(",")):
            return {}
        return {"access-control-allow-origin": "*" if self.origins == "*" else origin}

    async def compared(self) -> None:
        """Waits until the gateway has drawn its conclusions from how this is now."""
        while not self.looks.locked():
            await self.looks.acquire()
        for _ in range(3):  # a look may be under way; one from now on; the next begins when that is thought over
            await self.looks.acquire()

    async def has(self, connect: Connect, *headers: str) -> bool:
        """Whether a search comes here."""
        self.seen.clear()
        await (await connect()).ask("POST", COUNT, *headers)
        return bool(self.seen)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        server = web.Server(self.answer)
        listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", self.port)
        try:
            yield
        finally:
            listener.close()
            await server.shutdown(1)


def login(secret: str) -> str:
    return f"Basic {b64encode(secret.encode()).decode()}"


@pytest.mark.parametrize(
    ("theirs", "ours", "passed_on", "told"),
    [
        ({}, {}, False, []),
        ({"secret": SECRET}, {}, True, [NO_AUTH]),
        ({"secret": SECRET}, {"api_auth_string": OTHER}, True, [WRONG_AUTH]),
        ({"secret": SECRET}, {"api_auth_string": SECRET}, False, []),
        ({"tokens": True}, {}, True, [NO_CSRF]),
        ({"tokens": True}, {"csrf_protection_enabled": True}, False, []),
        ({"secret": SECRET, "tokens": True}, {}, True, [NO_AUTH, NO_CSRF]),
        ({"secret": SECRET, "tokens": True}, {"api_auth_string": SECRET}, True, [NO_CSRF]),
        ({"secret": SECRET, "tokens": True}, {"csrf_protection_enabled": True}, True, [NO_AUTH]),
        ({}, {"api_auth_string": SECRET}, False, [MORE_AUTH]),
        ({}, {"csrf_protection_enabled": True}, False, [MORE_CSRF]),
        ({"secret": SECRET}, {"csrf_protection_enabled": True}, True, [NO_AUTH, MORE_CSRF]),
        ({"origins": "https://a"}, {}, True, [NO_CORS]),
        ({"origins": "https://a"}, {"cors_allowed_origins": "https://a"}, False, []),
        ({"origins": "https://a"}, {"cors_allowed_origins": "https://a, https://b"}, True, [WRONG_CORS]),
        ({"origins": "https://a,https://b"}, {"cors_allowed_origins": "https://b"}, False, []),
        ({}, {"cors_allowed_origins": "https://a"}, False, [MORE_CORS]),
        ({"secret": SECRET, "origins": "https://a"}, {"api_auth_string": SECRET}, True, [NO_CORS]),
    ],
)
@on_uvloop
async def test_what_is_weaker_here_is_passed_on_and_told(
    nats_url: str,
    theirs: dict[str, object],
    ours: dict[str, object],
    passed_on: bool,
    told: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    prefect = Prefect(**theirs)  # type: ignore[arg-type]
    async with prefect.listening(), opened(nats_url, nothing, upstream=prefect.url, fallback=0, **ours) as connect:
        await prefect.compared()
        assert await prefect.has(connect, f"authorization: {login(SECRET)}") is passed_on
        assert await prefect.has(connect) is passed_on
        prefect.seen.clear()
        await (await connect()).ask("GET", ROW)
        await (await connect()).ask("GET", "/api/ready")
        assert prefect.seen == [*([f"GET {ROW}"] if passed_on else []), "GET /api/ready"]
    found = [each for each in caplog.records if each.name == posture.__name__ and each.levelno >= logging.WARNING]
    assert all(text in each.getMessage() for each, text in zip(found, told, strict=True))
    assert {each.levelname for each in found} <= ({"ERROR", "WARNING"} if passed_on else {"WARNING"})
    for secret in (SECRET, OTHER, login(SECRET), login(OTHER)):
        assert secret not in caplog.text


@on_uvloop
async def test_it_goes_on_by_itself_when_both_ask_the_same(nats_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, posture.__name__)
    prefect = Prefect()
    async with prefect.listening(), opened(nats_url, nothing, upstream=prefect.url) as connect:
        for secret, tokens, origins in (
            ("", False, "*"), (SECRET, False, "*"), ("", False, "*"), ("", True, "*"), ("", False, "https://a"),
            ("", False, "*"),
        ):  # fmt: skip
            prefect.secret, prefect.tokens, prefect.origins = secret, tokens, origins
            await prefect.compared()
            assert await prefect.has(connect) is ((secret, tokens, origins) != ("", False, "*"))
    told = [each.levelname for each in caplog.records if each.name == posture.__name__]
    assert told == ["INFO", "ERROR", "INFO", "ERROR", "ERROR", "INFO"]  # once each


@on_uvloop
async def test_until_the_upstream_answers_searches_are_its_own_and_then_the_last_look_decides(
    nats_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    prefect = Prefect(trouble=True)
    async with opened(nats_url, nothing, upstream=prefect.url) as connect:
        assert (await (await connect()).ask("POST", COUNT)).status == 503
        async with prefect.listening():
            await prefect.compared()
            assert await prefect.has(connect)
            prefect.trouble = False
            await prefect.compared()
            assert not await prefect.has(connect)
            prefect.trouble = True
            await prefect.compared()
            assert not await prefect.has(connect)
        assert (await (await connect()).ask("POST", COUNT)).body == b"0"
        prefect.secret, prefect.trouble = SECRET, False
        async with prefect.listening():
            await prefect.compared()
            assert await prefect.has(connect)
    assert caplog.text.count(UNKNOWN) == 1


@on_uvloop
async def test_until_the_upstream_answers_a_password_of_ours_decides(
    nats_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    prefect = Prefect(OTHER)
    async with opened(nats_url, nothing, upstream=prefect.url, api_auth_string=SECRET) as connect:
        assert (await (await connect()).ask("POST", COUNT)).status == 401
        assert (await (await connect()).ask("POST", COUNT, f"authorization: {login(SECRET)}")).body == b"0"
        async with prefect.listening():
            await prefect.compared()
            assert await prefect.has(connect, f"authorization: {login(SECRET)}")
    assert caplog.text.count(UNKNOWN) == 1


@on_uvloop
async def test_the_first_answer_is_asked_for_often_and_then_seldom(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posture, "PAUSE", 3600)
    prefect = Prefect(trouble=True)
    async with opened(nats_url, nothing, upstream=prefect.url) as connect, prefect.listening():
        await prefect.compared()
        prefect.trouble = False
        async with asyncio.timeout(WITHIN):
            while await prefect.has(connect):
                pass
        prefect.secret = SECRET
        assert not [each for each in range(100) if await prefect.has(connect)]


@pytest.mark.parametrize("secret", ["", SECRET])
@on_uvloop
async def test_what_is_no_prefect_api_is_called_so(
    nats_url: str, secret: str, caplog: pytest.LogCaptureFixture
) -> None:
    prefect = Prefect(secret, base="/prefect/api/")
    async with prefect.listening(), opened(nats_url, nothing, upstream=prefect.url, api_auth_string=secret) as connect:
        await prefect.compared()
        assert await prefect.has(connect, f"authorization: {login(SECRET)}")
    [told] = [each.getMessage() for each in caplog.records if each.name == posture.__name__]
    assert told.startswith("CLASSIS_UPSTREAM is no Prefect API: it has no /api/admin/version (a base path")
    assert "set it as there" not in told


@pytest.fixture
def _seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posture, "PAUSE", 3600)


async def until(prefect: Prefect, connect: Connect, *headers: str) -> None:
    """Waits until searches are the upstream's."""
    async with asyncio.timeout(WITHIN):
        while not await prefect.has(connect, *headers):
            pass


@pytest.mark.usefixtures("_seldom")
@pytest.mark.parametrize(
    ("before", "after", "ours"),
    [
        ({}, {"secret": SECRET}, {}),
        ({}, {"tokens": True}, {}),
        ({"secret": SECRET}, {"secret": OTHER}, {"api_auth_string": SECRET}),
    ],
)
@on_uvloop
async def test_who_is_refused_there_and_let_in_here_makes_it_look_again(
    nats_url: str, before: dict[str, Any], after: dict[str, object], ours: dict[str, Any]
) -> None:
    prefect, shown = Prefect(**before), [f"authorization: {login(secret)}" for secret in ours.values()]
    async with prefect.listening(), opened(nats_url, nothing, upstream=prefect.url, **ours) as connect:
        assert not await prefect.has(connect, *shown)
        vars(prefect).update(after)
        assert not await prefect.has(connect, *shown)
        assert (await (await connect()).ask("POST", "/api/flows/filter", *shown)).status in {401, 403}
        await until(prefect, connect, *shown)


@pytest.mark.usefixtures("_seldom")
@on_uvloop
async def test_an_upstream_that_is_back_is_looked_at(nats_url: str) -> None:
    prefect = Prefect()
    async with opened(nats_url, nothing, upstream=prefect.url) as connect:
        async with prefect.listening():
            await until_ours(prefect, connect)
        assert (await (await connect()).ask("GET", "/api/flows")).status == 503
        prefect.secret = SECRET
        async with prefect.listening():
            await until(prefect, connect)


async def until_ours(prefect: Prefect, connect: Connect) -> None:
    async with asyncio.timeout(WITHIN):
        while await prefect.has(connect):
            pass


@pytest.mark.usefixtures("_seldom")
@on_uvloop
async def test_refusals_that_tell_nothing_new_cause_few_looks(nats_url: str) -> None:
    prefect = Prefect(SECRET)
    async with (
        prefect.listening(),
        opened(nats_url, nothing, upstream=prefect.url, api_auth_string=SECRET) as connect,
    ):
        wire = await connect()
        for path, header in [("/api/flows", "x: y")] * 100:
            assert (await wire.ask("GET", path, header)).status == 401
        assert prefect.looked_at == 1
        for _ in range(200):
            assert (await wire.ask("GET", FORBIDDEN, f"authorization: {login(SECRET)}")).status == 403
        assert prefect.looked_at <= 3


# --- tokens that the upstream cannot give, being away


@pytest.mark.parametrize(
    ("theirs", "ours", "answers"),
    [
        ({}, {}, [(422, NO_TOKENS)] * 2),
        ({"secret": SECRET}, {"api_auth_string": SECRET}, [(401, None), (422, NO_TOKENS)]),
        ({"secret": SECRET}, {}, [(503, None)] * 2),
        ({"tokens": True}, {}, [(503, None)] * 2),
        ({"tokens": True}, {"csrf_protection_enabled": True}, [(503, None)] * 2),
        ({}, {"csrf_protection_enabled": True}, [(503, None)] * 2),
        (None, {}, [(503, None)] * 2),
        (None, {"api_auth_string": SECRET}, [(503, None)] * 2),
    ],
)
@on_uvloop
async def test_clients_are_told_that_they_need_no_token_while_the_upstream_is_away(
    nats_url: str, theirs: dict[str, Any] | None, ours: dict[str, Any], answers: list[tuple[int, object]]
) -> None:
    prefect = Prefect(**(theirs or {}))
    async with opened(nats_url, nothing, upstream=prefect.url, **ours) as connect:
        if theirs is not None:
            async with prefect.listening():
                await prefect.compared()
                assert (await (await connect()).ask("GET", TOKENS)).body == b"of the upstream"
        for headers, (status, body) in zip([[], [f"authorization: {login(SECRET)}"]], answers, strict=True):
            reply = await (await connect()).ask("GET", TOKENS, *headers)
            assert (reply.status, reply.json if body else None) == (status, body)
        assert (await (await connect()).ask("POST", TOKENS, f"authorization: {login(SECRET)}")).status in {403, 503}
        assert (await (await connect()).ask("GET", "/api/flows")).status == 503


@on_uvloop
async def test_all_is_asked_at_a_time(nats_url: str) -> None:
    """So that a slow upstream is not slow as many times."""
    all_there = asyncio.Barrier(4)

    async def answer(_: web.BaseRequest) -> web.Response:
        await all_there.wait()
        return web.Response(headers={"access-control-allow-origin": "*"})

    server = web.Server(answer)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", port := free_port())
    async with opened(nats_url, nothing, upstream=f"http://127.0.0.1:{port}") as connect:
        assert (await (await connect()).ask("POST", COUNT)).body == b"0"
    listener.close()
    await server.shutdown(1)


@on_uvloop
async def test_a_silent_upstream_delays_the_start_a_little_and_the_stop_not(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posture, "FIRST", 0.2)
    monkeypatch.setattr(posture, "ASKING", 1000.0)
    asked = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server, asyncio.timeout(WITHIN):
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with opened(nats_url, nothing, upstream=url, api_auth_string=SECRET) as connect:
            await asked.wait()
            assert (await (await connect()).ask("POST", COUNT, f"authorization: {login(SECRET)}")).body == b"0"


@on_uvloop
async def test_a_watch_that_ends_by_a_mistake_relies_on_nothing(
    nats_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told = asyncio.Event()

    def broken(_: Settings, __: Seen) -> None:
        told.set()
        raise ZeroDivisionError

    monkeypatch.setattr(posture, "differences", broken)
    prefect = Prefect(SECRET)
    opening = opened(nats_url, nothing, upstream=prefect.url, api_auth_string=SECRET)
    async with prefect.listening(), opening as connect:
        await told.wait()
        assert await prefect.has(connect, f"authorization: {login(SECRET)}")
    assert "watched no more" in caplog.text
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    ("secret", "seen", "less"),
    [
        ("", Seen(302, 302, 302), [NO_AUTH]),  # a login page before the upstream
        ("", Seen(403, 403, 403), [NO_AUTH, NO_CSRF]),
        (SECRET, Seen(302, 302, 302), [WRONG_AUTH]),
        (SECRET, Seen(403, 200, 405), []),
        ("", Seen(403, 403, 405, any_origin=False), [NO_AUTH, NO_CORS]),
    ],
)
def test_other_refusals_count_too(secret: str, seen: Seen, less: list[str]) -> None:
    found, _ = differences(Settings(api_auth_string=secret), seen)
    assert all(text in each for each, text in zip(found, less, strict=True))
