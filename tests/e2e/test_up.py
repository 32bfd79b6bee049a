"""`classis up` as a newcomer meets it: one command, a line to try, and nothing left behind."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from services import embedded
from services.seed import seed
from tests.processes import all_gone, children_of, running_in, watched

ROOT = Path(__file__).parents[2]
SMALL = ("--deployments", "40", "--flow-runs", "200", "--task-runs", "400")

Up = subprocess.Popen[str]


@contextmanager
def up(home: Path, *options: str, **environment: str) -> Iterator[Up]:
    """The command in a process of its own, on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CLASSIS_")}
    settings = {**inherited, "CLASSIS_HOME": str(home), "CLASSIS_PORT": port, **environment}
    command = [sys.executable, "-m", "services", "up", *options]
    pipe, same = subprocess.PIPE, subprocess.STDOUT
    with subprocess.Popen(command, cwd=ROOT, env=settings, text=True, stdout=pipe, stderr=same) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(40)


def curl_line(process: Up) -> str:
    """The line it prints once everything is ready."""
    return before_curl(process)[-1]


def before_curl(process: Up) -> list[str]:
    """All it prints up to that line."""
    assert process.stdout is not None
    said: list[str] = []
    for line in process.stdout:
        said.append(line.strip())
        if said[-1].startswith("curl "):
            return said
    raise AssertionError("\n".join(said))


def answer(curl: str) -> Any:
    done = subprocess.run(curl, shell=True, check=True, capture_output=True, text=True, timeout=30)
    page: dict[str, object] = json.loads(done.stdout)
    return page


def deployments(curl: str) -> object:
    """How many deployments there are, asked where the printed search goes."""
    return answer(f"{curl.partition(' -H ')[0].replace('paginate', 'count')} -d ''")


def everything_below(process: Up, home: Path) -> Sequence[int]:
    """The launcher's processes: its children, and the servers' own."""
    pids = {*children_of(process.pid), *running_in(home)}
    assert len(pids) >= 7  # five services, NATS, PostgreSQL
    return sorted(pids)


def test_a_first_start_answers_and_a_second_keeps_the_data(home: Path) -> None:
    with up(home, *SMALL) as process:
        first = answer(curl_line(process))
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    begun = time.monotonic()
    with up(home, CLASSIS_METRICS_HOST="127.0.0.2") as process:  # without the sizes: they count at the first start only
        second = answer(curl_line(process))
        taken = time.monotonic() - begun
    assert second == first
    assert first["count"]
    assert taken < 20  # a few seconds on an idle machine


def test_sigterm_stops_everything(home: Path) -> None:
    with up(home, *SMALL) as process:
        curl_line(process)
        with watched(everything_below(process, home)) as processes:
            process.terminate()
            assert process.wait(30) == 0
            assert all_gone(processes)
    assert running_in(home) == []


def test_sigkill_leaves_nothing_behind(home: Path) -> None:
    with up(home, *SMALL) as process:
        curl_line(process)
        with watched(everything_below(process, home)) as processes:
            process.kill()
            assert all_gone(processes)


def test_a_first_start_cut_short_is_made_up_for(home: Path) -> None:
    with up(home, "--deployments", "2000", "--flow-runs", "100000") as process:
        assert process.stdout is not None
        while not next(process.stdout).startswith("deployment:"):
            pass
        with watched(running_in(home)) as processes:
            process.kill()
            assert all_gone(processes)
    with up(home, *SMALL) as process:
        assert deployments(curl_line(process)) == 40


def test_a_service_that_ends_takes_the_rest_along(home: Path) -> None:
    with up(home, *SMALL) as process:
        curl_line(process)
        pids = everything_below(process, home)
        with watched(pids) as processes:
            os.kill(next(pid for pid in pids if command_line(pid)[-2:] == ["run", "runs"]), signal.SIGKILL)
            assert process.wait(30) == 1
            assert all_gone(processes)
        assert process.stdout is not None
        assert "the service runs ended" in process.stdout.read()


def command_line(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")


def test_a_port_that_is_taken_is_named_before_anything_starts(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with up(home, CLASSIS_PORT=port) as process:
            said, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert f"127.0.0.1:{port}" in said
    assert "CLASSIS_PORT" in said
    assert list(home.iterdir()) == []


@pytest.fixture
def given(home: Path) -> Iterator[str]:
    """Somebody else's database with data."""
    with embedded.postgres(home / "theirs", durable=False) as dsn:
        asyncio.run(execute(dsn, (ROOT / "deploy" / "schema.sql").read_text()))
        asyncio.run(seed(dsn, deployments=7, flow_runs=20, task_runs=30, progress=False))
        yield dsn


def test_a_database_that_is_given_is_only_read(home: Path, given: str) -> None:
    before = asyncio.run(written(given))
    with up(home / "ours", CLASSIS_POSTGRES_DSN=given) as process:
        said = before_curl(process)
        assert "demo data" not in "".join(said)
        assert f"from {given.rpartition('@')[2]}, without an upstream" in said[-3]
        assert deployments(said[-1]) == 7
        process.terminate()
        assert process.wait(30) == 0
    assert asyncio.run(written(given)) == before
    assert not (home / "ours" / "postgres").exists()


def test_a_database_that_is_not_there_is_named(home: Path) -> None:
    with up(home, CLASSIS_POSTGRES_DSN="postgresql://nobody:x@127.0.0.1:1/none") as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "cannot read the database of CLASSIS_POSTGRES_DSN" in said


def test_an_empty_database_that_is_given_stays_empty(home: Path) -> None:
    with embedded.postgres(home / "theirs", durable=False) as dsn:
        with up(home / "ours", CLASSIS_POSTGRES_DSN=dsn) as process:
            said, _ = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "no table 'deployment'" in said
        assert asyncio.run(written(dsn))["tables"] == []


@pytest.mark.parametrize(
    ("given_names", "said"),
    [
        (["UPSTREAM"], "CLASSIS_UPSTREAM is set, but no database: set CLASSIS_POSTGRES_DSN to Prefect's own"),
        (["PRIMARY_POSTGRES_DSN"], "CLASSIS_PRIMARY_POSTGRES_DSN is set, but no database"),
        (
            ["FLOWS_POSTGRES_DSN", "RUNS_POSTGRES_DSN"],
            "CLASSIS_WORK_POOLS_POSTGRES_DSN, CLASSIS_DEPLOYMENTS_POSTGRES_DSN: missing",
        ),
    ],
)
def test_demo_data_is_never_put_in_front_of_a_real_server(home: Path, given_names: list[str], said: str) -> None:
    values = {name: "http://prefect:4200" if name == "UPSTREAM" else "postgresql://db/prefect" for name in given_names}
    with up(home, **{f"CLASSIS_{name}": value for name, value in values.items()}) as process:
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 2
    assert said in out
    assert list(home.iterdir()) == []


def test_what_is_wrong_with_what_is_given_is_said_before_the_welcome_ends(home: Path, given: str) -> None:
    """An upstream that is away, and a role that may read nothing: the fleet runs, and searches would fail."""
    asyncio.run(execute(given, "CREATE ROLE reader LOGIN PASSWORD 'x'"))
    reader = f"postgresql://reader:x@{given.rpartition('@')[2]}"
    services = {f"CLASSIS_{name}_POSTGRES_DSN": reader for name in ("FLOWS", "RUNS", "WORK_POOLS", "DEPLOYMENTS")}
    begun = time.monotonic()
    with up(home / "ours", CLASSIS_UPSTREAM="http://127.0.0.1:1", **services) as process:
        assert process.stdout is not None
        curl_line(process)
        said = ""
        while "Ctrl-C stops everything" not in said:
            said += next(process.stdout)
        taken = time.monotonic() - begun
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert "http://127.0.0.1:1 does not answer" in said
    assert "permission denied for table" in said
    assert "GRANT pg_read_all_data TO reader" in said
    assert "x@" not in said
    assert taken < 30  # it waited 60 s for the upstream once


async def execute(dsn: str, statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(statements)
    await connection.close()


async def written(dsn: str) -> dict[str, object]:
    """What changes when somebody writes: the tables, their contents, and the number of transactions that wrote."""
    connection = await asyncpg.connect(dsn)
    tables = [row[0] for row in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
    rows = {
        name: await connection.fetchval(f"SELECT md5(string_agg(t::text, '' ORDER BY t::text)) FROM {name} t")
        for name in tables
    }
    next_writer = await connection.fetchval("SELECT pg_snapshot_xmax(pg_current_snapshot())::text")
    await connection.close()
    return {"tables": tables, "rows": rows, "next_writer": next_writer}
