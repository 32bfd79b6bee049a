"""What a run leaves behind: one JSON file a size, which the report, the plot and later runs read."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct, field, json

from bench.floor import Choices

FOLDER = Path(__file__).parent / "results"
Samples = dict[str, list[float]]  # contender → milliseconds
Refusals = dict[str, dict[str, str]]  # shape → contender → what it said instead of an answer


class Cell(Struct, kw_only=True):
    """One contender under one load."""

    workload: str
    bodies: str  # "same" or "distinct"
    concurrency: int
    contender: str
    seconds: float
    requests: int
    failures: int
    p50: float
    p95: float
    p99: float
    cpu: dict[str, float]  # part → CPU milliseconds a request

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


class Gain(Struct, kw_only=True):
    """One index: what it weighs, and what the shapes it is for take without it and with it."""

    statement: str
    built_in: float  # seconds
    size: str
    before: dict[str, Samples]  # shape → contender → milliseconds
    after: dict[str, Samples]


class Results(Struct, kw_only=True):
    """All about one size. A phase that is run again replaces what it found before."""

    size: str
    taken: dict[str, str] = field(default_factory=dict)  # phase → when, and of which commit
    machine: dict[str, str] = field(default_factory=dict)
    postgres: dict[str, str] = field(default_factory=dict)
    floor: Choices = field(default_factory=dict)
    latency: dict[str, Samples] = field(default_factory=dict)  # shape → contender → milliseconds
    refusals: Refusals = field(default_factory=dict)
    throughput: list[Cell] = field(default_factory=list)
    memory: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)  # contender → when → part → MB
    indexes: list[Gain] = field(default_factory=list)

    def stamp(self, phase: str) -> None:
        self.taken[phase] = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {_commit()}"


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, cwd=FOLDER.parent, check=False)
        return done.stdout.strip()

    head = git("rev-parse", "--short", "HEAD") or "no commit"
    return f"{head} with changes" if git("status", "--porcelain", "--", "services", "shared") else head


def read(size: str, folder: Path = FOLDER) -> Results:
    """What is known about a size, which may be nothing."""
    path = folder / f"{size}.json"
    return json.decode(path.read_bytes(), type=Results) if path.exists() else Results(size=size)


def write(results: Results, folder: Path = FOLDER) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f"{results.size}.json.new"
    draft.write_bytes(json.format(json.encode(results), indent=1) + b"\n")
    draft.rename(folder / f"{results.size}.json")
