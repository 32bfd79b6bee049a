"""`python -m tests.fault.soak`: a steady load for an hour, and what the memory of each process does meanwhile.

Writes a CSV and an SVG beside each other, prints a verdict, and exits with 1 when a request failed, an answer was wrong,
a process ended or memory grew: by more than a twentieth and more than 2 MiB over the last half of the time.
"""

import argparse
import asyncio
import csv
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from math import inf
from pathlib import Path
from time import monotonic

from tqdm import tqdm

from tests.conftest import folder
from tests.fault import memory, questions
from tests.fault.crowd import APART, TOGETHER, Crowd
from tests.fault.load import Load
from tests.fault.records import Record, Sample, record, table
from tests.fault.stage import Node, demo

GROWN, SHARE = 2.0, 0.05  # MiB, and part of what it uses
HEADINGS = ("seconds", "process", "pss_bytes", "answered", "failed_or_wrong")


def main() -> int:
    given = _arguments()
    with ExitStack() as stack:
        home = stack.enter_context(folder())
        database = stack.enter_context(demo(home / "postgres"))
        node = stack.enter_context(Node(home, "nats"))
        layout = TOGETHER if given.together else APART
        crowd = stack.enter_context(Crowd(home, database.dsn, [node.url], layout))
        crowd.whole()
        assert node.process
        pids = {replica.log.stem: replica.process.pid for replica in crowd.replicas} | {"nats": node.process.pid}
        asked, expected = asyncio.run(questions.learned(crowd.urls))
        load = stack.enter_context(Load(crowd.urls, asked, expected, given.rate, poll=2.0))
        series, found = watched(load, pids, given)
    (given.out.with_suffix(".svg")).write_text(
        memory.drawn(series, f"PSS of each process, {given.rate:g} searches a second")
    )
    print(table([found]), end="")
    grown = list(verdicts(series))
    print("verdict:", "not steady, or requests failed" if any(grown) or found.failures + found.wrong else "steady")
    return int(any(grown) or found.failures + found.wrong > 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.fault.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=50.0, help="searches a second (default: %(default)s)")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between samples (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("soak.csv"), help="the CSV; the curve lies beside it")
    parser.add_argument("--together", action="store_true", help="four processes instead of ten")
    return parser.parse_args()


def watched(load: Load, pids: Mapping[str, int], given: argparse.Namespace) -> tuple[memory.Series, Record]:
    """The memory of each process over time, and what came of all requests."""
    series: dict[str, list[tuple[float, float]]] = defaultdict(list)
    outcomes = Counter[str]()
    slowest: list[Sample] = []
    start = monotonic()
    with given.out.open("w", newline="") as file, tqdm(total=round(60 * given.minutes), unit="s") as bar:
        rows = csv.writer(file)
        rows.writerow(HEADINGS)
        while (passed := monotonic() - start) < 60 * given.minutes:
            load.run(min(given.every, 60 * given.minutes - passed))
            samples = load.taken()
            outcomes.update(sample.outcome for sample in samples)
            slowest += samples
            now = monotonic() - start
            for name, pid in pids.items():
                used = memory.proportional(pid)
                series[name].append((now, used / memory.MIB))
                rows.writerow((f"{now:.0f}", name, used, outcomes["ok"], outcomes.total() - outcomes["ok"]))
            file.flush()
            bar.update(round(now) - bar.n)
    return series, record(f"{given.minutes:g} minutes, no fault", slowest, [(start, inf)])


def verdicts(series: memory.Series) -> Iterator[bool]:
    """Whether each process of ours grows; says so. nats-server's heap goes up and down as Go collects it."""
    for name, points in series.items():
        risen, used = memory.growth(points), points[-1][1]
        grows = name != "nats" and risen > GROWN and risen > SHARE * used
        said = "it has ended" if not used else "it grows" if grows else ""
        print(f"{name:20} {used:7.1f} MiB, {risen:+6.2f} in the last half {said}")
        yield bool(said)


if __name__ == "__main__":
    sys.exit(main())
