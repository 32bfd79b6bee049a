"""Prefect's own server, where CLASSIS_UPSTREAM names it: its version, and whether it guards its doors as we do ours."""

from aiohttp import ClientError, ClientSession

from services.doctor.places import told
from services.doctor.report import Subject
from services.doctor.schema import REVISIONS
from services.gateway.posture import PATH, Seen, differences, look
from shared.settings import PREFIX, Settings

LONGEST = 40  # characters of a version


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


def _is_prefect(subject: Subject, seen: Seen) -> bool:
    """Whether it is Prefect's server that answers; tells its version, which it may keep to itself."""
    if seen.ours == 401:
        return True
    if seen.ours != 200 or len(seen.version) > LONGEST:
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
