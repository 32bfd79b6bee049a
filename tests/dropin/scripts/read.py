"""Asks by Prefect's own clients what standard input says, at each address of the command line, and prints the answers.

Input: {"searches": [arguments of read_deployments, …], "ids": […], "names": […]}. Output: for each address, and each of
the two clients, the same three lists of what came back, or the name of what was raised.
"""

# mypy: ignore-errors
# It runs in Prefect's environment, of which ours knows nothing.

import asyncio
import inspect
import json
import sys

from prefect.client.orchestration import get_client
from prefect.client.schemas import filters, sorting
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, temporary_settings

KINDS = {
    "flow_filter": filters.FlowFilter,
    "flow_run_filter": filters.FlowRunFilter,
    "task_run_filter": filters.TaskRunFilter,
    "deployment_filter": filters.DeploymentFilter,
    "work_pool_filter": filters.WorkPoolFilter,
    "work_queue_filter": filters.WorkQueueFilter,
}


def argument(name, value):
    if name == "sort":
        return sorting.DeploymentSort(value)
    return KINDS[name].model_validate(value) if name in KINDS else value


async def asked(call, *given, **named):
    try:
        found = call(*given, **named)
        found = await found if inspect.isawaitable(found) else found
    except (ObjectNotFound, PrefectHTTPStatusError) as error:
        return type(error).__name__
    return [one.model_dump(mode="json") for one in (found if isinstance(found, list) else [found])]


async def answers(client, wanted):
    searches = [{name: argument(name, value) for name, value in search.items()} for search in wanted["searches"]]
    return {
        "searches": [await asked(client.read_deployments, **search) for search in searches],
        "ids": [await asked(client.read_deployment, given) for given in wanted["ids"]],
        "names": [await asked(client.read_deployment_by_name, given) for given in wanted["names"]],
    }


async def by_both(url, wanted):
    with temporary_settings({PREFECT_API_URL: url}):
        async with get_client() as client:
            found = {"async": await answers(client, wanted)}
        with get_client(sync_client=True) as client:
            return {**found, "sync": await answers(client, wanted)}


async def main():
    wanted = json.load(sys.stdin)
    json.dump({url: await by_both(url, wanted) for url in sys.argv[1:]}, sys.stdout)


asyncio.run(main())
