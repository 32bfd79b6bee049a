"""What is asked while something fails: a dozen shapes, and the answers they must get."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from services.seed import UNTIL
from tests.fault.wire import Address, encoded, opened

DEPLOYMENTS, FLOW_RUNS, TASK_RUNS = 300, 3000, 6000


class Question(NamedTuple):
    """A search, and the services it needs. Who counts deployments by their runs asks `runs` alone."""

    name: str
    request: bytes
    needs: frozenset[str]


Expected = Mapping[str, bytes]  # a question's name → the body of its answer


def _state(kind: str) -> dict[str, Any]:
    return {"state": {"type": {"any_": [kind]}}}


LATELY = {"start_time": {"after_": f"{UNTIL.replace(day=1, month=5):%Y-%m-%dT%H:%M:%SZ}"}}
POOLS = {"type": {"any_": ["kubernetes", "docker", "process"]}}

SHAPES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("ten rows", "paginate", {"limit": 10}),
    ("page 3", "paginate", {"limit": 10, "page": 3, "sort": "CREATED_DESC"}),
    ("count", "count", {}),
    ("tags", "filter", {"limit": 10, "deployments": {"tags": {"any_": ["prod"]}}}),
    ("name", "paginate", {"limit": 10, "deployments": {"flow_or_deployment_name": {"like_": "a"}}}),
    ("flows", "paginate", {"limit": 10, "flows": {"name": {"like_": "e"}}}),
    ("failed runs", "paginate", {"limit": 10, "flow_runs": _state("FAILED")}),
    ("late runs", "filter", {"limit": 10, "flow_runs": LATELY, "sort": "UPDATED_DESC"}),
    ("runs and tasks", "paginate", {"limit": 10, "flow_runs": _state("FAILED"), "task_runs": _state("FAILED")}),
    ("count of tasks", "count", {"task_runs": _state("CANCELLED")}),
    ("pools", "paginate", {"limit": 10, "work_pools": POOLS}),
    ("queues", "count", {"work_pools": POOLS, "work_pool_queues": {"name": {"any_": ["default", "high"]}}}),
    (
        "all six",
        "paginate",
        {
            "limit": 20,
            "deployments": {"paused": {"eq_": False}},
            "flows": {"name": {"like_": "e"}},
            "flow_runs": _state("COMPLETED"),
            "task_runs": _state("COMPLETED"),
            "work_pools": POOLS,
            "work_pool_queues": {},
        },
    ),
)
NEEDED_BY = {
    "flows": "flows",
    "flow_runs": "runs",
    "task_runs": "runs",
    "work_pools": "work_pools",
    "work_pool_queues": "work_pools",
}


def questions(known: str) -> list[Question]:
    """All of them; `known` is a deployment's id."""
    asked = [
        Question(name, encoded(f"/api/deployments/{verb}", body), _needed(verb, body)) for name, verb, body in SHAPES
    ]
    return [*asked, Question("by id", encoded(f"/api/deployments/{known}"), frozenset({"deployments"}))]


def _needed(verb: str, body: Mapping[str, Any]) -> frozenset[str]:
    legs = {NEEDED_BY[leg] for leg in body if leg in NEEDED_BY}
    return frozenset(legs if verb == "count" and "runs" in legs else {"deployments", *legs})


async def learned(urls: list[str]) -> tuple[list[Question], Expected]:
    """The questions and their answers, on which all gateways agree. Call it before anything fails."""
    [row, *_] = msgspec.json.decode(await _asked(urls[0], encoded("/api/deployments/filter", {"limit": 1})))
    asked = questions(row["id"])
    expected = await answers(urls[0], asked)
    assert all(len(body) > 1 and b'"count":0' not in body for body in expected.values()), expected
    for url in urls[1:]:
        assert expected == await answers(url, asked)
    return asked, expected


async def answers(url: str, asked: list[Question]) -> Expected:
    """What one gateway answers."""
    return {question.name: await _asked(url, question.request) for question in asked}


async def _asked(url: str, request: bytes) -> bytes:
    line = await opened(Address.of(url))
    try:
        answer = await line.ask(request)
    finally:
        line.close()
    assert answer.status == 200, answer
    return answer.body
