"""A service that reads a database: ready once it has read it, trying until then, and never asked for it again."""

import asyncio
import json
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from typing import Any

import pytest
from prometheus_client import REGISTRY

from services.doctor.places import SERVICES
from shared import bus, entity, errors, readiness
from shared.contract import READY, RUNS, Readiness, RunLeg
from shared.filters import FlowRunFilter
from shared.settings import Settings
from tests.conftest import SCHEMA
from tests.doors import WITHIN
from tests.fleet import free_port, select_for_a_moment
from tests.integration.test_doctor import PASSWORDS_OF_ROLES, ROLES, as_role, as_roles, told
from tests.integration.test_monitoring import answered, classis, until
from tests.integration.test_roles import READS
from tests.relay import relay
from tests.servers import database

NOWHERE = "postgresql://nobody:s3cret@127.0.0.1:1/none"
TROUBLE = "cannot read its database"


@pytest.fixture(scope="module")
async def made(postgres_dsn: str) -> str:
    """An empty database with the roles of deploy/readonly.sql."""
    found = await database(postgres_dsn, "first_read", SCHEMA.read_text())
    await told(found, ROLES, *PASSWORDS_OF_ROLES)
    return found


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(entity, "AGAIN", 0.01)
    caplog.set_level(logging.INFO)


def running(service: str, **settings: Any) -> AbstractAsyncContextManager[None]:
    made: Callable[[Settings], AbstractAsyncContextManager[None]] = import_module(f"services.{service}").running
    return made(Settings(**settings))


async def comes(holds: Callable[[], bool]) -> None:
    """Returns as soon as it holds."""
    async with asyncio.timeout(WITHIN):
        while not holds():  # noqa: ASYNC110 — what it asks for sets no event
            await asyncio.sleep(0)


@asynccontextmanager
async def asking(nats_url: str) -> AsyncIterator[Callable[[str], Awaitable[Any]]]:
    """What asks a service whether it and its database answer."""
    async with bus.connect(Settings(nats_url=nats_url), "gateway") as line:
        await line.up(WITHIN)
        yield lambda service: line.call(READY[service], Readiness(), 3)


def uses(outcome: str) -> float:
    return REGISTRY.get_sample_value("classis_query_seconds_count", {"outcome": outcome}) or 0.0


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [line.getMessage() for line in caplog.records if TROUBLE in line.getMessage()]


@pytest.mark.parametrize("service", SERVICES)
async def test_a_missing_right_shows_at_the_start(
    made: str, nats_url: str, service: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Of any table; and when it is given, the service is ready without being started anew."""
    for table in sorted(READS[service]):
        caplog.clear()
        await told(made, f"REVOKE SELECT ON {table} FROM classis_{service}")
        async with running(service, nats_url=nats_url, **as_roles(made)), asking(nats_url) as asked:
            await comes(lambda: bool(warnings(caplog)))
            await comes(lambda: readiness.missing() == [f"database for {service}"])
            with pytest.raises(errors.DatabaseDown):  # at once: it answers on NATS
                await asked(service)
            await told(made, f"GRANT SELECT ON {table} TO classis_{service}")
            await comes(lambda: readiness.missing() == [])
            await asked(service)
        [warning] = warnings(caplog)
        assert warning.endswith(f"InsufficientPrivilegeError: permission denied for table {table}")
        assert f"{service} reads its database" in caplog.messages


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"flows_postgres_dsn": NOWHERE}, "CLASSIS_FLOWS_POSTGRES_DSN"),
        ({"postgres_dsn": NOWHERE}, "CLASSIS_POSTGRES_DSN"),
        (
            {"postgres_dsn": NOWHERE, "primary_postgres_dsn": NOWHERE.replace("none", "other")},
            "CLASSIS_POSTGRES_DSN or CLASSIS_PRIMARY_POSTGRES_DSN",
        ),
    ],
)
async def test_trouble_is_told_once_with_the_setting_and_without_a_password(
    nats_url: str, settings: dict[str, str], names: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = uses("DatabaseDown")
    async with running("flows", nats_url=nats_url, **settings):
        await comes(lambda: uses("DatabaseDown") > before + 3)
        assert "database for flows" in readiness.missing()
    [warning] = warnings(caplog)
    assert warning.startswith(f"flows {TROUBLE} ({names}): ConnectionRefusedError")
    assert "s3cret" not in caplog.text


async def test_another_kind_of_trouble_is_told_too(made: str, nats_url: str, caplog: pytest.LogCaptureFixture) -> None:
    with relay(made) as line:
        line.cut()
        async with running("flows", nats_url=nats_url, flows_postgres_dsn=as_role(line.url, "nobody_there")):
            await comes(lambda: len(warnings(caplog)) == 1)
            line.mend()
            await comes(lambda: len(warnings(caplog)) == 2)
    refused, unknown = warnings(caplog)
    assert "ConnectionRefusedError" in refused
    assert "nobody_there" in unknown


async def test_a_search_that_is_answered_counts(made: str, nats_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A right that one kind of search alone needs."""
    monkeypatch.setattr(entity, "AGAIN", 3600)
    await told(made, "REVOKE SELECT ON task_run FROM classis_runs")
    try:
        async with (
            running("runs", nats_url=nats_url, **as_roles(made)),
            bus.connect(Settings(nats_url=nats_url), "gateway") as line,
        ):
            await line.up(WITHIN)
            await comes(lambda: readiness.missing() == ["database for runs"])
            await line.call(RUNS, RunLeg(flow_runs=FlowRunFilter(), count=True), 3)
            assert readiness.missing() == []
    finally:
        await told(made, "GRANT SELECT ON task_run TO classis_runs")


@pytest.mark.parametrize("service", SERVICES)
async def test_an_outage_takes_nobody_out(made: str, nats_url: str, service: str) -> None:
    with relay(made) as database_line:
        own = {f"{service}_postgres_dsn": database_line.url}
        async with running(service, nats_url=nats_url, **own), asking(nats_url) as asked:
            await comes(lambda: readiness.missing() == [])
            database_line.cut()
            for _ in range(3):
                with pytest.raises(errors.DatabaseDown):
                    await asked(service)
                assert readiness.missing() == []


@pytest.mark.parametrize("service", SERVICES)
async def test_whoever_tries_leaves_at_once_and_nothing_stays_behind(
    made: str, nats_url: str, service: str, caplog: pytest.LogCaptureFixture
) -> None:
    """While it hangs in the database's silence."""
    before = asyncio.all_tasks()
    with relay(made) as line:
        line.silence()
        async with asyncio.timeout(4):
            async with running(service, nats_url=nats_url, **{f"{service}_postgres_dsn": line.url}):
                await comes(lambda: readiness.missing() == [f"database for {service}"])
    assert asyncio.all_tasks() == before
    assert readiness.missing() == []
    assert [line for line in caplog.records if line.levelno > logging.WARNING] == []


async def test_a_mistake_beside_a_service_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def mistaken() -> None:
        raise ValueError("a mistake")

    async with entity.beside(mistaken()):
        await comes(lambda: "by a mistake of ours" in caplog.text)


def test_a_process_with_a_wrong_password_is_not_ready_until_it_is_right(made: str, nats_url: str) -> None:
    number = free_port()
    own = {"flows_postgres_dsn": as_role(made, "classis_flows").replace("only", "0nly"), "nats_url": nats_url}
    with classis("flows", metrics_port=str(number), **own) as process:
        assert process.stderr
        said = until(process, "connected to NATS")
        while not any(TROUBLE in line["event"] for line in said):  # which of both comes first is open
            said.append(json.loads(next(process.stderr)))
        assert answered(number, "ready") == (503, "Not ready: database for flows\n")
        assert answered(number, "health") == (200, "OK\n")
        asyncio.run(told(made, PASSWORDS_OF_ROLES[0].replace("only", "0nly")))
        while answered(number, "ready") != (200, "OK\n"):
            select_for_a_moment()
        asyncio.run(told(made, PASSWORDS_OF_ROLES[0]))
        process.send_signal(signal.SIGTERM)
        said += until(process, "stopping")
        assert process.wait(10) == 0
    [warning] = [line["event"] for line in said if line["level"] == "warning"]
    assert warning.startswith(f"flows {TROUBLE} (CLASSIS_FLOWS_POSTGRES_DSN): InvalidPasswordError: ")
    assert "0nly" not in json.dumps(said)
