"""Datetimes as Prefect reads and prints them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from shared import instants

MOMENT = datetime(2024, 5, 4, 10, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        "2024-05-04T10:30:00Z", "2024-05-04t10:30:00z", "2024-05-04 10:30Z", "2024-05-04_10:30", "2024-05-04T10:30:00",
        "2024-05-04T12:30:00+02:00", "2024-05-04T12:30+0200", "2024-05-04T05:00:00-05:30", "2024-05-04T10:30:00.000000999Z",
        "2024-05-04T10:30:00,0Z", 1714818600, 1714818600.0, "1714818600", "+1714818600", 1714818600000, "1714818600000",
    ],
)  # fmt: skip
def test_one_moment_in_many_spellings(value: Any) -> None:
    assert instants.parse(value) == MOMENT


def test_dates_and_fractions() -> None:
    assert instants.parse("2024-05-04") == datetime(2024, 5, 4, tzinfo=UTC)
    assert instants.parse("2024-05-04T00:00:00.1234567Z").microsecond == 123456
    assert instants.parse("1.5") == datetime(1970, 1, 1, 0, 0, 1, 500000, tzinfo=UTC)
    assert instants.parse(-1) == datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert instants.parse(20_000_000_000).year == 2603
    assert instants.parse(20_000_000_001).year == 1970


@pytest.mark.parametrize(
    "value",
    [
        "", " 2024-05-04", "2024-05-04 ", "2024-05-04T10:30:00 UTC", "2024-05-04T24:00:00Z", "2024-05-04T10:30:60Z",
        "2024-5-4", "0000-01-01", "10000-01-01", "P1D", "now", "May 4 2024", "20240504T103000Z", "2024-W18-6", "2024-125",
        "2024-05-04T10:30:00+24:00", "2024-13-01", "2024-05-04T10:30:00.Z", True, False, None, [], {}, 1e300, float("nan"),
        float("inf"), "0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00", "٢٠٢٤-05-04",
    ],
)  # fmt: skip
def test_what_is_no_moment(value: Any) -> None:
    with pytest.raises(ValueError):
        instants.parse(value)


@pytest.mark.parametrize(
    "text", ["2024-01-01T00:00:00Z", "2024-01-01T00:00:00+02:00", "2024-01-01T00:00:00.500000Z", "0001-01-01T00:00:00Z"]
)
def test_printing_keeps_the_offset_and_six_digits(text: str) -> None:
    assert instants.render(instants.parse(text)) == text
