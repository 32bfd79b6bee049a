"""Payloads larger than a NATS message: offered by the sender, fetched in parts by the receiver. Pure.

A message that does not fit travels empty, with a header that says how many bytes there are, how many a part has, and on
which subject the parts are to be fetched. The receiver asks for a few at a time, so nobody's connection is flooded; an
empty message there says that it needs no more.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from shared.errors import Busy, Malformed

HEADER = "Classis-Parts"
SUBJECT = "classis.v1.parts"
SMALLEST = 1024  # bytes of a part: many small ones would cost more memory than they carry
LARGEST = 1024**3  # bytes of one payload, and of all payloads that one process has on offer
ROOM = 256 * 1024 * 1024  # bytes of others' payloads that one process holds
_FORM = re.compile(rf"(\d{{1,10}}) (\d{{1,10}}) ({re.escape(SUBJECT)}\.[a-z_]+\.[A-Za-z0-9]+\.[A-Za-z0-9]+)", re.ASCII)


class Offer(NamedTuple):
    """What the header tells: bytes in all, bytes of a part, and where to fetch them."""

    total: int
    size: int
    subject: str

    @property
    def number(self) -> int:
        """How many parts there are."""
        return -(-self.total // self.size)

    @property
    def replica(self) -> str:
        """The id of the replica that offers it."""
        return self.subject.split(".")[-2]

    def header(self) -> str:
        return f"{self.total} {self.size} {self.subject}"


def read(header: str, largest: int) -> Offer:
    """The offer in a header. Raises Malformed for what is none, or is larger than we take."""
    found = _FORM.fullmatch(header)
    if not found or not int(found[1]) or not int(found[2]):
        raise Malformed("this is no offer of parts")
    if int(found[2]) < min(SMALLEST, int(found[1])):
        raise Malformed(f"parts of {found[2]} bytes are too small")
    if int(found[1]) > largest:
        raise Malformed(f"a payload of {found[1]} bytes is more than the {largest} that are taken")
    return Offer(int(found[1]), int(found[2]), found[3])


class Offers:
    """The payloads of one process that wait to be fetched, each until it is withdrawn."""

    def __init__(self) -> None:
        self._payloads: dict[str, tuple[bytes, int]] = {}
        self.bytes = 0

    def add(self, token: str, payload: bytes, size: int) -> None:
        """Offers a payload in parts of `size` bytes. Raises Busy when too much is on offer already."""
        if self.bytes + len(payload) > LARGEST:
            raise Busy(f"{self.bytes} bytes are on offer already")
        self._payloads[token] = payload, size
        self.bytes += len(payload)

    def part(self, token: str, index: int) -> bytes | None:
        """One part, or None when there is no such part on offer."""
        payload, size = self._payloads.get(token, (b"", 0))
        return payload[index * size : (index + 1) * size] if 0 <= index * size < len(payload) else None

    def withdraw(self, token: str) -> None:
        """Ends an offer; of one that has ended, nothing more."""
        payload, _ = self._payloads.pop(token, (b"", 0))
        self.bytes -= len(payload)


class Room:
    """What one process takes in of others' offers: so many bytes, and one payload however large."""

    def __init__(self) -> None:
        self._held = 0

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Counts so many bytes while the block runs. Raises Busy when there is no room."""
        if self._held and self._held + size > ROOM:
            raise Busy(f"{self._held} bytes of large payloads are held already")
        self._held += size
        try:
            yield
        finally:
            self._held -= size
