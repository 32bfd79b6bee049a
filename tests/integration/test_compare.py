"""`classis compare` between two servers of the test's own: what it prints, and its exit code."""

import asyncio
import json
import os
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

from tests.fleet import ROOT, free_port

STAMPS = {"created": "2026-05-01T00:00:00Z", "updated": "2026-05-01T00:00:00Z"}
ROWS: list[dict[str, Any]] = [
    {"id": f"00000de9-0000-4000-8000-{number:012}", "name": f"nightly {number}", **STAMPS, "schedules": [], "tags": []}
    for number in range(3)
]
SECRET = "admin:päss:word"
LOGIN = f"Basic {b64encode(SECRET.encode()).decode()}"
TOKEN = "t" * 64
Answer = Callable[[str, Any], Any]


def honest(path: str, _: Any) -> Any:
    pages = {"filter": ROWS, "paginate": {"results": ROWS, "count": 3, "limit": 200, "pages": 1, "page": 1}}
    return pages.get(path.rpartition("/")[2], 3)


def lying(path: str, asked: Any) -> Any:
    """About one name."""
    return [*ROWS[:2], ROWS[2] | {"tags": ["lie"]}] if path.endswith("/filter") else honest(path, asked)


@dataclass
class Played:
    url: str = ""
    asked: list[tuple[str, bytes]] = field(default_factory=list)


@asynccontextmanager
async def playing(answer: Answer, *, guarded: bool = False) -> AsyncIterator[Played]:
    """A server that knows deployments only. A guarded one asks for a password and tokens, which it forgets at once."""
    played, valid = Played(), count()

    async def respond(request: web.Request) -> web.Response:
        if guarded and request.headers.get("authorization") != LOGIN:
            return web.json_response({"exception_message": "Unauthorized"}, status=401)
        if request.path == "/api/csrf-token":
            given = {"token": f"{TOKEN}{next(valid)}", "client": request.query["client"], "expiration": "2026"}
            return web.json_response(given if guarded else {"detail": "disabled"}, status=200 if guarded else 422)
        if guarded and request.method == "POST" and not request.headers.get("prefect-csrf-token", "").endswith("1"):
            return web.json_response({"detail": "Invalid CSRF token or client identifier."}, status=403)
        if not request.path.startswith("/api/deployments/"):
            return web.json_response({"detail": "Not Found"}, status=404)
        body = await request.read()
        played.asked.append((request.path, body))
        found = answer(request.path, body)
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


async def compare(
    *arguments: str, given: bytes = b"", environment: Mapping[str, str] = MappingProxyType({})
) -> tuple[int, str, str]:
    """The exit code, and what is printed to stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services", "compare", *arguments),
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(given), 60)
    return process.returncode or 0, out.decode(), err.decode()


def line(path: str, body: object, method: str = "POST") -> bytes:
    return json.dumps({"method": method, "path": f"/api/deployments/{path}", "body": body}).encode() + b"\n"


async def test_equal_servers() -> None:
    async with playing(honest) as one, playing(honest) as other:
        code, out, err = await compare(one.url, f"{other.url}/api", "--generated", "50")
    assert code == 0, out + err
    assert "50 requests: 50 same, 0 moved, 0 different, 0 unanswered" in out
    assert "ratio" in out
    assert any(row["id"].encode() in body for row in ROWS for _, body in other.asked), "nothing asks for what is there"
    assert sorted(one.asked[1:]) == sorted(other.asked)  # the first page, then the searches


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

    async with playing(down) as one, playing(down) as other:
        code, out, _ = await compare(one.url, other.url, "--generated", "2")
    assert code == 1
    assert "2 unanswered" in out


async def test_recorded_files(home: Path) -> None:
    given = line("count", '{"broken') + line("filter", None) + line("00000de9-0000-4000-8000-000000000001", None, "GET")
    (home / "file").write_bytes(
        given + b'{"method":"POST","pa' + b"\n\n" + line("x/create_flow_run", {}) + line("y", {}, "DELETE")
    )
    async with playing(honest) as one, playing(honest) as other:
        code, out, err = await compare(one.url, other.url, "--requests", str(home / "file"), "--concurrency", "1")
    assert code == 0, out + err
    assert "3 lines are no requests for deployments" in err
    assert [body for _, body in one.asked] == [b'{"broken', b"", b""]


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
