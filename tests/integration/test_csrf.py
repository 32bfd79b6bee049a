"""CSRF protection: which requests need a token, what is refused in which words, and what happens without the database."""

import asyncio
import hashlib
import logging
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import asyncpg
import pytest

from services import embedded
from services.deployments import csrf
from services.gateway import door
from shared import bus, postgres
from shared.contract import CSRF
from shared.settings import Settings
from tests.conftest import SCHEMA, folder
from tests.doors import COUNT, JSON, WITHIN, Connect, Reply, Wire, nothing, on_uvloop
from tests.fleet import free_port
from tests.relay import relay
from tests.servers import database
from tests.upstreams import OK, playing

TOKEN = "0123456789abcdef" * 4
TOKENS = [
    ("mine", TOKEN, "1 hour"),
    ("other", "f" * 64, "1 hour"),
    ("late", "e" * 64, "-1 s"),
    ("ü", "c" * 64, "1 hour"),
]
SECRET = "admin:pass"
AUTHORIZED = f"authorization: Basic {b64encode(SECRET.encode()).decode()}"
ROW = "/api/deployments/00000de9-0000-4000-8000-000000000001"
ORIGIN = "origin: https://a.example"
NO_TOKEN, NO_CLIENT, INVALID = (
    "Missing CSRF token.",
    "Missing client identifier.",
    "Invalid CSRF token or client identifier.",
)


@pytest.fixture(scope="module")
def nats_url() -> Iterator[str]:
    with folder() as home, embedded.nats(home) as url:
        yield url


@pytest.fixture(scope="module")
async def dsn(postgres_dsn: str) -> str:
    made = await database(postgres_dsn, "csrf", SCHEMA.read_text())
    for client, token, lasts in TOKENS:
        await put(made, client, token, lasts)
    return made


async def put(dsn: str, client: str, token: str, lasts: str = "1 hour") -> None:
    """As Prefect does it: a client has one token."""
    connection = await asyncpg.connect(dsn)
    await connection.execute(
        """INSERT INTO csrf_token (client, token, expiration) VALUES ($1, $2, now() + $3::text::interval)
           ON CONFLICT (client) DO UPDATE SET token = excluded.token, expiration = excluded.expiration""",
        client, token, lasts,
    )  # fmt: skip
    await connection.close()


@asynccontextmanager
async def fleet(dsn: str, nats_url: str, **given: Any) -> AsyncIterator[Connect]:
    """A gateway that asks for tokens, and the service that knows them."""
    settings = Settings(
        **{"postgres_dsn": dsn, "nats_url": nats_url, "port": free_port(), "csrf_protection_enabled": True, **given}
    )
    wires: list[Wire] = []

    async def connect() -> Wire:
        wires.append(Wire(*await asyncio.open_connection(settings.host, settings.port)))
        return wires[-1]

    try:
        async with (
            postgres.pool(settings, "deployments", plan_once=True) as pool,
            bus.connect(settings, "deployments") as service,
            bus.connect(settings, "gateway") as line,
        ):
            await service.up(WITHIN)
            await line.up(WITHIN)
            async with service.serve(CSRF, partial(csrf.verdict, pool)), door.serving(line, nothing, settings):
                yield connect
    finally:
        for wire in wires:
            wire.writer.transport.abort()


def shown(token: str = TOKEN, client: str = "mine") -> list[str]:
    return [f"prefect-csrf-token: {token}", f"prefect-csrf-client: {client}"]


def refusal(reply: Reply) -> tuple[int, str, str | None]:
    return reply.status, reply.json["detail"], reply.headers.get("access-control-allow-origin")


@pytest.mark.parametrize(
    ("headers", "detail"),
    [
        ([], NO_TOKEN),
        (["prefect-csrf-client: mine"], NO_TOKEN),
        (["prefect-csrf-token: x"], NO_CLIENT),
        (["prefect-csrf-token:"], NO_CLIENT),
        (shown(TOKEN[:-1]), INVALID),
        (shown(f"{TOKEN}0"), INVALID),
        (shown(TOKEN.upper()), INVALID),
        (shown(hashlib.sha256(TOKEN.encode()).hexdigest()), INVALID),
        (shown(""), INVALID),
        (shown("", ""), INVALID),
        (shown(client="other"), INVALID),
        (shown(client="nobody"), INVALID),
        (shown(client="MINE"), INVALID),
        (shown("e" * 64, "late"), INVALID),
        (shown("%", "%"), INVALID),
        ([*shown("x"), *shown()], INVALID),
    ],
)
@on_uvloop
async def test_a_search_without_a_valid_token_is_refused(
    dsn: str, nats_url: str, headers: list[str], detail: str
) -> None:
    """A script of another origin may read the last refusal alone, whatever origins are allowed."""
    async with fleet(dsn, nats_url, cors_allowed_origins="https://b.example") as connect:
        for origin in ([], [ORIGIN], ["origin: https://b.example"]):
            reply = await (await connect()).ask("POST", COUNT, *origin, *headers)
            assert refusal(reply) == (403, detail, "*" if detail == INVALID else None)
            assert "vary" not in reply.headers
            assert reply.headers["x-request-id"]


@on_uvloop
async def test_a_valid_token_lets_a_search_pass(dsn: str, nats_url: str) -> None:
    async with fleet(dsn, nats_url, cors_allowed_origins="https://a.example") as connect:
        wire = await connect()
        for headers in (shown(), [*shown(), *shown("x")], [each.replace(":", ":\t ") for each in shown()]):
            reply = await wire.ask("POST", COUNT, JSON, ORIGIN, *headers, body=b"{}")
            assert (reply.status, reply.body) == (200, b"0")
            assert reply.headers["access-control-allow-origin"] == "https://a.example"


@on_uvloop
async def test_a_token_counts_until_it_is_replaced(dsn: str, nats_url: str) -> None:
    old, new = "a" * 64, "b" * 64
    async with fleet(dsn, nats_url) as connect:
        await put(dsn, "changing", old)
        assert (await (await connect()).ask("POST", COUNT, *shown(old, "changing"))).status == 200
        await put(dsn, "changing", new)
        assert (await (await connect()).ask("POST", COUNT, *shown(new, "changing"))).status == 200
        assert (await (await connect()).ask("POST", COUNT, *shown(old, "changing"))).status == 403
        await put(dsn, "changing", new, "-1 s")
        assert (await (await connect()).ask("POST", COUNT, *shown(new, "changing"))).status == 403


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", ROW, 503),  # nobody serves rows here
        ("GET", "/api/deployments/name/a/b", 503),
        ("GET", COUNT, 405),
        ("HEAD", COUNT, 405),
        ("GET", "/api/health", 200),
        ("GET", "/api/ready", 503),
        ("GET", "/unknown", 404),
        ("OPTIONS", COUNT, 200),
        ("PROPFIND", COUNT, 405),
        ("POST", COUNT, 403),
        ("POST", f"{COUNT}/", 403),
        ("PUT", COUNT, 403),
        ("PATCH", ROW, 403),
        ("DELETE", ROW, 403),
        ("POST", "/api/health", 403),
        ("POST", "/api/unknown", 403),
        ("DELETE", "/unknown", 403),
    ],
)
@on_uvloop
async def test_what_changes_nothing_needs_no_token(
    dsn: str, nats_url: str, method: str, path: str, status: int
) -> None:
    async with fleet(dsn, nats_url) as connect:
        wire = await connect()
        wire.send(
            f"{method} {path} HTTP/1.1\r\nhost: x\r\n{ORIGIN}\r\naccess-control-request-method: POST\r\n".encode()
        )
        wire.send(b"content-length: 0\r\nconnection: close\r\n\r\n")
        assert int((await wire.rest()).split()[1]) == status


@on_uvloop
async def test_tokens_are_looked_at_before_passwords_routes_and_versions(dsn: str, nats_url: str) -> None:
    old = "x-prefect-api-version: 0.1.0"
    async with fleet(dsn, nats_url, api_auth_string=SECRET) as connect:
        for headers, status in [
            ([], 403), ([AUTHORIZED], 403), ([AUTHORIZED, *shown("x")], 403), (shown("x"), 403), (shown(), 401),
            ([*shown(), AUTHORIZED], 200), ([*shown(), AUTHORIZED, old], 400), ([AUTHORIZED, old], 403),
        ]:  # fmt: skip
            assert (await (await connect()).ask("POST", COUNT, *headers)).status == status, headers
        for path, status in (("/api/unknown", 404), (f"{COUNT}/", 307), (ROW, 405)):
            assert (await (await connect()).ask("POST", path)).status == 403
            assert (await (await connect()).ask("POST", path, *shown(), AUTHORIZED)).status == status


@on_uvloop
async def test_no_character_makes_trouble(dsn: str, nats_url: str) -> None:
    async with fleet(dsn, nats_url) as connect:
        for byte in range(256):
            for token, client in ((b"x%cx" % byte, b"mine"), (b"x", b"mi%cne" % byte), (b"%c" % byte, b"%c" % byte)):
                wire = await connect()
                wire.send(b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n" % COUNT.encode())
                wire.send(b"prefect-csrf-token: %b\r\nprefect-csrf-client: %b\r\n\r\n" % (token, client))
                assert (await wire.reply()).status in {400, 403}, byte
                wire.writer.transport.abort()


@on_uvloop
async def test_a_client_is_read_as_latin_1(dsn: str, nats_url: str) -> None:
    async with fleet(dsn, nats_url) as connect:
        wire = await connect()
        wire.send(b"\r\n".join([f"POST {COUNT} HTTP/1.1".encode(), b"host: x", b"content-length: 0",
                                b"prefect-csrf-client: \xfc", b"prefect-csrf-token: " + b"c" * 64, b"", b""]))  # fmt: skip
        assert (await wire.reply()).status == 200
        assert (await wire.ask("POST", COUNT, *shown("c" * 64, "ü"))).status == 403


@on_uvloop
async def test_without_the_database_nobody_can_tell(dsn: str, nats_url: str) -> None:
    with relay(dsn) as line:
        async with fleet(line.url, nats_url, api_auth_string=SECRET) as connect:
            line.cut()
            reply = await (await connect()).ask("POST", COUNT, *shown())
            assert (reply.status, reply.headers["retry-after"]) == (503, "1")
            assert (await (await connect()).ask("POST", COUNT)).status == 403
            line.mend()
            assert (await (await connect()).ask("POST", COUNT, *shown(), AUTHORIZED)).status == 200


@on_uvloop
async def test_a_slow_database_costs_no_more_than_the_deadline(dsn: str, nats_url: str) -> None:
    async with fleet(dsn, nats_url, deadline=2.0) as connect:
        holder = await asyncpg.connect(dsn)
        async with holder.transaction(), asyncio.timeout(3 * WITHIN):
            await holder.execute("LOCK TABLE csrf_token")
            assert (await (await connect()).ask("POST", COUNT, *shown())).status == 503
        await holder.close()
        assert (await (await connect()).ask("POST", COUNT, *shown())).status == 200


@on_uvloop
async def test_without_the_database_the_upstream_checks_and_answers(dsn: str, nats_url: str) -> None:
    with relay(dsn) as line:
        async with playing() as upstream, fleet(line.url, nats_url, upstream=upstream.url) as connect:
            wire = await connect()
            assert (await wire.ask("POST", COUNT, *shown())).body == b"0"
            line.cut()
            reply = await wire.ask("POST", COUNT, *shown("x"), body=b"{}")
            assert (reply.status, reply.headers["x-classis-fallback"]) == (200, "DatabaseDown")
            [exchange] = upstream.seen
            assert exchange.all("prefect-csrf-token") == ["x"]
            assert exchange.all("prefect-csrf-client") == ["mine"]
            assert OK.endswith(reply.body)


@on_uvloop
async def test_who_gives_tokens(dsn: str, nats_url: str) -> None:
    path = "/api/csrf-token?client=mine"
    async with fleet(dsn, nats_url) as connect:
        reply = await (await connect()).ask("GET", path)
        assert reply.status == 501
        assert "Prefect's own server" in reply.json["detail"]
    async with fleet(dsn, nats_url, csrf_protection_enabled=False) as connect:
        reply = await (await connect()).ask("GET", path)
        assert (reply.status, reply.json["detail"]) == (422, "CSRF protection is disabled.")
        assert (await (await connect()).ask("POST", COUNT)).status == 200
    async with playing() as upstream, fleet(dsn, nats_url, upstream=upstream.url) as connect:
        assert (await (await connect()).ask("GET", path)).body == b"ok"
        assert upstream.seen[0].line == f"GET {path} HTTP/1.1"


@on_uvloop
async def test_no_log_has_a_token(dsn: str, nats_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with relay(dsn) as line:
        async with fleet(line.url, nats_url) as connect:
            assert (await (await connect()).ask("POST", COUNT, *shown())).status == 200
            assert (await (await connect()).ask("POST", COUNT, *shown(client="other"))).status == 403
            line.cut()
            assert (await (await connect()).ask("POST", COUNT, *shown())).status == 503
    assert "classis.v1.deployments.csrf" in caplog.text
    assert TOKEN not in caplog.text
