"""The databases that the settings name: one connection to each, read only and as short of patience as the doctor is."""

import asyncio
import re
from dataclasses import dataclass
from typing import Any

import asyncpg

from shared.contract import READY
from shared.postgres import POOLER, check
from shared.settings import PREFIX, Settings

SERVICES = tuple(READY)  # those that read a database
PRIMARY = "primary"
PATIENCE = 5.0  # seconds for a connection, or for one statement
POOLED = (asyncpg.DuplicatePreparedStatementError, asyncpg.InvalidSQLStatementNameError)  # of another's session
TROUBLE = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

WHO = """
    SELECT current_user AS role, current_database() AS database, current_schema() AS schema,
           current_setting('server_version') AS version, current_setting('server_version_num')::int / 10000 AS major,
           pg_postmaster_start_time() AS started, pg_is_in_recovery() AS replica, host(inet_server_addr()) AS address,
           inet_server_port() AS port, (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()) AS encrypted"""
CLUSTER = "SELECT system_identifier FROM pg_control_system()"


@dataclass(frozen=True)
class Place:
    """One DSN that could be reached, who we are there, and the services that use it."""

    services: tuple[str, ...]
    connection: Any
    who: Any
    cluster: int | None  # the same on a primary and its replicas; None when the role may not know

    @property
    def names(self) -> str:
        return ", ".join(self.services)

    @property
    def server(self) -> tuple[Any, ...]:
        """Equal for places on one server."""
        return (self.cluster, self.who["started"])

    @property
    def database(self) -> tuple[Any, ...]:
        """Equal for places that hold the same tables."""
        return (self.cluster or self.who["started"], self.who["database"], self.who["schema"])

    @property
    def address(self) -> str:
        return f"{self.who['address']}:{self.who['port']}" if self.who["address"] else "a local socket"


def named(settings: Settings) -> dict[str, tuple[str, ...]]:
    """Each DSN with the services that use it; the primary counts as one more."""
    found: dict[str, tuple[str, ...]] = {}
    for service in SERVICES:
        found[settings.dsn(service)] = (*found.get(settings.dsn(service), ()), service)
    if dsn := settings.primary_postgres_dsn:
        found[dsn] = (*found.get(dsn, ()), PRIMARY)
    return found


async def reached(settings: Settings) -> dict[tuple[str, ...], Place | BaseException]:
    """By services: their place, or why it cannot be reached."""
    wanted = named(settings)
    tried = [_connected(dsn, services) for dsn, services in wanted.items()]
    return dict(zip(wanted.values(), await asyncio.gather(*tried, return_exceptions=True), strict=True))


async def _connected(dsn: str, services: tuple[str, ...]) -> Place:
    connection = await asyncpg.connect(
        dsn,
        timeout=PATIENCE,
        command_timeout=PATIENCE,
        server_settings={
            "application_name": "classis-doctor",
            "default_transaction_read_only": "on",
            "statement_timeout": str(round(PATIENCE * 1000)),
            "plan_cache_mode": "force_custom_plan",
            "TimeZone": "UTC",
        },
    )
    try:
        await check(connection)
        return Place(services, connection, await connection.fetchrow(WHO), await _cluster(connection))
    except BaseException:
        connection.terminate()
        raise


async def _cluster(connection: Any) -> int | None:
    try:
        return int(await connection.fetchval(CLUSTER))
    except asyncpg.PostgresError:
        return None


def variable(service: str) -> str:
    """The setting that names a service's database."""
    if service == PRIMARY:
        return f"{PREFIX}PRIMARY_POSTGRES_DSN"
    return f"{PREFIX}{service.upper()}_POSTGRES_DSN or {PREFIX}POSTGRES_DSN"


def told(error: BaseException) -> str:
    """An error in one line. Those of connections name hosts and roles, never a password."""
    if isinstance(error, TimeoutError):
        return f"no answer within {PATIENCE:.0f} s"
    if isinstance(error, POOLED) or "unsupported startup parameter" in str(error):
        return POOLER
    return re.sub(r" ssl:\w+", "", " ".join(str(error).split())) or type(error).__name__  # aiohttp's word for itself
