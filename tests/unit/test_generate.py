"""The searches that `classis compare` makes by chance: the same ones for a seed, right ones, about everything declared."""

from collections.abc import Iterator
from functools import cache
from typing import Any, get_type_hints

from msgspec import Struct

from services.compare.generate import Generator, Story
from services.gateway import decode
from shared.filters import Count, Filter, Group, given
from tests.conformance.generate import Generator as Breaking

TOLD: list[Story] = [
    {
        "flows": {"id": f"00000f10-0000-4000-8000-{number:012}", "name": f"flow {number}", "tags": ["a"]},
        "flow_runs": {"state_type": "FAILED", "state_name": "Failed", "start_time": "2026-05-01T10:00:00.123456Z"},
        "task_runs": {"state_type": "COMPLETED", "name": f"task_{number}%"},
        "deployments": {"id": f"00000de9-0000-4000-8000-{number:012}", "name": "Nightly", "paused": True, "tags": []},
        "work_pools": {"name": "Größe", "type": "process"},
        "work_pool_queues": {"name": "default"},
    }
    for number in range(5)
]
MANY = 1200


FEW = 200


@cache
def searches(seed: int = 1, count: int = FEW) -> list[tuple[str, dict[str, Any]]]:
    generator = Generator(seed, TOLD)
    return [generator.search(generator.chance(number)) for number in range(count)]


def test_a_seed_makes_the_same_searches() -> None:
    generator = Generator(1, TOLD)
    assert [generator.search(generator.chance(number)) for number in (7, 3)] == [searches()[7], searches()[3]]
    assert searches() != searches(seed=2)


def test_the_conformance_tests_break_the_same_searches() -> None:
    made = [Breaking(1, TOLD).request(number) for number in range(FEW)]
    alike = sum((asked.path, asked.json) == right for asked, right in zip(made, searches(), strict=True))
    assert 0.7 * FEW < alike < FEW


def test_all_are_right() -> None:
    for _, body in searches(count=MANY):
        decode.settled(decode.Unsettled(Filter, body), 200)


def test_everything_declared_is_asked_about() -> None:
    asked = {path for _, body in searches(count=MANY) for path in _paths(body)}
    assert set(_declared("", Count)) <= asked


def test_without_any_data() -> None:
    generator = Generator(1, [{}])
    for number in range(FEW):
        decode.settled(decode.Unsettled(Filter, generator.search(generator.chance(number))[1]), 200)


def _paths(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{path}.{key}"
            yield from _paths(inner, f"{path}.{key}")


def _declared(path: str, kind: type[Struct]) -> Iterator[str]:
    for name, hint in ((name, given(hint)) for name, hint in get_type_hints(kind).items()):
        yield f"{path}.{name}"
        if isinstance(hint, type) and issubclass(hint, Group):
            yield from _declared(f"{path}.{name}", hint)
