"""Selected deployments: sorted, counted, paged and printed.

A page takes two steps. The first finds the *versions* of its rows, in its order. The second reads and prints the rows
whose version is not kept from before (docs/decisions/0007-rows-are-kept-by-row-version.md).
"""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any

from services.deployments import rows, statements
from services.deployments.kept import Kept
from shared import metrics, postgres
from shared.contract import KEY_SIZE, PAGE, DeploymentById, DeploymentByName, Page, Row, Selection
from shared.postgres import Connection, Pool, Record
from shared.selection import unpacked

AT_ONCE = 200  # rows read and printed before others get their turn


async def page(pool: Pool, kept: Kept, selection: Selection) -> Page:
    """The page, the count, or both."""
    if not selection.limit:
        return Page(b"[]", await _count(pool, selection) if selection.count else 0)
    count, found = await _found(pool, kept, *statements.page(selection), selection.within)
    return Page(b"[%b]" % b",".join(row.row or b"" for row in found), count, _tag(found))


async def _count(pool: Pool, selection: Selection) -> int:
    [record] = await postgres.fetch(pool, *statements.count(selection), selection.within)
    return int(record[0])


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=16).digest()


def _tag(found: Sequence[Row]) -> bytes:
    return _digest(b"".join(row.tag for row in found)) if found else b""


async def by_id(pool: Pool, kept: Kept, request: DeploymentById) -> Row:
    return await _one(pool, kept, "d.id = $1::uuid", [request.id], request.within)


async def by_name(pool: Pool, kept: Kept, request: DeploymentByName) -> Row:
    condition = "d.flow_id = (SELECT f.id FROM flow f WHERE f.name = $1::text) AND d.name = $2::text"
    return await _one(pool, kept, condition, [request.flow, request.deployment], request.within)


async def _one(pool: Pool, kept: Kept, condition: str, arguments: Sequence[Any], within: float) -> Row:
    _, found = await _found(pool, kept, statements.one(condition), arguments, within)
    return found[0] if found else Row(None)


class _Changed(Exception):
    """Between the two steps, a row of the page was changed or deleted."""


async def _found(
    pool: Pool, kept: Kept, statement: str, arguments: Sequence[Any], within: float
) -> tuple[int, list[Row]]:
    """A count and rows, all as they were at one moment."""
    try:
        return await postgres.using(pool, within, lambda connection: _read(connection, kept, statement, arguments))
    except _Changed:  # again, where nothing changes between two steps; it costs two round trips more
        async with postgres.snapshot(pool, within) as connection:
            return await _read(connection, kept, statement, arguments)


async def _read(connection: Connection, kept: Kept, statement: str, arguments: Sequence[Any]) -> tuple[int, list[Row]]:
    """Both steps. Raises _Changed when the second does not meet the versions of the first."""
    [(count, versions)] = await connection.fetch(statement, *arguments)
    known = {version: row for version in versions if (row := kept.get(version))}
    metrics.ROWS.labels(PAGE.service).inc(len(versions))
    metrics.ROW_CACHE.labels("hit").inc(len(known))
    metrics.ROW_CACHE.labels("miss").inc(len(versions) - len(known))
    for missing in _slices([version for version in versions if version not in known]):
        ids = unpacked(b"".join(version[:KEY_SIZE] for version in missing))
        known |= _printed(await connection.fetch(statements.ROWS, ids), kept)
    if not known.keys() >= set(versions):
        raise _Changed
    return count, [known[version] for version in versions]


def _slices(versions: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (versions[start : start + AT_ONCE] for start in range(0, len(versions), AT_ONCE))


def _printed(records: Sequence[Record], kept: Kept) -> dict[bytes, Row]:
    """The rows by their versions. Those that stay as they are get kept."""
    found: dict[bytes, Row] = {}
    for record in records:
        text = rows.encode(rows.deployment(record))
        found[record["row_version"]] = row = Row(text, _digest(text))
        if rows.lasting(schedule[rows.TIMING] for schedule in record["schedules"]):
            kept.put(record["row_version"], row)
    return found
