"""The same with a password: on the server, on the gateway, and with the client, the command line and the browser."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.dropin import stack, tab
from tests.dropin.stack import Stack, until

SECRET = "admin:pass: word 1"


@pytest.fixture(scope="module")
def locked(dropin_home: Path, prefect_dsn: str, seeded: dict[str, str]) -> Iterator[Stack]:
    """A second server and fleet on the database that the first one's client has filled."""
    with stack.running(dropin_home / "locked", prefect_dsn, SECRET) as made:
        yield made


def test_the_client_with_the_password(locked: Stack, seeded: dict[str, str]) -> None:
    wanted = {"searches": [{"limit": 3}], "ids": list(seeded.values())[:1], "names": list(seeded)[:1]}
    places = [f"{url}/api" for url in (locked.gateway, locked.server)]
    gateway, server = locked.prefect.script("read.py", *places, given=wanted).values()
    assert gateway == server
    assert [len(found) for found in gateway["async"]["searches"]] == [3]
    assert locked.answered("filter") == locked.answered("by_id") == locked.answered("by_name") == 2


def test_the_client_without_it(locked: Stack, seeded: dict[str, str]) -> None:
    stranger = replace(locked.prefect, settings={})
    wanted = {"searches": [{}], "ids": list(seeded.values())[:1], "names": []}
    found = stranger.script("read.py", f"{locked.gateway}/api", given=wanted)[f"{locked.gateway}/api"]
    assert found["sync"]["searches"] == found["sync"]["ids"] == ["PrefectHTTPStatusError"]


def test_the_websockets(locked: Stack, dropin_home: Path) -> None:
    """They are opened without the password, and tell it as their first message."""
    log = dropin_home / "stream.log"
    with locked.prefect.running(log, "prefect", "events", "stream", "--format", "json"):
        until(locked.tunnels)
        locked.prefect.cli("events", "emit", "classis.seen", "--resource-id", "classis.1")
        until(lambda: "classis.seen" in log.read_text())


async def test_the_browser(locked: Stack, browser: Browser) -> None:
    async with tab.opened(browser, locked.gateway) as opened:
        await opened.goto("/v2/deployments")
        await opened.page.get_by_role("textbox").fill(SECRET)
        await opened.page.get_by_role("button", name="Login").click()
        await expect(opened.page.get_by_role("link", name="report-01")).to_be_visible()
        assert not opened.foreign
