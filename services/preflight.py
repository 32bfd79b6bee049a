"""What `classis up` needs before it starts anything: databases that are named rightly and there, and free ports."""

import asyncio
import socket
from collections.abc import Mapping
from contextlib import ExitStack

import asyncpg

from services.doctor import places
from services.embedded import StartError
from shared.contract import SERVICES
from shared.settings import PREFIX, Settings, SettingsError

COMMON = f"{PREFIX}POSTGRES_DSN"
METRICS = f"{PREFIX}METRICS_HOST and {PREFIX}METRICS_PORT"


def is_given(environment: Mapping[str, str]) -> bool:
    """Whether to read databases that are named, all of them, or one of our own with demo data. Raises SettingsError."""
    own = [f"{PREFIX}{name.upper()}_POSTGRES_DSN" for name in places.SERVICES]
    missing = [name for name in own if not environment.get(name)]
    if environment.get(COMMON) or not missing:
        return True
    if len(missing) < len(own):
        raise SettingsError(f"{', '.join(missing)}: missing; set {COMMON}, which stands for each that is not set")
    for name in (f"{PREFIX}UPSTREAM", f"{PREFIX}PRIMARY_POSTGRES_DSN"):
        if environment.get(name):
            raise SettingsError(f"{name} is set, but no database: set {COMMON} to Prefect's own")
    return False


def check_databases(settings: Settings) -> None:
    """Each database that is given must be there, and Prefect's."""
    for dsn, services in places.named(settings).items():
        own = f"{PREFIX}{services[0].upper()}_POSTGRES_DSN"
        name = COMMON if dsn == settings.postgres_dsn else own
        try:
            prefects = asyncio.run(_fetched(dsn, "SELECT to_regclass('deployment') IS NOT NULL"))
        except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise StartError(f"cannot read the database of {name}: {error}") from None
        if not prefects:
            advice = f"name Prefect's own, or unset {name} for one with demo data"
            raise StartError(f"the database of {name} has no table 'deployment': {advice}")


async def _fetched(dsn: str, question: str) -> object:
    connection = await asyncpg.connect(dsn, timeout=10, server_settings={"default_transaction_read_only": "on"})
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


def claimed(host: str, port: int) -> int:
    """The port to listen on, free at this moment; a free one for 0."""
    with _listening(host, port, "CLASSIS_HOST and CLASSIS_PORT") as probe:
        return int(probe.getsockname()[1])


def _listening(host: str, port: int, settings: str) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        advice = f"stop what listens there, or choose others with {settings}"
        raise StartError(f"cannot listen on {host}:{port} ({error.strerror}): {advice}") from None


def metrics_ports(settings: Settings) -> Mapping[str, int]:
    """A port for each service's metrics: free ones, or in a row from the one that is set."""
    with ExitStack() as stack:  # all held until all are found, so that none is found twice
        found: dict[str, int] = {}
        for place, name in enumerate(SERVICES):
            asked = settings.metrics_port and settings.metrics_port + place
            probe = stack.enter_context(_listening(settings.where_metrics_are, asked, METRICS))
            found[name] = int(probe.getsockname()[1])
        return found


def is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
