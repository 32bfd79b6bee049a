"""Prefect's web UI in a real browser at the gateway: what it shows, and that nothing fails or goes around us."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Locator, expect

from tests.dropin import tab as tabs
from tests.dropin.stack import Stack
from tests.dropin.tab import Tab

DEPLOYMENTS = "/v2/deployments"
PAGES = {  # where, and what is to be seen there
    "/v2/dashboard": ["invoices + dunning", "Pool für alle"],
    "/v2/flows": ["Größe und Gewicht", "invoices + dunning"],
    "/v2/runs": ["run-completed", "run-failed", "run-cancelled"],
    "/v2/work-pools": ["Pool für alle"],
    "/v2/events": ["Event Feed"],
}


@pytest.fixture
async def tab(
    browser: Browser, running: Stack, seeded: dict[str, str], request: pytest.FixtureRequest
) -> AsyncIterator[Tab]:
    """At the gateway. At its end nothing may have failed, and nobody else been asked."""
    pictures: Path | None = request.config.getoption("--screenshots", None)
    async with tabs.opened(browser, running.gateway, pictures) as opened:
        yield opened
        assert not opened.trouble
        assert not opened.foreign


def _names(tab: Tab) -> Locator:
    """The deployments that the page lists."""
    return tab.page.locator("a[href*='/deployments/deployment/']")


def _found(running: Stack, **search: object) -> list[str]:
    return [deployment["name"] for deployment in running.search(**search)]


async def test_it_comes_at_the_gateways_address(tab: Tab, running: Stack) -> None:
    assert running.get("/ui-settings")["api_url"] == "/api"
    await tab.goto("/")
    await expect(tab.page).to_have_url(re.compile(f"^{running.gateway}/v2/dashboard"))
    await expect(tab.page.get_by_role("main").get_by_text("Dashboard")).to_be_visible()


async def test_the_deployments_are_listed_sorted_and_paged(tab: Tab, running: Stack) -> None:
    before = running.answered("filter"), running.answered("count")
    await tab.goto(DEPLOYMENTS)
    everything = running.ask("POST", "/api/deployments/count", {})
    await expect(tab.page.get_by_text(f"{everything} Deployments")).to_be_visible()
    await expect(_names(tab)).to_have_text(_found(running, limit=10, sort="NAME_ASC"))
    await tab.picture("deployments")
    await tab.page.get_by_role("combobox", name="Deployment sort order").click()
    await tab.page.get_by_role("option", name="Z to A").click()
    await expect(_names(tab)).to_have_text(_found(running, limit=10, sort="NAME_DESC"))
    await tab.page.get_by_role("button", name="Go to next page").click()
    await expect(_names(tab)).to_have_text(_found(running, limit=10, sort="NAME_DESC", offset=10))
    assert running.answered("filter") > before[0] + 3
    assert running.answered("count") > before[1] + 1


async def test_deployments_are_searched(tab: Tab) -> None:
    await tab.goto(DEPLOYMENTS)
    await tab.page.get_by_role("textbox", name="Search deployments").fill("report-1")
    await expect(_names(tab)).to_have_text([f"report-1{number}" for number in range(10)])
    await expect(tab.page).to_have_url(re.compile("flowOrDeploymentName=report-1"))
    await tab.picture("search")
    await tab.page.get_by_role("textbox", name="Search deployments").fill('nächtlich: "ALLES", 100 € ~ [a] it\'s')
    await expect(_names(tab)).to_have_text(['nächtlich: "alles", 100 € ~ [a] it\'s'])


async def test_deployments_are_filtered_by_tag(tab: Tab) -> None:
    await tab.goto(DEPLOYMENTS)
    await tab.page.get_by_role("button", name="Filter by tags").click()
    await tab.page.get_by_role("option", name="rare").click()
    await expect(_names(tab)).to_have_text(['nächtlich: "alles", 100 € ~ [a] it\'s', "report-10", "report-20"])


async def test_a_deployment_is_switched_on_and_paused(tab: Tab, running: Stack, seeded: dict[str, str]) -> None:
    """What is written past the gateway's searches is on the list at once."""
    path = f"/api/deployments/{seeded['Größe und Gewicht/report-06']}"
    before = running.answered("by_id")
    await tab.goto(f"{DEPLOYMENTS}?flowOrDeploymentName=report-06")
    await expect(tab.page.get_by_role("button", name="Paused Every 1 day")).to_be_visible()
    await tab.page.get_by_role("link", name="report-06").click()
    switch = tab.page.get_by_role("switch", name="toggle Every 1 day")
    await expect(switch).not_to_be_checked()
    await switch.click()
    await expect(switch).to_be_checked()
    await tab.picture("deployment")
    await tab.page.get_by_role("link", name="Deployments").first.click()
    await expect(tab.page.get_by_role("row", name="report-06").get_by_text("Every 1 day")).to_be_visible()
    await expect(tab.page.get_by_role("row", name="report-06").get_by_text("Paused")).to_have_count(0)
    assert running.get(path)["schedules"][0]["active"]
    await tab.page.get_by_role("link", name="report-06").click()
    await switch.click()
    await expect(switch).not_to_be_checked()
    await tab.page.get_by_role("link", name="Deployments").first.click()
    await expect(tab.page.get_by_role("row", name="report-06").get_by_text("Paused")).to_be_visible()
    assert not running.get(path)["schedules"][0]["active"]
    assert running.answered("by_id") > before + 1


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_shows_what_it_should(tab: Tab, path: str) -> None:
    await tab.goto(path)
    for text in PAGES[path]:
        await expect(tab.page.get_by_role("main").get_by_text(text).first).to_be_visible()
    await tab.page.wait_for_load_state("networkidle")
    if path.endswith("dashboard"):
        await tab.picture("dashboard")


async def test_the_old_ui(tab: Tab, running: Stack) -> None:
    before = running.answered("paginate")
    await tab.goto("/deployments")
    await expect(tab.page.get_by_role("link", name="report-01")).to_be_visible()
    await tab.page.get_by_placeholder("Search deployments").fill("report-2")
    await expect(tab.page.get_by_role("link", name="report-20")).to_be_visible()
    await expect(tab.page.get_by_role("link", name="report-01")).to_have_count(0)
    assert running.answered("paginate") > before + 1


async def test_the_same_requests_get_the_same_answers_as_without_the_gateway(
    tab: Tab, browser: Browser, running: Stack
) -> None:
    """Directly, the server sends a browser to the address that it believes to be its own; so that one is told."""
    async with tabs.opened(browser, running.server) as direct:
        settings = running.get("/ui-settings")
        await direct.page.route("**/ui-settings", lambda route: route.fulfill(json=settings))
        for either in (tab, direct):
            async with either.page.expect_response("**/api/flow_runs/filter"):  # the last that it asks
                await either.goto(DEPLOYMENTS)
            await either.page.wait_for_load_state("networkidle")
    assert tab.answers == direct.answers
