"""What is asked by HTTP: the routes, and the answer of each, as Prefect's server has them."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

from aiohttp import web

from services.gateway import decode, envelope, etag, missing, problems
from services.gateway.admission import Admission
from services.gateway.behind import Behind
from services.gateway.fallback import Fallback
from services.gateway.fanout import Answering, Deadline, Found
from services.gateway.problems import Answer, Problem
from services.gateway.record import Record
from services.gateway.shadow import Shadow
from shared.bus import Bus
from shared.contract import BY_ID, BY_NAME, Call, DeploymentById, DeploymentByName, Endpoint, Row
from shared.errors import Unavailable
from shared.filters import Count, Filter, Paginate
from shared.settings import Settings

Q = TypeVar("Q", bound=Call)
API_VERSION = "0.8.4"  # of Prefect 3.8.8
OLDEST_VERSION = (0, 8, 0)
BEGAN = web.RequestKey("began", float)  # what the deadline counts from
_HEX = "[0-9a-fA-F]"
_ID = rf"(?P<id>{_HEX}{{8}}-?{_HEX}{{4}}-?{_HEX}{{4}}-?{_HEX}{{4}}-?{_HEX}{{12}})"


@dataclass(slots=True)
class Context:
    """What the answers need besides the request."""

    bus: Bus
    answering: Answering
    settings: Settings
    admission: Admission
    behind: Behind | None
    record: Record | None
    leaving: bool = False
    probe: asyncio.Task[list[str]] | None = None

    @property
    def fallback(self) -> Fallback | None:
        return self.behind.fallback if self.behind else None

    @property
    def shadow(self) -> Shadow | None:
        return self.behind.shadow if self.behind else None


Path = Mapping[str, str]
Respond = Callable[[Context, web.BaseRequest, Path], Awaitable[Answer]]


class Route(NamedTuple):
    name: str  # what metrics call it
    path: re.Pattern[str]
    method: str
    respond: Respond


# --- the answers


async def search(kind: type[Count], context: Context, request: web.BaseRequest, _: Path) -> Answer:
    """One of the three searches."""
    began = request[BEGAN]
    if request.content.is_eof() and context.fallback is None:  # nothing is to come, so a refusal need not wait for it
        context.admission.check()
    async with context.admission.body(request) as body:
        asked = partial(_searched, kind, context, request, body, perf_counter() - began)
        return await _or_upstream(context, request, body, asked)


async def _searched(kind: type[Count], context: Context, request: web.BaseRequest, body: bytes, spent: float) -> Answer:
    """The fleet's answer. The order of the checks is Prefect's: syntax, version, values."""
    began, deadline = perf_counter() - spent, Deadline(context.settings.deadline - spent)
    with context.admission.one():
        given, largest = body if envelope.has_json(request) else b"", context.settings.default_limit
        sent = await decode.aside(len(given), decode.read, kind, given, largest)
        check_version(request)
        asked = await decode.aside(len(given), decode.settled, sent, largest)
        found = await context.answering(asked, deadline)
    return Answer(found.body, headers={**_known_by(found.etag), **_timing(found, perf_counter() - began)})


async def _or_upstream(
    context: Context, request: web.BaseRequest, body: bytes, asked: Callable[[], Awaitable[Answer]]
) -> Answer:
    """The fleet's answer, or when it cannot give one, the upstream's. Recorded and compared, where that is set."""
    if context.record:
        path = request.raw_path.partition("?")[0]
        context.record.add(request.method, path, body if envelope.has_json(request) else b"")
    try:
        answer = await asked()
    except Unavailable as error:
        if context.fallback is None:
            raise
        return await context.fallback.answer(request, body, error)
    except Exception as error:
        if context.shadow:
            context.shadow.follow(request, body, error, asked)
        raise
    if context.shadow:
        context.shadow.follow(request, body, answer, asked)
    return answer


async def checked_upstream(context: Context, request: web.BaseRequest, error: Unavailable) -> Answer:
    """The upstream's answer to a search of which we could not tell whether it is allowed. Raises as `_or_upstream`."""
    if context.fallback is None:
        raise error
    async with context.admission.body(request) as body:
        return await context.fallback.answer(request, body, error)


def _timing(found: Found, total: float) -> dict[str, str]:
    """Where the time went, in milliseconds, for a browser's developer tools and for whoever wonders."""
    spent = {**found.timings, "total": total}
    return {"server-timing": ", ".join(f"{name};dur={round(1000 * seconds, 2)}" for name, seconds in spent.items())}


async def by_id(context: Context, request: web.BaseRequest, path: Path) -> Answer:
    check_version(request)
    asked = DeploymentById(id=UUID(path["id"].replace("-", "")))
    return await _or_upstream(context, request, b"", partial(_single, context, BY_ID, asked))


async def by_name(context: Context, request: web.BaseRequest, path: Path) -> Answer:
    check_version(request)
    asked = DeploymentByName(flow=path["flow"], deployment=path["deployment"])
    return await _or_upstream(context, request, b"", partial(_single, context, BY_NAME, asked))


async def _single(context: Context, endpoint: Endpoint[Q, Row], asked: Q) -> Answer:
    with context.admission.one():
        return _row(await context.bus.call(endpoint, asked, context.settings.deadline))


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
    """Whether to send searches here: NATS, and each service with its database, and no wish to leave."""
    check_version(request)
    if context.leaving:
        return _not_ready(["leaving"])
    if context.probe is None or context.probe.done():  # one for all who ask at a time: anybody may ask
        context.probe = asyncio.create_task(missing.missing(context.bus, context.behind))
    why = await asyncio.shield(context.probe)
    return _not_ready(why) if why else Answer(b'{"message":"OK"}')


def _not_ready(why: list[str]) -> Answer:
    message = f"Not ready: {'; '.join(why)}"
    return Answer(problems.printed({"message": message}), 503, {"retry-after": problems.RETRY_AFTER})


async def version(_: Context, __: web.BaseRequest, ___: Path) -> Answer:
    return Answer(problems.printed(API_VERSION))


async def ui_settings(context: Context, request: web.BaseRequest, _: Path) -> Answer:
    """Where the web UI finds the API: at the address that the UI came from, so that it does not go around us."""
    assert context.behind  # noqa: S101 — this route is for gateways that have an upstream
    answer = await context.behind.upstream.answer(request)
    try:
        settings = json.loads(answer.body)
        settings["api_url"] = urlsplit(settings["api_url"]).path
    except (ValueError, TypeError, KeyError):  # not what we know: as it is
        return answer
    return replace(answer, body=problems.printed(settings))


async def csrf_token(context: Context, _: web.BaseRequest, __: Path) -> Answer:
    """Prefect's client asks before its first POST. Where none is needed, this answer tells it to go on without.

    A token is written down, so it cannot come from here. 404 would let that client go on without one, for good.
    """
    if context.settings.csrf_protection_enabled:
        raise Problem(501, "CSRF tokens are given by Prefect's own server: send requests for /api/csrf-token there.")
    raise Problem(422, "CSRF protection is disabled.")


READS = [
    Route("filter", re.compile("/api/deployments/filter"), "POST", partial(search, Filter)),
    Route("paginate", re.compile("/api/deployments/paginate"), "POST", partial(search, Paginate)),
    Route("count", re.compile("/api/deployments/count"), "POST", partial(search, Count)),
    Route("by_name", re.compile("/api/deployments/name/(?P<flow>[^/]+)/(?P<deployment>[^/]+)"), "GET", by_name),
    Route("by_id", re.compile(f"/api/deployments/{_ID}"), "GET", by_id),
]
READY = Route("ready", re.compile("/api/ready"), "GET", ready)
ALONE = [  # without an upstream, all there is
    *READS,
    READY,
    Route("health", re.compile("/api/health"), "GET", health),
    Route("version", re.compile("/api/version"), "GET", version),
    Route("csrf_token", re.compile("/api/csrf-token"), "GET", csrf_token),
]
IN_FRONT = [  # with one, what is not passed on as it is
    *READS,
    READY,
    Route("ui_settings", re.compile("(/(?!api/).*)?/ui-settings"), "GET", ui_settings),
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
