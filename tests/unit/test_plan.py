"""Which legs a search needs, what is asked of the deployments service, and how the page is wrapped."""

import pytest

from services.gateway.fanout import envelope
from services.gateway.plan import plan
from shared import bus
from shared.contract import FLOWS, RUNS, WORK_POOLS, Page
from shared.filters import (
    Count,
    DeploymentFilter,
    Filter,
    FlowFilter,
    FlowRunFilter,
    Ignored,
    Paginate,
    TaskRunFilter,
    WorkPoolFilter,
    WorkQueueFilter,
)  # fmt: skip


def test_a_search_without_foreign_filters_has_no_leg() -> None:
    assert plan(Filter(deployments=DeploymentFilter()), 200).legs == {}


def test_an_empty_filter_is_a_leg() -> None:
    legs = plan(Count(flows=FlowFilter(), flow_runs=FlowRunFilter(), work_pools=WorkPoolFilter()), 200).legs
    assert {name: endpoint for name, (endpoint, _) in legs.items()} == {
        "flow_ids": FLOWS, "deployment_ids": RUNS, "work_queue_ids": WORK_POOLS,
    }  # fmt: skip


def test_pairs_are_one_leg_because_one_row_must_pass_both() -> None:
    search = Count(
        flow_runs=FlowRunFilter(), task_runs=TaskRunFilter(), work_pools=WorkPoolFilter(), work_pool_queues=WorkQueueFilter()
    )  # fmt: skip
    assert len(plan(search, 200).legs) == 2


@pytest.mark.parametrize(
    ("search", "limit", "offset", "count"),
    [
        (Filter(), 200, 0, False),
        (Filter(limit=0, offset=7), 0, 7, False),
        (Paginate(), 200, 0, True),
        (Paginate(page=3, limit=5), 5, 10, True),
        (Paginate(page=3, limit=0), 0, 0, True),
        (Count(), 0, 0, True),
    ],
)
def test_the_selection(search: Count, limit: int, offset: int, count: bool) -> None:
    selection = plan(search, 200).selection
    assert (selection.limit or 0, selection.offset, selection.count) == (limit, offset, count)


def test_a_number_without_effect_is_not_sent() -> None:
    selection = plan(Filter(deployments=DeploymentFilter(concurrency_limit=Ignored(ge_=2**70))), 200).selection
    assert selection.deployments == DeploymentFilter()
    bus.encode(selection)


@pytest.mark.parametrize(("count", "size", "pages"), [(0, 10, 0), (1, 10, 1), (10, 10, 1), (11, 10, 2), (5, 0, 0)])
def test_the_number_of_pages(count: int, size: int, pages: int) -> None:
    expected = b'{"results":[],"count":%d,"limit":%d,"pages":%d,"page":4}' % (count, size, pages)
    assert envelope(Page(b"[]", count), size, 4) == expected
