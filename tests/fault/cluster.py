"""A NATS cluster of three nodes, each on a host of its own where the machine can have such: a network namespace."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fault.stage import Node
from tests.fleet import free_port

SIZE = 3
COMMAND_WITHIN = 10.0
CONFIG = """
ping_interval: "1s"
ping_max: 2
cluster {{ name: fault, listen: "{host}:{port}", routes: [{routes}], ping_interval: "1s", pool_size: 1 }}
"""


@dataclass(frozen=True)
class Host:
    """Where a node lives; without a `space` of its own, on this machine itself. The `switch` has a port for it."""

    address: str = "127.0.0.1"
    space: str = ""
    switch: str = ""

    @property
    def inside(self) -> Sequence[str]:
        return ("ip", "netns", "exec", self.space) if self.space else ()

    @contextmanager
    def cut_off(self) -> Iterator[None]:
        """Nothing arrives and nobody is told."""
        _ip("-n", self.switch, "link", "set", self.space, "down")
        try:
            yield
        finally:
            _ip("-n", self.switch, "link", "set", self.space, "up")


def no_hosts() -> str:
    """Why there can be no namespaces; empty when there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not shutil.which("ip"):
        return "network namespaces need iproute2"
    name = f"cf{os.getpid()}-try"
    try:
        _ip("netns", "add", name)
        _ip("netns", "del", name)
    except (subprocess.SubprocessError, OSError) as error:
        return f"no network namespaces here: {error}"
    return ""


@contextmanager
def hosts() -> Iterator[list[Host]]:
    """Three hosts and this machine on a switch, which is a namespace too: a firewall of this machine is not asked there."""
    tag = os.getpid() % 4096
    net, switch = f"10.{200 + tag // 256}.{tag % 256}", f"cf{tag}"
    with ExitStack() as stack:
        _ip("netns", "add", switch)
        stack.callback(_ip, "netns", "del", switch)
        _ip("-n", switch, "link", "add", "br0", "type", "bridge")
        _ip("-n", switch, "link", "set", "br0", "up")
        _wire(switch, f"{net}.254", "here", switch)
        made = [Host(f"{net}.{number}", f"{switch}-{number}", switch) for number in range(1, SIZE + 1)]
        for host in made:
            _ip("netns", "add", host.space)
            stack.callback(_ip, "netns", "del", host.space)
            _wire("eth0", host.address, host.space, switch, ("-n", host.space))
        yield made


def _wire(end: str, address: str, port: str, switch: str, space: Sequence[str] = ()) -> None:
    """From an end with an address, here or in a space, to a port of the switch."""
    _ip(*space, "link", "add", end, "type", "veth", "peer", "name", port, "netns", switch)
    _ip("-n", switch, "link", "set", port, "master", "br0", "up")
    _ip(*space, "address", "add", f"{address}/24", "dev", end)
    _ip(*space, "link", "set", end, "up")


def _ip(*arguments: str) -> None:
    subprocess.run(("ip", *arguments), check=True, timeout=COMMAND_WITHIN, capture_output=True)


@contextmanager
def cluster(home: Path, on: Sequence[Host]) -> Iterator[list[Node]]:
    """A running cluster, a node on each host."""
    ports = [free_port() for _ in on]
    routes = ", ".join(f'"nats://{host.address}:{port}"' for host, port in zip(on, ports, strict=True))
    with ExitStack() as stack:
        nodes = []
        for number, (host, port) in enumerate(zip(on, ports, strict=True)):
            config = CONFIG.format(host=host.address, port=port, routes=routes)
            node = Node(home, f"node-{number}", host.address, config=config, inside=host.inside)
            nodes.append(stack.enter_context(node))
        yield nodes
