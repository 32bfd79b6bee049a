"""Which selected deployments own a matching run: one flow run that passes, and owns a task run that passes. Pure.

No single statement is good for a filter that nearly every run passes and for one that eight runs pass: there are
several strategies, which differ in nothing but speed (`services.runs.choice` chooses).

The deployment is in the statement as a table, not as a list of candidates, so that the planner can use its statistics.
"""

from dataclasses import dataclass
from typing import Any, Literal

from shared.contract import RunLeg
from shared.selection import ORDER, selected
from shared.sql import Arguments, Table, where

FLOW_RUN = Table(
    "flow_run",
    "r",
    columns={
        "start_time": "COALESCE(r.start_time, r.expected_start_time)",
        "state.type": "r.state_type",
        "state.name": "r.state_name",
    },
    terms={
        "start_time.is_null_": ("r.start_time IS NULL", "r.start_time IS NOT NULL"),
        "parent_flow_run_id.any_": """r.parent_task_run_id IN (
            SELECT parent.id FROM task_run parent WHERE parent.flow_run_id = ANY({arg}))""",
        "created_by.id_": "r.created_by ->> 'id' = ANY({arg}::text[])",
        "created_by.type_": "r.created_by ->> 'type' = ANY({arg})",
    },
)
TASK_RUN = Table(
    "task_run",
    "t",
    columns={"state.type": "t.state_type", "state.name": "t.state_name"},
    terms={
        "subflow_runs.exists_": (
            "EXISTS (SELECT 1 FROM flow_run child WHERE child.parent_task_run_id = t.id)",
            "NOT EXISTS (SELECT 1 FROM flow_run child WHERE child.parent_task_run_id = t.id)",
        ),
    },
)

RUNS = "FROM flow_run r WHERE {flow_runs}"
RUNS_WITH_TASKS = "FROM flow_run r JOIN task_run t ON t.flow_run_id = r.id WHERE {flow_runs} AND {task_runs}"

Strategy = Literal["join", "probe", "driven", "walk"]
OWNS: dict[Strategy, str] = {
    "join": "EXISTS (SELECT 1 {runs} AND r.deployment_id = d.id)",  # the planner decides
    "probe": "EXISTS (SELECT 1 {runs} AND r.deployment_id = d.id OFFSET 0)",  # for each deployment until one is found
    "driven": "d.id IN (SELECT r.deployment_id {runs} OFFSET 0)",  # all matching runs, then their deployments
}
OWNS["walk"] = OWNS["probe"]  # in the page's order, until the page is full
"""The condition on `deployment d`, for each strategy. `OFFSET 0` keeps the planner from taking a subquery apart."""

SORTED = "d.id, d.name, d.created, d.updated"
MATCHING = f"SELECT {SORTED} FROM deployment d WHERE {{selected}} AND {{owns}}"  # noqa: S608 — no value is in it
WALKING = f"""SELECT {SORTED} FROM (SELECT {SORTED} FROM deployment d WHERE {{selected}} ORDER BY {{order}} OFFSET 0) d
    WHERE {{owns}}"""  # noqa: S608
PAGE = """SELECT string_agg(uuid_send(page.id), ''::bytea)
    FROM (SELECT id FROM {source} matching ORDER BY {order} LIMIT {limit} OFFSET {offset}) page"""  # 16 bytes an id
COUNTED = "SELECT count(*), NULL::bytea FROM ({matching}) matching"
BOTH = "WITH matching AS MATERIALIZED ({matching}) SELECT (SELECT count(*) FROM matching), ({page})"
PAGED = "WITH matching AS MATERIALIZED ({matching}) SELECT NULL::bigint, ({page})"  # the limit must not sway the plan
WALKED = "SELECT NULL::bigint, ({page})"


@dataclass(frozen=True)
class Question:
    """A leg's request, compiled: what the strategies share."""

    leg: RunLeg
    selected: str
    runs: str
    arguments: Arguments

    def matching(self, strategy: Strategy) -> str:
        """The statement that gives all matching deployments; its arguments are `arguments`."""
        template = WALKING if strategy == "walk" else MATCHING
        owns = OWNS[strategy].format(runs=self.runs)
        return template.format(selected=self.selected, owns=owns, order=ORDER[self.leg.sort])

    def statement(self, strategy: Strategy) -> tuple[str, list[Any]]:
        """The statement that gives one row, (count or NULL, the page's ids or NULL), and its arguments."""
        matching, arguments = self.matching(strategy), Arguments(self.arguments)
        if not self.leg.limit:
            return COUNTED.format(matching=matching), arguments
        limit, offset = arguments.bind(self.leg.limit, "bigint"), arguments.bind(self.leg.offset, "bigint")
        walk = strategy == "walk"
        source = f"({matching})" if walk else ""
        page = PAGE.format(source=source, order=ORDER[self.leg.sort], limit=limit, offset=offset)
        template = BOTH if self.leg.count else WALKED if walk else PAGED
        return template.format(matching=matching, page=page), arguments


def question(leg: RunLeg) -> Question:
    """Task runs are joined only when they are asked for: a run without one passes otherwise."""
    arguments = Arguments()
    runs = RUNS if leg.task_runs is None else RUNS_WITH_TASKS
    conditions = {
        "flow_runs": where(leg.flow_runs, FLOW_RUN, arguments),
        "task_runs": where(leg.task_runs, TASK_RUN, arguments),
    }
    return Question(leg, selected(leg, arguments), runs.format(**conditions), arguments)
