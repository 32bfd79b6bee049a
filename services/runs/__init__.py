"""The runs leg: which selected deployments own a flow run, with a task run, that passes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.runs.choice import Choice
from shared import postgres
from shared.contract import RUNS
from shared.entity import served
from shared.settings import Settings


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[None]:
    async with (
        postgres.pool(settings, RUNS.service) as pool,
        served(settings, pool, RUNS.service, {RUNS: Choice(pool).owners}),
    ):
        yield
