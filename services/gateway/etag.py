"""Validators: what an answer is known by, and whether a client has it already. Pure.

They are weak: the same answer goes out compressed or not. Each is made of the tag that the deployments service gives
equal rows, and of the numbers around them.
"""

import re

from shared.contract import Page

EMPTY = b"[]"
_OPAQUE = r'"[\x21\x23-\x7e\x80-\U0010ffff]*"'  # a comma may stand between the quotes
_LISTED = re.compile(rf"(?:^|,)[ \t]*(?:W/)?({_OPAQUE})(?=[ \t]*(?:,|$))")


def of(tag: bytes, *numbers: int) -> str:
    """The validator of rows and numbers; none without a tag, as before a service of an older version."""
    return f'W/"{"-".join([tag.hex(), *map(str, numbers)])}"' if tag else ""


def of_page(page: Page, *numbers: int) -> str:
    """The validator of a page. No rows are known as such, whoever found that there are none."""
    return of(b"\0" if page.rows == EMPTY else page.tag, *numbers)


def matches(given: str, own: str) -> bool:
    """Whether If-None-Match (RFC 9110, 13.1.2) names our validator, compared weakly. `*` names any."""
    return bool(own) and (given.strip() == "*" or own.removeprefix("W/") in _LISTED.findall(given))
