"""When two answers are alike, and where they part when they are not."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared import agreement
from shared.agreement import Reply, difference
from shared.differences import SHOWN, Difference, first

Row = dict[str, Any]


def row(number: int, name: str = "a", **more: Any) -> Row:
    stamps = {"created": "2026-05-01T00:00:00Z", "updated": "2026-05-01T00:00:00Z"}
    return {"id": f"00000de9-0000-4000-8000-{number:012}", "name": name, **stamps, "schedules": [], **more}


def found(one: Any, other: Any, asked: object = None) -> Difference | None:
    mine, theirs = (Reply(200, json.dumps(each).encode()) for each in (one, other))
    return difference(json.dumps(asked or {}).encode(), mine, theirs, most=5)


# --- values


@pytest.mark.parametrize(
    ("one", "other", "place"),
    [
        (1, 2, "$"),
        (1, 1.0, "$"),
        (1, True, "$"),
        (None, False, "$"),
        ([1, 2], [1, 3], "$[1]"),
        ([1], [1, 2], "$"),
        ({"a": {"b c": [0, "x"]}}, {"a": {"b c": [0, "y"]}}, '$.a["b c"][1]'),
        ({"a": 1}, {"a": 1, "b": 2}, "$.b"),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, "$ (order)"),
    ],
)
def test_the_first_place_that_differs(one: Any, other: Any, place: str) -> None:
    parted = first(one, other)
    assert parted
    assert parted.place == place
    assert first(one, one) is first(other, other) is None


def test_spelling_is_no_difference() -> None:
    assert difference(b"", Reply(200, b'{"a":[1.50,"\\u00fc"]}'), Reply(200, '{"a": [1.5, "ü"]}'.encode())) is None


def test_long_values_are_shown_where_they_part() -> None:
    parted = first("x" * 5000 + "ours" + "y" * 5000, "x" * 5000 + "theirs" + "y" * 5000)
    assert parted
    assert "xours" in parted.one
    assert "xtheirs" in parted.other
    assert len(parted.one) <= SHOWN + 2


def test_what_cannot_be_walked_is_still_different() -> None:
    deep = [b"[" * 5000 + number + b"]" * 5000 for number in (b"1", b"2")]
    assert difference(b"", Reply(200, deep[0]), Reply(200, deep[1]))
    assert difference(b"", Reply(200, b"\xff"), Reply(200, b"no JSON"))


# --- pages


def test_equal_rows_stand_in_any_order() -> None:
    assert found([row(1), row(2), row(3, "b")], [row(2), row(1), row(3, "b")]) is None
    assert found({"results": [row(1), row(2)], "count": 2}, {"results": [row(2), row(1)], "count": 2}) is None
    assert found([row(1), row(2, "b")], [row(2, "b"), row(1)])
    assert found([row(1, created="1"), row(2, created="2")], [row(2, created="2"), row(1, created="1")]) is None
    by_time = {"sort": "CREATED_DESC"}
    assert found([row(1, created="1"), row(2, created="2")], [row(2, created="2"), row(1, created="1")], by_time)


@pytest.mark.parametrize(
    ("asked", "alike"),
    [({"limit": 2}, True), ({"limit": "2.0"}, True), ({"limit": 3}, False), ({}, False), ({"offset": 1}, True),
     ({"page": 2}, True), ({"page": 1}, False)],
)  # fmt: skip
def test_a_page_may_cut_through_equal_rows(asked: Row, alike: bool) -> None:
    parted = found([row(1), row(2)], [row(1), row(3)], asked)
    assert (parted is None) == alike
    assert parted is None or parted.place == "$[1].id"


def test_a_search_without_a_limit_is_cut_by_the_server() -> None:
    same = [row(number) for number in range(4)]
    assert found([*same, row(8)], [*same, row(9)]) is None
    assert found([*same[1:], row(8)], [*same[1:], row(9)])


def test_a_row_that_differs_is_found_wherever_it_stands() -> None:
    parted = found([row(1), row(2, paused=True)], [row(2, paused=False), row(1)])
    assert parted == Difference("$[1].paused", "true", "false")
    parted = found({"count": 1, "results": [row(1, tags=["a"])]}, {"count": 1, "results": [row(1, tags=["b"])]})
    assert parted == Difference("$.results[0].tags[0]", '"a"', '"b"')
    assert found(row(1, paused=True), row(1, paused=False)) == Difference("$.paused", "true", "false")


def test_counts_and_numbers_of_rows() -> None:
    assert found({"results": [], "count": 1}, {"results": [], "count": 2}) == Difference("$.count", "1", "2")
    assert found([row(1)], [row(1), row(2)]) == Difference("$", "1 items", "2 items")
    assert found([row(1)], {"results": [row(1)], "count": 1})


def schedule(number: int, **more: Any) -> Row:
    return {"id": str(number), "updated": "2026-05-01", "schedule": {"interval": 60, **more}}


def test_schedules() -> None:
    one, two = schedule(1), schedule(2)
    assert found([row(1, schedules=[one, two])], [row(1, schedules=[two, one])]) is None
    recent = [(datetime.now(UTC) - timedelta(seconds=ago)).isoformat() for ago in (0, 9, 9000)]
    made = [[row(1, schedules=[schedule(1, anchor_date=moment)])] for moment in recent]
    assert found(made[0], made[1]) is None
    parted = found(made[0], made[2])
    assert parted
    assert parted.place == "$[0].schedules[0].schedule.anchor_date"


@pytest.mark.parametrize(
    "odd", [None, 1, ["x"], [{"id": 1}], [schedule(1, anchor_date="x")], [schedule(1) | {"schedule": 1}]]
)
def test_rows_that_no_server_should_send(odd: Any) -> None:
    assert found([row(1, schedules=odd)], [row(1, schedules=odd, paused=True)])
    assert found([{"id": 1}], [{"id": 2}])


# --- refusals


def refusal(kind: str, place: str, message: str) -> Reply:
    error = {"type": kind, "loc": ["body", place], "msg": message, "input": 1}
    return Reply(422, json.dumps({"exception_message": "Invalid", "exception_detail": [error]}).encode())


def test_refusals_are_alike_by_status_type_and_place() -> None:
    known = refusal("missing", "limit", "Field required")
    assert difference(b"", known, refusal("missing", "limit", "another wording")) is None
    assert difference(b"", known, refusal("missing", "page", "Field required"))
    assert difference(b"", known, refusal("int_type", "limit", "Field required"))
    assert difference(b"", known, Reply(400, known.body)) == Difference("status", "422", "400")
    one, other = (Reply(404, json.dumps({"detail": text}).encode()) for text in ("Not Found", "Deployment not found"))
    assert difference(b"", one, other)


# --- what stays


class Saying:
    """A server that says one after the other, the last one for ever."""

    def __init__(self, *said: int) -> None:
        self._said: Iterator[int] = iter(said)
        self._last = 0
        self.asked = 0

    async def __call__(self) -> Reply:
        self.asked += 1
        self._last = next(self._said, self._last)
        return Reply(200, str(self._last).encode())


async def compare(one: Reply, other: Reply) -> Difference | None:
    return difference(b"", one, other)


@pytest.mark.parametrize(
    ("one", "other", "outcome", "asked"),
    [
        ([1], [1], "same", (1, 1)),
        ([1], [2], "different", (3, 2)),
        ([1, 2], [2], "moved", (2, 1)),
        ([2], [1, 2], "moved", (2, 2)),
        ([1, 2, 3], [9], "moved", (3, 2)),  # what moves all the time proves nothing
        ([1, 2], [9], "different", (3, 2)),
    ],
)
async def test_only_what_stays_is_a_difference(
    one: list[int], other: list[int], outcome: str, asked: tuple[int, int]
) -> None:
    ours, theirs = Saying(*one), Saying(*other)
    given, parted = await agreement.settled(ours, theirs, compare)
    assert (given, parted is not None) == (outcome, outcome == "different")
    assert (ours.asked, theirs.asked) == asked
