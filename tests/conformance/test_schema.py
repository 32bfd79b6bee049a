"""Our schema against the one that Prefect's own migrations make, for the tables the fleet reads."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from services import embedded
from tests.conformance.oracle import migrate

SCHEMA = Path(__file__).parents[2] / "deploy" / "schema.sql"

TABLES = [
    "alembic_version",
    "concurrency_limit_v2",
    "csrf_token",
    "deployment",
    "deployment_schedule",
    "flow",
    "flow_run",
    "task_run",
    "work_pool",
    "work_queue",
]

ASPECTS = {
    "columns": """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid)
          FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
          LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
         WHERE c.relname = ANY($1) AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped""",
    "indexes": """
        SELECT c.relname, pg_get_indexdef(i.indexrelid), i.indisvalid
          FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE c.relname = ANY($1)""",
    "keys": """
        SELECT c.relname, k.conname, pg_get_constraintdef(k.oid)
          FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
         WHERE c.relname = ANY($1) AND k.contype IN ('p', 'u', 'c', 'x')""",
    "references": """
        SELECT c.relname, k.conname, pg_get_constraintdef(k.oid)
          FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_class t ON t.oid = k.confrelid
         WHERE c.relname = ANY($1) AND t.relname = ANY($1) AND k.contype = 'f'""",
    "enums": """
        SELECT DISTINCT t.typname, e.enumlabel, e.enumsortorder
          FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid JOIN pg_attribute a ON a.atttypid = t.oid
          JOIN pg_class c ON c.oid = a.attrelid WHERE c.relname = ANY($1) AND c.relkind = 'r'""",
    "revision": "SELECT version_num FROM alembic_version WHERE cardinality($1::text[]) > 0",
    "extensions": "SELECT extname FROM pg_extension WHERE extname = 'pg_trgm' AND cardinality($1::text[]) > 0",
}


async def create_databases(dsn: str, *names: str) -> None:
    connection = await asyncpg.connect(dsn)
    for name in names:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    await connection.close()


async def apply_ours(dsn: str) -> list[str]:
    """Apply the schema; gives the tables that came of it."""
    connection = await asyncpg.connect(dsn)
    await connection.execute(SCHEMA.read_text())
    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    await connection.close()
    return [row["tablename"] for row in tables]


async def described(dsn: str) -> dict[str, set[tuple[object, ...]]]:
    connection = await asyncpg.connect(dsn)
    aspects = {name: {tuple(row) for row in await connection.fetch(text, TABLES)} for name, text in ASPECTS.items()}
    await connection.close()
    return aspects


def test_our_schema_is_prefects_for_the_tables_the_fleet_reads(home: Path) -> None:
    with embedded.postgres(home, durable=False) as dsn:
        asyncio.run(create_databases(dsn, "ours", "theirs"))
        ours, theirs = (urlsplit(dsn)._replace(path=path).geturl() for path in ("/ours", "/theirs"))
        assert asyncio.run(apply_ours(ours)) == TABLES
        migrate(theirs, home / "prefect")
        here, there = asyncio.run(described(ours)), asyncio.run(described(theirs))
    for aspect in ASPECTS:
        assert there[aspect], aspect
        assert here[aspect] ^ there[aspect] == set(), aspect
