"""One of the two servers: how it is reached, what it answers, and who answers there."""

import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter
from typing import NamedTuple

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
READY = "/api/ready"  # a gateway answers it itself, whatever it passes on
COUNT = Request("POST", "/api/deployments/count", b"{}")
OURS, FALLBACK = "classis", "x-classis-fallback"  # the `Server` of a gateway's answers; what tells of an upstream's


class Unreachable(Exception):
    """A server does not answer, or not as an API of Prefect's. The text says which, and why."""


class Token(msgspec.Struct):
    token: str
    client: str


class Answer(NamedTuple):
    """An answer, who says to have given it, and how long it took."""

    reply: Reply
    server: str = ""
    passed_on: bool = False  # by a gateway of Classis to its upstream, which answered in place of the fleet
    seconds: float = 0.0


SLOW = Answer(Reply(504, b""))


class Server:
    """A server, the token it gave us, and who answered the searches there, by the answers' `Server` header."""

    def __init__(self, session: ClientSession, url: URL, auth: BasicAuth | None) -> None:
        self.url = str(url).rstrip("/")
        self.is_gateway = False
        self.names: Counter[str] = Counter()
        self._session = session
        self._auth = auth
        self._token: dict[str, str] = {}

    @property
    def strangers(self) -> Counter[str]:
        """Who else than the gateway answered, where there is one."""
        return Counter({name: times for name, times in self.names.items() if self.is_gateway and name != OURS})

    async def knock(self) -> None:
        """Raises Unreachable unless an API is there. Gets a token, where the server asks for one."""
        answer = await self._asked(Request("GET", f"{TOKEN}?client={uuid.uuid4()}"))
        status = answer.reply.status
        if answer is SLOW:
            raise Unreachable(f"{self.url} does not answer in time")
        if status == 401:
            raise Unreachable(f"{self.url} asks for a user and password: --auth, or CLASSIS_API_AUTH_STRING")
        if 300 <= status < 400:
            raise Unreachable(f"{self.url} sends us to another address: name that one")
        if status == 200:
            self._token = self._given(answer.reply.body)

    def _given(self, body: bytes) -> dict[str, str]:
        try:
            given = msgspec.json.decode(body, type=Token)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise Unreachable(f"{self.url} does not answer as Prefect's API does: is it the right address?") from None
        return {"prefect-csrf-token": given.token, "prefect-csrf-client": given.client}

    async def count(self) -> None:
        """Raises Unreachable unless a plain count is answered: who does not answer that answers no search."""
        reply = (await self.ask(COUNT)).reply
        if reply.status != 200 or not reply.body.strip().isdigit():
            advice = "see its log" if reply.status >= 500 else "is it the right address?"
            said = f"{self.url} answers {reply.status} to a plain count, not with a number"
            raise Unreachable(f"{said}: {advice}")

    async def ask(self, request: Request) -> Answer:
        """The answer. Raises Unreachable when there is none; a server that is too slow gives 504."""
        answer = await self._asked(request)
        if answer.reply.status == 403 and self._token:  # it is too old
            await self.knock()
            answer = await self._asked(request)
        return answer

    async def timed(self, request: Request) -> Answer:
        """As `ask`, for a search that is compared."""
        began = perf_counter()
        answer = await self.ask(request)
        if answer.server:
            self.names[answer.server] += 1
        stranger = self.is_gateway and answer.server not in {OURS, ""}
        return answer._replace(seconds=perf_counter() - began, passed_on=answer.passed_on or stranger)

    async def _asked(self, request: Request) -> Answer:
        for last in (False, True):
            try:
                return await self._sent(request)
            except TimeoutError:
                break
            except (aiohttp.ClientError, OSError) as error:  # once, it may be an idle connection that has ended
                if last:
                    raise Unreachable(f"{self.url} does not answer: {error}") from error
        return SLOW

    async def _sent(self, request: Request) -> Answer:
        url = URL(f"{self.url}{request.path}", encoded=True)
        headers = {**(JSON if request.body is not None else {}), **self._token}
        async with self._session.request(
            request.method, url, data=request.body, headers=headers, auth=self._auth, allow_redirects=False
        ) as response:
            server = response.headers.get("server", "")
            self.is_gateway = self.is_gateway or server == OURS
            reply = Reply(response.status, await response.read())
            return Answer(reply, server, FALLBACK in response.headers)


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
        await server.ask(Request("GET", READY))  # tells whether it is a gateway
        await server.count()
        yield server
