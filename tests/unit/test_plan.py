"""Which legs a search needs, what is asked of the deployments service, and how the page is wrapped."""

import pytest
from msgspec.structs import replace

from services.gateway.fanout import envelope, question
from services.gateway.plan import plan
from shared import calling
from shared.contract import FLOWS, WORK_POOLS, Page, RunLeg, Selection
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
    legs, selection = plan(Count(flows=FlowFilter(), flow_runs=FlowRunFilter(), work_pools=WorkPoolFilter()), 200)
    assert {name: endpoint for name, (endpoint, _) in legs.items()} == {"flow_ids": FLOWS, "work_queue_ids": WORK_POOLS}
    assert selection == RunLeg(flow_runs=FlowRunFilter(), count=True)


def test_pairs_are_one_leg_because_one_row_must_pass_both() -> None:
    search = Count(
        flow_runs=FlowRunFilter(), task_runs=TaskRunFilter(), work_pools=WorkPoolFilter(), work_pool_queues=WorkQueueFilter()
    )  # fmt: skip
    legs, selection = plan(search, 200)
    assert len(legs) == 1
    assert selection == RunLeg(flow_runs=FlowRunFilter(), task_runs=TaskRunFilter(), count=True)


def test_without_runs_no_run_is_asked_for() -> None:
    assert type(plan(Count(flows=FlowFilter()), 200).selection) is Selection


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
    for asked in (search, replace(search, task_runs=TaskRunFilter())):
        selection = plan(asked, 200).selection
        assert (selection.limit or 0, selection.offset, selection.count) == (limit, offset, count)


def test_equal_searches_are_one_question_and_others_are_not() -> None:
    searches = [
        Count(),
        Filter(),
        Paginate(),
        Filter(limit=1),
        Filter(flows=FlowFilter()),
        Filter(flow_runs=FlowRunFilter()),
    ]
    assert len({question(search) for search in searches}) == len(searches)
    assert question(Filter(limit=1, sort=None)) == question(Filter(limit=1))


def test_a_number_without_effect_is_not_sent() -> None:
    search = Filter(deployments=DeploymentFilter(concurrency_limit=Ignored(ge_=2**70)))
    assert question(search)
    selection = plan(search, 200).selection
    assert selection.deployments == DeploymentFilter()
    calling.encode(selection)


@pytest.mark.parametrize(("count", "size", "pages"), [(0, 10, 0), (1, 10, 1), (10, 10, 1), (11, 10, 2), (5, 0, 0)])
def test_the_number_of_pages(count: int, size: int, pages: int) -> None:
    expected = b'{"results":[],"count":%d,"limit":%d,"pages":%d,"page":4}' % (count, size, pages)
    assert envelope(Page(b"[]", count), size, 4).body == expected
