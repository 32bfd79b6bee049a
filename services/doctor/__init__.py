"""`classis doctor`: looks at an installation and says what is well, what is not, and what to do next.

It takes the settings of `classis run` from the environment, changes nothing, and stops at nothing: what cannot be
looked at is a finding too.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Any

from nats.errors import Error as NatsError

from services.doctor import bus, connections, database, fleet, indexes, machine, replica, report, same, schema, server
from services.doctor.places import PRIMARY, TROUBLE, Place, reached, told, variable
from services.doctor.report import Mark, Subject
from shared.natsoptions import options
from shared.settings import DEFAULT, PREFIX, Settings, SettingsError, read

WITHIN = 30.0  # seconds for one check
DATABASES = POSTGRES, SCHEMA = "Postgres", "Schema"  # what decides whether the services can work
EPILOG = """\
Run it where the services run, with their environment:

  CLASSIS_POSTGRES_DSN=… CLASSIS_NATS_URL=… classis doctor

What the marks mean, and what the exit code is:
  ok        as it should be
  note      works; worth knowing
  warning   works, but slower or less safely than it could; exit code 0
  FAILED    searches fail, or are answered to whom they must not be; exit code 1
Wrong settings end it with exit code 2, as they end a service.

It looks at this machine, each database (schema, rights, indexes, connections, replicas, clock), NATS (rights, limits),
the replicas that run there, and Prefect's own server, if CLASSIS_UPSTREAM names it. Of Prefect's rows it reads the ids
of three deployments, to see that the server knows them; it writes nothing.

Where each service has a NATS user of its own (deploy/nats.conf), log in as `gateway`: it sees who runs, and whether
they reach their databases. Then as `monitor`, which sees versions and gateways. The others see nothing of the fleet.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What `classis doctor` takes."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Looks at an installation and says what is well, what is not, and what to do next."
    parser.epilog = EPILOG
    add = parser.add_argument
    add("--replicas", type=_count, default=2, metavar="N", help="replicas planned of each service (default: 2)")
    add("--as", dest="role", choices=bus.ROLES, default="", metavar="ROLE",
        help=f"whose NATS credentials these are: {', '.join(bus.ROLES)} (default: whoever they suit)")  # fmt: skip
    add("--json", action="store_true", help="print JSON, for machines")
    add("--indexes", action="store_true", help="print the indexes that pay, as deploy/indexes.sql, and look at nothing")


def main(args: argparse.Namespace) -> int:
    """Look, and print; gives the exit code."""
    if args.indexes:
        print(indexes.document(), end="")  # noqa: T201 — a command talks to its user
        return 0
    subjects = asyncio.run(examined(read(os.environ), args.replicas, args.role))
    colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    lines = [report.as_json(subjects)] if args.json else report.as_table(subjects, colours=colours)
    print(*lines, sep="\n")  # noqa: T201
    return int(report.failed(subjects))


async def examined(settings: Settings, replicas: int = 2, role: str = "") -> list[Subject]:
    """Everything that was found. Raises SettingsError."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)  # asyncpg leaves futures behind when its connecting is given up
    options(settings, "doctor")  # files of credentials that are wrong end it here
    here, upstream = Subject("This machine"), Subject("Prefect's server")
    machine.check(here, settings)
    stored, served = await asyncio.gather(_databases(settings, replicas, upstream), _bus(settings, role))
    return [here, *stored, *served, upstream]


async def glanced(settings: Settings) -> list[Subject]:
    """What decides whether searches are answered, and rightly: rights, schema, upstream. Of each, what was found."""
    postgres, tables, upstream = Subject(POSTGRES), Subject(SCHEMA), Subject("Prefect's server")
    async with _visited(settings, postgres) as places:
        for place in places:
            await _guarded(postgres, place.names, database.check, place)
            await _guarded(tables, place.names, schema.check, place, settings)
        await _prefects(upstream, settings, places)
    return [postgres, tables, upstream]


async def _databases(settings: Settings, replicas: int, upstream: Subject) -> list[Subject]:
    subjects = [Subject(title) for title in (POSTGRES, SCHEMA, "Indexes", "Connections", "Replicas")]
    postgres, tables, indexed, budget, replicated = subjects
    async with _visited(settings, postgres) as places:
        for place in places:
            await _guarded(postgres, place.names, database.check, place)
            await _guarded(tables, place.names, schema.check, place, settings)
        for [first, *_] in _grouped(places, lambda place: place.server):
            await _guarded(postgres, first.address, database.clock, first)
        for same in _grouped(places, lambda place: place.database):
            await _guarded(tables, same[0].names, schema.revision, same)
            await _guarded(indexed, same[0].names, indexes.check, same[0])
        await _guarded(budget, "", connections.check, places, settings, replicas)
        primary_named = bool(settings.primary_postgres_dsn)
        await _guarded(replicated, "", replica.check, places, primary_named)
        await _prefects(upstream, settings, places)
    return subjects


@asynccontextmanager
async def _visited(settings: Settings, postgres: Subject) -> AsyncIterator[list[Place]]:
    """The databases that can be reached; the others are findings."""
    found = await reached(settings)
    for services, error in found.items():
        if not isinstance(error, Place):
            unset = services[0] != PRIMARY and settings.dsn(services[0]) == DEFAULT.postgres_dsn
            why, then = f"cannot connect: {told(error)}", f"see that it is there, and what {variable(services[0])} says"
            if unset:
                why, then = (
                    f"{PREFIX}POSTGRES_DSN is not set; {why}",
                    f"{PREFIX}POSTGRES_DSN=postgresql://… classis doctor",
                )
            postgres.failed(", ".join(services), why, then)
    places = [place for place in found.values() if isinstance(place, Place)]
    try:
        yield places
    finally:
        for place in places:
            place.connection.terminate()


async def _prefects(upstream: Subject, settings: Settings, places: list[Place]) -> None:
    if settings.upstream and not await same.there(upstream, settings):
        return
    await _guarded(upstream, "", server.check, settings)
    strange = any(finding.mark == "FAILED" and finding.about == "version" for finding in upstream.findings)
    if settings.upstream and not strange:
        await _guarded(upstream, "", same.check, settings, places)


def _grouped(places: list[Place], key: Callable[[Place], Hashable]) -> list[list[Place]]:
    found: dict[Hashable, list[Place]] = {}
    for place in places:
        found.setdefault(key(place), []).append(place)
    return list(found.values())


async def _bus(settings: Settings, role: str) -> list[Subject]:
    nats, replicas = Subject("NATS"), Subject("The fleet")
    lost: dict[str, BaseException] = {}
    for url in settings.nats_servers:
        try:
            async with bus.visiting(settings, url) as visit:
                await _guarded(nats, url, bus.server, visit, url)
                if not replicas.findings:
                    falls_back = bool(settings.upstream and settings.fallback)
                    await _guarded(nats, url, _rights_and_fleet, replicas, visit, role, falls_back)
        except (*TROUBLE, NatsError) as error:
            lost[url] = error
    if lost and settings.nats_url == DEFAULT.nats_url:
        nats.note(
            "", f"no NATS is named, and none is at {DEFAULT.nats_url}", "`make up` brings one; else CLASSIS_NATS_URL"
        )
        return [nats, replicas]
    for url, why in lost.items():
        mark: Mark = "FAILED" if len(lost) == len(settings.nats_servers) else "warning"
        then = "see that it is there, and what CLASSIS_NATS_URL and the other CLASSIS_NATS_ settings say"
        nats.add(mark, url, f"cannot connect: {told(why)}", then)
    return [nats, replicas]


async def _rights_and_fleet(nats: Subject, replicas: Subject, visit: bus.Visit, role: str, falls_back: bool) -> None:
    inboxes = await bus.rights(nats, visit, role)
    await _guarded(replicas, "", fleet.check, visit, inboxes, falls_back)


async def _guarded(subject: Subject, about: str, check: Callable[..., Awaitable[Any]], *given: Any) -> None:
    """Runs one check. Whatever it stumbles over is a finding, and the others go on."""
    try:
        async with asyncio.timeout(WITHIN):
            await check(subject, *given)
    except SettingsError:
        raise
    except (*TROUBLE, NatsError) as error:
        subject.failed(about, f"could not be looked at: {told(error)}", "see the log of that server")
    except Exception as error:  # the doctor's own door: the rest of the report is worth having
        text = f"could not be looked at ({type(error).__name__}: {told(error)})"
        subject.failed(about, text, "this is a fault of `classis doctor`: please report it")


def _count(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number
