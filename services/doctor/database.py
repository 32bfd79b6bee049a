"""One database as one role sees it: its version, the role's rights and encryption; and the clock of its server."""

import time
from ipaddress import ip_address

from services.doctor.places import Place
from services.doctor.report import Subject

OLDEST, NEWEST = 14, 18  # of PostgreSQL; tests run on these
FAR = 0.010  # seconds of a round trip, from which on distance is most of a small search
OFF = 1.0  # seconds two clocks may differ
LOOKS = 3  # at the clock; the quickest counts

POWERS = """
    SELECT rolsuper AS superuser, rolcreaterole AS "createrole", rolcreatedb AS createdb, rolreplication AS replication,
           rolbypassrls AS bypassrls FROM pg_roles WHERE rolname = current_user"""
WRITABLE = """
    SELECT relname FROM pg_class
     WHERE relkind IN ('r', 'p') AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
       AND has_table_privilege(oid, 'INSERT, UPDATE, DELETE, TRUNCATE') ORDER BY relname"""
ROLES = "run deploy/readonly.sql and let each service log in as its own role: docs/security.md"


async def check(subject: Subject, place: Place) -> None:
    who = place.who
    where = f"database {who['database']} at {place.address}"
    subject.ok(place.names, f"connected as {who['role']} to {where}, PostgreSQL {who['version']}")
    version(subject, place)
    _encryption(subject, place)
    await _rights(subject, place)


def version(subject: Subject, place: Place) -> None:
    number, major = place.who["version"], place.who["major"]
    if major < OLDEST:
        subject.failed(
            place.names, f"PostgreSQL {number} is too old", f"upgrade it: supported are {OLDEST} to {NEWEST}"
        )
    elif major > NEWEST:
        then = f"supported are {OLDEST} to {NEWEST}; look for a newer Classis"
        subject.warning(place.names, f"PostgreSQL {number} is newer than what Classis was tested with", then)


def _encryption(subject: Subject, place: Place) -> None:
    address = place.who["address"]
    if not place.who["encrypted"] and address and not ip_address(address).is_loopback:
        then = "add ?sslmode=verify-full&sslrootcert=… to the DSN: docs/security.md"
        subject.note(place.names, "the connection is not encrypted (no TLS)", then)


async def _rights(subject: Subject, place: Place) -> None:
    """Whether the role could do more than read. That it can read is for `schema` to find out."""
    role = place.who["role"]
    held = await place.connection.fetchrow(POWERS)
    powers = [name for name, has in held.items() if has] if held else []
    tables = [row["relname"] for row in await place.connection.fetch(WRITABLE)]
    if "superuser" in powers:
        subject.warning(place.names, f"the role {role} is a superuser: more rights than needed", ROLES)
    elif tables or powers:
        some = ", ".join(tables[:3]) + (f" and {len(tables) - 3} more tables" if tables[3:] else "")
        may = [f"write to {some}"] if tables else []
        may += [f"use {', '.join(powers)}"] if powers else []
        subject.warning(place.names, f"the role {role} may {' and '.join(may)}: more rights than needed", ROLES)
    else:
        subject.ok(place.names, f"the role {role} cannot write")


async def clock(subject: Subject, place: Place) -> None:
    """How far a server is away, and what time it is there."""
    about = f"server {place.address}"
    trip, offset = min([await _look(place) for _ in range(LOOKS)])
    away = f"{1000 * trip:.2f} ms away"
    if trip > FAR:
        then = "run the services near their database: a search takes two to four round trips"
        subject.note(about, f"{away}, which is far", then)
    if abs(offset) > OFF + trip:
        then = "set both clocks by NTP: what is late or expired is told by the clock"
        way = "ahead of" if offset > 0 else "behind"
        subject.warning(about, f"the database's clock is {abs(offset):.1f} s {way} this machine's", then)
    else:
        subject.ok(about, f"{away}, and the clocks agree to {abs(offset) + trip / 2:.3f} s")


async def _look(place: Place) -> tuple[float, float]:
    """A round trip's time, and how far the database's clock is ahead at the middle of it."""
    before = time.time()
    there = await place.connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
    after = time.time()
    return after - before, there - (before + after) / 2
