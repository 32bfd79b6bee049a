"""What `classis up` says can be copied into a shell, wherever its files lie; and where it listens for metrics."""

import socket
import subprocess
from pathlib import Path

import pytest

from services import preflight, welcome
from services.embedded import StartError
from shared.settings import Settings

DSN = "postgresql://classis:pass%20word@127.0.0.1:5432/classis"


@pytest.mark.parametrize("name", ["plain", "with blanks", 'it\'s "$HOME" `here`'])
def test_the_line_of_the_doctor_is_one_for_a_shell(home: Path, name: str) -> None:
    kept = home / name / "postgres" / "password"
    kept.parent.mkdir(parents=True)
    kept.write_text("pass%20word")
    ours = {"POSTGRES_DSN": welcome.kept_password(DSN, home / name), "NATS_URL": "nats://127.0.0.1:4222"}
    started = welcome.Started("http://x", "x", {"flows": "http://x:1"}, home, home / name, ours)
    said = welcome.text(started, Settings(), [])
    assert "pass%20word" not in said
    [line] = [line for line in said.splitlines() if line.endswith("classis doctor")]
    assignments = line.rpartition(" CLASSIS_NATS_URL=")[0]
    done = subprocess.run(f"{assignments} env", shell=True, check=True, capture_output=True, text=True)
    assert f"CLASSIS_POSTGRES_DSN={DSN}" in done.stdout.splitlines()


def test_ports_for_metrics_are_looked_for_where_they_will_be() -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken:
        settings = Settings(metrics_host="127.0.0.2", metrics_port=taken.getsockname()[1])
        with pytest.raises(StartError, match="CLASSIS_METRICS_HOST and CLASSIS_METRICS_PORT"):
            preflight.metrics_ports(settings)
