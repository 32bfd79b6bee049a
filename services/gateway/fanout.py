"""A search answered under one deadline: first the legs of few rows, side by side; then the runs; then the page."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from types import MappingProxyType
from typing import NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from services.gateway import etag
from services.gateway.plan import Plan, page_size, plan
from shared.bus import Bus
from shared.contract import KEY_SIZE, PAGE, RUNS, Call, Endpoint, Keys, Page, RunLeg, Selection
from shared.filters import Count, Filter, Paginate

Q = TypeVar("Q", bound=Call)
R = TypeVar("R")


class Deadline:
    """The moment by which a request must be answered."""

    def __init__(self, within: float) -> None:
        self._ends = monotonic() + within

    @property
    def left(self) -> float:
        """Seconds that remain; never negative."""
        return max(0.0, self._ends - monotonic())


class Found(NamedTuple):
    """The JSON that Prefect would send, what it is known by (an empty text where that cannot be told), and how many
    seconds each leg took.
    """

    body: bytes
    etag: str
    timings: Mapping[str, float] = MappingProxyType({})


Answering = Callable[[Count, Deadline], Awaitable[Found]]  # the whole gateway behind its doors


def question(search: Count) -> tuple[type[Count], bytes]:
    """Equal for equal searches. JSON, because it takes the numbers that MessagePack does not."""
    return type(search), msgspec.json.encode(search)


class NothingPasses(Exception):
    """A leg has found no key, so no deployment is in the answer, whatever the others would find."""


class Calls:
    """The calls of one search: what is left of its deadline bounds each, and how long each took is noted."""

    def __init__(self, bus: Bus, deadline: Deadline) -> None:
        self._bus = bus
        self._deadline = deadline
        self.timings: dict[str, float] = {}

    async def call(self, endpoint: Endpoint[Q, R], request: Q) -> R:
        began = monotonic()
        try:
            return await self._bus.call(endpoint, request, self._deadline.left)
        finally:
            self.timings[endpoint.service] = monotonic() - began


async def answer(bus: Bus, largest_limit: int, search: Count, deadline: Deadline) -> Found:
    """What is found for a search. Raises what a service raised."""
    calls = Calls(bus, deadline)
    page = await fetch(calls, plan(search, largest_limit))
    return _found(search, page, largest_limit)._replace(timings=calls.timings)


def _found(search: Count, page: Page, largest_limit: int) -> Found:
    match search:
        case Filter():
            return Found(page.rows, etag.of_page(page))
        case Paginate(page=number):
            return envelope(page, page_size(search, largest_limit), number or 1)
    return Found(b"%d" % page.count, etag.of(b"\0", page.count))


async def fetch(calls: Calls, asked: Plan) -> Page:
    """The page of the deployments that carry a key of every leg. A leg that finds nothing ends the search."""
    try:
        selection = replace(asked.selection, **await _keys(calls, asked))
    except NothingPasses:
        return Page(etag.EMPTY, 0)
    if isinstance(selection, RunLeg):
        return await _owned(calls, selection)
    return await calls.call(PAGE, selection)


async def _keys(calls: Calls, asked: Plan) -> dict[str, bytes]:
    """The keys of every leg, by name. The first leg that fails or finds nothing decides, and the others are let go.

    Raises NothingPasses, or what the leg raised.
    """
    legs = [asyncio.ensure_future(_leg(calls, endpoint, leg)) for endpoint, leg in asked.legs.values()]
    try:
        return dict(zip(asked.legs, await asyncio.gather(*legs), strict=True))
    finally:
        for leg in legs:
            leg.cancel()


async def _leg(calls: Calls, endpoint: Endpoint[Call, Keys], leg: Call) -> bytes:
    keys = await calls.call(endpoint, leg)
    if not keys.packed:
        raise NothingPasses
    return keys.packed


async def _owned(calls: Calls, leg: RunLeg) -> Page:
    """The page that owners of runs fill. It is cut where the runs are; who prints it is told the ids of its rows."""
    owners = await calls.call(RUNS, leg)
    if not owners.packed:
        return Page(etag.EMPTY, owners.count)
    rows = Selection(deployment_ids=owners.packed, sort=leg.sort, limit=len(owners.packed) // KEY_SIZE)
    return replace(await calls.call(PAGE, rows), count=owners.count)


def envelope(page: Page, size: int, number: int) -> Found:
    """A page with its numbers; no pages when the size is 0."""
    pages = -(-page.count // size) if size else 0
    body = b'{"results":%b,"count":%d,"limit":%d,"pages":%d,"page":%d}' % (page.rows, page.count, size, pages, number)
    return Found(body, etag.of_page(page, page.count, size, number))
