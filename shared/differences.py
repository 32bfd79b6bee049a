"""Where two JSON values part first. Order counts, of keys too, and 1 is neither 1.0 nor true. Pure."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

SHOWN = 200  # characters of a value
BEFORE = 60  # of these, before the place where two texts part
NOTHING = "nothing"


class Difference(NamedTuple):
    """The first place where two answers part, as a JSON path, and what stands there in each, shortened."""

    place: str
    one: str
    other: str


def first(one: Any, other: Any, place: str = "$") -> Difference | None:
    """The first place where two values part."""
    if type(one) is not type(other):
        return parting(place, one, other)
    if isinstance(one, dict):
        return _first_member(one, other, place)
    if isinstance(one, list):
        return _first_item(one, other, place)
    return None if repr(one) == repr(other) else parting(place, one, other)


def _first_member(one: dict[str, Any], other: dict[str, Any], place: str) -> Difference | None:
    for key in [*one, *(key for key in other if key not in one)]:
        there = f"{place}.{key}" if key.isidentifier() else f"{place}[{json.dumps(key)}]"
        if key not in one or key not in other:
            return Difference(there, *(shown(side[key]) if key in side else NOTHING for side in (one, other)))
        if found := first(one[key], other[key], there):
            return found
    return None if list(one) == list(other) else parting(f"{place} (order)", list(one), list(other))


def _first_item(one: list[Any], other: list[Any], place: str) -> Difference | None:
    for index, (mine, theirs) in enumerate(zip(one, other, strict=False)):
        if found := first(mine, theirs, f"{place}[{index}]"):
            return found
    return lengths(place, one, other)


def lengths(place: str, one: Sequence[Any], other: Sequence[Any]) -> Difference | None:
    return None if len(one) == len(other) else Difference(place, f"{len(one)} items", f"{len(other)} items")


def parting(place: str, one: Any, other: Any) -> Difference:
    """Both values; of long ones, what stands around the character at which they part."""
    mine, theirs = _text(one), _text(other)
    pairs = enumerate(zip(mine, theirs, strict=False))
    at = next((at for at, (left, right) in pairs if left != right), min(len(mine), len(theirs)))
    start = at - BEFORE if at > SHOWN - BEFORE else 0
    return Difference(place, _cut(mine, start), _cut(theirs, start))


def shown(value: Any) -> str:
    """The beginning of a value."""
    return _cut(_text(value), 0)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).encode(errors="backslashreplace").decode()


def _cut(text: str, start: int) -> str:
    return f"{'…' if start else ''}{text[start : start + SHOWN]}{'…' if len(text) > start + SHOWN else ''}"
