"""The requests that are replayed: recorded by a gateway, one JSON line each, or made by chance."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from services.compare.generate import Generator

READS = re.compile(r"POST /api/deployments/(filter|paginate|count)|GET /api/deployments/[^?#\s]+")
SHOWN = 2000  # bytes of a body


class Request(NamedTuple):
    method: str
    path: str
    body: bytes | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path} {(self.body or b'')[:SHOWN].decode(errors='backslashreplace')}".rstrip()


class Line(msgspec.Struct):
    """A recorded request. A body that is a text was no JSON, or a text in it, and is sent as it stands."""

    method: str
    path: str
    body: msgspec.Raw = msgspec.Raw(b"null")


def recorded(lines: Iterable[bytes]) -> Iterator[Request | None]:
    """What the lines hold; None for each that is no request for deployments, for nothing else is ever sent."""
    for line in lines:
        try:
            found = msgspec.json.decode(line, type=Line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            yield None
            continue
        known = READS.fullmatch(f"{found.method} {found.path}")
        yield Request(found.method, found.path, _body(found)) if known else None


def _body(line: Line) -> bytes | None:
    text = bytes(line.body)
    if line.method == "GET":
        return None
    if text == b"null":
        return b""
    return str(json.loads(text)).encode() if text.startswith(b'"') else text


def generated(generator: Generator, count: int) -> Iterator[Request]:
    for number in range(count):
        path, body = generator.search(generator.chance(number))
        yield Request("POST", path, printed(body))


def printed(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()
