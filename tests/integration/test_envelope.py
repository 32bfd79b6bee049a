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
async def answering(
    body: bytes, known_by: str = "", **settings: Any
) -> AsyncIterator["TestClient[web.Request, web.Application]"]:
    """The envelope around a fixed answer, behind a real socket."""
    made = Settings(**settings)
    answer = Answer(body, headers={"etag": known_by} if known_by else {})

    async def respond(request: web.Request) -> web.Response:
        return envelope.preflight(request, made) or await envelope.response(answer, request, made)

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


VALIDATOR = 'W/"0123456789abcdef-300-10-1"'


@pytest.mark.parametrize("given", [VALIDATOR, "*", VALIDATOR.removeprefix("W/"), f'"other", {VALIDATOR}'])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_what_a_client_has_already_is_not_sent_again(method: str, given: str) -> None:
    headers = {"if-none-match": given, "origin": "https://a.example", "accept-encoding": "gzip"}
    async with (
        answering(b"x" * 100_000, VALIDATOR, cors_allowed_origins="https://a.example") as client,
        client.request(method, "/", headers=headers) as answer,
    ):
        assert (answer.status, await answer.read()) == (304, b"")
        found = {name.lower(): value for name, value in answer.headers.items() if name != "Date"}
        assert found == {
            "etag": VALIDATOR,
            "vary": "Accept-Encoding, Origin",
            "access-control-allow-origin": "https://a.example",
            "access-control-expose-headers": "ETag",
            "server": "classis",
        }
        async with client.get(
            "/", headers={"accept-encoding": ""}
        ) as next_one:  # on the same connection, which nothing has put out of step
            assert (next_one.status, len(await next_one.read())) == (200, 100_000)


@pytest.mark.parametrize("given", [[VALIDATOR], ['"a"', f'"b", {VALIDATOR}']])
async def test_a_list_of_validators_may_come_in_several_lines(given: list[str]) -> None:
    headers = [("if-none-match", value) for value in given]
    async with answering(b"{}", VALIDATOR) as client, client.get("/", headers=headers) as answer:
        assert answer.status == 304


@pytest.mark.parametrize("given", [None, "", '"other"', f"{VALIDATOR}x"])
async def test_what_a_client_has_not_is_sent_with_its_validator(given: str | None) -> None:
    headers = {"if-none-match": given} if given is not None else {}
    async with answering(b"{}", VALIDATOR) as client, client.get("/", headers=headers) as answer:
        assert (answer.status, answer.headers["etag"], await answer.read()) == (200, VALIDATOR, b"{}")


async def test_an_answer_without_a_validator_is_always_sent() -> None:
    async with answering(b"{}") as client, client.get("/", headers={"if-none-match": "*"}) as answer:
        assert (answer.status, await answer.read()) == (200, b"{}")
        assert not {"etag", "access-control-expose-headers"} & {name.lower() for name in answer.headers}


def test_each_route_is_found_by_its_own_path_only() -> None:
    paths = {
        "/api/deployments/filter": "POST", "/api/deployments/count": "POST", "/api/health": "GET",
        "/api/deployments/00000de900004000-8000000000000001": "GET", "/api/deployments/name/a b/c%": "GET",
    }  # fmt: skip
    for path, method in paths.items():
        assert [route.method for route in http.ALONE if route.path.fullmatch(path)] == [method]
    for path in (
        "/api/deployments/name/a/b/c",
        "/api/deployments/name//b",
        "/api/Health",
        "/api/health/",
        "/deployments",
    ):
        assert not any(route.path.fullmatch(path) for route in http.ALONE)
