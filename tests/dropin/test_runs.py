"""Flows that are served, scheduled, run, watched and cancelled; runner and worker know no address but the gateway's."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dropin.prefect import SCRIPTS
from tests.dropin.stack import Stack, until

FLOWS = SCRIPTS / "flows.py"


def _with_a_run(running: Stack, deployment: str, state: str, **others: object) -> list[Any]:
    run = {"state": {"type": {"any_": [state]}}}
    return running.search(deployments={"name": {"any_": [deployment]}}, flow_runs=run, **others)


def _runs(running: Stack, deployment: str, state: str) -> list[Any]:
    asked = {"deployments": {"name": {"any_": [deployment]}}, "flow_runs": {"state": {"type": {"any_": [state]}}}}
    found: list[Any] = running.ask("POST", "/api/flow_runs/filter", asked)
    return found


def _logged(running: Stack, run: str) -> list[str]:
    found = running.ask("POST", "/api/logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}})
    return [line["message"] for line in found]


@pytest.fixture(scope="module")
def served(running: Stack, dropin_home: Path) -> Iterator[None]:
    """A runner that serves both flows."""
    with running.prefect.running(dropin_home / "runner.log", "python", str(FLOWS)):
        until(lambda: len(running.search(deployments={"name": {"any_": ["ticking", "by-hand"]}})) == 2)
        yield


def test_a_served_flow_runs_by_its_schedule(running: Stack, served: None) -> None:
    """Its task runs come to the database by the WebSocket of events."""
    loaded = {"name": {"like_": "load"}, "state": {"type": {"any_": ["COMPLETED"]}}}
    [deployment] = until(lambda: _with_a_run(running, "ticking", "COMPLETED", task_runs=loaded))
    [schedule] = deployment["schedules"]
    running.prefect.cli("deployment", "schedule", "pause", "brief/ticking", schedule["id"])
    run = _runs(running, "ticking", "COMPLETED")[0]
    until(lambda: "loaded 3 rows" in _logged(running, run["id"]))


def test_a_run_is_cancelled(running: Stack, served: None) -> None:
    """The runner hears of it by the WebSocket of events."""
    running.prefect.cli("deployment", "run", "endless/by-hand")
    [run] = until(lambda: _runs(running, "by-hand", "RUNNING"))
    assert _with_a_run(running, "by-hand", "RUNNING")
    assert running.tunnels()
    running.prefect.cli("flow-run", "cancel", run["id"])
    assert until(lambda: _with_a_run(running, "by-hand", "CANCELLED"))
    assert not _with_a_run(running, "by-hand", "RUNNING")


@pytest.fixture
def from_a_file(running: Stack, dropin_home: Path) -> str:
    """The id of a scheduled run of a deployment that `prefect deploy` made of a file, for a pool of processes."""
    shutil.copy(FLOWS, running.prefect.home)
    running.prefect.cli("work-pool", "create", "machines", "--type", "process")
    running.prefect.cli("deploy", "flows.py:brief", "--name", "from-a-file", "--pool", "machines")
    running.prefect.cli("deployment", "run", "brief/from-a-file")
    [run] = _runs(running, "from-a-file", "SCHEDULED")
    return str(run["id"])


def test_a_worker_runs_what_is_deployed(running: Stack, from_a_file: str, dropin_home: Path) -> None:
    """And `watch` shows it, by the WebSockets of logs and events."""
    log, before = dropin_home / "watch.log", running.tunnels()
    with running.prefect.running(log, "prefect", "flow-run", "watch", from_a_file) as watch:
        until(lambda: running.tunnels() == before + 2)
        running.prefect.cli("worker", "start", "--pool", "machines", "--type", "process", "--run-once")
        assert watch.wait(60) == 0
    assert "loaded 3 rows" in log.read_text()
    pool = {"name": {"any_": ["machines"]}}
    assert until(lambda: _with_a_run(running, "from-a-file", "COMPLETED", work_pools=pool, task_runs={}))
