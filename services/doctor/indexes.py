"""The indexes that searches use: those of Prefect's own schema, and four more that pay. One is there when an index can
do its work, whatever its name: `classis doctor --indexes` prints the four as deploy/indexes.sql.
"""

import re
from typing import Any

from msgspec import Struct

from services.doctor.places import Place
from services.doctor.report import Mark, Subject

FEW = 100_000  # flow runs, below which the extra indexes gain little
SMALL = 10_000  # rows; reading all of a smaller table takes a few milliseconds
UNREAD = -1  # reltuples of a table that was never analyzed
NEVER_ANALYZED = 8 * 1024 * 1024  # bytes, from which on the planner should know more


class Index(Struct, frozen=True):
    """What an index must have: a method, keys in this order, and whatever else may stand behind them."""

    table: str
    keys: tuple[str, ...]
    serves: str
    method: str = "btree"
    operators: str = ""  # the operator class of a gin index
    include: tuple[str, ...] = ()
    name: str = ""

    @property
    def statement(self) -> str:
        name = self.name or f"classis_{'_'.join((self.table, *self.keys))}{'_trgm' if 'trgm' in self.operators else ''}"
        keys = ", ".join(f"{key} {self.operators}" if "trgm" in self.operators else key for key in self.keys)
        using = "" if self.method == "btree" else f"USING {self.method} "
        include = f" INCLUDE ({', '.join(self.include)})" if self.include else ""
        return f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {self.table} {using}({keys}){include};"


def _trigrams(table: str) -> Index:
    return Index(table, ("name",), "parts of names", method="gin", operators="gin_trgm_ops")


# Not in Prefect's schema. `serves` ends with what `python -m bench --phases indexes` found.
EXTRA = (
    Index(
        "deployment", ("name", "id"), name="classis_deployment_name_id",
        serves="Pages sorted by name, without a filter or with one that many pass (shapes 1, 3, 20): "
               "ten rows 7 to 2 ms; 0.5 MB.",
    ),
    Index(
        "flow_run", ("state_type", "deployment_id"), name="classis_flow_run_state_deployment",
        serves="Deployments with a run in some state (shapes 7, 24): FAILED 82 to 32 ms, COMPLETED 45 to 31 ms; 9 MB.",
    ),
    Index(
        "flow_run", ("deployment_id", "state_type"), include=("id",), name="classis_flow_run_deployment_state_id",
        serves="Filters of flow runs and task runs together (shapes 10, 12, 24): "
               "FAILED and FAILED 190 to 110 ms; 56 MB.",
    ),
    Index(
        "flow_run", ("tags",), method="gin", operators="jsonb_ops", name="classis_flow_run_tags",
        serves="Flow runs by their tags (shapes 23): 320 to 11 ms; 2 MB.",
    ),
)  # fmt: skip

# In Prefect's schema of today, and in use here. Older installations lack some, and some were dropped by hand.
PREFECTS = (
    Index("deployment", ("id",), "the rows of every page"),
    Index("deployment", ("flow_id",), "deployments of the flows that pass"),
    Index("deployment", ("work_queue_id",), "deployments of the queues that pass"),
    Index("deployment", ("created",), "pages sorted by creation"),
    Index("deployment", ("updated",), "pages sorted by change"),
    Index("deployment", ("flow_id", "name"), "a deployment by its name"),
    _trigrams("deployment"),
    Index("deployment_schedule", ("deployment_id",), "the schedules of every page"),
    Index("concurrency_limit_v2", ("id",), "the limits of every page"),
    Index("flow", ("id",), "the flows of every page"),
    Index("flow", ("name",), "flows and deployments by name"),
    _trigrams("flow"),
    Index("work_pool", ("id",), "the pools of every page"),
    Index("work_pool", ("name",), "pools by name"),
    Index("work_queue", ("id",), "the queues of every page"),
    Index("work_queue", ("work_pool_id",), "queues of the pools that pass"),
    Index("flow_run", ("id",), "the flow runs of task runs that pass"),
    Index("flow_run", ("deployment_id",), "almost every search by runs"),
    Index("flow_run", ("state_type",), "runs by the type of their state"),
    Index("flow_run", ("state_name",), "runs by the name of their state"),
    Index("flow_run", ("name",), "runs by name"),
    _trigrams("flow_run"),
    Index("flow_run", ("start_time",), "runs that have, or have not, started"),
    Index(
        "flow_run", ("COALESCE(start_time, expected_start_time)",), "runs by their start",
        name="classis_flow_run_coalesce_start_time",
    ),
    Index("flow_run", ("parent_task_run_id",), "runs by their parent"),
    Index("task_run", ("id",), "runs by their parent"),
    Index("task_run", ("flow_run_id",), "almost every search by task runs"),
    Index("task_run", ("state_type",), "task runs by the type of their state"),
    Index("task_run", ("state_name",), "task runs by the name of their state"),
    Index("task_run", ("name",), "task runs by name"),
    _trigrams("task_run"),
    Index("task_run", ("start_time",), "task runs by their start"),
)  # fmt: skip

TABLES = tuple(dict.fromkeys(index.table for index in PREFECTS))

# Of the keys: each's text, whether it is sorted backwards, and, where it matters, its class of operators.
FOUND = """
    SELECT t.relname AS "table", c.relname AS name, m.amname AS method, i.indisvalid AND i.indisready AS valid,
           i.indpred IS NOT NULL AS partial, i.indnkeyatts AS keys, i.indoption::int[] AS options,
           ARRAY(SELECT pg_get_indexdef(c.oid, k, true) FROM generate_series(1, i.indnatts) k) AS columns,
           ARRAY(SELECT o.opcname::text FROM unnest(i.indclass) WITH ORDINALITY u(oid, place)
                   JOIN pg_opclass o ON o.oid = u.oid ORDER BY u.place) AS operators
      FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
      JOIN pg_am m ON m.oid = c.relam
     WHERE i.indrelid = ANY(SELECT to_regclass(name) FROM unnest($1::text[]) name)"""
SIZES = """
    SELECT relname AS "table", reltuples::bigint AS rows, pg_table_size(oid) AS bytes
      FROM pg_class WHERE oid = ANY(SELECT to_regclass(name) FROM unnest($1::text[]) name)"""


async def check(subject: Subject, place: Place) -> None:
    about = f"database {place.who['database']}"
    found = await place.connection.fetch(FOUND, TABLES)
    sizes = {row["table"]: row for row in await place.connection.fetch(SIZES, TABLES)}
    rows = {table: _rows(size) for table, size in sizes.items()}
    subject.ok(about, f"rows, by the planner's estimate: {_counted(sizes) or 'none of the tables is there'}")
    _unknown(subject, about, sizes)
    for row in found:
        if not row["valid"]:
            then = f"wait if it is being made just now, else DROP INDEX CONCURRENTLY {row['name']}; and make it anew"
            subject.warning(about, f"the index {row['name']} on {row['table']} is invalid: no search uses it", then)
    present = [index for index in (*PREFECTS, *EXTRA) if any(serves(row, index) for row in found)]
    few = rows.get("flow_run", 0) < FEW
    for index in PREFECTS if few else (*PREFECTS, *EXTRA):
        if index not in present and index.table in rows:
            mark: Mark = "note" if rows[index.table] < SMALL else "warning"
            subject.add(mark, about, _missing(index), index.statement)
    absent = sum(index not in present and index.table in rows for index in EXTRA)
    if few and absent:
        text = f"{absent} indexes that Prefect's schema lacks pay from some {FEW:,} flow runs on"
        subject.note(about, text, "nothing yet: deploy/indexes.sql has them")
    subject.ok(about, f"{len(present)} of {len(PREFECTS) + len(EXTRA)} indexes that searches use are there")


def _rows(size: Any) -> int:
    """The planner's number; before it has one, a row per 500 bytes."""
    return int(size["bytes"] // 500 if size["rows"] == UNREAD else size["rows"])


def _counted(sizes: dict[str, Any]) -> str:
    known = [f"{name} {sizes[name]['rows']:,}" for name in TABLES if name in sizes and sizes[name]["rows"] != UNREAD]
    unread = [name for name in TABLES if name in sizes and sizes[name]["rows"] == UNREAD]
    return "; ".join([*([", ".join(known)] if known else []), *_not_analyzed(unread)])


def _not_analyzed(tables: list[str]) -> list[str]:
    return [f"not analyzed yet, run ANALYZE: {', '.join(tables)}"] if tables else []


def _unknown(subject: Subject, about: str, sizes: dict[str, Any]) -> None:
    unread = [name for name, size in sizes.items() if size["rows"] == UNREAD and size["bytes"] > NEVER_ANALYZED]
    if unread:
        text = f"never analyzed: {', '.join(unread)}; the planner guesses, and chooses slow plans"
        subject.warning(about, text, f"ANALYZE {', '.join(unread)};")


def _missing(index: Index) -> str:
    if index in EXTRA:
        gain = re.sub(r" \(shapes [\d, ]+\)", "", index.serves)
        return f"an index that Prefect's schema lacks would pay. Measured with 1,000,000 flow runs: {gain}"
    return f"no index on {index.table} ({', '.join(index.keys)}), which Prefect's schema has: for {index.serves}"


def serves(found: Any, wanted: Index) -> bool:
    """Whether an index can do the work of the one that is wanted: its keys come first, sorted one way, for all rows."""
    keys, number = found["columns"][: found["keys"]], len(wanted.keys)
    return bool(
        found["valid"]
        and not found["partial"]
        and (found["table"], found["method"]) == (wanted.table, wanted.method)
        and tuple(keys[:number]) == wanted.keys
        and set(wanted.include) <= set(found["columns"][number:])
        and len(set(found["options"][:number])) == 1
        and wanted.operators in {"", found["operators"][0]}
    )


HEAD = """\
-- Indexes that Prefect's schema lacks and that pay for Classis: none is needed for an answer, only for its speed.
-- Each comment tells which searches an index helps, and what `python -m bench --phases indexes` found it to gain and to
-- weigh, with 10,000 deployments, 1,000,000 flow runs and 3,000,000 task runs. The numbers of shapes are bench's.
-- `classis doctor` tells which of them a database has, and prints this file with --indexes.
"""
FOOT = """
-- Tried, and not worth their place alone: deployment (tags) with gin, flow_run (deployment_id, state_type) without the
-- id, task_run (state_type, flow_run_id), task_run (flow_run_id, state_type). The last one does gain beside the third
-- above (FAILED and FAILED 110 to 66 ms), for another 25 bytes a task run.
"""


def document() -> str:
    """deploy/indexes.sql."""
    entries = "".join(f"-- {index.serves}\n{index.statement}\n" for index in EXTRA)
    return f"{HEAD}\n{entries}{FOOT}"
