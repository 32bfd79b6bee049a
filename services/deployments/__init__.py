"""The deployments service: pages of deployments, and single ones, printed as Prefect prints them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from services.deployments import csrf, page, revision, statements
from services.deployments.kept import Kept
from shared import postgres
from shared.contract import BY_ID, BY_NAME, CSRF, PAGE, Page, Selection
from shared.entity import Answers, beside, served
from shared.filters import AnyName, DeploymentFilter
from shared.settings import Settings

EVERY_TABLE = Selection(deployments=DeploymentFilter(flow_or_deployment_name=AnyName(like_="x")), limit=1)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[None]:
    async with (
        postgres.pool(settings, PAGE.service) as pool,
        postgres.pool(settings, PAGE.service, plan_once=True) as keyed,
    ):
        kept = Kept(settings.row_cache)

        async def found(selection: Selection) -> Page:
            return await page.page(pool if selection.deployment_ids is None else keyed, kept, selection)

        answers: Answers = {
            PAGE: found,
            BY_ID: partial(page.by_id, keyed, kept),
            BY_NAME: partial(page.by_name, keyed, kept),
            CSRF: partial(csrf.verdict, keyed),
        }
        read = [statements.page(EVERY_TABLE), (statements.ROWS, [[]])]
        async with served(settings, pool, PAGE.service, answers, read), beside(revision.watch(pool)):
            yield
