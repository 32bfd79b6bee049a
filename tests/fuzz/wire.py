"""HTTP and NATS byte for byte, on plain sockets: nothing is checked or repaired before it is sent."""

import contextlib
import gzip
import http.client
import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from time import monotonic
from urllib.parse import urlsplit

from shared.contract import ERROR_CODE

IDLE = 2.0  # seconds without a request, after which a connection is not used again; the server waits 5
PATIENCE = 15.0  # seconds for an answer that must come; three times the fleet's deadline


@dataclass(frozen=True)
class Answer:
    """One answer of the HTTP server, its body uncompressed."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def told(self) -> bytes:
        """All that it says."""
        return str(self.headers).encode() + self.body


class Http:
    """A client on one connection, made anew whenever the server has closed it."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._connection: socket.socket | None = None
        self._used = 0.0

    def ask(self, request: bytes, method: str) -> Answer:
        """The answer to one whole request. Raises OSError or http.client.HTTPException when there is none."""
        if self._connection and monotonic() - self._used > IDLE:  # the server closes it about now
            self.close()
        self._connection = self._connection or socket.create_connection(self._address, PATIENCE)
        with contextlib.suppress(OSError):  # it answers before it has read all, and closes: 413
            self._connection.sendall(request)
        response = http.client.HTTPResponse(self._connection, method=method)
        try:
            response.begin()
            body = response.read()
        except (OSError, http.client.HTTPException):
            response.close()
            self.close()
            raise
        self._used = monotonic()
        if response.will_close:
            self.close()
        packed = response.headers.get("content-encoding") == "gzip" and body
        return Answer(response.status, response.headers, gzip.decompress(body) if packed else body)

    def close(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None


def read_all(connection: socket.socket, within: float) -> bytes:
    """All that arrives before the server closes, or falls silent for a while."""
    connection.settimeout(within)
    found = bytearray()
    try:
        while piece := connection.recv(65536):
            found += piece
    except OSError:  # it is silent, or cut the connection
        pass
    return bytes(found)


def statuses(answers: bytes) -> list[int]:
    """The status of every answer in what a server has sent."""
    return [int(found) for found in re.findall(rb"(?:^|(?<=[\n}\]]))HTTP/1\.[01] (\d{3})", answers)]


# --- NATS


@dataclass(frozen=True)
class Reply:
    """A message that has arrived."""

    subject: str
    payload: bytes
    headers: dict[str, str] = field(default_factory=dict)
    reply: str = ""

    @property
    def status(self) -> int:
        """As HTTP has it: an error's own number, 200 for an answer."""
        return int(self.headers.get(ERROR_CODE) or self.headers.get("Status") or 200)


class Nats:
    """A client that lets malformed headers and any bytes through. Made by `nats`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._file = connection.makefile("rb")
        self._tokens = count()
        self.inbox = f"_INBOX.fuzz{id(self):x}"
        self.heard: Callable[[Reply], None] = lambda _: None  # is told of messages that are no reply

    def send(self, line: str, *payload: bytes) -> None:
        self._connection.sendall(b"".join([line.encode(), b"\r\n", *payload]))

    def publish(self, subject: str, payload: bytes, headers: bytes = b"", reply: str = "") -> None:
        """Publishes; `headers` is the whole block as it is to stand on the wire."""
        if headers:
            sizes = f"{len(headers)} {len(headers) + len(payload)}"
            self.send(f"HPUB {subject} {reply} {sizes}", headers, payload, b"\r\n")
        else:
            self.send(f"PUB {subject} {reply} {len(payload)}", payload, b"\r\n")

    def ask(self, subject: str, payload: bytes, headers: bytes = b"", within: float = PATIENCE) -> Reply | None:
        """The first reply to a message; None when there is none in that time. The server says so if nobody listens."""
        address = f"{self.inbox}.{next(self._tokens)}"
        self.publish(subject, payload, headers, address)
        self._connection.settimeout(within)
        try:
            while True:
                reply = self.next()
                if reply and reply.subject == address:
                    return reply
                if reply:
                    self.heard(reply)
        except TimeoutError:
            self._file.close()
            self._file = self._connection.makefile("rb")  # a file that has timed out reads no more
            return None

    def close(self) -> None:
        self._file.close()

    def settled(self) -> None:
        """Returns when the server has read all that was sent."""
        self.send("PING")
        while self._file.readline() != b"PONG\r\n":
            pass

    def next(self) -> Reply | None:
        """The next message, or None for another line of the protocol. Raises OSError when the server has cut."""
        words = self._file.readline().decode().split()
        match words:
            case ["PING"]:
                self.send("PONG")
            case ["MSG", subject, _, *reply, size]:
                return Reply(subject, self._payload(int(size)), reply="".join(reply))
            case ["HMSG", subject, _, *reply, head, size]:
                block = self._payload(int(size))
                return Reply(subject, block[int(head) :], _headers(block[: int(head)]), "".join(reply))
            case []:
                raise ConnectionError("NATS has cut the connection")
            case ["-ERR", *_]:
                raise ConnectionError(" ".join(words))
        return None

    def _payload(self, size: int) -> bytes:
        return self._file.read(size + 2)[:-2]


def _headers(block: bytes) -> dict[str, str]:
    status, *lines = block.decode(errors="replace").split("\r\n")
    found = {name: value.strip() for name, _, value in (line.partition(":") for line in lines) if name}
    code = status.removeprefix("NATS/1.0").strip()
    return {**found, "Status": code} if code else found


@contextmanager
def nats(url: str) -> Iterator[Nats]:
    """A connection to NATS, with an inbox for replies."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 4222), PATIENCE) as connection:
        made = Nats(connection)
        made.next()  # INFO
        made.send(f"CONNECT {json.dumps({'verbose': False, 'headers': True, 'no_responders': True})}")
        made.send(f"SUB {made.inbox}.* 1")
        made.settled()
        try:
            yield made
        finally:
            made.close()
