"""The cases: one request each, on the data set of fixture.sql, grouped under the rule that they hold.

Both servers get the same request; what must be equal is told by `compare` (see compare.py). Nothing is recorded here:
the oracle says what is right.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain

from tests.conformance.asking import Case
from tests.conformance.cases import bodies, envelope, filters, rows, scalars


def _unique(cases: Iterable[Case]) -> Iterator[Case]:
    """The same cases; where two share a name the later one gets a number."""
    seen: dict[str, int] = {}
    for case in cases:
        seen[case.name] = seen.get(case.name, 0) + 1
        yield case if seen[case.name] == 1 else replace(case, name=f"{case.name}#{seen[case.name]}")


CASES = list(
    _unique(chain(*bodies.CASES, *scalars.CASES, *filters.CASES, *rows.CASES, *envelope.CASES)),
)
