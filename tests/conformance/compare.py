"""What "the same answer" means.

rows    status, headers, decoded JSON with its key order; rows that are equal under the sort may stand in any order
bytes   as `rows`, and the text is the same byte for byte
types   status and, for each validation error, its type and its place
status  the status alone
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Literal
from urllib.parse import urlsplit

from tests.conformance.wire import Answer, Request

Mode = Literal["rows", "bytes", "types", "status"]
Row = dict[str, Any]

HEADERS = (
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "vary",
    "allow",
    "location",
    "www-authenticate",
    "access-control-allow-origin",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-allow-credentials",
    "access-control-expose-headers",
    "access-control-max-age",
)
SORT_KEYS = {"NAME_ASC": "name", "NAME_DESC": "name", "CREATED_DESC": "created", "UPDATED_DESC": "updated"}
# Their wording belongs to the validation library's release, not to Prefect.
LOOSELY_WORDED = {"uuid_parsing", "value_error"}
RECENT = timedelta(minutes=15)
MOST_ROWS = 200


def differences(request: Request, ours: Answer, theirs: Answer, mode: Mode = "rows") -> list[str]:
    """In words, what is not the same; nothing when the answers agree."""
    if ours.status != theirs.status:
        return [f"status {ours.status}, not {theirs.status}"]
    if mode == "status":
        return []
    if mode == "types":
        return _unequal("errors", _errors(ours), _errors(theirs))
    # Outside its API the oracle says `vary` whatever it answers.
    names = HEADERS if request.path.startswith("/api/") else [name for name in HEADERS if name != "vary"]
    found = [line for name in names for line in _unequal(name, _header(ours, name), _header(theirs, name))]
    found += _bodies(request, ours, theirs)
    if mode == "bytes" and not found and ours.body != theirs.body:
        found.append(f"the JSON is equal, its text is not: {_first_difference(str(ours.body), str(theirs.body))}")
    return found


def _unequal(what: str, ours: object, theirs: object) -> list[str]:
    if ours == theirs:
        return []
    if isinstance(ours, str) and isinstance(theirs, str):
        return [f"{what}: {_first_difference(ours, theirs)}"]
    return [f"{what}: {ours!r:.1500}, not {theirs!r:.1500}"]


def _header(answer: Answer, name: str) -> str | None:
    value = answer.headers.get(name)
    if name == "location" and value is not None:  # an absolute address; the servers' own ports differ
        return urlsplit(value)._replace(netloc="").geturl()
    if name == "access-control-expose-headers" and value == "ETag":  # as the ETag itself, an addition of ours
        return None
    return value


def _errors(answer: Answer) -> list[tuple[str, list[str | int]]]:
    detail = answer.json.get("exception_detail", []) if isinstance(answer.json, dict) else []
    return [(error["type"], error["loc"]) for error in detail]


def _bodies(request: Request, ours: Answer, theirs: Answer) -> list[str]:
    mine, real = _rows(ours.json), _rows(theirs.json)
    if mine is None or real is None:
        return _unequal("body", _text(ours.json), _text(theirs.json))
    return _unequal("envelope", _envelope(ours), _envelope(theirs)) + _pages(request, mine, real)


def _envelope(answer: Answer) -> str:
    return _text({**answer.json, "results": None}) if "results" in answer.json else ""


def _rows(body: Any) -> list[Row] | None:
    """The deployments in a body, whichever of the three forms it has; None when it holds something else."""
    if isinstance(body, dict):
        body = [body] if "schedules" in body else body.get("results")
    rows = body
    if isinstance(rows, list) and all(isinstance(row, dict) and "schedules" in row for row in rows):
        return rows
    return None


def _pages(request: Request, mine: list[Row], real: list[Row]) -> list[str]:
    """The same sort keys in the same order, the same rows; what a page cuts through may differ in which it shows."""
    key = _sort_key(request)
    found = _unequal("sort keys", [row[key] for row in mine], [row[key] for row in real])
    if found:
        return found + _unequal("ids", [row["id"] for row in mine], [row["id"] for row in real])
    start = 0
    for _, tied in groupby(real, key=lambda row: row[key]):
        end = start + len(list(tied))
        cut = (start == 0 and _offset(request) > 0) or (end == len(real) and len(real) >= _limit(request))
        if not cut:
            found += _unequal("ids", _ids(mine[start:end]), _ids(real[start:end]))
        start = end
    by_id = {row["id"]: row for row in real}
    for row in mine:
        if row["id"] in by_id:
            found += _unequal(f"row {row['id']}", _text(_settled(row)), _text(_settled(by_id[row["id"]])))
    return found


def _ids(rows: list[Row]) -> list[str]:
    return sorted(row["id"] for row in rows)


def _asked(request: Request) -> dict[str, Any]:
    return request.json if isinstance(request.json, dict) else {}


def _sort_key(request: Request) -> str:
    return SORT_KEYS[_asked(request).get("sort") or "NAME_ASC"]


def _limit(request: Request) -> int:
    return _number(_asked(request).get("limit"), MOST_ROWS)


def _offset(request: Request) -> int:
    if request.path.endswith("/paginate"):
        return _number(_asked(request).get("page"), 1) - 1
    return _number(_asked(request).get("offset"), 0)


def _number(value: Any, default: int) -> int:
    """A number that the server took, however it was spelt."""
    return default if value is None else int(float(value))


def _settled(row: Row) -> Row:
    """A row without what no two answers share: the order of schedules changed at once, an anchor that means "now"."""
    return row | {"schedules": list(_schedules(row["schedules"]))}


def _schedules(schedules: list[Row]) -> Iterator[Row]:
    for _, changed_at_once in groupby(schedules, key=lambda each: each["updated"]):
        for each in sorted(changed_at_once, key=lambda each: each["id"]):
            yield each | {"schedule": _anchored(each["schedule"])}


def _anchored(schedule: Row) -> Row:
    anchor = schedule.get("anchor_date")
    recent = isinstance(anchor, str) and abs(datetime.now(UTC) - datetime.fromisoformat(anchor)) < RECENT
    return schedule | {"anchor_date": "now"} if recent else schedule


def _text(value: Any) -> str:
    """Text that differs whenever the decoded values do: order of keys, 1 against 1.0 against true."""
    if isinstance(value, dict) and isinstance(value.get("exception_detail"), list):
        value = value | {"exception_detail": [_reworded(error) for error in value["exception_detail"]]}
    return repr(value) if isinstance(value, bytes) else json.dumps(value, ensure_ascii=False)


def _reworded(error: Row) -> Row:
    if error.get("type") not in LOOSELY_WORDED:
        return error
    return {key: value for key, value in error.items() if key not in ("msg", "ctx")}


def _first_difference(ours: str, theirs: str) -> str:
    """Both texts around the place where they part."""
    pairs = enumerate(zip(ours, theirs, strict=False))
    place = next((at for at, (mine, real) in pairs if mine != real), min(len(ours), len(theirs)))
    start = max(0, place - 60)
    return f"…{ours[start : place + 80]!r}, not …{theirs[start : place + 80]!r} (at {place})"
