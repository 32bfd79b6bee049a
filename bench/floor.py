"""The floor: hand-written SQL on one connection, rows encoded by msgspec; no HTTP, no bus, nothing shared, no checks.

Before it is measured, a trial runs every form of every shape on the data at hand and keeps the fastest.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime
from functools import reduce
from typing import Any

import asyncpg
from msgspec import Raw, Struct, json

from bench.floor_sql import ASSEMBLIES, COUNTED, FLOOR, KEYS, ORDER, ROWS, Match
from bench.shapes import Body, Shape
from services.deployments import rows

DEFAULT_LIMIT = 200
PLANS = ("force_custom_plan", "force_generic_plan")  # planned for the values, or planned once
TRIALS = 7
HOPELESS = 2.5  # a form this many times slower than the best is given up
PATIENCE = (0.5, 5.0, 60.0)  # seconds for a form, as long as none answers in less
Line = asyncpg.Connection


class Choice(Struct, frozen=True):
    """A way to answer a shape: which form, how it becomes a page, and how it is planned."""

    form: str
    assembly: str
    plan: str
    ms: float = 0.0


Choices = dict[str, Choice]
Lines = Mapping[str, Line]  # one connection a way to plan; a request uses one of them


@asynccontextmanager
async def lines(dsn: str) -> AsyncIterator[Lines]:
    """The connections."""
    async with AsyncExitStack() as stack:
        made = {}
        for plan in PLANS:
            told = {"plan_cache_mode": plan, "jit": "off", "TimeZone": "UTC", "application_name": "floor"}
            made[plan] = await asyncpg.connect(dsn, server_settings=told)
            stack.push_async_callback(made[plan].close)
        yield made


def statement(choice: Choice, path: str, body: Body, arguments: int) -> str:
    """The text for a body; its offset is the argument behind those of the form."""
    assembly, source = ASSEMBLIES[path][choice.assembly]
    order = ORDER[body.get("sort", "NAME_ASC")]
    return assembly.format(
        match=choice.form.format(source=source.format(order=order)),
        order=order,
        keys=KEYS,
        limit=body.get("limit", DEFAULT_LIMIT),
        offset=f"${arguments + 1}::bigint",
        rows=ROWS,
    )


def values(match: Match, body: Body) -> list[Any]:
    """The arguments of a form, from the body."""
    return [_value(place, reduce(lambda part, key: part[key], place.split("."), body)) for place in match.arguments]


def _value(place: str, value: Any) -> Any:
    return datetime.fromisoformat(value) if place.endswith(("before_", "after_")) else value


def matching(shape: Shape, body: Body) -> tuple[str, Match]:
    name = "17 count, but one" if shape.path == "count" and body else shape.name
    return name, FLOOR[name]


async def answer(lines: Lines, choice: Choice, match: Match, path: str, body: Body) -> bytes:
    """The same JSON document as over HTTP."""
    line, arguments = lines[choice.plan], values(match, body)
    text = statement(choice, path, body, len(arguments))
    if path == "count":
        return json.encode(await line.fetchval(text, *arguments))
    limit = body.get("limit", DEFAULT_LIMIT)
    number = body.get("page", 1)
    offset = (number - 1) * limit if path == "paginate" else body.get("offset", 0)
    found = await line.fetch(text, *arguments, offset)
    shown = json.encode([rows.deployment(row) for row in found])
    if path == "filter":
        return shown
    count = found[0]["matches"] if found else await _count(line, choice, arguments)
    pages = (count + limit - 1) // limit if limit else 0
    return json.encode({"results": Raw(shown), "count": count, "limit": limit, "pages": pages, "page": number})


async def _count(line: Line, choice: Choice, arguments: Sequence[Any]) -> int:
    """The count, when a page without rows could not carry it."""
    return int(await line.fetchval(COUNTED.format(match=choice.form.format(source="deployment")), *arguments))


class Floor:
    """A floor that has made its choices."""

    def __init__(self, lines: Lines, choices: Choices) -> None:
        self._lines, self._choices = lines, choices

    async def ask(self, shape: Shape, body: Body) -> bytes:
        name, match = matching(shape, body)
        return await answer(self._lines, self._choices[name], match, shape.path, body)


# The trial


def ways(shape: Shape, match: Match) -> Iterator[Choice]:
    for form in match.forms:
        for assembly in ASSEMBLIES[shape.path]:
            for plan in PLANS:
                yield Choice(form, assembly, plan)


async def best(lines: Lines, shape: Shape, match: Match, body: Body) -> Choice:
    """The fastest way to answer this shape here: the least median of some trials each."""
    try:
        for patience in PATIENCE:
            if found := await _best_within(lines, shape, match, body, patience):
                return found
    finally:
        for line in lines.values():
            await line.execute("SET statement_timeout = 0")
    raise RuntimeError(f"no form of shape {shape.name!r} answers within {patience:.0f} s")


async def _best_within(lines: Lines, shape: Shape, match: Match, body: Body, patience: float) -> Choice | None:
    found: Choice | None = None
    for way in ways(shape, match):
        allowed = patience if found is None else min(patience, max(0.1, HOPELESS * found.ms / 1000))
        await lines[way.plan].execute(f"SET statement_timeout = {round(allowed * 1000)}")
        for _ in range(2):  # the first time it may have been kept waiting by the disk
            with suppress(asyncpg.QueryCanceledError):
                ms = await _tried(lines, way, match, shape.path, body, found.ms if found else None)
                if ms is not None and (found is None or ms < found.ms):
                    found = Choice(way.form, way.assembly, way.plan, ms)
                break
    return found


async def _tried(lines: Lines, way: Choice, match: Match, path: str, body: Body, beat: float | None) -> float | None:
    """Milliseconds of a way, or None as soon as it is clearly slower than `beat`."""
    taken: list[float] = []
    for trial in range(TRIALS + 1):
        start = time.perf_counter()
        await answer(lines, way, match, path, body)
        taken.append((time.perf_counter() - start) * 1000)
        if trial >= 1 and beat is not None and min(taken) > 1.5 * beat:
            return None  # the first may have read from disk
        if trial >= 2 and sum(taken) > 2000:
            break
    return statistics.median(taken[1:])


async def tried(dsn: str, shapes: Sequence[Shape], bodies: Mapping[str, Body], told: Any) -> Choices:
    """The choices for these shapes; `told` wraps what is gone through, to show progress."""
    async with lines(dsn) as made:
        choices: Choices = {}
        for shape in told(shapes):
            for body in (shape.body, bodies.get(shape.name)):
                if body is not None:
                    name, match = matching(shape, body)
                    if name not in choices:
                        choices[name] = await best(made, shape, match, body)
                        await asyncio.sleep(0)
        return choices
