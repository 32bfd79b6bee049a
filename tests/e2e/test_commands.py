"""The command line: what it says without a command, of slips, and when it is interrupted."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import shared
from services.__main__ import COMMANDS, main

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--version"], f"classis {shared.VERSION}\n"),
        ([], "look at an installation"),
        (["run", "--help"], "[10.0 s; a number from 0.001 to 86400]"),
        (["run", "--help"], "CLASSIS_HOME"),
    ],
)
def test_what_it_says_of_itself(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(argv)
    assert left.value.code == 0
    assert said in capsys.readouterr().out


def test_a_slip_in_a_variable_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CLASSIS_UPSTRAEM", "http://prefect:4200")
    assert "subjects" in COMMANDS
    assert main(["subjects"]) == 0
    assert "CLASSIS_UPSTRAEM is no setting; did you mean CLASSIS_UPSTREAM?" in capsys.readouterr().err


def test_ctrl_c_ends_the_doctor_in_one_line() -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CLASSIS_")}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        dsn = f"postgresql://x@127.0.0.1:{silent.getsockname()[1]}/x"
        command = [sys.executable, "-m", "services", "doctor"]
        environment = {**inherited, "CLASSIS_POSTGRES_DSN": dsn, "CLASSIS_NATS_URL": "nats://127.0.0.1:1"}
        with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
            connection, _ = silent.accept()  # by now it looks, and nobody answers
            with connection:
                process.send_signal(signal.SIGINT)
                _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, "classis: interrupted\n")
