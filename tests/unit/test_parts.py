"""Payloads larger than a message: offers that are read or refused, their parts, and how much one process holds."""

import pytest

from shared.errors import Busy, Malformed
from shared.parts import LARGEST, ROOM, SMALLEST, SUBJECT, Offer, Offers, Room, read

PLACE = f"{SUBJECT}.runs.a1.b2"


@pytest.mark.parametrize(
    ("header", "number"),
    [("5 5", 1), ("5 1024", 1), ("1024 1024", 1), ("1025 1024", 2), ("9999 1024", 10), (f"{LARGEST} {SMALLEST}", 1024**2)],
)  # fmt: skip
def test_an_offer_is_read_as_it_was_written(header: str, number: int) -> None:
    offer = read(f"{header} {PLACE}", LARGEST)
    assert offer.header() == f"{header} {PLACE}"
    assert (offer.number, offer.replica) == (number, "a1")


@pytest.mark.parametrize(
    "header",
    ["", "5 5", f"5 {PLACE}", f"0 5 {PLACE}", f"5 0 {PLACE}", f"-5 5 {PLACE}", f"5.0 5 {PLACE}", f"5 5 {PLACE} x", f"5 5 {PLACE}\n",
     f"\u0665 5 {PLACE}", f"{'9' * 11} 5 {PLACE}", "5 5 other.subject", f"5 5 {SUBJECT}.runs.a1", f"5 5 {PLACE}.c3",
     f"5 5 {SUBJECT}.runs.*.b2", f"5 5 {SUBJECT}.runs.a1.>"],
)  # fmt: skip
def test_what_is_no_offer_is_malformed(header: str) -> None:
    with pytest.raises(Malformed, match="no offer"):
        read(header, LARGEST)


def test_an_offer_of_many_small_parts_or_of_more_than_is_taken_is_malformed() -> None:
    read(f"2000 {SMALLEST} {PLACE}", 2000)
    with pytest.raises(Malformed, match="too small"):
        read(f"2000 {SMALLEST - 1} {PLACE}", 2000)
    with pytest.raises(Malformed, match="more than the 1999"):
        read(f"2000 {SMALLEST} {PLACE}", 1999)


@pytest.mark.parametrize("size", [1, 3, 10, 11])
def test_the_parts_are_the_payload_until_the_offer_is_withdrawn(size: int) -> None:
    offers, payload = Offers(), b"0123456789"
    offers.add("token", payload, size)
    number = Offer(len(payload), size, PLACE).number
    assert b"".join(offers.part("token", index) or b"" for index in range(number)) == payload
    assert offers.part("token", -1) is offers.part("token", number) is offers.part("other", 0) is None
    for _ in range(2):  # the second changes nothing
        offers.withdraw("token")
        assert (offers.part("token", 0), offers.bytes) == (None, 0)


def test_more_than_a_process_offers_is_refused_until_an_offer_is_withdrawn() -> None:
    offers, payload = Offers(), bytes(LARGEST // 16)
    for token in range(16):
        offers.add(str(token), payload, SMALLEST)
    with pytest.raises(Busy):
        offers.add("one more", b"x", SMALLEST)
    assert (offers.part("one more", 0), offers.bytes) == (None, LARGEST)
    offers.withdraw("0")
    offers.add("one more", b"x", SMALLEST)


def test_there_is_room_for_so_much_at_a_time() -> None:
    room = Room()
    for _ in range(2):  # the first has given everything back
        with room.taken(ROOM - 1), room.taken(1):
            for size in (1, ROOM):
                with pytest.raises(Busy), room.taken(size):
                    raise AssertionError("it is full")


def test_one_payload_is_taken_alone_however_large() -> None:
    room = Room()
    with room.taken(LARGEST), pytest.raises(Busy), room.taken(1):
        raise AssertionError("it is full")
    with room.taken(1), pytest.raises(Busy), room.taken(LARGEST):
        raise AssertionError("another one is there")


def test_what_was_taken_is_given_back_after_an_exception() -> None:
    room = Room()
    for _ in range(2):
        with pytest.raises(KeyError), room.taken(ROOM):
            raise KeyError
