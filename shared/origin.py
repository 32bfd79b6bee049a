"""Which request the running task works for: the id that logs carry, in every process the request touches.

The gateway takes it from the client or makes one; messages carry it (`contract.Call.request_id`).
"""

import re
import secrets
from contextvars import ContextVar

_FORM = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)

request_id: ContextVar[str] = ContextVar("request_id", default="")


def named(given: str | None) -> str:
    """The id a client gave, if it is one that can stand in a log; else a new one of 32 hex digits."""
    return given if given and _FORM.fullmatch(given) else secrets.token_hex(16)
