"""What we answer otherwise, on purpose: that Prefect still does what the table says, and that we do what it says."""

import json
import time
from dataclasses import replace
from itertools import chain, groupby

import pytest

from shared.agreement import SORT_KEYS
from tests import fleet
from tests.conformance.asking import COUNT, FILTER, PAGE, Case, ask, dep, get
from tests.conformance.deviations import DEVIATIONS, METHODS, Deviation
from tests.conformance.wire import Answer, search, send
from tests.relay import Relay

PROMPT = 8.0  # seconds, of a deadline of 10, within which a lost database must be told


@pytest.mark.parametrize("deviation", DEVIATIONS, ids=lambda deviation: deviation.name)
def test_deviation(deviation: Deviation, fleet_on_fixture: str, oracle_on_fixture: str) -> None:
    theirs = send(oracle_on_fixture, deviation.request)
    assert theirs.status == deviation.theirs, theirs
    ours = send(fleet_on_fixture, deviation.request)
    assert ours.status == deviation.ours, f"{deviation.request}\n{ours}"
    if deviation.problem:
        _assert_told(ours)


def _assert_told(answer: Answer) -> None:
    """A list of errors in the usual shape, in JSON that any client can read."""
    assert list(answer.json) == ["exception_message", "exception_detail", "request_body"]
    for error in answer.json["exception_detail"]:
        assert list(error)[:4] == ["type", "loc", "msg", "input"]
        assert error["loc"][0] == "body"
    assert json.dumps(answer.json, allow_nan=False) and answer.body.decode()


@pytest.mark.parametrize("deviation", METHODS, ids=lambda deviation: deviation.name)
def test_allowed_methods_of_a_row(deviation: Deviation, fleet_on_fixture: str, oracle_on_fixture: str) -> None:
    theirs, ours = send(oracle_on_fixture, deviation.request), send(fleet_on_fixture, deviation.request)
    assert (theirs.status, theirs.headers["allow"]) == (405, "PATCH")
    assert (ours.status, ours.headers["allow"]) == (405, "GET")
    assert ours.body == theirs.body


@pytest.mark.parametrize("sort", SORT_KEYS)
def test_ties_are_broken_by_id(sort: str, fleet_on_fixture: str) -> None:
    """Pages of one row neither repeat nor skip, and equal rows stand in the order of their ids."""
    whole = send(fleet_on_fixture, search("POST", FILTER, {"sort": sort})).json
    pages = [
        send(fleet_on_fixture, search("POST", FILTER, {"sort": sort, "limit": 1, "offset": n})).json
        for n in range(len(whole))
    ]
    assert [row["id"] for row in chain.from_iterable(pages)] == [row["id"] for row in whole]
    for _, tied in groupby(whole, key=lambda row: row[SORT_KEYS[sort]]):
        ids = [row["id"] for row in tied]
        assert ids == sorted(ids)


@pytest.mark.parametrize(
    "case",
    [ask("filter", {"limit": 3}), ask("paginate", {"limit": 3}, PAGE), ask("count", {}, COUNT), get("row", dep(1))],
)
def test_validators_are_an_addition(case: Case, fleet_on_fixture: str, oracle_on_fixture: str) -> None:
    """Prefect has none and pays no attention to them; we spare a client what it has already."""
    theirs, ours = send(oracle_on_fixture, case.request), send(fleet_on_fixture, case.request)
    assert "etag" not in theirs.headers
    known = replace(case.request, headers={**case.request.headers, "if-none-match": ours.headers["etag"]})
    assert send(oracle_on_fixture, known).body == theirs.body
    again = send(fleet_on_fixture, known)
    assert (again.status, again.raw, again.headers["etag"]) == (304, b"", ours.headers["etag"])


LOST: list[Case] = [
    ask("filter", {}),
    ask("count", {"flow_runs": {}}, COUNT),
    ask("paginate", {"flows": {}, "work_pools": {}}, PAGE),
    get("row", dep(1)),
    get("by_name", "name/alpha-etl/daily"),
]


def test_unreachable_database(fixture_line: Relay, fleet_on_fixture: str, oracle_on_fixture: str) -> None:
    """Prefect says 500, which its client does not retry; we say 503 and when to come back, and then work again."""
    fixture_line.cut()
    try:
        for case in LOST:
            assert send(oracle_on_fixture, case.request).status in (500, 503), case.name
            started = time.monotonic()
            ours = send(fleet_on_fixture, case.request)
            assert (ours.status, ours.json) == (503, {"exception_message": "Service Unavailable"}), case.name
            assert int(ours.headers["retry-after"]) >= 0
            assert time.monotonic() - started < PROMPT, case.name
        assert send(fleet_on_fixture, search("POST", FILTER, {"offset": -1})).status == 422
    finally:
        fixture_line.mend()
    for url in (fleet_on_fixture, oracle_on_fixture):
        fleet.wait_until_ready(url)
    send(oracle_on_fixture, LOST[0].request)  # may still meet a dead connection
    for url in (fleet_on_fixture, oracle_on_fixture):
        assert send(url, LOST[0].request).status == 200
