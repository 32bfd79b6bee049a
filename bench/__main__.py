"""`make bench` or `python -m bench`: the measurements, phase by phase, and the report."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import asyncpg
import uvloop
from tqdm import tqdm

from bench import agreement, database, floor, indexes, latency, processes, report, results, throughput
from bench.contenders import CONTENDERS, Ground, started
from bench.results import Results
from bench.shapes import SHAPES, WORKLOADS, Shape, chosen
from services.embedded import StartError
from services.seed import SeedError

DESCRIPTION = """\
Classis beside Prefect's own server and beside the floor, on one machine, one PostgreSQL and the same data.

Phases, in this order:
  data        only load the data, which any other phase does too when it is missing
  latency     every shape, one request at a time, all contenders interleaved
  throughput  many requests at once, with the CPU time and the memory of each process
  indexes     what each index of deploy/indexes.sql gains (makes and drops it; only on the benchmark's own data)
  report      bench/results/*.json to tables and a plot; runs after every other phase

Before anything is timed the contenders' answers are compared; a difference ends the run with exit code 1."""
EPILOG = """\
examples:
  python -m bench --quick                                a first look, on tiny data: five minutes
  python -m bench --sizes medium --phases latency        the table of latencies
  python -m bench --sizes medium --shapes 7 8 10         some shapes
  python -m bench --dsn postgresql://…/prefect           a database that is there (it is only read)
  python -m bench --phases report                        print again what was measured
"""


@dataclass(frozen=True)
class Plan:
    """What is to be measured, as the command line says."""

    contenders: list[str]
    shapes: list[Shape]
    workloads: list[str]
    concurrency: list[int]
    rounds: int
    seconds: float


PHASES: dict[str, Callable[[Ground, Plan, Results], None]] = {}


def phase(measure: Callable[[Ground, Plan, Results], None]) -> Callable[[Ground, Plan, Results], None]:
    PHASES[measure.__name__.removeprefix("measure_")] = measure
    return measure


@phase
def measure_data(ground: Ground, plan: Plan, found: Results) -> None:
    """Nothing: by now the data is there."""


@phase
def measure_latency(ground: Ground, plan: Plan, found: Results) -> None:
    """The floor's trial, then everybody's time for every shape."""
    if "floor" in plan.contenders:
        found.floor |= _tried(ground, plan.shapes)
    with (
        started(plan.contenders, ground) as running,
        latency.asking(running, ground.dsn, found.floor) as asks,
    ):
        refusals = agreement.checked(asks, plan.shapes)
        found.latency |= latency.timed(asks, plan.shapes, plan.rounds, refusals)
        for shape in plan.shapes:
            found.refusals.pop(shape.name, None)
        found.refusals |= refusals


@phase
def measure_throughput(ground: Ground, plan: Plan, found: Results) -> None:
    """Requests a second, and what they cost."""
    workloads = {name: WORKLOADS[name] for name in plan.workloads}
    if "floor" in plan.contenders:
        asked = [workload.shape for workload in workloads.values()]
        bodies = {workload.shape.name: next(workload.distinct()) for workload in workloads.values()}
        found.floor |= _tried(ground, asked, bodies)
    with started(plan.contenders, ground, crowd=True) as running:
        load = throughput.Load(ground, running, found.floor, plan.seconds)
        found.memory = {name: {"before": processes.memory(one.parts)} for name, one in running.items() if one.parts}
        cells = load.measured(workloads, plan.concurrency)
        for name, one in running.items():
            if one.parts:
                found.memory[name]["after"] = processes.memory(one.parts)
    found.throughput = throughput.merged(found.throughput, cells)


@phase
def measure_indexes(ground: Ground, plan: Plan, found: Results) -> None:
    """What each recommended index gains, for the fleet that keeps no rows and the floor."""
    if not ground.owned:
        raise StartError("indexes are measured on the benchmark's own data only: leave --dsn away")
    found.indexes = indexes.measured(ground, ["fleet, no row cache", "floor"], plan.rounds, _tried)


def _tried(ground: Ground, wanted: list[Shape], bodies: dict[str, dict[str, object]] | None = None) -> floor.Choices:
    bar = partial(tqdm, desc="finding the floor", unit="shape", dynamic_ncols=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(floor.tried(ground.dsn, wanted, bodies or {}, bar))


# The command line


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        "python -m bench", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = made.add_argument
    sizes = ", ".join(f"{name} ({_numbers(name)})" for name in database.SIZES)
    add("--sizes", nargs="+", choices=database.SIZES, metavar="SIZE", default=["small", "medium"],
        help=f"deployments/flow runs/task runs: {sizes}; default: small medium")  # fmt: skip
    add("--dsn", help="measure this database instead; it is only read, and needs Prefect's schema and the demo data")
    add(
        "--label", default="given", help="with --dsn: the results' name; that of a size takes part in the growth tables"
    )
    add("--phases", nargs="+", choices=[*PHASES, "report"], metavar="PHASE", default=["latency", "throughput"],
        help="default: latency throughput")  # fmt: skip
    add("--contenders", nargs="+", choices=CONTENDERS, metavar="NAME", default=list(CONTENDERS),
        help="default: " + ", ".join(CONTENDERS))  # fmt: skip
    add("--shapes", nargs="+", default=[], metavar="SHAPE", help=f"numbers or names, of {len(SHAPES)}; default: all")
    add("--workloads", nargs="+", choices=WORKLOADS, metavar="LOAD", default=list(WORKLOADS),
        help="default: " + ", ".join(WORKLOADS))  # fmt: skip
    add("--concurrency", nargs="+", type=int, default=[1, 16, 64], metavar="N", help="default: 1 16 64")
    add("--rounds", type=int, default=21, metavar="N", help="rounds of latency (default: %(default)s)")
    add("--seconds", type=float, default=4.0, metavar="S", help="seconds under each load (default: %(default)s)")
    add("--quick", action="store_true", help="tiny data, 5 rounds, 1 second at 16 in flight; for a first look")
    add("--strict", action="store_true", help="exit code 3 when a bar is missed")
    return made


def _numbers(size: str) -> str:
    return "/".join(f"{count:,}" for count in vars(database.SIZES[size]).values())


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and report; gives the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # either way, all that was started is stopped
    args = parser().parse_args(argv)
    if args.quick:
        args.sizes, args.rounds, args.seconds, args.concurrency = ["tiny"], 5, 1.0, [16]
    if not (wanted := chosen(args.shapes)):
        print(f"no shape is called {' or '.join(args.shapes)}; there are: {', '.join(SHAPES)}")
        return 2
    plan = Plan(args.contenders, wanted, args.workloads, args.concurrency, args.rounds, args.seconds)
    sizes = [args.label] if args.dsn else args.sizes
    try:
        for size in sizes:
            if measured := [name for name in PHASES if name in args.phases]:
                _measure(size, args.dsn, measured, plan)
    except (StartError, SeedError, agreement.Disagreement, latency.Refused, OSError, asyncpg.PostgresError) as error:
        print(f"bench: {str(error).replace('CLASSIS_HOME', database.HOME)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    missed = report.reported(sizes)
    return 3 if args.strict and missed else 0


def _measure(size: str, dsn: str | None, phases: list[str], plan: Plan) -> None:
    """All phases on one database, each kept as soon as it is through."""
    print(f"\n=== {size} ({'the database given' if dsn else _numbers(size)})", flush=True)
    with _ground(size, dsn) as ground:
        found = results.read(size)
        facts = asyncio.run(database.facts(ground.dsn))
        if found.postgres != facts or found.machine != processes.machine():
            found = Results(size=size, machine=processes.machine(), postgres=facts)  # not to be mixed with what was
        for name in phases:
            PHASES[name](ground, plan, found)
            found.stamp(name)
            results.write(found)


@contextmanager
def _ground(size: str, dsn: str | None) -> Iterator[Ground]:
    home = database.bench_home() / size
    if dsn:
        home.mkdir(parents=True, exist_ok=True)
        yield Ground(dsn, home, asyncio.run(database.postmaster(dsn)), owned=False)
        return
    with database.served(size) as own:
        yield Ground(own, home, asyncio.run(database.postmaster(own)), owned=True)


if __name__ == "__main__":
    sys.exit(main())
