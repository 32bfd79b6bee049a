"""What was found, and how it is shown: to people, a table by subject; to machines, JSON."""

import json
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

from msgspec import Struct, to_builtins

Mark = Literal["ok", "note", "warning", "FAILED"]
COLOURS: dict[Mark, str] = {"ok": "32", "note": "36", "warning": "33", "FAILED": "1;31"}
WIDTH = 120
MARGIN = 12  # columns before what is said


class Finding(Struct, frozen=True):
    """One thing that was looked at. `about` is which of several; `next` says what to do, and stays a line."""

    mark: Mark
    about: str
    text: str
    next: str = ""


class Subject(Struct, frozen=True):
    """What was found about one subject, in order."""

    title: str
    findings: list[Finding] = []

    def ok(self, about: str, text: str) -> None:
        self.add("ok", about, text)

    def note(self, about: str, text: str, then: str = "") -> None:
        self.add("note", about, text, then)

    def warning(self, about: str, text: str, then: str) -> None:
        self.add("warning", about, text, then)

    def failed(self, about: str, text: str, then: str) -> None:
        self.add("FAILED", about, text, then)

    def add(self, mark: Mark, about: str, text: str, then: str = "") -> None:
        self.findings.append(Finding(mark, about, text, then))


def failed(subjects: Sequence[Subject]) -> bool:
    return any(finding.mark == "FAILED" for subject in subjects for finding in subject.findings)


def as_json(subjects: Sequence[Subject]) -> str:
    return json.dumps({"failed": failed(subjects), "subjects": to_builtins(subjects)}, indent=2)


def as_table(subjects: Sequence[Subject], *, colours: bool = False) -> Iterator[str]:
    """The lines of the table. What is to be copied is never broken."""
    found = Counter(finding.mark for subject in subjects for finding in subject.findings)
    for subject in subjects:
        if subject.findings:
            yield f"\n\x1b[1m{subject.title}\x1b[0m" if colours else f"\n{subject.title}"
        for finding in subject.findings:
            yield from _lines(finding, colours=colours)
    yield "\n" + ", ".join(f"{found[mark]} {mark}{_plural(mark, found[mark])}" for mark in COLOURS if found[mark])


def troubles(subjects: Sequence[Subject], most: int) -> list[str]:
    """The lines of what is not well, the worst first, and no more than so many of them."""
    bad = [
        one for mark in ("FAILED", "warning") for subject in subjects for one in subject.findings if one.mark == mark
    ]
    more = [f"  and {len(bad) - most} more"] if len(bad) > most else []
    return [line for finding in bad[:most] for line in _lines(finding, colours=False)] + more


def _plural(mark: Mark, number: int) -> str:
    return "s" if mark in {"note", "warning"} and number != 1 else ""


def _lines(finding: Finding, *, colours: bool) -> Iterator[str]:
    said = f"{finding.about}: {finding.text}" if finding.about else finding.text
    first, *others = textwrap.wrap(said, WIDTH - MARGIN, break_long_words=False, break_on_hyphens=False) or [""]
    mark = f"{finding.mark:9}"
    yield f"  \x1b[{COLOURS[finding.mark]}m{mark}\x1b[0m {first}" if colours else f"  {mark} {first}"
    yield from (f"{'':{MARGIN}}{line}" for line in others)
    if finding.next:
        yield f"{'':{MARGIN}}→ {finding.next}"
