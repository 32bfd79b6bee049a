"""Bodies that nobody would send: searches bent in one or several places, as JSON text or as MessagePack.

The searches come from the conformance tests' generator, so that much of each body is still right, and reaches deep.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from hypothesis import strategies as st

from tests import declared
from tests.conformance.generate import Generator, Story

Draw = Callable[[st.SearchStrategy[Any]], Any]
Searches = st.SearchStrategy[dict[str, Any]]
NUMBERS = [
    0,
    -1,
    1,
    200,
    201,
    2**31,
    2**53 + 1,
    2**63 - 1,
    2**63,
    -(2**63) - 1,
    2**64,
    10**40,
    0.5,
    -0.0,
    1e308,
    5e-324,
]
TEXTS = [
    "", " ", "x", "\0", "a\0b", "\ud800", "\udfff\ud800", "\U0010ffff", "\ufeff", "é" * 300, "%", "\\", "\\%", "'", '"; --',
    "true", "1e1", " 10 ", "1_0", "\u0661", "NaN", "null", "0x10", "9" * 5000,
    "00000000-0000-4000-8000-00000000000", "{00000000-0000-4000-8000-000000000001}", "urn:uuid:", "0" * 32,
    "0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-23:59", "2024-02-30", "2024-05-04T24:00:00Z", "20000000001",
    "2024-05-04T00:00:00.1234567891234567Z", "2024-05-04T00:00:00+99:99", "-62135596800", "253402300800", "0000-01-01",
]  # fmt: skip
KEYS = [
    "bogus",
    "any_",
    "operator",
    "is_null_",
    "like_",
    "limit",
    "page",
    "offset",
    "",
    "__class__",
    "\0",
    "\ud800",
    "__proto__",
]
TOKENS = [
    "NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1e-400", "1E+2", "00", "-0", "-", ".5", "1.", "+1", "0x1",
    "9" * 4299, "9" * 4301, "1" + "0" * 400 + ".0", "1e99999999999", "0.0000000000000000000000000000001",
    "tru", "nul", "undefined", "'x'", '"\\u0000"', '"\\ud800"', '"\\ud83d\\ude00"', '"\\x"', '"\x01"', '"', "[", "{", "]",
    "}", "[1,]", '{"a":1,}', "//", "/**/ 1", '{"a" 1}', "[" * 5, "\ufeff", "\x00", "\x0b1",
]  # fmt: skip
ENCODINGS = ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be", "latin-1", "cp037"]


class Token(str):
    """A piece of text that stands in a body as it is, JSON or not."""

    __slots__ = ()


class Pairs(list[tuple[str, Any]]):
    """An object whose keys may stand in it twice."""


def _values() -> st.SearchStrategy[Any]:
    """Any JSON value, the odd ones first."""
    scalars = st.one_of(
        st.none(), st.booleans(), st.sampled_from(NUMBERS), st.sampled_from(TEXTS),
        st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=20),
        st.datetimes().map(str), st.uuids().map(str),
    )  # fmt: skip
    return st.recursive(
        scalars,
        lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)),
        max_leaves=8,
    )


VALUES = _values()


def searches(told: Sequence[Story]) -> Searches:
    """Searches that are right, or nearly."""
    generator = Generator(1, told)
    made = st.integers(0, 10**6).map(lambda number: json.loads(generator.request(number).body or b"{}"))
    return st.one_of(made, st.sampled_from([body for _, body in declared.searches()]))


@st.composite
def documents(draw: Draw, found: Searches) -> Any:
    """Searches with up to three places bent."""
    document = draw(found)
    for _ in range(draw(st.integers(0, 3))):
        document = bent(draw, document, draw(VALUES))
    return document


def bent(draw: Draw, document: Any, odd: Any) -> Any:
    """The document with another value in one place, or one key more."""
    if not isinstance(document, dict | list) or not document or draw(st.integers(0, 9)) == 0:
        return odd
    if isinstance(document, list):
        index = draw(st.integers(0, len(document) - 1))
        return [bent(draw, item, odd) if at == index else item for at, item in enumerate(document)]
    if draw(st.integers(0, 5)) == 0:
        return {**document, draw(st.sampled_from(KEYS) | st.text(max_size=5)): odd}
    key = draw(st.sampled_from(sorted(document)))
    return {**document, key: bent(draw, document[key], odd)}


@st.composite
def texts(draw: Draw, found: Searches) -> bytes:
    """JSON bodies, and bodies that are no JSON any more."""
    return bytes(draw(st.sampled_from(SHAPES))(draw, draw(documents(found))))


def _plain(draw: Draw, document: Any) -> bytes:
    return spelt(document, escaped=draw(st.booleans()))


def _token(draw: Draw, document: Any) -> bytes:
    return spelt(bent(draw, document, Token(draw(st.sampled_from(TOKENS)))))


def _broken(draw: Draw, document: Any) -> bytes:
    return damaged(draw, spelt(document))


def _encoded(draw: Draw, document: Any) -> bytes:
    return spelt(document).decode(errors="replace").encode(draw(st.sampled_from(ENCODINGS)), errors="replace")


def _raw(draw: Draw, document: Any) -> bytes:
    return bytes(draw(st.binary(max_size=200) | st.sampled_from(TOKENS).map(str.encode)))


def _twice(draw: Draw, document: Any) -> bytes:
    """One of its keys once more."""
    if not isinstance(document, dict) or not document:
        return spelt(Pairs([("limit", 1), ("limit", document)]))
    key = draw(st.sampled_from(sorted(document)))
    return spelt(Pairs([*document.items(), (key, draw(VALUES))]))


def damaged(draw: Draw, body: bytes) -> bytes:
    """The bytes with a piece cut out, or other bytes put in."""
    start = draw(st.integers(0, len(body)))
    end = draw(st.integers(start, min(len(body), start + 8)) | st.just(len(body)))
    odd = st.sampled_from(
        [b"", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\x00", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"\\"]
    )
    return body[:start] + bytes(draw(odd | st.binary(max_size=8))) + body[end:]


def _deep(draw: Draw, document: Any) -> bytes:
    depth = draw(st.sampled_from([10, 200, 900, 990, 1000, 1100, 5000, 100_000]))
    opened, closed = draw(st.sampled_from([("[", "]"), ('{"flows":', "}"), ('{"a":[', "]}")]))
    inside = (
        opened * depth + draw(st.sampled_from(["", "1"])) + closed * draw(st.sampled_from([depth, depth, 0, depth + 1]))
    )
    return spelt(bent(draw, document, Token(inside)))


def _wide(draw: Draw, document: Any) -> bytes:
    """A long list somewhere; now and then more than a body may hold."""
    length = draw(st.sampled_from([*[100] * 8, *[1000] * 6, *[20_000] * 2, 300_000]))
    item = draw(st.sampled_from(["1", '"x"', "null", "{}", '"00000000-0000-4000-8000-000000000001"', '"\\u00e9"']))
    wide = Token("[" + ",".join([item] * length) + "]")
    path = draw(
        st.sampled_from([("flows", "id", "any_"), ("flows", "name", "any_"), ("flow_runs", "tags", "all_"), ()])
    )
    return spelt(_put(path, wide) if path else bent(draw, document, wide))


SHAPES = [*[_plain] * 6, _token, _token, _twice, _broken, _broken, _deep, _wide, _encoded, _raw]


def _put(path: Sequence[str], value: Any) -> Any:
    for key in reversed(path):
        value = {key: value}
    return value


def spelt(value: Any, *, escaped: bool = False) -> bytes:
    """The value as JSON, tokens as they are; lone surrogates as escapes."""
    return _spelt(value, escaped).encode(errors="surrogatepass")


def _spelt(value: Any, escaped: bool) -> str:
    match value:
        case Token():
            return str(value)
        case Pairs():
            return "{" + ",".join(f"{_quoted(key, escaped)}:{_spelt(item, escaped)}" for key, item in value) + "}"
        case dict():
            return _spelt(Pairs(value.items()), escaped)
        case list():
            return "[" + ",".join(_spelt(item, escaped) for item in value) + "]"
        case str():
            return _quoted(value, escaped)
    return json.dumps(value)


def _quoted(text: str, escaped: bool) -> str:
    return json.dumps(text, ensure_ascii=escaped)


@st.composite
def packed(draw: Draw, found: Searches) -> bytes:
    """MessagePack bodies: bent searches, damaged ones, and bytes."""
    document = draw(documents(found))
    for _ in range(draw(st.integers(0, 1))):
        document = bent(draw, document, draw(PACKABLE))
    return bytes(draw(st.sampled_from(PACKED_SHAPES))(draw, pack(document)))


def _kept(draw: Draw, body: bytes) -> bytes:
    return body


def _deeply_packed(draw: Draw, body: bytes) -> bytes:
    opened = draw(st.sampled_from([b"\x91", b"\x81\xa5flows", b"\xdd\xff\xff\xff\xff", b"\xc1"]))
    return bytes(opened * draw(st.sampled_from([1, 100, 2000])) + body)


def _any_bytes(draw: Draw, body: bytes) -> bytes:
    return bytes(draw(st.binary(max_size=100)))


PACKED_SHAPES = [_kept, _kept, _kept, damaged, damaged, _deeply_packed, _any_bytes]


def _packable() -> st.SearchStrategy[Any]:
    """What MessagePack has and JSON has not."""
    moments = st.datetimes(timezones=st.timezones() | st.none())
    extensions = st.builds(msgspec.msgpack.Ext, st.integers(-128, 127), st.binary(max_size=16))
    return st.one_of(st.floats(), st.binary(max_size=20), st.just(bytes(16)), moments, extensions)


PACKABLE = _packable()


def pack(document: Any) -> bytes:
    """The document as MessagePack; what that cannot hold is a text."""
    return msgspec.msgpack.encode(_holdable(document))


def _holdable(value: Any) -> Any:
    match value:
        case bool():
            return value
        case int() if not -(2**63) <= value < 2**64:
            return float(value)
        case str():
            return value.encode(errors="replace").decode()
        case dict():
            return {_holdable(key): _holdable(item) for key, item in value.items()}
        case list():
            return [_holdable(item) for item in value]
    return value
