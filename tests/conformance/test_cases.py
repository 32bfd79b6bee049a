"""Every case, asked of the real server and of ours: the same answer."""

import pytest

from tests.conformance.asking import Case
from tests.conformance.cases import CASES
from tests.conformance.compare import differences
from tests.conformance.wire import send


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case, fleet_on_fixture: str, oracle_on_fixture: str) -> None:
    ours, theirs = send(fleet_on_fixture, case.request), send(oracle_on_fixture, case.request)
    found = differences(case.request, ours, theirs, case.compare)
    assert not found, "\n".join([str(case.request), *found, f"ours:   {ours}", f"theirs: {theirs}"])
