"""Prefect's own server, where CLASSIS_UPSTREAM names it: its version, and whether it guards its doors as we do ours."""

import base64
from typing import NamedTuple

from aiohttp import ClientError, ClientSession, ClientTimeout

from services.doctor.places import PATIENCE, told
from services.doctor.report import Subject
from services.doctor.schema import REVISIONS
from services.gateway.posture import PATH, Seen, differences
from shared.settings import PREFIX, Settings

LONGEST = 40  # characters of a version


class Reply(NamedTuple):
    status: int
    text: str


async def check(subject: Subject, settings: Settings) -> None:
    if not settings.upstream:
        text = f"{PREFIX}UPSTREAM is not set: whether Prefect's server asks for a password or CSRF tokens is not known"
        subject.note("", text, f"{PREFIX}UPSTREAM=http://… classis doctor")
        return
    url, secret = settings.upstream.rstrip("/") + PATH, settings.api_auth_string
    try:
        async with ClientSession(timeout=ClientTimeout(total=PATIENCE)) as session:
            anybody = await _asked(session, "GET", url)
            ours = await _asked(session, "GET", url, secret)
            change = await _asked(session, "POST", url, secret)
    except (ClientError, OSError, TimeoutError) as error:
        then = f"see that Prefect's server runs, and that {PREFIX}UPSTREAM names it"
        subject.failed("", f"{settings.upstream} does not answer: {told(error)}", then)
        return
    if _is_prefect(subject, ours):
        _protection(subject, settings, Seen(anybody.status, ours.status, change.status))


async def _asked(session: ClientSession, method: str, url: str, secret: str = "") -> Reply:
    packed = base64.b64encode(secret.encode(errors="surrogateescape")).decode()
    headers = {"Authorization": f"Basic {packed}"} if secret else {}
    async with session.request(method, url, headers=headers, allow_redirects=False) as response:
        return Reply(response.status, await response.text(errors="replace"))


def _is_prefect(subject: Subject, reply: Reply) -> bool:
    """Whether it is Prefect's server that answers; tells its version, which it may keep to itself."""
    version = reply.text.strip().strip('"')
    if reply.status == 401:
        return True
    if reply.status != 200 or len(version) > LONGEST:
        then = f"does {PREFIX}UPSTREAM name Prefect's server, and not a proxy or a page before it?"
        subject.failed("version", f"GET {PATH} was answered with status {reply.status}, not with a version", then)
        return False
    if version in REVISIONS.values():
        subject.ok("version", f"Prefect {version}")
    else:
        text = f"Prefect {version}; Classis answers as {', '.join(REVISIONS.values())} does"
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
