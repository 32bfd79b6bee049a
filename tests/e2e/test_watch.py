"""`classis up` says where its metrics are, and notices when a server of its own ends."""

import os
import re
import signal
import urllib.request
from pathlib import Path

import pytest

from tests.e2e.test_up import SMALL, Up, command_line, curl_line, everything_below, up
from tests.processes import all_gone, watched


def told(process: Up, beginning: str) -> str:
    """The line it prints that begins like this."""
    assert process.stdout is not None
    return next(line for line in process.stdout if line.startswith(beginning))


def test_the_metrics_of_every_service_are_where_it_says(home: Path) -> None:
    with up(home, *SMALL) as process:
        line = told(process, "Metrics are at ")
        address = re.search(r"(http://[^ ]+):\d+/metrics", line)
        assert address
        for port in re.findall(r":\s?(\d+)", line):
            with urllib.request.urlopen(f"{address[1]}:{port}/metrics", timeout=5) as answer:
                assert b"classis_build_info" in answer.read()


@pytest.mark.parametrize(("name", "program"), [("PostgreSQL", "postgres"), ("NATS", "nats-server")])
def test_a_server_that_ends_takes_the_rest_along(home: Path, name: str, program: str) -> None:
    with up(home, *SMALL) as process:
        curl_line(process)
        pids = everything_below(process, home)
        with watched(pids) as processes:
            killed = next(pid for pid in pids if Path(command_line(pid)[0]).name == program)
            os.kill(killed, signal.SIGKILL)
            assert process.wait(30) == 1
            assert all_gone(processes)
        assert process.stdout is not None
        assert f"classis up: {name} ended" in process.stdout.read()
