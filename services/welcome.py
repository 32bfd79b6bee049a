"""What `classis up` says once everything runs: what it reads, a search to try, and where the rest is."""

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from services.doctor import places
from shared.settings import PREFIX, Settings

WELCOME = """
Classis answers at {address}/api, {mode}. Try:

    curl -s {address}/api/deployments/{search}

{troubles}NATS is at {nats}, for those who ask there.
Metrics are at {metrics}.
Logs are in {logs}. {data}
To look at all of it:{doctor}
Ctrl-C stops everything.
"""
DEMO = (
    "paginate{login} -H 'content-type: application/json' -d "
    """'{{"limit": 1, "deployments": {{"name": {{"like_": "nightly"}}}},"""
    """ "flow_runs": {{"state": {{"type": {{"any_": ["FAILED"]}}}}}}}}'

That asks for deployments with "nightly" in their name that own a failed run, one a page."""
)
OWN = "paginate{login} -H 'content-type: application/json' -d '{{\"limit\": 1}}'"
LOGIN = f' -u "${PREFIX}API_AUTH_STRING"'


class Started(NamedTuple):
    """What runs, and where."""

    address: str
    nats: str
    monitors: Mapping[str, str]  # by service
    logs: Path
    home: Path
    ours: Mapping[str, str]  # settings that name servers of ours

    @property
    def demo(self) -> bool:
        return "POSTGRES_DSN" in self.ours


def text(started: Started, settings: Settings, troubles: Sequence[str]) -> str:
    """The welcome, with what the doctor found wrong."""
    first, *others = started.monitors.items()
    metrics = [f"{first[1]}/metrics ({first[0]})", *(f"{name}: port {urlsplit(url).port}" for name, url in others)]
    kept = f"The data stays in {started.home}; remove that folder to start anew."
    search = (DEMO if started.demo else OWN).format(login=LOGIN if settings.api_auth_string else "")
    return WELCOME.format(
        address=started.address,
        mode="from demo data" if started.demo else _mode(settings),
        search=search,
        troubles="\n".join(["All is not well:", *troubles, "", ""]) if troubles else "",
        nats=started.nats,
        metrics="; ".join(metrics),
        logs=started.logs,
        data=kept if started.demo else "The database given is only read.",
        doctor=_doctor(started),
    )


def kept_password(dsn: str, home: Path) -> str:
    """Our own database's address for a shell, which reads the password where it is kept."""
    password = urlsplit(dsn).password or ""
    kept = shlex.quote(str(home / "postgres" / "password"))
    return dsn.replace(f":{password}@", f":$(cat {kept})@")


def _mode(settings: Settings) -> str:
    databases = ", ".join(_without_user(dsn) for dsn in places.named(settings))
    rest = f"passing the rest on to {settings.upstream}" if settings.upstream else "without an upstream"
    return f"from {databases}, {rest}"


def _without_user(dsn: str) -> str:
    place = urlsplit(dsn)
    return f"{place.netloc.rpartition('@')[2] or 'a local socket'}{place.path}"


def _doctor(started: Started) -> str:
    """A command line. What was given is not repeated: it may hold a password."""
    program = "classis" if shutil.which("classis") else Path(sys.executable).with_name("classis")
    named = [
        f'{PREFIX}{name}="{value}"' if "$" in value else f"{PREFIX}{name}={shlex.quote(value)}"
        for name, value in started.ours.items()
    ]
    line = " ".join([*named, f"{shlex.quote(str(program))} doctor"])
    return f"\n\n    {line}\n" + ("" if started.demo else "\nwith the settings that were given to this command.\n")
