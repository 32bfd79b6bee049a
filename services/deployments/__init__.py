"""The deployments service: pages of deployments, and single ones, printed as Prefect prints them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from services.deployments import page
from services.deployments.kept import Kept
from shared import postgres
from shared.contract import BY_ID, BY_NAME, PAGE
from shared.entity import Answers, served
from shared.settings import Settings


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[None]:
    async with postgres.pool(settings, PAGE.service) as pool:
        kept = Kept(settings.row_cache)
        answers: Answers = {
            PAGE: partial(page.page, pool, kept),
            BY_ID: partial(page.by_id, pool, kept),
            BY_NAME: partial(page.by_name, pool, kept),
        }
        async with served(settings, pool, PAGE.service, answers):
            yield
