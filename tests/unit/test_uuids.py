"""UUIDs: what is one, and the words for what is none, as Prefect 3.8.8 was seen to use them."""

import pytest

from services.gateway import uuids

ID = "00000000-0000-4000-8000-00000000000a"


@pytest.mark.parametrize("text", [ID, ID.upper(), ID.replace("-", ""), f"{{{ID}}}", f"urn:uuid:{ID}"])
def test_what_is_one(text: str) -> None:
    assert uuids.wrong(text) == ""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nope", "invalid character: found `n` at 1"),
        (f"{{{ID}", "invalid character: found `{` at 1"),
        (f"URN:UUID:{ID}", "invalid character: found `U` at 1"),
        (f"{ID[:9]}é{ID[10:]}", "invalid character: found `é` at 10"),
        (f"{{{ID[:9]}x{ID[10:]}}}", "invalid character: found `x` at 10"),  # in braces, and as long as it should be
        (f"{{{ID[:9]}x{ID[9:]}}}", "invalid character: found `x` at 11"),  # longer: the brace counts
        (f"urn:uuid:{ID[:9]}x{ID[9:]}", "invalid character: found `x` at 19"),
        ("", "invalid length: expected length 32 for simple format, found 0"),
        ("0" * 33, "invalid length: expected length 32 for simple format, found 33"),
        ("{}", "invalid group count: expected 5, found 1"),
        (f"urn:uuid:{'0' * 32}", "invalid group count: expected 5, found 1"),
        ("a-b-c-d-e-f", "invalid group count: expected 5, found 6"),
        ("a-b-c-d-e", "invalid group length in group 0: expected 8, found 1"),
        ("00000000-00000-4000-8000-00000000000", "invalid group length in group 1: expected 4, found 5"),
        (ID[:-1], "invalid group length in group 4: expected 12, found 11"),
        (f"urn:uuid:{ID}0", "invalid group length in group 4: expected 12, found 22"),
    ],
)
def test_what_is_none(text: str, why: str) -> None:
    assert uuids.wrong(text) == why
