"""Indexes: what each one of deploy/indexes.sql gains, and what it weighs.

A line of comment stands over each statement there, and names the shapes that the index is for. Each index is made,
measured and dropped by itself, after the same shapes were measured without it.
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from bench import agreement, latency
from bench.contenders import Ground, started
from bench.database import ROOT
from bench.floor import Choices
from bench.results import Gain, Samples
from bench.shapes import Shape, chosen

FILE = ROOT / "deploy" / "indexes.sql"
_ENTRY = re.compile(r"^--[^\n]*\(shapes ([\d, ]+)\)[^\n]*\n(CREATE INDEX[^;]+);", re.MULTILINE)
_NAME = re.compile(r"CREATE INDEX (?:CONCURRENTLY )?(?:IF NOT EXISTS )?(\w+)")
Tried = Callable[[Ground, list[Shape]], Choices]


@dataclass(frozen=True)
class Index:
    statement: str
    shapes: list[Shape]

    @property
    def name(self) -> str:
        found = _NAME.match(self.statement)
        assert found, self.statement
        return found[1]


def recommended(file: Path = FILE) -> list[Index]:
    """The indexes of the file, with the shapes that their comments name."""
    return [
        Index(" ".join(statement.split()), chosen(numbers.replace(" ", "").split(",")))
        for numbers, statement in _ENTRY.findall(file.read_text())
    ]


def measured(ground: Ground, contenders: list[str], rounds: int, tried: Tried) -> list[Gain]:
    """All indexes, one by one. The database must be the benchmark's own."""
    wanted = recommended()
    for index in wanted:  # of a run that was cut short
        asyncio.run(_run(ground.dsn, f"DROP INDEX IF EXISTS {index.name}"))
    return [_gain(ground, index, contenders, rounds, tried) for index in wanted]


def _gain(ground: Ground, index: Index, contenders: list[str], rounds: int, tried: Tried) -> Gain:
    print(f"\n{index.statement}", flush=True)
    before = _timed(ground, index.shapes, contenders, rounds, tried)
    with _made(ground.dsn, index) as (seconds, size):
        after = _timed(ground, index.shapes, contenders, rounds, tried)
    return Gain(statement=index.statement, built_in=seconds, size=size, before=before, after=after)


def _timed(ground: Ground, shapes: list[Shape], contenders: list[str], rounds: int, tried: Tried) -> dict[str, Samples]:
    """With a fleet that starts anew, so that it remembers nothing, and a floor that chooses anew."""
    choices = tried(ground, shapes) if "floor" in contenders else {}
    with started(contenders, ground) as running, latency.asking(running, ground.dsn, choices) as asks:
        return latency.timed(asks, shapes, rounds, agreement.checked(asks, shapes))


@contextmanager
def _made(dsn: str, index: Index) -> Iterator[tuple[float, str]]:
    """The index for the length of the block; gives how long it took to make, and its size."""
    start = time.perf_counter()
    asyncio.run(_run(dsn, index.statement))
    seconds = time.perf_counter() - start
    try:
        table = re.search(r" ON (\w+)", index.statement)
        assert table, index.statement
        asyncio.run(_run(dsn, f"VACUUM (ANALYZE) {table[1]}"))
        yield seconds, asyncio.run(_run(dsn, f"SELECT pg_size_pretty(pg_relation_size('{index.name}'))"))
    finally:
        asyncio.run(_run(dsn, f"DROP INDEX IF EXISTS {index.name}"))


async def _run(dsn: str, statement: str) -> str:
    connection = await asyncpg.connect(dsn)
    try:
        return str(await connection.fetchval(statement))
    finally:
        await connection.close()
