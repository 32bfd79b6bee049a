"""The words in which cases are written: a case, the ids of the fixture, and short ways to say a request."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.conformance.compare import Mode
from tests.conformance.wire import JSON_TYPE, Request

API = "/api/deployments"
FILTER, PAGE, COUNT = f"{API}/filter", f"{API}/paginate", f"{API}/count"
SEARCHES = (FILTER, PAGE, COUNT)


@dataclass(frozen=True)
class Case:
    name: str
    request: Request
    compare: Mode = "rows"


def _id(kind: str, number: int) -> str:
    return f"00000{kind}-0000-4000-8000-{number:012}"


def flow(number: int) -> str:
    return _id("f10", number)


def run(number: int) -> str:
    return _id("f12", number)


def task(number: int) -> str:
    return _id("7a5", number)


def dep(number: int) -> str:
    return _id("de9", number)


def queue(number: int) -> str:
    return _id("c0e", number)


def pool(number: int) -> str:
    return _id("b00", number)


AUTHOR = _id("aaa", 1)


# A further keyword of these is a header, `_` standing for `-`.


def ask(name: str, body: object, path: str = FILTER, compare: Mode = "rows", **more: str) -> Case:
    """A search with a JSON body."""
    return sent(name, json.dumps(body, ensure_ascii=False).encode(), path, compare, **more)


def sent(name: str, body: bytes | None, path: str = FILTER, compare: Mode = "rows", **more: str) -> Case:
    """A search whose body is sent as it stands, and called JSON."""
    return Case(name, Request("POST", path, body, JSON_TYPE | _headers(more)), compare)


def raw(name: str, body: bytes | None, path: str = FILTER, compare: Mode = "rows", **more: str) -> Case:
    """A search whose body is sent as it stands, and called whatever the headers say."""
    return Case(name, Request("POST", path, body, _headers(more)), compare)


def plain(
    name: str, method: str, path: str, compare: Mode = "rows", headers: Mapping[str, str] | None = None, **more: str
) -> Case:
    """A request without a body."""
    return Case(name, Request(method, path, None, _headers({**(headers or {}), **more})), compare)


def get(name: str, tail: str, compare: Mode = "bytes", **more: str) -> Case:
    return plain(name, "GET", f"{API}/{tail}", compare, more)


def each(
    name: str, body: Callable[[Any], object], values: Iterable[Any], path: str = FILTER, compare: Mode = "rows"
) -> list[Case]:
    """One case per value, named after it."""
    return [ask(f"{name}={json.dumps(value)[:60]}", body(value), path, compare) for value in values]


def entity(prefix: str, key: str, filters: dict[str, object]) -> list[Case]:
    """One case per filter of that entity."""
    return [ask(f"{prefix}_{name}", {key: value}) for name, value in filters.items()]


def _headers(more: Mapping[str, str]) -> dict[str, str]:
    return {key.replace("_", "-"): value for key, value in more.items()}
