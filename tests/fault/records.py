"""What came of a fault: counts and times, as a line of a table."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

OK, WRONG = "ok", "wrong"
Mark = tuple[float, float]  # from something that happened until it was steady again


class Sample(NamedTuple):
    """One request. `outcome` is "ok", "wrong" (a 200 with another body), a status, or how the connection failed."""

    question: str
    at: float  # when it was due, on the loop's clock
    took: float
    outcome: str


@dataclass
class Record:
    """All rounds of one fault. Times are seconds; percentiles are of the requests that were answered well."""

    fault: str
    rounds: int
    requests: int
    failed: Counter[str]
    wrong: int
    p50: float
    p99: float
    worst: float  # of all, failed ones too
    recovered: float  # the longest time from a mark to the last request after it that did not go well
    notes: list[str] = field(default_factory=list)

    @property
    def failures(self) -> int:
        return self.failed.total()


def record(fault: str, samples: Sequence[Sample], marks: Sequence[Mark]) -> Record:
    good = sorted(sample.took for sample in samples if sample.outcome == OK)
    bad = [sample for sample in samples if sample.outcome != OK]
    return Record(
        fault,
        len(marks),
        len(samples),
        Counter(sample.outcome for sample in bad if sample.outcome != WRONG),
        sum(sample.outcome == WRONG for sample in bad),
        percentile(good, 0.5),
        percentile(good, 0.99),
        max((sample.took for sample in samples), default=math.nan),
        max(_recoveries(bad, marks), default=0.0),
    )


def _recoveries(bad: Sequence[Sample], marks: Sequence[Mark]) -> Iterable[float]:
    for start, end in marks:
        yield from (sample.at - start for sample in bad if start <= sample.at < end)


def percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else math.nan


HEADINGS = (
    "fault",
    "rounds",
    "requests",
    "failed",
    "wrong",
    "p50 ms",
    "p99 ms",
    "worst ms",
    "recovered after",
    "notes",
)


def table(records: Iterable[Record]) -> str:
    """Markdown."""
    lines = [HEADINGS, ("---", *["---:"] * 8, "---"), *map(_cells, records)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _cells(found: Record) -> tuple[str, ...]:
    failed = ", ".join(f"{count} × {outcome}" for outcome, count in sorted(found.failed.items())) or "0"
    times = (f"{1000 * time:.0f}" for time in (found.p50, found.p99, found.worst))
    recovered = f"{found.recovered:.1f} s" if found.failures or found.wrong else "–"
    notes = "; ".join(found.notes)
    return found.fault, str(found.rounds), f"{found.requests:,}", failed, str(found.wrong), *times, recovered, notes
