"""The statements of the deployments service. Pure.

A row's *version* is one byte string that is never the same for two contents of the printed row. Why that holds is told
in docs/decisions/0007-rows-are-kept-by-row-version.md. It starts with the deployment's id.
"""

from shared.contract import Selection
from shared.selection import ORDER, selected
from shared.sql import Arguments

# Queue and pool count by their names, all that is printed of them: their rows change at every poll of a worker.
VERSION = """
    uuid_send(d.id) || {server} || xidsend(d.xmin)
    || coalesce((SELECT textsend(q.name) || '\\x00'
                        || (SELECT textsend(p.name) FROM work_pool p WHERE p.id = q.work_pool_id)
                   FROM work_queue q WHERE q.id = d.work_queue_id), '')
    || coalesce((SELECT xidsend(l.xmin) FROM concurrency_limit_v2 l WHERE l.id = d.concurrency_limit_id), '')
    || coalesce((SELECT string_agg(uuid_send(s.id) || xidsend(s.xmin), '' ORDER BY s.id)
                   FROM deployment_schedule s WHERE s.deployment_id = d.id), '')"""
# One run of one server: after a crash, a failover or a restore, transaction ids come again with other contents. A crash
# that the postmaster survives shows in the statistics, which start anew (before 15, to read them takes 10 ms or more).
SERVER = """
    (SELECT timestamptz_send(pg_postmaster_start_time()) || coalesce(
        CASE WHEN current_setting('server_version_num')::int >= 150000
             THEN timestamptz_send(pg_stat_get_bgwriter_stat_reset_time()) END, ''))"""

COUNT = "SELECT count(*) FROM deployment d WHERE {condition}"
ONE = "SELECT 0, ARRAY(SELECT {version} FROM deployment d WHERE {condition})"
PAGE = """
    WITH matching AS {once} (SELECT d.id, d.name, d.created, d.updated FROM deployment d WHERE {condition})
    SELECT {count}, ARRAY(
        SELECT {version}
          FROM (SELECT id FROM matching ORDER BY {order} LIMIT {limit} OFFSET {offset}) page
          JOIN deployment d USING (id) ORDER BY {order})"""
ROWS = """
    SELECT {version} AS row_version,
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
      LEFT JOIN work_pool p ON p.id = q.work_pool_id
     WHERE d.id = ANY($1::uuid[])"""

VERSION = VERSION.format(server=SERVER)
ROWS = ROWS.format(version=VERSION)
EVERYTHING = selected(Selection(), Arguments())


def count(selection: Selection) -> tuple[str, Arguments]:
    """The statement that gives the number of all matches, and its arguments."""
    arguments = Arguments()
    return COUNT.format(condition=selected(selection, arguments)), arguments


def one(condition: str) -> str:
    """The statement that gives 0 and the version of the deployment that meets a condition, if there is one."""
    return ONE.format(version=VERSION, condition=condition)


def page(selection: Selection) -> tuple[str, Arguments]:
    """The statement that gives the count (0 when not asked) and the versions of a page's rows, and its arguments."""
    arguments = Arguments()
    condition = selected(selection, arguments)
    text = PAGE.format(
        version=VERSION,
        condition=condition,
        # One scan serves count and page. But the count of everything is faster on its own: an index has it.
        once="MATERIALIZED" if selection.count and condition != EVERYTHING else "NOT MATERIALIZED",
        count="(SELECT count(*) FROM matching)" if selection.count else 0,
        order=ORDER[selection.sort],
        limit=arguments.bind(selection.limit, "bigint"),
        offset=arguments.bind(selection.offset, "bigint"),
    )
    return text, arguments
