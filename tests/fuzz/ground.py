"""What is fuzzed: a fleet in one process on servers of its own, with a little data, its log in a file."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from services import embedded
from services.seed import seed
from tests import fleet
from tests.conformance.generate import Story, stories
from tests.conftest import SCHEMA, folder
from tests.fleet import Fleet
from tests.fuzz import bodies
from tests.fuzz.bodies import Searches
from tests.fuzz.tally import Finding, Leaks

MAX_BODY = 1_000_000  # bytes; small, so that what is larger is sent quickly
DEADLINE = 5.0
DEPLOYMENTS = 40


@dataclass
class Ground:
    """The fleet, what its answers must not tell, and its log."""

    fleet: Fleet
    leaks: Leaks
    log: Path
    searches: Searches  # right ones, about what its database holds

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.fleet.url)
        return parts.hostname or "", parts.port or 0

    def check(self) -> None:
        """Raises Finding when the process has ended, or its log tells of a mistake."""
        process = self.fleet.processes["all"]
        if process.poll() is not None:
            raise Finding(f"the fleet has ended with {process.returncode}")
        log = self.log.read_text(errors="replace")
        for word in ("Traceback", "never retrieved", "was never awaited"):
            if word in log:
                start = log.index(word)
                raise Finding(f"the log tells of a mistake: {log[max(0, start - 1000) : start + 4000]}")


@contextmanager
def ground() -> Iterator[Ground]:
    """Servers, data and the fleet, until the block is left."""
    with (
        folder() as home,
        embedded.postgres(home, durable=False) as dsn,
        embedded.nats(home) as nats_url,
    ):
        told = asyncio.run(_filled(dsn))
        leaks = Leaks([*(urlsplit(url).netloc.rpartition("@")[2] for url in (dsn, nats_url)), str(home)])
        (home / "logs").mkdir()
        with fleet.running(
            dsn, nats_url, one_process=True, logs=home / "logs", max_body=str(MAX_BODY), deadline=str(DEADLINE)
        ) as made:
            yield Ground(made, leaks, home / "logs" / "all.log", bodies.searches(told))


async def _filled(dsn: str) -> list[Story]:
    connection = await asyncpg.connect(dsn)
    await connection.execute(SCHEMA.read_text())
    await seed(dsn, deployments=DEPLOYMENTS, flow_runs=400, task_runs=800, progress=False)
    await connection.close()
    return await stories(dsn)
