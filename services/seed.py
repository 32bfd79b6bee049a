"""`classis seed`: loads demo data into Prefect's tables, all of it or nothing.

One transaction sets the indexes and foreign keys aside, copies the rows in and builds the indexes anew, which takes a
fraction of the time that keeping them up to date row by row would.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import TypeVar

import asyncpg
from tqdm import tqdm

from services.demo import Sizes, world

T = TypeVar("T")

UNTIL = datetime(2026, 6, 1, tzinfo=UTC)
TABLES = (
    "flow", "work_pool", "work_queue", "concurrency_limit_v2", "deployment", "deployment_schedule", "flow_run",
    "task_run",
)  # fmt: skip

INDEXES = """
    SELECT format('DROP INDEX %s', i.indexrelid::regclass), pg_get_indexdef(i.indexrelid)
      FROM pg_index i
     WHERE i.indrelid = ANY($1::text[]::regclass[])
       AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)
     ORDER BY array_position($1::text[], i.indrelid::regclass::text), i.indexrelid"""
FOREIGN_KEYS = """
    SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', k.conrelid::regclass, k.conname),
           format('ALTER TABLE %s ADD CONSTRAINT %I %s', k.conrelid::regclass, k.conname, pg_get_constraintdef(k.oid))
      FROM pg_constraint k
     WHERE k.conrelid = ANY($1::text[]::regclass[]) AND k.contype = 'f'
     ORDER BY k.oid"""


class SeedError(RuntimeError):
    """The data cannot be loaded; the message says what to do next."""


async def seed(
    dsn: str,
    *,
    deployments: int,
    flow_runs: int,
    task_runs: int,
    seed: int = 1,
    until: datetime = UNTIL,
    force: bool = False,
    progress: bool = True,
) -> None:
    """Load the rows that follow from the seed, the sizes and `until`; with `force` in place of what is there."""
    bars = progress and sys.stderr.isatty()
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await _make_room(connection, force=force)
            async with _set_aside(connection, bars=bars):
                for table in world(seed, Sizes(deployments, flow_runs, task_runs), until):
                    rows = _shown(table.rows, table.name, table.count, bars=bars)
                    await connection.copy_records_to_table(table.name, records=rows, columns=table.columns)
                    if progress and not bars:
                        _say(f"{table.name}: {table.count:,} rows")
        await connection.execute(f"VACUUM (ANALYZE) {', '.join(TABLES)}")
    finally:
        await connection.close()


async def _make_room(connection: asyncpg.Connection, *, force: bool) -> None:
    """See that the tables are there and empty. Emptying them in the transaction of the COPY spares writing a log."""
    missing = [name for name in TABLES if await connection.fetchval("SELECT to_regclass($1) IS NULL", name)]
    if missing:
        raise SeedError(f"the database lacks the tables {', '.join(missing)}: apply deploy/schema.sql to it first")
    if force:
        await connection.execute(f"TRUNCATE {', '.join(TABLES)} CASCADE")
        return
    full = [name for name in TABLES if await connection.fetchval(f"SELECT EXISTS (SELECT FROM {name})")]  # noqa: S608
    if full:
        raise SeedError(
            f"there are rows in {', '.join(full)}: name an empty database, or lose them with --dsn and --force"
        )
    with suppress(asyncpg.FeatureNotSupportedError):  # a table outside of ours refers to one of them
        async with connection.transaction():
            await connection.execute(f"TRUNCATE {', '.join(TABLES)}")


@asynccontextmanager
async def _set_aside(connection: asyncpg.Connection, *, bars: bool) -> AsyncIterator[None]:
    """Drop the indexes that belong to no constraint, and the foreign keys; make them anew in the end."""
    indexes = await connection.fetch(INDEXES, TABLES)
    keys = await connection.fetch(FOREIGN_KEYS, TABLES)
    for drop, _ in [*keys, *indexes]:
        await connection.execute(drop)
    yield
    await connection.execute("SET LOCAL maintenance_work_mem = '256MB'")
    for _, make in _shown([*indexes, *keys], "indexes", len(indexes) + len(keys), bars=bars):
        await connection.execute(make)


def _shown(items: Iterable[T], what: str, count: int, *, bars: bool) -> Iterable[T]:
    return tqdm(items, f"{what:20}", count, disable=not bars, unit="", unit_scale=True, dynamic_ncols=True)


# The command


def arguments(parser: argparse.ArgumentParser) -> None:
    """What `classis seed` takes."""
    parser.formatter_class = argparse.HelpFormatter  # it fills lines
    parser.description = (
        "Load demo data into the tables of a Prefect database: flows, work pools and queues, deployments with "
        "schedules and limits, flow runs and task runs. The same seed, sizes and --until make the same rows. The "
        "tables must exist and be empty. Everything or nothing is loaded."
    )
    parser.epilog = (
        "For measurements: --deployments 10000 --flow-runs 1000000 --task-runs 3000000 takes a few minutes and 3 GB. "
        "Names hold %, _, quotes, backslashes and non-ASCII letters; the flow runs named needle-00... and the tags "
        "rare-... are few, so that a search can be selective."
    )
    add = parser.add_argument
    add("--dsn", help="the database (default: CLASSIS_POSTGRES_DSN, unless there is --force)")
    sizes(parser, Sizes(1_000, 30_000, 90_000))
    add("--seed", type=int, default=1, metavar="N", help="another number makes other rows (default: %(default)s)")
    add("--until", type=_moment, default=UNTIL, metavar="TIME", help="the newest runs' time (default: %(default)s)")
    text = "empty the tables of --dsn first, with all that refers to them; there is no undo"
    add("--force", action="store_true", help=text)


def sizes(parser: argparse.ArgumentParser, default: Sizes) -> None:
    """The options that say how much data to make."""
    for name, value in vars(default).items():
        what = f"how many {name.replace('_', ' ')} (default: %(default)s)"
        parser.add_argument(f"--{name.replace('_', '-')}", type=_count, default=value, metavar="N", help=what)


def main(args: argparse.Namespace) -> int:
    """Load the data; gives the exit code."""
    if args.force and not args.dsn:  # the variable may name what the services read
        _say("classis seed: --force empties a database: name it with --dsn, CLASSIS_POSTGRES_DSN does not count here")
        return 2
    if not (dsn := args.dsn or os.environ.get("CLASSIS_POSTGRES_DSN")):
        _say("classis seed: name a database with --dsn or CLASSIS_POSTGRES_DSN")
        return 2
    numbers = {name: getattr(args, name) for name in ("deployments", "flow_runs", "task_runs", "seed")}
    try:
        asyncio.run(seed(dsn, **numbers, until=args.until, force=args.force))
    except (SeedError, OSError, asyncpg.PostgresError) as error:
        _say(f"classis seed: {error}")
        return 1
    return 0


def _count(text: str) -> int:
    if (number := int(text)) < 0:
        raise ValueError(text)
    return number


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 — a command talks to its user
