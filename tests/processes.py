"""What tests ask about processes: who runs in a folder, and whether they are gone."""

import os
import select
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

Watch = Sequence[int]


@contextmanager
def watched(pids: Sequence[int]) -> Iterator[Watch]:
    """Descriptors that tell when each process has ended; a pid alone may be another process's by then."""
    with ExitStack() as stack:
        descriptors = [os.pidfd_open(pid) for pid in pids]
        for descriptor in descriptors:
            stack.callback(os.close, descriptor)
        yield descriptors


def all_gone(watch: Watch, seconds: float = 20) -> bool:
    """Whether every watched process ends in time. A zombie that nobody reaps has ended."""
    deadline = time.monotonic() + seconds
    for descriptor in watch:
        left = max(0.0, deadline - time.monotonic())
        if not select.select([descriptor], [], [], left)[0]:
            return False
    return True


def running_in(folder: Path) -> list[int]:
    """The processes whose working directory lies in the folder, as that of an embedded server does."""
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if folder in _directory(entry).parents]


def _directory(entry: Path) -> Path:
    try:
        return (entry / "cwd").readlink()
    except OSError:  # it ended meanwhile, or is another user's
        return Path("/")


def children_of(pid: int) -> list[int]:
    """The processes that a process started and that still run."""
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]
