"""Requests made by chance, from a seed: whatever the declared grammar allows, with values that the data really holds.

The generator walks the declarations in shared/filters.py, so a new field is asked about as soon as it is declared.
Values come from stories: a deployment with its flow, one of its runs, one task of that run, its queue and its pool. A
request that takes its values from one story matches at least that story's deployment, so that most answers are neither
empty nor everything. About one request in seven is then broken, to compare the errors too.
"""

import json
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import asyncpg
from msgspec import Struct

from shared.filters import Count, Filter, Group, Paginate
from tests.conformance.wire import Request, search

Story = dict[str, Any]
Json = Any

ENDPOINTS: Sequence[tuple[type[Count], str, int]] = (
    (Filter, "/api/deployments/filter", 40),
    (Paginate, "/api/deployments/paginate", 40),
    (Count, "/api/deployments/count", 20),
)
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

# Where a term's values come from when the column is not named like its group.
COLUMNS = {
    "flow_runs.state.type": "state_type",
    "flow_runs.state.name": "state_name",
    "task_runs.state.type": "state_type",
    "task_runs.state.name": "state_name",
    "flow_runs.created_by.id_": "created_by.id",
    "flow_runs.created_by.type_": "created_by.type",
}

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


class Generator:
    """Requests by number: the same seed and number give the same request, whatever was asked before."""

    def __init__(self, seed: int, told: Sequence[Story]) -> None:
        self.seed, self.told = seed, told

    def request(self, number: int) -> Request:
        chance = random.Random(self.seed * 1_000_003 + number)
        kind, path, _ = chance.choices(ENDPOINTS, [weight for *_, weight in ENDPOINTS])[0]
        body = _Maker(chance, self.told).search(kind)
        if chance.random() < BROKEN:
            for _ in range(chance.choice((1, 1, 1, 2, 3))):
                _break(chance, body)
        return search("POST", path, body)


@cache
def _fields(struct: type[Struct]) -> dict[str, Any]:
    """The fields of a declaration, each with what it is when it is not null."""
    return {name: _plain(hint) for name, hint in get_type_hints(struct).items()}


def _plain(hint: Any) -> Any:
    if get_origin(hint) is Annotated:
        return _plain(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return _plain(next(option for option in get_args(hint) if option is not NoneType))
    return hint


def _is_group(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Group)


def _some(chance: random.Random, names: Sequence[str], weights: Sequence[int]) -> list[str]:
    """A few of the names; weights[i] is how readily i + 1 of them are taken."""
    count = chance.choices(range(1, len(weights) + 1), weights)[0]
    return chance.sample(list(names), min(count, len(names)))


class _Maker:
    """One request in the making: its chance, and the story it tells."""

    def __init__(self, chance: random.Random, told: Sequence[Story]) -> None:
        self.chance, self.told = chance, told
        self.story = chance.choice(told)

    def search(self, kind: type[Count]) -> dict[str, Json]:
        entities = [name for name, part in _fields(kind).items() if _is_group(part)]
        asked = _some(self.chance, entities, (48, 28, 13, 6, 3, 2))
        body: dict[str, Json] = {name: self.group(name, _fields(kind)[name], (55, 30, 10, 5)) for name in asked}
        for name in entities:
            if name not in asked and self.chance.random() < 0.03:
                body[name] = None
        for name in _fields(kind):
            if name not in entities and self.chance.random() < PAGING[name][0]:
                body[name] = PAGING[name][1](self.chance)
        return dict(self.chance.sample(list(body.items()), len(body)))

    def group(self, path: str, kind: type[Group], weights: Sequence[int]) -> Json:
        """A filter or a group of one, with some of its members; now and then with none."""
        if self.chance.random() < 0.03:
            return {}
        fields = _fields(kind)
        body: dict[str, Json] = {}
        names = _some(self.chance, [name for name in fields if name != "operator"], weights)
        if "operator" in fields and self.chance.random() < (0.55 if len(names) > 1 else 0.2):
            body["operator"] = self.chance.choice(get_args(fields["operator"]))
        for name in names:
            body[name] = self.member(f"{path}.{name}", fields[name])
        return body

    def member(self, path: str, kind: Any) -> Json:
        if self.chance.random() < 0.03:
            return None
        if _is_group(kind):
            return self.group(path, kind, (70, 25, 5))
        if get_origin(kind) is list:
            return self.many(path, get_args(kind)[0])
        return self.one(path, kind)

    def many(self, path: str, kind: Any) -> list[Json]:
        """A list for one term: what the story says and a few others; `all_` asks only for what goes together."""
        roll = self.chance.random()
        if roll < 0.03:
            return []
        if path.endswith(".all_"):
            return [self.one(path, kind) for _ in range(self.chance.choice((1, 1, 1, 2)))]
        if path.endswith(".not_any_"):
            return [self.other(path, kind) for _ in range(self.chance.choice((1, 2, 5)))]
        few = self.chance.choice((0, 0, 1, 2, 4)) if roll < 0.9 else 40
        values = [self.one(path, kind)] + [self.other(path, kind) for _ in range(few)]
        self.chance.shuffle(values)
        return values

    def one(self, path: str, kind: Any) -> Json:
        """A value of the story, spelt in one of the ways a server takes."""
        value = _known(self.story, path)
        return self.other(path, kind) if value is None else self.spelt(path, kind, value)

    def other(self, path: str, kind: Any) -> Json:
        """A value from anywhere in the data."""
        for _ in range(20):
            value = _known(self.chance.choice(self.told), path)
            if value is not None:
                return self.spelt(path, kind, value)
        return self.spelt(path, kind, None)

    def spelt(self, path: str, kind: Any, value: Any) -> Json:
        if isinstance(value, list):  # tags
            value = self.chance.choice(value) if value else "no-such-tag"
        if get_origin(kind) is Literal:
            return value if value in get_args(kind) else self.chance.choice(get_args(kind))
        return SPELLINGS[kind](self.chance, path, value)


def _known(story: Story, path: str) -> Any:
    """The story's value for a term, by the path of the group that holds the term."""
    entity, group, *_ = path.split(".")
    column = COLUMNS.get(path) or COLUMNS.get(path.rpartition(".")[0]) or group
    value: Any = story.get(entity) or {}
    for step in column.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


# --- spellings: every form that Prefect reads as the value


def _uuid(chance: random.Random, path: str, value: Any) -> str:
    text = value if isinstance(value, str) else str(UUID(int=chance.getrandbits(128)))
    if chance.random() < 0.85:
        return text
    return chance.choice([text.upper(), text.replace("-", ""), f"urn:uuid:{text}", f"{{{text}}}"])


def _str(chance: random.Random, path: str, value: Any) -> str:
    text = value if isinstance(value, str) else "nothing is called this"
    if path.endswith(".like_"):
        return _pattern(chance, text)
    if path.endswith(".startswith_"):
        start = text[: chance.randint(0 if chance.random() < 0.2 else 1, 8)]
        return chance.choice([start, start.lower(), start.upper()])
    if path.endswith(".any_") and chance.random() < 0.04:
        return text.swapcase()
    return text


def _pattern(chance: random.Random, text: str) -> str:
    """A part of the text, mostly; its wildcards and letters are left, bent or escaped."""
    roll = chance.random()
    if roll < 0.04:
        return chance.choice(["", " ", "%", "_", "\\", "\\\\", "%%", "\\%", "no such name"])
    start = chance.randrange(len(text)) if text else 0
    part = text[start : start + chance.randint(2, 10)]
    if roll < 0.15 and part:
        place = chance.randrange(len(part))
        return part[:place] + chance.choice(["_", "%", "\\"]) + part[place + 1 :]
    if roll < 0.2:
        return "".join(f"\\{each}" if each in "%_\\" else each for each in part)
    return chance.choice([part, part, part.upper(), part.swapcase()])


def _instant(chance: random.Random, path: str, value: Any) -> Json:
    """The instant itself, to the microsecond, or one near it; as text or as Unix time."""
    moment = (
        datetime.fromisoformat(value)
        if isinstance(value, str) and value[:1].isdigit()
        else datetime(2026, 5, 1, tzinfo=UTC)
    )
    if chance.random() < 0.75:
        near = chance.choice([1e-6, 1, 60, 3600, 86400, 7 * 86400])
        moment += timedelta(
            seconds=near
            * chance.uniform(0, 5)
            * (1 if path.endswith(".before_") else -1)
            * chance.choice((1, 1, 1, -1))
        )
    moment = moment.astimezone(UTC)
    text, roll = moment.isoformat(), chance.random()
    if roll < 0.6:
        return text.replace("+00:00", chance.choice(["Z", "z", "", "+00:00", "+0000", "-00:00"]))
    if roll < 0.7:
        return text.replace("+00:00", "Z").replace("T", chance.choice(" t_"))
    if roll < 0.8:
        return moment.astimezone(_zone(chance)).isoformat()
    if roll < 0.85:
        return text[:10]
    if roll < 0.9:
        return text[:16] + chance.choice(["", "Z"])
    whole = int(moment.timestamp())
    return chance.choice([whole, float(whole), str(whole), whole * 1000, str(whole * 1000), whole + 0.5])


def _zone(chance: random.Random) -> timezone:
    return timezone(timedelta(minutes=chance.choice([60, -300, 330, 345, -570, 840])))


def _bool(chance: random.Random, path: str, value: Any) -> Json:
    truth = _truth(path, value) if chance.random() < 0.8 else chance.random() < 0.5
    if chance.random() < 0.8:
        return truth
    return chance.choice(
        [1, 1.0, "true", "TRUE", "yes", "on", "t", "Y", "1"] if truth else [0, 0.0, "false", "F", "no", "OFF", "n", "0"]
    )


def _truth(path: str, value: Any) -> bool:
    """What holds in the story: whether it is null, or what it is."""
    return value is None if path.endswith(".is_null_") else bool(value)


def _int(chance: random.Random, path: str, value: Any) -> Json:
    return _number(chance, chance.randint(-3, 50))


def _number(chance: random.Random, number: int) -> Json:
    if chance.random() < 0.85:
        return number
    return chance.choice([str(number), float(number), f" {number} ", f"{number}.0", f"{number}.000"])


SPELLINGS: dict[Any, Callable[[random.Random, str, Any], Json]] = {
    UUID: _uuid,
    str: _str,
    datetime: _instant,
    bool: _bool,
    int: _int,
}

# How often a page says it, and what; small limits mostly, since the oracle is slow to write rows.
PAGING: dict[str, tuple[float, Callable[[random.Random], Json]]] = {
    "limit": (
        0.97,
        lambda chance: _number(
            chance, chance.choices([0, chance.randint(1, 12), chance.randint(13, 200)], [2, 90, 8])[0]
        ),
    ),
    "offset": (0.3, lambda chance: _number(chance, chance.choice([0, 1, 2, 5, 10, 30, 300]))),
    "page": (0.6, lambda chance: _number(chance, chance.choice([1, 1, 1, 2, 2, 3, 5, 40]))),
    "sort": (0.7, lambda chance: chance.choice([*get_args(_fields(Filter)["sort"]), None])),
}


# --- breaking


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
