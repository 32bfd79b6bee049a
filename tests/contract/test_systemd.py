"""The units of deploy/systemd keep to what the code and compose.yaml say, and what docs/operate.md does with them works."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from services.__main__ import parser
from services.gateway import descriptors
from shared.contract import SERVICES
from shared.settings import PREFIX, Settings, read
from tests.contract.test_compose import COMPOSE
from tests.fleet import ROOT
from tests.secured import CONFIG, USERS

FOLDER = ROOT / "deploy" / "systemd"
OPERATE = (ROOT / "docs" / "operate.md").read_text()
SECTION = OPERATE.partition("\n## On a machine with systemd\n")[2].partition("\n## ")[0]
PROGRAMS = "/opt/classis/.venv/bin"
UNITS = ("classis@.service", "nats.service")
SETTINGS = {PREFIX + name.upper() for name in Settings.__struct_fields__}


def unit(name: str) -> dict[str, list[str]]:
    """The lines of a unit, by their keys."""
    found: dict[str, list[str]] = {}
    for line in (FOLDER / name).read_text().splitlines():
        if not line.startswith(("#", "[")) and line:
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def variables(text: str) -> dict[str, str]:
    """What systemd reads in a file of environment, of the little of its grammar that is in ours."""
    lines = [line.partition("=") for line in text.splitlines() if line and not line.startswith("#")]
    return {name: value[1:-1] if value.startswith("'") else value for name, _, value in lines}


@pytest.mark.parametrize("service", SERVICES)
def test_a_unit_runs_each_service(service: str) -> None:
    [command] = unit("classis@.service")["ExecStart"]
    program, *given = command.replace("%i", service).split()
    assert program == f"{PROGRAMS}/classis"
    assert parser("run").parse_args(given).services == [service]
    assert re.search(rf"systemctl enable .*classis@{{.*\b{service}\b.*}}", SECTION)


def test_there_is_as_much_time_to_leave_as_in_compose() -> None:
    [seconds] = unit("classis@.service")["TimeoutStopSec"]
    assert f"stop_grace_period: {seconds}s" in COMPOSE
    assert unit("classis@.service")["KillSignal"] == ["SIGTERM"]
    found = read(variables((FOLDER / "env").read_text()))
    assert int(seconds) >= found.drain + 2 * found.deadline + found.slow_client + 20


def test_a_gateway_may_open_as_many_files_as_it_needs() -> None:
    [files] = unit("classis@.service")["LimitNOFILE"]
    assert int(files) >= descriptors.needed(Settings(upstream="http://prefect:4200"))


def test_wrong_settings_are_not_tried_again() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "services", "run", "flows"],
        cwd=ROOT,
        env={"CLASSIS_POOL_SIZE": "many"},
        capture_output=True,
        check=False,
    )
    assert unit("classis@.service")["RestartPreventExitStatus"] == [str(done.returncode)]


def test_what_is_set_are_settings() -> None:
    shown = re.findall(r"^(?:# )?(CLASSIS_\w+)=", (FOLDER / "env").read_text(), re.MULTILINE)
    assert shown and set(shown) <= SETTINGS


def test_the_passwords_are_those_of_nats_and_each_service_has_its_own(tmp_path: Path) -> None:
    """The lines of the document make them."""
    [lines] = re.findall(r"((?:    .*\n)*    for user in .*\n(?:    .*\n)*?    done\n)", SECTION)
    script = re.sub(r"^    cd /etc/classis", "cd .", lines, flags=re.MULTILINE)
    subprocess.run(["sh", "-eu", "-c", script], cwd=tmp_path, check=True)
    files = {file.name: file for file in tmp_path.iterdir()}
    assert files.keys() == {"nats.env", *(f"{user}.env" for user in USERS)}
    assert {file.stat().st_mode & 0o777 for file in files.values()} == {0o600}
    nats = variables(files.pop("nats.env").read_text())
    assert nats.keys() == set(re.findall(r"password: \$(\w+)", CONFIG))
    own = {name.removesuffix(".env"): variables(file.read_text()) for name, file in files.items()}
    for user, given in own.items():
        assert given.keys() <= SETTINGS
        assert read(given).nats_login.user == user
        assert nats[f"CLASSIS_{user.upper()}_PASSWORD"] == f'"{read(given).nats_password}"'
    assert len({read(given).metrics_port for given in own.values()}) == len({*nats.values()}) == len(USERS)


@pytest.mark.parametrize("name", UNITS)
def test_systemd_understands_it(name: str, tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("there is no systemd-analyze here")
    text = re.sub(rf"{PROGRAMS}/\S+", sys.executable, (FOLDER / name).read_text())  # a program that is there
    (tmp_path / name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / name], capture_output=True, text=True, timeout=60, check=False
    )
    stem = name.removesuffix(".service")
    assert not [line for line in done.stderr.splitlines() if stem in line]  # the machine's own may have faults


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_may_do_little(name: str) -> None:
    given = unit(name)
    assert given["DynamicUser"] == ["yes"]
    assert given["CapabilityBoundingSet"] == [""]
    assert given["SystemCallFilter"] == ["@system-service"]
