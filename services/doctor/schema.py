"""Whether the services can read this schema: each statement of theirs is planned as their role, which needs every
table, column, type and right that it names, and reads no row.
"""

from collections import Counter
from collections.abc import Iterable

import asyncpg

from services.deployments.revision import REVISIONS
from services.doctor.places import PRIMARY, SERVICES, Place
from services.doctor.report import Subject
from services.doctor.terms import asked
from shared.settings import Settings

STATEMENTS_DECIDE = "the statements above decide; look for a newer Classis, and run `make conformance` on a copy"
RIGHTS = "run deploy/readonly.sql as the owner of Prefect's tables: it may be repeated after every upgrade"
SCHEMA = "is this Prefect's database, and of version 3.8.8? `prefect server database upgrade` brings an older one up"


async def check(subject: Subject, place: Place, settings: Settings) -> None:
    """Plans what each service of the place asks; of the primary, what all do."""
    statements = asked(settings)
    for service in SERVICES if PRIMARY in place.services else place.services:
        about = service if service in place.services else f"{service} on the {PRIMARY}"
        refused = Counter[str]()
        then: dict[str, str] = {}
        for statement, arguments in statements[service].items():
            try:
                await place.connection.fetch(f"EXPLAIN {statement}", *arguments)
            except asyncpg.QueryCanceledError:
                raise
            except asyncpg.PostgresError as error:
                text = str(error).partition("\n")[0]
                refused[text] += 1
                refusal = isinstance(error, asyncpg.InsufficientPrivilegeError)
                then[text] = _rights(service, place.who["role"]) if refusal else SCHEMA
        for text, number in refused.items():
            of = f"{number} of the service's {len(statements[service])} statements"
            subject.failed(about, f"{text} ({of})", then[text])
        if not refused:
            subject.ok(about, f"may read all that its {len(statements[service])} statements name")


def _rights(service: str, role: str) -> str:
    if role in {f"classis_{name}" for name in SERVICES}:
        return RIGHTS
    return f"GRANT pg_read_all_data TO {role}, or log in as classis_{service} of deploy/readonly.sql: docs/security.md"


async def revision(subject: Subject, places: Iterable[Place]) -> None:
    """The revision of one database, told by whichever role may read it."""
    about, why = "", ""
    for place in places:
        about = about or f"database {place.who['database']}"
        try:
            rows = await place.connection.fetch("SELECT version_num FROM alembic_version")
        except asyncpg.InsufficientPrivilegeError:
            why = "the roles may not read Prefect's schema revision"
            continue
        except asyncpg.UndefinedTableError:
            then = "the statements above decide; Prefect's own migrations make one"
            subject.warning(about, "no table alembic_version: which revision the schema has is not known", then)
            return
        _told(subject, about, ", ".join(row["version_num"] for row in rows) or "none")
        return
    subject.note(about, why, "nothing: the statements above decide; GRANT SELECT ON alembic_version would tell it")


def _told(subject: Subject, about: str, found: str) -> None:
    if version := REVISIONS.get(found):
        subject.ok(about, f"schema revision {found}, of Prefect {version}")
    else:
        known = ", ".join(f"{revision} ({version})" for revision, version in REVISIONS.items())
        subject.warning(about, f"schema revision {found} is not known here, only {known}", STATEMENTS_DECIDE)
