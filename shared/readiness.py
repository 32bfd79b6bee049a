"""Whether this process could answer: what must hold for that, told by those who know it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_needs: dict[object, tuple[str, Callable[[], bool]]] = {}


@contextmanager
def needed(name: str, holds: Callable[[], bool]) -> Iterator[None]:
    """While the block runs, the process is ready only when this holds. Two needs may have the same name."""
    key = object()
    _needs[key] = (name, holds)
    try:
        yield
    finally:
        del _needs[key]


def missing() -> list[str]:
    """The names of what does not hold; empty when the process is ready."""
    return [name for name, holds in _needs.values() if not holds()]
