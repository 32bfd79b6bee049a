"""What is around a body: content types on the way in; CORS, validators, compression and headers on the way out."""

import asyncio
import zlib

from aiohttp import HttpVersion11, web

from services.gateway import etag
from services.gateway.problems import Answer, Problem
from shared.settings import Settings

ALL_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
SIMPLE_HEADERS = ("Accept", "Accept-Language", "Content-Language", "Content-Type")
PREFLIGHT_AGE = "600"  # seconds
COMPRESSED_FROM = 500  # bytes
COMPRESSED_ASIDE_FROM = 64 * 1024  # bytes; more would hold up the event loop
LEVEL = 3  # half the time of level 6; a page of 10 rows is 8 per cent larger, one of 200 a fifth
GZIP_WINDOW = 31  # zlib's number for a gzip wrapper with the largest window


def has_json(request: web.BaseRequest) -> bool:
    """Whether the body counts as JSON. Any other kind is ignored, and the search asks with all defaults."""
    given = request.headers.get("content-type")
    if given is None:
        return request.headers.get("content-length") is not None
    kind, _, subtype = given.partition(";")[0].strip().lower().partition("/")
    return kind == "application" and "/" not in subtype and (subtype == "json" or subtype.endswith("+json"))


async def invite(request: web.BaseRequest) -> None:
    """Lets a client that waits to be asked send its body. Raises Problem for any other expectation."""
    expected = request.headers.get("expect")
    if expected is None or request.version != HttpVersion11:
        return
    if expected.lower() != "100-continue":
        raise Problem(417, "Expectation Failed")
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # aiohttp's own mark that the answer has not begun


async def response(answer: Answer, request: web.BaseRequest, settings: Settings) -> web.Response:
    """The answer as aiohttp sends it; 304 without its body to a client that has it already."""
    headers = {**answer.headers, **_origin(answer, request, settings), "server": "classis"}
    body = answer.body
    if len(body) >= COMPRESSED_FROM:
        headers["vary"] = f"Accept-Encoding, {headers['vary']}" if "vary" in headers else "Accept-Encoding"
    if _is_known(answer, request):
        return web.Response(status=304, headers=headers)
    if len(body) >= COMPRESSED_FROM and "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
        body = await _compressed(body)
    if answer.content_type:
        headers["content-type"] = answer.content_type
    return web.Response(body=body, status=answer.status, headers=headers)


def _is_known(answer: Answer, request: web.BaseRequest) -> bool:
    given = request.headers.getall("if-none-match", [])
    return etag.matches(", ".join(given), answer.headers.get("etag", "")) if given else False


async def _compressed(body: bytes) -> bytes:
    if len(body) < COMPRESSED_ASIDE_FROM:
        return zlib.compress(body, LEVEL, GZIP_WINDOW)
    return await asyncio.to_thread(zlib.compress, body, LEVEL, GZIP_WINDOW)


# --- CORS, by the rules of Starlette's middleware


def preflight(request: web.BaseRequest, settings: Settings) -> web.Response | None:
    """The answer to a browser's preflight request for any path; None for every other request."""
    asked = request.headers.get("access-control-request-method")
    origin = request.headers.get("origin")
    if request.method != "OPTIONS" or asked is None or origin is None:
        return None
    methods = listed(settings.cors_allowed_methods) or ALL_METHODS
    wanted = request.headers.get("access-control-request-headers")
    allowed = listed(settings.cors_allowed_headers)
    failures = []
    if not _allows(settings, origin):
        failures.append("origin")
    if asked not in methods:
        failures.append("method")
    if allowed and wanted and not _all_in(wanted, (*allowed, *SIMPLE_HEADERS)):
        failures.append("headers")
    if "access-control-request-private-network" in request.headers:
        failures.append("private-network")
    headers = {
        **_preflight_origin(origin, settings),
        "access-control-allow-methods": ", ".join(methods),
        "access-control-max-age": PREFLIGHT_AGE,
    }
    if allowed:
        headers["access-control-allow-headers"] = ", ".join(sorted({*allowed, *SIMPLE_HEADERS}))
    elif wanted is not None:
        headers["access-control-allow-headers"] = wanted
    text = f"Disallowed CORS {', '.join(failures)}" if failures else "OK"
    return web.Response(text=text, status=400 if failures else 200, headers={**headers, "server": "classis"})


def _preflight_origin(origin: str, settings: Settings) -> dict[str, str]:
    if not listed(settings.cors_allowed_origins):
        return {"access-control-allow-origin": "*"}
    return {"vary": "Origin", **({"access-control-allow-origin": origin} if _allows(settings, origin) else {})}


def _origin(answer: Answer, request: web.BaseRequest, settings: Settings) -> dict[str, str]:
    """The CORS headers of an ordinary answer. A script of another origin sees what it is told of, and no more."""
    origin = request.headers.get("origin")
    if origin is None or not answer.cors or not _allows(settings, origin):
        return {}
    named = listed(settings.cors_allowed_origins)
    headers = {"access-control-allow-origin": origin if named else "*"}
    if named:
        headers["vary"] = "Origin"
    if "etag" in answer.headers:
        headers["access-control-expose-headers"] = "ETag"
    if "server-timing" in answer.headers:
        headers["timing-allow-origin"] = headers["access-control-allow-origin"]
    return headers


def _allows(settings: Settings, origin: str) -> bool:
    named = listed(settings.cors_allowed_origins)
    return not named or origin in named


def listed(setting: str) -> tuple[str, ...]:
    """The items of a comma list; none when everything is allowed."""
    items = tuple(item.strip() for item in setting.split(",") if item.strip())
    return () if "*" in items else items


def _all_in(wanted: str, allowed: tuple[str, ...]) -> bool:
    lowered = {name.lower() for name in allowed}
    return all(name.strip().lower() in lowered for name in wanted.split(","))
