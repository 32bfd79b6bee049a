"""The runs leg: which selected deployments own a flow run, with a task run, that passes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.runs.choice import Choice
from services.runs.select import question
from shared import postgres
from shared.contract import RUNS, RunLeg
from shared.entity import served
from shared.filters import AnyName, DeploymentFilter, FlowRunFilter, TaskRunFilter
from shared.settings import Settings

EVERY_TABLE = RunLeg(
    deployments=DeploymentFilter(flow_or_deployment_name=AnyName(like_="x")),
    flow_runs=FlowRunFilter(),
    task_runs=TaskRunFilter(),
)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[None]:
    read = [question(EVERY_TABLE).statement("join")]
    async with (
        postgres.pool(settings, RUNS.service) as pool,
        served(settings, pool, RUNS.service, {RUNS: Choice(pool).owners}, read),
    ):
        yield
