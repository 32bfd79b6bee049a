"""Whether the schema is of a revision that is known here.

Prefect is upgraded by others, at any time: a column of theirs that is new would be missing from answers unnoticed.
"""

import asyncio
import logging
from contextlib import suppress

from shared import metrics, postgres
from shared.errors import FleetError
from shared.postgres import Pool

log = logging.getLogger(__name__)

REVISIONS = {"d4a7e1c93f52": "3.8.8"}  # of Prefect's schema, and the version whose it is
PAUSE = 60.0  # seconds between two looks
WITHIN = 5.0  # seconds for one

# Asked first, for a refusal each minute would fill Postgres's log. Null: there is no such table.
READABLE = "SELECT has_any_column_privilege(to_regclass('alembic_version'), 'SELECT')"
REVISION = "SELECT version_num FROM alembic_version ORDER BY version_num"
UNREADABLE = (
    "the revision of Prefect's schema is not known: there is no table alembic_version, or this role may not read it"
)
UNKNOWN = (
    "Prefect's schema has revision %s, which is not known here, only %s: what is new there is missing from answers; "
    "`classis doctor` tells whether the rest still holds"
)


async def watch(pool: Pool) -> None:
    """Looks at the revision from the first answer of the database on; tells of each unknown one once."""
    told = set[str]()
    await pool.answered.wait()
    while True:
        with suppress(FleetError):  # searches tell of it
            found = await _found(pool)
            _export(found)
            if found not in {*REVISIONS, *told}:
                log.warning(UNKNOWN % (found, ", ".join(REVISIONS)) if found else UNREADABLE)
                told.add(found)
        await asyncio.sleep(PAUSE)


async def _found(pool: Pool) -> str:
    """The revision, empty when it cannot be told. Raises what `postgres.fetch` raises."""
    [[readable]] = await postgres.fetch(pool, READABLE, (), WITHIN)
    if not readable:
        return ""
    rows = await postgres.fetch(pool, REVISION, (), WITHIN)
    return ", ".join(row["version_num"] for row in rows) or "none"


def _export(revision: str) -> None:
    metrics.SCHEMA.clear()
    if revision:
        metrics.SCHEMA.labels(revision).set(revision in REVISIONS)
