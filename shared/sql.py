"""Filters to parameterised SQL. Pure: text and values go in, a condition comes out.

Operators are the language: one template each, below. Fields are data: a `Table` says where a field's column is not
simply the column of that name, or where a term needs a template of its own. Every value is bound, lists as one array,
so that a statement's text depends on which terms are asked and never on how many values they have.
"""

import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from shared.filters import AllTags, Group, StateKind, Tags, given

# A boolean term has two templates: for true and for false.
Template = str | tuple[str, str]

OPERATORS: dict[str, Template] = {
    "any_": "{col} = ANY({arg})",
    "not_any_": "{col} <> ALL({arg})",
    "like_": "{col} ILIKE '%' || {arg} || '%'",
    "startswith_": "{col} ILIKE ANY (SELECT start || '%' FROM unnest({arg}) start)",
    "before_": "{col} <= {arg}",
    "after_": "{col} >= {arg}",
    "is_null_": ("{col} IS NULL", "{col} IS NOT NULL"),
    "eq_": ("{col}", "NOT {col}"),
}
TAG_OPERATORS: dict[str, Template] = {
    "all_": "{col} ?& {arg}",
    "any_": "{col} ?| {arg}",
    "is_null_": ("{col} = '[]'::jsonb", "{col} <> '[]'::jsonb"),
}
CASTS: dict[Any, str] = {
    list[UUID]: "uuid[]",
    list[str]: "text[]",
    list[StateKind]: "state_type[]",  # from text[] it would be cast for every row, and hidden from the planner
    str: "text",
    datetime: "timestamptz",
}


@dataclass(frozen=True)
class Table:
    """One table under one alias. `columns` and `terms` are keyed by a path in the filter, such as `state.type`."""

    name: str
    alias: str
    columns: Mapping[str, str] = field(default_factory=dict)
    terms: Mapping[str, Template] = field(default_factory=dict)

    def column(self, path: str) -> str:
        return self.columns.get(path) or f"{self.alias}.{path}"


class Arguments(list[Any]):
    """The values of a statement, in the order of its `$1, $2, …`."""

    def bind(self, value: Any, cast: str) -> str:
        self.append(value)
        return f"${len(self)}::{cast}"


def condition(group: Group | None, table: Table, arguments: Arguments, path: str = "") -> str | None:
    """What a row of `table` must satisfy; binds its values to `arguments`. None: the group has no say at all."""
    if group is None:
        return "true"
    bound = len(arguments)
    parts = [_member(group, name, value, table, arguments, path) for name, value in group.members()]
    present = [part for part in parts if part is not None]
    if not group.counts(len(present)):
        del arguments[bound:]
        return None
    glue = " OR " if getattr(group, "operator", "and_") == "or_" else " AND "
    return f"({glue.join(present)})" if present else "true"


def where(group: Group | None, table: Table, arguments: Arguments) -> str:
    """The condition of an entity filter; an absent filter is TRUE."""
    return condition(group, table, arguments) or "true"


def _member(group: Group, name: str, value: Any, table: Table, arguments: Arguments, path: str) -> str | None:
    below = f"{path}.{name}" if path else name
    if isinstance(value, Group):
        return condition(value, table, arguments, below)
    language = TAG_OPERATORS if isinstance(group, Tags | AllTags) else OPERATORS
    template = table.terms.get(below) or language[name]
    if isinstance(template, tuple):
        return template[not value].format(col=table.column(path))
    return template.format(col=table.column(path), arg=arguments.bind(value, casts(type(group))[name]))


@cache
def casts(group: type[Group]) -> dict[str, str]:
    """The SQL type of each of a group's terms, from its declaration."""
    hints = typing.get_type_hints(group)
    return {name: CASTS[kind] for name in group.__struct_fields__ if (kind := given(hints[name])) in CASTS}
