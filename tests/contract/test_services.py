"""Whoever adds a service is told here what is missing."""

from contextlib import AbstractAsyncContextManager
from importlib import import_module
from pathlib import Path

import pytest

from shared import contract
from shared.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("service", contract.SERVICES)
def test_a_service_is_complete(service: str) -> None:
    assert isinstance(import_module(f"services.{service}").running(Settings()), AbstractAsyncContextManager)
    assert f"command: [run, {service}]" in (ROOT / "compose.yaml").read_text()
    assert any(endpoint.service == service for endpoint in contract.ENDPOINTS)
    if service != "gateway":
        assert f"{service}_postgres_dsn" in Settings.__struct_fields__
        assert service in contract.READY
