"""A search answered under one deadline: first the legs of few rows, side by side; then the runs; then the page."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from services.gateway import etag
from services.gateway.plan import Plan, page_size, plan
from shared.bus import Bus
from shared.contract import KEY_SIZE, PAGE, RUNS, Call, Endpoint, Keys, Page, RunLeg, Selection
from shared.filters import Count, Filter, Paginate


class Deadline:
    """The moment by which a request must be answered."""

    def __init__(self, within: float) -> None:
        self._ends = monotonic() + within

    @property
    def left(self) -> float:
        """Seconds that remain; never negative."""
        return max(0.0, self._ends - monotonic())


class Found(NamedTuple):
    """The JSON that Prefect would send, and what it is known by; an empty text where that cannot be told."""

    body: bytes
    etag: str


Answering = Callable[[Count, Deadline], Awaitable[Found]]  # the whole gateway behind its doors


def question(search: Count) -> tuple[type[Count], bytes]:
    """Equal for equal searches. JSON, because it takes the numbers that MessagePack does not."""
    return type(search), msgspec.json.encode(search)


class NothingPasses(Exception):
    """A leg has found no key, so no deployment is in the answer, whatever the others would find."""


async def answer(bus: Bus, largest_limit: int, search: Count, deadline: Deadline) -> Found:
    """What is found for a search. Raises what a service raised."""
    page = await fetch(bus, plan(search, largest_limit), deadline)
    match search:
        case Filter():
            return Found(page.rows, etag.of_page(page))
        case Paginate(page=number):
            return envelope(page, page_size(search, largest_limit), number or 1)
    return Found(b"%d" % page.count, etag.of(b"\0", page.count))


async def fetch(bus: Bus, asked: Plan, deadline: Deadline) -> Page:
    """The page of the deployments that carry a key of every leg. A leg that finds nothing ends the search."""
    try:
        selection = replace(asked.selection, **await _keys(bus, asked, deadline))
    except NothingPasses:
        return Page()
    if isinstance(selection, RunLeg):
        return await _owned(bus, selection, deadline)
    return await bus.call(PAGE, selection, deadline.left)


async def _keys(bus: Bus, asked: Plan, deadline: Deadline) -> dict[str, bytes]:
    """The keys of every leg, by name. The first leg that fails or finds nothing decides, and the others are let go.

    Raises NothingPasses, or what the leg raised.
    """
    legs = asked.legs.values()
    calls = [asyncio.ensure_future(_leg(bus, endpoint, leg, deadline)) for endpoint, leg in legs]
    try:
        return dict(zip(asked.legs, await asyncio.gather(*calls), strict=True))
    finally:
        for call in calls:
            call.cancel()


async def _leg(bus: Bus, endpoint: Endpoint[Call, Keys], leg: Call, deadline: Deadline) -> bytes:
    keys = await bus.call(endpoint, leg, deadline.left)
    if not keys.packed:
        raise NothingPasses
    return keys.packed


async def _owned(bus: Bus, leg: RunLeg, deadline: Deadline) -> Page:
    """The page that owners of runs fill. It is cut where the runs are; who prints it is told the ids of its rows."""
    owners = await bus.call(RUNS, leg, deadline.left)
    if not owners.packed:
        return Page(count=owners.count)
    rows = Selection(deployment_ids=owners.packed, sort=leg.sort, limit=len(owners.packed) // KEY_SIZE)
    return replace(await bus.call(PAGE, rows, deadline.left), count=owners.count)


def envelope(page: Page, size: int, number: int) -> Found:
    """A page with its numbers; no pages when the size is 0."""
    pages = -(-page.count // size) if size else 0
    body = b'{"results":%b,"count":%d,"limit":%d,"pages":%d,"page":%d}' % (page.rows, page.count, size, pages, number)
    return Found(body, etag.of_page(page, page.count, size, number))
