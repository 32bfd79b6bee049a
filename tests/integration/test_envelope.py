"""HTTP around the searches: CORS by its settings, sizes, and what a half-broken client may do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from services.gateway import envelope, http
from services.gateway.problems import Answer
from shared.settings import Settings

PREFLIGHT = {"origin": "https://a.example", "access-control-request-method": "POST"}


@asynccontextmanager
async def answering(body: bytes, **settings: Any) -> AsyncIterator["TestClient[web.Request, web.Application]"]:
    """The envelope around a fixed answer, behind a real socket."""
    made = Settings(**settings)

    async def respond(request: web.Request) -> web.Response:
        return envelope.preflight(request, made) or await envelope.response(Answer(body), request, made)

    app = web.Application()
    app.router.add_route("*", "/", respond)
    async with TestClient(TestServer(app), auto_decompress=False) as client:
        yield client


@pytest.mark.parametrize(
    ("settings", "headers", "status", "expected"),
    [
        ({}, {}, 200, {"access-control-allow-origin": "*", "access-control-max-age": "600"}),
        ({}, {"access-control-request-headers": "x-a, x-b"}, 200, {"access-control-allow-headers": "x-a, x-b"}),
        ({}, {"access-control-request-method": "BREW"}, 400, {}),
        ({"cors_allowed_origins": "https://a.example"}, {}, 200,
         {"access-control-allow-origin": "https://a.example", "vary": "Origin"}),
        ({"cors_allowed_origins": "https://b.example"}, {}, 400, {"vary": "Origin"}),
        ({"cors_allowed_methods": "GET"}, {}, 400, {"access-control-allow-methods": "GET"}),
        ({"cors_allowed_headers": "x-a"}, {"access-control-request-headers": "X-A, accept"}, 200, {}),
        ({"cors_allowed_headers": "x-a"}, {"access-control-request-headers": "x-b"}, 400, {}),
    ],
)  # fmt: skip
async def test_preflight(settings: Any, headers: Any, status: int, expected: dict[str, str]) -> None:
    async with answering(b"", **settings) as client, client.options("/", headers={**PREFLIGHT, **headers}) as answer:
        assert answer.status == status
        assert (await answer.text()).startswith("OK" if status == 200 else "Disallowed CORS ")
        assert expected.items() <= {name.lower(): value for name, value in answer.headers.items()}.items()


@pytest.mark.parametrize(
    ("allowed", "origin", "expected"),
    [
        ("*", "https://a.example", ("*", None)),
        ("*", None, (None, None)),
        ("https://a.example, https://b.example", "https://b.example", ("https://b.example", "Origin")),
        ("https://a.example", "https://b.example", (None, None)),
    ],
)
async def test_cors_of_an_ordinary_answer(allowed: str, origin: str | None, expected: tuple[Any, Any]) -> None:
    headers = {"origin": origin} if origin else {}
    async with answering(b"{}", cors_allowed_origins=allowed) as client, client.get("/", headers=headers) as answer:
        assert (answer.headers.get("access-control-allow-origin"), answer.headers.get("vary")) == expected


@pytest.mark.parametrize("accepted", ["gzip", "br, gzip;q=0", "deflate, gzip"])
@pytest.mark.parametrize("size", [499, 500, 100_000])
async def test_answers_from_500_bytes_on_are_compressed(accepted: str, size: int) -> None:
    body = b"x" * size
    async with answering(body) as client, client.get("/", headers={"accept-encoding": accepted}) as answer:
        compressed = size >= 500
        assert answer.headers.get("vary") == ("Accept-Encoding" if compressed else None)
        assert answer.headers.get("content-encoding") == ("gzip" if compressed else None)
        assert (len(await answer.read()) < size) is compressed


@pytest.mark.parametrize("accepted", ["GZIP", "*", "identity"])
async def test_other_encodings_are_not_taken_for_gzip(accepted: str) -> None:
    async with answering(b"x" * 600) as client, client.get("/", headers={"accept-encoding": accepted}) as answer:
        assert answer.headers.get("vary") == "Accept-Encoding"
        assert await answer.read() == b"x" * 600


def test_each_route_is_found_by_its_own_path_only() -> None:
    paths = {
        "/api/deployments/filter": "POST", "/api/deployments/count": "POST", "/api/health": "GET",
        "/api/deployments/00000de900004000-8000000000000001": "GET", "/api/deployments/name/a b/c%": "GET",
    }  # fmt: skip
    for path, method in paths.items():
        assert [route.method for route in http.ROUTES if route.path.fullmatch(path)] == [method]
    for path in (
        "/api/deployments/name/a/b/c",
        "/api/deployments/name//b",
        "/api/Health",
        "/api/health/",
        "/deployments",
    ):
        assert not any(route.path.fullmatch(path) for route in http.ROUTES)
