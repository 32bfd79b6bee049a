"""Reading a search: the short way and the long way mean the same, and every lax spelling means what Prefect takes it for."""

import json
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway import decode, validation
from services.gateway.decode import Unsettled
from services.gateway.validation import Invalid, LimitOutOfRange, Undecodable
from shared.filters import Count, Filter, Paginate
from tests import declared

LARGEST = 200
BODIES = [body for _, body in declared.searches()]


def read(body: bytes, kind: type[Count] = Filter) -> Count:
    return decode.settled(decode.read(kind, body, LARGEST), LARGEST)


def errors(body: bytes, kind: type[Count] = Filter) -> list[tuple[str, list[str | int]]]:
    with pytest.raises(Invalid) as invalid:
        read(body, kind)
    return [(detail["type"], detail["loc"][1:]) for detail in invalid.value.details]


@pytest.mark.parametrize("body", BODIES, ids=json.dumps)
def test_the_short_way_and_the_long_way_agree(body: dict[str, Any]) -> None:
    short = decode.read(Filter, json.dumps(body).encode(), LARGEST)
    assert not isinstance(short, Unsettled)
    assert short == validation.search(Filter, body, LARGEST)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["and_", "or_", "true", "1", "10"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def broken(body: Any, value: Any, choose: random.Random) -> Any:
    """The body with one value somewhere in it replaced."""
    if isinstance(body, dict) and body and choose.random() < 0.8:
        name = choose.choice(list(body))
        return {**body, name: broken(body[name], value, choose)}
    if isinstance(body, list) and body and choose.random() < 0.5:
        return [broken(body[0], value, choose), *body[1:]]
    return value


@settings(max_examples=2000, deadline=None)
@given(body=st.sampled_from(BODIES), value=json_values, seed=st.integers(0, 1000))
def test_the_short_way_never_takes_what_the_long_way_refuses(body: Any, value: Any, seed: int) -> None:
    document = broken(body, value, random.Random(seed))
    raw = json.dumps(document).encode()
    short = decode.read(Filter, raw, LARGEST)
    if not isinstance(short, Unsettled):
        assert short == validation.search(Filter, json.loads(raw), LARGEST)


@settings(max_examples=2000, deadline=None)
@given(raw=st.binary(max_size=60) | st.text(max_size=60).map(lambda text: f'{{"x":{text}}}'.encode(errors="replace")))
def test_the_short_way_never_takes_what_is_no_json(raw: bytes) -> None:
    try:
        short = decode.read(Filter, raw, LARGEST)
    except (Invalid, Undecodable):
        return
    if raw and not isinstance(short, Unsettled):
        json.loads(raw)


@pytest.mark.parametrize(
    ("spelling", "meaning"),
    [("10", 10), ("10.0", 10), ("1E1", 10), ("true", 1), ('" 10 "', 10), ('"+5"', 5), ('"-0"', 0), ('"007"', 7),
     ('"1_0"', 10), ('"10.000"', 10), ("null", None)],
)  # fmt: skip
def test_spellings_of_an_integer(spelling: str, meaning: int | None) -> None:
    assert read(b'{"limit":%b}' % spelling.encode()) == Filter(limit=meaning)


@pytest.mark.parametrize(
    ("spelling", "error"),
    [("10.5", "int_from_float"), ("1e300", "int_parsing_size"), ('""', "int_parsing"), ('"10."', "int_parsing"),
     ('".0"', "int_parsing"), ('"10.50"', "int_parsing"), ('"1e1"', "int_parsing"), ('"0x10"', "int_parsing"),
     ('"1__0"', "int_parsing"), ('"1_"', "int_parsing"), ('"١"', "int_parsing"), ("[]", "int_type"), ("{}", "int_type"),
     ("NaN", "finite_number"), ("-Infinity", "finite_number"), ("1e400", "finite_number")],
)  # fmt: skip
def test_what_is_no_integer(spelling: str, error: str) -> None:
    assert errors(b'{"offset":%b}' % spelling.encode()) == [(error, ["offset"])]


@pytest.mark.parametrize(
    ("spelling", "meaning"),
    [("1", True), ("0", False), ("1.0", True), ("-0.0", False), ('"YES"', True), ('"t"', True), ('"Off"', False), ('"n"', False)],
)  # fmt: skip
def test_spellings_of_a_boolean(spelling: str, meaning: bool) -> None:
    search = read(b'{"deployments":{"paused":{"eq_":%b}}}' % spelling.encode())
    assert search.deployments
    assert search.deployments.paused
    assert search.deployments.paused.eq_ is meaning


@pytest.mark.parametrize(
    ("spelling", "error"),
    [("2", "bool_parsing"), ("-1", "bool_parsing"), ('"1.0"', "bool_parsing"), ('""', "bool_parsing"), ('" true"', "bool_parsing"),
     ("0.5", "bool_type"), ("[]", "bool_type"), ("{}", "bool_type")],
)  # fmt: skip
def test_what_is_no_boolean(spelling: str, error: str) -> None:
    where = ["deployments", "paused", "eq_"]
    assert errors(b'{"deployments":{"paused":{"eq_":%b}}}' % spelling.encode()) == [(error, where)]


ID = "00000de9-0000-4000-8000-000000000001"


@pytest.mark.parametrize("spelling", [ID, ID.upper(), ID.replace("-", ""), f"{{{ID}}}", f"urn:uuid:{ID}"])
def test_spellings_of_an_id(spelling: str) -> None:
    search = read(json.dumps({"deployments": {"id": {"any_": [spelling]}}}).encode())
    assert search.deployments
    assert search.deployments.id
    assert list(map(str, search.deployments.id.any_ or [])) == [ID]


@pytest.mark.parametrize(
    "spelling", [f" {ID}", f"{{{ID.replace('-', '')}}}", ID[:-1], f"URN:UUID:{ID}", ID.replace("-", "_"), ""]
)
def test_what_is_no_id(spelling: str) -> None:
    body = json.dumps({"deployments": {"id": {"any_": [spelling, 1, None]}}}).encode()
    where = ["deployments", "id", "any_"]
    assert errors(body) == [("uuid_parsing", [*where, 0]), ("uuid_type", [*where, 1]), ("uuid_type", [*where, 2])]


def test_all_errors_are_told_in_prefects_order() -> None:
    body = {
        "deployments": {"zzz": 1, "operator": "x", "tags": {"any_": 1, "bad": 2, "all_": ["a", 1]}},
        "sort": "s", "flows": {"operator": None}, "offset": "q", "limit": "l", "ignored": 1,
    }  # fmt: skip
    assert errors(json.dumps(body).encode()) == [
        ("int_parsing", ["limit"]),
        ("int_parsing", ["offset"]),
        ("enum", ["flows", "operator"]),
        ("enum", ["deployments", "operator"]),
        ("string_type", ["deployments", "tags", "all_", 1]),
        ("list_type", ["deployments", "tags", "any_"]),
        ("extra_forbidden", ["deployments", "tags", "bad"]),
        ("extra_forbidden", ["deployments", "zzz"]),
        ("enum", ["sort"]),
    ]


@pytest.mark.parametrize(("kind", "count"), [(Filter, 9), (Paginate, 9), (Count, 6)])
def test_a_body_that_is_no_object_misses_every_field(kind: type[Count], count: int) -> None:
    found = errors(b"[]", kind)
    assert {error for error, _ in found} == {"missing"}
    assert len(found) == count


@pytest.mark.parametrize("limit", ["201", "-1", '"201"', "1180591620717411303424"])
def test_a_limit_out_of_range_is_told_alone(limit: str) -> None:
    with pytest.raises(LimitOutOfRange):
        read(b'{"limit":%b,"offset":"x","flows":1}' % limit.encode())


def test_a_count_does_not_look_at_paging() -> None:
    assert read(b'{"limit":"junk","page":-1,"sort":"x","offset":{}}', Count) == Count()


@pytest.mark.parametrize(
    "body", [b"", b"null", b"{}", b' {"bogus":[1]} ', b"\xef\xbb\xbf{}", '{"limit":null}'.encode("utf-16")]
)
def test_bodies_that_ask_with_all_defaults(body: bytes) -> None:
    assert read(body) == Filter()


@pytest.mark.parametrize("body", [b'{"x":"\xff"}', b"[" * 100_000, b'{"x":%b}' % (b"1" * 4301)])
def test_bodies_that_cannot_be_read(body: bytes) -> None:
    with pytest.raises(Undecodable):
        read(body)


@pytest.mark.parametrize("text", ["\\u0000", "\\ud800"])
def test_text_that_no_database_holds_is_the_clients_mistake(text: str) -> None:
    body = b'{"deployments":{"name":{"like_":"%b"}}}' % text.encode()
    assert errors(body) == [("value_error", ["deployments", "name", "like_"])]


@pytest.mark.parametrize(
    ("kind", "body", "where"),
    [(Filter, {"offset": 2**63}, "offset"), (Paginate, {"page": 2**62, "limit": 3}, "page")],
)
def test_an_offset_beyond_64_bits_is_the_clients_mistake(kind: type[Count], body: Any, where: str) -> None:
    assert errors(json.dumps(body).encode(), kind) == [("less_than_equal", [where])]


@pytest.mark.parametrize("body", BODIES, ids=json.dumps)
def test_messagepack_means_the_same(body: dict[str, Any]) -> None:
    found = decode.read_msgpack(Filter, msgspec.msgpack.encode(body))
    assert decode.settled(found, LARGEST) == validation.search(Filter, body, LARGEST)


@settings(max_examples=500, deadline=None)
@given(raw=st.binary(max_size=40))
def test_messagepack_of_any_kind_is_read_or_refused(raw: bytes) -> None:
    try:
        decode.settled(decode.read_msgpack(Filter, raw), LARGEST)
    except (Invalid, Undecodable, LimitOutOfRange):
        return
    assert raw == b"" or isinstance(msgspec.msgpack.decode(raw), dict | None)
