"""Real servers for the tests: a folder for a test's own ones, and a PostgreSQL and a NATS for the whole session."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from services import embedded

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


@pytest.fixture(scope="session")
def postgres_dsn(session_home: Path) -> Iterator[str]:
    with embedded.postgres(session_home, durable=False) as dsn:
        asyncio.run(_execute(dsn, SCHEMA.read_text()))
        yield dsn


async def _execute(dsn: str, statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(statements)
    await connection.close()


@pytest.fixture(scope="session")
def nats_url(session_home: Path) -> Iterator[str]:
    with embedded.nats(session_home) as url:
        yield url
