"""Prefect's own server behind the gateway: what is not answered here is passed on to it, unchanged, and back.

Bodies stream in both directions, compressed or not as they come, and nobody is waited for without end. What becomes of
the headers is in `forwarding`.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from time import perf_counter

from aiohttp import (
    ClientConnectionError,
    ClientConnectorError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    ConnectionTimeoutError,
    DummyCookieJar,
    TCPConnector,
    web,
)
from multidict import CIMultiDict
from yarl import URL

from services.gateway import envelope, forwarding
from services.gateway.connection import LONGEST_LINE
from services.gateway.problems import Answer, Problem, Unreachable
from services.gateway.tunnel import tunnel
from shared import metrics
from shared.errors import reason
from shared.settings import Settings

log = logging.getLogger(__name__)

CONNECTING = 5.0  # seconds
ASKING = 2.0  # seconds for a question of our own
SHARE = 0.75  # of all connections, that what is passed on may hold; searches have the rest
KEPT = 2.0  # seconds an idle connection is kept; uvicorn closes them after 5, and a POST must not meet that
ABOUT_THE_BODY = ("accept-encoding", "content-length", "expect")  # of the request as it came
NOT_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")  # by aiohttp, where the client sends none


class Upstream:
    """The server, and the connections to it."""

    def __init__(self, settings: Settings, session: ClientSession) -> None:
        self._settings = settings
        self._session = session
        self._name = f"classis-{secrets.token_hex(4)}"  # of this process in `Via`
        self._leaving = asyncio.Event()
        self._passing: set[asyncio.Timeout] = set()
        # Whom a request's outcome is told: the status, or None when there was nobody to answer.
        self.told: Callable[[web.BaseRequest, int | None], None] = _to_nobody

    @property
    def session(self) -> ClientSession:
        """For questions of our own."""
        return self._session

    def leave(self, within: float) -> None:
        """Ends what would go on for ever; other answers have this time to be finished."""
        self._leaving.set()
        asyncio.get_running_loop().call_later(within, self._give_up)

    def _give_up(self) -> None:
        for limit in self._passing:
            limit.reschedule(0.0)

    async def passed_on(self, request: web.BaseRequest, closing: Callable[[], bool]) -> web.StreamResponse:
        """The upstream's answer, sent to the client when this returns; `closing` tells if it is the connection's last.

        Raises Unreachable, or Problem for a request that cannot be passed on. Should the upstream break off in its
        answer, so does ours: with the ConnectionError that closes the connection.
        """
        if len(self._passing) >= SHARE * self._settings.max_connections:
            raise Unreachable(503, "as many calls as connections are for are being passed on")
        try:
            async with asyncio.timeout(None) as limit:
                self._passing.add(limit)
                try:
                    return await self._passed_on(request, closing)
                finally:
                    self._passing.discard(limit)
        except TimeoutError:
            if request.writer.output_size > 0:
                raise ConnectionError("leaving in the middle of an answer") from None
            raise Unreachable(503, "leaving") from None

    async def _passed_on(self, request: web.BaseRequest, closing: Callable[[], bool]) -> web.StreamResponse:
        forwarding.check(request)
        protocol = forwarding.upgrade(request)
        response = await self._asked(request, self._headers(request, protocol), None)
        try:
            headers = forwarding.answer_headers(response.headers, protocol if response.status == 101 else "")
            made = web.StreamResponse(status=response.status, reason=response.reason, headers=headers)
            if response.status == 101:
                return await tunnel(request, response, made, self._leaving)
            if closing():
                made.force_close()
            return await self._sent_on(request, response, made)
        finally:
            response.close()

    async def answer(self, request: web.BaseRequest, body: bytes = b"") -> Answer:
        """The upstream's whole answer to a request whose body has been read. Raises as `passed_on`."""
        headers = self._headers(request, "")
        for name in ABOUT_THE_BODY:
            headers.popall(name, None)
        headers["accept-encoding"] = "identity"
        response = await self._asked(request, headers, body)
        try:
            if response.headers.get("content-encoding", "identity") != "identity":
                raise Unreachable(502, "compressed though asked not to be")
            content = bytearray()
            while not response.content.at_eof():
                content += await self._part(response)
        except (ClientError, TimeoutError) as error:
            raise _unreachable(error) from error
        finally:
            response.close()
        kept = {name: response.headers[name] for name in ("retry-after", "allow") if name in response.headers}
        return Answer(bytes(content), response.status, kept, response.headers.get("content-type", ""))

    async def status(self, method: str, path: str, headers: Mapping[str, str]) -> int | None:
        """The status of its answer to a question of ours; None when there is no answer."""
        url = URL(f"{self._settings.upstream.rstrip('/')}{path}", encoded=True)
        try:
            async with self._session.request(
                method, url, headers=headers, allow_redirects=False, timeout=ClientTimeout(total=ASKING)
            ) as response:
                return response.status
        except (ClientError, OSError, TimeoutError):
            return None

    async def _sent_on(
        self, request: web.BaseRequest, response: ClientResponse, made: web.StreamResponse
    ) -> web.StreamResponse:
        """Sends the answer on as it arrives."""
        await made.prepare(request)
        try:
            while not response.content.at_eof():
                await made.write(await self._part(response))
        except (ClientError, TimeoutError) as error:
            raise ConnectionError("the upstream broke off") from error
        await made.write_eof()
        return made

    async def _part(self, response: ClientResponse) -> bytes:
        """The next part of an answer. aiohttp forgets its own limit when it stumbles over a broken body."""
        async with asyncio.timeout(self._settings.upstream_patience):
            return await response.content.readany()

    async def _asked(self, request: web.BaseRequest, headers: CIMultiDict[str], body: bytes | None) -> ClientResponse:
        """The upstream's answer, of which the head is there; None is for a body that is yet to be read."""
        url = URL(f"{self._settings.upstream.rstrip('/')}{request.raw_path}", encoded=True)
        began, outcome = perf_counter(), "given_up"
        try:
            async with asyncio.timeout(self._settings.upstream_patience) as limit:
                data = self._body(request, limit) if body is None and request.can_read_body else body or None
                response = await self._session.request(
                    request.method, url, headers=headers, data=data, allow_redirects=False, skip_auto_headers=NOT_ADDED
                )
            outcome = f"{response.status // 100}xx"
        except (ClientError, OSError, TimeoutError) as error:
            mistake = request.content.exception() if body is None else None
            if mistake is not None:  # the client's body broke off, or was too slow
                raise mistake from error
            outcome = "failed"
            if isinstance(error, ClientConnectionError):
                self.told(request, None)
            raise _unreachable(error) from error
        finally:
            metrics.UPSTREAM.labels(outcome).observe(perf_counter() - began)
        self.told(request, response.status)
        if response.status == 101 and "upgrade" not in headers:
            response.close()
            raise Unreachable(502, "changes the protocol unasked")
        return response

    async def _body(self, request: web.BaseRequest, limit: asyncio.Timeout) -> AsyncIterator[bytes]:
        """The client's body; a client that waits to be asked for it is asked when the upstream asks.

        Neither side may be silent for long: the client while we wait for a part, the upstream while it has one to take.
        """
        if request.headers.get("expect", "").lower() == "100-continue":
            await envelope.invite(request)
        try:
            while not request.content.at_eof():
                _move(limit, None)
                async with asyncio.timeout(self._settings.slow_client):
                    part = await request.content.readany()
                _move(limit, self._settings.upstream_patience)
                yield part
        except TimeoutError:
            request.content.set_exception(Problem(408, "The body did not arrive in time"))
            raise

    def _headers(self, request: web.BaseRequest, protocol: str) -> CIMultiDict[str]:
        """The client's headers as the upstream gets them. Raises Problem when the request has been here before."""
        if any(self._name in via for via in request.headers.getall("via", ())):
            log.error("CLASSIS_UPSTREAM leads back to this gateway")
            raise Problem(508, "Loop Detected")
        return forwarding.request_headers(request, self._name, protocol)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Upstream]:
    """The server that the setting names, whether it answers or not."""
    timeout = ClientTimeout(total=None, sock_connect=CONNECTING)
    connector = TCPConnector(limit=0, keepalive_timeout=KEPT)
    async with ClientSession(
        connector=connector,
        timeout=timeout,
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,
        max_line_size=LONGEST_LINE,
        max_field_size=LONGEST_LINE,
    ) as session:
        yield Upstream(settings, session)


def _move(limit: asyncio.Timeout, seconds: float | None) -> None:
    with suppress(RuntimeError):  # the upstream answers already
        limit.reschedule(None if seconds is None else asyncio.get_running_loop().time() + seconds)


def _unreachable(error: Exception) -> Unreachable:
    """503 where nothing was done, so that clients ask again; 504 for silence, 502 for an answer that broke off.

    Most errors' texts hold the query or what was sent, which is not for the log.
    """
    if isinstance(error, ClientConnectorError):
        return Unreachable(503, f"{error.host}:{error.port}: {reason(error.os_error)}")
    if isinstance(error, ConnectionTimeoutError):
        return Unreachable(503, type(error).__name__)
    return Unreachable(504 if isinstance(error, TimeoutError) else 502, type(error).__name__)


def _to_nobody(_: web.BaseRequest, __: int | None) -> None:
    pass
