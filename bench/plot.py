"""The plot of a size: latencies on the left, requests a second on the right, both on logarithmic axes."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes

from bench import bars
from bench.contenders import CONTENDERS
from bench.results import Results
from bench.shapes import SHAPES, WORKLOADS

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "classis"  # the same file for the same numbers
from matplotlib import pyplot  # noqa: E402 — the backend is chosen first

COLOURS = dict(zip(CONTENDERS, ("#b2182b", "#ef8a62", "#2166ac", "#67a9cf", "#4d4d4d"), strict=True))
MARKS = dict(zip(CONTENDERS, "osD^|", strict=True))


def drawn(found: Results, path: Path) -> None:
    """Draw what there is to draw."""
    if not found.latency and not found.throughput:
        return
    parts = [part for part, there in ((_latency, found.latency), (_throughput, found.throughput)) if there]
    figure, axes = pyplot.subplots(1, len(parts), figsize=(13, 8), squeeze=False)
    for part, place in zip(parts, axes[0], strict=True):
        part(place, found)
    figure.suptitle(f"Classis, {found.size}: {found.postgres.get('rows of flow_run', '?')} flow runs")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="lower center", ncols=len(COLOURS))
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _latency(axes: Axes, found: Results) -> None:
    table = bars.medians(found)
    shapes = [shape for shape in SHAPES if shape in table]
    for name, colour in COLOURS.items():
        at = [place for place, shape in enumerate(shapes) if name in table[shape]]
        if at:
            ms = [table[shapes[place]][name] for place in at]
            axes.plot(ms, at, MARKS[name], color=colour, label=name, markersize=7 if name != "floor" else 14)
    axes.set_yticks(range(len(shapes)), shapes)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("milliseconds, median, one request at a time")
    axes.grid(axis="x", alpha=0.3)


def _throughput(axes: Axes, found: Results) -> None:
    loads = [(workload, bodies) for workload in WORKLOADS for bodies in ("same", "distinct")]
    rates = {
        (cell.workload, cell.bodies, cell.contender): cell.rate for cell in found.throughput if cell.concurrency == 16
    }
    for place, (name, colour) in enumerate(COLOURS.items()):
        at = [number + (place - 2) * 0.16 for number in range(len(loads))]
        axes.barh(at, [rates.get((*load, name), 0) for load in loads], 0.15, color=colour, label=name)
    axes.set_yticks(range(len(loads)), [f"{workload}\n{bodies} bodies" for workload, bodies in loads])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("requests a second, 16 at once")
    axes.grid(axis="x", alpha=0.3)
