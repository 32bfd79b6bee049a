"""A fleet with several replicas of every service, whose processes are started, killed, frozen and replaced one by one."""

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Self

from services import embedded
from shared.contract import SERVICES
from tests.fleet import ROOT, free_port, select_for_a_moment, wait_until_ready

GATEWAY = ("gateway",)
BACK = SERVICES[:-1]
APART = tuple((name,) for name in SERVICES)  # a process per replica of a service
TOGETHER = (BACK, GATEWAY)  # the services behind the gateway share a process: fewer to start
LEAVING = 20.0
READY_WITHIN = 30.0


@dataclass
class Replica:
    """One process and the services in it."""

    names: Sequence[str]
    process: embedded.Process
    url: str  # of its gateway, if it is one
    metrics: str
    log: Path

    @property
    def title(self) -> str:
        return self.names[0] if len(self.names) == 1 else "services"

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    def leave(self) -> None:
        """Asks it to go, and sees that it goes well."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(LEAVING)
        assert code == 0, f"{self.names} left with {code}; {embedded.tail(self.log, 40)}"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It exists but does nothing."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


@dataclass
class Crowd:
    """The processes by service; the first names of a group of services that share a process stand for all."""

    home: Path
    dsn: str
    nats_urls: Sequence[str]  # each replica takes the next as its first
    layout: Sequence[Sequence[str]] = APART
    settings: Mapping[str, str] = field(default_factory=dict)
    replicas: list[Replica] = field(default_factory=list)
    started: int = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def gateways(self) -> list[Replica]:
        return [replica for replica in self.replicas if "gateway" in replica.names]

    @property
    def urls(self) -> list[str]:
        return [gateway.url for gateway in self.gateways]

    def of(self, service: str) -> list[Replica]:
        return [replica for replica in self.replicas if service in replica.names]

    def whole(self, replicas: int = 2) -> None:
        """Starts what is missing and waits until every gateway is ready."""
        self.replicas = [replica for replica in self.replicas if replica.runs]
        for names in self.layout:
            for _ in range(replicas - len(self.of(names[0]))):
                self.start(names)
        for replica in self.replicas:
            wait_for(replica)

    def start(self, names: Sequence[str]) -> Replica:
        """One more process, which may not be ready yet."""
        self.started += 1
        url = f"http://127.0.0.1:{free_port()}" if "gateway" in names else ""
        metrics = f"http://127.0.0.1:{free_port()}"
        log = self.home / f"{names[0]}-{self.started}.log"
        turn = self.started % len(self.nats_urls)
        settings = {
            "postgres_dsn": self.dsn,
            "nats_url": ",".join([*self.nats_urls[turn:], *self.nats_urls[:turn]]),
            "host": "127.0.0.1",
            "port": (url or metrics).rpartition(":")[2],
            "metrics_port": metrics.rpartition(":")[2],
            **self.settings,
        }
        environment = {**os.environ, **{f"CLASSIS_{name.upper()}": value for name, value in settings.items()}}
        command = [sys.executable, "-m", "services", "run", *names]
        process = embedded.spawn(command, env=environment, cwd=ROOT, log=log)
        self.replicas.append(Replica(names, process, url, metrics, log))
        return self.replicas[-1]

    def replace(self, old: Replica) -> Replica:
        """As Kubernetes does it: a new one, and when it is ready the old one is asked to leave (by the caller)."""
        new = self.start(old.names)
        wait_for(new)
        self.replicas.remove(old)
        return new

    def close(self) -> None:
        """Everybody leaves by itself, and well; all are gone when this returns."""
        running = [replica for replica in self.replicas if replica.runs]
        for replica in running:
            replica.process.send_signal(signal.SIGCONT)
            replica.process.send_signal(signal.SIGTERM)
        left = {}
        for replica in running:
            try:
                left[replica.log.name] = replica.process.wait(LEAVING)
            except subprocess.TimeoutExpired:
                left[replica.log.name] = -1
            embedded.stop(replica.process)
        self.replicas.clear()
        assert not any(left.values()), f"exit codes: {left}"


def wait_for(replica: Replica) -> None:
    """Until it is ready: it listens on the bus; a gateway, when the whole fleet does and reaches its database."""
    if replica.url:
        wait_until_ready(replica.url)
        return
    until, said = monotonic() + READY_WITHIN, "nothing"
    while monotonic() < until and replica.runs:
        try:
            with urllib.request.urlopen(f"{replica.metrics}/ready", timeout=5):
                return
        except urllib.error.HTTPError as error:
            said = error.read().decode()
            error.close()
        except OSError as error:
            said = str(error)
        select_for_a_moment()
    raise AssertionError(f"{replica.title} is not ready: {said}; {embedded.tail(replica.log)}")
