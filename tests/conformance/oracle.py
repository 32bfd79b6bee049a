"""The oracle: the real Prefect server, in an environment of its own, on a database we name.

`oracle_prefix` makes the environment when it is missing or out of date, `migrate` gives a database the schema, and
`serve` runs the server until the block ends.
"""

import fcntl
import hashlib
import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements" / "oracle.txt"
TUNED = Path(__file__).parent / "tuned"
START_WITHIN = 90.0  # seconds; a cold import on a busy machine takes a while
STOP_WITHIN = 10.0
PAUSE = 0.1  # between two looks at a server that is starting
SERVER = ["prefect", "server", "start"]
# What `prefect server start --workers` runs. It refuses to without a Redis, which searches have no need of.
WORKERS = ["uvicorn", "prefect.server.api.server:create_app", "--factory", "--log-level", "warning", "--workers"]
WORKERS_TOLD = {"PREFECT__SERVER_FINAL": "1", "PREFECT__SERVER_WEBSERVER_ONLY": "1"}


def oracle_prefix() -> Path:
    """The oracle's environment, made or brought up to date when it does not hold what the requirements say."""
    prefix = ROOT / ".venv-oracle"
    prefix.mkdir(exist_ok=True)
    with locked(prefix):
        marker, wanted = prefix / "requirements.sha256", hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
        if not marker.exists() or marker.read_text() != wanted:
            print(f"installing the oracle (Prefect's own server) into {prefix.name}/ …", file=sys.stderr, flush=True)
            _install(prefix)
            marker.write_text(wanted)
    return prefix


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time; the lock vanishes with its holder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _install(prefix: Path) -> None:
    """With the pip of the interpreter below us: neither environment carries one of its own."""
    base = Path(sys.base_exec_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    if not (prefix / "bin" / "python").exists():
        subprocess.run([base, "-m", "venv", "--without-pip", prefix], check=True)
    pip: list[str | Path] = [
        base,
        "-m",
        "pip",
        "--python",
        prefix / "bin" / "python",
        "--disable-pip-version-check",
        "--quiet",
    ]
    subprocess.run([*pip, "install", "--no-deps", "--require-hashes", "-r", REQUIREMENTS], check=True)


def environment(prefix: Path, home: Path) -> dict[str, str]:
    """Ours without any PREFECT_ setting, for a program of Prefect's that keeps its files in that folder."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "PYTHON"))}
    return inherited | {
        "PATH": f"{prefix / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": str(TUNED),
        "PREFECT_HOME": str(home),
        "TMPDIR": str(home),  # a runner's storage has the same place in it for everybody
        "DO_NOT_TRACK": "1",
    }


def _environment(prefix: Path, dsn: str, home: Path, *, tuned: bool = True) -> dict[str, str]:
    """Plus what makes the server deterministic and quiet."""
    return environment(prefix, home) | {
        "ORACLE_TUNED": "1" if tuned else "",
        "PREFECT_API_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://{dsn.partition('://')[2]}",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_UI_ENABLED": "false",
        "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",  # `migrate` is the one that does
        "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
    }


def migrate(dsn: str, home: Path) -> None:
    """Give an empty database the schema that Prefect's own migrations make."""
    prefix = oracle_prefix()
    home.mkdir(parents=True, exist_ok=True)
    command: list[str | Path] = [prefix / "bin" / "prefect", "server", "database", "upgrade", "-y"]
    done = subprocess.run(
        command,
        env=_environment(prefix, dsn, home),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"Prefect's migrations failed:\n{done.stdout[-2000:]}")


@contextmanager
def serve(
    dsn: str,
    home: Path,
    *,
    tuned: bool = True,
    workers: int = 1,
    services: bool = False,
    extra: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[str]:
    """A real server on that database, answering at the address that is given.

    `tuned` spares it most of its time without changing an answer; a benchmark measures it as installed, too. With
    `services` its scheduler and the like run too. `extra` are settings of its own, above what we say here.
    """
    prefix, port = oracle_prefix(), _free_port()
    home.mkdir(parents=True, exist_ok=True)
    log = home / "server.log"
    with log.open("wb") as output, _listening(port) if workers > 1 else nullcontext() as listening:
        several = [*WORKERS, str(workers), "--fd", str(listening.fileno())] if listening else []
        command = [
            *(several or SERVER),
            *(() if several or services else ["--no-services"]),
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ]
        process = subprocess.Popen(
            [prefix / "bin" / command[0], *command[1:]],
            env=_environment(prefix, dsn, home, tuned=tuned) | (WORKERS_TOLD if listening else {}) | dict(extra),
            pass_fds=[listening.fileno()] if listening else [],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait_until_healthy(process, port, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            end(process)


def _listening(port: int) -> socket.socket:
    """The socket of several workers. One of their own making would let every answer wait 40 ms for an ACK."""
    made = socket.create_server(("127.0.0.1", port))
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_healthy(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(int(START_WITHIN / PAUSE)):
        if _healthy(port):
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(PAUSE)
            break
    raise RuntimeError(f"the oracle did not start:\n{log.read_text(errors='replace')[-2000:]}")


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/api/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def end(process: subprocess.Popen[bytes]) -> None:
    """Its own process group, and nothing else: first politely, then for certain."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_WITHIN)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
