"""A typed client for the searches on the bus: structs go out, structs come back.

async with connect("nats://127.0.0.1:4222") as fleet:
    page = await fleet.paginate(Paginate(limit=10, deployments=DeploymentFilter(name=Name(like_="nightly"))))
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from shared import bus, errors
from shared.bus import Bus
from shared.contract import CONTENT_TYPE, COUNT, ERROR_CODE, ERROR_NAME, FILTER, MSGPACK, PAGINATE, WITHIN, Endpoint
from shared.deployment import Deployment, DeploymentPage
from shared.filters import Count, Filter, Paginate
from shared.line import Message
from shared.settings import Settings


class SearchRefused(errors.Refused):
    """The search itself is at fault. `status` and `body` are what HTTP would have answered."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body


class Fleet:
    """The three searches. Each raises SearchRefused, or an error of `shared.errors` that says whether to ask again:
    Unavailable does, Broken (a deployment stored in a form that Prefect itself cannot read) does not.
    """

    def __init__(self, line: Bus, within: float) -> None:
        self._line = line
        self._within = within

    async def filter(self, search: Filter) -> list[Deployment]:
        """The matching deployments, from `offset` on, at most `limit`."""
        found: list[Deployment] = await self._ask(FILTER, search)
        return found

    async def paginate(self, search: Paginate) -> DeploymentPage:
        """One page of the matching deployments, and how many there are."""
        found: DeploymentPage = await self._ask(PAGINATE, search)
        return found

    async def count(self, search: Count) -> int:
        """How many deployments match."""
        found: int = await self._ask(COUNT, search)
        return found

    async def _ask(self, endpoint: Endpoint[Any, Any], search: Count) -> Any:
        headers = {CONTENT_TYPE: MSGPACK, WITHIN: str(self._within)}
        reply = await self._line.ask(endpoint, Message(msgspec.msgpack.encode(search), headers), self._within)
        if code := int(reply.headers.get(ERROR_CODE, 0)):
            if 400 <= code < 500:
                packed = reply.headers.get(CONTENT_TYPE) == MSGPACK
                raise SearchRefused(code, (msgspec.msgpack if packed else msgspec.json).decode(reply.payload))
            raise errors.named(reply.headers.get(ERROR_NAME, ""), code)
        try:
            return msgspec.msgpack.decode(reply.payload, type=endpoint.reply)
        except msgspec.DecodeError as error:
            raise errors.Broken(f"a deployment is stored in a form that no struct has: {error}") from error


@asynccontextmanager
async def connect(nats_url: str, within: float = 10.0, **settings: str) -> AsyncIterator[Fleet]:
    """A client on a connection of its own. `within` is the time one search may take, in seconds; `settings` are those
    of `shared.settings` that begin with `nats_`, such as `nats_user` and `nats_password`.

    Raises DeadlineSpent when NATS does not answer in that time, SettingsError for settings that cannot be.
    """
    async with bus.connect(msgspec.convert({**settings, "nats_url": nats_url}, Settings), "client") as line:
        await line.up(within)
        yield Fleet(line, within)
