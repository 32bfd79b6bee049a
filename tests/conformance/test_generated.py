"""Thousands of generated searches, asked of the real server and of ours: the same answers.

CLASSIS_CONFORMANCE_REQUESTS sets how many, CLASSIS_CONFORMANCE_SEED which; CLASSIS_CONFORMANCE_ONLY repeats one.
"""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from tests.conformance.compare import differences
from tests.conformance.generate import Generator, stories
from tests.conformance.wire import Answer, Request, search, send, send_to_all

REQUESTS = int(os.environ.get("CLASSIS_CONFORMANCE_REQUESTS", "2500"))
SEED = int(os.environ.get("CLASSIS_CONFORMANCE_SEED", "1"))
ONLY = os.environ.get("CLASSIS_CONFORMANCE_ONLY")
IN_FLIGHT = 4  # the oracle is one process; more only makes each wait longer
SHOWN = 20
TELLING = 0.5  # the share of counted answers that must be neither empty nor everything


@dataclass
class Tally:
    """What a run was worth: how much of it was valid, and how much of that said anything."""

    everything: int
    asked: int = 0
    valid: int = 0
    counted: int = 0
    telling: int = 0
    different: list[str] = field(default_factory=list)

    def add(self, theirs: Answer) -> None:
        self.asked += 1
        self.valid += theirs.status == 200
        matches = theirs.json.get("count") if isinstance(theirs.json, dict) else theirs.json
        if theirs.status == 200 and isinstance(matches, int):
            self.counted += 1
            self.telling += 0 < matches < self.everything

    def __str__(self) -> str:
        return (
            f"conformance: {self.asked} generated requests (seed {SEED}), {self.valid} valid, "
            f"{self.telling / max(1, self.counted):.0%} of {self.counted} counts neither empty nor everything, "
            f"{len(self.different)} differences"
        )


@pytest.mark.timeout(600)
def test_generated_searches(
    seeded_dsn: str, fleet_on_seeded: str, oracle_on_seeded: str, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = Generator(SEED, asyncio.run(stories(seeded_dsn)))
    numbers = [int(ONLY)] if ONLY else range(REQUESTS)
    requests = [generator.request(number) for number in numbers]
    answers = asyncio.run(send_to_all((fleet_on_seeded, oracle_on_seeded), requests, IN_FLIGHT))
    tally = Tally(send(oracle_on_seeded, search("POST", "/api/deployments/count", {})).json)
    for number, request, (ours, theirs) in zip(numbers, requests, answers, strict=True):
        tally.add(theirs)
        if found := differences(request, ours, theirs):
            tally.different.append(_told(number, request, found, ours, theirs))
    with capsys.disabled():
        print(f"\n{tally}")
    assert not tally.different, _report(tally.different)
    assert ONLY or tally.telling >= TELLING * tally.counted, "the data and the requests do not fit each other"


def _told(number: int, request: Request, found: Sequence[str], ours: Answer, theirs: Answer) -> str:
    again = (
        f"CLASSIS_CONFORMANCE_SEED={SEED} CLASSIS_CONFORMANCE_ONLY={number} pytest tests/conformance/test_generated.py"
    )
    return "\n".join([f"#{number} {request}", *found, f"ours:   {ours}", f"theirs: {theirs}", f"again:  {again}"])


def _report(different: Sequence[str]) -> str:
    return "\n\n".join([f"{len(different)} answers differ", *different[:SHOWN]])
