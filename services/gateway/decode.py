"""Bytes to a search. One msgspec decode reads everything clients send; what it refuses goes the long way.

The short way is strict, so that whatever it accepts means the same to Prefect. Four things it would read differently
are recognised in the bytes and go the long way too: NUL escapes, more than six digits of a second's fraction, the two
days at which an offset can leave the calendar, and integers too long for Python.
"""

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from services.gateway import validation
from services.gateway.validation import Invalid, Undecodable
from shared.filters import Count

S = TypeVar("S", bound=Count)
T = TypeVar("T")

LARGE = 256 * 1024  # bytes, which take some 10 ms

_READ_DIFFERENTLY = re.compile(rb"\\u0000|[.,]\d{7}|0001-01-01|9999-12-31|(?<!\d)\d{4300}")


@dataclass(frozen=True)
class Unsettled(Generic[S]):
    """A document that the short way refused: parsed, not yet validated."""

    kind: type[S]
    document: Any


async def aside(size: int, work: Callable[..., T], *arguments: Any) -> T:
    """What reading a body of so many bytes gives or raises. A large one is read in a thread, between others' turns."""
    return await asyncio.to_thread(work, *arguments) if size >= LARGE else work(*arguments)


def read(kind: type[S], body: bytes, largest_limit: int) -> S | Unsettled[S]:
    """The search in a JSON body, or the document that is to be settled. An empty body asks with all defaults.

    Raises Invalid for a syntax error and Undecodable for what is no text.
    """
    if not body:
        return kind()
    if not _READ_DIFFERENTLY.search(body) and _is_utf8(body):
        try:
            found = msgspec.json.decode(body, type=kind)
        except (msgspec.MsgspecError, RecursionError):
            return Unsettled(kind, _parsed(body))
        if validation.in_range(found, largest_limit):
            return found
    return Unsettled(kind, _parsed(body))


def read_msgpack(kind: type[S], body: bytes) -> S | Unsettled[S]:
    """As `read`, from MessagePack, in which an id may also be 16 bytes and an instant a timestamp."""
    if not body:
        return kind()
    try:
        document = msgspec.msgpack.decode(body, ext_hook=_no_extension)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        raise Undecodable from None
    return Unsettled(kind, document)


def _no_extension(code: int, _: memoryview) -> Any:
    raise ValueError(f"no value of a search is an extension of type {code}")


def settled(found: S | Unsettled[S], largest_limit: int) -> S:
    """The search, validated. Raises Invalid or LimitOutOfRange."""
    if isinstance(found, Unsettled):
        return validation.search(found.kind, found.document, largest_limit)
    return found


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except json.JSONDecodeError as error:
        detail = {
            "type": "json_invalid",
            "loc": ["body", error.pos],
            "msg": "JSON decode error",
            "input": {},
            "ctx": {"error": error.msg},
        }
        raise Invalid([detail], error.doc) from None
    except (ValueError, RecursionError):
        raise Undecodable from None
