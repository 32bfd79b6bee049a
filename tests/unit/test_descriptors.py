"""The limit on open files is raised as far as is needed and allowed. In a process of its own: it cannot be undone."""

import subprocess
import sys

import pytest

SCRIPT = """
import logging, resource, sys
from services.gateway import descriptors
from shared.settings import Settings
logging.basicConfig()
soft, hard, connections = map(int, sys.argv[1:4])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
descriptors.allow(Settings(max_connections=connections, upstream=sys.argv[4]))
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "upstream", "limit", "warns"),
    [
        (300, 900, 10, "", 300, False),
        (300, 900, 100, "", 356, False),
        (300, 900, 100, "http://prefect", 456, False),
        (300, 900, 1000, "", 900, True),
    ],
)
def test_the_limit(soft: int, hard: int, connections: int, upstream: str, limit: int, warns: bool) -> None:
    command = [sys.executable, "-c", SCRIPT, str(soft), str(hard), str(connections), upstream]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (int(done.stdout), "open files" in done.stderr) == (limit, warns)
