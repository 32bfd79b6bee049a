"""What processes use: CPU time and memory, by the part they play."""

import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

Parts = Mapping[str, int]  # part → its first process; those it started count with it


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and all below it, those that have ended included."""
    total = 0.0
    for process in _tree(pid):
        try:
            times = process.cpu_times()
        except psutil.Error:  # it ended: its parent has its time now
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def megabytes(pid: int) -> float:
    """Memory of a process and all below it; what they share counts once (PSS, where the system tells it)."""
    total = 0
    for process in _tree(pid):
        try:
            info = process.memory_full_info()
            total += getattr(info, "pss", None) or info.uss
        except psutil.Error:
            continue
    return total / 2**20


def _tree(pid: int) -> list[psutil.Process]:
    try:
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    except psutil.Error:
        return []


def usage(parts: Parts) -> dict[str, float]:
    return {part: cpu_seconds(pid) for part, pid in parts.items()}


def memory(parts: Parts) -> dict[str, float]:
    return {part: round(megabytes(pid), 1) for part, pid in parts.items()}


def child_with(word: str, newer_than: set[int]) -> int:
    """The process below this one with that word among its arguments, started since."""
    for process in psutil.Process().children():
        if process.pid not in newer_than and any(word in argument for argument in process.cmdline()):
            return int(process.pid)
    raise LookupError(f"no process was started with {word!r}")


def children() -> set[int]:
    return {process.pid for process in psutil.Process().children()}


def machine() -> dict[str, str]:
    """This machine, told so that results can be compared; nothing that names it."""
    release = platform.freedesktop_os_release() if sys.platform == "linux" else {}
    return {
        "CPU": _cpu_model(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": release.get("PRETTY_NAME") or f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
