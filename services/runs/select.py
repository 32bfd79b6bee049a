"""Which deployments own a matching run: one flow run that passes, and owns a task run that passes.

The deployment is in the statement as a table, not as a list of candidates, so that the planner can use its statistics.
"""

from shared.contract import RUNS, RunLeg
from shared.entity import Entity
from shared.sql import Table

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
WITH_FLOW_RUN = """SELECT d.id FROM deployment d WHERE EXISTS (
    SELECT 1 FROM flow_run r WHERE r.deployment_id = d.id AND {flow_runs})"""
WITH_TASK_RUN = """SELECT d.id FROM deployment d WHERE EXISTS (
    SELECT 1 FROM flow_run r JOIN task_run t ON t.flow_run_id = r.id
    WHERE r.deployment_id = d.id AND {flow_runs} AND {task_runs})"""


def statement(leg: RunLeg) -> str:
    """Task runs are joined only when they are asked for: a run without one passes otherwise."""
    return WITH_FLOW_RUN if leg.task_runs is None else WITH_TASK_RUN


ENTITY = Entity(RUNS, {"flow_runs": FLOW_RUN, "task_runs": TASK_RUN}, statement)
