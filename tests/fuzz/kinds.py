"""The kinds of fuzzing, as a table: what `make fuzz` and `make test` run."""

from collections.abc import Callable
from typing import NamedTuple

from tests.fuzz import by_bus, by_document, by_http, decoders
from tests.fuzz.ground import Ground
from tests.fuzz.tally import Tally


class Kind(NamedTuple):
    """`share` is a part of the requests; `least` is what even a short run asks."""

    name: str
    run: Callable[[Ground, Tally, int, int], None]
    share: float
    least: int = 100


SENT = (  # to a fleet
    Kind("HTTP: bodies", by_http.with_bodies, 0.42),
    Kind("HTTP: envelopes", by_http.with_envelopes, 0.06),
    Kind("HTTP: raw bytes", by_http.with_frames, 0.02),
    Kind("HTTP: schemathesis", by_document.with_document, 0.04),
    Kind("bus: public subjects", by_bus.with_searches, 0.18),
    Kind("bus: internal subjects", by_bus.with_internals, 0.20),
    Kind("bus: all other subjects", by_bus.with_others, 0.08),
)
READ = Kind("decoders: Hypothesis", decoders.with_decoders, 1.0)
COVERED = Kind("decoders: atheris", decoders.with_coverage, 1.0)  # needs requirements/fuzz.txt


def number(kind: Kind, requests: int) -> int:
    return max(kind.least, round(kind.share * requests))
