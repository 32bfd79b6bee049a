"""What "the same answer" means.

rows    status, headers, decoded JSON with its key order; rows that are equal under the sort may stand in any order
bytes   as `rows`, and the text is the same byte for byte
types   status and, for each validation error, its type and its place
status  the status alone
"""

import json
from typing import Any, Literal
from urllib.parse import urlsplit

from shared.agreement import Reply, difference
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
# Their wording belongs to the validation library's release, not to Prefect.
LOOSELY_WORDED = {"value_error"}


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
    """As `classis compare` compares what was found. Of a refusal, more: our words are Prefect's."""
    if ours.status >= 400:
        return _unequal("body", _text(ours.json), _text(theirs.json))
    found = difference(request.body or b"", Reply(ours.status, ours.body), Reply(theirs.status, theirs.body))
    return [f"{found.place}: {found.one}, not {found.other}"] if found else []


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
