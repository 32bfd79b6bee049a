"""How NATS's own tools see a replica: the replies to `$SRV.PING`, `INFO` and `STATS`. Pure.

The format is that of NATS's services framework (ADR-32), so `nats micro list|info|stats` show the fleet.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec

import shared

NANOSECONDS = 1_000_000_000


@dataclass
class Tally:
    """What one endpoint of this replica has done."""

    subject: str
    service: str
    requests: int = 0
    errors: int = 0
    last_error: str = ""
    seconds: float = 0.0

    def add(self, seconds: float, outcome: str) -> None:
        """Counts one message; `outcome` is "ok" or the name of an error."""
        self.requests += 1
        self.seconds += seconds
        if outcome != "ok":
            self.errors += 1
            self.last_error = outcome

    @property
    def endpoint(self) -> dict[str, Any]:
        name = self.subject.removeprefix("classis.v1.").replace(".", "-")
        return {"name": name, "subject": self.subject, "queue_group": self.service}

    @property
    def stats(self) -> dict[str, Any]:
        spent = round(self.seconds * NANOSECONDS)
        return {
            **self.endpoint,
            "num_requests": self.requests,
            "num_errors": self.errors,
            "last_error": self.last_error,
            "processing_time": spent,
            "average_processing_time": spent // max(1, self.requests),
            "data": {},
        }


@dataclass(frozen=True)
class Replica:
    """One replica of a service, as it introduces itself."""

    service: str
    id: str
    tallies: Sequence[Tally]
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat().replace("+00:00", "Z"))

    @property
    def name(self) -> str:
        return f"classis-{self.service}"

    def subjects(self) -> Iterator[tuple[str, Callable[[], bytes]]]:
        """Each subject to hear, and what gives its reply."""
        for verb in ("PING", "INFO", "STATS"):
            for address in ("", f".{self.name}", f".{self.name}.{self.id}"):
                yield f"$SRV.{verb}{address}", partial(self.told, verb.lower())

    def told(self, verb: str) -> bytes:
        """The reply to `ping`, `info` or `stats`."""
        about: dict[str, Any] = {"info": self._info, "stats": self._stats}.get(verb, dict)()
        who = {"name": self.name, "id": self.id, "version": shared.VERSION, "metadata": {}}
        return msgspec.json.encode({"type": f"io.nats.micro.v1.{verb}_response", **who, **about})

    def _info(self) -> dict[str, Any]:
        endpoints = [{**tally.endpoint, "metadata": {}} for tally in self.tallies]
        return {"description": f"Classis: {self.service}", "endpoints": endpoints}

    def _stats(self) -> dict[str, Any]:
        return {"started": self.started, "endpoints": [tally.stats for tally in self.tallies]}
