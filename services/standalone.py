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

from services import embedded, seed
from services.demo import Sizes
from services.embedded import StartError
from shared.contract import SERVICES
from shared.settings import Settings, read

ROOT = Path(__file__).parents[1]
SCHEMA = ROOT / "deploy" / "schema.sql"
DEMO = Sizes(deployments=1_000, flow_runs=30_000, task_runs=90_000)
READY_WITHIN = 60.0
STOP_WITHIN = 15.0
STOPPING = {signal.SIGINT, signal.SIGTERM}

Fleet = Mapping[str, embedded.Process]
Servers = Mapping[str, tuple[str, Path]]  # what runs beside the services: its URL and its log

WELCOME = """
Classis answers at {address}/api. Try:

    curl -s {address}/api/deployments/paginate{login} -H 'content-type: application/json' -d '{search}'

That asks for deployments with "nightly" in their name that own a failed run, one a page.

NATS is at {url}, for those who ask there.
Metrics are at {metrics}.
Logs are in {logs}. {data}
Ctrl-C stops everything.
"""
SEARCH = (
    '{"limit": 1, "deployments": {"name": {"like_": "nightly"}},'
    ' "flow_runs": {"state": {"type": {"any_": ["FAILED"]}}}}'
)
LOGIN = ' -u "$CLASSIS_API_AUTH_STRING"'
OWN_DATA = "The data stays in {home}; remove that folder to start anew."
GIVEN_DATA = "The database given is only read."


def arguments(parser: argparse.ArgumentParser) -> None:
    """What `classis up` takes."""
    parser.formatter_class = argparse.HelpFormatter  # it fills lines
    parser.description = (
        "Start the fleet on this machine, with a PostgreSQL and a NATS of its own and demo data. Settings come from "
        "the environment: CLASSIS_POSTGRES_DSN and CLASSIS_NATS_URL name servers to use instead (the database is then "
        "only read), CLASSIS_HOST and CLASSIS_PORT say where to listen, CLASSIS_HOME where the data lies. "
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
    port = _claimed(settings.host, settings.port)
    with _signals(), ExitStack() as stack:
        try:
            given, bus = environment.get("CLASSIS_POSTGRES_DSN"), environment.get("CLASSIS_NATS_URL")
            dsn = _checked(given) if given else stack.enter_context(_database(home, demo))
            url = bus or stack.enter_context(_bus(home))
            servers = {} if given else {"PostgreSQL": (dsn, home / "postgres" / "log")}
            servers |= {} if bus else {"NATS": (url, home / "nats" / "log")}
            told = {"POSTGRES_DSN": dsn, "NATS_URL": url, "HOST": settings.host, "PORT": str(port)}
            logs, ports = _logs(home), _metrics_ports(settings)
            own = {**environment, **{f"CLASSIS_{k}": v for k, v in told.items()}}
            fleet = stack.enter_context(_fleet(own, ports, logs))
            address = _address(settings.host, port)
            _await_ready(fleet, servers, address, logs)
            data = GIVEN_DATA if given else OWN_DATA.format(home=home)
            first = f"{_address(settings.host, ports[SERVICES[0]])}/metrics ({SERVICES[0]})"
            metrics = "; ".join([first, *(f"{name}: port {ports[name]}" for name in SERVICES[1:])])
            shown = {"address": address, "search": SEARCH, "url": url.rpartition("@")[2], "metrics": metrics}
            login = LOGIN if settings.api_auth_string else ""
            _say(WELCOME.format(**shown, login=login, logs=logs, data=data))
            return _watch(fleet, servers, logs)
        except KeyboardInterrupt:
            return 0
        finally:
            _say("stopping")
            _ignore_signals()  # stopping takes seconds at most, and a second Ctrl-C would leave it half done


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


def _claimed(host: str, port: int) -> int:
    """The port to listen on, free at this moment; a free one for 0."""
    with _listening(host, port, "CLASSIS_PORT") as probe:
        return int(probe.getsockname()[1])


def _listening(host: str, port: int, setting: str) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        advice = f"stop what listens there, or choose others with CLASSIS_HOST and {setting}"
        raise StartError(f"cannot listen on {host}:{port} ({error.strerror}): {advice}") from None


def _metrics_ports(settings: Settings) -> Mapping[str, int]:
    """A port for each service's metrics: free ones, or in a row from the one that is set."""
    with ExitStack() as stack:  # all held until all are found, so that none is found twice
        found: dict[str, int] = {}
        for place, name in enumerate(SERVICES):
            asked = settings.metrics_port and settings.metrics_port + place
            probe = stack.enter_context(_listening(settings.host, asked, "CLASSIS_METRICS_PORT"))
            found[name] = int(probe.getsockname()[1])
        return found


def _address(host: str, port: int) -> str:
    """Where this machine reaches a gateway that listens there."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 — two that stand for every address
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _checked(dsn: str) -> str:
    """A database that is given, once we know that it is there and Prefect's."""
    try:
        prefects = asyncio.run(_fetched(dsn, "SELECT to_regclass('deployment') IS NOT NULL"))
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StartError(f"cannot read the database of CLASSIS_POSTGRES_DSN: {error}") from None
    if not prefects:
        advice = "name Prefect's own, or unset CLASSIS_POSTGRES_DSN for one with demo data"
        raise StartError(f"the database of CLASSIS_POSTGRES_DSN has no table 'deployment': {advice}")
    return dsn


async def _fetched(dsn: str, question: str) -> object:
    connection = await asyncpg.connect(dsn, timeout=10, server_settings={"default_transaction_read_only": "on"})
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


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
    with embedded.nats(home) as url:
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


def _await_ready(fleet: Fleet, servers: Servers, address: str, logs: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while not _ready(address):
        if lost := _lost(fleet, servers, logs):
            raise StartError(lost)
        if time.monotonic() > deadline:
            raise StartError(f"the fleet was not ready within {READY_WITHIN:.0f} s; its logs are in {logs}")
        time.sleep(0.05)  # there is nothing to wait on until the gateway listens


def _ready(address: str) -> bool:
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=5)
    try:
        connection.request("GET", "/api/ready")
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
