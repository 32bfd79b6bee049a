"""The servers under the tests: embedded ones everywhere, and the same tests on containers where an engine answers."""

import functools
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")  # every container here has a `with` that ends it

import asyncpg
import docker
import docker.errors
import pytest
from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from services import embedded

KINDS = ("embedded", "containers")
POSTGRES_IMAGE = os.environ.get("CLASSIS_TEST_POSTGRES_IMAGE", "postgres:18")
NATS_IMAGE = os.environ.get("CLASSIS_TEST_NATS_IMAGE", "nats:2")


@functools.cache
def no_engine() -> str:
    """Why there can be no containers; empty when there can."""
    address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    try:
        _knock(address)  # before the client, which leaves its socket open where nobody answers
        client = docker.from_env(timeout=5)
        client.ping()
        client.close()
    except (OSError, docker.errors.DockerException) as error:
        return f"no container engine answers at {address}: {error}"
    return ""


def _knock(address: str) -> None:
    kind, _, place = address.partition("://")
    if kind == "unix":
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(5)
            probe.connect(place)
    else:
        host, _, port = place.partition(":")
        socket.create_connection((host, int(port or 2375)), timeout=5).close()


def _needs_engine(kind: str) -> bool:
    if kind == "containers" and no_engine():
        pytest.skip(no_engine())
    return kind == "containers"


@contextmanager
def postgres(kind: str, home: Path) -> Iterator[str]:
    """An empty PostgreSQL; gives its DSN."""
    if not _needs_engine(kind):
        with embedded.postgres(home, durable=False) as dsn:
            yield dsn
        return
    with PostgresContainer(POSTGRES_IMAGE, driver=None) as container:
        yield container.get_connection_url()


@contextmanager
def nats(kind: str, home: Path) -> Iterator[str]:
    """A NATS; gives its URL."""
    if not _needs_engine(kind):
        with embedded.nats(home) as url:
            yield url
        return
    made = DockerContainer(NATS_IMAGE).with_exposed_ports(4222).waiting_for(LogMessageWaitStrategy("Server is ready"))
    with made as container:
        yield f"nats://{container.get_container_host_ip()}:{container.get_exposed_port(4222)}"


async def database(dsn: str, name: str, schema: str) -> str:
    """Another database of the same server, made anew with a schema; gives its DSN."""
    admin = await asyncpg.connect(dsn)
    await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    made = urlsplit(dsn)._replace(path=f"/{name}").geturl()
    connection = await asyncpg.connect(made)
    await connection.execute(schema)
    await connection.close()
    return made
