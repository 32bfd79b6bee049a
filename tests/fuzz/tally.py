"""What a kind of fuzzing found: answers by status, crashes, and answers that tell of our inside."""

import builtins
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import asyncpg
import nats.errors

ROOT = Path(__file__).parents[2]
COLUMNS = ("requests", "2xx", "4xx", "503", "500", "none", "crashes", "leaks")

LOOKED_AT = 32 * 1024  # bytes of an answer's beginning and of its end; between them is what was sent
_WORD = re.compile(rb"[A-Z]\w{4,}")
EXCEPTIONS = {  # the names of those of Python, asyncpg and nats-py
    name.encode()
    for module in (builtins, asyncpg.exceptions, nats.errors)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and issubclass(kind, BaseException) and name != "Error"
}


class Finding(AssertionError):
    """Something that must not happen has happened."""


@dataclass
class Tally:
    """One row of the table."""

    kind: str
    requests: int = 0
    answered: int = 0  # 2xx and 3xx
    refused: int = 0  # 4xx
    unavailable: int = 0  # 503
    failed: int = 0  # 500 and any other
    silent: int = 0  # no answer: none was asked for, or the connection was closed on what is no request
    crashes: int = 0
    leaks: int = 0
    progress: Callable[[int], object] = lambda _: None

    def add_many(self, answered: int, refused: int) -> None:
        """Counts what another process has done."""
        self.answered += answered
        self.refused += refused
        self.requests += answered + refused
        self.progress(answered + refused)

    def add(self, status: int | None, answer: bytes = b"", leaks: "Leaks | None" = None) -> None:
        """Counts one answer; None for none. Raises Finding when it is a 500 or holds what it must not hold."""
        self.requests += 1
        self.progress(1)
        if status is None:
            self.silent += 1
        elif status < 400:
            self.answered += 1
        elif status < 500:
            self.refused += 1
        elif status == 503:
            self.unavailable += 1
        else:
            self.failed += 1
            raise Finding(f"status {status}: {answer[:500]!r}")
        if leaks and (found := leaks.in_answer(answer, data=status in {200, None})):
            self.leaks += 1
            raise Finding(f"status {status} tells {found!r}: {answer[:500]!r}")

    def row(self) -> list[str]:
        return [self.kind, *(str(getattr(self, each.name)) for each in fields(self)[1:-1])]


class Leaks:
    """Words that stand in no answer. Rows of 200 hold what users stored, which may well be a path or an address."""

    def __init__(self, places: Sequence[str]) -> None:
        always = [
            r"Traceback \(most recent",
            r"\$\d+::",
            r"\bSELECT\b.{1,200}\bFROM\b",
            r"syntax error at or near",
            r'relation "',
            r"<[\w.]+ object at",
            r"\bat 0x[0-9a-f]{8,}",
            r"\bpg_\w+",
            r"asyncpg|msgspec|uvloop|site-packages",
            "|".join(map(re.escape, [*places, str(ROOT), sys.prefix])),
        ]
        refusals = [r"\b[\w/]+\.py\b", r"\bline \d+\b.*, in ", r"127\.0\.0\.1:", r"Expected `\w+`"]
        self._always = re.compile("|".join(always).encode(), re.DOTALL)
        self._refusals = re.compile("|".join([*always, *refusals]).encode(), re.DOTALL)

    def in_answer(self, answer: bytes, *, data: bool) -> bytes | None:
        """The first thing that an answer must not hold; of a long one, at its beginning and end."""
        looked = answer if len(answer) < 2 * LOOKED_AT else answer[:LOOKED_AT] + answer[-LOOKED_AT:]
        found = (self._always if data else self._refusals).search(looked)
        if found:
            return found[0]
        return None if data else next((word for word in _WORD.findall(looked) if word in EXCEPTIONS), None)


def table(tallies: Sequence[Tally]) -> str:
    """All rows and their sum, as Markdown."""
    total = Tally("all")
    for tally in tallies:
        for each in fields(Tally)[1:-1]:
            setattr(total, each.name, getattr(total, each.name) + getattr(tally, each.name))
    lines = [f"| kind | {' | '.join(COLUMNS)} |", "|---|" + "---:|" * len(COLUMNS)]
    lines += [f"| {' | '.join(tally.row())} |" for tally in [*tallies, total]]
    return "\n".join(lines) + "\n"
