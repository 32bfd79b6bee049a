"""Kept rows: of exactly the version asked, within their room, and not for ever."""

from services.deployments.kept import AGE, OVERHEAD, Kept
from shared.contract import Row

A, B, C = (letter * 16 for letter in (b"a", b"b", b"c"))
ROOM = 3 * (OVERHEAD + 16 + 100)


def row(letter: bytes = b"r", size: int = 100) -> Row:
    return Row(letter * size, letter)


def test_a_row_is_given_for_its_version_only() -> None:
    kept = Kept(ROOM)
    kept.put(A + b"1", row())
    assert kept.get(A + b"1") == row()
    assert kept.get(A + b"2") is kept.get(A) is kept.get(B + b"1") is None


def test_a_new_version_takes_the_place_of_the_old_one() -> None:
    kept = Kept(ROOM)
    kept.put(A + b"1", row())
    before = kept.size
    kept.put(A + b"2", row(b"s"))
    assert kept.get(A + b"1") is None
    assert kept.get(A + b"2") == row(b"s")
    assert kept.size == before


def test_what_was_unused_longest_makes_room() -> None:
    kept = Kept(ROOM)
    for version in (A, B, C):
        kept.put(version, row())
    assert kept.get(A)
    kept.put(b"d" * 16, row())
    assert kept.get(A)
    assert kept.get(B) is None
    assert kept.get(C)


def test_the_room_is_never_exceeded() -> None:
    kept = Kept(ROOM)
    for number in range(1000):
        kept.put(number.to_bytes(16, "big"), row(size=number))
        assert kept.size <= ROOM
    kept.put(A, row())
    kept.put(B, row(size=ROOM))
    assert kept.get(B) is None
    assert kept.get(A), "what has no room of its own pushes nothing out"


def test_without_room_nothing_is_kept() -> None:
    kept = Kept(0)
    kept.put(A, row())
    assert (kept.get(A), kept.size) == (None, 0)


def test_old_rows_are_not_given() -> None:
    now = 1000.0
    kept = Kept(ROOM, clock=lambda: now)
    kept.put(A, row())
    now += AGE
    assert kept.get(A)
    now += 1
    assert kept.get(A) is None
    kept.put(A, row())
    assert kept.get(A)
