"""The data: for each size a PostgreSQL cluster of our own, with Prefect's schema, kept between runs; or a given one."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import psutil

from services import embedded
from services.demo import Sizes
from services.seed import seed
from tests.conformance import oracle

ROOT = Path(__file__).parents[1]
HOME = "CLASSIS_BENCH_HOME"
SIZES = {
    "tiny": Sizes(10_000, 20_000, 60_000),  # for trying the benchmark itself
    "small": Sizes(10_000, 100_000, 300_000),
    "medium": Sizes(10_000, 1_000_000, 3_000_000),
    "large": Sizes(10_000, 10_000_000, 30_000_000),
}
SEEDING = {"tiny": "seconds", "small": "half a minute", "medium": "four minutes, 3 GB", "large": "an hour, 30 GB"}
SHOWN = (
    "shared_buffers", "effective_cache_size", "work_mem", "random_page_cost", "jit", "max_parallel_workers_per_gather",
    "max_connections", "fsync", "autovacuum",
)  # fmt: skip


def bench_home() -> Path:
    """Where the clusters lie."""
    return Path(os.environ.get(HOME) or ROOT / ".bench").absolute()


def server_settings() -> dict[str, str]:
    """What a database administrator sets on a machine of this memory."""
    memory = psutil.virtual_memory().total >> 20
    return {"shared_buffers": f"{memory // 4}MB", "effective_cache_size": f"{memory // 2}MB"}


@contextmanager
def served(size: str) -> Iterator[str]:
    """A running PostgreSQL with the data of that size, loaded at the first time; gives its DSN."""
    home = bench_home() / size
    with embedded.postgres(home, durable=False, settings=server_settings()) as dsn:
        if not asyncio.run(_loaded(dsn)):
            numbers = vars(SIZES[size])
            said = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in numbers.items())
            print(f"loading {said}: {SEEDING[size]}, once", flush=True)
            oracle.migrate(dsn, home / "prefect")
            asyncio.run(seed(dsn, **numbers))
        yield dsn


async def _loaded(dsn: str) -> bool:
    connection = await asyncpg.connect(dsn)
    try:
        there = await connection.fetchval("SELECT to_regclass('flow_run') IS NOT NULL")
        return bool(there and await connection.fetchval("SELECT EXISTS (SELECT FROM deployment)"))
    finally:
        await connection.close()


async def facts(dsn: str) -> dict[str, str]:
    """The server's version, settings and sizes, for whoever reads the results."""
    connection = await asyncpg.connect(dsn)
    try:
        told = {"version": str(await connection.fetchval("SHOW server_version"))}
        told |= {name: str(await connection.fetchval(f"SHOW {name}")) for name in SHOWN}
        for table in ("deployment", "flow_run", "task_run"):
            told[f"rows of {table}"] = f"{await connection.fetchval(f'SELECT count(*) FROM {table}'):,}"
        size = await connection.fetchval("SELECT pg_database_size(current_database())")
        return told | {"database": f"{size / 1e9:.1f} GB"}
    finally:
        await connection.close()


async def postmaster(dsn: str) -> int | None:
    """The server's first process, when it runs on this machine."""
    connection = await asyncpg.connect(dsn)
    try:
        backend = psutil.Process(await connection.fetchval("SELECT pg_backend_pid()"))
        return backend.ppid() if "postgres" in backend.name() else None
    except psutil.NoSuchProcess:
        return None
    finally:
        await connection.close()
