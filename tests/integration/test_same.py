"""Whether a database and an upstream are one installation, and what a look before the start finds."""

from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from services.doctor import glanced, report
from services.doctor.report import Subject
from services.seed import seed
from shared.settings import Settings
from tests.conftest import SCHEMA
from tests.fleet import free_port
from tests.servers import database

SECRET = "admin:secret"


@asynccontextmanager
async def prefect(*ids: str, secret: str = "", limit: int = 200, says_all: str = "") -> AsyncIterator[str]:
    """A server that answers as Prefect's does, of these deployments, or the same to all of them; gives its address."""

    async def version(request: web.Request) -> web.Response:
        return web.json_response("3.8.8")

    async def settings(request: web.Request) -> web.Response:
        if secret and request.headers.get("Authorization") != f"Basic {b64encode(secret.encode()).decode()}":
            return web.json_response({}, status=401)
        return web.json_response({"server": {"api": {"default_limit": limit, "port": 4200}, "ui": {}}, "home": "/x"})

    async def one(request: web.Request) -> web.Response:
        if secret and request.headers.get("Authorization") != f"Basic {b64encode(secret.encode()).decode()}":
            return web.json_response({}, status=401)
        if says_all:
            return web.Response(text=says_all)
        one = request.match_info["id"]
        return web.json_response({"id": one, "name": "x"}) if one in ids else web.json_response({}, status=404)

    async def count(request: web.Request) -> web.Response:
        return web.json_response(len(ids))

    app = web.Application()
    app.router.add_get("/api/admin/version", version)
    app.router.add_get("/api/admin/settings", settings)
    app.router.add_get("/api/deployments/{id}", one)
    app.router.add_post("/api/deployments/count", count)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


async def found(**settings: Any) -> Subject:
    [*_, upstream] = await glanced(Settings(**settings))
    return upstream


@pytest.fixture
async def empty(postgres_dsn: str) -> str:
    return await database(postgres_dsn, "same", SCHEMA.read_text())


@pytest.fixture
async def filled(empty: str) -> str:
    await seed(empty, deployments=5, flow_runs=10, task_runs=10, progress=False)
    return empty


async def ids(dsn: str) -> list[str]:
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch("SELECT id FROM deployment")
    await connection.close()
    return [str(row["id"]) for row in rows]


def marks(subject: Subject, text: str) -> list[str]:
    return [finding.mark for finding in subject.findings if text in finding.text]


async def test_a_server_on_this_database_knows_its_deployments(filled: str) -> None:
    async with prefect(*await ids(filled)) as url:
        assert marks(await found(postgres_dsn=filled, upstream=url), "knows its deployments") == ["ok"]


async def test_a_server_on_another_database_is_found_out(filled: str) -> None:
    async with prefect(str(uuid4())) as url:
        assert marks(await found(postgres_dsn=filled, upstream=url), "works on another") == ["FAILED"]


@pytest.mark.parametrize("said", ["<html>Welcome</html>", "{}", "[1]", '"x"', '{"id": "other"}'])
async def test_a_server_that_says_the_same_of_every_deployment_knows_none(filled: str, said: str) -> None:
    async with prefect(says_all=said) as url:
        subject = await found(postgres_dsn=filled, upstream=url)
    assert marks(subject, "knows its deployments") == []
    assert marks(subject, "not with that deployment") == ["FAILED"]


@pytest.mark.parametrize(("there", "here", "mark"), [(200, 200, "ok"), (77, 200, "warning"), (200, 77, "warning")])
async def test_pages_are_of_one_size_here_and_there_or_not(filled: str, there: int, here: int, mark: str) -> None:
    async with prefect(limit=there, secret=SECRET) as url:
        subject = await found(postgres_dsn=filled, upstream=url, default_limit=here, api_auth_string=SECRET)
    [finding] = [finding for finding in subject.findings if "rows" in finding.text]
    assert finding.mark == mark
    assert mark == "ok" or finding.next == f"CLASSIS_DEFAULT_LIMIT={there}"


async def test_an_empty_database_is_told_by_the_count(empty: str) -> None:
    async with prefect(str(uuid4())) as url:
        assert marks(await found(postgres_dsn=empty, upstream=url), "works on another") == ["FAILED"]
    async with prefect() as url:
        assert marks(await found(postgres_dsn=empty, upstream=url), "whether it is the one of") == ["note"]


async def test_who_is_not_let_in_says_nothing_of_it(filled: str) -> None:
    async with prefect(secret=SECRET) as url:
        subject = await found(postgres_dsn=filled, upstream=url, api_auth_string="admin:other")
    assert not marks(subject, "its deployments")
    assert not marks(subject, "rows")


async def test_a_server_that_is_away_or_speaks_no_tls(filled: str) -> None:
    subject = await found(postgres_dsn=filled, upstream=f"http://127.0.0.1:{free_port()}")
    [finding] = subject.findings
    assert finding.mark == "FAILED"
    assert "does not answer" in finding.text
    assert "Only searches work until it does" in finding.text
    assert "ssl:" not in finding.text
    async with prefect() as url:
        subject = await found(postgres_dsn=filled, upstream=url.replace("http:", "https:"))
    assert [(finding.mark, finding.next) for finding in subject.findings] == [("FAILED", f"CLASSIS_UPSTREAM={url}")]


async def test_a_role_that_may_read_nothing_is_told_what_it_lacks(filled: str) -> None:
    connection = await asyncpg.connect(filled)
    await connection.execute("DROP ROLE IF EXISTS nobody_yet")
    await connection.execute("CREATE ROLE nobody_yet LOGIN PASSWORD 'x'")
    place = urlsplit(filled)
    settings = Settings(postgres_dsn=place._replace(netloc=f"nobody_yet:x@{place.netloc.rpartition('@')[2]}").geturl())
    try:
        lines = "\n".join(report.troubles(await glanced(settings), 3))
        await connection.execute("GRANT pg_read_all_data TO nobody_yet")
        assert report.troubles(await glanced(settings), 3) == []
    finally:
        await connection.execute("DROP ROLE nobody_yet")
        await connection.close()
    assert "permission denied for table" in lines
    assert "GRANT pg_read_all_data TO nobody_yet" in lines
    assert lines.splitlines()[-1].endswith("more")
