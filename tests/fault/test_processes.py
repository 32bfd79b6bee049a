"""Processes of ours leave, die or freeze: users do not notice."""

import random
from collections.abc import Sequence
from time import monotonic

from shared.contract import SERVICES
from tests.fault.crowd import Crowd
from tests.fault.records import OK, Record, Sample
from tests.fault.stage import Stage

RANDOM = random.Random(1)
SOON = 10.0  # seconds within which it must be steady again
MOST = 3.0  # seconds of the slowest hundredth, where the deadline is ten


def unhurt(found: list[Record]) -> None:
    assert not [(record.fault, dict(record.failed), record.wrong) for record in found if record.failures + record.wrong]


def test_a_rolling_restart_costs_no_request(stage: Stage) -> None:
    fault = "rolling restart of all processes"
    with stage.load() as load:
        for _ in stage.repeated(fault):
            for old in tuple(stage.crowd.replicas):
                load.mark()
                new = stage.crowd.replace(old)
                if new.url:
                    load.add(new.url)
                old.leave()
                if old.url:
                    load.remove(old.url)
            load.steady(SOON)
    unhurt([stage.noted(load, fault)])


def test_a_killed_replica_behind_the_gateway_costs_no_request(stage: Stage) -> None:
    found = []
    for names in stage.behind:
        fault = f"SIGKILL of a replica of {_title(names)}"
        with stage.load() as load:
            for _ in stage.repeated(fault):
                load.run(RANDOM.uniform(0.2, 1.2))
                load.mark()
                RANDOM.choice(stage.crowd.of(names[0])).kill()
                load.steady(SOON)
                stage.crowd.whole()
        found.append(stage.noted(load, fault))
    unhurt(found)


def test_a_killed_gateway_costs_only_what_was_under_way_in_it(stage: Stage) -> None:
    fault = "SIGKILL of a gateway"
    with stage.load() as load:
        for _ in stage.repeated(fault):
            load.run(RANDOM.uniform(0.2, 1.2))
            killed = RANDOM.choice(stage.crowd.gateways)
            load.mark()
            killed.kill()
            load.steady(SOON)
            load.remove(killed.url)
            stage.crowd.whole()
            load.add(stage.crowd.gateways[-1].url)
    found = stage.noted(load, fault)
    assert set(found.failed) <= {"lost"}
    assert found.recovered < 0.1  # none that was sent later
    assert not found.wrong


def test_a_frozen_replica_costs_no_request_and_little_time(stage: Stage) -> None:
    found = []
    for names in stage.behind:
        fault = f"SIGSTOP of a replica of {_title(names)}"
        with stage.load() as load:
            for _ in stage.repeated(fault):
                load.mark()
                with RANDOM.choice(stage.crowd.of(names[0])).frozen():
                    load.run(stage.lasting(4, 6))
                load.steady(SOON)
        found.append(stage.noted(load, fault))
    unhurt(found)
    assert max(record.p99 for record in found) < MOST


def test_an_absent_service_is_told_at_once_and_only_to_those_who_need_it(stage: Stage) -> None:
    if stage.rounds:
        absent(stage, stage.crowd, SERVICES[:-1])
        return
    apart = (("flows", "work_pools", "deployments"), ("runs",), ("gateway",))
    with Crowd(stage.home, stage.database.url, [stage.node.url], apart) as crowd:
        stage.crowd.close()  # on the same bus, it would answer
        crowd.whole(1)
        absent(stage, crowd, ["runs"])


def absent(stage: Stage, crowd: Crowd, services: Sequence[str]) -> None:
    replicas = len(crowd.gateways)
    for service in services:
        with stage.load(crowd=crowd) as load:
            for replica in crowd.of(service):
                replica.leave()
            load.run(0.5)
            start = monotonic()
            load.run(stage.lasting(1.5, 4))
            seen = [sample for sample in load.samples if sample.at > start]
            crowd.whole(replicas)
            load.mark()
            load.steady(SOON)
        stage.noted(load, f"{service}: all replicas absent")
        needing = {question.name for question in stage.learned[0] if service in question.needs}
        assert seen
        assert not [sample for sample in seen if not _right(sample, sample.question in needing)]


def _right(sample: Sample, needs: bool) -> bool:
    return sample.outcome == "503" and sample.took < 1 if needs else sample.outcome == OK


def _title(names: object) -> str:
    return names[0] if isinstance(names, tuple) and len(names) == 1 else "all four services"
