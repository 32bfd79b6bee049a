"""Rows of Postgres to the public JSON of a deployment.

What users stored in jsonb columns is passed on as Postgres prints it, without blanks; only numbers with a decimal point
are printed anew, because Prefect reads them as 64-bit floats. Objects whose keys have a fixed order are read and
rebuilt. A stored value that Prefect would fail on is passed on as it is: one odd row must not cost its neighbours.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import msgspec
from msgspec import Raw

from shared import instants
from shared.deployment import Actor, ConcurrencyLimit, ConcurrencyOptions, Deployment, Schedule
from shared.postgres import Record

_DECIMAL = re.compile(r"\.\d+(?:$|[,}\]])")  # every decimal in jsonb's text ends so, and few strings hold the like
_STRING_OR_DECIMAL = re.compile(r'"(?:[^"\\]++|\\.)*+"|-?\d++\.\d++')
_EMPTY = Raw(b"{}")
TIMING = 4  # where a schedule's columns hold its interval, cron or rrule
NO_LABELS = {None, "null", "[]", "0", "0.0", "false", '""'}
_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?|(\d+):(\d\d):(\d\d(?:\.\d+)?)")

encode = msgspec.json.Encoder().encode


def passed(text: str | None) -> Raw | None:
    """A jsonb value as it goes out, or None for SQL NULL."""
    if text is None:
        return None
    compact = msgspec.json.format(text, indent=-1) if " " in text else text
    return Raw(_STRING_OR_DECIMAL.sub(_reprinted, compact) if _DECIMAL.search(compact) else compact)


def _reprinted(token: re.Match[str]) -> str:
    """A decimal as a 64-bit float is printed; a string as it is."""
    text = token[0]
    return text if text[0] == '"' else _float(float(text))


def _float(number: float) -> str:
    """A float as Prefect prints it: the shortest digits, a sign in every exponent, null for what JSON cannot say."""
    if not math.isfinite(number):
        return "null"
    mantissa, e, exponent = encode(number).decode().partition("e")
    return f"{mantissa}e+{exponent}" if e and exponent[0] != "-" else f"{mantissa}{e}{exponent}"


def _moment(stored: datetime) -> datetime:
    """An instant with its zone, which the driver leaves out for the two infinities."""
    return stored if stored.tzinfo else stored.replace(tzinfo=UTC)


def _labels(text: str | None) -> Raw:
    return _EMPTY if text in NO_LABELS else passed(text) or _EMPTY


def _rebuilt(text: str | None, rebuild: Callable[[Mapping[str, Any]], Any]) -> Any:
    """A stored object, rebuilt; what cannot be goes out as it is stored."""
    if text is None:
        return None
    try:
        stored = json.loads(text)
        return rebuild(stored) if isinstance(stored, dict) else passed(text)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return passed(text)


def _actor(stored: Mapping[str, Any]) -> Actor:
    return Actor(_id(stored.get("id")), stored.get("type"), stored.get("display_value"))


def _id(stored: Any) -> Any:
    try:
        return UUID(stored)
    except (TypeError, ValueError, AttributeError):
        return stored


def _options(stored: Mapping[str, Any]) -> ConcurrencyOptions:
    period = stored.get("grace_period_seconds")
    if isinstance(period, float) and period.is_integer():
        period = int(period)
    return ConcurrencyOptions(stored.get("collision_strategy"), period)


# --- schedules: three kinds, told apart by their keys, with defaults for keys that older writers left out


def _timing(stored: Mapping[str, Any]) -> Raw:
    for kind, rebuild in (("interval", _interval), ("cron", _cron), ("rrule", _rrule)):
        if kind in stored:
            return Raw(encode(rebuild(stored)))
    raise ValueError("no known kind of schedule")


def _interval(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "interval": _seconds(stored["interval"]),
        "anchor_date": _anchor(stored.get("anchor_date")),
        "timezone": "UTC" if stored.get("timezone") is None else stored["timezone"],
    }


def _cron(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {"cron": stored["cron"], "timezone": stored.get("timezone"), "day_or": stored.get("day_or", True)}


def _rrule(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {"rrule": stored["rrule"], "timezone": stored.get("timezone", "UTC")}


def _seconds(interval: Any) -> Any:
    """Seconds as a float of whole microseconds, from a number, `PT1H` or `01:00:00`."""
    if isinstance(interval, int | float):
        return timedelta(seconds=interval).total_seconds()
    if isinstance(interval, str) and (found := _DURATION.fullmatch(interval)):
        days, *iso, hours, minutes, seconds = found.groups()
        clock = iso if hours is None else (hours, minutes, seconds)
        parts = (float(part or 0) for part in (days, *clock))
        return timedelta(**dict(zip(("days", "hours", "minutes", "seconds"), parts, strict=True))).total_seconds()
    return interval


def _anchor(stored: Any) -> Any:
    """The anchor with the offset it was stored with; without one it is now, in Prefect too."""
    if stored is None:
        return instants.render(datetime.now(UTC))
    try:
        return instants.render(instants.parse(stored))
    except ValueError:
        return stored


def schedule(stored: Sequence[Any]) -> Schedule:
    """From the columns of its row, which are in the order of its fields."""
    key, created, updated, deployment_id, timing, active, most, parameters, slug = stored
    return Schedule(
        key,
        _moment(created),
        _moment(updated),
        deployment_id,
        _rebuilt(timing, _timing),
        active,
        most,
        passed(parameters),
        slug,
    )


def limit(stored: Sequence[Any]) -> ConcurrencyLimit:
    """From the columns of its row, which are in the order of its fields."""
    key, created, updated, active, name, most, slots, decay = stored
    printed = cast(float, Raw(_float(decay)))
    return ConcurrencyLimit(key, _moment(created), _moment(updated), active, name, most, slots, printed)


def lasting(timings: Iterable[str]) -> bool:
    """Whether schedules are printed alike tomorrow: an interval without an anchor is anchored now."""
    return all('"anchor_date": "' in timing for timing in timings if '"interval": ' in timing)


def deployment(record: Record) -> Deployment:
    """One row with what belongs to it. The linked queue's name wins over the text column."""
    return Deployment(
        id=record["id"],
        created=_moment(record["created"]),
        updated=_moment(record["updated"]),
        name=record["name"],
        version=record["version"],
        description=record["description"],
        flow_id=record["flow_id"],
        paused=record["paused"],
        schedules=[schedule(stored) for stored in record["schedules"]],
        concurrency_limit=None,
        global_concurrency_limit=limit(record["limited"]) if record["limited"] else None,
        concurrency_options=_rebuilt(record["concurrency_options"], _options),
        job_variables=passed(record["infra_overrides"]),
        parameters=passed(record["parameters"]),
        tags=passed(record["tags"]),
        labels=_labels(record["labels"]),
        work_queue_name=record["work_queue_name"] if record["queue_name"] is None else record["queue_name"],
        work_queue_id=record["work_queue_id"],
        last_polled=_moment(record["last_polled"]) if record["last_polled"] else None,
        parameter_openapi_schema=passed(record["parameter_openapi_schema"]),
        path=record["path"],
        pull_steps=passed(record["pull_steps"]),
        entrypoint=record["entrypoint"],
        storage_document_id=record["storage_document_id"],
        infrastructure_document_id=record["infrastructure_document_id"],
        created_by=_rebuilt(record["created_by"], _actor),
        updated_by=_rebuilt(record["updated_by"], _actor),
        work_pool_name=record["pool_name"],
        status=record["status"],
        enforce_parameter_schema=record["enforce_parameter_schema"],
    )
