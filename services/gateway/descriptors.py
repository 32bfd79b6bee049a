"""Open files: each client's connection takes one, and another at the upstream while it is passed on."""

import logging
import resource

log = logging.getLogger(__name__)

OTHERS = 256  # NATS, Postgres (should all services share a process), logs, Python itself


def allow(connections: int) -> None:
    """Raises this process's limit as far as so many connections need; warns when that is not allowed."""
    needed = 2 * connections + OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if needed <= soft or soft == resource.RLIM_INFINITY:
        return
    possible = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (possible, hard))
    if possible < needed:
        log.warning("%d connections need %d open files, but the limit is %d (ulimit -Hn)", connections, needed, hard)
