"""The floor's SQL: for every shape, hand-written ways to find its deployments. The fastest on the data at hand is used.

A form is what stands behind FROM. `{source}` is the deployment table or, to stop early, the same one sorted; the
arguments are places in the body. None of the forms is known to be best everywhere: which one is, `floor.py` measures.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Match:
    """Forms that find the same deployments `d`, and where in the body their `$1, $2, …` are."""

    forms: Sequence[str]
    arguments: Sequence[str] = ()


def owning_run(run: str) -> list[str]:
    """Deployments that own a flow run `r` that passes."""
    return [
        # the planner's choice
        f"{{source}} d WHERE EXISTS (SELECT 1 FROM flow_run r WHERE r.deployment_id = d.id AND {run})",
        # deployment by deployment: OFFSET 0 keeps the planner from making it a join
        f"{{source}} d WHERE EXISTS (SELECT 1 FROM flow_run r WHERE r.deployment_id = d.id AND {run} OFFSET 0)",
        f"{{source}} d, LATERAL (SELECT 1 FROM flow_run r WHERE r.deployment_id = d.id AND {run} LIMIT 1) x",
        # run by run
        f"{{source}} d WHERE d.id IN (SELECT DISTINCT r.deployment_id FROM flow_run r WHERE {run})",
        f"""(SELECT DISTINCT r.deployment_id AS own FROM flow_run r WHERE {run}) x
            JOIN {{source}} d ON d.id = x.own""",
    ]


def owning_task(run: str, task: str) -> list[str]:
    """Deployments that own a flow run `r` that passes and owns a task run `t` that passes."""
    tasks = f"SELECT 1 FROM task_run t WHERE t.flow_run_id = r.id AND {task}"
    joined = f"flow_run r JOIN task_run t ON t.flow_run_id = r.id WHERE {run} AND {task}"
    runs_of_tasks = f"SELECT t.flow_run_id FROM task_run t WHERE {task}"
    return [
        # the planner's choice
        f"{{source}} d WHERE EXISTS (SELECT 1 FROM {joined} AND r.deployment_id = d.id)",
        # deployment by deployment
        f"{{source}} d WHERE EXISTS (SELECT 1 FROM {joined} AND r.deployment_id = d.id OFFSET 0)",
        f"""{{source}} d WHERE EXISTS (
            SELECT 1 FROM flow_run r WHERE r.deployment_id = d.id AND {run} AND EXISTS ({tasks}))""",
        f"""{{source}} d WHERE EXISTS (
            SELECT 1 FROM flow_run r WHERE r.deployment_id = d.id AND {run} AND EXISTS ({tasks} OFFSET 0) OFFSET 0)""",
        f"""{{source}} d, LATERAL (
            SELECT 1 FROM flow_run r, LATERAL ({tasks} LIMIT 1) y WHERE r.deployment_id = d.id AND {run} LIMIT 1) x""",
        # run by run
        f"{{source}} d WHERE d.id IN (SELECT DISTINCT r.deployment_id FROM {joined})",
        f"""{{source}} d WHERE d.id IN (
            SELECT DISTINCT r.deployment_id FROM flow_run r WHERE {run} AND EXISTS ({tasks} OFFSET 0))""",
        # task by task
        f"""{{source}} d WHERE d.id IN (
            SELECT r.deployment_id FROM flow_run r WHERE {run} AND r.id IN ({runs_of_tasks}))""",
        f"""{{source}} d WHERE d.id IN (
            SELECT r.deployment_id FROM (SELECT DISTINCT flow_run_id AS id FROM ({runs_of_tasks}) z) o
            JOIN flow_run r ON r.id = o.id WHERE {run})""",
    ]


def and_(forms: Sequence[str], further: str) -> list[str]:
    """The forms with a further condition on `d`."""
    return [f"{form} {'AND' if form.startswith('{source} d WHERE') else 'WHERE'} {further}" for form in forms]


RUN_STATE = "r.state_type = ANY($1::state_type[])"
TASK_STATE = "t.state_type = ANY($1::state_type[])"
STATE = "state.type.any_"
EVERY = ["{source} d"]

FLOOR: dict[str, Match] = {
    "1 page": Match(EVERY),
    "2 last page": Match(EVERY),
    "3 ten rows": Match(EVERY),
    "4 tags": Match(["{source} d WHERE d.tags ?| $1::text[]"], ["deployments.tags.any_"]),
    "5 name": Match(["{source} d WHERE d.name ILIKE '%' || $1::text || '%'"], ["deployments.name.like_"]),
    "6 flows": Match(
        [
            "{source} d WHERE d.flow_id IN (SELECT f.id FROM flow f WHERE f.name = ANY($1::text[]))",
            "{source} d WHERE d.flow_id = ANY (ARRAY(SELECT f.id FROM flow f WHERE f.name = ANY($1::text[])))",
        ],
        ["flows.name.any_"],
    ),
    "7 runs completed": Match(owning_run(RUN_STATE), [f"flow_runs.{STATE}"]),
    "8 runs crashed lately": Match(
        owning_run(f"{RUN_STATE} AND COALESCE(r.start_time, r.expected_start_time) >= $2::timestamptz"),
        [f"flow_runs.{STATE}", "flow_runs.start_time.after_"],
    ),
    "9 run name": Match(owning_run("r.name ILIKE '%' || $1::text || '%'"), ["flow_runs.name.like_"]),
    "10 tasks completed": Match(owning_task("true", TASK_STATE), [f"task_runs.{STATE}"]),
    "11 task name": Match(owning_task("true", "t.name = ANY($1::text[])"), ["task_runs.name.any_"]),
    "12 runs and tasks failed": Match(
        owning_task(RUN_STATE, "t.state_type = ANY($2::state_type[])"),
        [f"flow_runs.{STATE}", f"task_runs.{STATE}"],
    ),
    "13 pools": Match(
        [
            """{source} d WHERE d.work_queue_id IN (
                SELECT q.id FROM work_queue q JOIN work_pool p ON p.id = q.work_pool_id
                WHERE p.name = ANY($1::text[]))""",
            """{source} d WHERE d.work_queue_id = ANY (ARRAY(
                SELECT q.id FROM work_queue q JOIN work_pool p ON p.id = q.work_pool_id
                WHERE p.name = ANY($1::text[])))""",
        ],
        ["work_pools.name.any_"],
    ),
    "14 pools and queues": Match(
        [
            """{source} d WHERE d.work_queue_id IN (
                SELECT q.id FROM work_queue q JOIN work_pool p ON p.id = q.work_pool_id
                WHERE p.type = ANY($1::text[]) AND q.name = ANY($2::text[]))""",
            """{source} d WHERE d.work_queue_id = ANY (ARRAY(
                SELECT q.id FROM work_queue q JOIN work_pool p ON p.id = q.work_pool_id
                WHERE p.type = ANY($1::text[]) AND q.name = ANY($2::text[])))""",
        ],
        ["work_pools.type.any_", "work_pool_queues.name.any_"],
    ),
    "15 flows, runs, pools": Match(
        and_(
            owning_run(RUN_STATE),
            """d.flow_id IN (SELECT f.id FROM flow f WHERE f.name ILIKE '%' || $2::text || '%')
            AND d.work_queue_id IN (
                SELECT q.id FROM work_queue q JOIN work_pool p ON p.id = q.work_pool_id
                WHERE p.type = ANY($3::text[]))""",
        ),
        [f"flow_runs.{STATE}", "flows.name.like_", "work_pools.type.any_"],
    ),
    "16 all six": Match(
        and_(
            owning_task(RUN_STATE, "t.state_type = ANY($2::state_type[])"),
            """d.flow_id IN (SELECT f.id FROM flow f WHERE f.name ILIKE '%' || $3::text || '%')
            AND d.work_queue_id IN (
                SELECT q.id FROM work_queue q JOIN work_pool p ON p.id = q.work_pool_id
                WHERE p.type = ANY($4::text[]) AND q.name = ANY($5::text[]))
            AND d.tags ?& $6::text[]""",
        ),
        [
            f"flow_runs.{STATE}",
            f"task_runs.{STATE}",
            "flows.name.like_",
            "work_pools.type.any_",
            "work_pool_queues.name.any_",
            "deployments.tags.all_",
        ],
    ),
    "17 count": Match(EVERY),
    "18 run name, tasks": Match(
        owning_task("r.name ILIKE '%' || $2::text || '%'", TASK_STATE),
        [f"task_runs.{STATE}", "flow_runs.name.like_"],
    ),
    "19 any run": Match(owning_run("true")),
    "20 list runs completed": Match(owning_run(RUN_STATE), [f"flow_runs.{STATE}"]),
    "21 list tasks completed": Match(owning_task("true", TASK_STATE), [f"task_runs.{STATE}"]),
    "22 list as the UI": Match(
        [
            """{source} d WHERE (d.name ILIKE '%' || $1::text || '%' OR EXISTS (
                SELECT 1 FROM flow f WHERE f.id = d.flow_id AND f.name ILIKE '%' || $1::text || '%'))""",
            """{source} d WHERE (d.name ILIKE '%' || $1::text || '%' OR d.flow_id IN (
                SELECT f.id FROM flow f WHERE f.name ILIKE '%' || $1::text || '%'))""",
        ],
        ["deployments.flow_or_deployment_name.like_"],
    ),
    "23 run tags": Match(owning_run("r.tags ?| $1::text[]"), ["flow_runs.tags.any_"]),
    "24 runs failed": Match(owning_run(RUN_STATE), [f"flow_runs.{STATE}"]),
    # What the workload "count" asks in place of shape 17 when its bodies are distinct.
    "17 count, but one": Match(["{source} d WHERE d.id <> ALL($1::uuid[])"], ["deployments.id.not_any_"]),
}

ORDER = {
    "NAME_ASC": "d.name, d.id",
    "NAME_DESC": "d.name DESC, d.id",
    "CREATED_DESC": "d.created DESC, d.id",
    "UPDATED_DESC": "d.updated DESC, d.id",
}
KEYS = "d.id, d.name, d.created, d.updated"  # what any order needs
SORTED = "(SELECT * FROM deployment d ORDER BY {order} OFFSET 0)"

ROWS = """
           d.id, d.created, d.updated, d.name, d.version, d.description, d.flow_id, d.paused, d.concurrency_options,
           d.infra_overrides, d.parameters, d.tags, d.labels, d.work_queue_name, d.work_queue_id, d.last_polled,
           d.parameter_openapi_schema, d.path, d.pull_steps, d.entrypoint, d.storage_document_id,
           d.infrastructure_document_id, d.created_by, d.updated_by, d.status::text AS status,
           d.enforce_parameter_schema, q.name AS queue_name, p.name AS pool_name,
           ARRAY(SELECT ROW(s.id, s.created, s.updated, s.deployment_id, s.schedule, s.active, s.max_scheduled_runs,
                            s.parameters, s.slug)
                   FROM deployment_schedule s WHERE s.deployment_id = d.id
                  ORDER BY s.updated DESC, s.id) AS schedules,
           (SELECT ROW(l.id, l.created, l.updated, l.active, l.name, l."limit", l.active_slots, l.slot_decay_per_second)
              FROM concurrency_limit_v2 l WHERE l.id = d.concurrency_limit_id) AS limited
      FROM deployment d
      LEFT JOIN work_queue q ON q.id = d.work_queue_id
      LEFT JOIN work_pool p ON p.id = q.work_pool_id"""

# From a form to a page, in one round trip: the ids first, then the rows of these alone.
APART = """
    WITH page AS (SELECT d.id FROM {match} ORDER BY {order} LIMIT {limit} OFFSET {offset})
    SELECT (SELECT count(*) FROM {match}) AS matches, {rows} JOIN page ON page.id = d.id ORDER BY {order}"""
SHARED = """
    WITH hit AS MATERIALIZED (SELECT {keys} FROM {match}),
         page AS (SELECT d.id FROM hit d ORDER BY {order} LIMIT {limit} OFFSET {offset})
    SELECT (SELECT count(*) FROM hit) AS matches, {rows} JOIN page ON page.id = d.id ORDER BY {order}"""
LISTED = """
    WITH page AS (SELECT d.id FROM {match} ORDER BY {order} LIMIT {limit} OFFSET {offset})
    SELECT {rows} JOIN page ON page.id = d.id ORDER BY {order}"""
COUNTED = "SELECT count(*) AS matches FROM {match}"

ASSEMBLIES: dict[str, dict[str, tuple[str, str]]] = {  # path → name → (assembly, source)
    "paginate": {
        "count apart": (APART, "deployment"),
        "count and page from one": (SHARED, "deployment"),
    },
    "filter": {
        "page": (LISTED, "deployment"),
        "page, sorted first": (LISTED, SORTED),
    },
    "count": {"count": (COUNTED, "deployment")},
}
