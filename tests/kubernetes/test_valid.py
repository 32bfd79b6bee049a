"""Every build renders, is valid for Kubernetes, old and new, and fits together."""

import re

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
from prometheus_client import metrics as kinds

from shared import metrics
from tests.fleet import ROOT
from tests.kubernetes.manifests import BUILDS, HOME, OVERLAYS, README, Document, Manifests, amount, chosen, rendered

VERSIONS = ("1.30", "1.34", "1.37")
OTHERS = {"ServiceMonitor"}  # kinds that Kubernetes has no schema for
OPERATORS_LABELS = {"namespace", "pod", "container", "node", "service", "endpoint", "job", "instance"}


@pytest.fixture(params=BUILDS)
def manifests(request: pytest.FixtureRequest) -> Manifests:
    return rendered(request.param)


def test_the_readme_names_the_versions_that_are_tried() -> None:
    assert re.findall(r"\b1\.\d\d\b", README) == [VERSIONS[0], *VERSIONS]


def test_the_readme_names_every_overlay() -> None:
    folders = {path.name for path in (HOME / "overlays").iterdir()}
    assert set(re.findall(r"`overlays/([\w-]+)`", README)) == folders == set(OVERLAYS)
    assert set(re.findall(r"apply -k deploy/kubernetes/overlays/([\w-]+)", README)) <= folders


@pytest.mark.parametrize("version", VERSIONS)
def test_it_is_valid(manifests: Manifests, version: str) -> None:
    for document in manifests.documents:
        if document["kind"] not in OTHERS:
            assert kubernetes_validate.validate(document, version, strict=True) == version


def test_a_monitor_finds_the_metrics() -> None:
    manifests = rendered(BUILDS[-1])
    [monitor] = manifests.of("ServiceMonitor")
    spec = monitor["spec"]
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    assert spec.keys() == {"jobLabel", "podTargetLabels", "selector", "endpoints"}
    [service] = [found for found in manifests.of("Service") if chosen(spec["selector"], found["metadata"]["labels"])]
    [endpoint] = spec["endpoints"]
    assert endpoint == {"port": "metrics", "path": "/metrics", "interval": "15s", "honorLabels": True}
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert service["metadata"]["labels"][spec["jobLabel"]] == "classis"  # up{job="classis"} in docs/observability.md
    assert all(spec["podTargetLabels"][0] in pod.labels for pod in manifests.services)


def test_labels_of_ours_are_named_as_the_operators() -> None:
    """Why `honorLabels` must be true: else they were called exported_service and so on."""
    collected = [value for value in vars(metrics).values() if isinstance(value, kinds.MetricWrapperBase)]
    assert {label for metric in collected for label in metric._labelnames} & OPERATORS_LABELS


def test_names_are_given_once(manifests: Manifests) -> None:
    names = [(document["kind"], document["metadata"]["name"]) for document in manifests.documents]
    assert len(names) == len(set(names))


def test_every_selector_selects_what_it_is_for(manifests: Manifests) -> None:
    for pod in manifests.pods:
        spreads = [spread["labelSelector"] for spread in pod.spec.get("topologySpreadConstraints", [])]
        for selector in (pod.workload["spec"]["selector"], *spreads):
            assert selected(manifests, selector) == [pod.name]
    for name, spec in manifests.specs("PodDisruptionBudget").items():
        assert selected(manifests, spec["selector"]) == [name]
    for spec in manifests.specs("NetworkPolicy").values():
        assert selected(manifests, spec["podSelector"])


def selected(manifests: Manifests, selector: Document) -> list[str]:
    return [pod.name for pod in manifests.pods if chosen(selector, pod.labels)]


def test_every_service_leads_to_ports_of_its_pods(manifests: Manifests) -> None:
    fleet = [pod.name for pod in manifests.services]
    several = {"classis-metrics": fleet, "classis-nats-nodes": ["classis-nats"]}
    for name, spec in manifests.specs("Service").items():
        assert selected(manifests, {"matchLabels": spec["selector"]}) == several.get(name, [name])
        ports = {port["targetPort"]: port["port"] for port in spec["ports"]}
        assert all(
            ports.items() <= pod.ports.items() for pod in manifests.pods if pod.name in several.get(name, [name])
        )


def test_every_service_of_the_fleet_scales_and_is_disturbed_one_at_a_time(manifests: Manifests) -> None:
    fleet = {pod.name: pod for pod in manifests.services}
    several = {pod.name for pod in manifests.nats if pod.workload["spec"]["replicas"] > 1}
    budgets = manifests.specs("PodDisruptionBudget")
    assert {name: spec["maxUnavailable"] for name, spec in budgets.items()} == dict.fromkeys(fleet.keys() | several, 1)
    scales = manifests.specs("HorizontalPodAutoscaler")
    assert {name: spec["scaleTargetRef"]["name"] for name, spec in scales.items()} == {name: name for name in fleet}
    assert all(2 <= spec["minReplicas"] < spec["maxReplicas"] for spec in scales.values())
    for pod in fleet.values():
        assert "replicas" not in pod.workload["spec"]  # or every apply would undo the autoscaler
        assert pod.workload["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


def test_no_pod_may_more_than_it_must(manifests: Manifests) -> None:
    accounts = {account["metadata"]["name"]: account for account in manifests.of("ServiceAccount")}
    assert [pod.spec["serviceAccountName"] for pod in manifests.services] == list(accounts)
    assert not any(account["automountServiceAccountToken"] for account in accounts.values())
    user = re.findall(r"^USER (\d+):(\d+)$", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE)[-1]
    for pod in manifests.pods:
        assert pod.spec["automountServiceAccountToken"] is pod.spec["enableServiceLinks"] is False
        assert pod.spec["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": int(user[0]),
            "runAsGroup": int(user[1]),
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert pod.container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_every_pod_asks_for_what_it_needs_and_has_a_limit(manifests: Manifests) -> None:
    for pod in manifests.pods:
        requests, limits = pod.container["resources"]["requests"], pod.container["resources"]["limits"]
        assert requests.keys() == limits.keys() == {"cpu", "memory"}
        assert all(0 < amount(requests[name]) < amount(limits[name]) for name in requests)


def test_nothing_secret_stands_in_a_manifest(manifests: Manifests) -> None:
    assert not list(manifests.of("Secret"))
    for pod in manifests.pods:
        for name, value in pod.environment.items():
            assert not isinstance(value, str) or not re.search("PASSWORD|DSN|AUTH|TOKEN", name) or "$(" in value


def test_every_folder_is_built(manifests: Manifests) -> None:
    files = {path.name for path in HOME.rglob("*.yaml")} - {"kustomization.yaml"}
    listed = "\n".join(path.read_text() for path in HOME.rglob("kustomization.yaml"))
    assert {name for name in files if not re.search(rf"\b{re.escape(name)}\b", listed)} == set()
