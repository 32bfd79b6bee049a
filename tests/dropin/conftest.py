"""One stack for all: a database that Prefect's migrations made, the real server with its UI, the fleet, and a browser."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, async_playwright

from services import embedded
from tests.conformance import oracle
from tests.conftest import folder
from tests.dropin import chromium, stack
from tests.dropin.stack import Stack
from tests.replica import PRIMARY

CHROMIUM = pytest.StashKey[tuple[str, str]]()
LONG_START = 300  # seconds
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # the browser reaches this machine only
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("drop-in").addoption(
        "--screenshots", type=Path, metavar="FOLDER", help="where pictures of the UI go"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test waits for the whole stack."""
    for item in _ours(items):
        item.add_marker(pytest.mark.timeout(LONG_START))


def _ours(items: list[pytest.Item]) -> list[pytest.Item]:
    return [item for item in items if Path(__file__).parent in item.path.parents]


def pytest_collection_finish(session: pytest.Session) -> None:
    """What has to be installed is, before the first test starts its clock, and not under a test's capture."""
    ours = _ours(session.items)
    if not ours or session.config.option.collectonly:
        return
    with session.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        oracle.oracle_prefix()
        browsing = [item for item in ours if "browser" in getattr(item, "fixturenames", ())]
        path, why = session.config.stash[CHROMIUM] = chromium.provided() if browsing else ("", "")
    for item in [] if path else browsing:
        item.add_marker(pytest.mark.skip(reason=why))


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    _, why = config.stash.get(CHROMIUM, ("", ""))
    if why:
        terminalreporter.section("BROWSER TESTS WERE SKIPPED", "!", red=True, bold=True)
        terminalreporter.line(why)


@pytest.fixture(scope="package")
def dropin_home() -> Iterator[Path]:
    with folder() as made:
        yield made


@pytest.fixture(scope="package")
def prefect_dsn(dropin_home: Path) -> Iterator[str]:
    with embedded.postgres(dropin_home, durable=False, settings=PRIMARY) as dsn:
        oracle.migrate(dsn, dropin_home / "migrating")
        yield dsn


@pytest.fixture(scope="package")
def running(dropin_home: Path, prefect_dsn: str) -> Iterator[Stack]:
    with stack.running(dropin_home / "open", prefect_dsn) as made:
        yield made


@pytest.fixture(scope="package")
def seeded(running: Stack) -> dict[str, str]:
    """The ids of thirty deployments by their full names, made through the gateway by Prefect's client."""
    made: dict[str, str] = running.prefect.script("seed.py")
    return made


@pytest.fixture(scope="module")
async def browser(request: pytest.FixtureRequest) -> AsyncIterator[Browser]:
    path, _ = request.config.stash[CHROMIUM]
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield launched
        await launched.close()
