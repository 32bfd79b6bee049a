"""The network policies let the fleet work, and nothing else."""

import pytest

from shared.settings import Settings
from tests.kubernetes.manifests import BUILDS, EXAMPLE, Manifests, Pod, rendered
from tests.kubernetes.reach import OUTSIDE, Place, may

DATABASE, UPSTREAM, COLLECTOR = 5432, 4200, 4318
PROMETHEUS = Place({"app.kubernetes.io/name": "prometheus"}, ours=False)
PROGRAM = Place({"classis-client": "true"})
STRANGER = Place({"app": "stranger"})


@pytest.fixture(params=BUILDS)
def manifests(request: pytest.FixtureRequest) -> Manifests:
    return rendered(request.param)


def place(pod: Pod) -> Place:
    return Place(pod.labels)


def test_a_service_reaches_what_it_needs(manifests: Manifests) -> None:
    for pod in manifests.services:
        here, is_gateway = place(pod), pod.service == "gateway"
        assert may(manifests, here, OUTSIDE, 53, "UDP")
        assert may(manifests, here, OUTSIDE, 53)
        assert may(manifests, here, OUTSIDE, DATABASE) is not is_gateway
        assert may(manifests, here, OUTSIDE, UPSTREAM) is is_gateway
        assert may(manifests, here, OUTSIDE, COLLECTOR) is (manifests is rendered(EXAMPLE))
        for port in (80, 443, 6443):
            assert not may(manifests, here, OUTSIDE, port)


def test_nats_is_for_the_services_and_for_who_has_the_label(manifests: Manifests) -> None:
    for pod in manifests.services:
        assert may(manifests, place(pod), OUTSIDE, 4222) is (not manifests.nats)
    for nats in map(place, manifests.nats):
        assert all(may(manifests, place(pod), nats, 4222) for pod in manifests.services)
        assert may(manifests, PROGRAM, nats, 4222)
        for other in (STRANGER, OUTSIDE, PROMETHEUS):
            assert not may(manifests, other, nats, 4222)
        assert not any(may(manifests, nats, OUTSIDE, port) for port in (443, 4222, 6222))
        several = "CLASSIS_ROUTES" in manifests.nats[0].environment
        assert may(manifests, nats, nats, 6222) is several
        for port in (6222, 8222):
            assert not any(may(manifests, place(pod), nats, port) for pod in manifests.services)


def test_the_gateway_is_the_only_way_in(manifests: Manifests) -> None:
    for pod in manifests.services:
        for source in (OUTSIDE, STRANGER):
            assert may(manifests, source, place(pod), Settings().port) is (pod.service == "gateway")
            assert not may(manifests, source, place(pod), pod.ports["metrics"])


def test_prometheus_comes_in_where_there_is_one(manifests: Manifests) -> None:
    for pod in manifests.services:
        assert may(manifests, PROMETHEUS, place(pod), pod.ports["metrics"]) is (manifests is rendered(EXAMPLE))


def test_others_in_the_namespace_keep_what_they_have(manifests: Manifests) -> None:
    assert may(manifests, STRANGER, OUTSIDE, 443)
    assert may(manifests, OUTSIDE, STRANGER, 4200)
