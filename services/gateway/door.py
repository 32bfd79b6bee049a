"""The HTTP door: every request comes in here, is let in or not, and is answered, told and counted.

Routing is a table of our own, matched on the decoded path, because Prefect decodes `%2F` before it routes and answers
every unknown path, method and trailing slash in its own way. So aiohttp's low-level server is enough.
"""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import cache, partial
from time import perf_counter
from urllib.parse import quote, unquote

from aiohttp import web
from prometheus_client import Counter, Histogram

from services.gateway import (
    auth,
    behind,
    csrf,
    decode,
    descriptors,
    envelope,
    http,
    problems,
    record,
)
from services.gateway.admission import Admission
from services.gateway.behind import Behind
from services.gateway.connection import Server
from services.gateway.fanout import Answering
from services.gateway.http import Context, Path, Route
from services.gateway.problems import Answer, Problem, Unauthorized, Unreachable
from shared import metrics, origin, tracing
from shared.bus import Bus
from shared.errors import Busy, Unavailable
from shared.process import cannot_listen
from shared.settings import PREFIX, Settings

log = logging.getLogger(__name__)

URL_PUNCTUATION = ":/%#?=@[]!$&'()*+,;"
BACKLOG = 2048  # connections that wait to be accepted
FAREWELL = 0.1  # seconds in which what was sent before the door closed may still arrive
OTHER = "other"  # the name of what is no endpoint
UPSTREAM = "upstream"  # and of what is passed on


async def respond(context: Context, request: web.BaseRequest) -> web.StreamResponse:
    """Every answer of ours leaves through `envelope`, and the last one of a connection says so."""
    request[http.BEGAN] = started = perf_counter()
    name = origin.named(request.headers.get("x-request-id"))
    origin.request_id.set(name)
    endpoint, size = OTHER, 0
    made: web.StreamResponse | None = None
    if context.behind is None:
        made = envelope.preflight(request, context.settings)
    if made is None:
        endpoint, answer = await _traced(context, request)
        if isinstance(answer, web.StreamResponse):  # the upstream's, and sent
            _tell(endpoint, request, answer.status, 0, perf_counter() - started)
            return answer
        made = await envelope.response(answer, request, context.settings)
        size = len(answer.body) if made.status != 304 else 0
    made.headers["x-request-id"] = name
    refused_unread = made.status >= 400 and not request.content.is_eof()
    if context.leaving or refused_unread:
        made.force_close()
    _tell(endpoint, request, made.status, size, perf_counter() - started)
    return made


async def _traced(context: Context, request: web.BaseRequest) -> tuple[str, Answer | web.StreamResponse]:
    """As `_answered`, within a span of the caller's trace."""
    parent, method = request.headers.get("traceparent", ""), request.method
    with tracing.span("request", parent=parent, kind="server", **{"http.request.method": method}) as span:
        endpoint, answer = await _answered(context, request)
        span.set_attribute("http.route", endpoint)
        span.set_attribute("http.response.status_code", answer.status)
        return endpoint, answer


def _tell(endpoint: str, request: web.BaseRequest, status: int, size: int, seconds: float) -> None:
    taken, sent = _counters(endpoint, status)
    if status != 101:  # a WebSocket lasts as long as it lasts
        taken.observe(seconds)
    sent.inc(size)
    if log.isEnabledFor(logging.DEBUG):
        log.debug("%s %.200r %d %.1f ms", request.method, request.rel_url.raw_path, status, 1000 * seconds)


@cache
def _counters(endpoint: str, status: int) -> tuple[Histogram, Counter]:
    return metrics.REQUESTS.labels(endpoint, str(status)), metrics.SENT.labels(endpoint)


async def _answered(context: Context, request: web.BaseRequest) -> tuple[str, Answer | web.StreamResponse]:
    """The name of the endpoint, and its answer or what went wrong."""
    path = unquote(request.raw_path.partition("?")[0])
    route, found = _find(context, path)
    endpoint = route.name if route else OTHER
    try:
        if context.behind and not _is_ours(context.behind, request, route):
            endpoint = UPSTREAM
            return endpoint, await _passed_on(context, context.behind, request, path)
        try:
            await csrf.check(context, request)
        except Unavailable as error:
            return endpoint, await http.checked_upstream(context, request, error)
        if not _may_ask(context.settings, request, path):
            raise Unauthorized
        if route is None:
            return endpoint, _redirect(context, request, path)
        if request.method != route.method:
            raise Problem(405, "Method Not Allowed", {"allow": route.method})
        return endpoint, await route.respond(context, request, found)
    except ConnectionError:  # in the middle of an answer: the connection tells by closing
        raise
    except Exception as error:  # this is a door: every error gets its answer in problems
        answer = await decode.aside(request.content_length or 0, problems.answer_to, error)
        if answer.status == 500:
            log.exception("%s failed", endpoint)
        elif isinstance(error, Unavailable | Unreachable) and not isinstance(error, Busy):
            log.warning("%s: %r", endpoint, error)
        return endpoint, answer


async def _passed_on(
    context: Context, behind: Behind, request: web.BaseRequest, path: str
) -> Answer | web.StreamResponse:
    """The upstream's answer, sent already; or ours where it cannot say what we know of it."""
    try:
        return await behind.upstream.passed_on(request, lambda: context.leaving)
    except Unreachable as error:
        if not csrf.stands_in(context, request, path):
            raise
        if not _may_ask(context.settings, request, path):
            raise Unauthorized from error
        log.warning("%s: %r; whoever wants a CSRF token is told that none is needed", UPSTREAM, error)
        return await http.csrf_token(context, request, {})


def _is_ours(behind: Behind, request: web.BaseRequest, route: Route | None) -> bool:
    """Whether the gateway answers itself: searches only while it asks no less of clients than the upstream does."""
    if route is None or request.method != route.method:
        return False
    if route not in http.READS or behind.posture.agrees:
        return True
    metrics.FALLBACKS.labels("Posture").inc()
    return False


def _may_ask(settings: Settings, request: web.BaseRequest, path: str) -> bool:
    secret = settings.api_auth_string
    if not secret or auth.is_open(request.method, path):
        return True
    return auth.allows(secret, request.headers.get("authorization"))


def _find(context: Context, path: str) -> tuple[Route | None, Path]:
    """The route of a path, and what the path names. No route of Prefect's matches beyond a line's end."""
    if "\n" not in path:
        for route in http.IN_FRONT if context.behind else http.ALONE:
            if found := route.path.fullmatch(path):
                return route, found.groupdict()
    return None, {}


def _redirect(context: Context, request: web.BaseRequest, path: str) -> Answer:
    """A trailing slash is sent to the path without it, method kept; anything else is not found."""
    bare = path.rstrip("/")
    if bare == path or _find(context, bare)[0] is None:
        raise problems.not_found()
    _, question, query = request.raw_path.partition("?")
    location = quote(
        f"{request.scheme}://{request.host}{bare}{question}{query}", safe=URL_PUNCTUATION, errors="surrogateescape"
    )
    return Answer(b"", 307, {"location": location}, content_type="")


@asynccontextmanager
async def serving(bus: Bus, answering: Answering, settings: Settings) -> AsyncIterator[None]:
    """Listens on the configured address until the block is left.

    Then it is not ready, goes on for as long as is set, and closes the door; what it accepted is finished.
    """
    async with behind.opened(settings) as server, record.opened(settings.record) as noted:
        context = Context(bus, answering, settings, Admission(settings), server, noted)
        async with _listening(context):
            yield


@asynccontextmanager
async def _listening(context: Context) -> AsyncIterator[None]:
    settings = context.settings
    descriptors.allow(settings)
    server = Server(partial(respond, context), settings)
    try:
        listener = await asyncio.get_running_loop().create_server(server, settings.host, settings.port, backlog=BACKLOG)
    except OSError as error:
        raise cannot_listen(settings.host, settings.port, f"{PREFIX}HOST and {PREFIX}PORT", error) from error
    log.info("listening on http://%s:%d", *listener.sockets[0].getsockname()[:2])
    try:
        yield
    finally:
        context.leaving = True
        await asyncio.sleep(settings.drain)
        for late in _closed(listener):
            with suppress(OSError):  # it has gone
                await asyncio.get_running_loop().connect_accepted_socket(server, late)
        await asyncio.sleep(FAREWELL)
        server.pre_shutdown()
        within = settings.deadline + settings.slow_client  # to answer, and for clients to take answers
        if context.behind:
            context.behind.upstream.leave(within - FAREWELL)
        await server.shutdown(within)


def _closed(listener: asyncio.Server) -> list[socket.socket]:
    """Closes the door. Gives who stands before it: the kernel has taken those connections, and would reset them."""
    doors = [socket.socket(fileno=os.dup(door.fileno())) for door in listener.sockets]
    listener.close()
    late = []
    for door in doors:
        with door, suppress(OSError):  # nobody is left, or nobody more can be let in
            while True:
                late.append(door.accept()[0])
    return late
