"""Rows that were printed, kept by the version of what they show (docs/decisions/0007-rows-are-kept-by-row-version.md).

A version starts with its deployment's id: of each deployment the latest is kept, and those unused longest go first.
"""

from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import NamedTuple

from shared.contract import KEY_SIZE, Row

AGE = 3600.0  # seconds; transaction ids come round after 2^32 transactions, and no server makes these in an hour
OVERHEAD = 512  # bytes that Python spends on an entry besides its contents


class Entry(NamedTuple):
    version: bytes
    row: Row
    since: float

    @property
    def size(self) -> int:
        return len(self.version) + len(self.row.row or b"") + OVERHEAD


class Kept:
    """At most `room` bytes of rows."""

    def __init__(self, room: int, clock: Callable[[], float] = monotonic) -> None:
        self._room = room
        self._clock = clock
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self.size = 0

    def get(self, version: bytes) -> Row | None:
        """The row of exactly this version."""
        entry = self._entries.get(version[:KEY_SIZE])
        if entry is None or entry.version != version or entry.since < self._clock() - AGE:
            return None
        self._entries.move_to_end(version[:KEY_SIZE])
        return entry.row

    def put(self, version: bytes, row: Row) -> None:
        entry = Entry(version, row, self._clock())
        if entry.size > self._room:
            return
        if replaced := self._entries.pop(version[:KEY_SIZE], None):
            self.size -= replaced.size
        self._entries[version[:KEY_SIZE]] = entry
        self.size += entry.size
        while self.size > self._room:
            self.size -= self._entries.popitem(last=False)[1].size
