"""Before anything is timed: do all contenders give the same answer?

The floor and the fleets must give the same JSON. Prefect leaves open in which order deployments of one name come, so
with its answers they are compared as the conformance tests do.
"""

import json
from collections.abc import Mapping

from tqdm import tqdm

from bench.latency import Ask, Refused
from bench.results import Refusals
from bench.shapes import Shape
from tests.conformance import compare, wire

PREFECTS = ("stock", "tuned")
JSON = {"content-type": "application/json"}


class Disagreement(RuntimeError):
    """Two contenders answer differently; the text says where first."""


def checked(asks: Mapping[str, Ask], shapes: list[Shape]) -> Refusals:
    """Ask every shape of everybody; gives who did not answer what. Raises Disagreement at the first difference."""
    refusals: Refusals = {}
    for shape in tqdm(shapes, "comparing answers", unit="shape", dynamic_ncols=True):
        answers: dict[str, bytes] = {}
        for name, ask in asks.items():
            try:
                ask.ready()
                answers[name] = ask(shape)
            except Refused as error:
                refusals.setdefault(shape.name, {})[name] = str(error)
        _compared(shape, answers)
    return refusals


def _compared(shape: Shape, answers: Mapping[str, bytes]) -> None:
    ours = [name for name in answers if name not in PREFECTS]
    for own in ours[:1]:
        for name in ours[1:]:
            _same(shape, (own, answers[own]), (name, answers[name]))
        for name in set(PREFECTS) & set(answers):
            _matching(shape, (own, answers[own]), (name, answers[name]))


def _same(shape: Shape, one: tuple[str, bytes], other: tuple[str, bytes]) -> None:
    mine, theirs = json.loads(one[1]), json.loads(other[1])
    if mine != theirs:
        found = _first(mine, theirs, "answer")
        raise Disagreement(f"shape {shape.name}: {one[0]} and {other[0]} differ in {found}")


def _first(mine: object, theirs: object, place: str) -> str:
    """Where two JSON values differ first."""
    if isinstance(mine, dict) and isinstance(theirs, dict) and mine.keys() == theirs.keys():
        return next(_first(mine[key], theirs[key], f"{place}.{key}") for key in mine if mine[key] != theirs[key])
    if isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
        at = next(at for at, pair in enumerate(zip(mine, theirs, strict=True)) if pair[0] != pair[1])
        return _first(mine[at], theirs[at], f"{place}[{at}]")
    return f"{place}: {mine!r:.300} and {theirs!r:.300}"


def _matching(shape: Shape, ours: tuple[str, bytes], theirs: tuple[str, bytes]) -> None:
    request = wire.search("POST", f"/api/deployments/{shape.path}", shape.body)
    mine, real = (wire.Answer(200, JSON, text) for text in (ours[1], theirs[1]))
    for line in compare.differences(request, mine, real):
        raise Disagreement(f"shape {shape.name}: {ours[0]} and {theirs[0]} differ in {line}")
