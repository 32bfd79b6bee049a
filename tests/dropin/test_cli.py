"""Prefect's command line, told of the gateway only: what it reads, and that what it writes is in the next search."""

import json
from uuid import uuid4

import pytest

from tests.dropin.stack import Stack


@pytest.fixture
def name(running: Stack) -> str:
    """The full name of a deployment of the test's own, with a schedule."""
    flow, deployment = f"flow {uuid4()}", f"täglich {uuid4()}"
    made = running.ask("POST", "/api/flows/", {"name": flow})
    schedule = {"schedule": {"interval": 86400}, "active": True}
    running.ask("POST", "/api/deployments/", {"name": deployment, "flow_id": made["id"], "schedules": [schedule]})
    return f"{flow}/{deployment}"


def _found(running: Stack, name: str) -> list[dict[str, object]]:
    return running.search(flows={"name": {"any_": [name.partition("/")[0]]}})


def test_which_server(running: Stack) -> None:
    assert "Server type:          server" in running.prefect.cli("version")


def test_listing_and_inspecting(running: Stack, name: str) -> None:
    before = running.answered("filter"), running.answered("by_name")
    [deployment] = _found(running, name)
    listed = running.prefect.cli("deployment", "ls", "--flow-name", name.partition("/")[0])
    assert name in listed
    assert str(deployment["id"]) in listed
    inspected = json.loads(running.prefect.cli("deployment", "inspect", name, "--output", "json"))
    assert inspected["id"] == deployment["id"]
    assert running.answered("filter") == before[0] + 2
    assert running.answered("by_name") == before[1] + 1


def test_a_run(running: Stack, name: str) -> None:
    assert not running.search(flow_runs={"name": {"any_": ["by-cli"]}})
    running.prefect.cli("deployment", "run", name, "--flow-run-name", "by-cli")
    [owner] = running.search(flow_runs={"name": {"any_": ["by-cli"]}, "state": {"type": {"any_": ["SCHEDULED"]}}})
    assert owner["id"] == _found(running, name)[0]["id"]
    assert "by-cli" in running.prefect.cli("flow-run", "ls", "--flow-name", name.partition("/")[0])


def test_a_schedule_is_paused_and_resumed(running: Stack, name: str) -> None:
    [schedule] = _schedules(running, name)
    assert schedule["active"]
    running.prefect.cli("deployment", "schedule", "pause", name, schedule["id"])
    assert not _schedules(running, name)[0]["active"]
    running.prefect.cli("deployment", "schedule", "resume", name, schedule["id"])
    assert _schedules(running, name)[0]["active"]


def _schedules(running: Stack, name: str) -> list[dict[str, str]]:
    schedules: list[dict[str, str]] = _found(running, name)[0]["schedules"]  # type: ignore[assignment]
    return schedules


def test_a_deployment_is_deleted(running: Stack, name: str) -> None:
    running.prefect.cli("deployment", "delete", name)
    assert not _found(running, name)
    with pytest.raises(AssertionError, match="not found"):
        running.prefect.cli("deployment", "inspect", name)


def test_work_pools(running: Stack) -> None:
    running.prefect.cli("work-pool", "create", "made by hand", "--type", "process")
    assert "made by hand" in running.prefect.cli("work-pool", "ls")
