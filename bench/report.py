"""The report: every results file there is as one page of tables, and a plot for each size."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path
from statistics import median

from bench import bars, plot, results
from bench.bars import Bar
from bench.contenders import CONTENDERS, FLEETS
from bench.database import SIZES
from bench.results import Cell, Results
from bench.shapes import SHAPES, WORKLOADS

ABOUT = """# Results

Made by `make bench`; [bench/README.md](../README.md) tells how to read them. Trust the ratios more than the digits.
"""
FLEET = next(iter(FLEETS))
TRIAL = "tiny"  # a size to try the benchmark with, whose results say nothing
UNNAMED = "given"  # the label of a database given without one
Rows = Iterable[Sequence[str]]


def reported(sizes: list[str], folder: Path = results.FOLDER) -> bool:
    """Write report.md and the plots from all there is, print those sizes; gives whether a bar is missed."""
    known = [size for size in SIZES if size != TRIAL and (folder / f"{size}.json").exists()]
    labels = sorted(path.stem for path in folder.glob("*.json") if path.stem not in {*SIZES, UNNAMED})
    sized, labelled = ([results.read(name, folder) for name in names] for names in (known, labels))
    page = ABOUT + "".join(chain(_sections(sized), *(_size(found) for found in labelled)))
    (folder / "report.md").write_text(page)
    missed = []
    for size in sizes:
        found = results.read(size, folder)
        print("\n" + "".join(chain(_head(found), *(part(found) for part in SHOWN), _verdicts(found))))
        missed += [bar for bar in bars.promised(found, FLEET) if not bar.holds]
        plot.drawn(found, folder / f"{size}.svg")
    print(f"written to {folder.name}/: report.md" + "".join(f", {size}.json, {size}.svg" for size in sizes))
    return bool(missed)


def _sections(known: list[Results]) -> Iterator[str]:
    for found in known:
        yield from _size(found)
        yield f"\n![latency and throughput]({found.size}.svg)\n"
    for less, more in pairwise(known):
        yield from _growth(less, more)


def _size(found: Results) -> Iterator[str]:
    yield from _head(found)
    for part in (*SHOWN, _floor):
        yield from part(found)
    yield from _verdicts(found)
    for fleet in FLEETS:
        if checks := list(bars.promised(found, fleet)):
            rows = [[bar.what, bar.found, bar.promised, "yes" if bar.holds else "NO"] for bar in checks]
            table = _table(["what", "found", "promised", "holds"], rows)
            yield f"\n<details><summary>All bars of {fleet}</summary>\n{table}\n</details>\n"


def _head(found: Results) -> Iterator[str]:
    yield f"\n## {found.size.capitalize()}\n\n"
    yield "".join(f"- {phase}: {when}\n" for phase, when in found.taken.items())
    yield f"- machine: {_listed(found.machine)}\n- PostgreSQL: {_listed(found.postgres)}\n"


def _listed(facts: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def _table(head: Sequence[str], rows: Rows) -> str:
    """A Markdown table that reads well as text too."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(head))]
    left = [at == 0 or not any(line[at][:1].isdigit() for line in lines[1:]) for at in range(len(head))]
    rule = [("-" * width) if left[at] else "-" * (width - 1) + ":" for at, width in enumerate(widths)]
    padded = [
        [
            cell.ljust(width) if left[at] else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    ]
    return "\n" + "".join(f"| {' | '.join(line)} |\n" for line in [padded[0], rule, *padded[1:]])


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


# The parts


def _names(found: Results) -> list[str]:
    there = set(chain.from_iterable(found.latency.values())) | {cell.contender for cell in found.throughput}
    return [name for name in CONTENDERS if name in there]


def _latency(found: Results) -> Iterator[str]:
    if not found.latency:
        return
    table, names = bars.medians(found), _names(found)
    rounds = max(len(taken) for samples in found.latency.values() for taken in samples.values())
    yield f"\n### Latency: medians in milliseconds, one request at a time, {rounds} rounds\n"
    ratios = _ratios(names)
    rows = [
        [shape, SHAPES[shape].about, *(_number(table[shape].get(name)) for name in names), _bar(table[shape])]
        + [_over(table[shape], over, under) for over, under in ratios]
        for shape in SHAPES
        if shape in table
    ]
    means = [
        f"{bars.geometric(ms[over] / ms[under] for ms in table.values() if over in ms and under in ms):.2f}"
        for over, under in ratios
    ]
    rows.append(["**geometric mean**", "", *("" for _ in names), "", *means])
    head = ["shape", "asks for", *names, "fleet's bar", *(f"{over} ÷ {under}" for over, under in ratios)]
    yield _table(head, rows)


def _refusals(found: Results) -> Iterator[str]:
    for shape, said in found.refusals.items():
        for name, text in said.items():
            yield f"\n{name} did not answer {shape}: `{text}`\n"


def _bar(ms: dict[str, float]) -> str:
    """What a shape may take, and whether it does."""
    if "floor" not in ms or FLEET not in ms:
        return "–"
    most = min(bars.most(ms["floor"]), ms.get("tuned", math.inf))
    return f"{_number(most)} {'✓' if ms[FLEET] <= most else '✗'}"


def _ratios(names: list[str]) -> list[tuple[str, str]]:
    return [pair for pair in ((FLEET, "floor"), ("stock", FLEET), ("tuned", FLEET)) if set(pair) <= set(names)]


def _over(ms: dict[str, float], over: str, under: str) -> str:
    return f"{ms[over] / ms[under]:.2f}" if over in ms and under in ms else "–"


def _floor(found: Results) -> Iterator[str]:
    if not found.floor:
        return
    yield "\n<details><summary>The floor's choices</summary>\n"
    rows = [
        [shape, choice.assembly, choice.plan, f"`{' '.join(choice.form.split())}`".replace("|", "\\|")]
        for shape, choice in sorted(found.floor.items(), key=lambda item: (int(item[0].split()[0]), item[0]))
    ]
    yield _table(["shape", "assembly", "plan", "form"], rows) + "\n</details>\n"


def _loads(found: Results) -> Iterator[tuple[tuple[str, str, int], dict[str, Cell]]]:
    """Each load with its cells by contender, in the order of the workloads."""
    loads = {(cell.workload, cell.bodies, cell.concurrency) for cell in found.throughput}
    for load in sorted(loads, key=lambda load: (list(WORKLOADS).index(load[0]), load[1] != "same", load[2])):
        cells = [cell for cell in found.throughput if (cell.workload, cell.bodies, cell.concurrency) == load]
        yield load, {cell.contender: cell for cell in cells}


def _throughput(found: Results) -> Iterator[str]:
    if not found.throughput:
        return
    names = _names(found)
    yield "\n### Throughput: requests a second\n\nStock and tuned with two workers, the floor with four connections.\n"
    ratios = [(over, under) for under, over in _ratios(names) if over == FLEET]
    yield _by_load(found, names, lambda cell: _number(cell.rate), ratios)
    yield "\nMilliseconds: p50 / p95 / p99\n"
    yield _by_load(found, names, lambda cell: f"{_number(cell.p50)} / {_number(cell.p95)} / {_number(cell.p99)}")
    if failed := [cell for cell in found.throughput if cell.failures]:
        yield (
            "\nAnswers other than 200: "
            + "; ".join(
                f"{cell.contender}, {cell.workload}, {cell.bodies}, {cell.concurrency} at once: "
                f"{cell.failures} of {cell.requests}"
                for cell in failed
            )
            + "\n"
        )


def _by_load(
    found: Results, names: list[str], told: Callable[[Cell], str], ratios: Sequence[tuple[str, str]] = ()
) -> str:
    rows = [
        [workload, bodies, str(at_once), *(told(cells[name]) if name in cells else "–" for name in names)]
        + [_over({name: cell.rate for name, cell in cells.items()}, over, under) for over, under in ratios]
        for (workload, bodies, at_once), cells in _loads(found)
    ]
    return _table(["workload", "bodies", "at once", *names, *(f"{over} ÷ {under}" for over, under in ratios)], rows)


def _cpu(found: Results) -> Iterator[str]:
    cells = [
        cell
        for cell in found.throughput
        if cell.contender in {*FLEETS, "tuned", "floor"} and cell.concurrency in {1, 16}
    ]
    if not cells:
        return
    parts = list(dict.fromkeys(part for cell in cells for part in cell.cpu))
    yield "\n### CPU milliseconds a request\n"
    rows = [
        [cell.workload, cell.bodies, str(cell.concurrency), name]
        + [_number(cell.cpu.get(part)) for part in parts]
        + [_number(bars.own_cpu(cell)) if name in FLEETS else "–"]
        for _, by_name in _loads(found)
        for name, cell in by_name.items()
        if cell in cells
    ]
    yield _table(["workload", "bodies", "at once", "contender", *parts, "the five services"], rows)


def _memory(found: Results) -> Iterator[str]:
    if not found.memory:
        return
    yield "\n### Memory in MB (PSS), before and after all loads\n"
    rows = [
        [name, part, _number(before), _number(taken.get("after", {}).get(part))]
        for name, taken in found.memory.items()
        for part, before in taken["before"].items()
    ]
    yield _table(["contender", "process", "before", "after"], rows)


def _indexes(found: Results) -> Iterator[str]:
    if not found.indexes:
        return
    yield "\n### Indexes: medians in milliseconds without and with each of deploy/indexes.sql\n"
    rows = []
    for gain in found.indexes:
        for shape in gain.before:
            for name in gain.before[shape]:
                if not gain.before[shape][name] or not gain.after[shape].get(name):
                    continue  # it refused
                was, now = median(gain.before[shape][name]), median(gain.after[shape][name])
                text = f"`{gain.statement}`"
                rows.append(
                    [
                        text,
                        gain.size,
                        _number(gain.built_in),
                        shape,
                        name,
                        _number(was),
                        _number(now),
                        f"{was / now:.2f}",
                    ]
                )
    yield _table(["index", "size", "built in s", "shape", "contender", "without", "with", "gain"], rows)


def _growth(less: Results, more: Results) -> Iterator[str]:
    before, after = bars.medians(less), bars.medians(more)
    names = [name for name in _names(less) if name in _names(more)]
    if not before or not after:
        return
    yield f"\n## Growth: {less.size} to {more.size}, how many times longer\n"
    rows = [
        [shape, SHAPES[shape].runs or "–", *(_grown(before[shape], after[shape], name) for name in names)]
        for shape in SHAPES
        if shape in before and shape in after
    ]
    yield _table(["shape", "run filter", *names], rows)
    yield from _verdict("Bars of growth", list(bars.growth(less, more, FLEET)))


def _grown(before: dict[str, float], after: dict[str, float], name: str) -> str:
    return f"{after[name] / before[name]:.2f}" if name in before and name in after else "–"


def _verdicts(found: Results) -> Iterator[str]:
    """The bars of the fleet as it comes, and what the other fleets would miss."""
    for fleet in FLEETS:
        yield from _verdict(f"Bars of {fleet}", list(bars.promised(found, fleet)))


def _verdict(title: str, checks: list[Bar]) -> Iterator[str]:
    if not checks:
        return
    missed = [bar for bar in checks if not bar.holds]
    yield f"\n### {title}: {len(checks) - len(missed)} of {len(checks)} hold\n"
    if missed:
        yield "\nMissed:\n" + _table(
            ["what", "found", "promised"], [[bar.what, bar.found, bar.promised] for bar in missed]
        )


SHOWN = (_latency, _refusals, _throughput, _cpu, _memory, _indexes)
