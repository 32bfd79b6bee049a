"""What is asked: the shapes of searches, on the demo data, and the workloads made of them.

The comments tell how many of the 10,000 deployments match with a million flow runs. Most ask `/paginate`, which takes
the rows of one page and the count of all matches.
"""

import copy
import random
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from services.seed import UNTIL

Body = dict[str, Any]
SELECTIVE, BROAD = "selective", "broad"


@dataclass(frozen=True)
class Shape:
    """A search. `runs` says what its run filter leaves of the runs, when it has one."""

    name: str
    about: str
    body: Body
    path: str = "paginate"
    runs: str = ""


def _type(*kinds: str) -> Body:
    return {"state": {"type": {"any_": list(kinds)}}}


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


LAST_HOUR = {"start_time": {"after_": _moment(UNTIL - timedelta(hours=1))}}
NEEDLE = {"name": {"like_": "needle-00"}}  # three runs, whatever the size
SIX_POOLS = ["k8s_prod", "k8s-Staging", "docker%", "ecs-fargate", "o'pool", "managed"]

SHAPES = {
    shape.name: shape
    for shape in (
        Shape("1 page", "`{}`: 200 rows", {}),
        Shape("2 last page", "`{}`, page 50", {"page": 50}),
        Shape("3 ten rows", "`limit: 10`", {"limit": 10}),
        Shape("4 tags", "deployments.tags any (153)", {"deployments": {"tags": {"any_": ["größe"]}}}),
        Shape("5 name", "deployments.name like (152)", {"deployments": {"name": {"like_": "sync-2"}}}),
        Shape("6 flows", "flows.name any (449)", {"flows": {"name": {"any_": ["etl", "数据同步", "TRAIN_MODEL"]}}}),
        Shape("7 runs completed", "flow_runs COMPLETED (most)", {"flow_runs": _type("COMPLETED")}, runs=BROAD),
        Shape(
            "8 runs crashed lately",
            "flow_runs CRASHED in the last hour (14)",
            {"flow_runs": _type("CRASHED") | LAST_HOUR},
            runs=SELECTIVE,
        ),
        Shape("9 run name", "flow_runs.name like (3)", {"flow_runs": NEEDLE}, runs=SELECTIVE),
        Shape("10 tasks completed", "task_runs COMPLETED (most)", {"task_runs": _type("COMPLETED")}, runs=BROAD),
        Shape(
            "11 task name",
            "task_runs.name any (6)",
            {"task_runs": {"name": {"any_": ["needle-task-6", "needle-task-7", "needle-task-8"]}}},
            runs=SELECTIVE,
        ),
        Shape(
            "12 runs and tasks failed",
            "flow_runs FAILED + task_runs FAILED",
            {"flow_runs": _type("FAILED"), "task_runs": _type("FAILED")},
            runs=BROAD,
        ),
        Shape("13 pools", "work_pools.name any (1825)", {"work_pools": {"name": {"any_": SIX_POOLS}}}),
        Shape(
            "14 pools and queues",
            "work_pools + work_pool_queues (477)",
            {"work_pools": {"type": {"any_": ["kubernetes"]}}, "work_pool_queues": {"name": {"any_": ["default"]}}},
        ),
        Shape(
            "15 flows, runs, pools",
            "flows + flow_runs + work_pools",
            {
                "flows": {"name": {"like_": "ingest"}},
                "flow_runs": _type("COMPLETED"),
                "work_pools": {"type": {"any_": ["kubernetes", "docker", "ecs"]}},
            },
            runs=BROAD,
        ),
        Shape(
            "16 all six",
            "all six filters, UPDATED_DESC, `limit: 50`",
            {
                "limit": 50,
                "sort": "UPDATED_DESC",
                "deployments": {"tags": {"all_": ["prod"]}},
                "flows": {"name": {"like_": "e"}},
                "flow_runs": _type("COMPLETED"),
                "task_runs": _type("COMPLETED"),
                "work_pools": {"type": {"any_": ["kubernetes", "docker", "ecs"]}},
                "work_pool_queues": {"name": {"any_": ["default", "high"]}},
            },
            runs=BROAD,
        ),
        Shape("17 count", "`/count {}`", {}, "count"),
        Shape(
            "18 run name, tasks",
            "flow_runs.name like + task_runs COMPLETED (2)",
            {"flow_runs": NEEDLE, "task_runs": _type("COMPLETED")},
            runs=SELECTIVE,
        ),
        Shape("19 any run", "`flow_runs: {}`", {"flow_runs": {}}, runs=BROAD),
        Shape(
            "20 list runs completed",
            "`/filter`, flow_runs COMPLETED, `limit: 10`",
            {"limit": 10, "flow_runs": _type("COMPLETED")},
            "filter",
            runs=BROAD,
        ),
        Shape(
            "21 list tasks completed",
            "`/filter`, task_runs COMPLETED, `limit: 10`",
            {"limit": 10, "task_runs": _type("COMPLETED")},
            "filter",
            runs=BROAD,
        ),
        Shape(
            "22 list as the UI",
            "`/filter`, what Prefect's page sends, `limit: 10`",
            {
                "offset": 0,
                "limit": 10,
                "sort": "NAME_ASC",
                "deployments": {
                    "operator": "and_",
                    "flow_or_deployment_name": {"like_": "sync"},
                    "tags": {"operator": "and_", "all_": []},
                },
            },
            "filter",
        ),
        Shape(
            "23 run tags",
            "flow_runs.tags any, a rare one (169)",
            {"flow_runs": {"tags": {"any_": ["rare-run"]}}},
            runs=SELECTIVE,
        ),
        Shape("24 runs failed", "flow_runs FAILED (8066)", {"flow_runs": _type("FAILED")}, runs=BROAD),
    )
}


def chosen(wanted: list[str]) -> list[Shape]:
    """The shapes of these names, or of the numbers that stand before them; all when none is named."""
    return [shape for name, shape in SHAPES.items() if not wanted or {name, name.split()[0]} & set(wanted)]


# Workloads: one shape, asked by many at once. "Distinct" bodies leave nothing to share between requests in flight.


@dataclass(frozen=True)
class Workload:
    """A shape, and how its body varies from request to request."""

    shape: Shape
    vary: Callable[[Body, random.Random], None]

    def same(self) -> Iterator[Body]:
        while True:
            yield self.shape.body

    def distinct(self) -> Iterator[Body]:
        rng = random.Random(1)
        while True:
            body = copy.deepcopy(self.shape.body)
            self.vary(body, rng)
            yield body


def _another_page(pages: int) -> Callable[[Body, random.Random], None]:
    def vary(body: Body, rng: random.Random) -> None:
        body |= {"page": rng.randint(1, pages), "sort": rng.choice(["NAME_ASC", "NAME_DESC", "CREATED_DESC"])}

    return vary


def _another_moment(body: Body, rng: random.Random) -> None:
    moment = UNTIL - timedelta(hours=1, seconds=60 * rng.random())
    body["flow_runs"] = body["flow_runs"] | {"start_time": {"after_": _moment(moment)}}


def _but_one(body: Body, rng: random.Random) -> None:
    body["deployments"] = {"id": {"not_any_": [str(uuid.UUID(int=rng.getrandbits(128), version=4))]}}


WORKLOADS: Mapping[str, Workload] = {
    "200-row page": Workload(SHAPES["1 page"], _another_page(50)),
    "10-row page": Workload(SHAPES["3 ten rows"], _another_page(1000)),
    "selective": Workload(SHAPES["8 runs crashed lately"], _another_moment),
    "count": Workload(SHAPES["17 count"], _but_one),
}
