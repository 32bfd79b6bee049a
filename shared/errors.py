"""The errors of the fleet. Each knows the status a client sees and whether asking again may help.

    FleetError
    ├── Refused              the caller's mistake; the same request fails again
    │   ├── Malformed        400  not a message of this subject, or of another version of it
    │   └── Unacceptable     422  a value that Postgres cannot take
    ├── Unavailable          503  passing trouble; asking again may help
    │   ├── Absent           no replica of the service listens
    │   ├── Busy             the service has as much work as it takes
    │   ├── Disconnected     NATS is out of reach
    │   ├── DatabaseDown     Postgres is out of reach, or not as expected
    │   ├── OtherVersion     the two ends of the bus do not understand each other
    │   └── DeadlineSpent    the time the caller allowed is over
    └── Broken               500  a mistake of ours

The text of an error is for logs. What crosses the bus or HTTP is the class's name and its public text, never the rest.
"""

import os
import socket
import ssl
from typing import ClassVar


class FleetError(Exception):
    """Anything the fleet says instead of an answer."""

    code: ClassVar[int] = 500
    public: ClassVar[str] = "Internal Server Error"
    retryable: ClassVar[bool] = False


class Refused(FleetError):
    """The request cannot be answered, now or later."""

    code = 400
    public = "Bad Request"


class Malformed(Refused):
    """The message does not fit its subject's contract."""

    public = "The message does not fit this subject"


class Unacceptable(Refused):
    """The request holds a value that Postgres cannot store, so nothing can equal it."""

    code = 422
    public = "A value cannot be represented in the database"


class Unavailable(FleetError):
    """The request could not be answered this time."""

    code = 503
    public = "Service Unavailable"
    retryable = True


class Absent(Unavailable):
    """No replica of the asked service is listening."""


class Busy(Unavailable):
    """The service already works on as many requests as it accepts."""


class Disconnected(Unavailable):
    """The connection to NATS is down."""


class DatabaseDown(Unavailable):
    """Postgres cannot be reached, refuses us, or lacks what the statement needs."""


class OtherVersion(Unavailable):
    """The service and its caller are of versions that do not understand each other."""


class DeadlineSpent(Unavailable):
    """The time allowed for the request is over."""


class Broken(FleetError):
    """A mistake of ours, told to nobody but the log."""


BY_NAME: dict[str, type[FleetError]] = {
    error.__name__: error
    for error in (
        Malformed,
        Unacceptable,
        Absent,
        Busy,
        Disconnected,
        DatabaseDown,
        OtherVersion,
        DeadlineSpent,
        Broken,
    )
}


def named(name: str, code: int, told: str = "told by the service") -> FleetError:
    """The error a reply's headers tell of; a name of another version becomes the nearest kind by its code.

    `told` is where, for the log.
    """
    kind = BY_NAME.get(name) or (Unavailable if code == 503 else Refused if 400 <= code < 500 else Broken)
    return kind(told if name in BY_NAME else f"{told}: {name}")


def reason(error: OSError) -> str:
    """What the system says of an error. Those of names and of TLS have numbers of their own."""
    if error.errno and not isinstance(error, socket.gaierror | ssl.SSLError):
        return os.strerror(error.errno)
    return error.strerror or str(error)
