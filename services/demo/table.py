"""What demo data is made of: a table's rows, and ids and times that never repeat."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

Row = tuple[object, ...]

_VERSION_AND_VARIANT = (0xF << 76) | (0x3 << 62)
_RANDOM_UUID = (0x4 << 76) | (0x2 << 62)


@dataclass(frozen=True)
class Table:
    """The rows for one table, made while they are read, so read them once."""

    name: str
    columns: tuple[str, ...]
    count: int
    rows: Iterator[Row]


class Ids:
    """An endless list of random-looking UUIDs: any of them is known without making those before."""

    def __init__(self, rng: random.Random) -> None:
        self._start, self._step = rng.getrandbits(128), rng.getrandbits(128) | 1

    def __getitem__(self, index: int) -> str:
        bits = self._start + self._step * index & (1 << 128) - 1
        return f"{bits & ~_VERSION_AND_VARIANT | _RANDOM_UUID:032x}"


class Moments:
    """Times before an end, none of them twice."""

    def __init__(self, rng: random.Random, end: datetime) -> None:
        self._rng, self._end, self._given = rng, end, set[datetime]()

    def between(self, oldest: timedelta, newest: timedelta = timedelta()) -> datetime:
        """A moment between two ages at the end."""
        while True:
            age = timedelta(microseconds=self._rng.randrange(newest // _MICROSECOND, oldest // _MICROSECOND + 1))
            if (moment := self._end - age) not in self._given:
                self._given.add(moment)
                return moment


_MICROSECOND = timedelta(microseconds=1)


def generator(seed: int, purpose: str) -> random.Random:
    """Its own for each purpose, so that one more draw for one thing does not shift all others."""
    return random.Random(f"{seed}:{purpose}")  # noqa: S311 — to repeat itself is what it is for


def encoded(value: object) -> str:
    """A value for a jsonb column."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def dashed(identifier: str) -> str:
    """An id as it stands in texts."""
    return "-".join([identifier[:8], identifier[8:12], identifier[12:16], identifier[16:20], identifier[20:]])
