"""Prefect's server is away: its own clients go on searching, and are answered by the fleet."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from services import embedded
from tests import fleet
from tests.dropin.prefect import Prefect
from tests.dropin.stack import Stack
from tests.relay import Relay, relay


@pytest.fixture
def line(running: Stack) -> Iterator[Relay]:
    with relay(running.server) as made:
        yield made


@pytest.fixture
def user(dropin_home: Path, prefect_dsn: str, running: Stack, line: Relay) -> Iterator[Prefect]:
    """A user of a second gateway, before the same server."""
    home = dropin_home / "away"
    home.mkdir(mode=0o711)
    with (
        embedded.nats(home) as nats_url,
        fleet.running(prefect_dsn, nats_url, one_process=True, upstream=line.url) as made,
    ):
        yield replace(running.prefect, url=made.url)


def test_the_clients_search_without_the_server(user: Prefect, line: Relay, seeded: dict[str, str]) -> None:
    wanted = {
        "searches": [{"limit": 3}, {"flow_run_filter": {"name": {"any_": ["run-failed"]}}}],
        "ids": list(seeded.values())[:1],
        "names": list(seeded)[:1],
    }
    address = f"{user.url}/api"
    before = user.script("read.py", address, given=wanted)
    line.cut()
    assert user.script("read.py", address, given=wanted) == before
    assert [len(found) for found in before[address]["async"]["searches"]] == [3, 1]
