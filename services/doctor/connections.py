"""The connection budget: what the fleet may open at most, and what servers, databases and roles let it."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from services.doctor.places import PRIMARY, SERVICES, Place
from services.doctor.report import Subject
from shared.settings import PREFIX, Settings

POOLS = {"deployments": 2}  # of one replica; the others have one
LIMITS = """
    SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
               - coalesce(current_setting('reserved_connections', true)::int, 0) AS server,
           (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS database,
           (SELECT rolconnlimit FROM pg_roles WHERE rolname = session_user AND NOT rolsuper) AS role,
           (SELECT count(*) FROM pg_stat_activity
             WHERE datid IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend'
               AND coalesce(application_name, '') NOT LIKE 'classis-%') AS others"""


RAISED = {
    "server": "raise max_connections",
    "database": "ALTER DATABASE … CONNECTION LIMIT",
    "role": "ALTER ROLE … CONNECTION LIMIT",
}


class Share(NamedTuple):
    """One limit, and what meets there."""

    about: str
    limit: int
    wanted: int
    others: int  # connections of others that are open now
    then: str


async def check(subject: Subject, places: Sequence[Place], settings: Settings, replicas: int) -> None:
    limits = [await place.connection.fetchrow(LIMITS) for place in places]
    wanted = [planned(place, settings, replicas) for place in places]
    for share in _shares(places, limits, wanted):
        fleet = f"{replicas} replicas of each service open up to {share.wanted} connections"
        if share.wanted > share.limit:
            subject.failed(share.about, f"{fleet}, of {share.limit} there are", share.then)
        elif share.wanted + share.others > share.limit:
            text = (
                f"{fleet}; with the {share.others} that others use now, that is more than the {share.limit} there are"
            )
            subject.warning(share.about, text, share.then)
        elif 2 * share.wanted + share.others > share.limit:
            text = f"{fleet} of {share.limit}, others use {share.others} now; twice as many, in an update, do not fit"
            subject.note(share.about, text, f"update a few replicas at a time, or {share.then}")
        else:
            subject.ok(share.about, f"{fleet} of {share.limit}, others use {share.others} now")


def planned(place: Place, settings: Settings, replicas: int) -> int:
    """The connections to one place at most. To the primary, each pool of a replica has as many, and one more."""
    own = sum(POOLS.get(service, 1) for service in place.services if service != PRIMARY) * settings.pool_size
    beside = sum(POOLS.get(service, 1) for service in SERVICES if service not in place.services)
    return replicas * (own + (beside * (settings.pool_size + 1) if PRIMARY in place.services else 0))


def _shares(places: Sequence[Place], limits: Sequence[Any], wanted: Sequence[int]) -> Iterator[Share]:
    """Each server, and each database and role with a limit of its own."""
    fewer = f"lower {PREFIX}POOL_SIZE or --replicas"
    for kind, raised in RAISED.items():
        groups: dict[tuple[Any, ...], list[int]] = {}
        for index, place in enumerate(places):
            groups.setdefault((*place.server, _name(place, kind)), []).append(index)
        for members in groups.values():
            limit = limits[members[0]][kind]
            if limit is not None and limit >= 0:
                others = max(limits[index]["others"] for index in members) if kind == "server" else 0
                about = f"{kind} {_name(places[members[0]], kind)}"
                yield Share(about, limit, sum(wanted[index] for index in members), others, f"{raised}, or {fewer}")


def _name(place: Place, kind: str) -> str:
    return place.address if kind == "server" else str(place.who[kind])
