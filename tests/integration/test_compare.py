"""`classis compare` between two servers of the test's own: what it prints, and its exit code."""

import asyncio
import json
import os
import signal
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from aiohttp import web

from services import embedded
from services.compare.server import READY
from services.gateway import posture
from services.gateway.fanout import Deadline, Found
from shared.errors import Disconnected
from shared.filters import Count
from tests.doors import opened
from tests.fleet import ROOT, free_port

STAMPS = {"created": "2026-05-01T00:00:00Z", "updated": "2026-05-01T00:00:00Z"}
ROWS: list[dict[str, Any]] = [
    {"id": f"00000de9-0000-4000-8000-{number:012}", "name": f"nightly {number}", **STAMPS, "schedules": [], "tags": []}
    for number in range(3)
]
SECRET = "admin:päss:word"
LOGIN = f"Basic {b64encode(SECRET.encode()).decode()}"
TOKEN = "t" * 64
ODD_NUMBERS = ("1", "3", "5", "7", "9")  # of tokens: every other one is worth nothing
Answer = Callable[[str, Any], Any]


def honest(path: str, _: Any) -> Any:
    pages = {"filter": ROWS, "paginate": {"results": ROWS, "count": 3, "limit": 200, "pages": 1, "page": 1}}
    return pages.get(path.rpartition("/")[2], 3)


def honest_at_first(answer: Answer) -> Answer:
    """Another answer to all but the plain count that comes first."""
    asked = count()
    return lambda path, body: answer(path, body) if next(asked) else honest(path, body)


def lying(path: str, asked: Any) -> Any:
    """About one name."""
    return [*ROWS[:2], ROWS[2] | {"tags": ["lie"]}] if path.endswith("/filter") else honest(path, asked)


@dataclass
class Played:
    url: str = ""
    asked: list[tuple[str, bytes]] = field(default_factory=list)


@asynccontextmanager
async def playing(answer: Answer, *, guarded: bool = False, ready: str = "uvicorn") -> AsyncIterator[Played]:
    """A server that knows deployments only. A guarded one asks for a password and tokens, and forgets every other one."""
    played, valid = Played(), count()

    async def respond(request: web.Request) -> web.Response:
        if request.path in {READY, posture.PATH}:
            return about(request, ready, guarded)
        if guarded and request.headers.get("authorization") != LOGIN:
            return web.json_response({"exception_message": "Unauthorized"}, status=401)
        if request.path == "/api/csrf-token":
            given = {"token": f"{TOKEN}{next(valid)}", "client": request.query["client"], "expiration": "2026"}
            return web.json_response(given if guarded else {"detail": "disabled"}, status=200 if guarded else 422)
        if (
            guarded
            and request.method == "POST"
            and not request.headers.get("prefect-csrf-token", "").endswith(ODD_NUMBERS)
        ):
            return web.json_response({"detail": "Invalid CSRF token or client identifier."}, status=403)
        if not request.path.startswith("/api/deployments/"):
            return web.json_response({"detail": "Not Found"}, status=404)
        body = await request.read()
        played.asked.append((request.path, body))
        found = answer(request.path, body)
        if isinstance(found, asyncio.Event):
            await found.wait()
        return found if isinstance(found, web.Response) else web.json_response(found)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", respond)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    played.url = f"http://127.0.0.1:{port}"
    try:
        yield played
    finally:
        await runner.cleanup()


def about(request: web.Request, name: str, guarded: bool) -> web.Response:
    """The answer to who asks what server this is."""
    if request.path == READY:
        return web.json_response({"message": "OK"}, headers={"server": name})
    status = 401 if guarded else 200 if request.method == "GET" else 405
    return web.json_response("3.8.8", status=status, headers={"access-control-allow-origin": "*"})


async def started(*arguments: str, environment: Mapping[str, str] = MappingProxyType({})) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services", "compare", *arguments),
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def compare(
    *arguments: str, given: bytes = b"", environment: Mapping[str, str] = MappingProxyType({})
) -> tuple[int, str, str]:
    """The exit code, and what is printed to stdout and stderr."""
    process = await started(*arguments, environment=environment)
    out, err = await asyncio.wait_for(process.communicate(given), 60)
    return process.returncode or 0, out.decode(), err.decode()


def line(path: str, body: object, method: str = "POST") -> bytes:
    return json.dumps({"method": method, "path": f"/api/deployments/{path}", "body": body}).encode() + b"\n"


async def test_equal_servers() -> None:
    async with playing(honest) as one, playing(honest) as other:
        code, out, err = await compare(one.url, f"{other.url}/api", "--generated", "50")
    assert code == 0, out + err
    assert "50 requests: 50 same, 0 moved, 0 different, 0 unanswered, 0 answered by the upstream\n" in out
    assert "ratio" in out
    pages = sum(not path.endswith("/count") for path, _ in other.asked)
    assert f"\n{3 * pages} deployments were compared\n" in out
    assert any(row["id"].encode() in body for row in ROWS for _, body in other.asked), "nothing asks for what is there"
    assert sorted(one.asked[2:]) == sorted(other.asked[1:])  # a count and the first page, then the searches


async def test_a_server_that_lies_in_one_value() -> None:
    async with playing(honest) as one, playing(lying) as other:
        given = line("filter", {"limit": 3}) + line("count", {}) + line("filter", {})
        options = ["--requests", "-", "--limit", "1", "--concurrency", "1"]
        code, out, err = await compare(one.url, other.url, *options, given=given)
    assert code == 1, out + err
    assert "3 requests: 1 same, 0 moved, 2 different, 0 unanswered" in out
    assert out.count("differs at $[2].tags\n    first:  0 items\n    second: 1 items") == 1
    assert 'POST /api/deployments/filter {"limit": 3}' in out


async def test_data_that_moves() -> None:
    numbers = count()
    async with playing(lambda *_: next(numbers)) as one, playing(honest) as other:
        code, out, _ = await compare(one.url, other.url, "--requests", "-", given=line("count", {}))
    assert code == 0
    assert "1 moved" in out


async def test_what_neither_answers_proves_nothing() -> None:
    def down(*_: Any) -> web.Response:
        return web.json_response({"exception_message": "Service Unavailable"}, status=503)

    async with playing(honest_at_first(down)) as one, playing(honest_at_first(down)) as other:
        code, out, _ = await compare(one.url, other.url, "--generated", "2")
    assert code == 1
    assert "2 unanswered" in out
    assert "\nNothing was compared\n" in out


def served_by(name: str, **headers: str) -> Answer:
    def answer(path: str, asked: Any) -> web.Response:
        return web.json_response(honest(path, asked), headers={"server": name, **headers})

    return answer


FALLBACK = {"x-classis-fallback": "Disconnected"}
INSTEAD = "were answered by the upstream in place of the fleet: nothing was compared there"


@pytest.mark.parametrize("gateway", [0, 1])
async def test_a_gateway_whose_fleet_is_away_is_not_compared(gateway: int) -> None:
    """Prefect's server would be compared with itself."""
    async with (
        playing(served_by("classis", **FALLBACK), ready="classis") as ours,
        playing(served_by("uvicorn")) as theirs,
    ):
        urls = [ours.url, theirs.url] if not gateway else [theirs.url, ours.url]
        code, out, err = await compare(*urls, "--generated", "5")
    assert code == 1, out + err
    assert "5 requests: 0 same, 0 moved, 0 different, 0 unanswered, 5 answered by the upstream" in out
    assert f"\n5 of 5 {INSTEAD}\n" in out
    assert "\nNothing was compared\n" in out


async def test_a_gateway_that_passes_searches_on_is_not_compared() -> None:
    """Because it asks less of clients than its upstream, for instance: only /api/ready is its own answer."""
    async with playing(served_by("uvicorn"), ready="classis") as ours, playing(served_by("uvicorn")) as theirs:
        code, out, _ = await compare(ours.url, theirs.url, "--generated", "5")
    assert code == 1
    assert f"\n5 of 5 {INSTEAD}\n" in out
    assert f"\n{ours.url} is a gateway of Classis, but 5 of its answers came from uvicorn\n" in out


async def test_a_gateway_beside_its_upstream_behind_one_address_is_found_out() -> None:
    names = iter(["uvicorn", "uvicorn", "classis", "classis"])

    def shared(path: str, asked: Any) -> Any:
        return served_by(next(names))(path, asked)

    given = 3 * line("count", {})
    async with playing(shared) as ours, playing(served_by("uvicorn")) as theirs:
        code, out, _ = await compare(ours.url, theirs.url, "--requests", "-", "--concurrency", "1", given=given)
    assert code == 1
    assert "3 same" in out
    assert "is a gateway of Classis, but 1 of its answers came from uvicorn" in out


async def absent(_: Count, __: Deadline) -> Found:
    raise Disconnected("NATS is away")


@pytest.mark.parametrize("guarded", [False, True], ids=["NATS is away", "asks less of clients"])
async def test_a_real_gateway_that_does_not_answer_itself(guarded: bool, home: Path) -> None:
    port = free_port()
    async with playing(served_by("uvicorn"), guarded=guarded) as theirs:
        with embedded.nats(home) as nats_url:
            async with opened(nats_url, absent, upstream=theirs.url, port=port):
                given = ["--auth", SECRET, "--generated", "5", "--concurrency", "1"]
                code, out, err = await compare(f"http://127.0.0.1:{port}", theirs.url, *given)
    assert code == 1, out + err
    assert f"\n5 of 5 {INSTEAD}\n" in out
    assert ("of its answers came from uvicorn" in out) == guarded


async def test_an_honest_gateway_is_compared() -> None:
    async with playing(served_by("classis"), ready="classis") as ours, playing(served_by("uvicorn")) as theirs:
        code, out, err = await compare(ours.url, theirs.url, "--generated", "5")
    assert code == 0, out + err
    assert "5 same" in out
    assert "upstream in place" not in out
    assert "is a gateway" not in out


async def test_that_nothing_but_emptiness_was_compared_is_told() -> None:
    def empty(path: str, _: Any) -> Any:
        return {"filter": [], "paginate": {"results": [], "count": 0}}.get(path.rpartition("/")[2], 0)

    async with playing(empty) as one, playing(empty) as other:
        code, out, _ = await compare(one.url, other.url, "--generated", "5")
    assert code == 0
    assert "5 same" in out
    assert "\nNo deployment was compared: no answer had one. Are there any in the database?\n" in out


ODD = {
    "page": lambda: web.Response(text="<html>Sign in</html>", content_type="text/html"),
    "bytes": lambda: web.Response(body=b"\xff\x00", content_type="application/json"),
    "deep": lambda: web.Response(body=b"[" * 100_000, content_type="application/json"),
    "redirect": lambda: web.Response(status=302, headers={"location": "https://elsewhere.example/login"}),
}


@pytest.mark.parametrize("kind", ODD)
async def test_what_is_no_answer_to_a_search_proves_nothing(kind: str) -> None:
    def odd(*_: Any) -> web.Response:
        return ODD[kind]()

    async with playing(honest_at_first(odd)) as one, playing(honest_at_first(odd)) as other:
        code, out, err = await compare(one.url, other.url, "--generated", "3")
    assert code == 1, out + err
    assert "3 unanswered" in out
    assert "Traceback" not in err


@pytest.mark.parametrize(("kind", "words"), [("page", "right address?"), ("redirect", "another address")])
async def test_what_is_no_api_is_said_to_be_none(kind: str, words: str) -> None:
    async def respond(_: web.BaseRequest) -> web.Response:
        return ODD[kind]()

    runner = web.ServerRunner(web.Server(respond))
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        code, out, err = await compare(url := f"http://127.0.0.1:{port}", url)
    finally:
        await runner.cleanup()
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("kind", [*ODD, "absent", "down"])
@pytest.mark.parametrize("first", [True, False])
async def test_who_does_not_count_is_named_at_once(kind: str, first: bool) -> None:
    statuses = {"absent": 404, "down": 503}

    def useless(*_: Any) -> web.Response:
        return ODD[kind]() if kind in ODD else web.json_response({}, status=statuses[kind])

    async with playing(honest) as right, playing(useless) as wrong:
        urls = [wrong.url, right.url] if first else [right.url, wrong.url]
        code, out, err = await compare(*urls)
    assert (code, out) == (2, "")
    assert f"{wrong.url} answers " in err
    assert err.count("\n") == 1
    assert len(wrong.asked) == 1
    assert len(right.asked) <= 1


async def test_a_wrong_path_is_no_difference() -> None:
    async with playing(honest) as one, playing(honest) as other:
        code, out, err = await compare(one.url, f"{other.url}/x/")
    assert (code, out) == (2, "")
    assert f"{other.url}/x answers 404 to a plain count, not with a number: is it the right address?" in err


async def test_who_stops_it_gets_a_line() -> None:
    searched, never = asyncio.Event(), asyncio.Event()

    def silent(*_: Any) -> asyncio.Event:
        searched.set()
        return never

    async with playing(honest_at_first(silent)) as one, playing(honest) as other:
        process = await started(one.url, other.url, "--requests", "-")
        finished = asyncio.create_task(process.communicate(line("count", {})))
        await asyncio.wait_for(searched.wait(), 60)
        process.send_signal(signal.SIGINT)
        out, err = await asyncio.wait_for(finished, 60)
        never.set()
    assert (process.returncode, out, err) == (130, b"", b"classis compare: stopped\n")


async def test_recorded_files(home: Path) -> None:
    given = line("count", '{"broken') + line("filter", None) + line("00000de9-0000-4000-8000-000000000001", None, "GET")
    (home / "file").write_bytes(
        given + b'{"method":"POST","pa' + b"\n\n" + line("x/create_flow_run", {}) + line("y", {}, "DELETE")
    )
    async with playing(honest) as one, playing(honest) as other:
        code, out, err = await compare(one.url, other.url, "--requests", str(home / "file"), "--concurrency", "1")
    assert code == 0, out + err
    assert "3 lines are no requests for deployments" in err
    assert [body for _, body in one.asked] == [b"{}", b'{"broken', b"", b""]


@pytest.mark.parametrize("way", ["option", "environment", "address"])
async def test_passwords_and_tokens(way: str) -> None:
    async with playing(honest, guarded=True) as one, playing(honest, guarded=True) as other:
        urls = [url.url for url in (one, other)]
        if way == "address":
            urls = [url.replace("http://", "http://admin:p%C3%A4ss%3Aword@") for url in urls]
        option = ["--auth", SECRET] if way == "option" else []
        extra = {"CLASSIS_API_AUTH_STRING": SECRET} if way == "environment" else {}
        code, out, err = await compare(*urls, *option, "--generated", "5", "--concurrency", "1", environment=extra)
        assert code == 0, out + err
        assert "5 same" in out
        assert "ss:word" not in out + err
        code, out, err = await compare(one.url, other.url, "--auth", "wrong:one", "--generated", "5")
    assert (code, out) == (2, "")
    assert "asks for a user and password" in err


async def test_bad_use(home: Path) -> None:
    down = f"http://127.0.0.1:{free_port()}"
    async with playing(honest) as one:
        tries = [
            ([one.url, down], "does not answer"),
            ([one.url, "ftp://x"], "takes http://host:port"),
            ([one.url], "required: URL"),
            ([one.url, one.url, "--requests", str(home / "nothing")], "No such file"),
            ([one.url, one.url, "--concurrency", "0"], "--concurrency"),
        ]
        for arguments, words in tries:
            code, out, err = await compare(*arguments)
            assert (code, out) == (2, ""), arguments
            assert words in err
            assert "Traceback" not in err
