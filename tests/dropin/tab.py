"""A browser's tab that remembers every request, and what went wrong."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from playwright.async_api import Browser, ConsoleMessage, Page, Request, Response, Route, expect

SIZE = {"width": 1280, "height": 800}
PATIENCE = 30_000  # milliseconds; a busy machine draws slowly
TELEMETRY = {"sr-client-cfg.amplitude.com", "api2.amplitude.com"}  # asked by the UI itself, whatever its server says
ABORTED = "net::ERR_ABORTED"  # by the browser: a page left, a query that nobody waits for any more
MISSING = "/favicon.ico"  # of every page; the server has none

expect.set_options(timeout=PATIENCE)


class Tab:
    """One page at one address."""

    def __init__(self, page: Page, url: str, pictures: Path | None) -> None:
        self.page = page
        self.url = url
        self.foreign: set[str] = set()
        self.trouble: list[str] = []
        self.answers: set[tuple[str, str, int]] = set()
        self._pictures = pictures
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.trouble.append(str(error)))
        page.on("response", self._answered)
        page.on("requestfailed", self._failed)

    async def goto(self, path: str) -> None:
        await self.page.goto(f"{self.url}{path}")

    async def picture(self, name: str) -> None:
        """For the documents, when it was asked for."""
        if self._pictures:
            await self.page.wait_for_load_state("networkidle")
            await self.page.screenshot(path=self._pictures / f"{name}.png", animations="disabled")

    async def elsewhere(self, route: Route) -> None:
        """Nothing leaves this machine; who asks gets an empty answer."""
        host = urlsplit(route.request.url).hostname or ""
        if host not in TELEMETRY:
            self.foreign.add(route.request.url)
        await route.fulfill(json={}, headers={"access-control-allow-origin": "*"})

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not message.location["url"].endswith(MISSING):
            self.trouble.append(f"{message.text} at {message.location['url']}")

    def _answered(self, response: Response) -> None:
        path = urlsplit(response.url).path
        self.answers.add((response.request.method, path, response.status))
        if response.status >= 400 and path != MISSING:
            self.trouble.append(f"{response.request.method} {response.url} {response.status}")

    def _failed(self, request: Request) -> None:
        if request.failure != ABORTED:
            self.trouble.append(f"{request.method} {request.url} {request.failure}")


@asynccontextmanager
async def opened(browser: Browser, url: str, pictures: Path | None = None) -> AsyncIterator[Tab]:
    """With a context of its own: nothing is remembered of other tabs."""
    context = await browser.new_context(viewport=SIZE, locale="en-US", timezone_id="UTC")  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE)
    tab = Tab(await context.new_page(), url, pictures)
    await context.route(lambda asked: not asked.startswith((url, "blob:", "data:")), tab.elsewhere)
    try:
        yield tab
    finally:
        await context.close()
