"""A search's stages on a real NATS: who is asked, when, and what is spared."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from services.gateway import fanout
from services.gateway.fanout import Deadline
from shared import bus, errors
from shared.contract import FLOWS, PAGE, RUNS, WORK_POOLS, Endpoint, Keys, Owners, Page, RunLeg, Selection
from shared.filters import Count, Filter, FlowFilter, FlowRunFilter, Paginate, WorkPoolFilter
from shared.settings import Settings

Respond = Callable[[Any], Awaitable[Any]]
EVERY_LEG: dict[str, Any] = {"flows": FlowFilter(), "work_pools": WorkPoolFilter()}
SOME, NONE = Keys(bytes(16)), Keys(b"")


class Services:
    """Services that answer what a test tells them to, and note what they were asked."""

    def __init__(self, lines: AsyncExitStack, url: str) -> None:
        self._lines = lines
        self._url = url
        self.asked: list[Any] = []

    async def connected(self, name: str) -> bus.Bus:
        line = await self._lines.enter_async_context(bus.connect(Settings(nats_url=self._url), name))
        await line.up(10)
        return line

    async def answer(self, *pairs: tuple[Endpoint[Any, Any], Any]) -> None:
        """Each endpoint replies with a value, raises an error, or does what a function does."""
        for endpoint, reply in pairs:
            line = await self.connected(endpoint.service)
            await self._lines.enter_async_context(line.serve(endpoint, self._respond(reply)))

    def _respond(self, reply: Any) -> Respond:
        async def respond(request: Any) -> Any:
            self.asked.append(request)
            if isinstance(reply, Exception):
                raise reply
            return await reply() if callable(reply) else reply

        return respond

    async def search(self, search: Count) -> fanout.Found:
        return await fanout.answer(await self.connected("gateway"), 200, search, Deadline(5))


@pytest.fixture
async def services(nats_url: str) -> AsyncIterator[Services]:
    async with AsyncExitStack() as lines:
        yield Services(lines, nats_url)


async def test_a_leg_that_finds_nothing_ends_the_search_and_lets_the_others_go(services: Services) -> None:
    asked, never, let_go = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow() -> Keys:
        asked.set()
        try:
            await never.wait()
        finally:
            let_go.set()
        return SOME

    async def nothing() -> Keys:
        await asked.wait()
        return NONE

    await services.answer((FLOWS, slow), (WORK_POOLS, nothing))  # nobody answers for the runs or the page
    async with asyncio.timeout(2):
        search = Paginate(flow_runs=FlowRunFilter(), limit=10, **EVERY_LEG)
        found = await services.search(search)
        await let_go.wait()  # long before its deadline
    assert found.body == b'{"results":[],"count":0,"limit":10,"pages":0,"page":1}'


@pytest.mark.parametrize("error_first", [True, False])
async def test_between_nothing_and_an_error_the_first_decides(services: Services, error_first: bool) -> None:
    first, second = (errors.DatabaseDown(), NONE) if error_first else (NONE, errors.DatabaseDown())
    told = asyncio.Event()

    async def waiting() -> Keys:
        await told.wait()
        if isinstance(second, Exception):
            raise second
        return second

    await services.answer((FLOWS, first), (WORK_POOLS, waiting))
    search = asyncio.ensure_future(services.search(Count(**EVERY_LEG)))
    if error_first:
        with pytest.raises(errors.DatabaseDown):
            await search
    else:
        assert (await search).body == b"0"
    told.set()


async def test_runs_are_asked_for_their_page_with_the_keys_of_the_others(services: Services) -> None:
    ids = bytes(range(32))
    rows = Page(b'[{"a":1},{"b":2}]', 0, b"tag")
    await services.answer((FLOWS, SOME), (WORK_POOLS, SOME), (RUNS, Owners(ids, 77)), (PAGE, rows))
    search = Paginate(flow_runs=FlowRunFilter(), limit=2, page=3, sort="CREATED_DESC", **EVERY_LEG)
    found = await services.search(search)
    assert found.body == b'{"results":[{"a":1},{"b":2}],"count":77,"limit":2,"pages":39,"page":3}'
    assert found.etag == f'W/"{b"tag".hex()}-77-2-3"'
    runs, page = [told(asked) for asked in services.asked if isinstance(asked, Selection)]
    keys: dict[str, Any] = {"flow_ids": bytes(16), "work_queue_ids": bytes(16)}
    assert runs == RunLeg(flow_runs=FlowRunFilter(), sort="CREATED_DESC", limit=2, offset=4, count=True, **keys)
    assert page == Selection(deployment_ids=ids, sort="CREATED_DESC", limit=2)


def told(asked: Any) -> Any:
    """A request without the seconds left, which no two share."""
    return type(asked)(**{name: getattr(asked, name) for name in asked.__struct_fields__ if name != "within"})


@pytest.mark.parametrize(
    ("search", "owners", "body"),
    [
        (Count(flow_runs=FlowRunFilter()), Owners(b"", 7), b"7"),
        (Filter(flow_runs=FlowRunFilter()), Owners(b"", 0), b"[]"),
        (Paginate(flow_runs=FlowRunFilter(), page=9), Owners(b"", 7), b'{"results":[],"count":7,"limit":200,"pages":1,"page":9}'),
    ],
)  # fmt: skip
async def test_no_page_is_asked_for_where_no_row_is_shown(
    services: Services, search: Count, owners: Owners, body: bytes
) -> None:
    await services.answer((RUNS, owners))  # a page would be an error: nobody answers for it
    assert (await services.search(search)).body == body


async def test_what_fails_at_any_stage_is_an_error(services: Services) -> None:
    await services.answer((FLOWS, SOME), (RUNS, Owners(bytes(16), 1)), (PAGE, errors.DatabaseDown()))
    with pytest.raises(errors.DatabaseDown):
        await services.search(Filter(flows=FlowFilter(), flow_runs=FlowRunFilter()))
    with pytest.raises(errors.Absent):
        await services.search(Filter(**EVERY_LEG))
