"""The contract does not change by accident: golden schemas, the generated document, and the wire itself."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services import subjects
from shared import calling
from shared.contract import ENDPOINTS, Call, Endpoint
from shared.filters import Count, Group
from tests import declared
from tests.contract import golden

SUBJECTS = Path(__file__).parents[2] / "docs" / "subjects.md"
INTERNAL = [endpoint for endpoint in ENDPOINTS if not endpoint.public]


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.subject)
def test_the_schema_is_the_golden_one(endpoint: Endpoint[Any, Any]) -> None:
    assert golden.schema(endpoint) == golden.file(endpoint).read_text(), "if this is meant: make docs"


def test_no_golden_schema_is_left_over() -> None:
    assert set(golden.FOLDER.iterdir()) == {golden.file(endpoint) for endpoint in ENDPOINTS}


def test_the_document_is_the_generated_one() -> None:
    assert subjects.document() == SUBJECTS.read_text(), "if this is meant: make docs"


def test_each_subject_is_of_its_service() -> None:
    names = [endpoint.subject for endpoint in ENDPOINTS]
    assert len(set(names)) == len(names)
    for endpoint in INTERNAL:
        assert endpoint.subject.split(".")[:3] == ["classis", "v1", endpoint.service]


@pytest.mark.parametrize("endpoint", INTERNAL, ids=lambda endpoint: endpoint.subject)
def test_an_internal_request_refuses_unknown_fields(endpoint: Endpoint[Any, Any]) -> None:
    assert issubclass(endpoint.request, Call)
    assert endpoint.request.__struct_config__.forbid_unknown_fields


def test_a_reply_may_grow() -> None:
    for endpoint in INTERNAL:
        assert not endpoint.reply.__struct_config__.forbid_unknown_fields


@pytest.mark.parametrize("body", [pytest.param(body, id=path) for path, body in declared.searches()])
def test_a_filter_survives_the_bus(body: dict[str, Any]) -> None:
    search = msgspec.json.decode(json.dumps(body), type=Count)
    assert msgspec.msgpack.decode(calling.encode(search), type=Count) == search


def test_null_and_missing_differ_where_they_must() -> None:
    """A task run's flow run: null says nothing, missing says "is set"."""
    null = msgspec.json.decode(b'{"task_runs":{"flow_run_id":{"is_null_":null}}}', type=Count)
    missing = msgspec.json.decode(b'{"task_runs":{"flow_run_id":{}}}', type=Count)
    assert null != missing
    assert msgspec.msgpack.decode(calling.encode(null), type=Count) == null


def test_every_filter_is_a_frozen_group_that_refuses_unknown_keys() -> None:
    kinds = [kind for kind in _subclasses(Group) if kind.__struct_fields__]
    assert len(kinds) > 30
    for kind in kinds:
        assert kind.__struct_config__.frozen
        assert kind.__struct_config__.forbid_unknown_fields


def _subclasses(kind: type[Group]) -> list[type[Group]]:
    return [kind, *(deeper for child in kind.__subclasses__() for deeper in _subclasses(child))]
