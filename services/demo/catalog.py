"""The standing part of the demo data: flows, pools and queues, deployments with their limits and schedules."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.demo import words
from services.demo.table import Ids, Moments, Row, Table, dashed, encoded, generator

DAY = timedelta(days=1)
FLOW_COLUMNS = ("id", "created", "updated", "name", "tags", "labels")
POOL_COLUMNS = (
    "id", "created", "updated", "name", "description", "type", "base_job_template", "is_paused", "concurrency_limit",
    "default_queue_id", "status",
)  # fmt: skip
QUEUE_COLUMNS = (
    "id", "created", "updated", "name", "description", "is_paused", "concurrency_limit", "last_polled", "priority",
    "work_pool_id", "status",
)  # fmt: skip
LIMIT_COLUMNS = (
    "id", "created", "updated", "active", "name", "limit", "active_slots", "denied_slots", "slot_decay_per_second",
    "avg_slot_occupancy_seconds",
)  # fmt: skip
DEPLOYMENT_COLUMNS = (
    "id", "created", "updated", "name", "flow_id", "tags", "labels", "parameters", "parameter_openapi_schema",
    "description", "version", "infra_overrides", "path", "entrypoint", "pull_steps", "enforce_parameter_schema",
    "work_queue_id", "work_queue_name", "last_polled", "paused", "status", "concurrency_limit_id", "concurrency_limit",
    "concurrency_options", "created_by", "updated_by",
)  # fmt: skip
SCHEDULE_COLUMNS = (
    "id", "created", "updated", "schedule", "active", "deployment_id", "max_scheduled_runs", "parameters", "slug",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Flow:
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Queue:
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Deployment:
    """What a flow run copies from its deployment, and whether a limit belongs to it."""

    id: str
    name: str
    flow: Flow
    queue: Queue | None
    version: str | None
    limit_id: str | None


class Catalog:
    """All of it for a number of deployments; the rows of `tables` may be read once and in any order."""

    def __init__(self, seed: int, deployments: int, until: datetime) -> None:
        self._seed, self._until = seed, until
        self.flows = self._make_flows(max(3, deployments // 10))
        self._pools = [_pool(number) for number in range(max(2, min(30, deployments // 20)))]
        self._pool_ids, self._queue_ids = Ids(self._rng("pool ids")), Ids(self._rng("queue ids"))
        pools = range(len(self._pools))
        self.queues = [
            Queue(self._queue_ids[pool * len(words.QUEUES) + place], name)
            for pool in pools
            for place, name in enumerate(words.QUEUES)
        ]
        self.deployments = list(self._make_deployments(deployments))

    def _rng(self, purpose: str) -> random.Random:
        return generator(self._seed, purpose)

    def _make_flows(self, count: int) -> list[Flow]:
        ids = Ids(self._rng("flow ids"))
        stems = words.FLOW_STEMS
        names = [*words.FLOWS, *(f"{stems[n % len(stems)]}-{n}" for n in range(count))]
        return [Flow(ids[number], name) for number, name in enumerate(names[:count])]

    def _make_deployments(self, count: int) -> Iterator[Deployment]:
        rng, ids = self._rng("deployments"), Ids(self._rng("deployment ids"))
        limit_ids = Ids(self._rng("limit ids"))
        taken: set[tuple[str, str]] = set()
        for number in range(count):
            flow = self.flows[int(len(self.flows) * rng.random() ** 2)]
            name = _free_name(words.DEPLOYMENTS[int(len(words.DEPLOYMENTS) * rng.random() ** 2)], flow, taken)
            queue = None if rng.random() < 0.1 else rng.choice(self.queues)
            version = rng.choice([None, "v1", "v2", f"{rng.getrandbits(28):07x}"])
            limit_id = limit_ids[number] if rng.random() < 0.1 else None
            yield Deployment(ids[number], name, flow, queue, version, limit_id)

    def tables(self) -> list[Table]:
        """In an order in which a row follows those it refers to, but for a pool's default queue."""
        limits = sum(deployment.limit_id is not None for deployment in self.deployments)
        schedules = list(self._schedule_rows())
        return [
            Table("flow", FLOW_COLUMNS, len(self.flows), self._flow_rows()),
            Table("work_pool", POOL_COLUMNS, len(self._pools), self._pool_rows()),
            Table("work_queue", QUEUE_COLUMNS, len(self.queues), self._queue_rows()),
            Table("concurrency_limit_v2", LIMIT_COLUMNS, limits, self._limit_rows()),
            Table("deployment", DEPLOYMENT_COLUMNS, len(self.deployments), self._deployment_rows()),
            Table("deployment_schedule", SCHEDULE_COLUMNS, len(schedules), iter(schedules)),
        ]

    def _flow_rows(self) -> Iterator[Row]:
        rng = self._rng("flow rows")
        moments = Moments(rng, self._until)
        for flow in self.flows:
            labels = encoded({"env": rng.choice(["prod", "dev"])}) if rng.random() < 0.8 else None
            created, updated = moments.between(700 * DAY, 400 * DAY), moments.between(399 * DAY)
            yield flow.id, created, updated, flow.name, _tags(rng), labels

    def _pool_rows(self) -> Iterator[Row]:
        rng = self._rng("pool rows")
        moments = Moments(rng, self._until)
        for number, (name, kind) in enumerate(self._pools):
            template = encoded({"variables": {"type": "object", "properties": {"image": {"type": "string"}}}})
            limit = rng.choice([None, None, 10, 100])
            status = rng.choice(["READY", "READY", "READY", "NOT_READY", "PAUSED"])
            created, updated = moments.between(700 * DAY, 400 * DAY), moments.between(399 * DAY)
            yield (
                self._pool_ids[number], created, updated, name, rng.choice([None, f"{kind} workers"]), kind, template,
                status == "PAUSED", limit, self._queue_ids[number * len(words.QUEUES)], status,
            )  # fmt: skip

    def _queue_rows(self) -> Iterator[Row]:
        rng = self._rng("queue rows")
        moments = Moments(rng, self._until)
        for number, queue in enumerate(self.queues):
            pool, place = divmod(number, len(words.QUEUES))
            status = rng.choice(["READY", "READY", "READY", "NOT_READY", "PAUSED"])
            created, updated = moments.between(700 * DAY, 400 * DAY), moments.between(399 * DAY)
            polled = moments.between(DAY) if rng.random() < 0.7 else None
            yield (
                queue.id, created, updated, queue.name, rng.choice(["", f"lane {place}"]), status == "PAUSED",
                rng.choice([None, None, 5, 50]), polled, place + 1, self._pool_ids[pool], status,
            )  # fmt: skip

    def _limit_rows(self) -> Iterator[Row]:
        rng = self._rng("limit rows")
        moments = Moments(rng, self._until)
        for deployment in self.deployments:
            if deployment.limit_id is not None:
                limit = _limit(deployment)
                created, updated = moments.between(300 * DAY, 200 * DAY), moments.between(199 * DAY)
                name, used = f"deployment:{dashed(deployment.id)}", rng.randrange(limit + 1)
                decay = rng.choice([0.0, 0.0, 0.25, 1e-7])
                yield deployment.limit_id, created, updated, rng.random() < 0.95, name, limit, used, 0, decay, 2.0

    def _deployment_rows(self) -> Iterator[Row]:
        rng = self._rng("deployment rows")
        births, changes = Moments(rng, self._until), Moments(rng, self._until)
        for deployment in self.deployments:
            created, updated = births.between(400 * DAY, 100 * DAY), changes.between(99 * DAY)
            polled = changes.between(DAY) if rng.random() < 0.6 else None
            parameters = _parameters(rng)
            status = "READY" if rng.random() < 0.7 else "NOT_READY"
            path, module = rng.choice([None, "/opt/flows", "s3://bucket/größe"]), rng.choice(["etl", "jobs/main"])
            yield (
                deployment.id, created, updated, deployment.name, deployment.flow.id, _tags(rng),
                _labels(rng, deployment.flow), encoded(parameters), _schema(rng, parameters), _description(rng),
                deployment.version, _job_variables(rng), path, f"{module}.py:run", _pull_steps(rng),
                rng.random() < 0.9, deployment.queue.id if deployment.queue else None, _queue_text(rng, deployment),
                polled, rng.random() < 0.1, status, deployment.limit_id,
                _limit(deployment) if deployment.limit_id else None, _limit_options(rng, deployment),
                _author(rng), _author(rng),
            )  # fmt: skip

    def _schedule_rows(self) -> Iterator[Row]:
        rng, ids = self._rng("schedule rows"), Ids(self._rng("schedule ids"))
        moments, number = Moments(rng, self._until), 0
        for deployment in self.deployments:
            for place in range(rng.choices([0, 1, 2, 3], [25, 55, 13, 7])[0]):
                created, updated = moments.between(300 * DAY, 100 * DAY), moments.between(99 * DAY)
                slug = rng.choice([None, f"slug-{place}", f"täglich_{place}"])
                parameters = encoded(rng.choice([{}, {}, {"full": True}, {"rate": 0.1}]))
                runs = rng.choice([None, None, rng.randint(1, 50)])
                active = rng.random() < 0.85
                yield ids[number], created, updated, _schedule(rng), active, deployment.id, runs, parameters, slug
                number += 1


def _pool(number: int) -> tuple[str, str]:
    """Name and type: those of the vocabulary first, then more of them."""
    name, kind = words.POOLS[number % len(words.POOLS)]
    return (name, kind) if number < len(words.POOLS) else (f"{name}-{number}", kind)


def _free_name(name: str, flow: Flow, taken: set[tuple[str, str]]) -> str:
    """The name, with a number behind it when the flow has a deployment of that name already."""
    candidate, number = name, 1
    while (flow.id, candidate) in taken:
        number += 1
        candidate = f"{name}-{number}"
    taken.add((flow.id, candidate))
    return candidate


def _tags(rng: random.Random) -> str:
    """None to five, drawn with repetition: real tags repeat."""
    return encoded(rng.choices(list(words.TAGS), list(words.TAGS.values()), k=rng.choice([0, 1, 2, 2, 3, 5])))


def _labels(rng: random.Random, flow: Flow) -> str | None:
    if rng.random() < 0.1:
        return None
    scalars = [("team", "data"), ("größe", "ä%_'\\"), ("tier", rng.randint(1, 3)), ("ratio", 0.5), ("pii", True)]
    return encoded({"prefect.flow.id": dashed(flow.id)} | dict(rng.sample(scalars, rng.randint(0, 3))))


def _parameters(rng: random.Random) -> dict[str, object]:
    draw = rng.random()
    if draw < 0.3:
        return {}
    if draw < 0.02 + 0.3:
        return {"huge": 2**70 + rng.randint(0, 999), "negative": -(2**80)}
    plain: dict[str, object] = {"limit": rng.randint(1, 5000), "rate": rng.choice([0.1, 0.5, 1e-7, 2.0]), "dry": False}
    if draw < 0.7:
        return plain
    nested = {"source": {"table": "größe", "columns": ["a", "b", None], "where": {"x": 0.5}}, "days": [1, 2.5, True]}
    return plain | nested


def _schema(rng: random.Random, parameters: dict[str, object]) -> str | None:
    """What Prefect derives from a flow's signature: mostly small, sometimes some kilobytes."""
    draw = rng.random()
    if draw < 0.15:
        return None if draw < 0.05 else "{}"
    names = [*parameters, *(f"option_{number}" for number in range(rng.randint(15, 40) if draw > 0.95 else 0))]
    properties = {
        name: {"type": "string", "title": name, "position": place, "description": f"What {name} is for: größe, 50 %."}
        for place, name in enumerate(names)
    }
    return encoded({"type": "object", "title": "Parameters", "properties": properties, "required": names[:1]})


def _description(rng: random.Random) -> str | None:
    return rng.choice([None, None, "Copies orders.", "First line\nsecond line\twith a tab", "Größe: 50 % \\ 'ok'", ""])


def _job_variables(rng: random.Random) -> str:
    environment = {"env": {"LOG_LEVEL": "INFO", "REGION": rng.choice(["eu", "us"])}, "image": "flows:2.1"}
    return encoded(rng.choice([{}, {"cpu": 0.5, "memory": 512}, environment]))


def _pull_steps(rng: random.Random) -> str | None:
    step = {"prefect.deployments.steps.set_working_directory": {"directory": "/opt/flows"}}
    return rng.choice([None, "[]", encoded([step])])


def _queue_text(rng: random.Random, deployment: Deployment) -> str | None:
    """The text column, which goes stale when a queue is renamed and stays when it is deleted."""
    if deployment.queue is None or rng.random() < 0.05:
        return rng.choice([None, "retired", "default"])
    return deployment.queue.name


def _limit(deployment: Deployment) -> int:
    return int(deployment.id[-1], 16) + 1


def _limit_options(rng: random.Random, deployment: Deployment) -> str | None:
    strategy = rng.choice(["ENQUEUE", "CANCEL_NEW"])
    choice = rng.choice(
        [None, {"collision_strategy": strategy}, {"collision_strategy": strategy, "grace_period_seconds": 120}]
    )
    return encoded(choice) if choice and deployment.limit_id else None


def _author(rng: random.Random) -> str | None:
    if rng.random() >= 0.03:
        return None
    identifier = dashed(f"{rng.getrandbits(128):032x}")
    return encoded({"id": rng.choice([identifier, None]), "type": "USER", "display_value": rng.choice(["Zoë", None])})


def _schedule(rng: random.Random) -> str:
    zone, kind = rng.choice(words.ZONES), rng.choice(["interval", "cron", "cron", "rrule"])
    if kind == "interval":
        interval, anchor = rng.choice(words.INTERVALS), rng.choice(words.ANCHORS)
        return encoded({"interval": interval, "timezone": zone or "UTC", "anchor_date": anchor})
    if kind == "cron":
        return encoded({"cron": rng.choice(words.CRONS), "timezone": zone, "day_or": rng.random() < 0.9})
    return encoded({"rrule": rng.choice(words.RRULES), "timezone": zone or "UTC"})
