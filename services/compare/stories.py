"""What a server's data holds, read by its own API, so that generated searches ask for what is there.

A server that answers for deployments only tells less, and searches then ask more often for what is not there.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from services.compare.generate import Story
from services.compare.requests import Request, printed
from services.compare.server import Server

Row = dict[str, Any]
NONE: Row = {}


async def told(server: Server) -> list[Story]:
    """Stories about the first page of deployments; an empty one when there are none."""
    deployments = await _rows(server, "deployments", None)
    flows = await _rows(server, "flows", ("id", _values(deployments, "flow_id")))
    runs = await _rows(server, "flow_runs", ("deployment_id", _values(deployments, "id")))
    tasks = await _rows(server, "task_runs", ("flow_run_id", _values(runs, "id")))
    queues = await _rows(server, "work_queues", ("id", _values(deployments, "work_queue_id")))
    pools = await _rows(server, "work_pools", ("name", _values(deployments, "work_pool_name")))
    return list(_joined(deployments, flows, runs, tasks, queues, pools)) or [{}]


async def _rows(server: Server, kind: str, which: tuple[str, list[str]] | None) -> list[Row]:
    """The rows that have one of these values; none where the server does not know the kind."""
    body = {kind: {which[0]: {"any_": which[1]}}} if which else {}
    reply = (await server.ask(Request("POST", f"/api/{kind}/filter", printed(body)))).reply
    try:
        rows = json.loads(reply.body) if reply.status == 200 else []
    except (ValueError, RecursionError):  # a page for people, perhaps
        return []
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _values(rows: Sequence[Row], key: str) -> list[str]:
    return list(dict.fromkeys(value for row in rows if isinstance(value := row.get(key), str) and value))


def _joined(
    deployments: Sequence[Row],
    flows: Sequence[Row],
    runs: Sequence[Row],
    tasks: Sequence[Row],
    queues: Sequence[Row],
    pools: Sequence[Row],
) -> Iterator[Story]:
    """A story for each deployment, run and task."""
    flow, queue, pool = _by(flows, "id"), _by(queues, "id"), _by(pools, "name")
    runs_of, tasks_of = _grouped(runs, "deployment_id"), _grouped(tasks, "flow_run_id")
    for deployment in deployments:
        around = {
            "flows": flow.get(deployment.get("flow_id"), {"id": deployment.get("flow_id")}),
            "work_pools": pool.get(name := deployment.get("work_pool_name"), {"name": name}),
            "work_pool_queues": queue.get(deployment.get("work_queue_id"), _queue(deployment)),
        }
        for run in runs_of[deployment.get("id")] or [NONE]:
            for number, task in enumerate(tasks_of[run.get("id")] or [NONE]):
                name = (around["flows"] if number % 2 else deployment).get("name")
                about = deployment | {"flow_or_deployment_name": name}
                yield around | {"deployments": about, "flow_runs": run, "task_runs": task}


def _queue(deployment: Row) -> Row:
    return {"id": deployment.get("work_queue_id"), "name": deployment.get("work_queue_name")}


def _by(rows: Sequence[Row], key: str) -> dict[Any, Row]:
    return {row.get(key): row for row in rows}


def _grouped(rows: Sequence[Row], key: str) -> defaultdict[Any, list[Row]]:
    found: defaultdict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        found[row.get(key)].append(row)
    return found
