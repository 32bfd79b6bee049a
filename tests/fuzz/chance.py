"""Runs a check on examples that Hypothesis makes, as many as asked for, the same ones for the same seed."""

import random
from collections.abc import Callable, Iterator
from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

T = TypeVar("T")

BATCH = 500  # examples that Hypothesis makes with one seed; more only cost it memory
LARGE = 20_000  # bytes of a payload that has no variants
PIECES = [
    b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\\u0000", b"\\ud800", b"null", b"true", b"1", b"-", b"e9", b".5", b"9999999999",
    b"\0", b"\xff", b"\xc3", b"\xc0", b"\xc1", b"\xc4\x10", b"\xcb\x7f\xf8\0\0\0\0\0\0", b"\xcf" + b"\xff" * 8, b"\x80", b"\x90", b"\xd6\xff",
]  # fmt: skip


def examples(strategy: SearchStrategy[T], number: int, start: int, check: Callable[[T], None]) -> None:
    """Calls `check` with some `number` of examples. What it raises comes out with the smallest example as a note."""
    for begin in range(0, number, BATCH):
        how = settings(
            max_examples=min(BATCH, number - begin),
            database=None,
            deadline=None,
            derandomize=False,
            report_multiple_bugs=False,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )

        def one(value: T) -> None:
            check(value)

        try:
            seed(start + begin)(how(given(strategy)(one)))()
        except Exception as error:
            error.add_note(f"seed {start + begin}, {min(BATCH, number - begin)} examples")
            raise


def variants(payload: bytes, start: int, number: int) -> Iterator[bytes]:
    """The payload itself, then copies with a few bytes changed: cheaper than examples, so there can be more of them."""
    yield payload
    chance = random.Random(start)
    for _ in range(number - 1 if len(payload) < LARGE else 0):
        bent = bytearray(payload)
        for _ in range(chance.choice((1, 1, 1, 2, 4))):
            _change(chance, bent)
        yield bytes(bent)


def _change(chance: random.Random, bent: bytearray) -> None:
    place = chance.randrange(len(bent) + 1)
    if place < len(bent) and bytes([bent[place]]).isalnum() and chance.random() < 0.9:  # what is well formed stays so
        bent[place] = ord(chance.choice("0123456789" if bytes([bent[place]]).isdigit() else "abcdefTZxyz"))
        return
    match chance.randrange(5):
        case 0:
            bent[place : place + 1] = chance.choice(PIECES)
        case 1:
            bent[place:place] = chance.choice(PIECES)
        case 2:
            del bent[place : place + chance.choice((1, 1, 2, 8))]
        case 3:
            bent[place:place] = bent[place : place + chance.choice((1, 4, 16))]
        case _ if place < len(bent):
            bent[place] ^= 1 << chance.randrange(8)
