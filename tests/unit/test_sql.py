"""The algebra of filters, as SQL text."""

import json
from typing import Any

import pytest

from services.gateway import validation
from services.runs.select import FLOW_RUN, TASK_RUN
from services.work_pools import QUEUE
from shared.filters import Count
from shared.selection import DEPLOYMENT
from shared.sql import Arguments, Table, where

TABLES = {"deployments": DEPLOYMENT, "flow_runs": FLOW_RUN, "task_runs": TASK_RUN, "work_pool_queues": QUEUE}
NAME = {"any_": ["a"]}
NAME_SQL = "d.name = ANY($1::text[])"


def compiled(entity: str, body: dict[str, Any]) -> tuple[str, list[Any]]:
    search = validation.search(Count, {entity: body}, 200)
    arguments = Arguments()
    return where(getattr(search, entity), TABLES[entity], arguments), list(arguments)


def plain(text: str) -> str:
    """Without brackets: what is asked here has one way only to be read."""
    return text.replace("(", "").replace(")", "")


@pytest.mark.parametrize("empty", [{}, {"like_": ""}, {"any_": None}, None])
def test_an_empty_group_is_true_and_a_null_one_is_absent(empty: Any) -> None:
    text, _ = compiled("deployments", {"operator": "or_", "name": empty, "paused": {"eq_": True}})
    assert text == ("((d.paused))" if empty is None else "(true OR (d.paused))")


@pytest.mark.parametrize(
    ("entity", "body", "text"),
    [
        ("deployments", {}, "true"),
        ("deployments", {"name": {"any_": []}}, "d.name = ANY($1::text[])"),
        ("deployments", {"id": {"not_any_": []}}, "true"),
        ("deployments", {"tags": {"all_": []}}, "true"),
        ("deployments", {"tags": {"operator": "or_", "all_": ["a"], "is_null_": True}},
         "d.tags ?& $1::text[] OR d.tags = '[]'::jsonb"),
        ("deployments", {"operator": "or_", "concurrency_limit": {"ge_": 1}, "name": NAME}, NAME_SQL),
        ("flow_runs", {"start_time": {"is_null_": False}}, "r.start_time IS NOT NULL"),
        ("flow_runs", {"start_time": {"after_": 0}}, "COALESCE(r.start_time, r.expected_start_time) >= $1::timestamptz"),
        ("flow_runs", {"state": {"type": {"any_": ["FAILED"], "not_any_": []}}},
         "r.state_type = ANY($1::state_type[])"),
        ("flow_runs", {"state": {"type": {"any_": ["FAILED"], "not_any_": ["RUNNING"]}}}, "true"),
        ("flow_runs", {"state": {"operator": "or_", "type": {}, "name": {"any_": ["x"]}}}, "r.state_name = ANY($1::text[])"),
        ("task_runs", {"flow_run_id": {}}, "t.flow_run_id IS NOT NULL"),
        ("task_runs", {"flow_run_id": {"is_null_": None}}, "true"),
        ("task_runs", {"flow_run_id": {"is_null_": True, "any_": []}}, "t.flow_run_id IS NULL"),
        ("task_runs", {"flow_run_id": {"any_": []}}, "t.flow_run_id = ANY($1::uuid[])"),
        ("work_pool_queues", {"operator": "or_", "name": {"startswith_": []}, "id": {"any_": []}}, "q.id = ANY($1::uuid[])"),
        ("work_pool_queues", {"operator": "or_", "name": {"startswith_": None}, "id": {"any_": []}}, "q.id = ANY($1::uuid[]) OR true"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)  # fmt: skip
def test_the_algebra(entity: str, body: dict[str, Any], text: str) -> None:
    found, _ = compiled(entity, body)
    assert plain(found) == plain(text)


def test_a_dropped_group_leaves_no_argument_behind() -> None:
    dropped = {"any_": ["COMPLETED"], "not_any_": ["FAILED"]}
    text, arguments = compiled("flow_runs", {"state": {"type": dropped}, "name": {"any_": ["x"]}})
    assert "$2" not in text
    assert arguments == [["x"]]


def test_a_statement_does_not_grow_with_its_values() -> None:
    short, _ = compiled("deployments", {"name": {"any_": ["a"]}})
    long, _ = compiled("deployments", {"name": {"any_": ["a"] * 50_000}})
    assert short == long


def test_a_column_is_the_fields_unless_the_table_says_otherwise() -> None:
    table = Table("t", "t", columns={"a.b": "t.c"})
    assert (table.column("a.b"), table.column("name")) == ("t.c", "t.name")
