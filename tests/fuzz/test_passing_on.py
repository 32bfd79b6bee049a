"""Odd requests to a gateway whose upstream answers oddly. CLASSIS_FUZZ_REQUESTS and CLASSIS_FUZZ_SEED change it.

The upstream gets whole and well-formed requests or none, the client no 500, and the next client the answer that is its own.
"""

import asyncio
import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import strategies as st

from services import embedded
from tests import fleet
from tests.conftest import folder
from tests.fuzz import bodies, by_http, chance
from tests.fuzz.bodies import Draw
from tests.fuzz.wire import Http, read_all, statuses
from tests.upstreams import Exchange, playing

REQUESTS = int(os.environ.get("CLASSIS_FUZZ_REQUESTS", "3000")) // 10
SEED = int(os.environ.get("CLASSIS_FUZZ_SEED", "1"))
LINE = re.compile(r"[A-Z-]+ /[^\s\x00-\x1f\x7f]* HTTP/1\.1")
HEADER = re.compile(rb"[a-zA-Z0-9!#$%&'*+.^_`|~-]+: [^\r\n\0]*")
PLAIN = b"HTTP/1.1 200 OK\r\n"
ANSWERS = [  # and None is for one that tells the request's own mark
    PLAIN + b"content-length: 2\r\n\r\nok", PLAIN + b"transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\na: b\r\n\r\n",
    b"HTTP/1.1 304 X\r\netag: a\r\ncontent-length: 9\r\n\r\n", b"HTTP/1.1 103 X\r\nlink: a\r\n\r\n" + PLAIN + b"content-length: 0\r\n\r\n",
    b"HTTP/1.1 101 X\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nhello", b"HTTP/1.0 200\r\n\r\nold", b"",
    PLAIN + b"content-length: 9\r\n\r\nhalf", PLAIN + b"transfer-encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n", PLAIN + b"a: \xff\xfc\r\ncontent-length: 0\r\n\r\n",
    PLAIN + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", b"HTTP/1.1 999 \xff\r\n\r\n", b"\0\xff\r\n\r\n", b"HTTP/1.1 302 X\r\nlocation: //y\r\n\r\n",
    PLAIN + b"a: " + b"x" * 70_000 + b"\r\n\r\n", PLAIN + b"content-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc", PLAIN * 2 + b"\r\n",
]  # fmt: skip


@dataclass
class Behind:
    """The gateway's process, its log, and what was wrong with requests that came through it."""

    process: subprocess.Popen[bytes]
    address: tuple[str, int]
    log: Path
    wrong: list[bytes] = field(default_factory=list)

    def check(self) -> None:
        assert not self.wrong
        assert self.process.poll() is None
        told = self.log.read_text(errors="replace")
        assert not [word for word in ("Traceback", "never retrieved", "never awaited", " ERROR ") if word in told], (
            told[-5000:]
        )


@pytest.fixture(scope="module")
def behind() -> Iterator[Behind]:
    wrong: list[bytes] = []
    port = fleet.free_port()
    with folder() as home, embedded.nats(home) as nats_url, _upstream(wrong) as url, (home / "log").open("wb") as log:
        settings = {
            "NATS_URL": nats_url,
            "UPSTREAM": url,
            "PORT": str(port),
            "UPSTREAM_PATIENCE": "0.2",
            "SLOW_CLIENT": "3",
        }
        environment = {**os.environ, **{f"CLASSIS_{name}": value for name, value in settings.items()}}
        with fleet.process(["gateway"], environment, log) as process:
            fleet.wait_until_ready(f"http://127.0.0.1:{port}")
            yield Behind(process, ("127.0.0.1", port), home / "log", wrong)


@contextmanager
def _upstream(wrong: list[bytes]) -> Iterator[str]:
    """An upstream in a thread of its own."""

    async def answer(exchange: Exchange) -> None:
        if not _is_right(exchange):
            wrong.append(exchange.head[:2000])
        await exchange.body()
        mark = "".join(exchange.all("x-mark")[:1]).encode()
        chosen = "".join(exchange.all("x-answer")[:1])
        exchange.send(ANSWERS[int(chosen)] if chosen else PLAIN + b"content-length: %d\r\n\r\n%b" % (len(mark), mark))

    async def serve() -> None:
        async with playing(answer) as played:
            address.append(played.url)
            ready.set()
            await asyncio.get_running_loop().create_task(done.wait())

    loop, ready, done = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    address: list[str] = []
    thread = threading.Thread(target=loop.run_until_complete, args=[serve()])
    thread.start()
    ready.wait()
    try:
        yield address[0]
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()


def _is_right(exchange: Exchange) -> bool:
    lines = exchange.head.removesuffix(b"\r\n\r\n").split(b"\r\n")[1:]
    framing = len(exchange.all("content-length") + exchange.all("transfer-encoding"))
    well_formed = LINE.fullmatch(exchange.line) and all(HEADER.fullmatch(line) for line in lines)
    return bool(well_formed) and framing <= 1 and len(exchange.all("host")) == 1


@st.composite
def sent(draw: Draw) -> bytes:
    """One to three requests of all kinds on one connection, some of them damaged."""
    made = b"".join(
        draw(st.sampled_from([_enveloped, _enveloped, _framed, _garbage]))(draw) for _ in range(draw(st.integers(1, 3)))
    )
    return bodies.damaged(draw, made) if draw(st.integers(0, 3)) == 0 else made


def _enveloped(draw: Draw) -> bytes:
    method = draw(st.sampled_from([*by_http.METHODS, "CONNECT", "QUERY"]))
    path = by_http._path(draw(st.lists(st.sampled_from(by_http.PIECES), max_size=4)))
    headers = draw(st.lists(st.tuples(st.sampled_from(by_http.NAMES), st.sampled_from(by_http.VALUES)), max_size=4))
    body: bytes = draw(st.sampled_from([b"", b"{}", b"x" * 100_000]))
    lines: list[bytes] = [b"host: x", b"content-length: %d" % len(body), _answer(draw)]
    lines += [b"%b: %b" % header for header in headers]
    return f"{method} {path} HTTP/1.1\r\n".encode() + b"\r\n".join(lines) + b"\r\n\r\n" + body


def _framed(draw: Draw) -> bytes:
    path = draw(st.sampled_from(["/x", "/api/flows/filter", "/api/deployments/count", "/ui-settings"]))
    lines = [b"host: x", _answer(draw), bytes(draw(st.sampled_from(by_http.LENGTHS)))]
    return (
        f"POST {path} HTTP/1.1\r\n".encode()
        + b"\r\n".join(lines)
        + b"\r\n\r\n"
        + bytes(draw(st.sampled_from(by_http.CHUNKS)))
    )


def _answer(draw: Draw) -> bytes:
    return b"x-answer: %d" % draw(st.integers(0, len(ANSWERS) - 1))


def _garbage(draw: Draw) -> bytes:
    return bytes(draw(st.sampled_from(by_http.GARBAGE)))


def test_whatever_is_sent_and_answered_nothing_else_breaks(behind: Behind) -> None:
    line = Http(behind.address)
    number = 0

    def check(request: bytes) -> None:
        nonlocal number
        number += 1
        with socket.create_connection(behind.address) as connection:
            connection.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
            )  # leave no port in TIME_WAIT
            with suppress(OSError):  # it had enough
                connection.sendall(request)
            assert 500 not in statuses(read_all(connection, by_http.SILENCE))
        next_one = line.ask(b"GET /next HTTP/1.1\r\nhost: x\r\nx-mark: %d\r\n\r\n" % number, "GET")
        assert (next_one.status, next_one.body) == (200, b"%d" % number)

    with closing(line):
        chance.examples(sent(), REQUESTS, SEED, check)
    behind.check()
