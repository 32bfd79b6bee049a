"""Throughput: many requests at once, and what each process spends on them."""

import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import quantiles

from msgspec import json
from tqdm import tqdm

from bench import database, processes
from bench.contenders import Ground, Running
from bench.floor import Choices
from bench.load import Order, Yield
from bench.results import Cell
from bench.shapes import WORKLOADS, Workload

BODIES = {"same": False, "distinct": True}


@dataclass(frozen=True)
class Load:
    """What every load needs to know."""

    ground: Ground
    running: Mapping[str, Running]
    choices: Choices
    seconds: float

    def measured(self, workloads: Mapping[str, Workload], concurrency: list[int]) -> list[Cell]:
        """One contender after another under each load, in an order that rotates."""
        cells, names = [], list(self.running)
        loads = list(product(workloads, BODIES, concurrency))
        with tqdm(total=len(loads) * len(names), desc="throughput", unit="load", dynamic_ncols=True) as bar:
            for number, (workload, bodies, at_once) in enumerate(loads):
                turn = number % len(names)
                for name in names[turn:] + names[:turn]:
                    bar.set_postfix_str(f"{workload}, {bodies}, {at_once} at once: {name}")
                    cells.append(self._one(name, workload, bodies, at_once))
                    bar.update()
        return cells

    def _one(self, name: str, workload: str, bodies: str, at_once: int) -> Cell:
        one = self.running[name]
        parts = dict(one.parts) | ({"postgres": self.ground.postmaster} if self.ground.postmaster else {})
        order = Order(
            workload=workload,
            distinct=BODIES[bodies],
            concurrency=at_once,
            seconds=self.seconds,
            url=one.url,
            dsn=self.ground.dsn,
            choices=self.choices,
        )
        done, used = _sent(order, parts)
        count = len(done.milliseconds)
        cuts = quantiles(done.milliseconds, n=100, method="inclusive") if count > 1 else done.milliseconds * 99
        return Cell(
            workload=workload,
            bodies=bodies,
            concurrency=at_once,
            contender=name,
            seconds=done.seconds,
            requests=count,
            failures=done.failures,
            p50=cuts[49],
            p95=cuts[94],
            p99=cuts[98],
            cpu={part: seconds / count * 1000 for part, seconds in (used | {"client": done.cpu}).items()},
        )


def _sent(order: Order, parts: processes.Parts) -> tuple[Yield, dict[str, float]]:
    """The load's yield, and the CPU seconds each part spent meanwhile."""
    command = [sys.executable, "-m", "bench.load"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=database.ROOT
    ) as process:
        assert process.stdin and process.stdout
        try:
            process.stdin.write(json.encode(order).decode() + "\n")
            process.stdin.flush()
            if process.stdout.readline() != "ready\n":
                raise OSError("the load generator did not start; what it said stands above")
            before = processes.usage(parts)
            process.stdin.write("go\n")
            process.stdin.flush()
            text = process.stdout.readline()
            after = processes.usage(parts)
        finally:
            process.stdin.close()
        done = json.decode(text, type=Yield)
    return done, {part: max(0.0, after[part] - before[part]) for part in parts}


def merged(old: Iterable[Cell], new: Sequence[Cell]) -> list[Cell]:
    """The new cells, and the old ones of other loads: contenders are compared within one run only."""
    loads = {_load(cell) for cell in new}
    return sorted([*new, *(cell for cell in old if _load(cell) not in loads)], key=_load)


def _load(cell: Cell) -> tuple[int, str, int]:
    return list(WORKLOADS).index(cell.workload), cell.bodies, cell.concurrency
