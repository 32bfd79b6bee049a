"""Walks the declared grammar: every term of every filter, as a search that asks nothing else."""

import typing
from collections.abc import Iterator
from typing import Any

from shared.filters import Count, Group, given

SAMPLES: dict[str, list[Any]] = {
    "UUID": ["00000000-0000-4000-8000-000000000001"],
    "str": ["text"],
    "bool": [True, False],
    "int": [1],
    "datetime": ["2024-05-04T00:00:00Z"],
}


def searches() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every term with each of its sample values, as (path of the term, JSON body)."""
    for entity, hint in typing.get_type_hints(Count).items():
        for path, body in _members(given(hint)):
            yield f"{entity}.{path}", {entity: body}


def _members(group: type[Group]) -> Iterator[tuple[str, Any]]:
    for name, hint in typing.get_type_hints(group).items():
        kind = given(hint)
        if isinstance(kind, type) and issubclass(kind, Group):
            yield from ((f"{name}.{path}", {name: body}) for path, body in _members(kind))
        elif name != "operator":
            yield from ((name, {name: value}) for value in _values(kind))


def _values(kind: Any) -> list[Any]:
    if typing.get_origin(kind) is list:
        return [_values(typing.get_args(kind)[0])]
    if typing.get_origin(kind) is typing.Literal:
        return list(typing.get_args(kind))
    return SAMPLES[kind.__name__]
