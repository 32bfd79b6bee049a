"""The OpenAPI document: schemathesis makes requests that it allows, and ones that it does not."""

import random
from pathlib import Path
from typing import Any

import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.failures import FailureGroup

from tests.fuzz import chance
from tests.fuzz.ground import Ground
from tests.fuzz.tally import Finding, Tally

DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi.json"
CHECKED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
PLACES = {"/api/deployments/name/{flow}/{deployment}", "/api/deployments/{id}"}


def with_document(ground: Ground, tally: Tally, number: int, seed: int) -> None:
    """Every answer is one that the document tells of. A third of the requests are schemathesis's own list."""
    load_all_checks()
    checks = CHECKS.get_by_names(list(CHECKED))
    document = schemathesis.openapi.from_path(DOCUMENT)
    operations: list[Any] = [found.ok() for found in document.get_all_operations()]  # type: ignore[union-attr]
    with requests.Session() as session:

        def check(case: Any) -> None:
            response = case.call(base_url=ground.fleet.url, session=session)
            told = str(dict(response.headers)).encode() + response.content
            tally.add(response.status_code, told, None if "location" in response.headers else ground.leaks)
            if response.status_code not in {405, 307}:  # of other paths and methods, which the description tells of
                _conforms(case, response, checks)

        listed = [
            case
            for operation in operations
            for case in document.iter_coverage_cases(
                operation, generation_modes=list(MODES), generation_config=document.config.generation
            )
        ]
        for case in random.Random(seed).sample(listed, min(number // 3, len(listed))):
            check(case)
        able = [operation for operation in operations if operation.path_parameters or operation.body]
        made = [operation.as_strategy(generation_mode=GenerationMode.POSITIVE) for operation in operations]
        made += [operation.as_strategy(generation_mode=GenerationMode.NEGATIVE) for operation in able[:3]]
        chance.examples(st.one_of(made), number - tally.requests, seed, check)


def _conforms(case: Any, response: Any, checks: Any) -> None:
    try:
        case.validate_response(response, checks=checks)
    except FailureGroup as error:
        raise Finding(str(error)) from error
