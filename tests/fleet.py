"""The fleet under test: real processes on real servers, in either of the two ways to run it."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import IO

from shared.contract import SERVICES

ROOT = Path(__file__).parents[1]
READY_WITHIN = 30.0


@dataclass
class Fleet:
    """A running fleet: its address, the process behind each service, and where that process tells its metrics."""

    url: str
    nats_url: str
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    monitors: dict[str, str] = field(default_factory=dict)

    def kill(self, service: str) -> None:
        """SIGKILLs a service and waits until it is gone."""
        self.processes[service].kill()
        self.processes[service].wait(10)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    dsn: str,
    nats_url: str,
    *,
    one_process: bool = False,
    logs: Path | None = None,
    extra: Mapping[str, str] = MappingProxyType({}),
    **settings: str,
) -> Iterator[Fleet]:
    """A ready fleet; asked to leave at the end, which every process must do by itself with exit code 0.

    `logs` is a folder for a log of each process; with it, each has a metrics port too. `extra` are variables of others.
    """
    port = free_port()
    environment = {
        **os.environ,
        "CLASSIS_POSTGRES_DSN": dsn,
        "CLASSIS_NATS_URL": nats_url,
        "CLASSIS_HOST": "127.0.0.1",
        "CLASSIS_PORT": str(port),
        **extra,
        **{f"CLASSIS_{name.upper()}": value for name, value in settings.items()},
    }
    fleet = Fleet(f"http://127.0.0.1:{port}", nats_url)
    with ExitStack() as stack:
        for names in [("all",)] if one_process else [(name,) for name in SERVICES]:
            own = dict(environment)
            if logs:
                own["CLASSIS_METRICS_PORT"] = str(free_port())
                fleet.monitors[names[0]] = f"http://127.0.0.1:{own['CLASSIS_METRICS_PORT']}"
            log = stack.enter_context((logs / f"{names[0]}.log").open("wb")) if logs else None
            fleet.processes[names[0]] = stack.enter_context(process(names, own, log))
        wait_until_ready(fleet.url)
        yield fleet


@contextmanager
def process(
    names: Sequence[str], environment: dict[str, str], log: IO[bytes] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """One process that runs services, asked to leave at the end."""
    command = [sys.executable, "-m", "services", "run", *names]
    with subprocess.Popen(command, env=environment, cwd=ROOT, stderr=log) as started:
        try:
            yield started
        finally:
            killed = started.poll() == -signal.SIGKILL
            started.send_signal(signal.SIGTERM)
            try:
                code = started.wait(20)
            except subprocess.TimeoutExpired:
                started.kill()
                raise
        assert killed or code == 0, f"{names} left with exit code {code}"


def wait_until_ready(url: str, within: float = READY_WITHIN) -> None:
    """Returns as soon as every service answers."""
    last = "nothing listens"
    until = time.monotonic() + within
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"{url}/api/ready", timeout=5):
                return
        except urllib.error.HTTPError as error:
            last = error.read().decode()
            error.close()
        except OSError as error:
            last = str(error)
        select_for_a_moment()
    raise AssertionError(f"{url} is not ready after {within} s: {last}")


def select_for_a_moment() -> None:
    """A pause of a poll on a process that has no way to tell us it is ready."""
    signal.sigtimedwait([], 0.05)
