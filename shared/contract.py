"""Every subject of the fleet and every message on it: one value per subject, used by both ends.

Two kinds of subject. The *public* ones take a search in Prefect's own grammar, as JSON or MessagePack, and answer what
the HTTP API answers. The *internal* ones carry MessagePack structs between the services: a request refuses fields it
does not know at both ends, because an ignored filter would silently widen an answer; a reply may grow.

What a reply is about has no default there: a reply of something else must not be read as "nothing found".

Keys travel packed: n ids are one byte string of 16 n bytes.
"""

from dataclasses import dataclass
from math import isnan
from typing import Any, Generic, TypeVar
from uuid import UUID

from msgspec import Struct

from shared import filters
from shared.deployment import Deployment, DeploymentPage

Q = TypeVar("Q")
R = TypeVar("R")
KEY_SIZE = 16

ERROR_CODE = "Nats-Service-Error-Code"  # the names that NATS's own services use
ERROR_NAME = "Nats-Service-Error"
CONTENT_TYPE = "Content-Type"
MSGPACK = "application/msgpack"
WITHIN = "Classis-Within"  # seconds a caller allows for a search; the gateway's own deadline is the most
REPLICA = "Classis-Replica"  # which replica refused
REQUEST_ID = "X-Request-ID"  # names a request in the logs of every process it touches
TRACEPARENT = "traceparent"  # W3C Trace Context


@dataclass(frozen=True)
class Endpoint(Generic[Q, R]):
    """A subject, the message it takes, the message it replies with, and the service (its queue group) behind it."""

    subject: str
    request: type[Q]
    reply: Any  # type[R]; also list[...] and int, which are no classes
    service: str
    about: str
    public: bool = False


class Call(Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True, kw_only=True):
    """What every internal request tells: the seconds left to answer it, and whose request it is part of."""

    within: float = 0.0
    request_id: str = ""
    traceparent: str = ""

    def __post_init__(self) -> None:
        """Refuses a time that is no number: no clock can wait for it."""
        if isnan(self.within):
            raise ValueError("`within` is not a number")


class FlowLeg(Call, frozen=True):
    """Which flows pass."""

    flows: filters.FlowFilter


class PoolLeg(Call, frozen=True):
    """Which work queues pass `work_pool_queues` and sit in a pool that passes `work_pools`."""

    work_pools: filters.WorkPoolFilter | None = None
    work_pool_queues: filters.WorkQueueFilter | None = None


class Keys(Struct, frozen=True):
    """The ids that a leg found: 16 bytes each, without duplicates, in no order."""

    packed: bytes


class Selection(Call, frozen=True):
    """Deployments that pass their own filter and, for each leg that was asked, carry one of its keys.

    `limit` None or 0 asks for no rows; `count` asks for the number of all matches.
    """

    deployments: filters.DeploymentFilter | None = None
    flow_ids: bytes | None = None
    deployment_ids: bytes | None = None
    work_queue_ids: bytes | None = None
    sort: filters.Sort = "NAME_ASC"
    limit: int | None = None
    offset: int = 0
    count: bool = False

    def __post_init__(self) -> None:
        """Refuses keys that are cut off; msgspec tells them as any other wrong value."""
        super().__post_init__()
        for keys in (self.flow_ids, self.deployment_ids, self.work_queue_ids):
            if keys is not None and len(keys) % KEY_SIZE:
                raise ValueError(f"keys are {KEY_SIZE} bytes each")


class RunLeg(Selection, frozen=True):
    """Which selected deployments own one flow run that passes `flow_runs` and owns a task run that passes."""

    flow_runs: filters.FlowRunFilter | None = None
    task_runs: filters.TaskRunFilter | None = None


class Owners(Struct, frozen=True):
    """The ids of one page of deployments, in its order, and the number of all; `strategy` is how they were found."""

    packed: bytes
    count: int
    strategy: str = ""


class Page(Struct, frozen=True):
    """`rows` is a JSON array of deployments, ready to send; `tag` is equal for equal rows."""

    rows: bytes
    count: int
    tag: bytes = b""


class DeploymentById(Call, frozen=True):
    id: UUID


class DeploymentByName(Call, frozen=True):
    flow: str
    deployment: str


class Row(Struct, frozen=True):
    """A deployment's JSON object, or nothing when there is none; `tag` is equal for equal rows."""

    row: bytes | None
    tag: bytes = b""


class CsrfToken(Call, frozen=True):
    """A token that a client shows, as its SHA-256: the token itself stays at the door."""

    client: str
    digest: bytes


class Verdict(Struct, frozen=True):
    """Whether Prefect gave the client this token, and it has not expired."""

    valid: bool


class Readiness(Call, frozen=True):
    """Whether the service and its database answer."""


class Ready(Struct, frozen=True):
    """The answer is that there is one."""


class Peer(Struct, frozen=True):
    """A replica's answer to "who is there, and who works on this call?": its id, and whether it does."""

    id: str
    holds: bool = False


FILTER = Endpoint[filters.Filter, list[Deployment]](
    "classis.v1.deployments.filter", filters.Filter, list[Deployment], "gateway",
    "The deployments that match, as `POST /api/deployments/filter` answers them.", public=True,
)  # fmt: skip
PAGINATE = Endpoint[filters.Paginate, DeploymentPage](
    "classis.v1.deployments.paginate", filters.Paginate, DeploymentPage, "gateway",
    "One page of the deployments that match, as `POST /api/deployments/paginate` answers it.", public=True,
)  # fmt: skip
COUNT = Endpoint[filters.Count, int](
    "classis.v1.deployments.count", filters.Count, int, "gateway",
    "The number of deployments that match, as `POST /api/deployments/count` answers it.", public=True,
)  # fmt: skip

FLOWS = Endpoint[FlowLeg, Keys](
    "classis.v1.flows.keys", FlowLeg, Keys, "flows", "The ids of the flows that pass.",
)  # fmt: skip
RUNS = Endpoint[RunLeg, Owners](
    "classis.v1.runs.owners", RunLeg, Owners, "runs", "The selected deployments that own a run that passes.",
)  # fmt: skip
WORK_POOLS = Endpoint[PoolLeg, Keys](
    "classis.v1.work_pools.keys", PoolLeg, Keys, "work_pools", "The ids of the work queues that pass.",
)  # fmt: skip
PAGE = Endpoint[Selection, Page](
    "classis.v1.deployments.page", Selection, Page, "deployments", "Selected deployments: sorted, counted, printed.",
)  # fmt: skip
BY_ID = Endpoint[DeploymentById, Row](
    "classis.v1.deployments.by_id", DeploymentById, Row, "deployments", "One deployment by its id.",
)  # fmt: skip
BY_NAME = Endpoint[DeploymentByName, Row](
    "classis.v1.deployments.by_name", DeploymentByName, Row, "deployments",
    "One deployment by its flow's name and its own.",
)  # fmt: skip
CSRF = Endpoint[CsrfToken, Verdict](
    "classis.v1.deployments.csrf", CsrfToken, Verdict, "deployments", "Whether a CSRF token is its client's.",
)  # fmt: skip


def peers(service: str) -> str:
    """The subject on which every replica of a service replies a `Peer`; the message is a call's reply address."""
    return f"classis.v1.{service}.peers"


def released(service: str) -> str:
    """The subject on which callers tell every replica that they gave a call up; the message is its reply address."""
    return f"classis.v1.{service}.released"


def direct(subject: str, replica: str) -> str:
    """The subject on which one replica alone takes the messages of an endpoint."""
    return f"{subject}.{replica}"


SERVICES = ("flows", "runs", "work_pools", "deployments", "gateway")
READY: dict[str, Endpoint[Readiness, Ready]] = {
    service: Endpoint(
        f"classis.v1.{service}.ready", Readiness, Ready, service, "Answers when the service can reach its database."
    )
    for service in SERVICES[:-1]  # all that the gateway needs
}
ENDPOINTS: tuple[Endpoint[Any, Any], ...] = (
    FILTER, PAGINATE, COUNT, FLOWS, RUNS, WORK_POOLS, PAGE, BY_ID, BY_NAME, CSRF, *READY.values()
)  # fmt: skip
