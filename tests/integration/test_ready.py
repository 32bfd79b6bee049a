"""`/api/ready`: what it says of services that do not answer, and of those that do, but whose database does not."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from services import embedded
from shared import bus, contract
from shared.contract import Readiness, Ready
from shared.errors import Broken, DatabaseDown, DeadlineSpent, FleetError
from shared.settings import Settings
from tests.conftest import folder
from tests.doors import WITHIN, nothing, on_uvloop, opened

WITHOUT_NATS = {"message": "Not ready: NATS"}
WELL = dict.fromkeys(contract.READY)


@pytest.fixture
def nats_url() -> Iterator[str]:
    with folder() as home, embedded.nats(home) as url:
        yield url


@asynccontextmanager
async def service(nats_url: str, name: str, trouble: FleetError | None) -> AsyncIterator[None]:
    """A service that says so of its database."""

    async def ready(_: Readiness) -> Ready:
        if trouble:
            raise trouble
        return Ready()

    async with bus.connect(Settings(nats_url=nats_url), name) as line:
        await line.up(WITHIN)
        async with line.serve(contract.READY[name], ready):
            yield


@pytest.mark.parametrize(
    ("services", "says"),
    [
        (WELL, "OK"),
        ({}, "Not ready: flows, runs, work_pools, deployments"),
        ({"flows": None, "work_pools": None}, "Not ready: runs, deployments"),
        (
            {**WELL, "flows": DatabaseDown("x"), "work_pools": DeadlineSpent("x")},
            "Not ready: database of flows, work_pools",
        ),
        (dict.fromkeys(WELL, DatabaseDown("x")), "Not ready: database of flows, runs, work_pools, deployments"),
        (
            {"flows": DatabaseDown("x"), "deployments": Broken("x"), "work_pools": None},
            "Not ready: runs, deployments; database of flows",
        ),
    ],
)
@on_uvloop
async def test_a_database_that_is_away_is_told_from_a_service(
    nats_url: str, services: dict[str, FleetError | None], says: str
) -> None:
    async with AsyncExitStack() as stack:
        for name, trouble in services.items():
            await stack.enter_async_context(service(nats_url, name, trouble))
        connect = await stack.enter_async_context(opened(nats_url, nothing))
        wire = await connect()
        while (reply := await wire.ask("GET", "/api/ready")).json == WITHOUT_NATS:  # it is on its way
            pass
        assert (reply.status, reply.json) == (200 if says == "OK" else 503, {"message": says})


@on_uvloop
async def test_without_nats_nothing_else_is_known() -> None:
    async with opened("nats://127.0.0.1:1", nothing) as connect:
        reply = await (await connect()).ask("GET", "/api/ready")
        assert (reply.status, reply.json) == (503, WITHOUT_NATS)
