"""Who is measured: a table of contenders, each a context manager that starts one and gives where to ask it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench import processes
from services import embedded
from tests import fleet
from tests.conformance import oracle

WORKERS = 2


@dataclass(frozen=True)
class Ground:
    """What all contenders stand on: the database, and a folder for what they write."""

    dsn: str
    home: Path
    postmaster: int | None
    owned: bool  # the benchmark made it and may change it


@dataclass(frozen=True)
class Running:
    """A contender that answers: at an address, or (the floor) through its SQL. `parts` are its processes."""

    url: str | None = None
    parts: processes.Parts = field(default_factory=dict)


Start = Callable[[Ground], AbstractContextManager[Running]]


@dataclass(frozen=True)
class Contender:
    """`every`: it takes part in each n-th round, because one round of it takes long."""

    name: str
    about: str
    start: Start
    every: int = 1
    crowd: Start | None = None  # how it is started to answer many at once, when otherwise


@contextmanager
def _prefect(ground: Ground, *, tuned: bool, workers: int = 1) -> Iterator[Running]:
    name = f"prefect-{'tuned' if tuned else 'stock'}-{workers}"
    before = processes.children()
    with oracle.serve(ground.dsn, ground.home / name, tuned=tuned, workers=workers) as url:
        yield Running(url, {"prefect": processes.child_with(url.rpartition(":")[2], before)})


@contextmanager
def _fleet(ground: Ground, name: str, settings: Mapping[str, str]) -> Iterator[Running]:
    home, before = ground.home / name, processes.children()
    with embedded.nats(home) as nats_url:
        bus = processes.child_with(str(home), before)
        extra = {f"CLASSIS_{name.upper()}": value for name, value in settings.items()}
        with fleet.running(ground.dsn, nats_url, log_level="WARNING", extra=extra) as started:
            services = {service: process.pid for service, process in started.processes.items()}
            yield Running(started.url, {**services, "nats-server": bus})


@contextmanager
def _floor(_: Ground) -> Iterator[Running]:
    yield Running()


FLEETS: dict[str, tuple[str, Mapping[str, str]]] = {  # name → what it is, its settings
    "fleet": ("Classis as it comes, each service a process", {}),
    "fleet, no row cache": ("the same without its cache of printed rows (CLASSIS_ROW_CACHE=0)", {"row_cache": "0"}),
}
CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender(
            "stock",
            "Prefect's server 3.8.8 as installed",
            partial(_prefect, tuned=False),
            every=5,
            crowd=partial(_prefect, tuned=False, workers=WORKERS),
        ),
        Contender(
            "tuned",
            "the same with its list of time zones kept",
            partial(_prefect, tuned=True),
            every=3,
            crowd=partial(_prefect, tuned=True, workers=WORKERS),
        ),
        *(
            Contender(name, about, partial(_fleet, name=name.replace(", ", "-").replace(" ", "-"), settings=settings))
            for name, (about, settings) in FLEETS.items()
        ),
        Contender("floor", "hand-written SQL on one connection, no HTTP, no bus", _floor),
    )
}


@contextmanager
def started(names: list[str], ground: Ground, *, crowd: bool = False) -> Iterator[dict[str, Running]]:
    """All of these at once."""
    with ExitStack() as stack:
        running = {}
        for name in names:
            contender = CONTENDERS[name]
            print(f"starting {name}: {contender.about}", flush=True)
            start = contender.crowd if crowd and contender.crowd else contender.start
            running[name] = stack.enter_context(start(ground))
        yield running
