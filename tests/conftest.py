"""Real servers for the tests: a folder for a test's own ones, and a PostgreSQL and a NATS for the whole session."""

import asyncio
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from tests import servers

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as for what a shell runs in the background; it is inherited
    signal.signal(signal.SIGINT, signal.default_int_handler)

SCHEMA = Path(__file__).parents[1] / "deploy" / "schema.sql"


@contextmanager
def folder() -> Iterator[Path]:
    """A folder that the unprivileged user of the servers can pass through when root runs the tests."""
    made = Path(tempfile.mkdtemp(prefix="classis-"))
    made.chmod(0o711)
    try:
        yield made
    finally:
        shutil.rmtree(made)


@pytest.fixture
def home() -> Iterator[Path]:
    with folder() as made:
        yield made


@pytest.fixture(scope="session")
def session_home() -> Iterator[Path]:
    with folder() as made:
        yield made


@pytest.fixture(scope="session", params=servers.KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Every test that asks for a server through these fixtures runs on each kind of server."""
    return str(request.param)


@pytest.fixture(scope="session")
def postgres_dsn(kind: str, session_home: Path) -> Iterator[str]:
    with servers.postgres(kind, session_home) as dsn:
        asyncio.run(_execute(dsn, SCHEMA.read_text()))
        yield dsn


async def _execute(dsn: str, statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(statements)
    await connection.close()


@pytest.fixture
def nats_url(kind: str, home: Path) -> Iterator[str]:
    """A NATS of the test's own: on a shared one, queue groups would steal each other's messages."""
    with servers.nats(kind, home) as url:
        yield url
