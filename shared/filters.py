"""What may be asked: the grammar of a deployment search, one line per field.

A search holds up to six entity filters; an entity filter holds groups; a group holds terms, the keys that end in `_`.
Everything that reads the grammar walks these declarations: the JSON and MessagePack decoders, the validation that
writes Prefect's error lists, the SQL compiler, the generated documents and the tests. Source of every rule: Prefect
3.8.8's behaviour, told in docs/search.md.

Three rules hold everywhere: null equals missing (but not for `operator`), an unknown key is an error, and a group
that is present without any term is TRUE.
"""

import types
import typing
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import Meta, Struct

Operator = Literal["and_", "or_"]
Sort = Literal["CREATED_DESC", "UPDATED_DESC", "NAME_ASC", "NAME_DESC"]
StateKind = Literal[
    "SCHEDULED", "PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED", "CRASHED", "PAUSED", "CANCELLING"
]
Instant = Annotated[datetime, Meta(tz=True)]  # an instant always knows its zone


BLANK_IS_ABSENT = {"not_any_", "all_", "like_", "startswith_"}  # an empty list or text asks nothing


class Group(Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True):
    """Terms (and, in an entity filter, groups) that are ANDed."""

    def members(self) -> "Iterator[tuple[str, Group | Any]]":
        """The groups and terms that are present, as (name, group or value)."""
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None and name != "operator" and (value or name not in BLANK_IS_ABSENT):
                yield name, value

    def counts(self, terms: int) -> bool:  # noqa: ARG002
        """Whether this group, with that many terms present, contributes to its parent at all."""
        return True


class Choice(Group, frozen=True):
    """A group whose own members combine under `operator`."""

    operator: Operator = "and_"


def given(hint: Any) -> Any:
    """What a declared field is when it is not null: `list[UUID]` for `list[UUID] | None`."""
    if typing.get_origin(hint) in {types.UnionType, typing.Union}:
        return next(option for option in typing.get_args(hint) if option is not type(None))
    return hint


# --- groups, by the terms they take


class IdAny(Group, frozen=True):
    any_: list[UUID] | None = None


class Id(Group, frozen=True):
    any_: list[UUID] | None = None
    not_any_: list[UUID] | None = None


class ParentId(Choice, frozen=True):
    any_: list[UUID] | None = None


class OptionalId(Choice, frozen=True):
    any_: list[UUID] | None = None
    is_null_: bool | None = None


class OwnerId(Choice, frozen=True):
    """A task run's flow run. It makes one term only: `is_null_: true`, else `any_`, else "is set"."""

    any_: list[UUID] | None = None
    is_null_: bool | None = False

    def members(self) -> Iterator[tuple[str, Group | Any]]:
        if self.is_null_ or (self.is_null_ is False and self.any_ is None):
            yield "is_null_", self.is_null_
        elif self.any_ is not None:
            yield "any_", self.any_


class TextAny(Group, frozen=True):
    any_: list[str] | None = None


class Text(Group, frozen=True):
    any_: list[str] | None = None
    not_any_: list[str] | None = None


class OptionalText(Choice, frozen=True):
    any_: list[str] | None = None
    is_null_: bool | None = None


class Name(Group, frozen=True):
    any_: list[str] | None = None
    like_: str | None = None


class AnyName(Group, frozen=True):
    like_: str | None = None


class QueueName(Group, frozen=True):
    any_: list[str] | None = None
    startswith_: list[str] | None = None

    def counts(self, terms: int) -> bool:
        """An empty `startswith_` list vanishes, and takes a group with nothing else along."""
        return terms > 0 or self.startswith_ != []


class AllTags(Choice, frozen=True):
    all_: list[str] | None = None
    is_null_: bool | None = None


class Tags(Choice, frozen=True):
    all_: list[str] | None = None
    any_: list[str] | None = None
    is_null_: bool | None = None


class Period(Group, frozen=True):
    before_: Instant | None = None
    after_: Instant | None = None


class OptionalPeriod(Group, frozen=True):
    before_: Instant | None = None
    after_: Instant | None = None
    is_null_: bool | None = None


class Flag(Group, frozen=True):
    eq_: bool | None = None


class Existence(Group, frozen=True):
    exists_: bool | None = None


class Absence(Choice, frozen=True):
    is_null_: bool | None = None


class OneTerm(Group, frozen=True):
    """A state's type or name: it counts with exactly one term, and is silently dropped with none or with two."""

    def counts(self, terms: int) -> bool:
        return terms == 1


class StateType(OneTerm, frozen=True):
    any_: list[StateKind] | None = None
    not_any_: list[StateKind] | None = None


class StateName(OneTerm, frozen=True):
    any_: list[str] | None = None
    not_any_: list[str] | None = None


class State(Choice, frozen=True):
    type: StateType | None = None
    name: StateName | None = None


class StateTypeAny(OneTerm, frozen=True):
    any_: list[StateKind] | None = None


class StateNameAny(OneTerm, frozen=True):
    any_: list[str] | None = None


class TaskState(Choice, frozen=True):
    type: StateTypeAny | None = None
    name: StateNameAny | None = None


class CreatedBy(Choice, frozen=True):
    id_: list[UUID] | None = None
    type_: list[str] | None = None
    is_null_: bool | None = None


class Ignored(Group, frozen=True):
    """The deprecated concurrency limit: checked for its types, then without any effect, even in an OR."""

    ge_: int | None = None
    le_: int | None = None
    is_null_: bool | None = None

    def members(self) -> Iterator[tuple[str, Group | Any]]:
        return iter(())

    def counts(self, terms: int) -> bool:  # noqa: ARG002
        return False


# --- the six entity filters


class FlowFilter(Choice, frozen=True):
    id: Id | None = None
    deployment: Absence | None = None
    name: Name | None = None
    tags: AllTags | None = None


class FlowRunFilter(Choice, frozen=True):
    id: Id | None = None
    name: Name | None = None
    tags: Tags | None = None
    deployment_id: OptionalId | None = None
    work_queue_name: OptionalText | None = None
    state: State | None = None
    flow_version: TextAny | None = None
    start_time: OptionalPeriod | None = None
    end_time: OptionalPeriod | None = None
    expected_start_time: Period | None = None
    next_scheduled_start_time: Period | None = None
    parent_flow_run_id: ParentId | None = None
    parent_task_run_id: OptionalId | None = None
    idempotency_key: Text | None = None
    created_by: CreatedBy | None = None


class TaskRunFilter(Choice, frozen=True):
    id: IdAny | None = None
    name: Name | None = None
    tags: AllTags | None = None
    state: TaskState | None = None
    start_time: OptionalPeriod | None = None
    end_time: OptionalPeriod | None = None
    expected_start_time: Period | None = None
    subflow_runs: Existence | None = None
    flow_run_id: OwnerId | None = None


class DeploymentFilter(Choice, frozen=True):
    id: Id | None = None
    name: Name | None = None
    flow_or_deployment_name: AnyName | None = None
    paused: Flag | None = None
    tags: Tags | None = None
    work_queue_name: TextAny | None = None
    concurrency_limit: Ignored | None = None


class WorkPoolFilter(Choice, frozen=True):
    id: IdAny | None = None
    name: TextAny | None = None
    type: TextAny | None = None


class WorkQueueFilter(Choice, frozen=True):
    id: IdAny | None = None
    name: QueueName | None = None


# --- the three searches. Unlike a filter, a search ignores keys it does not know


class Count(Struct, omit_defaults=True, frozen=True, kw_only=True):
    """How many deployments match."""

    flows: FlowFilter | None = None
    flow_runs: FlowRunFilter | None = None
    task_runs: TaskRunFilter | None = None
    deployments: DeploymentFilter | None = None
    work_pools: WorkPoolFilter | None = None
    work_pool_queues: WorkQueueFilter | None = None


class Filter(Count, frozen=True, kw_only=True):
    """The matching deployments, `limit` of them after the first `offset`."""

    limit: int | None = None
    offset: int | None = None
    sort: Sort | None = None


class Paginate(Count, frozen=True, kw_only=True):
    """One page of the matching deployments, counted from 1, with the total."""

    limit: int | None = None
    page: int | None = None
    sort: Sort | None = None


Search = Count | Filter | Paginate
