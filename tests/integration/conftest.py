"""Lines to the NATS of a test."""

from collections.abc import AsyncIterator

import pytest

from tests.buses import Connect, connecting


@pytest.fixture
async def connect(nats_url: str) -> AsyncIterator[Connect]:
    async with connecting(nats_url) as made:
        yield made
