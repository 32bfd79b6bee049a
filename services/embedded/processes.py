"""Child processes that end with this one, and waiting for them to get ready."""

import ctypes
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
Process = subprocess.Popen[bytes]

READY_WITHIN = 60.0  # seconds, enough for a recovery after a crash
_PR_SET_PDEATHSIG = 1
_prctl: Callable[[int, int], int] | None = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


class StartError(RuntimeError):
    """Something cannot be started; the message says what to do next."""


def spawn(
    argv: Sequence[str | Path],
    *,
    user: str | None = None,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
    cwd: Path | None = None,
    stdin: int = subprocess.DEVNULL,
    keep: Sequence[int] = (),
    parting: signal.Signals = signal.SIGKILL,
) -> Process:
    """Start a child in a session of its own that gets the signal `parting` when this process dies, however it dies.

    Call it from the main thread: Linux sends the signal when the THREAD that forked ends. Other systems know no such
    signal; there a child outlives a launcher that is killed. Without `log` the child writes where this process
    writes. `keep` are file descriptors that the child inherits.
    """
    launcher = os.getpid()

    def bind() -> None:  # runs in the child, after the change of user, which would undo it
        if _prctl is not None:
            _prctl(_PR_SET_PDEATHSIG, parting)
        if os.getppid() != launcher:  # it died before the line above
            os._exit(1)

    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640) if log else None
    try:
        return subprocess.Popen(
            argv,
            stdin=stdin,
            stdout=output,
            stderr=output,
            env=env,
            cwd=cwd,
            pass_fds=keep,
            start_new_session=True,
            preexec_fn=bind,  # noqa: PLW1509 — it takes no lock, and only the main thread comes here
            user=user,
            group=pwd.getpwnam(user).pw_gid if user else None,
            extra_groups=[] if user else None,
        )
    finally:
        if output is not None:
            os.close(output)


def stop(process: Process, *steps: tuple[signal.Signals, float]) -> None:
    """Send one signal after the other, each with its seconds to take effect, and SIGKILL in the end."""
    for number, seconds in steps:
        if process.poll() is not None:
            return
        process.send_signal(number)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
    if process.poll() is None:
        process.kill()
        process.wait()


def awaited(process: Process, ready: Callable[[], T | None], log: Path) -> T:
    """What `ready` gives once it gives something; an error with the end of the log when that never happens."""
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline:
        if (found := ready()) is not None:
            return found
        try:
            process.wait(0.01)
        except subprocess.TimeoutExpired:
            continue
        raise StartError(f"a server stopped while starting; {tail(log)}")
    raise StartError(f"a server was not ready within {READY_WITHIN:.0f} s; {tail(log)}")


def tail(log: Path, lines: int = 12) -> str:
    """The end of a log, introduced, to stand in a message."""
    return "\n  ".join([f"the end of its log {log}:", *log.read_text(errors="replace").splitlines()[-lines:]])
