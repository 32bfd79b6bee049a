"""Prefect's own server, where CLASSIS_UPSTREAM names it: its version, whether it guards its doors as we do ours, and
whether its pages are as long.
"""

import re
from base64 import b64encode

import msgspec
from aiohttp import ClientError, ClientSession, ClientTimeout

from services.deployments.revision import REVISIONS
from services.doctor.places import PATIENCE, told
from services.doctor.report import Subject
from services.gateway.posture import PATH, Seen, differences, look
from shared.settings import PREFIX, Settings

VERSION = re.compile(r"\d+\.\d+[\w.+-]{,35}")
OK, UNAUTHORIZED = 200, 401
SETTINGS, LIMIT = "/api/admin/settings", f"{PREFIX}DEFAULT_LIMIT"


class Api(msgspec.Struct):
    default_limit: int


class Server(msgspec.Struct):
    api: Api


class Told(msgspec.Struct):
    """What matters here of the settings that the server tells."""

    server: Server


async def check(subject: Subject, settings: Settings) -> None:
    if not settings.upstream:
        text = f"{PREFIX}UPSTREAM is not set: what Prefect's server asks of clients is not known"
        subject.note("", text, f"{PREFIX}UPSTREAM=http://… classis doctor")
        return
    try:
        async with ClientSession() as session:
            seen = await look(session, settings)
    except (ClientError, OSError, TimeoutError) as error:
        then = f"see that Prefect's server runs, and that {PREFIX}UPSTREAM names it"
        subject.failed("", f"{settings.upstream} does not answer: {told(error)}", then)
        return
    if _is_prefect(subject, seen):
        _protection(subject, settings, seen)
        await _pages(subject, settings)


def asking(settings: Settings) -> ClientSession:
    """A session that shows our password, if there is one."""
    packed = b64encode(settings.api_auth_string.encode(errors="surrogateescape")).decode()
    headers = {"Authorization": f"Basic {packed}"} if packed else {}
    return ClientSession(timeout=ClientTimeout(total=PATIENCE), headers=headers)


def _is_prefect(subject: Subject, seen: Seen) -> bool:
    """Whether it is Prefect's server that answers; tells its version, which it may keep to itself."""
    if seen.ours == UNAUTHORIZED:
        return True
    if seen.ours != OK or not VERSION.fullmatch(seen.version):
        then = f"does {PREFIX}UPSTREAM name Prefect's server, and not a proxy or a page before it?"
        subject.failed("version", f"GET {PATH} was answered with status {seen.ours}, not with a version", then)
        return False
    if seen.version in REVISIONS.values():
        subject.ok("version", f"Prefect {seen.version}")
    else:
        text = f"Prefect {seen.version}; Classis answers as {', '.join(REVISIONS.values())} does"
        subject.warning("version", text, "look for a newer Classis; `make conformance` compares answers")
    return True


def _protection(subject: Subject, settings: Settings, seen: Seen) -> None:
    """Whether clients are asked for the same here and there."""
    weaker, stricter = differences(settings, seen)
    for text in weaker:
        subject.failed("", text, "set it as the server has it; until then the gateway passes every search on")
    for text in stricter:
        subject.failed("", text, "set it as the server has it; until then its clients are refused here")
    if not weaker and not stricter:
        secret = "the same password" if settings.api_auth_string else "no password"
        tokens = "CSRF tokens" if settings.csrf_protection_enabled else "no CSRF tokens"
        subject.ok("", f"clients are asked for {secret} and {tokens}, here and there")


async def _pages(subject: Subject, settings: Settings) -> None:
    """Whether a page has as many rows, by default and at most. Nothing is said where we are not let in."""
    url = f"{settings.upstream.rstrip('/')}{SETTINGS}"
    async with asking(settings) as session, session.get(url, allow_redirects=False) as response:
        status, body = response.status, await response.read()
    if status == UNAUTHORIZED:
        return
    try:
        there = msgspec.json.decode(body, type=Told).server.api.default_limit if status == OK else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        there = None
    if there is None:
        text = f"GET {SETTINGS} was answered with status {status}, not with the size of its pages"
        subject.note("", text, f"see that {LIMIT} is the server's PREFECT_SERVER_API_DEFAULT_LIMIT")
    elif there != settings.default_limit:
        text = f"pages have up to {there} rows there, and {settings.default_limit} here: answers differ"
        subject.warning("", text, f"{LIMIT}={there}")
    else:
        subject.ok("", f"pages have up to {there} rows, here and there")
