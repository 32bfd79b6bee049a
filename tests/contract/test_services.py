"""Whoever adds a service is told here what is missing."""

from pathlib import Path

import pytest

from services.__main__ import SERVICES
from shared import contract
from shared.settings import Settings

ROOT = Path(__file__).parents[2]


def test_the_table_of_services_is_the_contracts() -> None:
    assert tuple(SERVICES) == contract.SERVICES


@pytest.mark.parametrize("service", contract.SERVICES)
def test_a_service_is_complete(service: str) -> None:
    assert f"command: [run, {service}]" in (ROOT / "compose.yaml").read_text()
    assert any(endpoint.service == service for endpoint in contract.ENDPOINTS)
    if service != "gateway":
        assert f"{service}_postgres_dsn" in Settings.__struct_fields__
        assert service in contract.READY
