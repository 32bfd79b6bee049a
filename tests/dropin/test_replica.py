"""What is written through the gateway is found by the next search through it, with a fleet that reads a replica."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from services import embedded
from tests import fleet
from tests.conftest import folder
from tests.dropin.stack import Stack
from tests.replica import replica


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with folder() as made:
        yield made


@pytest.fixture(scope="module")
def stopped(home: Path, prefect_dsn: str) -> Iterator[str]:
    """A replica that replays nothing more."""
    with replica(prefect_dsn, home) as dsn:
        asyncio.run(_stop_replay(dsn))
        yield dsn


async def _stop_replay(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("SELECT pg_wal_replay_pause()")
    while await connection.fetchval("SELECT pg_get_wal_replay_pause_state()") != "paused":
        pass
    await connection.close()


@contextmanager
def _reading(home: Path, replica_dsn: str, running: Stack, primary: str) -> Iterator[Stack]:
    """Another fleet before the same server."""
    logs = home / f"logs-{bool(primary)}"
    logs.mkdir()
    with (
        embedded.nats(home) as nats_url,
        fleet.running(
            replica_dsn,
            nats_url,
            one_process=True,
            logs=logs,
            upstream=running.server,
            primary_postgres_dsn=primary,
        ) as made,
    ):
        yield Stack(made.url, made.monitors["all"], running.server, running.prefect)


def _found(gateway: Stack, name: str) -> list[bool]:
    """For each deployment of this name, whether it is paused."""
    return [row["paused"] for row in gateway.search(deployments={"name": {"any_": [name]}})]


def test_what_was_written_is_found(home: Path, stopped: str, prefect_dsn: str, running: Stack) -> None:
    with _reading(home, stopped, running, prefect_dsn) as gateway:
        flow = gateway.ask("POST", "/api/flows/", {"name": "of the replica"})
        made = gateway.ask("POST", "/api/deployments/", {"name": "just written", "flow_id": flow["id"]})
        assert _found(gateway, "just written") == [False]
        gateway.ask("PATCH", f"/api/deployments/{made['id']}", {"paused": True})
        assert _found(gateway, "just written") == [True]
        assert gateway.get("/api/deployments/name/of%20the%20replica/just%20written")["paused"]
        gateway.ask("DELETE", f"/api/deployments/{made['id']}")
        assert _found(gateway, "just written") == []


def test_without_the_primary_it_would_not_be(home: Path, stopped: str, running: Stack) -> None:
    with _reading(home, stopped, running, "") as gateway:
        flow = gateway.ask("POST", "/api/flows/", {"name": "of the replica too"})
        gateway.ask("POST", "/api/deployments/", {"name": "written as well", "flow_id": flow["id"]})
        assert _found(gateway, "written as well") == []
        assert _found(running, "written as well") == [False]
