"""The public shape of one deployment: every field, in the order in which Prefect 3.8.8 sends them.

The deployments service fills these structs to print them; a client decodes answers into them. A field typed `Json` is
whatever Prefect's users stored there: printed from Postgres's own text (`msgspec.Raw`), decoded to plain objects.
"""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from msgspec import Struct

Json = Any


class Schedule(Struct, frozen=True):
    """When a deployment runs. `schedule` is an interval, a cron or an rrule object, told apart by its keys."""

    id: UUID
    created: datetime
    updated: datetime
    deployment_id: UUID
    schedule: Json
    active: bool
    max_scheduled_runs: int | None
    parameters: Json
    slug: str | None


class ConcurrencyLimit(Struct, frozen=True):
    """The limit shared by the runs of one or several deployments. Decay is in slots per second."""

    id: UUID
    created: datetime
    updated: datetime
    active: bool
    name: str
    limit: int
    active_slots: int
    slot_decay_per_second: float


class ConcurrencyOptions(Struct, frozen=True):
    """What happens to a run that finds no slot. The grace period is in seconds."""

    collision_strategy: Json
    grace_period_seconds: Json


class Actor(Struct, frozen=True):
    """Who created or updated a deployment."""

    id: Json
    type: Json
    display_value: Json


class Deployment(Struct, frozen=True):
    """One deployment as a search returns it. `concurrency_limit` is always null, in Prefect too."""

    id: UUID
    created: datetime
    updated: datetime
    name: str
    version: str | None
    description: str | None
    flow_id: UUID
    paused: bool
    schedules: list[Schedule]
    concurrency_limit: None
    global_concurrency_limit: ConcurrencyLimit | None
    concurrency_options: ConcurrencyOptions | None
    job_variables: Json
    parameters: Json
    tags: Json
    labels: Json
    work_queue_name: str | None
    work_queue_id: UUID | None
    last_polled: datetime | None
    parameter_openapi_schema: Json
    path: str | None
    pull_steps: Json
    entrypoint: str | None
    storage_document_id: UUID | None
    infrastructure_document_id: UUID | None
    created_by: Actor | None
    updated_by: Actor | None
    work_pool_name: str | None
    status: Literal["READY", "NOT_READY"]
    enforce_parameter_schema: bool


class DeploymentPage(Struct, frozen=True):
    """One page of a search, with the number of all matches, the page's size, the number of pages, and which it is."""

    results: list[Deployment]
    count: int
    limit: int
    pages: int
    page: int
