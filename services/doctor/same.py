"""Prefect's server beside the database: whether it is there, and whether both are of one installation.

A server that is passed on to and a database that is read must be the same Prefect: else a search finds what no other
request knows of.
"""

from base64 import b64encode
from collections.abc import Sequence

from aiohttp import ClientConnectorSSLError, ClientError, ClientSession, ClientTimeout

from services.doctor.places import PATIENCE, Place, told
from services.doctor.report import Subject
from shared.contract import PAGE
from shared.settings import PREFIX, Settings

SOME = "SELECT id FROM deployment ORDER BY id LIMIT 3"  # more than one: one may be deleted meanwhile
OK, UNKNOWN = 200, 404
NEXT = f"set {PREFIX}POSTGRES_DSN to the database that this server works on, or {PREFIX}UPSTREAM to its server"


async def there(subject: Subject, settings: Settings) -> bool:
    """Whether anything answers. What keeps it from that is told."""
    try:
        async with _session(settings) as session, session.get(settings.upstream, allow_redirects=False):
            return True
    except ClientConnectorSSLError:
        plain = settings.upstream.replace("https://", "http://", 1)
        subject.failed("", f"{settings.upstream} speaks plain HTTP, it seems", f"{PREFIX}UPSTREAM={plain}")
    except (ClientError, OSError, TimeoutError) as error:
        text = f"{settings.upstream} does not answer: {told(error)}. Only searches work until it does"
        subject.failed("", text, f"see that Prefect's server runs, and that {PREFIX}UPSTREAM names it")
    return False


async def check(subject: Subject, settings: Settings, places: Sequence[Place]) -> None:
    """Asks the server for some deployments of the database, by their ids; without any, how many it has."""
    place = next((place for place in places if PAGE.service in place.services), None)
    if place is None:
        return
    ids = [row["id"] for row in await place.connection.fetch(SOME)]
    about = f"database {place.who['database']}"
    async with _session(settings) as session:
        if not ids:
            await _empty(subject, about, session, settings.upstream)
            return
        found = [await _status(session, f"{_api(settings.upstream)}/deployments/{one}") for one in ids]
    if OK in found:
        subject.ok(about, f"{settings.upstream} knows its deployments")
    elif set(found) == {UNKNOWN}:
        subject.failed(about, f"{settings.upstream} does not know its deployments: it works on another one", NEXT)


async def _empty(subject: Subject, about: str, session: ClientSession, upstream: str) -> None:
    async with session.post(f"{_api(upstream)}/deployments/count", json={}, allow_redirects=False) as response:
        count = (await response.text()).strip() if response.status == OK else ""
    if count.isdigit() and int(count):
        subject.failed(about, f"it has no deployments, and {upstream} has {count}: it works on another one", NEXT)
    else:
        subject.note(about, f"it has no deployments: whether it is the one of {upstream} is not known")


async def _status(session: ClientSession, url: str) -> int:
    async with session.get(url, allow_redirects=False) as response:
        return response.status


def _api(upstream: str) -> str:
    return f"{upstream.rstrip('/')}/api"


def _session(settings: Settings) -> ClientSession:
    packed = b64encode(settings.api_auth_string.encode(errors="surrogateescape")).decode()
    headers = {"Authorization": f"Basic {packed}"} if packed else {}
    return ClientSession(timeout=ClientTimeout(total=PATIENCE), headers=headers)
