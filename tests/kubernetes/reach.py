"""Who may talk to whom, by the network policies alone and as Kubernetes reads them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tests.kubernetes.manifests import Document, Manifests, chosen


@dataclass(frozen=True)
class Place:
    """One end of a connection: a pod with labels, ours or of another namespace, or something outside, without."""

    labels: Mapping[str, str] = field(default_factory=dict)
    ours: bool = True


OUTSIDE = Place(ours=False)


def may(manifests: Manifests, source: Place, target: Place, port: int, protocol: str = "TCP") -> bool:
    """Whether both ends allow it."""
    ends = (("Egress", source, target), ("Ingress", target, source))
    return all(_allows(manifests, way, at, other, (port, protocol)) for way, at, other in ends)


def _allows(manifests: Manifests, way: str, at: Place, other: Place, port: tuple[int, str]) -> bool:
    policies = [policy["spec"] for policy in manifests.of("NetworkPolicy") if at.ours and _isolates(policy, way, at)]
    rules = [rule for policy in policies for rule in policy.get(way.lower(), [])]
    return not policies or any(_has(rule, way, other) and port in _ports(rule) for rule in rules)


def _isolates(policy: Document, way: str, at: Place) -> bool:
    return way in policy["spec"]["policyTypes"] and chosen(policy["spec"]["podSelector"], at.labels)


def _has(rule: Document, way: str, other: Place) -> bool:
    peers = rule.get("to" if way == "Egress" else "from")
    return peers is None or any(_is(peer, other) for peer in peers)


def _is(peer: Document, other: Place) -> bool:
    assert peer.keys() <= {"podSelector", "namespaceSelector"}, "a peer that this test cannot read"
    here = other.ours or peer.get("namespaceSelector") == {}
    return here and bool(other.labels) and chosen(peer["podSelector"], other.labels)


def _ports(rule: Document) -> Iterator[tuple[int, str]]:
    return ((port["port"], port.get("protocol", "TCP")) for port in rule["ports"])
