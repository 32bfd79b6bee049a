"""One PostgreSQL with two databases that Prefect's migrations made, and on each of them the real server and ours."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from services import embedded
from services.seed import seed
from tests import fleet
from tests.conformance import oracle
from tests.relay import Relay, relay

FIXTURE = Path(__file__).parent / "fixture.sql"


def pytest_collection_finish(session: pytest.Session) -> None:
    """The oracle is installed before the first test starts its clock, and not under a test's capture."""
    wanted = any(Path(__file__).parent in item.path.parents for item in session.items)
    if wanted and not session.config.option.collectonly:
        with session.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            oracle.oracle_prefix()


async def _run(dsn: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def _database(dsn: str, name: str) -> str:
    """The address of another database of the same cluster."""
    head, query, options = dsn.partition("?")
    return f"{head.rpartition('/')[0]}/{name}{query}{options}"


@pytest.fixture(scope="session")
def prefect_cluster(session_home: Path) -> Iterator[str]:
    """A cluster of its own, with a database `migrated` that has Prefect's schema and no rows."""
    home = session_home / "conformance"
    home.mkdir(mode=0o711)
    with embedded.postgres(home, durable=False) as dsn:
        asyncio.run(_run(dsn, "CREATE DATABASE migrated"))
        oracle.migrate(_database(dsn, "migrated"), home / "migrating")
        yield dsn


def _copy(cluster: str, name: str) -> str:
    asyncio.run(_run(cluster, f"CREATE DATABASE {name} TEMPLATE migrated"))
    return _database(cluster, name)


@pytest.fixture(scope="session")
def fixture_line(prefect_cluster: str) -> Iterator[Relay]:
    """The line to the database of the cases; a test may cut it."""
    dsn = _copy(prefect_cluster, "cases")
    asyncio.run(_run(dsn, FIXTURE.read_text()))
    with relay(dsn) as line:
        yield line


@pytest.fixture(scope="session")
def seeded_dsn(prefect_cluster: str) -> str:
    dsn = _copy(prefect_cluster, "seeded")
    asyncio.run(seed(dsn, deployments=300, flow_runs=3_000, task_runs=9_000, progress=False))
    return dsn


@contextmanager
def _ours(dsn: str, home: Path) -> Iterator[str]:
    """The fleet on that database; with CLASSIS_TEST_FLEET_URL=oracle another oracle, to try the tests themselves."""
    if os.environ.get("CLASSIS_TEST_FLEET_URL") == "oracle":
        with oracle.serve(dsn, home) as url:
            yield url
        return
    home.mkdir(mode=0o711)
    with embedded.nats(home) as nats_url, fleet.running(dsn, nats_url) as running:
        yield running.url


@pytest.fixture(scope="session")
def oracle_on_fixture(fixture_line: Relay, session_home: Path) -> Iterator[str]:
    with oracle.serve(fixture_line.url, session_home / "oracle-cases") as url:
        yield url


@pytest.fixture(scope="session")
def fleet_on_fixture(fixture_line: Relay, session_home: Path) -> Iterator[str]:
    with _ours(fixture_line.url, session_home / "fleet-cases") as url:
        yield url


@pytest.fixture(scope="session")
def oracle_on_seeded(seeded_dsn: str, session_home: Path) -> Iterator[str]:
    with oracle.serve(seeded_dsn, session_home / "oracle-seeded") as url:
        yield url


@pytest.fixture(scope="session")
def fleet_on_seeded(seeded_dsn: str, session_home: Path) -> Iterator[str]:
    with _ours(seeded_dsn, session_home / "fleet-seeded") as url:
        yield url
