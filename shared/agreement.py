"""Whether two servers answered a search alike, and if not, where they part first. Pure.

Prefect leaves three things open, so they are no difference: the order of rows that are equal under the sort, and which
of them a page shows that cuts through them; the order of schedules that changed at once; an interval's anchor that
means "now". Refusals are alike when their status is, and the type and place of each error; the wording belongs to a
library's release.
"""

import json
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby, zip_longest
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Raw, Struct

from shared.differences import Difference, first, lengths, parting

Outcome = Literal["same", "moved", "different"]
ROUNDS = 2  # a difference that does not stay so long is none: the data moved
SORT_KEYS = {"NAME_ASC": "name", "NAME_DESC": "name", "CREATED_DESC": "created", "UPDATED_DESC": "updated"}
MOST_ROWS = 200  # of a page whose request sets no limit, unless a server is set otherwise
MOST_ERRORS = 1000  # we tell no more
RECENT = timedelta(minutes=15)


class Reply(NamedTuple):
    """What a server answered, as far as it is compared."""

    status: int
    body: bytes

    @property
    def tells(self) -> bool:
        """Whether it is about the search; or else about who asks, or about a server in trouble."""
        return self.status < 500 and self.status not in {401, 403, 429}


Ask = Callable[[], Awaitable[Reply]]
Compare = Callable[[Reply, Reply], Awaitable[Difference | None]]


async def settled(one: Ask, other: Ask, compare: Compare) -> tuple[Outcome, Difference | None]:
    """Asks both until they agree, or until one says the same before and after the other says otherwise."""
    before = await one()
    for left in reversed(range(ROUNDS)):
        theirs = await other()
        if await compare(before, theirs) is None:
            return ("same" if left == ROUNDS - 1 else "moved"), None
        after = await one()
        found = await compare(after, theirs)
        if found is None:
            return "moved", None
        if not left and await compare(before, after) is None:
            return "different", found
        before = after
    return "moved", None


def difference(asked: bytes, one: Reply, other: Reply, most: int = MOST_ROWS) -> Difference | None:
    """The first difference between two answers to a search with that body; `most` rows unless it sets a limit."""
    if one.status != other.status:
        return Difference("status", str(one.status), str(other.status))
    if one.body == other.body:
        return None
    try:
        if one.status >= 400:
            return first(_refusal(one.body), _refusal(other.body))
        mine, theirs = _page(one.body), _page(other.body)
        if mine is None or theirs is None:
            return first(_parsed(one.body), _parsed(other.body))
        return first(mine.around, theirs.around) or _between(_paging(asked, most), mine, theirs)
    except RecursionError:  # nested too deeply to be walked; the texts differ
        return parting("$", *(reply.body.decode(errors="backslashreplace") for reply in (one, other)))


# --- pages of deployments. Rows are parsed one at a time, and only those that differ, because a page may be tens of MB


class Paging(Struct):
    """What a search says about its page, in whatever form."""

    sort: Any = None
    limit: Any = None
    offset: Any = None
    page: Any = None

    @property
    def key(self) -> str:
        return SORT_KEYS.get(str(self.sort), "name")

    @property
    def starts_within(self) -> bool:
        """Whether rows stand before the page."""
        return _number(self.offset, 0) > 0 or _number(self.page, 1) > 1


class Label(Struct):
    """What a row is told apart and sorted by; and what makes it a deployment's."""

    id: str
    name: str
    created: str
    updated: str
    schedules: Raw


class Page(NamedTuple):
    """The rows of an answer, what stands around them, and their place."""

    around: dict[str, Any]
    rows: list[Raw]
    labels: list[Label]
    place: str  # of a row, with its number to be filled in


def _page(body: bytes) -> Page | None:
    """An answer of any of the three forms that hold deployments; None for any other."""
    try:
        top = msgspec.json.decode(body, type=list[Raw] | dict[str, Raw])
        if isinstance(top, list):
            return Page({}, top, _labels(top), "$[{}]")
        if "results" in top:
            rows = msgspec.json.decode(top["results"], type=list[Raw])
            around = {name: _parsed(value) if name != "results" else None for name, value in top.items()}
            return Page(around, rows, _labels(rows), "$.results[{}]")
        return Page({}, [Raw(body)], _labels([Raw(body)]), "$")
    except (msgspec.MsgspecError, RecursionError):
        return None


def _labels(rows: list[Raw]) -> list[Label]:
    return [msgspec.json.decode(row, type=Label) for row in rows]


def _between(paging: Paging, one: Page, other: Page) -> Difference | None:
    """The same sort keys in the same order, the same rows where the order is open, and each row alike."""
    for index, (mine, theirs) in enumerate(zip_longest(one.labels, other.labels)):
        if mine is None or theirs is None:
            return lengths(other.place.partition("[")[0], one.rows, other.rows)
        if getattr(mine, paging.key) != getattr(theirs, paging.key):
            told = ({"id": label.id, paging.key: getattr(label, paging.key)} for label in (mine, theirs))
            return parting(other.place.format(index), *told)
    return _missing(paging, one, other) or _unequal_rows(one, other)


def _missing(paging: Paging, one: Page, other: Page) -> Difference | None:
    """A row that only one of them shows, unless the page cuts through its equals."""
    start, count = 0, len(other.labels)
    for _, tied in groupby(other.labels, key=lambda label: getattr(label, paging.key)):
        end = start + len(list(tied))
        cut = (start == 0 and paging.starts_within) or (end == count >= paging.limit)
        mine, theirs = ([label.id for label in page.labels[start:end]] for page in (one, other))
        if not cut and sorted(mine) != sorted(theirs):
            index = next((index for index, name in enumerate(mine) if name not in theirs), 0)
            return parting(f"{other.place.format(start + index)}.id", mine[index], theirs[index])
        start = end
    return None


def _unequal_rows(one: Page, other: Page) -> Difference | None:
    places = {label.id: index for index, label in enumerate(other.labels)}
    for index, label in enumerate(one.labels):
        there = places.get(label.id)
        if there is None or bytes(one.rows[index]) == bytes(other.rows[there]):
            continue
        mine, theirs = (_without_what_is_open(_parsed(row)) for row in (one.rows[index], other.rows[there]))
        if found := first(mine, theirs, one.place.format(index)):
            return found
    return None


def _without_what_is_open(row: Any) -> Any:
    try:
        return row | {"schedules": list(_schedules(row["schedules"]))}
    except (TypeError, KeyError, AttributeError, ValueError):  # no row of Prefect's
        return row


def _schedules(schedules: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for _, changed_at_once in groupby(schedules, key=lambda each: each["updated"]):
        for each in sorted(changed_at_once, key=lambda each: each["id"]):
            yield each | {"schedule": _anchored(each["schedule"])}


def _anchored(schedule: dict[str, Any]) -> dict[str, Any]:
    anchor = schedule.get("anchor_date")
    recent = isinstance(anchor, str) and abs(datetime.now(UTC) - datetime.fromisoformat(anchor)) < RECENT
    return schedule | {"anchor_date": "now"} if recent else schedule


# --- reading


def _paging(asked: bytes, most: int) -> Paging:
    try:
        paging = msgspec.json.decode(asked, type=Paging)
    except (msgspec.MsgspecError, RecursionError):
        paging = Paging()
    paging.limit = _number(paging.limit, most)
    return paging


def _number(value: Any, default: int) -> int:
    """A number that a server took, however it was spelt."""
    try:
        return default if value is None else int(float(value))
    except (ValueError, TypeError, OverflowError):
        return default


def _parsed(body: bytes | Raw) -> Any:
    """The value of a JSON text; any other text is its own value."""
    text = bytes(body)
    try:
        return json.loads(text)
    except ValueError:
        return text.decode(errors="backslashreplace")


def _refusal(body: bytes) -> Any:
    """What a refusal says: the types and places of errors, else its sentence."""
    document = _parsed(body)
    if not isinstance(document, dict):
        return document
    errors = document.get("exception_detail")
    if isinstance(errors, list) and all(isinstance(error, dict) for error in errors):
        return [{"type": error.get("type"), "loc": error.get("loc")} for error in errors[:MOST_ERRORS]]
    return document.get("detail", document.get("exception_message"))
