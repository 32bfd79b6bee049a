"""What must stay secret is in no log, no answer, no metric and no command line, whatever goes wrong."""

import base64
import http.client
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from services import embedded
from shared.contract import SERVICES
from tests import secured
from tests.conftest import SCHEMA, folder
from tests.fleet import ROOT, free_port, select_for_a_moment
from tests.servers import database

LOGIN = "somebody:of the api, 5ecret"
WRONG = {"postgres": "wr0ng-for-postgres", "nats": "wr0ng-for-nats", "dead": "for-the-dead-5erver"}
SEARCHES = {"flows": b'{"flows": {}}', "runs": b'{"flow_runs": {}}', "work_pools": b'{"work_pools": {}}', "": b"{}"}


@pytest.fixture(scope="module")
async def dsn() -> AsyncIterator[str]:
    with folder() as home, embedded.postgres(home, durable=False) as made:
        yield await database(made, "secrets", SCHEMA.read_text())


def asked(fleet: secured.Fleet, service: str, login: str = LOGIN) -> tuple[int, bytes]:
    """The status and all of an answer, its headers too."""
    connection = http.client.HTTPConnection("127.0.0.1", fleet.port, timeout=20)
    token = base64.b64encode(login.encode()).decode()
    headers = {"content-type": "application/json", "authorization": f"Basic {token}"}
    try:
        connection.request("POST", "/api/deployments/filter", SEARCHES[service], headers)
        answer = connection.getresponse()
        return answer.status, str(answer.getheaders()).encode() + answer.read()
    except ConnectionRefusedError:  # it is starting
        return 0, b""
    finally:
        connection.close()


def until(fleet: secured.Fleet, service: str, status: int, answers: list[bytes]) -> None:
    deadline = time.monotonic() + 30
    while (answer := asked(fleet, service))[0] != status:
        assert time.monotonic() < deadline, answer
        answers.append(answer[1])
        select_for_a_moment()
    answers.append(answer[1])


def test_nothing_secret_is_shown_whatever_goes_wrong(dsn: str, home: Path) -> None:
    place, answers = urlsplit(dsn), list[bytes]()
    user = place.netloc.split(":")[0]
    metrics = {service: str(free_port()) for service in SERVICES}
    wrong = place._replace(netloc=f"{user}:{WRONG['postgres']}@127.0.0.1:{place.port}").geturl()
    dead = place._replace(netloc=f"{user}:{WRONG['dead']}@127.0.0.1:{free_port()}").geturl()
    own: dict[str, dict[str, str]] = {"flows": {"flows_postgres_dsn": wrong}, "runs": {"runs_postgres_dsn": dead}}
    each = {service: {"metrics_port": metrics[service], **own.get(service, {})} for service in SERVICES}
    common = {"postgres_dsn": dsn, "api_auth_string": LOGIN, "log_level": "DEBUG"}
    with secured.nats(home) as nats_url, secured.fleet(home, nats_url, each, **common) as fleet:
        for service, status in {"": 200, "work_pools": 200, "flows": 503, "runs": 503}.items():
            until(fleet, service, status, answers)
        for login in ("", "somebody:else", LOGIN[:-1]):
            status, answer = asked(fleet, "", login)
            answers.append(answer)
            assert status == 401
        answers += [scraped(port) for port in metrics.values()]
        lines = [Path(f"/proc/{process.pid}/cmdline").read_bytes() for process in fleet.processes.values()]
    assert "password authentication failed for user" in fleet.log("flows")
    assert "refused" in fleet.log("runs"), fleet.log("runs")
    logs = [fleet.log(service).encode() for service in SERVICES]
    logs.append((home / "nats" / "log").read_bytes())
    assert_none_in([place.password or "", LOGIN, LOGIN.partition(":")[2], *WRONG.values()], [*answers, *lines, *logs])


def assert_none_in(secrets: list[str], seen: list[bytes]) -> None:
    for secret in (*secrets, *secured.PASSWORDS.values()):
        assert len(secret) > 10
        for form in (secret, quote(secret), base64.b64encode(secret.encode()).decode()):
            assert not [text for text in seen if form.encode() in text], secret


def scraped(port: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=20)
    try:
        connection.request("GET", "/metrics")
        body = connection.getresponse().read()
    finally:
        connection.close()
    assert b"classis_" in body
    return body


def test_a_fleet_outlives_passwords_that_change(dsn: str, home: Path) -> None:
    """NATS refuses everybody when they start, and again when it comes back; the fleet tells why, and never gives up."""
    answers: list[bytes] = []
    port, others = free_port(), dict.fromkeys(SERVICES, WRONG["nats"])
    common = {"postgres_dsn": dsn, "api_auth_string": LOGIN, "log_level": "DEBUG"}
    with secured.fleet(home, f"nats://127.0.0.1:{port}", {}, **common) as fleet:
        with secured.nats(home, port=port, **others):
            told(fleet, "Authorization Violation")
        with secured.nats(home, port=port):
            until(fleet, "work_pools", 200, answers)
        with secured.nats(home, port=port, **others):
            until(fleet, "work_pools", 503, answers)
        with secured.nats(home, port=port):
            until(fleet, "work_pools", 200, answers)
    logs = [fleet.log(service).encode() for service in SERVICES]
    assert_none_in([LOGIN, WRONG["nats"]], [*answers, *logs, (home / "nats" / "log").read_bytes()])


def told(fleet: secured.Fleet, text: str) -> None:
    """Waits until every service has logged a text."""
    deadline = time.monotonic() + 30
    while missing := [service for service in SERVICES if text not in fleet.log(service)]:
        assert time.monotonic() < deadline, fleet.log(missing[0])
        select_for_a_moment()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("POSTGRES_DSN", "postgresql://me:5ecret-5lash/and@127.0.0.1/prefect"),
        ("POSTGRES_DSN", "postgresql://me:5ecret-h#sh@127.0.0.1/prefect"),
        ("FLOWS_POSTGRES_DSN", "postgresql://me:5ecret-@t@127.0.0.1/prefect"),
        ("POSTGRES_DSN", "postgresql://me@127.0.0.1/prefect?password=5ecret&5ecret-too"),
        ("POSTGRES_DSN", "postgresql://me:5ecret@127.0.0.1:70000/prefect"),
        ("POSTGRES_DSN", "5ecret"),
        ("NATS_URL", "nats://me:5ecret-5lash/and@127.0.0.1"),
        ("NATS_URL", "nats://me:5ecret,comma@127.0.0.1"),
        ("NATS_URL", "nats://me:5ecret@127.0.0.1:none"),
        ("NATS_URL", "nats://me:5ecret@127.0.0.1,nats://me:5ecret2@127.0.0.2"),
        ("NATS_PASSWORD", "5ecret"),
    ],
)
def test_a_wrong_setting_ends_the_start_without_its_secret(name: str, value: str) -> None:
    environment = {"PATH": os.environ["PATH"], f"CLASSIS_{name}": value}
    command = [sys.executable, "-m", "services", "run", "flows"]
    ended = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, timeout=30, check=False)
    assert ended.returncode != 0
    assert b"CLASSIS_" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert b"5ecret" not in ended.stderr + ended.stdout
