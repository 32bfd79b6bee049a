"""What an answer is known by, and when a client has it already (RFC 9110, 8.8.3 and 13.1.2)."""

import pytest

from services.gateway import etag
from shared.contract import Page

TAG = bytes(range(16))
OWN = 'W/"000102030405060708090a0b0c0d0e0f-300-10-1"'


def test_a_validator_is_the_tag_and_the_numbers() -> None:
    assert etag.of_page(Page(b"[{}]", 300, TAG), 300, 10, 1) == OWN
    assert etag.of(TAG) == 'W/"000102030405060708090a0b0c0d0e0f"'


def test_rows_without_a_tag_are_not_known_by_anything() -> None:
    assert etag.of_page(Page(b"[{}]", 1), 1, 10, 1) == etag.of(b"") == ""
    assert not etag.matches("*", "")


def test_no_rows_are_the_same_whoever_found_none() -> None:
    assert etag.of_page(Page(b"[]", 0)) == etag.of_page(Page(b"[]", 0, TAG)) != ""
    assert etag.of_page(Page(b"[]", 0), 0, 10, 1) != etag.of_page(Page(b"[]", 7, TAG), 7, 10, 2)


@pytest.mark.parametrize(
    "given",
    ["*", " * ", OWN, OWN.removeprefix("W/"), f'"other", {OWN}', f'W/"a,b" ,{OWN},"c"', f'"",{OWN}', f'"é", {OWN}', f'"ä"  ,  {OWN}'],
)  # fmt: skip
def test_a_client_has_it(given: str) -> None:
    assert etag.matches(given, OWN)


@pytest.mark.parametrize(
    "given",
    ["", '"other"', 'W/"300"', OWN.removeprefix("W/").strip('"'), f'"x{OWN[3:]}', f"{OWN[:-1]}, *", '"*"', "**", f'"a {OWN[2:]}'],
)  # fmt: skip
def test_a_client_has_it_not(given: str) -> None:
    assert not etag.matches(given, OWN)
