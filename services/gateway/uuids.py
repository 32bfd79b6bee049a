"""UUIDs as Prefect's server reads them, and why a text is none, in the words of the library that it uses. Pure."""

import re
from itertools import accumulate

_PREFIX = "urn:uuid:"
_GROUPS = (8, 4, 4, 4, 12)  # hexadecimal digits between the hyphens
_DASHED = "-".join(f"[0-9a-fA-F]{{{length}}}" for length in _GROUPS)
_FORM = re.compile(rf"{_DASHED}|[0-9a-fA-F]{{32}}|\{{{_DASHED}\}}|{_PREFIX}{_DASHED}")
_WRAPPED = {1: 38, len(_PREFIX): 45}  # bytes of a whole text in braces, and behind the prefix
_ODD = re.compile("[^0-9a-fA-F-]")


def wrong(text: str) -> str:
    """Why this is no UUID; empty when it is one."""
    if _FORM.fullmatch(text):
        return ""
    before, inner = _unwrapped(text)
    if len(text.encode(errors="surrogatepass")) == _WRAPPED.get(before):  # then what stands around it does not count
        text = inner
        before, inner = _unwrapped(text)
    if odd := _ODD.search(inner):
        return f"invalid character: found `{odd[0]}` at {before + odd.start() + 1}"
    groups = inner.split("-")
    if len(groups) == 1 and not before:
        return f"invalid length: expected length 32 for simple format, found {len(text)}"
    if len(groups) != len(_GROUPS):
        return f"invalid group count: expected {len(_GROUPS)}, found {len(groups)}"
    return _misfit(groups, len(text))


def _unwrapped(text: str) -> tuple[int, str]:
    """How much stands before what should be digits and hyphens, and that."""
    if text[:1] == "{" and text[-1:] == "}" and len(text) > 1:
        return 1, text[1:-1]
    return (len(_PREFIX), text[len(_PREFIX) :]) if text.startswith(_PREFIX) else (0, text)


def _misfit(groups: list[str], length: int) -> str:
    """The first group that does not end where it should. The last one is counted with what stands before all."""
    starts = [0, *accumulate(expected + 1 for expected in _GROUPS)]
    ends = accumulate(len(group) + 1 for group in groups[:-1])
    for number, (end, start, expected) in enumerate(zip(ends, starts, _GROUPS, strict=False)):
        if end != start + expected + 1:
            return f"invalid group length in group {number}: expected {expected}, found {end - 1 - start}"
    return f"invalid group length in group 4: expected {_GROUPS[-1]}, found {length - starts[4]}"
