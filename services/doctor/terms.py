"""What the services ask Postgres: a statement for every term of the grammar, from the declarations. Pure."""

import typing
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from services import flows, work_pools
from services.deployments import csrf
from services.deployments import statements as pages
from services.gateway.plan import plan
from services.runs import select as runs
from shared.contract import FLOWS, PAGE, RUNS, WORK_POOLS, RunLeg
from shared.entity import select
from shared.filters import Count, Filter, FlowRunFilter, Group, Paginate, TaskRunFilter, given
from shared.settings import Settings

Statements = dict[str, list[Any]]  # with their arguments

SAMPLES: dict[Any, list[Any]] = {
    UUID: [UUID(int=0)],
    str: ["text"],
    bool: [True, False],
    int: [1],
    datetime: [datetime(2026, 1, 1, tzinfo=UTC)],
}
ENTITIES = {FLOWS: flows.ENTITY, WORK_POOLS: work_pools.ENTITY}


def asked(settings: Settings) -> dict[str, Statements]:
    """All that each service asks."""
    found: dict[str, Statements] = {endpoint.service: {} for endpoint in (FLOWS, WORK_POOLS, RUNS, PAGE)}
    for search in searches():
        for service, statement, arguments in _of(search):
            found[service].setdefault(statement, arguments)
    found[PAGE.service] |= {pages.ROWS: [[]], pages.one("d.id = $1::uuid"): [UUID(int=0)]}
    if settings.csrf_protection_enabled:
        found[PAGE.service][csrf.GIVEN] = [""]
    return found


def searches() -> Iterator[Count]:
    """A search for each term, with nothing else in it, and pages of everything."""
    for entity, hint in typing.get_type_hints(Count).items():
        for group in groups(given(hint)):
            asked: dict[str, Any] = {entity: group}
            yield Count(**asked)
    yield from (Filter(), Paginate(), Paginate(flow_runs=FlowRunFilter(), task_runs=TaskRunFilter()))


def groups(kind: type[Group]) -> Iterator[Group]:
    """A group for each of its terms, with nothing else in it."""
    for name, hint in typing.get_type_hints(kind).items():
        inner = given(hint)
        if isinstance(inner, type) and issubclass(inner, Group):
            yield from (kind(**{name: below}) for below in groups(inner))
        elif name != "operator":
            yield from (kind(**{name: value}) for value in _samples(inner))


def _samples(kind: Any) -> list[Any]:
    if typing.get_origin(kind) is list:
        return [_samples(typing.get_args(kind)[0])]
    if typing.get_origin(kind) is typing.Literal:
        return list(typing.get_args(kind))
    return SAMPLES[kind]


def _of(search: Count) -> Iterator[tuple[str, str, list[Any]]]:
    """What one search asks: service, statement, arguments. The runs' strategies name the same tables and columns."""
    legs, selection = plan(search, 200)
    for endpoint, leg in legs.values():
        yield endpoint.service, *select(ENTITIES[endpoint], leg)
    if isinstance(selection, RunLeg):
        yield RUNS.service, *runs.question(selection).statement("join")
    else:
        yield PAGE.service, *(pages.page(selection) if selection.limit else pages.count(selection))
