"""The short form of `make fuzz`: the same code, fewer requests. CLASSIS_FUZZ_REQUESTS and CLASSIS_FUZZ_SEED change it."""

import os
from collections.abc import Iterator

import pytest

from shared.contract import ERROR_NAME, FLOWS, READY, Readiness
from tests.fuzz import by_bus, by_http
from tests.fuzz.ground import Ground, ground
from tests.fuzz.kinds import READ, SENT, Kind, number
from tests.fuzz.tally import Tally
from tests.fuzz.wire import nats

REQUESTS = int(os.environ.get("CLASSIS_FUZZ_REQUESTS", "3000"))
SEED = int(os.environ.get("CLASSIS_FUZZ_SEED", "1"))


@pytest.fixture(scope="module")
def made() -> Iterator[Ground]:
    with ground() as fuzzed:
        yield fuzzed


@pytest.mark.parametrize("kind", [*SENT, READ], ids=lambda kind: kind.name)
def test_nothing_unexpected_happens(made: Ground, kind: Kind) -> None:
    tally = Tally(kind.name)
    kind.run(made, tally, number(kind, REQUESTS), SEED)
    made.check()
    assert tally.requests >= number(kind, REQUESTS) // 2
    assert (tally.failed, tally.crashes, tally.leaks) == (0, 0, 0)


def test_a_body_above_the_largest_is_413_however_it_comes(made: Ground) -> None:
    assert {status for _, status in by_http.hygiene(made)} == {413}


@pytest.mark.parametrize("block", by_bus.BLOCKS, ids=lambda block: repr(block[:20]))
def test_headers_that_are_none_leave_no_service_deaf(made: Ground, block: bytes) -> None:
    with nats(made.fleet.nats_url) as line:
        line.publish(FLOWS.subject, b"", block)
        reply = line.ask(READY[FLOWS.service].subject, by_bus.encode(Readiness(within=2.0)), within=2.0)
    assert reply
    assert reply.status == 200
    made.check()


def test_a_key_that_is_no_text_is_refused(made: Ground) -> None:
    with nats(made.fleet.nats_url) as line:
        reply = line.ask(FLOWS.subject, b"\x81\xa2\xff\xfe\x01")
    assert reply
    assert (reply.status, reply.headers[ERROR_NAME]) == (400, "Malformed")
