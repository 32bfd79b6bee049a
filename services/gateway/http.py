"""The HTTP door: routes, the request's envelope, and the answer's, as Prefect's server has them.

Routing is a table of our own, matched on the decoded path, because Prefect decodes `%2F` before it routes and answers
every unknown path, method and trailing slash in its own way. So aiohttp's low-level server is enough.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple
from urllib.parse import quote, unquote
from uuid import UUID

from aiohttp import web

from services.gateway import decode, envelope, etag, problems
from services.gateway.fanout import Answering, Deadline
from services.gateway.problems import Answer, Problem
from shared.bus import Bus
from shared.contract import BY_ID, BY_NAME, READY, DeploymentById, DeploymentByName, Readiness, Row
from shared.filters import Count, Filter, Paginate
from shared.settings import Settings

log = logging.getLogger(__name__)

API_VERSION = "0.8.4"  # of Prefect 3.8.8
OLDEST_VERSION = (0, 8, 0)
READY_WITHIN = 2.0
KEEPALIVE = 5.0  # seconds, as Prefect's server
LONGEST_LINE = 64 * 1024  # bytes of a request line or header, as uvicorn's parser
URL_PUNCTUATION = ":/%#?=@[]!$&'()*+,;"
_HEX = "[0-9a-fA-F]"
_ID = rf"(?P<id>{_HEX}{{8}}-?{_HEX}{{4}}-?{_HEX}{{4}}-?{_HEX}{{4}}-?{_HEX}{{12}})"


class Context(NamedTuple):
    """What the answers need besides the request."""

    bus: Bus
    answering: Answering
    settings: Settings


Path = Mapping[str, str]
Respond = Callable[[Context, web.BaseRequest, Path], Awaitable[Answer]]


class Route(NamedTuple):
    path: re.Pattern[str]
    method: str
    respond: Respond


# --- the answers


async def search(kind: type[Count], context: Context, request: web.BaseRequest, _: Path) -> Answer:
    """One of the three searches. The order of the checks is Prefect's: syntax, version, values."""
    deadline = Deadline(context.settings.deadline)
    largest = context.settings.default_limit
    body = await _body(request, deadline) if envelope.has_json(request) else b""
    found = decode.read(kind, body, largest)
    check_version(request)
    answered = await context.answering(decode.settled(found, largest), deadline)
    return Answer(answered.body, headers=_known_by(answered.etag))


async def _body(request: web.BaseRequest, deadline: Deadline) -> bytes:
    try:
        async with asyncio.timeout(deadline.left):
            return await request.read()
    except TimeoutError:
        raise Problem(408, "The body did not arrive in time", {"connection": "close"}) from None


async def by_id(context: Context, request: web.BaseRequest, path: Path) -> Answer:
    check_version(request)
    asked = DeploymentById(id=UUID(path["id"].replace("-", "")))
    return _row(await context.bus.call(BY_ID, asked, context.settings.deadline))


async def by_name(context: Context, request: web.BaseRequest, path: Path) -> Answer:
    check_version(request)
    asked = DeploymentByName(flow=path["flow"], deployment=path["deployment"])
    return _row(await context.bus.call(BY_NAME, asked, context.settings.deadline))


def _row(found: Row) -> Answer:
    if found.row is None:
        raise problems.not_found("Deployment not found")
    return Answer(found.row, headers=_known_by(etag.of(found.tag)))


def _known_by(validator: str) -> dict[str, str]:
    return {"etag": validator} if validator else {}


async def health(_: Context, __: web.BaseRequest, ___: Path) -> Answer:
    """Whether this process answers."""
    return Answer(b"true")


async def ready(context: Context, request: web.BaseRequest, _: Path) -> Answer:
    """Whether a search could be answered: NATS, and each service with its database."""
    check_version(request)
    calls = [context.bus.call(endpoint, Readiness(), READY_WITHIN) for endpoint in READY.values()]
    results = await asyncio.gather(*calls, return_exceptions=True)
    missing = [name for name, result in zip(READY, results, strict=True) if isinstance(result, BaseException)]
    if missing:
        message = f"Not ready: {', '.join(missing)}"
        return Answer(problems.printed({"message": message}), 503, {"retry-after": problems.RETRY_AFTER})
    return Answer(b'{"message":"OK"}')


async def version(_: Context, __: web.BaseRequest, ___: Path) -> Answer:
    return Answer(problems.printed(API_VERSION))


async def csrf_token(_: Context, __: web.BaseRequest, ___: Path) -> Answer:
    """Prefect's client asks before its first POST; this answer tells it to go on without."""
    raise Problem(422, "CSRF protection is disabled.")


ROUTES = [
    Route(re.compile("/api/deployments/filter"), "POST", partial(search, Filter)),
    Route(re.compile("/api/deployments/paginate"), "POST", partial(search, Paginate)),
    Route(re.compile("/api/deployments/count"), "POST", partial(search, Count)),
    Route(re.compile("/api/deployments/name/(?P<flow>[^/]+)/(?P<deployment>[^/]+)"), "GET", by_name),
    Route(re.compile(f"/api/deployments/{_ID}"), "GET", by_id),
    Route(re.compile("/api/health"), "GET", health),
    Route(re.compile("/api/ready"), "GET", ready),
    Route(re.compile("/api/version"), "GET", version),
    Route(re.compile("/api/csrf-token"), "GET", csrf_token),
]


def check_version(request: web.BaseRequest) -> None:
    """Refuses a client whose API version is too old or no version. None and an empty one pass."""
    given = request.headers.get("x-prefect-api-version")
    if not given:
        return
    given = given.encode(errors="surrogateescape").decode("latin-1")
    try:
        major, minor, patch = map(int, given.split("."))
    except ValueError:
        form = "Invalid X-PREFECT-API-VERSION header format.Expected header in format 'x.y.z' but received"
        raise Problem(400, f"{form} {given}") from None
    if (major, minor, patch) < OLDEST_VERSION:
        oldest = ".".join(map(str, OLDEST_VERSION))
        said = f"The request specified API version {given} but this server requires version {oldest} or higher."
        raise Problem(400, said)


# --- the door


async def respond(context: Context, request: web.BaseRequest) -> web.Response:
    """Every request comes through here, and every answer leaves through `envelope`."""
    if preflight := envelope.preflight(request, context.settings):
        return preflight
    try:
        await envelope.invite(request)
        answer = await _routed(context, request)
    except web.HTTPException as error:  # aiohttp's own: a body that is too large
        answer = Answer(problems.printed({"detail": error.reason}), error.status)
    except Exception as error:  # this is a door: every error gets its answer in problems
        answer = problems.answer_to(error)
        if answer.status == 500:
            log.exception("%s failed", request.path)
    return await envelope.response(answer, request, context.settings)


async def _routed(context: Context, request: web.BaseRequest) -> Answer:
    path = unquote(request.raw_path.partition("?")[0])
    if "\n" in path:  # no route of Prefect's matches beyond a line's end
        raise problems.not_found()
    route, found = _find(path)
    if route is None:
        return _redirect(request, path)
    if request.method != route.method:
        raise Problem(405, "Method Not Allowed", {"allow": route.method})
    return await route.respond(context, request, found)


def _find(path: str) -> tuple[Route | None, Path]:
    """The route of a path, and what the path names."""
    for route in ROUTES:
        if found := route.path.fullmatch(path):
            return route, found.groupdict()
    return None, {}


def _redirect(request: web.BaseRequest, path: str) -> Answer:
    """A trailing slash is sent to the path without it, method kept; anything else is not found."""
    bare = path.rstrip("/")
    if bare == path or _find(bare)[0] is None:
        raise problems.not_found()
    _, question, query = request.raw_path.partition("?")
    location = quote(f"{request.scheme}://{request.host}{bare}{question}{query}", safe=URL_PUNCTUATION)
    return Answer(b"", 307, {"location": location}, content_type="")


@asynccontextmanager
async def serving(bus: Bus, answering: Answering, settings: Settings) -> AsyncIterator[None]:
    """Listens on the configured address until the block is left; then finishes what it accepted."""
    context = Context(bus, answering, settings)

    taken = partial(web.BaseRequest, loop=asyncio.get_running_loop(), client_max_size=settings.max_body)
    server = web.Server(
        partial(respond, context),
        request_factory=taken,
        access_log=None,
        keepalive_timeout=KEEPALIVE,
        handler_cancellation=True,
        auto_decompress=False,
        max_line_size=LONGEST_LINE,
        max_field_size=LONGEST_LINE,
    )
    runner = web.ServerRunner(server)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.host, settings.port, shutdown_timeout=settings.deadline).start()
        log.info("listening on http://%s:%d", *runner.addresses[0][:2])
        yield
    finally:
        await runner.cleanup()
