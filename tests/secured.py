"""A fleet where everybody has to log in: NATS with deploy/nats.conf, and each service as a user of its own."""

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType

from services import embedded
from shared.contract import SERVICES
from tests.fleet import ROOT, free_port, wait_until_ready

CONFIG = (ROOT / "deploy" / "nats.conf").read_text()
USERS = (*SERVICES, "client", "monitor")
PASSWORDS = {
    user: f"pass#{number}: of {user}" for number, user in enumerate(USERS)
}  # what NATS's own syntax trips over


@contextmanager
def nats(home: Path, config: str = CONFIG, port: int = -1, **passwords: str) -> Iterator[str]:
    """NATS as deploy/nats.conf has it; gives its URL."""
    given = {**PASSWORDS, **passwords}
    environment = {f"CLASSIS_{user.upper()}_PASSWORD": f'"{password}"' for user, password in given.items()}
    with embedded.nats(home, config=config, environment=environment, port=port) as url:
        yield url


class Fleet:
    """A running fleet: its address, and the processes and logs of its services."""

    def __init__(self, logs: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.logs = logs
        self.processes: dict[str, embedded.Process] = {}

    def log(self, service: str) -> str:
        return (self.logs / f"{service}.log").read_text()


@contextmanager
def fleet(
    home: Path, nats_url: str, each: Mapping[str, Mapping[str, str]] = MappingProxyType({}), **settings: str
) -> Iterator[Fleet]:
    """A fleet of a process per service, not yet ready. `each` holds settings of single services."""
    made = Fleet(home)
    with ExitStack() as stack:
        for service in SERVICES:
            own = {
                "nats_url": nats_url,
                "nats_user": service,
                "nats_password": PASSWORDS[service],
                "host": "127.0.0.1",
                "port": str(made.port),
                **settings,
                **each.get(service, {}),
            }
            environment = {**os.environ, **{f"CLASSIS_{name.upper()}": value for name, value in own.items()}}
            command = [sys.executable, "-m", "services", "run", service]
            process = embedded.spawn(command, env=environment, cwd=ROOT, log=home / f"{service}.log")
            stack.callback(embedded.stop, process, (signal.SIGTERM, 20))
            made.processes[service] = process
        yield made


@contextmanager
def ready(home: Path, nats_url: str, each: Mapping[str, Mapping[str, str]], **settings: str) -> Iterator[Fleet]:
    """A fleet that answers."""
    with fleet(home, nats_url, each, **settings) as made:
        try:
            wait_until_ready(made.url)
        except AssertionError:
            for service in SERVICES:
                print(service, made.log(service), sep="\n")
            raise
        yield made
