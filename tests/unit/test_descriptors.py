"""The limit on open files is raised as far as is needed and allowed. In a process of its own: it cannot be undone."""

import subprocess
import sys

import pytest

SCRIPT = """
import logging, resource, sys
from services.gateway import descriptors
logging.basicConfig()
soft, hard, connections = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
descriptors.allow(connections)
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "limit", "warns"),
    [(300, 900, 10, 300, False), (300, 900, 100, 456, False), (300, 900, 1000, 900, True)],
)
def test_the_limit(soft: int, hard: int, connections: int, limit: int, warns: bool) -> None:
    command = [sys.executable, "-c", SCRIPT, str(soft), str(hard), str(connections)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (int(done.stdout), "open files" in done.stderr) == (limit, warns)
