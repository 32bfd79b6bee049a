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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements" / "oracle.txt"
TUNED = Path(__file__).parent / "tuned"
START_WITHIN = 90.0  # seconds; a cold import on a busy machine takes a while
STOP_WITHIN = 10.0
PAUSE = 0.1  # between two looks at a server that is starting


def oracle_prefix() -> Path:
    """The oracle's environment, made or brought up to date when it does not hold what the requirements say."""
    prefix = ROOT / ".venv-oracle"
    prefix.mkdir(exist_ok=True)
    with _locked(prefix):
        marker, wanted = prefix / "requirements.sha256", hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
        if not marker.exists() or marker.read_text() != wanted:
            print(f"installing the oracle (Prefect's own server) into {prefix.name}/ …", file=sys.stderr, flush=True)
            _install(prefix)
            marker.write_text(wanted)
    return prefix


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
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


def _environment(prefix: Path, dsn: str, home: Path) -> dict[str, str]:
    """Ours without any PREFECT_ setting, plus what makes the server deterministic and quiet."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "PYTHON"))}
    return inherited | {
        "PATH": f"{prefix / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": str(TUNED),
        "PREFECT_HOME": str(home),
        "PREFECT_API_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://{dsn.partition('://')[2]}",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_UI_ENABLED": "false",
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
        "DO_NOT_TRACK": "1",
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
def serve(dsn: str, home: Path) -> Iterator[str]:
    """A real server on that database, answering at the address that is given."""
    prefix, port = oracle_prefix(), _free_port()
    home.mkdir(parents=True, exist_ok=True)
    log = home / "server.log"
    command: list[str | Path] = [
        prefix / "bin" / "prefect",
        "server",
        "start",
        "--no-services",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=_environment(prefix, dsn, home),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait_until_healthy(process, port, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            _end(process)


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


def _end(process: subprocess.Popen[bytes]) -> None:
    """Its own process group, and nothing else: first politely, then for certain."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_WITHIN)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
