"""The bars: what was promised, as a table of checks on what was found."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import median

from bench.results import Cell, Results
from bench.shapes import SELECTIVE, SHAPES

FIRST = 19  # shapes that the bars of the geometric means are about; the others were added since
SLOPE, START = 1.25, 2.0  # a fleet's median may be this many times the floor's, plus milliseconds
OURS = ("flows", "runs", "work_pools", "deployments", "gateway")


@dataclass(frozen=True)
class Bar:
    """One promise: what was found, what was promised, and whether it holds."""

    what: str
    found: str
    promised: str
    holds: bool


def medians(found: Results) -> dict[str, dict[str, float]]:
    """Shape → contender → median milliseconds."""
    return {
        shape: {name: median(taken) for name, taken in samples.items() if taken}
        for shape, samples in found.latency.items()
    }


def geometric(values: Iterable[float]) -> float:
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


def most(floor: float) -> float:
    """Milliseconds that a fleet may take where the floor takes so many."""
    return SLOPE * floor + START


def promised(found: Results, fleet: str) -> Iterator[Bar]:
    """All bars of one size."""
    yield from latency(found, fleet)
    yield from throughput(found, fleet)


def latency(found: Results, fleet: str) -> Iterator[Bar]:
    """Each shape against the floor and against the tuned server; all shapes together."""
    table = medians(found)
    for shape, ms in table.items():
        if fleet in ms and "floor" in ms:
            allowed = most(ms["floor"])
            what = f"{shape}: {fleet} against the floor"
            yield Bar(what, f"{ms[fleet]:.1f} ms", f"≤ {allowed:.1f} ms", ms[fleet] <= allowed)
        if fleet in ms and "tuned" in ms:
            yield Bar(f"{shape}: {fleet} against tuned", f"{ms[fleet]:.1f} ms", f"≤ {ms['tuned']:.1f} ms",
                      ms[fleet] <= ms["tuned"])  # fmt: skip
    for shape, said in found.refusals.items():
        if fleet in said:
            yield Bar(f"{shape}: {fleet} answers", said[fleet], "200", holds=False)
    for other, least in (("stock", 30), ("tuned", 6)):
        first = [table.get(shape, {}) for shape in list(SHAPES)[:FIRST]]
        ratios = [ms[other] / ms[fleet] for ms in first if other in ms and fleet in ms]
        if ratios:
            mean = geometric(ratios)
            what = f"shapes 1 to {FIRST}: {other} ÷ {fleet}, geometric mean"
            yield Bar(what, f"{mean:.1f} ×", f"≥ {least} ×", mean >= least)


RATES = (  # workload, concurrency (None: each), contender to beat, how many times
    ("200-row page", None, "stock", 60),
    ("200-row page", None, "tuned", 5),
    ("10-row page", 16, "tuned", 5),
    ("selective", 16, "tuned", 5),
)


def throughput(found: Results, fleet: str) -> Iterator[Bar]:
    cells = {(cell.workload, cell.bodies, cell.concurrency, cell.contender): cell for cell in found.throughput}
    for workload, at, other, least in RATES:
        for (load, bodies, at_once, name), cell in cells.items():
            beaten = cells.get((load, bodies, at_once, other))
            if load == workload and name == fleet and beaten and at in {None, at_once}:
                ratio = cell.rate / beaten.rate
                what = f"{workload}, {bodies} bodies, {at_once} at once: {fleet} ÷ {other}"
                yield Bar(what, f"{ratio:.1f} ×", f"≥ {least} ×", ratio >= least)
    for cell in cells.values():
        if cell.contender == fleet and cell.workload == "10-row page" and cell.concurrency in {1, 16}:
            used = own_cpu(cell)
            what = f"10-row page, {cell.bodies} bodies, {cell.concurrency} at once: {fleet}, CPU of its services"
            yield Bar(what, f"{used:.2f} ms", "≤ 3 ms", used <= 3)


def own_cpu(cell: Cell) -> float:
    """CPU milliseconds a request in the five services."""
    return sum(cell.cpu.get(part, 0.0) for part in OURS)


def growth(less: Results, more: Results, fleet: str) -> Iterator[Bar]:
    """Ten times the runs: how much longer the shapes with run filters take."""
    before, after = medians(less), medians(more)
    for shape in before:
        kind = SHAPES[shape].runs if shape in SHAPES else ""
        if kind and fleet in before[shape] and fleet in after.get(shape, {}):
            ratio, limit = after[shape][fleet] / before[shape][fleet], 2.0 if kind == SELECTIVE else 1.5
            what = f"{shape} ({kind}): {fleet}, {less.size} to {more.size}"
            yield Bar(what, f"{ratio:.2f} ×", f"< {limit} ×", ratio < limit)
