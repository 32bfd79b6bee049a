"""compose.yaml and the image keep to what the code declares. Compose itself reads the file here; no engine is needed."""

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from shared import VERSION
from shared.contract import SERVICES
from shared.settings import PREFIX, Settings, read

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "compose.yaml").read_text()
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
NATS = (ROOT / "deploy" / "nats.conf").read_text()
HEADER = COMPOSE.partition("\nx-")[0]
SETTINGS = {PREFIX + name.upper() for name in Settings.__struct_fields__}
DOCKER_COMPOSE = Path(sys.executable).with_name("docker-compose")  # of requirements/dev.txt
WITH_PREFECT = ("COMPOSE_PROFILES=prefect",)


@cache
def resolved(given: tuple[str, ...] = ()) -> dict[str, Any]:
    """The services that Compose would start with these variables."""
    done = subprocess.run(
        [DOCKER_COMPOSE, "-f", ROOT / "compose.yaml", "--env-file", "/dev/null", "config", "--format", "json"],
        env=dict(each.split("=", 1) for each in given),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    services: dict[str, Any] = json.loads(done.stdout)["services"]
    return services


def environment(service: str, given: tuple[str, ...] = ()) -> dict[str, str]:
    found: dict[str, str] = resolved(given)[service]["environment"]
    return found


def test_every_service_runs_and_nothing_else_does() -> None:
    ours = {name: each["command"] for name, each in resolved().items() if "classis" in each["image"]}
    assert ours == {name: ["run", name] for name in SERVICES}
    assert resolved().keys() - ours == {"postgres", "nats"}
    assert resolved(WITH_PREFECT).keys() - resolved().keys() == {"prefect"}


@pytest.mark.parametrize("service", [*SERVICES, "postgres", "nats", "prefect"])
def test_a_service_may_do_little(service: str) -> None:
    made = resolved(WITH_PREFECT)[service]
    assert made["read_only"]
    assert made["cap_drop"] == ["ALL"]
    assert made["security_opt"] == ["no-new-privileges:true"]
    assert int(made["mem_limit"]) <= 2 * 2**30
    assert made["pids_limit"] <= 250
    assert made.get("cpus") == (None if service == "postgres" else 1)
    assert "user" in made or service in SERVICES  # the image has one
    assert {each["host_ip"] for each in made.get("ports", [])} == ({"127.0.0.1"} if service == "gateway" else set())


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_healthy_when_its_metrics_port_says_so(service: str) -> None:
    port = environment(service)["CLASSIS_METRICS_PORT"]
    check = resolved()[service]["healthcheck"]["test"][-1]
    assert f"/dev/tcp/127.0.0.1/{port} " in check
    assert "GET /ready " in check


@pytest.mark.parametrize("service", SERVICES)
def test_there_is_time_to_leave(service: str) -> None:
    """As much as docs/operate.md says: searches by HTTP and then on the bus, and what closes."""
    found = read(environment(service))
    given = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", resolved()[service]["stop_grace_period"])
    assert given
    assert 60 * int(given[1] or 0) + int(given[2] or 0) >= found.drain + 2 * found.deadline + found.slow_client + 20


@pytest.mark.parametrize("service", SERVICES)
def test_what_a_service_is_given_are_settings(service: str) -> None:
    given = environment(service)
    assert given.keys() <= SETTINGS
    asked = {name for name in given if name.endswith("_POSTGRES_DSN")} - {"CLASSIS_PRIMARY_POSTGRES_DSN"}
    own = {f"{PREFIX}{service.upper()}_POSTGRES_DSN", "CLASSIS_POSTGRES_DSN"}
    assert asked == (set() if service == "gateway" else own)


def test_what_can_be_set_is_told() -> None:
    """Each variable is a setting, or stands in the header, or is a password of NATS."""
    read = set(re.findall(r"\$\{([A-Z_]+)", COMPOSE)) | set(
        re.findall(r"^ +([A-Z_]+): *(?:#.*)?$", COMPOSE, re.MULTILINE)
    )
    told = SETTINGS | set(re.findall(r"[A-Z]+_[A-Z_]+", HEADER)) | set(re.findall(r"\$(CLASSIS_\w+)", NATS))
    assert read <= told
    assert set(re.findall(r"CLASSIS_[A-Z_]+", DOCKERFILE)) <= SETTINGS


def test_the_users_of_nats_are_those_of_its_configuration() -> None:
    users = dict(re.findall(r"user: (\w+).*?password: \$(\w+)", NATS, re.DOTALL))
    passwords = {name: value.strip('"') for name, value in environment("nats").items()}
    assert passwords.keys() == set(users.values())
    for service in SERVICES:
        given = environment(service)
        assert given["CLASSIS_NATS_USER"] == service
        assert given["CLASSIS_NATS_PASSWORD"] == passwords[users[service]]
    changed = ("CLASSIS_RUNS_PASSWORD=other",)
    assert environment("runs", changed)["CLASSIS_NATS_PASSWORD"] == "other"
    assert environment("nats", changed)["CLASSIS_RUNS_PASSWORD"] == '"other"'


def test_with_prefect_all_are_on_its_database_and_the_gateway_is_before_it() -> None:
    assert not environment("gateway")["CLASSIS_UPSTREAM"]
    assert environment("gateway", WITH_PREFECT)["CLASSIS_UPSTREAM"] == "http://prefect:4200"
    _, _, place = environment("flows", WITH_PREFECT)["CLASSIS_POSTGRES_DSN"].partition("://")
    url = environment("prefect", WITH_PREFECT)["PREFECT_API_DATABASE_CONNECTION_URL"]
    assert url == f"postgresql+asyncpg://{place}"
    assert f"CREATE DATABASE {place.rpartition('/')[2]};" in (ROOT / "deploy" / "prefect.sql").read_text()


def test_one_password_is_for_the_gateway_and_for_prefect() -> None:
    given = (*WITH_PREFECT, "PREFECT_SERVER_API_AUTH_STRING=me:secret")
    assert environment("gateway", given)["CLASSIS_API_AUTH_STRING"] == "me:secret"
    assert environment("prefect", given)["PREFECT_SERVER_API_AUTH_STRING"] == "me:secret"
    unset = environment("prefect", WITH_PREFECT)["PREFECT_SERVER_API_AUTH_STRING"]
    assert unset is None  # an empty one would be asked for


def test_the_image_says_what_it_is() -> None:
    assert f'org.opencontainers.image.version="{VERSION}"' in DOCKERFILE
    assert "USER 65534:65534" in DOCKERFILE
    assert 'ENTRYPOINT ["classis"]' in DOCKERFILE
    assert f"EXPOSE {Settings().port}" in DOCKERFILE
