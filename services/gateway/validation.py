"""The long way to read a search: every lax spelling Prefect accepts, and every error it lists. Pure.

Only a body that the one-step decoder refused comes here. It is checked against the declarations in `shared.filters` by
the rules of docs/search.md (those of Pydantic's lax mode), and gives either the search it means or all its errors, with
`type` and `loc` in Prefect's order.
"""

import math
import re
import typing
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import cache
from typing import Any, Literal, TypeVar
from uuid import UUID

from services.gateway import uuids
from shared import instants
from shared.filters import Count, Filter, Group, Paginate, given

S = TypeVar("S", bound=Count)
Loc = tuple[str | int, ...]
Detail = dict[str, Any]

LARGEST_OFFSET = 2**63 - 1  # Postgres counts rows in 64 bits
MOST_ERRORS = 1000  # in one list; each is many times longer than the value it is about
_ORDER = ("limit", "offset", "page", *Count.__struct_fields__, "sort")  # the order of Prefect's error lists
_AT_LEAST = {"offset": 0, "page": 1}
_INTEGER = re.compile(r"([+-]?\d+(?:_\d+)*)(?:\.0+)?", re.ASCII)
_SPACES = "".join(map(chr, range(0x2000, 0x200B)))
_BLANKS = f"\t\n\v\f\r \x85\xa0\u1680{_SPACES}\u2028\u2029\u202f\u205f\u3000"  # what Unicode calls white space
_TRUE = {"true", "t", "yes", "y", "on", "1"}
_FALSE = {"false", "f", "no", "n", "off", "0"}
_INTEGER_MESSAGES = {
    "int_type": "Input should be a valid integer",
    "int_parsing": "Input should be a valid integer, unable to parse string as an integer",
    "int_from_float": "Input should be a valid integer, got a number with a fractional part",
    "int_parsing_size": "Unable to parse input string as an integer, exceeded maximum size",
    "finite_number": "Input should be a finite number",
}


class Invalid(Exception):
    """The body is no search: a list of errors, and the body as it was understood."""

    def __init__(self, details: list[Detail], body: Any) -> None:
        super().__init__(f"{len(details)} errors")
        self.details = details
        self.body = body


class LimitOutOfRange(Exception):
    """`limit` is a number, but not one from 0 to the largest page. It is told alone, before every other error."""


class Undecodable(Exception):
    """The body is no text, or nested too deeply to read."""


class Enough(Exception):
    """As many errors are found as are listed."""


class Errors(list[Detail]):
    """The errors found so far."""

    def add(self, kind: str, loc: Loc, message: str, value: Any, ctx: Mapping[str, Any] | None = None) -> None:
        detail = {"type": kind, "loc": list(loc), "msg": message, "input": value}
        self.append({**detail, "ctx": ctx} if ctx is not None else detail)
        if len(self) == MOST_ERRORS:
            raise Enough


def search(kind: type[S], document: Any, largest_limit: int) -> S:
    """The search that a decoded JSON (or MessagePack) document means.

    Raises Invalid or LimitOutOfRange.
    """
    if document is None:
        return kind()
    errors = Errors()
    given: dict[str, Any] = {}
    with suppress(Enough):
        _check_all(kind, document, largest_limit, given, errors)
    if errors:
        raise Invalid(errors, document)
    return kind(**given)


def _check_all(kind: type[Count], document: Any, largest_limit: int, given: dict[str, Any], errors: Errors) -> None:
    names = [name for name in _ORDER if name in kind.__struct_fields__]
    if not isinstance(document, dict):
        for name in names:
            errors.add("missing", ("body", name), "Field required", None)
        return
    for name in names:
        if document.get(name) is not None:
            given[name] = _check(_hints(kind)[name], document[name], ("body", name), errors)
        if name == "limit" and not errors:
            _check_limit(given.get(name), largest_limit)
        if name in _AT_LEAST and not errors_at(errors, name):
            _check_least(name, given.get(name), document.get(name), errors)
    if not errors:
        _check_offset(given, document, largest_limit, errors)


def in_range(found: Count, largest_limit: int) -> bool:
    """Whether the numbers of a decoded search are ones that can be answered."""
    match found:
        case Filter(limit=limit, offset=offset):
            start = offset or 0
            return 0 <= (limit or 0) <= largest_limit and 0 <= start <= LARGEST_OFFSET
        case Paginate(limit=limit, page=page):
            size = largest_limit if limit is None else limit
            number = 1 if page is None else page
            return 0 <= size <= largest_limit and number >= 1 and (number - 1) * size <= LARGEST_OFFSET
    return True


def errors_at(errors: Errors, name: str) -> bool:
    return any(detail["loc"] == ["body", name] for detail in errors)


def _check_limit(limit: int | None, largest: int) -> None:
    if limit is not None and limit > largest:
        raise LimitOutOfRange(f"Invalid limit: must be less than or equal to {largest}.")
    if limit is not None and limit < 0:
        raise LimitOutOfRange("Invalid limit: must be greater than or equal to 0.")


def _check_least(name: str, number: int | None, value: Any, errors: Errors) -> None:
    least = _AT_LEAST[name]
    if number is not None and number < least:
        message = f"Input should be greater than or equal to {least}"
        errors.add("greater_than_equal", ("body", name), message, value, {"ge": least})


def _check_offset(given: Mapping[str, Any], document: Mapping[str, Any], largest_limit: int, errors: Errors) -> None:
    name = "offset" if "offset" in given else "page"
    size = given.get("limit", largest_limit)
    start = given.get("offset") or (given.get("page", 1) - 1) * size
    if start > LARGEST_OFFSET:
        message = f"Input should not skip more than {LARGEST_OFFSET} rows"
        errors.add("less_than_equal", ("body", name), message, document[name], {"le": LARGEST_OFFSET})


# --- one check per kind of value: the value it means, or an error added and None


def _check(hint: Any, value: Any, loc: Loc, errors: Errors) -> Any:
    if typing.get_origin(hint) is list:
        return _list(typing.get_args(hint)[0], value, loc, errors)
    if typing.get_origin(hint) is Literal:
        return _choice(typing.get_args(hint), value, loc, errors)
    if issubclass(hint, Group):
        return _group(hint, value, loc, errors)
    return CHECKS[hint](value, loc, errors)


def _group(kind: type[Group], value: Any, loc: Loc, errors: Errors) -> Group | None:
    if not isinstance(value, dict):
        message = "Input should be a valid dictionary or object to extract fields from"
        errors.add("model_attributes_type", loc, message, value)
        return None
    given: dict[str, Any] = {}
    before = len(errors)
    for name, hint in _hints(kind).items():
        if name in value and (value[name] is not None or name == "operator"):
            given[name] = _check(hint, value[name], (*loc, name), errors)
        elif name in value:
            given[name] = None
    for name in value:
        if name not in kind.__struct_fields__:
            errors.add("extra_forbidden", (*loc, name), "Extra inputs are not permitted", value[name])
    return kind(**given) if len(errors) == before else None


def _list(hint: Any, value: Any, loc: Loc, errors: Errors) -> list[Any] | None:
    if not isinstance(value, list):
        errors.add("list_type", loc, "Input should be a valid list", value)
        return None
    return [_check(hint, item, (*loc, index), errors) for index, item in enumerate(value)]


def _choice(choices: tuple[str, ...], value: Any, loc: Loc, errors: Errors) -> str | None:
    if isinstance(value, str) and value in choices:
        return value
    *head, last = [f"'{choice}'" for choice in choices]
    expected = f"{', '.join(head)} or {last}"
    errors.add("enum", loc, f"Input should be {expected}", value, {"expected": expected})
    return None


def _text(value: Any, loc: Loc, errors: Errors) -> str | None:
    if not isinstance(value, str):
        errors.add("string_type", loc, "Input should be a valid string", value)
        return None
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        message = "Value error, a database text holds neither U+0000 nor a lone surrogate"
        errors.add("value_error", loc, message, value, {"error": {}})
    return value


def _uuid(value: Any, loc: Loc, errors: Errors) -> UUID | None:
    if isinstance(value, bytes) and len(value) == 16:  # MessagePack's short form
        return UUID(bytes=value)
    if not isinstance(value, str):
        errors.add("uuid_type", loc, "UUID input should be a string, bytes or UUID object", value)
        return None
    if reason := uuids.wrong(value):
        errors.add("uuid_parsing", loc, f"Input should be a valid UUID, {reason}", value, {"error": reason})
        return None
    return UUID(value)


def _instant(value: Any, loc: Loc, errors: Errors) -> datetime | None:
    try:
        return instants.parse(value)
    except ValueError as error:
        text = isinstance(value, str)
        message = f"Value error, {error}" if text else str(error)
        errors.add("value_error", loc, message, value, {"error": {}} if text else None)
        return None


def _boolean(value: Any, loc: Loc, errors: Errors) -> bool | None:
    match value:
        case bool():
            return value
        case int() | float() if value in (0, 1):
            return bool(value)
        case str() if value.lower() in _TRUE | _FALSE:
            return value.lower() in _TRUE
    if isinstance(value, str) or _is_int64(value):
        message = "Input should be a valid boolean, unable to interpret input"
        errors.add("bool_parsing", loc, message, value)
    else:
        errors.add("bool_type", loc, "Input should be a valid boolean", value)
    return None


def _is_int64(value: Any) -> bool:
    """Whether a number is one that Pydantic tries as an integer."""
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return whole and -(2**63) <= value < 2**63


def _integer(value: Any, loc: Loc, errors: Errors) -> int | None:
    match value:
        case int():
            return int(value)
        case float():
            return _whole(value, loc, errors)
        case str() if found := _INTEGER.fullmatch(value.strip(_BLANKS)):
            if len(found[1]) <= 4300:  # the most digits that Python reads
                return int(found[1])
            kind = "int_parsing_size"
        case str():
            kind = "int_parsing"
        case _:
            kind = "int_type"
    errors.add(kind, loc, _INTEGER_MESSAGES[kind], value)
    return None


def _whole(number: float, loc: Loc, errors: Errors) -> int | None:
    if math.isfinite(number) and number.is_integer() and abs(number) < 2**63:
        return int(number)
    kind = "finite_number" if not math.isfinite(number) else "int_parsing_size"
    if math.isfinite(number) and not number.is_integer():
        kind = "int_from_float"
    errors.add(kind, loc, _INTEGER_MESSAGES[kind], number)
    return None


CHECKS: dict[Any, Callable[[Any, Loc, Errors], Any]] = {
    str: _text,
    UUID: _uuid,
    datetime: _instant,
    bool: _boolean,
    int: _integer,
}


@cache
def _hints(kind: type) -> dict[str, Any]:
    """The declared fields in order, each with what it is when it is not null."""
    hints = typing.get_type_hints(kind)
    return {name: given(hints[name]) for name in getattr(kind, "__struct_fields__", ())}
