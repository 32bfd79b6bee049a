"""Selected deployments: intersected with the legs' keys, sorted, counted, paged and printed."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from asyncpg.pgproto import pgproto

from services.deployments import rows
from shared import postgres
from shared.contract import KEY_SIZE, DeploymentById, DeploymentByName, Page, Row, Selection
from shared.filters import Sort
from shared.postgres import Pool, Record
from shared.sql import Arguments, Table, where

DEPLOYMENT = Table(
    "deployment",
    "d",
    terms={
        "flow_or_deployment_name.like_": """(d.name ILIKE '%' || {arg} || '%' OR EXISTS (
            SELECT 1 FROM flow f WHERE f.id = d.flow_id AND f.name ILIKE '%' || {arg} || '%'))""",
    },
)
KEYS = {"flow_ids": "d.flow_id", "deployment_ids": "d.id", "work_queue_ids": "d.work_queue_id"}
ORDER: dict[Sort, str] = {  # the id breaks ties, so that pages neither repeat nor skip
    "NAME_ASC": "d.name, d.id",
    "NAME_DESC": "d.name DESC, d.id",
    "CREATED_DESC": "d.created DESC, d.id",
    "UPDATED_DESC": "d.updated DESC, d.id",
}
COUNT = "SELECT count(*) FROM deployment d WHERE {condition}"
DEPLOYMENTS = """
    SELECT d.id, d.created, d.updated, d.name, d.version, d.description, d.flow_id, d.paused, d.concurrency_limit_id,
           d.concurrency_options, d.infra_overrides, d.parameters, d.tags, d.labels, d.work_queue_name, d.work_queue_id,
           d.last_polled, d.parameter_openapi_schema, d.path, d.pull_steps, d.entrypoint, d.storage_document_id,
           d.infrastructure_document_id, d.created_by, d.updated_by, d.status::text AS status,
           d.enforce_parameter_schema, q.name AS queue_name, p.name AS pool_name
      FROM deployment d
      LEFT JOIN work_queue q ON q.id = d.work_queue_id
      LEFT JOIN work_pool p ON p.id = q.work_pool_id"""
SCHEDULES = """
    SELECT s.id, s.created, s.updated, s.deployment_id, s.schedule, s.active, s.max_scheduled_runs, s.parameters, s.slug
      FROM deployment_schedule s WHERE s.deployment_id = ANY($1::uuid[]) ORDER BY s.updated DESC, s.id"""
LIMITS = """
    SELECT id, created, updated, active, name, "limit", active_slots, slot_decay_per_second
      FROM concurrency_limit_v2 WHERE id = ANY($1::uuid[])"""


def selected(selection: Selection) -> tuple[str, Arguments]:
    """The condition on `deployment d` that a selection makes, and its arguments. Pure."""
    arguments = Arguments()
    conditions = [where(selection.deployments, DEPLOYMENT, arguments)]
    for name, column in KEYS.items():
        if (packed := getattr(selection, name)) is not None:
            conditions.append(f"{column} = ANY({arguments.bind(unpacked(packed), 'uuid[]')})")
    return " AND ".join(conditions), arguments


def unpacked(keys: bytes) -> list[UUID]:
    made = pgproto.UUID  # from 16 bytes, several times faster than uuid.UUID
    return [made(keys[start : start + KEY_SIZE]) for start in range(0, len(keys), KEY_SIZE)]


async def page(pool: Pool, selection: Selection) -> Page:
    """The page, the count, or both: side by side, on a connection each."""
    count, found = await asyncio.gather(_count(pool, selection), _page(pool, selection))
    return Page(found, count)


async def _count(pool: Pool, selection: Selection) -> int:
    if not selection.count:
        return 0
    condition, arguments = selected(selection)
    [record] = await postgres.fetch(pool, COUNT.format(condition=condition), arguments, selection.within)
    return int(record[0])


async def _page(pool: Pool, selection: Selection) -> bytes:
    if not selection.limit:
        return b"[]"
    condition, arguments = selected(selection)
    limit, offset = arguments.bind(selection.limit, "bigint"), arguments.bind(selection.offset, "bigint")
    statement = f"{DEPLOYMENTS} WHERE {condition} ORDER BY {ORDER[selection.sort]} LIMIT {limit} OFFSET {offset}"
    found = await postgres.fetch(pool, statement, arguments, selection.within)
    return rows.encode(await _printable(pool, found, selection.within))


async def by_id(pool: Pool, request: DeploymentById) -> Row:
    return await _one(pool, f"{DEPLOYMENTS} WHERE d.id = $1::uuid", [request.id], request.within)


async def by_name(pool: Pool, request: DeploymentByName) -> Row:
    statement = f"{DEPLOYMENTS} JOIN flow f ON f.id = d.flow_id WHERE f.name = $1::text AND d.name = $2::text"
    return await _one(pool, statement, [request.flow, request.deployment], request.within)


async def _one(pool: Pool, statement: str, arguments: Sequence[Any], within: float) -> Row:
    found = await postgres.fetch(pool, statement, arguments, within)
    printable = await _printable(pool, found, within)
    return Row(rows.encode(printable[0]) if printable else None)


async def _printable(pool: Pool, found: Sequence[Record], within: float) -> list[Any]:
    """The rows with their schedules and limits, which are read for all rows at once."""
    ids = [record["id"] for record in found]
    limit_ids = [limit for record in found if (limit := record["concurrency_limit_id"]) is not None]
    schedules, limits = await asyncio.gather(
        postgres.fetch(pool, SCHEDULES, [ids], within) if ids else _nothing(),
        postgres.fetch(pool, LIMITS, [limit_ids], within) if limit_ids else _nothing(),
    )
    timed, limited = rows.by_deployment(schedules), rows.by_id(limits)
    return [rows.deployment(record, timed, limited) for record in found]


async def _nothing() -> list[Record]:
    return []
