"""Prefect's own Python clients read the same through the gateway as from the server itself, and the fleet answers."""

from dataclasses import dataclass
from typing import Any

import pytest

from tests.dropin.stack import Stack

SOME = 4  # deployments, the one with the odd name first
NOBODY = "00000000-0000-0000-0000-000000000001"
REPORTS = {"name": {"like_": "report-"}}
POOL, QUEUE = {"name": {"any_": ["Pool für alle"]}}, {"name": {"any_": ["urgent"]}}
SEARCHES: dict[str, tuple[dict[str, Any], int | None]] = {  # arguments, and how many are found; None: thirty or more
    "everything": ({}, None),
    "flows": ({"flow_filter": {"name": {"any_": ["Größe und Gewicht"]}}}, 15),
    "flows_like": ({"flow_filter": {"name": {"like_": "größe"}}, "sort": "CREATED_DESC"}, 15),
    "flow_runs": ({"flow_run_filter": {"state": {"type": {"any_": ["COMPLETED"]}}, "name": {"like_": "run-"}}}, 1),
    "flow_runs_named": ({"flow_run_filter": {"name": {"any_": ["run-failed", "run-cancelled"]}}}, 2),
    "task_runs": ({"task_run_filter": {"name": {"like_": "load data"}}}, 3),
    "both_runs": (
        {
            "flow_run_filter": {"state": {"name": {"any_": ["Failed"]}}},
            "task_run_filter": {"state": {"type": {"any_": ["FAILED"]}}},
        },
        1,
    ),
    "deployments": ({"deployment_filter": {"tags": {"all_": ["team-a", "rare"]}}}, 1),
    "deployments_any_tag": ({"deployment_filter": {"tags": {"any_": ["team-b", "rare"]}}}, 12),
    "work_pools": ({"work_pool_filter": POOL, "deployment_filter": REPORTS}, 22),
    "work_queues": ({"work_pool_filter": POOL, "work_queue_filter": QUEUE}, 8),
    "all_kinds": (
        {
            "flow_filter": {"name": {"like_": "invoices"}},
            "flow_run_filter": {"name": {"any_": ["run-failed"]}},
            "task_run_filter": {"name": {"like_": "load"}},
            "deployment_filter": REPORTS,
            "work_pool_filter": POOL,
            "work_queue_filter": {"name": {"startswith_": ["def"]}},
        },
        1,
    ),
    "limit": ({"deployment_filter": REPORTS, "limit": 4, "sort": "NAME_DESC"}, 4),
    "offset": ({"deployment_filter": REPORTS, "limit": 10, "offset": 25, "sort": "NAME_ASC"}, 4),
    "updated": ({"deployment_filter": REPORTS, "limit": 7, "sort": "UPDATED_DESC"}, 7),
    "nothing": ({"deployment_filter": {"name": {"any_": ["nobody's"]}}}, 0),
}
REFUSED = {"limit": 1000}
UNKNOWN = ["Größe und Gewicht/nobody's", "nobody's/report-02"]


@dataclass
class Answers:
    """What each client got at the gateway and at the server; and what the gateway answered itself meanwhile."""

    gateway: dict[str, dict[str, list[Any]]]
    server: dict[str, dict[str, list[Any]]]
    ours: dict[str, int]


@pytest.fixture(scope="module")
def answers(running: Stack, seeded: dict[str, str]) -> Answers:
    wanted = {
        "searches": [*(search for search, _ in SEARCHES.values()), REFUSED],
        "ids": [*list(seeded.values())[:SOME], NOBODY],
        "names": [*list(seeded)[:SOME], *UNKNOWN],
    }
    before = {endpoint: running.answered(endpoint) for endpoint in ("filter", "by_id", "by_name")}
    places = [f"{url}/api" for url in (running.gateway, running.server)]
    gateway, server = running.prefect.script("read.py", *places, given=wanted).values()
    return Answers(gateway, server, {name: running.answered(name) - count for name, count in before.items()})


@pytest.mark.parametrize("client", ["async", "sync"])
@pytest.mark.parametrize("name", SEARCHES)
def test_a_search(answers: Answers, name: str, client: str) -> None:
    at, expected = list(SEARCHES).index(name), SEARCHES[name][1]
    found = answers.gateway[client]["searches"][at]
    assert found == answers.server[client]["searches"][at]
    if expected is None:
        assert len(found) >= 30
    else:
        assert len(found) == expected


@pytest.mark.parametrize("client", ["async", "sync"])
def test_a_search_that_is_refused(answers: Answers, client: str) -> None:
    assert answers.gateway[client]["searches"][-1] == "PrefectHTTPStatusError"
    assert answers.server[client]["searches"][-1] == "PrefectHTTPStatusError"


@pytest.mark.parametrize("client", ["async", "sync"])
def test_a_deployment_by_its_id(answers: Answers, client: str) -> None:
    *found, unknown = answers.gateway[client]["ids"]
    assert [*found, unknown] == answers.server[client]["ids"]
    assert unknown == "ObjectNotFound"
    assert len({one["id"] for [one] in found}) == SOME


@pytest.mark.parametrize("client", ["async", "sync"])
def test_a_deployment_by_its_name(answers: Answers, seeded: dict[str, str], client: str) -> None:
    found = answers.gateway[client]["names"]
    assert found == answers.server[client]["names"]
    assert found[-2:] == ["ObjectNotFound"] * 2
    assert [one["id"] for [one] in found[:-2]] == list(seeded.values())[:SOME]


def test_the_fleet_answered_all_of_them(answers: Answers) -> None:
    assert answers.ours == {"filter": 2 * len(SEARCHES), "by_id": 2 * SOME, "by_name": 2 * SOME}
