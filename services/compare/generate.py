"""Searches made by chance, from a seed: whatever the declared grammar allows, with values that the data really holds.

The generator walks the declarations in shared/filters.py, so a new field is asked about as soon as it is declared.
Values come from stories: a deployment with its flow, one of its runs, one task of that run, its queue and its pool. A
search that takes its values from one story matches at least that story's deployment, so that most answers are neither
empty nor everything.
"""

import random
from collections.abc import Callable, Sequence
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from msgspec import Struct

from services.compare.spellings import SPELLINGS, number
from shared.filters import Count, Filter, Group, Paginate

Story = dict[str, Any]
Json = Any

ENDPOINTS: Sequence[tuple[type[Count], str, int]] = (
    (Filter, "/api/deployments/filter", 40),
    (Paginate, "/api/deployments/paginate", 40),
    (Count, "/api/deployments/count", 20),
)

# Where a term's values come from when the column is not named like its group.
COLUMNS = {
    "flow_runs.state.type": "state_type",
    "flow_runs.state.name": "state_name",
    "task_runs.state.type": "state_type",
    "task_runs.state.name": "state_name",
    "flow_runs.created_by.id_": "created_by.id",
    "flow_runs.created_by.type_": "created_by.type",
}


class Generator:
    """Searches by number: the same seed and number give the same search, whatever was asked before."""

    def __init__(self, seed: int, told: Sequence[Story]) -> None:
        self.seed, self.told = seed, told

    def chance(self, number: int) -> random.Random:
        return random.Random(self.seed * 1_000_003 + number)  # noqa: S311 — to be repeated, not to be a secret

    def search(self, chance: random.Random) -> tuple[str, dict[str, Json]]:
        """The path and the body of a right search."""
        kind, path, _ = chance.choices(ENDPOINTS, [weight for *_, weight in ENDPOINTS])[0]
        return path, _Maker(chance, self.told).search(kind)


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


# How often a page says it, and what; small limits mostly, since Prefect's server is slow to write rows.
PAGING: dict[str, tuple[float, Callable[[random.Random], Json]]] = {
    "limit": (
        0.97,
        lambda chance: number(
            chance, chance.choices([0, chance.randint(1, 12), chance.randint(13, 200)], [2, 90, 8])[0]
        ),
    ),
    "offset": (0.3, lambda chance: number(chance, chance.choice([0, 1, 2, 5, 10, 30, 300]))),
    "page": (0.6, lambda chance: number(chance, chance.choice([1, 1, 1, 2, 2, 3, 5, 40]))),
    "sort": (0.7, lambda chance: chance.choice([*get_args(_fields(Filter)["sort"]), None])),
}
