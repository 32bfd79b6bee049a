"""One of the two servers: how it is reached, and what it answers."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter

import aiohttp
import msgspec
from aiohttp import BasicAuth, ClientSession, ClientTimeout, TCPConnector
from yarl import URL

from services.compare.requests import Request
from shared.agreement import Reply

PATIENCE = ClientTimeout(total=120, sock_connect=5)  # seconds
KEPT = 2.0  # seconds an idle connection is kept; servers close them after 5
JSON = {"content-type": "application/json"}
TOKEN = "/api/csrf-token"  # noqa: S105 — where there are some
SLOW = Reply(504, b"")


class Unreachable(Exception):
    """A server does not answer. The text says which, and why."""


class Token(msgspec.Struct):
    token: str
    client: str


class Server:
    """A server, and the token it gave us."""

    def __init__(self, session: ClientSession, url: URL, auth: BasicAuth | None) -> None:
        self.url = str(url).rstrip("/")
        self._session = session
        self._auth = auth
        self._token: dict[str, str] = {}

    async def knock(self) -> None:
        """Raises Unreachable unless somebody is there. Gets a token, where the server asks for one."""
        reply = await self._asked(Request("GET", f"{TOKEN}?client={uuid.uuid4()}"))
        if reply is SLOW:
            raise Unreachable(f"{self.url} does not answer in time")
        if reply.status == 401:
            raise Unreachable(f"{self.url} asks for a user and password: --auth, or CLASSIS_API_AUTH_STRING")
        if reply.status == 200:
            given = msgspec.json.decode(reply.body, type=Token)
            self._token = {"prefect-csrf-token": given.token, "prefect-csrf-client": given.client}

    async def ask(self, request: Request) -> Reply:
        """The answer. Raises Unreachable when there is none; a server that is too slow gives 504."""
        reply = await self._asked(request)
        if reply.status == 403 and self._token:  # it is too old
            await self.knock()
            reply = await self._asked(request)
        return reply

    async def timed(self, request: Request) -> tuple[Reply, float]:
        began = perf_counter()
        return await self.ask(request), perf_counter() - began

    async def _asked(self, request: Request) -> Reply:
        for last in (False, True):
            try:
                return await self._sent(request)
            except TimeoutError:
                break
            except (aiohttp.ClientError, OSError) as error:  # once, it may be an idle connection that has ended
                if last:
                    raise Unreachable(f"{self.url} does not answer: {error}") from error
        return SLOW

    async def _sent(self, request: Request) -> Reply:
        url = URL(f"{self.url}{request.path}", encoded=True)
        headers = {**(JSON if request.body is not None else {}), **self._token}
        async with self._session.request(
            request.method, url, data=request.body, headers=headers, auth=self._auth, allow_redirects=False
        ) as response:
            return Reply(response.status, await response.read())


@asynccontextmanager
async def opened(at: URL, auth: str) -> AsyncIterator[Server]:
    """A server that answers. The URL may name user and password, and may end in /api as Prefect's own setting does."""
    login = f"{at.user}:{at.password or ''}" if at.user else auth
    user, _, password = login.partition(":")
    at = at.with_user(None).with_path(at.path.rstrip("/").removesuffix("/api") or "/")
    connector = TCPConnector(limit=0, keepalive_timeout=KEPT)
    async with ClientSession(connector=connector, timeout=PATIENCE) as session:
        server = Server(session, at, BasicAuth(user, password, "utf-8") if login else None)
        await server.knock()
        yield server
