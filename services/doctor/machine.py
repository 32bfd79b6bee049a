"""This machine: versions, and the files and connections a process may open."""

import resource
import sys

import shared
from services.doctor.report import Subject
from services.gateway import descriptors
from shared.settings import PREFIX, Settings


def check(subject: Subject, settings: Settings) -> None:
    python = ".".join(map(str, sys.version_info[:3]))
    subject.ok("", f"Classis {shared.VERSION} on Python {python}")
    files(subject, settings, resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def files(subject: Subject, settings: Settings, limit: int) -> None:
    """Whether the gateway has room for all its clients. The hard limit counts: up to that it raises its own itself."""
    needed = descriptors.needed(settings)
    if limit != resource.RLIM_INFINITY and limit < needed:
        text = f"a process may open {limit} files here at most, but a gateway may need {needed}"
        subject.warning("files", text, f"raise it (ulimit -Hn, LimitNOFILE=), or lower {PREFIX}MAX_CONNECTIONS")
    else:
        subject.ok("files", f"a process may open {limit if limit >= 0 else 'any number of'}, a gateway needs {needed}")
