"""The fleet as its users see it: by HTTP and on the bus, in one process and in a process per service."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import UUID

import aiohttp
import asyncpg
import nats
import pytest
from yarl import URL

from services import embedded
from services.seed import seed
from shared import errors
from shared.client import Fleet as Client
from shared.client import SearchRefused, connect
from shared.contract import PAGE
from shared.filters import AnyName, Count, DeploymentFilter, Filter, FlowRunFilter, Id, Paginate, TaskRunFilter
from shared.natsclient import SteadyClient
from tests import fleet
from tests.conftest import SCHEMA, folder
from tests.fleet import Fleet
from tests.processes import running_in
from tests.relay import relay

DEPLOYMENTS = 300


@pytest.fixture(scope="module")
async def database() -> AsyncIterator[str]:
    """A database of this module's own, with demo data."""
    with folder() as home, embedded.postgres(home, durable=False) as dsn:
        connection = await asyncpg.connect(dsn)
        await connection.execute(SCHEMA.read_text())
        await seed(dsn, deployments=DEPLOYMENTS, flow_runs=3000, task_runs=6000, progress=False)
        await connection.close()
        yield dsn


@pytest.fixture(scope="module", params=["one process", "a process per service"])
def running(request: pytest.FixtureRequest, database: str) -> Iterator[Fleet]:
    one = request.param == "one process"
    with folder() as home, embedded.nats(home) as own, fleet.running(database, own, one_process=one) as made:
        yield made


@pytest.fixture(scope="module")
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def client(running: Fleet) -> AsyncIterator[Client]:
    async with connect(running.nats_url) as made:
        yield made


async def ask(http: aiohttp.ClientSession, url: str, body: Any) -> tuple[int, Any]:
    headers = {"content-type": "application/json"}
    async with http.post(url, data=BytesIO(json.dumps(body).encode()), headers=headers) as answer:
        return answer.status, await answer.json()


async def test_pages_neither_repeat_nor_skip(http: aiohttp.ClientSession, running: Fleet) -> None:
    url = f"{running.url}/api/deployments/paginate"
    _, first = await ask(http, url, {"limit": 7})
    assert first["count"] == DEPLOYMENTS
    pages = [await ask(http, url, {"limit": 7, "page": page}) for page in range(1, first["pages"] + 1)]
    ids = [row["id"] for _, page in pages for row in page["results"]]
    assert len(ids) == len(set(ids)) == DEPLOYMENTS


async def test_filter_count_and_paginate_agree(http: aiohttp.ClientSession, running: Fleet) -> None:
    body = {"flow_runs": {"state": {"type": {"any_": ["FAILED"]}}}, "task_runs": {}, "work_pools": {}, "flows": {}}
    answers = [
        await ask(http, f"{running.url}/api/deployments/{verb}", body) for verb in ("filter", "count", "paginate")
    ]
    (_, rows), (_, count), (_, page) = answers
    assert 0 < count < DEPLOYMENTS
    assert len(rows) == count == page["count"]
    assert rows == page["results"]


async def test_one_deployment_by_id_and_by_name(http: aiohttp.ClientSession, running: Fleet, database: str) -> None:
    connection = await asyncpg.connect(database)
    row = await connection.fetchrow(
        """SELECT d.id, d.name, f.name AS flow FROM deployment d JOIN flow f ON f.id = d.flow_id
            WHERE f.name LIKE '%\\\\%%' ORDER BY d.id LIMIT 1"""
    )
    await connection.close()
    assert row
    by_name = f"{running.url}/api/deployments/name/" + "/".join(quoted(row[key]) for key in ("flow", "name"))
    answers = []
    for url in (f"{running.url}/api/deployments/{row['id']}", by_name):
        async with http.get(URL(url, encoded=True)) as answer:
            assert answer.status == 200
            answers.append(await answer.json())
    assert answers[0] == answers[1]
    assert answers[0]["id"] == str(row["id"])


def quoted(name: str) -> str:
    return "".join(f"%{byte:02X}" for byte in name.encode())


async def test_an_odd_stored_row_does_not_cost_its_neighbours(
    http: aiohttp.ClientSession, running: Fleet, database: str
) -> None:
    connection = await asyncpg.connect(database)
    odd = await connection.fetchval("SELECT id FROM deployment ORDER BY name, id LIMIT 1")
    await connection.execute(
        """WITH schedule AS (INSERT INTO deployment_schedule (schedule, active, deployment_id, max_scheduled_runs)
                             VALUES ('{"odd": [1]}', true, $1, 51), ('{"interval": -1, "cron": 2}', true, $1, 0))
           UPDATE deployment SET created_by = '{"id": "x", "type": 5}', updated_by = '[1]', pull_steps = '"s"',
                                 concurrency_options = '{"collision_strategy": 7}', labels = '{"l": [null]}' WHERE id = $1""",
        odd,
    )
    status, rows = await ask(http, f"{running.url}/api/deployments/filter", {"limit": 5})
    await connection.execute(
        """DELETE FROM deployment_schedule WHERE schedule ? 'odd' OR schedule @> '{"cron": 2}';
           UPDATE deployment SET created_by = NULL, updated_by = NULL, pull_steps = NULL, concurrency_options = NULL,
                                 labels = NULL WHERE updated_by = '[1]'"""
    )
    await connection.close()
    assert (status, len(rows), rows[0]["id"]) == (200, 5, str(odd))
    assert {"odd": [1]} in [schedule["schedule"] for schedule in rows[0]["schedules"]]
    assert (rows[0]["updated_by"], rows[0]["pull_steps"], rows[0]["labels"]) == ([1], "s", {"l": [None]})


# --- the frame of HTTP, where it is not Prefect's


async def test_a_body_that_is_too_large_is_refused(http: aiohttp.ClientSession, database: str) -> None:
    with (
        folder() as home,
        embedded.nats(home) as own,
        fleet.running(database, own, one_process=True, max_body="1000") as made,
    ):
        url = f"{made.url}/api/deployments/count"
        assert (await ask(http, url, {"x": "y" * 900}))[0] == 200
        assert await ask(http, url, {"x": "y" * 1000}) == (413, {"detail": "Request Entity Too Large"})
        connection = await nats.connect(own)
        reply = await connection.request("classis.v1.deployments.count", b'"%b"' % (b"y" * 1000), timeout=5)
        await connection.close()
        assert reply.headers
        assert reply.headers["Nats-Service-Error-Code"] == "413"


async def test_a_body_that_does_not_arrive_is_not_waited_for(database: str) -> None:
    with (
        folder() as home,
        embedded.nats(home) as own,
        fleet.running(database, own, one_process=True, deadline="1") as made,
    ):
        host, port = made.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /api/deployments/count HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n")
        writer.write(b"content-length: 100\r\n\r\n{")
        async with asyncio.timeout(5):
            assert int((await reader.readline()).split()[1]) == 408
        writer.close()
        await writer.wait_closed()


async def test_a_client_that_waits_to_be_asked_for_its_body_is_asked(running: Fleet) -> None:
    host, port = running.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /api/deployments/count HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n")
    writer.write(b"content-type: application/json\r\ncontent-length: 2\r\n\r\n")
    async with asyncio.timeout(5):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"{}")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
        assert int(await reader.readexactly(3)) == DEPLOYMENTS
    writer.close()
    await writer.wait_closed()


async def test_the_server_says_its_own_name(http: aiohttp.ClientSession, running: Fleet) -> None:
    async with http.get(f"{running.url}/api/health") as answer:
        assert (answer.headers["server"], await answer.json()) == ("classis", True)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("content-type: application/json\r\ncontent-type: text/plain", 400),
        ("expect: something", 417),
        ("x-control: a\x01b", 400),
        ("x-long: " + "y" * 70_000, 400),
    ],
    ids=["two content types", "unknown expectation", "control character", "long header"],
)
async def test_what_our_http_parser_refuses_by_itself(running: Fleet, line: str, status: int) -> None:
    host, port = running.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    request = f"POST /api/deployments/count HTTP/1.1\r\nhost: x\r\n{line}\r\ncontent-length: 0\r\n\r\n"
    writer.write(request.encode())
    assert int((await reader.readline()).split()[1]) == status
    writer.close()
    await writer.wait_closed()


# --- on the bus


async def test_the_client_gets_what_http_gives(http: aiohttp.ClientSession, running: Fleet, client: Client) -> None:
    own = DeploymentFilter(flow_or_deployment_name=AnyName(like_="a"))
    found = await client.paginate(Paginate(limit=5, page=2, sort="CREATED_DESC", deployments=own))
    body = {"limit": 5, "page": 2, "sort": "CREATED_DESC", "deployments": {"flow_or_deployment_name": {"like_": "a"}}}
    _, page = await ask(http, f"{running.url}/api/deployments/paginate", body)
    assert [str(row.id) for row in found.results] == [row["id"] for row in page["results"]]
    assert (found.count, found.pages) == (page["count"], page["pages"])
    assert await client.count(Count(deployments=own)) == page["count"]
    rows = await client.filter(Filter(deployments=DeploymentFilter(id=Id(any_=[found.results[0].id]))))
    assert rows == found.results[:1]


async def test_any_nats_client_can_ask_in_json(http: aiohttp.ClientSession, running: Fleet) -> None:
    connection = await nats.connect(running.nats_url)
    reply = await connection.request("classis.v1.deployments.filter", b'{"limit": 3}', timeout=5)
    refused = await connection.request("classis.v1.deployments.filter", b'{"limit": "x", "flows": {"y": 1}}', timeout=5)
    await connection.close()
    _, rows = await ask(http, f"{running.url}/api/deployments/filter", {"limit": 3})
    status, document = await ask(http, f"{running.url}/api/deployments/filter", {"limit": "x", "flows": {"y": 1}})
    assert json.loads(reply.data) == rows
    assert refused.headers
    assert refused.headers["Nats-Service-Error-Code"] == str(status) == "422"
    assert json.loads(refused.data) == document


async def test_the_client_is_told_why_a_search_is_refused(client: Client) -> None:
    with pytest.raises(SearchRefused) as refused:
        await client.filter(Filter(limit=201))
    assert refused.value.status == 422
    assert refused.value.body == {"detail": "Invalid limit: must be less than or equal to 200."}


# --- the same search, again and at once


async def test_what_a_client_has_already_is_not_sent_again(
    http: aiohttp.ClientSession, running: Fleet, database: str
) -> None:
    connection = await asyncpg.connect(database)
    known = await connection.fetchval("SELECT id FROM deployment ORDER BY id LIMIT 1")
    body = {"deployments": {"id": {"any_": [str(known)]}}}
    urls: dict[str, Any] = {f"{running.url}/api/deployments/{verb}": body for verb in ("filter", "paginate", "count")}
    urls[f"{running.url}/api/deployments/{known}"] = None
    before = {url: await conditional(http, url, body, "") for url, body in urls.items()}
    again = {url: await conditional(http, url, body, before[url][1]) for url, body in urls.items()}
    assert {status for status, _ in before.values()} == {200}
    assert again == {url: (304, validator) for url, (_, validator) in before.items()}
    await connection.execute("UPDATE deployment SET paused = NOT paused WHERE id = $1", known)
    after = {url: await conditional(http, url, body, before[url][1]) for url, body in urls.items()}
    await connection.execute("UPDATE deployment SET paused = NOT paused WHERE id = $1", known)
    await connection.close()
    changed = {url: status for url, (status, _) in after.items()}
    assert changed == {url: 304 if url.endswith("count") else 200 for url in urls}


async def conditional(http: aiohttp.ClientSession, url: str, body: Any, validator: str) -> tuple[int, str]:
    """The status of an answer, and its validator; a 304 has nothing but that."""
    headers = {"if-none-match": validator, "content-type": "application/json"}
    async with http.request("GET" if body is None else "POST", url, data=json.dumps(body), headers=headers) as answer:
        assert (await answer.read() == b"") is (answer.status == 304)
        return answer.status, answer.headers["etag"]


async def test_equal_searches_at_once_are_answered_as_one(http: aiohttp.ClientSession, running: Fleet) -> None:
    watcher = SteadyClient()
    await watcher.connect(running.nats_url)
    calls = await watcher.subscribe(PAGE.subject)
    await watcher.flush()
    searches = [ask(http, f"{running.url}/api/deployments/paginate", {"limit": 50}) for _ in range(60)]
    answers = await asyncio.gather(*searches)
    await watcher.flush()
    asked = calls.pending_msgs
    await watcher.close()
    assert all(answer == answers[0] for answer in answers)
    assert 0 < asked < len(answers) / 2


async def test_what_was_committed_before_a_search_is_seen_by_it_however_many_ask_the_same(
    http: aiohttp.ClientSession, running: Fleet, client: Client, database: str
) -> None:
    connection = await asyncpg.connect(database)
    [(known, original)] = await connection.fetch("SELECT id, version FROM deployment ORDER BY id LIMIT 1")
    url, ids = f"{running.url}/api/deployments/filter", {"any_": [str(known)]}
    committed, ended = 0, False

    async def keep_asking(number: int) -> None:
        while not ended:
            before = committed
            if number % 2:
                [row] = await client.filter(Filter(deployments=DeploymentFilter(id=Id(any_=[known]))))
                seen = int(row.version or 0)
            else:
                _, [document] = await ask(http, url, {"deployments": {"id": ids}})
                seen = int(document["version"])
            assert seen >= before

    await connection.execute("UPDATE deployment SET version = '0' WHERE id = $1", known)
    async with asyncio.TaskGroup() as group:
        for number in range(12):
            group.create_task(keep_asking(number))
        for change in range(1, 101):
            await connection.execute("UPDATE deployment SET version = $2 WHERE id = $1", known, str(change))
            committed = change
        ended = True
    await connection.execute("UPDATE deployment SET version = $2 WHERE id = $1", known, original)
    await connection.close()


# --- large


async def test_a_hundred_thousand_keys_arrive_whole(http: aiohttp.ClientSession, running: Fleet, database: str) -> None:
    connection = await asyncpg.connect(database)
    known = [str(row[0]) for row in await connection.fetch("SELECT id FROM deployment ORDER BY id LIMIT 9")]
    await connection.close()
    ids = [str(UUID(int=number)) for number in range(100_000)] + known
    status, count = await ask(http, f"{running.url}/api/deployments/count", {"deployments": {"id": {"any_": ids}}})
    assert (status, count) == (200, 9)
    body = {"flow_runs": {"deployment_id": {"any_": ids}}, "flows": {"id": {"not_any_": ids}}}
    status, _ = await ask(http, f"{running.url}/api/deployments/count", body)
    assert status == 200


async def test_replies_of_many_megabytes_arrive_whole(
    http: aiohttp.ClientSession, running: Fleet, client: Client, database: str
) -> None:
    connection = await asyncpg.connect(database)
    schema = json.dumps({"properties": {f"field_{n}": {"title": "x" * 50} for n in range(600)}})
    await connection.execute("UPDATE deployment SET parameter_openapi_schema = $1::jsonb", schema)
    await connection.close()
    async with http.post(f"{running.url}/api/deployments/filter", json={}, headers={"accept-encoding": ""}) as answer:
        body = await answer.read()
    assert len(body) > 8_000_000
    rows = json.loads(body)
    assert len(rows) == 200
    assert all(row["parameter_openapi_schema"] == json.loads(schema) for row in rows)
    assert len(await client.filter(Filter())) == 200


# --- absence is an error


@pytest.fixture
def breakable(database: str) -> Iterator[Fleet]:
    with folder() as home, embedded.nats(home) as own, fleet.running(database, own) as made:
        yield made


async def test_a_search_that_needs_an_absent_service_is_refused_quickly(
    http: aiohttp.ClientSession, breakable: Fleet
) -> None:
    breakable.kill("runs")
    url = f"{breakable.url}/api/deployments/filter"
    for leg in ("flow_runs", "task_runs"):
        started = monotonic()
        async with http.post(url, json={leg: {}}) as answer:
            assert answer.status == 503
            assert answer.headers["retry-after"] == "1"
            assert await answer.json() == {"exception_message": "Service Unavailable"}
        assert monotonic() - started < 2
    status, rows = await ask(http, url, {"flows": {}, "work_pools": {}, "limit": 5})
    assert (status, len(rows)) == (200, 5)
    async with http.get(f"{breakable.url}/api/ready") as answer:
        assert (answer.status, await answer.json()) == (503, {"message": "Not ready: runs"})
    async with connect(breakable.nats_url) as client:
        with pytest.raises(errors.Unavailable):
            await client.filter(Filter(flow_runs=FlowRunFilter(), task_runs=TaskRunFilter()))
        assert await client.count(Count()) == DEPLOYMENTS


@pytest.mark.parametrize("server", ["nats", "postgres"])
async def test_without_a_server_every_search_is_refused_quickly_until_it_is_back(
    http: aiohttp.ClientSession, database: str, home: Path, server: str
) -> None:
    with embedded.nats(home) as nats_url, relay(nats_url if server == "nats" else database) as line:
        urls = (database, line.url) if server == "nats" else (line.url, nats_url)
        with fleet.running(*urls) as made:
            url = f"{made.url}/api/deployments/count"
            assert await ask(http, url, {}) == (200, DEPLOYMENTS)
            line.cut()
            for _ in range(3):
                started = monotonic()
                assert await ask(http, url, {}) == (503, {"exception_message": "Service Unavailable"})
                assert monotonic() - started < 2
                assert (await ask(http, url, {"flows": 1}))[0] == 422  # known without any server
            line.mend()
            fleet.wait_until_ready(made.url)
            assert await ask(http, url, {}) == (200, DEPLOYMENTS)


@pytest.mark.parametrize("server", ["nats", "postgres"])
async def test_a_server_that_hangs_is_refused_in_time_and_does_not_keep_us_from_leaving(
    http: aiohttp.ClientSession, home: Path, server: str
) -> None:
    (home / "postgres").mkdir(mode=0o711)
    (home / "nats").mkdir(mode=0o711)
    with embedded.postgres(home / "postgres", durable=False) as dsn, embedded.nats(home / "nats") as nats_url:
        connection = await asyncpg.connect(dsn)
        await connection.execute(SCHEMA.read_text())
        await connection.close()
        with frozen(home / server) as freeze, fleet.running(dsn, nats_url, deadline="2") as made:
            url = f"{made.url}/api/deployments/filter"
            assert await ask(http, url, {"flows": {}}) == (200, [])
            freeze()
            for _ in range(3):
                started = monotonic()
                assert (await ask(http, url, {"flows": {}}))[0] == 503
                assert monotonic() - started < 4


@contextmanager
def frozen(folder: Path) -> Iterator[Callable[[], None]]:
    """Gives what stops every process that runs in a folder; they go on when the block is left."""
    stopped: list[int] = []

    def freeze() -> None:
        stopped.extend(running_in(folder))
        assert stopped
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)

    try:
        yield freeze
    finally:
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
