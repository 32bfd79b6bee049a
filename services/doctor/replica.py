"""Replicas: which databases are one, how far they are behind, and whether the primary that is named is theirs."""

import asyncio
from collections.abc import Sequence
from time import monotonic

from services.doctor.places import PRIMARY, Place
from services.doctor.report import Subject
from shared.settings import PREFIX

LATE = 5.0  # seconds
PAUSE = 0.02  # seconds between two looks
LATENESS = "look at pg_stat_replication on the primary, and at what keeps the replica from replaying"
NAMED = f"{PREFIX}PRIMARY_POSTGRES_DSN"

WRITTEN = "SELECT pg_current_wal_lsn()::text"
PAUSED = "SELECT pg_is_wal_replay_paused()"
MISSING = "SELECT greatest(0, pg_wal_lsn_diff($1::text::pg_lsn, pg_last_wal_replay_lsn()))::bigint"
# Of one whose primary is not known: the time since the last transaction tells nothing while nothing is written.
AGE = """
    SELECT CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
           ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END::float8"""


async def check(subject: Subject, places: Sequence[Place], primary_named: bool) -> None:
    primary = next((place for place in places if PRIMARY in place.services), None)
    if primary:
        _primary(subject, primary, places)
    usable = primary if primary and not primary.who["replica"] else None
    fresh = [name for place in places if not place.who["replica"] for name in place.services if name != PRIMARY]
    if fresh:
        subject.ok(", ".join(fresh), "no replica is read: what was just written is seen")
    for place in places:
        if place.who["replica"] and PRIMARY not in place.services:
            await _lag(subject, place, usable)
            if not primary_named:
                text = "this is a replica: searches may not see what was just written"
                subject.warning(place.names, text, f"set {NAMED}, or accept that")


def _primary(subject: Subject, primary: Place, places: Sequence[Place]) -> None:
    then = f"let {NAMED} name the primary of the databases that the services read"
    others = [place for place in places if place is not primary]
    strange = [place.names for place in others if _strange(place, primary)]
    other = [place.names for place in others if place.who["database"] != primary.who["database"]]
    if primary.who["replica"]:
        subject.failed(PRIMARY, f"{NAMED} names a replica", then)
    elif strange:
        subject.failed(PRIMARY, f"{NAMED} is not the primary of what {', '.join(strange)} reads", then)
    elif other:
        subject.failed(PRIMARY, f"{NAMED} names another database than that of {', '.join(other)}", then)
    elif not any(place.who["replica"] for place in others):
        subject.note(
            PRIMARY, f"{NAMED} is set, but no service reads a replica", f"unset {NAMED}: it only costs connections"
        )
    else:
        subject.ok(PRIMARY, "the primary of the replicas")


def _strange(place: Place, primary: Place) -> bool:
    """Whether a place is neither the primary itself nor a replica of its cluster."""
    if place.cluster and primary.cluster and place.cluster != primary.cluster:
        return True
    return not place.who["replica"] and place.server != primary.server


async def _lag(subject: Subject, place: Place, primary: Place | None) -> None:
    if await place.connection.fetchval(PAUSED):
        subject.warning(place.names, "this replica's replay is paused", "SELECT pg_wal_replay_resume() on it")
    elif primary:
        await _behind(subject, place, await primary.connection.fetchval(WRITTEN))
    elif (age := await place.connection.fetchval(AGE) or 0.0) > LATE:
        subject.warning(place.names, f"this replica's newest transaction is {age:.0f} s old", LATENESS)
    else:
        subject.ok(place.names, "a replica, which has replayed what it received")


async def _behind(subject: Subject, place: Place, written: str) -> None:
    """How long a replica takes to have what the primary has now."""
    began = monotonic()
    first = missing = await place.connection.fetchval(MISSING, written)
    while missing and monotonic() < began + LATE:
        await asyncio.sleep(PAUSE)
        missing = await place.connection.fetchval(MISSING, written)
    took = monotonic() - began
    if missing:
        text = f"this replica was {first:,} bytes behind, and {missing:,} of them still {took:.0f} s later"
        subject.warning(place.names, text, LATENESS)
    else:
        subject.ok(place.names, f"a replica, {first:,} bytes behind, and no more {took:.3f} s later")
