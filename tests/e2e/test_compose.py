"""compose.yaml and the image as a newcomer meets them: up, more of a service, Prefect's own server behind it, down."""

import json
import os
import re
import shlex
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from testcontainers.compose import DockerCompose

from shared.contract import SERVICES
from tests.conftest import folder
from tests.fleet import free_port
from tests.servers import no_engine

pytestmark = pytest.mark.timeout(400)  # an image is built within the first test that asks for it

ROOT = Path(__file__).parents[2]
IMAGE = "classis:test"
PREFECT_IMAGE = "classis-prefect:test"
PREFECT_DOCKERFILE = b"""
FROM python:3.11-slim
COPY oracle.txt .
RUN python -m venv --without-pip /opt/prefect \
 && pip --python /opt/prefect/bin/python install -q --no-cache-dir --require-hashes --no-deps --no-compile -r oracle.txt
ENV PATH=/opt/prefect/bin:$PATH
"""
METRICS = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9464/metrics').read().decode())"
SERVED = re.compile(r'^classis_served_seconds_count{.*"classis.v1.runs.owners"} (\d+)', re.MULTILINE)
BUILDS = "for tool in gcc cc make git curl pip; do command -v $tool; done; python -c 'import pip; print(pip)'"
WRITES = "for place in / /tmp /opt/classis; do touch $place/written && echo $place; done"


def run(*command: str, given: bytes = b"") -> str:
    """What a command prints. Raises AssertionError when it fails."""
    done = subprocess.run(command, cwd=ROOT, input=given, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return done.stdout.decode()


@pytest.fixture(scope="module")
def image() -> str:
    """Ours, built by the line that stands in the Dockerfile, with another name."""
    if why := no_engine():
        pytest.skip(why)
    try:
        run("docker", "compose", "version")
    except (OSError, AssertionError) as error:
        pytest.skip(f"a container engine answers, but there is no `docker compose`: {error}")
    [line] = re.findall(r"`(docker build .*?)`", (ROOT / "deploy" / "Dockerfile").read_text())
    run(*shlex.split(line.replace("-t classis", f"-t {IMAGE}")))
    return IMAGE


@pytest.fixture(scope="module")
def prefect_image(image: str) -> str:
    """The image that is named, else one with the packages that the conformance tests compare with."""
    if named := os.environ.get("CLASSIS_TEST_PREFECT_IMAGE"):
        return named
    try:
        run("docker", "build", "-t", PREFECT_IMAGE, "-f", "-", "requirements", given=PREFECT_DOCKERFILE)
    except AssertionError as error:
        pytest.skip(f"an image of Prefect's server cannot be built: {error}")
    return PREFECT_IMAGE


@dataclass
class Stack:
    """A project of its own, on a free port."""

    project: DockerCompose
    url: str

    def compose(self, *arguments: str) -> str:
        return run(*self.project.docker_compose_command(), *arguments)

    def containers(self, *services: str) -> list[Any]:
        return [each for each in self.project.get_containers(include_all=True) if each.Service in services]

    def ask(self, path: str, body: object = None, accept: str = "*/*") -> Any:
        """What the gateway answers: JSON, or text."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json", "accept": accept}
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data, headers), timeout=30) as answer:
            text = answer.read().decode()
            return json.loads(text) if "json" in answer.headers["content-type"] else text


@contextmanager
def up(**variables: str) -> Iterator[Stack]:
    """`docker compose up --wait`; at the end nothing is left, no volume either."""
    port = str(free_port())
    variables |= {"COMPOSE_PROJECT_NAME": f"classis-{uuid4().hex[:8]}", "CLASSIS_IMAGE": IMAGE, "CLASSIS_PORT": port}
    with folder() as home:
        (home / "env").write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
        with DockerCompose(ROOT, env_file=str(home / "env")) as project:
            yield Stack(project, f"http://127.0.0.1:{port}")


@pytest.fixture(scope="module")
def stack(image: str) -> Iterator[Stack]:
    with up() as made:
        yield made


def test_the_line_to_try_answers(stack: Stack) -> None:
    [line] = re.findall(r"curl .*", (ROOT / "compose.yaml").read_text())
    assert run(*shlex.split(line.replace("http://127.0.0.1:4200", stack.url))) == "0"
    assert {each.Health for each in stack.containers(*SERVICES)} == {"healthy"}


def test_more_of_a_service_shares_its_work(stack: Stack) -> None:
    stack.compose("up", "--wait", "--scale", "runs=3")
    replicas = stack.containers("runs")
    assert len(replicas) == 3
    for _ in range(60):
        assert stack.ask("/api/deployments/filter", {"flow_runs": {}}) == []
    for each in replicas:
        [served] = SERVED.findall(run("docker", "exec", each.ID, "python", "-c", METRICS))
        assert int(served) > 0


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_may_write_nowhere_and_build_nothing(stack: Stack, service: str) -> None:
    [container, *_] = stack.containers(service)
    inside = ("docker", "exec", container.ID, "sh", "-c")
    assert run(*inside, "id -u; id -g").split() == ["65534", "65534"]
    assert not run(*inside, f"{BUILDS} || true")
    assert not run(*inside, f"{WRITES} || true")


def test_the_image_is_the_command(image: str) -> None:
    assert run("docker", "run", "--rm", "--read-only", image, "--help").startswith("usage: classis")


def test_sigterm_ends_every_container_in_time(stack: Stack) -> None:
    begun = time.monotonic()
    stack.compose("stop", *SERVICES)
    assert time.monotonic() - begun < 20  # a second or two; killed after 30
    assert {(each.State, each.ExitCode) for each in stack.containers(*SERVICES)} == {("exited", 0)}


def test_prefect_behind_the_gateway(prefect_image: str) -> None:
    """What is made through the gateway is found through it: Prefect writes, the fleet searches."""
    with up(COMPOSE_PROFILES="prefect", PREFECT_IMAGE=prefect_image) as stack:
        assert stack.ask("/api/health") is True
        assert stack.ask("/api/admin/version") == "3.8.8"
        assert "<title>Prefect" in stack.ask("/", accept="text/html")
        flow = stack.ask("/api/flows/", {"name": "made here"})
        made = stack.ask("/api/deployments/", {"name": "nightly", "flow_id": flow["id"]})
        [found] = stack.ask("/api/deployments/filter", {"flows": {"name": {"any_": ["made here"]}}})
        assert found["id"] == made["id"]
        owners = stack.compose("exec", "-T", "gateway", "python", "-c", METRICS)
        assert 'classis_call_seconds_count{outcome="ok",subject="classis.v1.flows.keys"} 1' in owners
