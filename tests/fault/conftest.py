"""The stage on which things fail: servers, a fleet with two replicas of everything, and a load on it.

Without `--rounds` everything happens once and briefly, on a fleet of four processes: that is what `make test` runs. With
it, each service has processes of its own and every fault comes so often; `--record` names a file for the table.
"""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import folder
from tests.fault.crowd import APART, TOGETHER, Crowd
from tests.fault.records import Record, table
from tests.fault.stage import Node, Stage, demo

RECORDS = pytest.StashKey[list[Record]]()
LONG_TEST = 1800  # seconds


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults")
    group.addoption("--rounds", type=int, metavar="N", help="at full length, every fault so often")
    group.addoption("--record", type=Path, metavar="FILE", help="where the table of what came of the faults goes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--rounds", None):
        for item in items:
            item.add_marker(pytest.mark.timeout(LONG_TEST))


@pytest.fixture(scope="session")
def records(request: pytest.FixtureRequest) -> list[Record]:
    return request.config.stash.setdefault(RECORDS, [])


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = config.stash.get(RECORDS, [])
    path = config.getoption("--record", None)
    if found and path:
        path.write_text(table(found))
    elif found:
        terminalreporter.section("faults")
        terminalreporter.write(table(found))


@pytest.fixture(scope="session")
def rounds(request: pytest.FixtureRequest) -> int:
    """How often each fault comes; 0 is the short form."""
    return request.config.getoption("--rounds", None) or 0


@pytest.fixture(scope="session")
def many_files() -> None:
    """A connection for each request under way is many, for us and for those we start."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@pytest.fixture(scope="session")
def shared_stage(many_files: None, rounds: int, records: list[Record]) -> Iterator[Stage]:
    with folder() as home, demo(home / "postgres") as database, Node(home, "nats") as node:
        settings = {"drain": "1"}
        with Crowd(home, database.url, [node.url], APART if rounds else TOGETHER, settings) as crowd:
            crowd.whole()
            yield Stage(home, database, node, crowd, records, rounds)


@pytest.fixture
def stage(shared_stage: Stage) -> Stage:
    """With everybody there and ready."""
    shared_stage.crowd.whole()
    return shared_stage
