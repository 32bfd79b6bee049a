"""The generated searches of `classis compare`, about what a database holds; about one in seven is broken, to compare the
errors too.
"""

import json
import random
from typing import Any

import asyncpg

from services.compare import generate
from tests.conformance.wire import Request, search

Story = generate.Story
Json = Any

BROKEN = 0.18  # the share of requests that are made wrong on purpose; some of them stay valid
MANY_STORIES = 4000

STORIES = """
SELECT jsonb_build_object(
    'flows', to_jsonb(f) - 'labels',
    'flow_runs', to_jsonb(r) || jsonb_build_object('parent_flow_run_id', parent.flow_run_id),
    'task_runs', to_jsonb(t),
    'deployments', to_jsonb(d) - '{parameters,parameter_openapi_schema,infra_overrides,pull_steps}'::text[]
        || jsonb_build_object('flow_or_deployment_name', CASE WHEN t.id < r.id THEN d.name ELSE f.name END),
    'work_pools', to_jsonb(p) - 'base_job_template',
    'work_pool_queues', to_jsonb(q)
) FROM deployment d
JOIN flow f ON f.id = d.flow_id
LEFT JOIN LATERAL (SELECT * FROM flow_run WHERE deployment_id = d.id ORDER BY md5(id::text) LIMIT 12) r ON true
LEFT JOIN LATERAL (SELECT * FROM task_run WHERE flow_run_id = r.id ORDER BY md5(id::text) LIMIT 2) t ON true
LEFT JOIN task_run parent ON parent.id = r.parent_task_run_id
LEFT JOIN work_queue q ON q.id = d.work_queue_id
LEFT JOIN work_pool p ON p.id = q.work_pool_id
ORDER BY md5(d.id::text || coalesce(t.id, r.id, d.id)::text) LIMIT $1
"""

# What a request is broken with: values that few places take, and keys that few objects know.
WRONG = """[1, -1, 0.5, 1e30, "x", "", "1.5", " 2", true, null, [], {}, [[]], [null], [1, "x", {}], {"any_": 1},
            {"operator": "xor_"}]"""
WRONG_KEYS = ["bogus", "any_", "operator", "is_null_", "like_", "all_", "id", "name", "Any_", "", "ünknown"]


async def stories(dsn: str) -> list[Story]:
    """What the database holds, read once: the same list for the same data."""
    connection = await asyncpg.connect(dsn)
    try:
        return [json.loads(row[0]) for row in await connection.fetch(STORIES, MANY_STORIES)]
    finally:
        await connection.close()


class Generator(generate.Generator):
    """Requests by number: the same seed and number give the same request, whatever was asked before."""

    def request(self, number: int) -> Request:
        chance = self.chance(number)
        path, body = self.search(chance)
        if chance.random() < BROKEN:
            for _ in range(chance.choice((1, 1, 1, 2, 3))):
                _break(chance, body)
        return search("POST", path, body)


def _break(chance: random.Random, body: dict[str, Json]) -> None:
    """Make one place in the request wrong: another type there, or a key that nobody knows."""
    holder, wrong = chance.choice(_holders(body)), chance.choice(json.loads(WRONG))
    if isinstance(holder, dict):
        strange = not holder or chance.random() < 0.3
        holder[chance.choice(WRONG_KEYS if strange else list(holder))] = wrong
    elif holder:
        holder[chance.randrange(len(holder))] = wrong


def _holders(value: Json) -> list[Any]:
    """Every object and list in the body, itself first."""
    if isinstance(value, dict):
        return [value, *(inner for each in value.values() for inner in _holders(each))]
    if isinstance(value, list):
        return [value, *(inner for each in value for inner in _holders(each))]
    return []
