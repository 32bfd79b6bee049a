"""Log lines: what they tell, and that no value breaks them."""

import io
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.logs import LINES, LONGEST, Flood, Steady, formatter
from shared.origin import request_id


class Written:
    """A logger of its own, and what it wrote."""

    def __init__(self, log_format: str, *services: str) -> None:
        self.stream = io.StringIO()
        handler = Steady(self.stream)
        handler.setFormatter(formatter(log_format, services))
        self.log = logging.Logger("services.runs.choice", logging.DEBUG)  # one that nobody shares
        self.log.addHandler(handler)

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().split("\n")[:-1]

    @property
    def last(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.lines[-1])
        return found


@pytest.fixture
def written() -> Written:
    return Written("json", "runs")


@contextmanager
def working_for(request: str) -> Iterator[None]:
    token = request_id.set(request)
    try:
        yield
    finally:
        request_id.reset(token)


def test_a_line_tells_when_where_what_and_for_whom(written: Written) -> None:
    with working_for("abc"):
        written.log.info("%s takes long: %s begins beside it", "join", "probe")
    line = written.last
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("timestamp"))
    assert line == {
        "level": "info",
        "logger": "services.runs.choice",
        "event": "join takes long: probe begins beside it",
        "request_id": "abc",
        "service": "runs",
    }


def test_without_a_request_or_with_several_services(written: Written) -> None:
    written.log.warning("lost the connection to NATS")
    assert "request_id" not in written.last
    several = Written("json", "flows", "runs")
    several.log.warning("x")
    assert several.last["service"] == "classis"


def test_an_exception_is_text_in_the_same_line(written: Written) -> None:
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        written.log.exception("it failed")
    assert len(written.lines) == 1
    assert written.last["exception"].startswith("Traceback")
    assert written.last["exception"].endswith("ValueError: first\nsecond")


@settings(deadline=None)
@given(st.one_of(st.text(), st.binary(), st.lists(st.floats())), st.sampled_from(["json", "console"]))
def test_no_value_breaks_a_line(value: object, log_format: str) -> None:
    one = Written(log_format, "runs")
    one.log.info("got %s", value)
    assert len(one.lines) == 1
    if log_format == "json":
        assert one.last["event"] == f"got {value}"
    else:
        assert one.lines[0].isprintable() or not re.search(r"[\x00-\x1f\x7f-\x9f]", one.lines[0])


def test_a_huge_value_and_a_huge_traceback_are_cut(written: Written) -> None:
    try:
        raise ValueError("y" * 10_000_000)
    except ValueError:
        written.log.exception("x" * 10_000_000)
    assert len(written.lines[-1]) < 16 * 1024
    assert written.last["event"].endswith(f"({10_000_000 - LONGEST} characters more)")
    assert written.last["exception"].startswith("… y")


class Unprintable:
    def __str__(self) -> str:
        raise ValueError("not this one")


@pytest.mark.parametrize("arguments", [("%s", Unprintable()), ("%d", "x"), ("%s %s", 1)])
def test_a_record_that_cannot_be_printed_is_told_of(written: Written, arguments: tuple[Any, ...]) -> None:
    written.log.info(*arguments)
    assert len(written.lines) == 1
    assert "test_logs.py" in written.last["event"]
    assert "cannot be printed" in written.last["event"]


def test_what_is_not_logged_is_not_even_formatted() -> None:
    one = Written("json", "runs")
    one.log.setLevel(logging.INFO)
    one.log.debug("%s", Unprintable())
    assert one.lines == []


def test_a_flood_of_lines_is_held_back_and_told() -> None:
    flood = Flood()

    def passes(second: float, level: int = logging.WARNING, line: int = 1) -> str | None:
        record = logging.LogRecord("x", level, "file.py", line, "refused %d", (7,), None)
        record.created = second
        return record.getMessage() if flood.filter(record) else None

    shown = [passes(100 + n / 1000) for n in range(500)]
    assert shown == ["refused 7"] * LINES + [None] * (500 - LINES)
    assert passes(100.6, line=2) == "refused 7", "another place has its own measure"
    assert passes(100.6, logging.DEBUG) == "refused 7"
    assert passes(101.1) == f"refused 7 (and {500 - LINES} more like it)"
    assert passes(101.2) == "refused 7"
