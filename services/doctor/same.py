"""Prefect's server beside the database: whether it is there, and whether both are of one installation.

A server that is passed on to and a database that is read must be the same Prefect: else a search finds what no other
request knows of.
"""

import json
from collections.abc import Sequence
from uuid import UUID

from aiohttp import ClientConnectorSSLError, ClientError, ClientSession

from services.doctor.places import Place, told
from services.doctor.report import Subject
from services.doctor.server import asking
from shared.contract import PAGE
from shared.settings import PREFIX, Settings

SOME = "SELECT id FROM deployment ORDER BY id LIMIT 3"  # more than one: one may be deleted meanwhile
OK, UNKNOWN = 200, 404
ANYTHING = 0  # a 200 that is about nothing we asked for
NEXT = f"set {PREFIX}POSTGRES_DSN to the database that this server works on, or {PREFIX}UPSTREAM to its server"


async def there(subject: Subject, settings: Settings) -> bool:
    """Whether anything answers. What keeps it from that is told."""
    try:
        async with asking(settings) as session, session.get(settings.upstream, allow_redirects=False):
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
    async with asking(settings) as session:
        if not ids:
            await _empty(subject, about, session, settings.upstream)
            return
        found = [await _status(session, _api(settings.upstream), one) for one in ids]
    if OK in found:
        subject.ok(about, f"{settings.upstream} knows its deployments")
    elif set(found) == {UNKNOWN}:
        subject.failed(about, f"{settings.upstream} does not know its deployments: it works on another one", NEXT)
    elif ANYTHING in found:
        text = f"{settings.upstream} answers a request for one of its deployments, but not with that deployment"
        subject.failed(about, text, f"does {PREFIX}UPSTREAM name Prefect's server?")


async def _empty(subject: Subject, about: str, session: ClientSession, upstream: str) -> None:
    async with session.post(f"{_api(upstream)}/deployments/count", json={}, allow_redirects=False) as response:
        count = (await response.text()).strip() if response.status == OK else ""
    if count.isdigit() and int(count):
        subject.failed(about, f"it has no deployments, and {upstream} has {count}: it works on another one", NEXT)
    else:
        subject.note(about, f"it has no deployments: whether it is the one of {upstream} is not known")


async def _status(session: ClientSession, api: str, one: UUID) -> int:
    async with session.get(f"{api}/deployments/{one}", allow_redirects=False) as response:
        return response.status if response.status != OK or _is_about(await response.read(), one) else ANYTHING


def _is_about(body: bytes, one: UUID) -> bool:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):  # a page for people, perhaps
        return False
    return isinstance(told, dict) and told.get("id") == str(one)


def _api(upstream: str) -> str:
    return f"{upstream.rstrip('/')}/api"
