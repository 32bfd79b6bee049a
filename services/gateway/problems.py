"""What went wrong, as a status and a body in Prefect's own shapes. The only place that decides it.

Three shapes: V `{exception_message, exception_detail, request_body}` for a body that fails validation, D `{detail}` for
routes, versions and the range of `limit`, M `{exception_message}` for trouble on our side. Nothing internal is in any.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from services.gateway.validation import Invalid, LimitOutOfRange, Undecodable
from shared.errors import FleetError, Unacceptable, Unavailable

RETRY_AFTER = "1"  # seconds; Prefect's client waits at least that long before it asks again


@dataclass(frozen=True)
class Answer:
    """What a client gets, by HTTP or on the bus."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    cors: bool = True  # whether the rules for scripts of other origins apply


UNAVAILABLE = Answer(
    b'{"exception_message":"%b"}' % Unavailable.public.encode(), 503, {"retry-after": RETRY_AFTER}
)  # made once: under overload it is what most get


class Problem(Exception):
    """A refusal that needs no more than a status and a sentence."""

    def __init__(
        self, status: int, detail: str, headers: Mapping[str, str] | None = None, *, cors: bool = True
    ) -> None:
        super().__init__(detail)
        self.answer = Answer(printed({"detail": detail}), status, headers or {}, cors=cors)


class Unreachable(Exception):
    """The upstream gave no answer. The text is for the log."""

    SAYS: ClassVar = {502: "Bad Gateway", 503: Unavailable.public, 504: "Gateway Timeout"}

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        headers = {"retry-after": RETRY_AFTER} if status == 503 else {}
        self.answer = Answer(printed({"exception_message": self.SAYS[status]}), status, headers)


class Unauthorized(Exception):
    """The client did not say what the setting asks for."""


def not_found(what: str = "Not Found") -> Problem:
    return Problem(404, what)


def answer_to(error: Exception) -> Answer:  # noqa: PLR0911 — a table, one line per kind
    """The answer that tells a client of an error; an unknown one is a mistake of ours."""
    match error:
        case Problem() | Unreachable():
            return error.answer
        case Invalid():
            return _invalid(error)
        case LimitOutOfRange():
            return Answer(printed({"detail": str(error)}), 422)
        case Undecodable():
            return Answer(printed({"detail": "There was an error parsing the body"}), 400)
        case Unauthorized():
            return Answer(printed({"exception_message": "Unauthorized"}), 401)
        case Unacceptable():
            return Answer(printed({"detail": error.public}), 422)
        case Unavailable():
            return UNAVAILABLE
        case _:
            return Answer(printed({"exception_message": FleetError.public}), 500)


def _invalid(error: Invalid) -> Answer:
    document = {
        "exception_message": "Invalid request received.",
        "exception_detail": error.details,
        "request_body": error.body,
    }
    try:
        return Answer(printed(document), 422)
    except RecursionError:  # nested so deeply that it can be read but not repeated
        return answer_to(Undecodable())


def printed(document: Any) -> bytes:
    """Compact JSON with Python's spelling of numbers. What JSON cannot say (NaN, a lone surrogate) is null or `?`."""
    options: dict[str, Any] = {"ensure_ascii": False, "separators": (",", ":"), "default": repr}
    try:
        text = json.dumps(document, allow_nan=False, **options)
    except (ValueError, TypeError):
        text = json.dumps(_sayable(document), **options)
    return text.encode(errors="replace")


def _sayable(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key if isinstance(key, str) else repr(key): _sayable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_sayable(item) for item in value]
    return value
