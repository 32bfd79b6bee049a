"""What fuzzing has found in the way a search is read."""

import json

import pytest

from services.gateway import decode, validation
from services.gateway.validation import Invalid, Undecodable
from shared.filters import Count


def test_a_list_of_errors_ends() -> None:
    body = json.dumps({"flows": {"id": {"any_": [1] * 5000}, "bogus": 1}}).encode()
    with pytest.raises(Invalid) as refused:
        decode.settled(decode.read(Count, body, 200), 200)
    assert len(refused.value.details) == validation.MOST_ERRORS
    assert refused.value.details[-1]["loc"] == ["body", "flows", "id", "any_", validation.MOST_ERRORS - 1]


def test_a_messagepack_extension_is_refused() -> None:
    with pytest.raises(Undecodable):
        decode.read_msgpack(Count, b"\x81\xa5flows\xc7\x00\x00")
