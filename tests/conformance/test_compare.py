"""`classis compare` between the real server and ours, on one database: no differences."""

import subprocess
import sys

from tests.fleet import ROOT


def test_searches_about_what_the_server_tells(fleet_on_seeded: str, oracle_on_seeded: str) -> None:
    command = [sys.executable, "-m", "services", "compare", oracle_on_seeded, fleet_on_seeded, "--generated", "100"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "100 requests: 100 same, 0 moved, 0 different, 0 unanswered" in done.stdout
