"""Loaded by every Python process of the oracle at its start: the same answers, about ten times faster.

Reading a cron or interval schedule asks for the set of all time zones, and the standard library walks the time-zone
folder each time it is asked. With ORACLE_TUNED one walk per process is enough. And no oracle outlives the tests that
started it.
"""

import contextlib
import ctypes
import functools
import os
import signal
import sys
import zoneinfo

if os.environ.get("ORACLE_TUNED"):
    zoneinfo.available_timezones = functools.cache(zoneinfo.available_timezones)

if sys.platform == "linux":
    PR_SET_PDEATHSIG = 1
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
