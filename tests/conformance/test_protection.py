"""With authentication and CSRF protection on, the real server and ours let in, and refuse, the same in the same words."""

from base64 import b64encode
from collections.abc import AsyncIterator, Iterator, Mapping
from itertools import product
from typing import NamedTuple
from urllib.parse import urlsplit

import asyncpg
import pytest
from aiohttp import ClientSession

from services import embedded
from services.gateway.posture import Seen, differences, look
from shared.settings import Settings
from tests import fleet
from tests.conformance import compare, oracle
from tests.conformance.asking import COUNT, FILTER, PAGE, dep
from tests.conformance.conftest import FIXTURE
from tests.conformance.wire import JSON_TYPE, Request, send
from tests.conftest import folder

SECRET = "admin:a pass"
TOKEN = "0123456789abcdef" * 4
TOKENS = [("mine", TOKEN, "1 hour"), ("other", "f" * 64, "1 hour"), ("late", "e" * 64, "-1 s"), ("", "d" * 64, "1 hour"),
          ("Ã¼", "c" * 64, "1 hour")]  # fmt: skip
ROW = f"/api/deployments/{dep(1)}"
ORIGIN = {"origin": "https://a.example"}
ORIGINS = "https://a.example,https://b.example"


class Pair(NamedTuple):
    ours: str
    theirs: str
    dsn: str


@pytest.fixture(scope="module")
async def dsn(prefect_cluster: str) -> AsyncIterator[str]:
    admin = await asyncpg.connect(prefect_cluster)
    await admin.execute("CREATE DATABASE protected TEMPLATE migrated")
    await admin.close()
    made = urlsplit(prefect_cluster)._replace(path="/protected").geturl()
    connection = await asyncpg.connect(made)
    await connection.execute(FIXTURE.read_text())
    await connection.executemany(
        "INSERT INTO csrf_token (client, token, expiration) VALUES ($1, $2, now() + $3::text::interval)", TOKENS
    )
    await connection.close()
    yield made


@pytest.fixture(scope="module")
def pair(dsn: str) -> Iterator[Pair]:
    told = {
        "PREFECT_SERVER_API_AUTH_STRING": SECRET,
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ORIGINS,
    }
    with (
        folder() as home,
        oracle.serve(dsn, home / "oracle", extra=told) as theirs,
        embedded.nats(home) as nats_url,
        fleet.running(
            dsn,
            nats_url,
            one_process=True,
            api_auth_string=SECRET,
            csrf_protection_enabled="true",
            cors_allowed_origins=ORIGINS,
        ) as running,
    ):
        yield Pair(running.url, theirs, dsn)


def basic(secret: str) -> dict[str, str]:
    return {"authorization": f"Basic {b64encode(secret.encode()).decode()}"}


def shown(token: str, client: str) -> dict[str, str]:
    return {"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": client}


LOGINS = {"right": basic(SECRET), "wrong": basic("admin:else"), "none": {}}
PROOFS: dict[str, dict[str, str]] = {
    "valid": shown(TOKEN, "mine"),
    "nothing": {},
    "token_only": {"Prefect-Csrf-Token": TOKEN},
    "client_only": {"Prefect-Csrf-Client": "mine"},
    "small_letters": {"prefect-csrf-token": TOKEN, "prefect-csrf-client": "mine"},
    "wrong_token": shown(TOKEN[:-1], "mine"),
    "upper_case_token": shown(TOKEN.upper(), "mine"),
    "of_another_client": shown(TOKEN, "other"),
    "expired": shown("e" * 64, "late"),
    "unknown_client": shown(TOKEN, "nobody"),
    "client_in_capitals": shown(TOKEN, "MINE"),
    "empty_token": shown("", "mine"),
    "empty_client": shown("d" * 64, ""),
    "both_empty": shown("", ""),
    "blanks_around": shown(f" {TOKEN}\t", "  mine "),
    "twice_the_right_one_first": shown(f"{TOKEN}\nx", "mine\nother"),
    "twice_the_right_one_last": shown(f"x\n{TOKEN}", "mine"),
    "client_beyond_ascii": shown("c" * 64, "ü"),
    "token_beyond_ascii_of_nobody": shown("ü", "nobody"),
    "sql": shown("' OR true --", "' OR true --"),
    "long": shown("x" * 4000, "y" * 4000),
}
SEARCH = Request("POST", COUNT, b"{}", JSON_TYPE)
REQUESTS = {
    "count": SEARCH,
    "filter": Request("POST", FILTER, b'{"limit":2}', JSON_TYPE),
    "paginate": Request("POST", PAGE, b'{"limit":2}', JSON_TYPE),
    "broken_body": Request("POST", FILTER, b'{"limit":', JSON_TYPE),
    "old_version": Request("POST", COUNT, b"{}", {**JSON_TYPE, "x-prefect-api-version": "0.1.0"}),
    "trailing_slash": Request("POST", f"{COUNT}/", b"{}", JSON_TYPE),
    "unknown": Request("POST", "/api/unknown", b"{}", JSON_TYPE),
    "outside": Request("POST", "/unknown", b"{}", JSON_TYPE),
    "health": Request("POST", "/api/health"),
    "put": Request("PUT", COUNT, b"{}", JSON_TYPE),
    "patch": Request("PATCH", COUNT, b"{}", JSON_TYPE),
    "delete": Request("DELETE", COUNT),
    "head": Request("HEAD", COUNT),
    "get_search": Request("GET", COUNT),
    "get_row": Request("GET", ROW),
    "get_by_name": Request("GET", "/api/deployments/name/alpha-etl/daily"),
    "get_health": Request("GET", "/api/health"),
    "get_unknown": Request("GET", "/api/unknown"),
    "preflight": Request("OPTIONS", COUNT, None, {"access-control-request-method": "POST",
                                                  "access-control-request-headers": "prefect-csrf-token"}),
}  # fmt: skip


def with_headers(request: Request, *more: Mapping[str, str]) -> Request:
    return Request(
        request.method, request.path, request.body, {k: v for part in (request.headers, *more) for k, v in part.items()}
    )


def assert_same(pair: Pair, requests: Iterator[Request]) -> None:
    found = []
    for request in requests:
        ours, theirs = send(pair.ours, request), send(pair.theirs, request)
        if unequal := compare.differences(request, ours, theirs, "bytes"):
            found.append("\n".join([str(request), *unequal, f"ours:   {ours}", f"theirs: {theirs}"]))
    assert not found, "\n\n".join(found)


@pytest.mark.parametrize("proof", PROOFS)
def test_what_shows_a_token(pair: Pair, proof: str) -> None:
    ways = product(LOGINS.values(), ({}, ORIGIN))
    assert_same(pair, (with_headers(SEARCH, PROOFS[proof], login, origin) for login, origin in ways))


@pytest.mark.parametrize("name", REQUESTS)
def test_what_is_asked(pair: Pair, name: str) -> None:
    ways = product(("valid", "nothing", "wrong_token"), LOGINS.values(), ({}, ORIGIN))
    assert_same(pair, (with_headers(REQUESTS[name], PROOFS[proof], login, origin) for proof, login, origin in ways))


def test_both_let_in_and_refuse(pair: Pair) -> None:
    """Lest two that refuse everything agree."""
    for base in pair[:2]:
        statuses = [send(base, with_headers(SEARCH, PROOFS[proof], LOGINS[login])).status
                    for proof, login in (("valid", "right"), ("valid", "wrong"), ("nothing", "right"), ("expired", "right"))]  # fmt: skip
        assert statuses == [200, 401, 403, 403]


def test_a_token_that_prefect_gives_is_good_here_until_it_gives_another(pair: Pair) -> None:
    given = [token(pair), token(pair)]
    for base in pair[:2]:
        asked = [send(base, with_headers(SEARCH, shown(each, "giver"), LOGINS["right"])) for each in given]
        assert [answer.status for answer in asked] == [403, 200]
        assert "Invalid CSRF token" in str(asked[0].body)
    assert given[0] != given[1]


def token(pair: Pair) -> str:
    return str(send(pair.theirs, Request("GET", "/api/csrf-token?client=giver", None, LOGINS["right"])).json["token"])


# --- on purpose


def test_a_token_beyond_ascii_is_no_trouble_of_ours(pair: Pair) -> None:
    request = with_headers(SEARCH, shown("ü", "mine"), LOGINS["right"])
    assert [send(base, request).status for base in pair[:2]] == [403, 500]


def test_tokens_are_not_given_here(pair: Pair) -> None:
    """With any other status than 404 and 422, Prefect's client stops and shows the answer."""
    answer = send(pair.ours, Request("GET", "/api/csrf-token?client=x", None, LOGINS["right"]))
    assert (answer.status, list(answer.json)) == (501, ["detail"])
    assert send(pair.ours, Request("GET", "/api/csrf-token?client=x")).status == 401


# --- what the gateway finds out about the real server


async def seen(url: str, **settings: str) -> Seen:
    async with ClientSession() as session:
        return await look(session, Settings(upstream=url, **settings))  # type: ignore[arg-type]


async def test_the_posture_of_a_protected_server(pair: Pair) -> None:
    nobody = Seen(401, 401, 403, any_origin=False)
    assert (await seen(pair.theirs))._replace(version="") == nobody
    assert (await seen(pair.theirs, api_auth_string="admin:else"))._replace(version="") == nobody
    assert await seen(pair.theirs, api_auth_string=SECRET) == Seen(401, 200, 403, any_origin=False, version="3.8.8")


@pytest.mark.parametrize(
    ("ours", "shut_out"),
    [(ORIGINS, ()), ("https://b.example", ()), ("https://a.example, https://c.example", ("https://c.example",))],
)
async def test_the_origins_of_a_server_that_names_some(pair: Pair, ours: str, shut_out: tuple[str, ...]) -> None:
    assert (await seen(pair.theirs, cors_allowed_origins=ours)).shut_out == shut_out


async def test_the_posture_of_an_open_server(oracle_on_fixture: str) -> None:
    found = await seen(oracle_on_fixture)
    assert found == Seen(200, 200, 405, any_origin=True, version="3.8.8")
    assert differences(Settings(), found) == ([], [])
    assert await seen(oracle_on_fixture, api_auth_string=SECRET) == found
