"""What fuzzing has found in the messages between the services."""

from math import nan

import msgspec
import pytest

from shared.contract import Readiness, RunLeg, Selection


@pytest.mark.parametrize("name", ["flow_ids", "deployment_ids", "work_queue_ids"])
@pytest.mark.parametrize("kind", [Selection, RunLeg])
def test_keys_that_are_cut_off_do_not_arrive(kind: type[Selection], name: str) -> None:
    whole = msgspec.msgpack.decode(msgspec.msgpack.encode({name: bytes(32)}), type=kind)
    assert getattr(whole, name) == bytes(32)
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode({name: bytes(31)}), type=kind)


@pytest.mark.parametrize("kind", [Readiness, Selection])
def test_a_time_that_is_no_number_does_not_arrive(kind: type[Readiness]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode({"within": nan}), type=kind)
