"""A search answered: its legs side by side, then the page, all under one deadline."""

import asyncio
from time import monotonic
from typing import Any

from msgspec.structs import replace

from services.gateway.plan import Plan, page_size, plan
from shared.bus import Bus
from shared.contract import PAGE, Page
from shared.filters import Count, Filter, Paginate


class Deadline:
    """The moment by which a request must be answered."""

    def __init__(self, within: float) -> None:
        self._ends = monotonic() + within

    @property
    def left(self) -> float:
        """Seconds that remain; never negative."""
        return max(0.0, self._ends - monotonic())


async def answer(bus: Bus, search: Count, largest_limit: int, deadline: Deadline) -> bytes:
    """The JSON that Prefect would send for this search. Raises what a service raised."""
    page = await fetch(bus, plan(search, largest_limit), deadline)
    match search:
        case Filter():
            return page.rows
        case Paginate(page=number):
            return envelope(page, page_size(search, largest_limit), number or 1)
    return b"%d" % page.count


async def fetch(bus: Bus, asked: Plan, deadline: Deadline) -> Page:
    """The page of the deployments that carry a key of every leg; no page to ask for when a leg has found none."""
    keys = await _keys(bus, asked, deadline)
    if not all(keys.values()):
        return Page()
    return await bus.call(PAGE, replace(asked.selection, **keys), deadline.left)


async def _keys(bus: Bus, asked: Plan, deadline: Deadline) -> dict[str, Any]:
    legs = asked.legs.values()
    calls = [asyncio.ensure_future(bus.call(endpoint, leg, deadline.left)) for endpoint, leg in legs]
    try:
        found = await asyncio.gather(*calls)
    finally:
        for call in calls:  # when one has failed, nobody waits for the others
            call.cancel()
    return {name: keys.packed for name, keys in zip(asked.legs, found, strict=True)}


def envelope(page: Page, size: int, number: int) -> bytes:
    """A page with its numbers; no pages when the size is 0."""
    pages = -(-page.count // size) if size else 0
    return b'{"results":%b,"count":%d,"limit":%d,"pages":%d,"page":%d}' % (page.rows, page.count, size, pages, number)
