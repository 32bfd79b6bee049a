"""Which legs a search needs, and what is then asked of the deployments that are left. Pure.

Flow runs and task runs are one leg, pools and queues are one leg: the same run, the same queue must pass both filters.
A filter that is present but empty is a leg too: it asks for at least one such row. The leg of the runs comes last and
is the selection itself, with the filters of its runs: who finds the owners of runs cuts the page out of them.
"""

from typing import Any, NamedTuple

from msgspec.structs import replace

from shared.contract import FLOWS, WORK_POOLS, Call, Endpoint, FlowLeg, Keys, PoolLeg, RunLeg, Selection
from shared.filters import Count, Filter, Paginate


class Plan(NamedTuple):
    """Legs by the name of the keys they give to the selection; a RunLeg when runs are asked."""

    legs: dict[str, tuple[Endpoint[Any, Keys], Call]]
    selection: Selection


def plan(search: Count, largest_limit: int) -> Plan:
    """The legs of a search, and the selection that awaits their keys."""
    legs: dict[str, tuple[Endpoint[Any, Keys], Call]] = {}
    if search.flows is not None:
        legs["flow_ids"] = FLOWS, FlowLeg(flows=search.flows)
    if search.work_pools is not None or search.work_pool_queues is not None:
        pools = PoolLeg(work_pools=search.work_pools, work_pool_queues=search.work_pool_queues)
        legs["work_queue_ids"] = WORK_POOLS, pools
    part = _part(search, largest_limit)
    if search.flow_runs is not None or search.task_runs is not None:
        return Plan(legs, RunLeg(flow_runs=search.flow_runs, task_runs=search.task_runs, **part))
    return Plan(legs, Selection(**part))


def page_size(search: Count, largest_limit: int) -> int:
    """The effective limit; 0 for a count."""
    limit = getattr(search, "limit", 0)
    return largest_limit if limit is None else int(limit)


def _part(search: Count, largest_limit: int) -> dict[str, Any]:
    """The deployments' own filter, and which part of the matches is asked for."""
    deployments = search.deployments
    if deployments and deployments.concurrency_limit:  # without effect, and its numbers may be too large for the bus
        deployments = replace(deployments, concurrency_limit=None)
    size = page_size(search, largest_limit)
    match search:
        case Filter(offset=offset, sort=sort):
            return {"deployments": deployments, "sort": sort or "NAME_ASC", "limit": size, "offset": offset or 0}
        case Paginate(page=page, sort=sort):
            start = ((page or 1) - 1) * size
            order = sort or "NAME_ASC"
            return {"deployments": deployments, "sort": order, "limit": size, "offset": start, "count": True}
    return {"deployments": deployments, "count": True}
