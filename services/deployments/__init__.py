"""The deployments service: pages of deployments, and single ones, printed as Prefect prints them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from services.deployments import page
from shared import postgres
from shared.contract import BY_ID, BY_NAME, PAGE
from shared.entity import Answers, served
from shared.settings import Settings


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[None]:
    async with postgres.pool(settings, PAGE.service) as pool:
        answers: Answers = {
            PAGE: partial(page.page, pool),
            BY_ID: partial(page.by_id, pool),
            BY_NAME: partial(page.by_name, pool),
        }
        async with served(settings, pool, PAGE.service, answers):
            yield
