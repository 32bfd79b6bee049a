"""Everything that a user of Prefect meets, with the gateway in front, and the ways to look at it."""

import base64
import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from prometheus_client.parser import text_string_to_metric_families

from services import embedded
from tests import fleet
from tests.conformance import oracle
from tests.dropin.prefect import NO_INTERNET, Prefect

T = TypeVar("T")
WITHIN = 60.0  # seconds, for what a runner or a worker is to do
SERVER = {
    **NO_INTERNET,
    "PREFECT_UI_ENABLED": "true",
    "PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS": "1",
    "PREFECT_SERVER_LOGS_STREAM_OUT_ENABLED": "true",
    "PREFECT_SERVER_LOGS_STREAM_PUBLISHING_ENABLED": "true",
}


@dataclass
class Stack:
    """Where things are: the gateway, its metrics, the real server behind it, and a user's machine that knows the gateway."""

    gateway: str
    monitor: str
    server: str
    prefect: Prefect
    secret: str = ""

    def get(self, path: str) -> Any:
        return self.ask("GET", path)

    def search(self, **filters: object) -> list[Any]:
        """What the gateway finds."""
        found: list[Any] = self.ask("POST", "/api/deployments/filter", filters)
        return found

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """The gateway's answer, as JSON."""
        headers = {"content-type": "application/json"}
        if self.secret:
            headers["authorization"] = f"Basic {base64.b64encode(self.secret.encode()).decode()}"
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(f"{self.gateway}{path}", data, headers, method=method)
        with urllib.request.urlopen(asked, timeout=WITHIN) as answer:
            return json.loads(answer.read() or b"null")

    def answered(self, endpoint: str) -> int:
        """How many requests of an endpoint the gateway has answered well; of `upstream`, passed on."""
        labels = {"endpoint": endpoint, "status": "200"}
        return int(self._sample("classis_http_request_seconds_count", labels))

    def tunnels(self) -> int:
        """The WebSockets that are open."""
        return int(self._sample("classis_upstream_tunnels", {}))

    def _sample(self, name: str, labels: dict[str, str]) -> float:
        with urllib.request.urlopen(f"{self.monitor}/metrics", timeout=WITHIN) as answer:
            families = text_string_to_metric_families(answer.read().decode())
        return sum(s.value for family in families for s in family.samples if s.name == name and s.labels == labels)


@contextmanager
def running(home: Path, dsn: str, secret: str = "") -> Iterator[Stack]:
    """The real server with its UI and its services, on a database that has its schema, and the fleet before it."""
    home.mkdir(mode=0o711)
    server = {**SERVER, "PREFECT_UI_STATIC_DIRECTORY": str(home / "ui")}
    client = {}
    if secret:
        server["PREFECT_SERVER_API_AUTH_STRING"] = client["PREFECT_API_AUTH_STRING"] = secret
    user, logs = home / "user", home / "logs"
    user.mkdir()
    logs.mkdir()
    with (
        embedded.nats(home) as nats_url,
        oracle.serve(dsn, home / "server", services=True, extra=server) as url,
        fleet.running(dsn, nats_url, one_process=True, logs=logs, upstream=url, api_auth_string=secret) as made,
    ):
        yield Stack(made.url, made.monitors["all"], url, Prefect(user, made.url, client), secret)


def until(look: Callable[[], T]) -> T:
    """What `look` gives as soon as it gives anything."""
    end = time.monotonic() + WITHIN
    while not (seen := look()):
        assert time.monotonic() < end, f"still {seen!r} after {WITHIN} s"
        fleet.select_for_a_moment()
    return seen
