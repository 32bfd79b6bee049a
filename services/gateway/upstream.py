"""Prefect's own server behind the gateway: what is not answered here is passed on to it, unchanged, and back.

Bodies stream in both directions, compressed or not as they come. What concerns one connection only (RFC 9110, 7.6.1) is
left out, and who asked is told in `Forwarded`, `X-Forwarded-*` and `Via`. `Host` stays, so that the server's redirects
lead back here.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from ipaddress import IPv6Address, ip_address
from time import perf_counter
from typing import Any, cast

from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    ConnectionTimeoutError,
    DummyCookieJar,
    StreamReader,
    TCPConnector,
    web,
)
from multidict import CIMultiDict
from yarl import URL

from services.gateway import envelope, problems
from services.gateway.connection import LONGEST_LINE
from services.gateway.problems import Answer, Problem, Unreachable
from services.gateway.tunnel import tunnel
from shared import metrics
from shared.settings import Settings

log = logging.getLogger(__name__)

CONNECTING = 5.0  # seconds
ASKING = 5.0  # seconds for a question of our own
KEPT = 2.0  # seconds an idle connection is kept; uvicorn closes them after 5, and a POST must not meet that
HOP_BY_HOP = {
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade",
}  # fmt: skip
ABOUT_THE_BODY = ("accept-encoding", "content-length", "expect")  # of the request as it came
NOT_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")  # by aiohttp, where the client sends none


class Upstream:
    """The server, and the connections to it."""

    def __init__(self, settings: Settings, session: ClientSession) -> None:
        self._settings = settings
        self._session = session
        self._name = f"classis-{secrets.token_hex(4)}"  # of this process in `Via`
        self._leaving = asyncio.Event()
        self._passing: set[asyncio.Task[Any]] = set()

    def leave(self, within: float) -> None:
        """Ends what would go on for ever; other answers have this time to be finished."""
        self._leaving.set()
        asyncio.get_running_loop().call_later(within, self._give_up)

    def _give_up(self) -> None:
        for task in self._passing:
            task.cancel()

    async def passed_on(self, request: web.BaseRequest, closing: Callable[[], bool]) -> web.StreamResponse:
        """The upstream's answer, sent to the client when this returns; `closing` tells if it is the connection's last.

        Raises Unreachable, or Problem for a request that cannot be passed on. Should the upstream break off in its
        answer, so does ours: with the ConnectionError that closes the connection.
        """
        _check(request)
        with self._counted():
            return await self._passed_on(request, closing)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        task = cast(asyncio.Task[Any], asyncio.current_task())
        self._passing.add(task)
        try:
            yield
        finally:
            self._passing.discard(task)

    async def _passed_on(self, request: web.BaseRequest, closing: Callable[[], bool]) -> web.StreamResponse:
        upgrade = _upgrade(request)
        response = await self._asked(request, self._headers(request, upgrade), None)
        try:
            if response.status == 101 and not upgrade:
                raise Unreachable(502, "changes the protocol unasked")
            made = _begun(response, upgrade if response.status == 101 else "")
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
            content = b"".join([part async for part in self._parts(response)])
        except (ClientError, TimeoutError) as error:
            raise _unreachable(error) from error
        finally:
            response.close()
        kept = {name: response.headers[name] for name in ("retry-after", "allow") if name in response.headers}
        return Answer(content, response.status, kept, response.headers.get("content-type", ""))

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
            async for part in self._parts(response):
                await made.write(part)
        except (ClientError, TimeoutError) as error:
            raise ConnectionError("the upstream broke off") from error
        await made.write_eof()
        return made

    async def _parts(self, response: ClientResponse) -> AsyncIterator[bytes]:
        """The answer's body. aiohttp's own limit on silence does not hold when it stumbles over a broken one."""
        while part := await _part(response.content, self._settings.upstream_patience):
            yield part

    async def _asked(self, request: web.BaseRequest, headers: CIMultiDict[str], body: bytes | None) -> ClientResponse:
        """The upstream's answer, of which the head is there; None is for a body that is yet to be read."""
        url = URL(f"{self._settings.upstream.rstrip('/')}{_target(request)}", encoded=True)
        began, outcome = perf_counter(), "failed"
        try:
            async with asyncio.timeout(self._settings.upstream_patience) as limit:
                data = self._body(request, limit) if body is None and request.can_read_body else body or None
                response = await self._session.request(
                    request.method, url, headers=headers, data=data, allow_redirects=False, skip_auto_headers=NOT_ADDED
                )
            outcome = f"{response.status // 100}xx"
        except (ClientError, OSError, TimeoutError) as error:
            if (mistake := request.content.exception()) is not None:  # the client's body broke off, or was too slow
                raise mistake from error
            raise _unreachable(error) from error
        finally:
            metrics.UPSTREAM.labels(outcome).observe(perf_counter() - began)
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
                part = await _part(request.content, self._settings.slow_client)
                _move(limit, self._settings.upstream_patience)
                yield part
        except TimeoutError:
            request.content.set_exception(Problem(408, "The body did not arrive in time"))
            raise

    def _headers(self, request: web.BaseRequest, upgrade: str) -> CIMultiDict[str]:
        """The client's headers as the upstream gets them. Raises Problem when the request has been here before."""
        if any(self._name in via for via in request.headers.getall("via", ())):
            log.error("CLASSIS_UPSTREAM leads back to this gateway")
            raise Problem(508, "Loop Detected")
        headers = _end_to_end(request.headers.items(), upgrade)
        if not _is_text(headers):
            raise Problem(400, "A header is not UTF-8")
        host, peer = request.headers.get("host", ""), request.remote or "unknown"
        headers.add("via", f"1.{request.version.minor} {self._name}")
        headers.add("forwarded", f'for={_node(peer)};host="{_quoted(host)}";proto={request.scheme}')
        headers["x-forwarded-for"] = ", ".join([*request.headers.getall("x-forwarded-for", ()), peer])
        headers.setdefault("x-forwarded-host", host)
        headers.setdefault("x-forwarded-proto", request.scheme)
        return headers


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Upstream | None]:
    """The upstream, if there is to be one."""
    if not settings.upstream:
        yield None
        return
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


def _begun(response: ClientResponse, upgrade: str) -> web.StreamResponse:
    """Our answer, as far as the head of the upstream's tells."""
    headers = _end_to_end(response.headers.items(), upgrade)
    if not _is_text(headers):
        headers = CIMultiDict((name, _from_latin_1(value)) for name, value in headers.items())
    headers.setdefault("Server", "classis")  # else aiohttp names itself
    return web.StreamResponse(status=response.status, reason=response.reason, headers=headers)


def _end_to_end(headers: Iterable[tuple[str, str]], upgrade: str) -> CIMultiDict[str]:
    """The headers that are not about one connection only, repeated ones repeated; and a change of protocol."""
    given = list(headers)
    named = {name.strip().lower() for key, value in given if key.lower() == "connection" for name in value.split(",")}
    left_out = (HOP_BY_HOP | named) - {"host"}
    kept = CIMultiDict((key.lower(), value) for key, value in given if key.lower() not in left_out)
    if upgrade:
        kept.update({"Connection": "Upgrade", "Upgrade": upgrade})
    return kept


def _upgrade(request: web.BaseRequest) -> str:
    """`websocket` when the client wants to change to it. No other protocol is passed on."""
    wanted = ", ".join(request.headers.getall("connection", ())).lower()
    asked = request.headers.get("upgrade", "")
    return asked if "upgrade" in wanted and asked.lower() == "websocket" else ""


def _target(request: web.BaseRequest) -> str:
    """The path and query as they came. Raises Problem for what would name another host."""
    if not request.raw_path.startswith("/"):
        raise problems.not_found()
    return request.raw_path


def _check(request: web.BaseRequest) -> None:
    """Raises Problem for what is not for the upstream, or cannot be told to it."""
    if request.method == "CONNECT":
        raise Problem(405, "Method Not Allowed")
    if request.headers.get("transfer-encoding", "chunked").strip().lower() != "chunked":
        raise Problem(501, "Not Implemented")


def _is_text(headers: CIMultiDict[str]) -> bool:
    """Whether all is UTF-8. aiohttp would send the rest without the bytes that are not."""
    try:
        "".join(headers.values()).encode()
    except UnicodeEncodeError:
        return False
    return True


def _from_latin_1(value: str) -> str:
    """What Prefect's server says in Latin-1 in a header, such as the name of a file, is sent on in UTF-8."""
    given = value.encode(errors="surrogateescape")
    try:
        return given.decode()
    except UnicodeDecodeError:
        return given.decode("latin-1")


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _node(peer: str) -> str:
    try:
        return f'"[{peer}]"' if isinstance(ip_address(peer), IPv6Address) else peer
    except ValueError:
        return peer


async def _part(body: StreamReader, within: float) -> bytes:
    """The next part of a body; none at its end."""
    async with asyncio.timeout(within):
        return await body.readany()


def _move(limit: asyncio.Timeout, seconds: float | None) -> None:
    with suppress(RuntimeError):  # the upstream answers already
        limit.reschedule(None if seconds is None else asyncio.get_running_loop().time() + seconds)


def _unreachable(error: Exception) -> Unreachable:
    """503 where nothing was done, so that clients ask again; 504 for silence, 502 for an answer that broke off.

    Most errors' texts hold the query or what was sent, which is not for the log.
    """
    if isinstance(error, ClientConnectorError):
        return Unreachable(503, str(error))
    if isinstance(error, ConnectionTimeoutError):
        return Unreachable(503, type(error).__name__)
    return Unreachable(504 if isinstance(error, TimeoutError) else 502, type(error).__name__)
