"""NATS goes away and comes back; somebody on it does not read."""

import asyncio
import signal
import subprocess
import sys
import urllib.request
from time import monotonic

import nats

from shared import contract
from tests.fault.crowd import Replica
from tests.fault.records import OK
from tests.fault.stage import Stage
from tests.fleet import ROOT, select_for_a_moment

SOON = 15.0
MEGABYTE = 1_000_000
TOO_MUCH = 80  # megabytes; a server keeps 64 for a connection that does not read


def test_a_restart_of_nats_costs_at_most_what_was_under_way(stage: Stage) -> None:
    fault = "NATS restarted"
    with stage.load() as load:
        for _ in stage.repeated(fault):
            load.run(1)
            load.mark()
            stage.node.stop()
            stage.node.start()
            load.steady(SOON)
    found = stage.noted(load, fault)
    assert set(found.failed) <= {"503"}
    assert not found.wrong
    assert not load.bad_refusals
    assert found.recovered < 5


def test_without_nats_searches_are_refused_quickly_until_it_is_back(stage: Stage) -> None:
    seconds = stage.lasting(3, 10)
    fault = f"NATS absent for {seconds:.0f} s"
    with stage.load() as load:
        for _ in stage.repeated(fault):
            load.run(0.5)
            with stage.node.stopped():
                load.run(seconds)
            load.mark()
            load.steady(SOON)
    found = stage.noted(load, fault)
    assert set(found.failed) == {"503"}
    assert not found.wrong
    assert not load.bad_refusals
    assert max(sample.took for sample in load.samples if sample.outcome != OK) < 2
    assert found.recovered < 5


def test_a_client_that_stops_reading_costs_others_nothing(stage: Stage) -> None:
    fault = "a client of the bus that stops reading"
    with stage.load() as load:
        for _ in stage.repeated(fault):
            command = [sys.executable, "-m", "tests.fault.reader", stage.node.url]
            with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as reader:
                try:
                    assert reader.stdout
                    assert reader.stdout.readline() == b"read\n"
                    load.mark()
                    reader.send_signal(signal.SIGSTOP)
                    load.run(stage.lasting(2, 15))
                finally:
                    reader.kill()
            load.steady(SOON)
    found = stage.noted(load, fault)
    assert not found.failures
    assert not found.wrong


def test_a_replica_that_falls_behind_is_counted_and_comes_back(stage: Stage) -> None:
    fault = "a replica whose NATS connection is cut as it reads too slowly"
    with stage.load() as load:
        for _ in stage.repeated(fault):
            slow = stage.crowd.of("flows")[0]
            before = trouble(slow)
            load.mark()
            with slow.frozen():
                asyncio.run(flooded(stage.node.url, contract.peers("flows")))
            until = monotonic() + SOON
            while trouble(slow) <= before:
                assert monotonic() < until
                select_for_a_moment()
            load.steady(SOON)
    found = stage.noted(load, fault)
    assert not found.failures
    assert not found.wrong


async def flooded(url: str, subject: str) -> None:
    client = await nats.connect(url)
    for _ in range(TOO_MUCH):
        await client.publish(subject, bytes(MEGABYTE))
        await client.flush()
    await client.close()


def trouble(replica: Replica) -> float:
    """What a replica has counted of errors of NATS and its client, and of connections made anew."""
    with urllib.request.urlopen(f"{replica.metrics}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    wanted = ("classis_bus_trouble_total", "classis_bus_reconnects_total")
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(wanted))
