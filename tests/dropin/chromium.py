"""A Chromium for the tests of the web UI: one that the machine has, or, where we may, Debian's."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conformance import oracle

NAMES = ("chromium", "chromium-browser", "google-chrome")
INSTALL = "apt-get install -y --no-install-recommends chromium"
INSTALLED_WITHIN = 300.0  # seconds


def provided() -> tuple[str, str]:
    """Where it is; or nothing, and why there is none."""
    if found := _found():
        return found, ""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return "", f"no {', '.join(NAMES)} on PATH; run as root `{INSTALL}`, or set CLASSIS_TEST_CHROMIUM"
    with oracle.locked(Path(__file__).parent):
        why = "" if _found() else _installed()
    return (found, "") if (found := _found()) else ("", why or f"`{INSTALL}` brought none")


def _found() -> str:
    if named := os.environ.get("CLASSIS_TEST_CHROMIUM"):
        return named
    return next(filter(None, map(shutil.which, NAMES)), "")


def _installed() -> str:
    """Why it could not be."""
    print("installing chromium, for the tests of the web UI …", file=sys.stderr, flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in ("apt-get update", INSTALL):
        try:
            subprocess.run(command.split(), env=environment, check=True, capture_output=True, timeout=INSTALLED_WITHIN)
        except (OSError, subprocess.SubprocessError) as error:
            said = (getattr(error, "stderr", None) or b"").decode(errors="replace")[-500:]
            return f"`{command}` failed: {error} {said}"
    return ""
