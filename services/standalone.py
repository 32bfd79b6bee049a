"""`classis up`: the whole fleet on this machine, for a first look. PostgreSQL and NATS come along unless named.

Everything started here is stopped in reverse order, or dies with this process. A database that is given with
CLASSIS_POSTGRES_DSN is only read: no tables, no demo data.
"""

import argparse
import asyncio
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from services import doctor, embedded, preflight, seed, welcome
from services.demo import Sizes
from services.doctor import report
from services.embedded import StartError
from shared.contract import SERVICES
from shared.settings import PREFIX, Settings, read

ROOT = Path(__file__).parents[1]
SCHEMA = ROOT / "deploy" / "schema.sql"
DEMO = Sizes(deployments=1_000, flow_runs=30_000, task_runs=90_000)
READY_WITHIN = 60.0
PAUSE = 0.2  # seconds between two looks
LOOK_WITHIN = 20.0
TROUBLES = 8  # that are shown
NATS_PORT, ANY_PORT = 4222, -1  # its usual one, and one that is free
STOP_WITHIN = 15.0
STOPPING = {signal.SIGINT, signal.SIGTERM}

Fleet = Mapping[str, embedded.Process]
Servers = Mapping[str, tuple[str, Path]]  # what runs beside the services: its URL and its log


def arguments(parser: argparse.ArgumentParser) -> None:
    """What `classis up` takes."""
    parser.formatter_class = argparse.HelpFormatter  # it fills lines
    parser.description = (
        "Start the fleet on this machine, with a PostgreSQL and a NATS of its own and demo data. Settings come from "
        "the environment: CLASSIS_POSTGRES_DSN and CLASSIS_NATS_URL name servers to use instead (the database is then "
        "only read), CLASSIS_UPSTREAM Prefect's own server behind it, CLASSIS_HOST and CLASSIS_PORT where to listen, "
        "CLASSIS_HOME the folder for data and logs. "
        "The sizes below count at the first start only."
    )
    seed.sizes(parser, DEMO)


def main(args: argparse.Namespace) -> int:
    """Run the fleet until a signal; gives the exit code."""
    try:
        return up(os.environ, Sizes(args.deployments, args.flow_runs, args.task_runs))
    except (StartError, seed.SeedError, asyncpg.PostgresError) as error:
        _say(f"classis up: {error}")
        return 1


def up(environment: Mapping[str, str], demo: Sizes = DEMO) -> int:
    """Start everything, wait for Ctrl-C, SIGTERM or a service's end, stop everything. Call it from the main thread."""
    settings, home = read(environment), embedded.home_directory()
    given = preflight.is_given(environment)
    port = preflight.claimed(settings.host, settings.port)
    with _signals(), ExitStack() as stack:
        try:
            if given:
                preflight.check_databases(settings)
            dsn = settings.postgres_dsn if given else stack.enter_context(_database(home, demo))
            bus = environment.get("CLASSIS_NATS_URL")
            url = bus or stack.enter_context(_bus(home))
            servers = {} if given else {"PostgreSQL": (dsn, home / "postgres" / "log")}
            servers |= {} if bus else {"NATS": (url, home / "nats" / "log")}
            told = {"POSTGRES_DSN": dsn, "NATS_URL": url, "HOST": settings.host, "PORT": str(port)}
            own = {**environment, **{f"{PREFIX}{k}": v for k, v in told.items()}}
            logs, ports = _logs(home), preflight.metrics_ports(settings)
            fleet = stack.enter_context(_fleet(own, ports, logs))
            address = _address(settings.host, port)
            monitors = {name: _address(settings.where_metrics_are, number) for name, number in ports.items()}
            seen = _looked(read(own)) if given else []
            blind = report.failed([subject for subject in seen if subject.title in doctor.DATABASES])
            sign = "health" if blind else "ready"  # a service that cannot read its database is not ready; it tries on
            _await_ready(fleet, servers, {name: f"{url}/{sign}" for name, url in monitors.items()}, logs)
            if not blind and not settings.upstream:  # behind one, what it says is the upstream's too
                _await_ready(fleet, servers, {"the fleet": f"{address}/api/ready"}, logs)
            ours = {} if given else {"POSTGRES_DSN": welcome.kept_password(dsn, home)}
            ours |= {} if bus else {"NATS_URL": url}
            shown = welcome.Started(address, url.rpartition("@")[2], monitors, logs, home, ours)
            _say(welcome.text(shown, settings, report.troubles(seen, TROUBLES)))
            return _watch(fleet, servers, logs)
        except KeyboardInterrupt:
            return 0
        finally:
            _say("stopping")
            _ignore_signals()  # stopping takes seconds at most, and a second Ctrl-C would leave it half done


def _looked(settings: Settings) -> list[report.Subject]:
    """What the doctor finds of what is given."""
    try:
        return asyncio.run(asyncio.wait_for(doctor.glanced(settings), LOOK_WITHIN))
    except TimeoutError:
        text = f"what is given could not be looked at within {LOOK_WITHIN:.0f} s"
        return [report.Subject("", [report.Finding("warning", "", text)])]


@contextmanager
def _signals() -> Iterator[None]:
    """Leave on SIGTERM as on Ctrl-C, from wherever we are."""
    before = {number: signal.getsignal(number) for number in STOPPING}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore_signals() -> None:
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


def _address(host: str, port: int) -> str:
    """Where this machine reaches a gateway that listens there."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 — two that stand for every address
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def _database(home: Path, demo: Sizes) -> Iterator[str]:
    _say(f"starting PostgreSQL in {home}")
    with embedded.postgres(home) as dsn:
        asyncio.run(_furnish(dsn, demo))
        yield dsn


async def _furnish(dsn: str, demo: Sizes) -> None:
    """Tables and demo data, unless there are some. Each comes whole or not at all, so what is there is complete."""
    connection = await asyncpg.connect(dsn)
    try:
        if await connection.fetchval("SELECT to_regclass('flow') IS NULL"):
            await connection.execute(SCHEMA.read_text())
        furnished = await connection.fetchval("SELECT EXISTS (SELECT FROM flow)")
    finally:
        await connection.close()
    if not furnished:
        _say("loading demo data")
        await seed.seed(dsn, **vars(demo), until=datetime.now(UTC))


@contextmanager
def _bus(home: Path) -> Iterator[str]:
    _say("starting NATS")
    with embedded.nats(home, port=NATS_PORT if preflight.is_free(NATS_PORT) else ANY_PORT) as url:
        yield url


def _logs(home: Path) -> Path:
    try:
        home.mkdir(mode=0o711, parents=True, exist_ok=True)
        (home / "log").mkdir(exist_ok=True)
    except OSError as error:
        raise StartError(f"cannot keep logs in {home} ({error.strerror}); choose with CLASSIS_HOME") from None
    return home / "log"


@contextmanager
def _fleet(environment: Mapping[str, str], ports: Mapping[str, int], logs: Path) -> Iterator[Fleet]:
    """Each service in a process of its own."""
    _say(f"starting {', '.join(SERVICES)}")
    fleet: dict[str, embedded.Process] = {}
    try:
        for name in SERVICES:
            command = [sys.executable, "-m", "services", "run", name]
            own = {**environment, "CLASSIS_METRICS_PORT": str(ports[name])}
            fleet[name] = embedded.spawn(command, env=own, cwd=ROOT, log=logs / f"{name}.log")
        yield fleet
    finally:
        for process in fleet.values():
            process.terminate()
        deadline = time.monotonic() + STOP_WITHIN
        for process in fleet.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            embedded.stop(process)


def _await_ready(fleet: Fleet, servers: Servers, urls: Mapping[str, str], logs: Path) -> None:
    """Returns once each of those named answers at its address that it is ready."""
    deadline = time.monotonic() + READY_WITHIN
    for name, url in urls.items():
        while not _ready(url):
            if lost := _lost(fleet, servers, logs):
                raise StartError(lost)
            if time.monotonic() > deadline:
                raise StartError(f"{name} was not ready within {READY_WITHIN:.0f} s; logs are in {logs}")
            time.sleep(PAUSE)  # there is nothing to wait on until it listens


def _ready(url: str) -> bool:
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.netloc, timeout=5)
    try:
        connection.request("GET", place.path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _watch(fleet: Fleet, servers: Servers, logs: Path) -> int:
    """Wait for a signal to stop (0) or for a service or server to end on its own (1)."""
    signals = STOPPING | {signal.SIGCHLD}
    before = signal.pthread_sigmask(
        signal.SIG_BLOCK, signals
    )  # a signal between the look and the wait must not slip by
    try:
        while not (lost := _lost(fleet, servers, logs)):
            if signal.sigwait(signals) in STOPPING:
                return 0
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    _say(f"classis up: {lost}")
    return 1


def _lost(fleet: Fleet, servers: Servers, logs: Path) -> str | None:
    """What to say of the first that has ended on its own."""
    for name, process in fleet.items():
        if process.poll() is not None:
            return f"the service {name} ended with code {process.returncode}; {embedded.tail(logs / f'{name}.log')}"
    for name, (url, log) in servers.items():
        if not _listens(url):
            return f"{name} ended; {embedded.tail(log)}"
    return None


def _listens(url: str) -> bool:
    place = urlsplit(url)
    try:
        socket.create_connection((place.hostname or "", place.port or 0), timeout=5).close()
    except OSError:
        return False
    return True


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 — a command talks to its user
