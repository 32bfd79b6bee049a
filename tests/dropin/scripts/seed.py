"""Fills a Prefect by its own client, and prints the ids of the deployments by their full names.

Two flows in turn, a tag of one of three teams, a paused schedule for every third deployment, a work pool with a queue of
its own, and three flow runs of different outcomes with a task run in each.
"""

# mypy: ignore-errors
# It runs in Prefect's environment, of which ours knows nothing.

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta

from prefect import task
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.states import Cancelled, Completed, Failed, Scheduled

FLOWS = ("Größe und Gewicht", "invoices + dunning")
ODD = 'nächtlich: "alles", 100 € ~ [a] it\'s'
POOL, QUEUE = "Pool für alle", "urgent"
OUTCOMES = {0: Completed, 3: Failed, 6: Cancelled}


@task
def load():
    """Never called: its name and key are what is wanted."""


async def main():
    async with get_client() as client:
        await client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        await client.create_work_queue(QUEUE, work_pool_name=POOL)
        flows = [await client.create_flow_from_name(name) for name in FLOWS]
        made = {}
        for number in range(30):
            name = f"report-{number:02}" if number else ODD
            made[f"{FLOWS[number % 2]}/{name}"] = await deployed(client, flows[number % 2], name, number)
        for number, ended in OUTCOMES.items():
            await ran(client, list(made.values())[number], ended)
    json.dump({name: str(made[name]) for name in made}, sys.stdout)


async def deployed(client, flow_id, name, number):
    schedule = DeploymentScheduleCreate(schedule=IntervalSchedule(interval=timedelta(days=1)), active=False)
    return await client.create_deployment(
        flow_id=flow_id,
        name=name,
        entrypoint="flows.py:report",
        tags=[f"team-{'abc'[number % 3]}", *(["rare"] if number % 10 == 0 else [])],
        schedules=[] if number % 3 else [schedule],
        work_pool_name=POOL if number % 4 else None,
        work_queue_name=QUEUE if number % 4 == 1 else None,
        parameters={"für": name, "number": number},
    )


async def ran(client, deployment_id, ended):
    due = Scheduled(scheduled_time=datetime.now(UTC) - timedelta(hours=1))
    name = f"run-{ended.__name__.lower()}"
    run = await client.create_flow_run_from_deployment(deployment_id, name=name, state=due)
    task_run = await client.create_task_run(load, run.id, dynamic_key="0", name="load data")
    await client.set_task_run_state(task_run.id, ended(), force=True)
    await client.set_flow_run_state(run.id, ended(), force=True)


asyncio.run(main())
