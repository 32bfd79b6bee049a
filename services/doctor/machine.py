"""This machine: versions, and the files and connections a process may open."""

import resource
import sys

import shared
from services.doctor.report import Subject
from shared.settings import PREFIX, Settings

OLDEST = (3, 11)
OWN = 100  # files a process needs besides clients' connections: libraries, NATS, Postgres, logs


def check(subject: Subject, settings: Settings) -> None:
    python = ".".join(map(str, sys.version_info[:3]))
    subject.ok("", f"Classis {shared.VERSION} on Python {python}")
    files(subject, settings, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def files(subject: Subject, settings: Settings, limit: int) -> None:
    """Whether the gateway has room for all its clients; each may have a connection to the upstream too."""
    needed = settings.max_connections * (2 if settings.upstream else 1) + OWN
    if limit != resource.RLIM_INFINITY and limit < needed:
        text = f"a process may open {limit} files here, but a gateway may need {needed}"
        subject.warning("files", text, f"raise it (ulimit -n, LimitNOFILE=), or lower {PREFIX}MAX_CONNECTIONS")
    else:
        subject.ok("files", f"a process may open {limit if limit >= 0 else 'any number of'}, a gateway needs {needed}")
