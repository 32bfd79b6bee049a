"""A node of a NATS cluster vanishes: cut off from everybody, or frozen."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace

import pytest

from tests.conftest import folder
from tests.fault.cluster import SIZE, Host, cluster, hosts, no_hosts
from tests.fault.crowd import Crowd
from tests.fault.stage import Node, Stage

SOON = 15.0


@pytest.fixture(scope="module")
def spread(shared_stage: Stage) -> Iterator[tuple[Stage, list[Node], list[Host]]]:
    """A fleet whose processes are spread over the nodes."""
    shared_stage.crowd.whole()
    assert shared_stage.learned
    with ExitStack() as stack:
        home = stack.enter_context(folder())
        on = [Host()] * SIZE if no_hosts() else stack.enter_context(hosts())
        nodes = stack.enter_context(cluster(home, on))
        database = shared_stage.database
        crowd = stack.enter_context(Crowd(home, database.url, [node.url for node in nodes], shared_stage.crowd.layout))
        crowd.whole()
        yield replace(shared_stage, crowd=crowd), nodes, on


def vanishes(stage: Stage, fault: str, ways: list[AbstractContextManager[None]]) -> None:
    """One node after the other vanishes for a while and comes back."""
    with stage.load() as load:
        for number in stage.repeated(fault):
            load.run(0.5)
            load.mark()
            with ways[number % len(ways)]:
                load.steady(SOON)
                load.run(stage.lasting(0.5, 5))
            load.steady(SOON)
    found = stage.noted(load, fault)
    assert set(found.failed) <= {"503"}
    assert not found.wrong
    assert not load.bad_refusals
    assert found.recovered < 6


def test_a_node_that_is_cut_off(spread: tuple[Stage, list[Node], list[Host]]) -> None:
    if reason := no_hosts():
        pytest.skip(reason)
    stage, _, on = spread
    vanishes(stage, "NATS cluster: a node cut off", [host.cut_off() for host in on])


def test_a_node_that_is_frozen(spread: tuple[Stage, list[Node], list[Host]]) -> None:
    stage, nodes, _ = spread
    vanishes(stage, "NATS cluster: a node frozen", [node.frozen() for node in reversed(nodes)])
