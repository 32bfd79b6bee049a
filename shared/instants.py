"""Instants as Prefect reads them from JSON, and as it prints them.

Three forms are read: Unix time (a number, or a string that is one; seconds up to 2e10, milliseconds beyond), a date
(midnight), and a date with a time and an optional zone. Without a zone it is UTC. The looser ISO forms that Prefect
takes only on Python 3.12 and older are refused.
"""

import math
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)", re.ASCII)
_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)", re.ASCII)
_MOMENT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt _](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?([Zz]|([+\u2212-])(\d\d):?(\d\d))?", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS_UP_TO = 20_000_000_000


def parse(value: Any) -> datetime:
    """The instant that a JSON value (or a datetime) means, with its own offset kept.

    Raises ValueError when it means none, or one outside the years 1 to 9999 in UTC.
    """
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=UTC)
    elif isinstance(value, str):
        moment = _from_text(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        moment = _from_number(value)
    else:
        raise ValueError("value is not a valid datetime")
    _within_the_calendar(moment)
    return moment


def render(moment: datetime) -> str:
    """ISO 8601 as Prefect prints it: `Z` for UTC, no fraction or six digits."""
    return moment.isoformat().removesuffix("+00:00") + ("Z" if not moment.utcoffset() else "")


def _from_text(text: str) -> datetime:
    if _NUMBER.fullmatch(text):
        return _from_number(float(text))
    if date := _DATE.fullmatch(text):
        year, month, day = map(int, date.groups())
        return datetime(year, month, day, tzinfo=UTC)
    if not (found := _MOMENT.fullmatch(text)):
        raise ValueError(f"Unable to parse string [{text}]")
    year, month, day, hour, minute = map(int, found.groups()[:5])
    second, fraction, zone = found[6], found[7], found[8]
    micro = int((fraction or "0")[:6].ljust(6, "0"))
    tz = _zone(found[9], int(found[10]), int(found[11])) if zone and zone not in "Zz" else UTC
    return datetime(year, month, day, hour, minute, int(second or 0), micro, tzinfo=tz)


def _zone(sign: str, hours: int, minutes: int) -> timezone:
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(offset if sign == "+" else -offset) if offset else UTC


def _from_number(number: float) -> datetime:
    if not math.isfinite(number):
        raise ValueError("value is not a valid datetime")
    unit = "seconds" if abs(number) <= _SECONDS_UP_TO else "milliseconds"
    try:
        return _EPOCH + timedelta(**{unit: number})
    except OverflowError:
        raise ValueError("the instant is outside the years 1 to 9999") from None


def _within_the_calendar(moment: datetime) -> None:
    try:
        moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("the instant is outside the years 1 to 9999") from None
