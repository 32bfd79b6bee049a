"""Open files: each client's connection takes one, and another at the upstream while it is passed on."""

import logging
import resource

from shared.settings import Settings

log = logging.getLogger(__name__)

OTHERS = 256  # NATS, Postgres (should all services share a process), logs, Python itself


def needed(settings: Settings) -> int:
    """How many files a gateway may have open."""
    return settings.max_connections * (2 if settings.upstream else 1) + OTHERS


def allow(settings: Settings) -> None:
    """Raises this process's limit as far as is needed; warns when that is not allowed."""
    wanted = needed(settings)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if wanted <= soft or soft == resource.RLIM_INFINITY:
        return
    possible = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (possible, hard))
    if possible < wanted:
        connections = settings.max_connections
        log.warning("%d connections need %d open files, but the limit is %d (ulimit -Hn)", connections, wanted, hard)
