"""The moving part of the demo data: flow runs, skewed over deployments, and their task runs.

Millions of rows: nothing is kept of a run but a few bytes, and what another row needs to know is computed from its
number.
"""

import random
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import accumulate
from typing import TypeVar

from services.demo import words
from services.demo.catalog import Catalog, Deployment, Flow
from services.demo.table import Ids, Row, Table, dashed, encoded, generator

SPAN = timedelta(days=90)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
NOTHING = timedelta()

RUN_COLUMNS = (
    "id", "created", "updated", "name", "state_type", "state_name", "state_timestamp", "run_count",
    "expected_start_time", "next_scheduled_start_time", "start_time", "end_time", "total_run_time", "flow_version",
    "idempotency_key", "parameters", "tags", "labels", "auto_scheduled", "flow_id", "deployment_id",
    "deployment_version", "parent_task_run_id", "work_queue_name", "work_queue_id", "created_by",
)  # fmt: skip
TASK_COLUMNS = (
    "id", "created", "updated", "name", "state_type", "state_name", "state_timestamp", "run_count",
    "expected_start_time", "start_time", "end_time", "total_run_time", "task_key", "dynamic_key", "tags",
    "flow_run_id", "flow_run_run_count",
)  # fmt: skip

T = TypeVar("T")
State = tuple[str | None, str | None]
STATE_TYPES = (None, *dict.fromkeys(kind for kind, _ in words.RUN_STATES if kind))
WAITING = {"SCHEDULED", "PENDING", "PAUSED", None}
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
NAMES = [f"{adjective}-{animal}" for adjective in words.ADJECTIVES for animal in words.ANIMALS]
TAG_LISTS = [encoded(tags) for tags in ([], [], [], ["prod"], ["prod", "etl"], ["team-ml"], ["Größe", "50%"], ["etl"])]


class Runs:
    """Flow runs and task runs of a catalog. Read the table of flow runs first: task runs follow their run's fate."""

    def __init__(self, seed: int, catalog: Catalog, flow_runs: int, task_runs: int, until: datetime) -> None:
        self._seed, self._catalog, self._until = seed, catalog, until
        self._flow_runs, self._task_runs = flow_runs, task_runs
        self._run_ids, self._task_ids = Ids(self._rng("flow run ids")), Ids(self._rng("task run ids"))
        self._states, self._starts = bytearray(flow_runs), array("d", bytes(8 * flow_runs))
        draws = self._rng("tasks of a run")
        sizes = (0 if draws.random() < 0.15 else int(1 + 9 * draws.random() ** 2) for _ in range(flow_runs))
        self._shares = array("q", accumulate(sizes))

    def _rng(self, purpose: str) -> random.Random:
        return generator(self._seed, purpose)

    def tables(self) -> list[Table]:
        return [
            Table("flow_run", RUN_COLUMNS, self._flow_runs, self._run_rows()),
            Table("task_run", TASK_COLUMNS, self._task_runs, self._task_rows()),
        ]

    def _owner(self, task: int) -> int | None:
        """The number of the flow run a task run belongs to: in proportion to the runs' shares."""
        total = self._shares[-1] if self._shares else 0
        return bisect_right(self._shares, task * total // self._task_runs) if total else None

    def _parent(self, run: int, rng: random.Random) -> str | None:
        """For some runs a task run of another one: these are subflows."""
        if rng.random() >= 0.03 or not self._task_runs:
            return None
        task = int(rng.random() * self._task_runs)
        return None if self._owner(task) == run else self._task_ids[task]

    def _run_rows(self) -> Iterator[Row]:
        rng = self._rng("flow runs")
        origins = Origins(self._catalog, rng)
        states, weights = _weighted(words.RUN_STATES)
        for number in range(self._flow_runs):
            origin = origins.draw(rng)
            state = rng.choices(states, cum_weights=weights)[0]
            kind = state[0]
            created = self._created(number, rng)
            expected, start, end = _times(state, created, self._until, rng)
            self._states[number] = STATE_TYPES.index(kind)
            self._starts[number] = ((start or created) - self._until).total_seconds()
            moment = end or start or created
            yield (
                self._run_ids[number], created, moment, self._name(number, rng), kind, state[1],
                moment if kind else None, 0 if kind in WAITING else 1, expected,
                expected if kind == "SCHEDULED" else None, start, end, end - start if start and end else NOTHING,
                origin.flow_version(rng), f"run-{number}" if rng.random() < 0.6 else None, "{}",
                self._tags(number, rng), origin.labels, kind == "SCHEDULED", origin.flow.id, origin.deployment_id,
                origin.version, self._parent(number, rng), origin.queue_name, origin.queue_id, origin.creator(rng),
            )  # fmt: skip

    def _created(self, number: int, rng: random.Random) -> datetime:
        """Oldest first, as runs are written; a few more than their share fall in the last hour."""
        if number % max(150, self._flow_runs // 500) == 7:
            return self._until - HOUR * rng.random()
        return self._until - SPAN * ((self._flow_runs - number - rng.random()) / self._flow_runs)

    def _name(self, number: int, rng: random.Random) -> str:
        step = max(1, self._flow_runs // 3)
        return f"needle-00{number // step}" if number % step == step // 2 else rng.choice(NAMES)

    def _tags(self, number: int, rng: random.Random) -> str:
        return '["rare-run"]' if number % 5000 == 11 else rng.choice(TAG_LISTS)

    def _task_rows(self) -> Iterator[Row]:
        rng = self._rng("task runs")
        keys, weights = _weighted(words.TASKS)
        fates = [_weighted(words.TASK_STATES.get(kind, words.TASK_STATES[None])) for kind in STATE_TYPES]
        before, place = None, 0
        for number in range(self._task_runs):
            owner = self._owner(number)
            place, before = place + 1 if owner == before else 0, owner
            fate = fates[self._states[owner] if owner is not None else 0]
            kind, label = rng.choices(fate[0], cum_weights=fate[1])[0]
            created = self._until + SECOND * ((self._starts[owner] if owner is not None else -9e5) + place * 3)
            start = None if kind in WAITING else created + SECOND * rng.random()
            end = start + SECOND * (90 * rng.random() ** 3) if start and kind in ENDED else None
            key = "needle-task" if number % 50_000 == 4242 else rng.choices(keys, cum_weights=weights)[0]
            run_id = self._run_ids[owner] if owner is not None and rng.random() > 0.003 else None
            moment = end or start or created
            yield (
                self._task_ids[number], created, moment, f"{key}-{place}", kind, label, moment if kind else None,
                1 if start else 0, created, start, end, end - start if start and end else NOTHING, key, str(place),
                TAG_LISTS[int(rng.random() * len(TAG_LISTS))], run_id, 1,
            )  # fmt: skip


class Origin:
    """What all runs of one deployment share, or those of a flow without one."""

    def __init__(self, flow: Flow, deployment: Deployment | None) -> None:
        queue = deployment.queue if deployment else None
        self.flow = flow
        self.deployment_id = deployment.id if deployment else None
        self.version = deployment.version if deployment else None
        self.queue_name = queue.name if queue else None
        self.queue_id = queue.id if queue else None
        self.labels = encoded({"prefect.flow.id": flow.id})
        by = {"id": dashed(deployment.id), "display_value": deployment.name} if deployment else {}
        self._creators = [encoded(by | {"type": kind}) for kind in words.OWNERS_OF_RUNS] if deployment else []

    def creator(self, rng: random.Random) -> str | None:
        return rng.choice(self._creators) if self._creators and rng.random() < 0.9 else None

    def flow_version(self, rng: random.Random) -> str | None:
        return _FLOW_VERSIONS[int(rng.random() * len(_FLOW_VERSIONS))]


_FLOW_VERSIONS = (None, "1.0", "1.1", "2.0", "2.0-beta%", "9f86d08")


class Origins:
    """Where runs come from: the first deployments own very many, some none; some runs have none (any more)."""

    def __init__(self, catalog: Catalog, rng: random.Random) -> None:
        gone = Ids(rng)
        self._active = [Origin(owner.flow, owner) for owner in catalog.deployments if rng.random() < 0.95]
        self._bare = [Origin(flow, None) for flow in catalog.flows]
        self._orphans = [Origin(flow, None) for flow in catalog.flows]
        for number, origin in enumerate(self._orphans):
            origin.deployment_id = gone[number]

    def draw(self, rng: random.Random) -> Origin:
        luck, place = rng.random(), rng.random()
        if luck < 0.05 or not self._active:
            return self._bare[int(place * len(self._bare))]
        if luck < 0.055:
            return self._orphans[int(place * len(self._orphans))]
        return self._active[int(place * place * place * len(self._active))]


def _times(
    state: State, created: datetime, until: datetime, rng: random.Random
) -> tuple[datetime | None, datetime | None, datetime | None]:
    """When a run was to start, did start and ended; whether it did follows from its state."""
    kind, name = state
    if kind is None:
        return (None if rng.random() < 0.5 else created), None, None
    if kind == "SCHEDULED":
        ahead = until + timedelta(days=7) * rng.random()
        return (created if name == "Late" else ahead), None, None
    if kind in WAITING:
        return created, None, None
    start = created + SECOND * (60 * rng.random())
    return created, start, start + SECOND * (7200 * rng.random() ** 4) if kind in ENDED else None


def _weighted(weights: Mapping[T, int]) -> tuple[Sequence[T], Sequence[int]]:
    """What `random.choices` takes: the values and their cumulated weights."""
    return tuple(weights), tuple(accumulate(weights.values()))
