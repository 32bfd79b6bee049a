"""The OpenAPI document is the generated one, is valid, and tells every route of the gateway."""

import json
from pathlib import Path
from uuid import UUID

import jsonschema_rs
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31

from services import openapi
from services.gateway import http

FILE = Path(__file__).parents[2] / "docs" / "openapi.json"
SAMPLE = {"id": str(UUID(int=1)), "flow": "f", "deployment": "d"}


def test_the_document_is_the_generated_one() -> None:
    assert openapi.document() == FILE.read_text(), "if this is meant: make docs"


def test_the_document_is_valid() -> None:
    document = json.loads(FILE.read_text())
    assert [str(error) for error in jsonschema_rs.Draft202012Validator(OPENAPI_31).iter_errors(document)] == []
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})


def test_every_reference_leads_somewhere() -> None:
    document = json.loads(FILE.read_text())
    for reference in _references(document):
        place = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


@pytest.mark.parametrize("kind", ["schemas", "responses", "parameters", "headers"])
def test_nothing_is_declared_in_vain(kind: str) -> None:
    document = json.loads(FILE.read_text())
    used = {reference.rpartition("/")[2] for reference in _references(document) if f"/{kind}/" in reference}
    assert set(document["components"][kind]) == used


def test_the_paths_are_the_gateways_routes() -> None:
    asked = {(operation.path.format(**SAMPLE), operation.method.upper()) for operation in openapi.OPERATIONS}
    assert len(asked) == len(http.ALONE)
    for route in http.ALONE:
        assert any(route.path.fullmatch(path) and route.method == method for path, method in asked), route.path


def _references(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return [*own, *(found for item in value.values() for found in _references(item))]
    return [found for item in value for found in _references(item)] if isinstance(value, list) else []
