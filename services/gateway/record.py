"""The searches that came in, added to a file, one JSON line each, for `classis compare`.

A line has the method, the path and the body, no header, so no credential; but what people searched for, names too. A
thread writes; a search never waits for it, and what a slow disk cannot take in time is left out.
"""

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import FileIO
from queue import SimpleQueue
from threading import Thread
from typing import NamedTuple

import msgspec

from shared.settings import PREFIX, SettingsError

log = logging.getLogger(__name__)

MOST = 64 * 1024 * 1024  # bytes of the file
WAITING = 16 * 1024 * 1024  # bytes that are not written yet
EACH = 512  # bytes that a search takes in memory besides its path and body
FAREWELL = 2.0  # seconds, on leaving, to write them


class Search(NamedTuple):
    method: str
    path: str
    body: bytes

    @property
    def size(self) -> int:
        return EACH + len(self.path) + len(self.body)


class Record:
    """One file, and the searches on their way to it."""

    def __init__(self, file: int, path: str) -> None:
        self._file = file
        self._path = path
        self._waiting: SimpleQueue[Search | None] = SimpleQueue()
        self._added = self._written = 0  # bytes; each is counted by one thread only
        self._full = False

    def add(self, method: str, path: str, body: bytes) -> None:
        """Notes a search."""
        search = Search(method, path, body)
        if self._full:
            return
        if self._added - self._written + search.size > WAITING:
            log.warning("a search is not recorded in %s, which is slow to write", self._path)
            return
        self._added += search.size
        self._waiting.put(search)

    def leave(self) -> None:
        """Nothing more comes."""
        self._waiting.put(None)

    def write(self) -> None:
        """Writes what comes, until nothing more comes or can be written, and closes. Waits for the disk for ever."""
        try:
            with FileIO(self._file, "a") as file:
                while not self._full and (search := self._waiting.get()):
                    self._write(file, line(search))
                    self._written += search.size
        except OSError as error:
            self._stop(f"{error}")

    def _write(self, file: FileIO, text: bytes) -> None:
        if os.fstat(file.fileno()).st_size + len(text) > MOST:  # others may write to it too
            self._stop(f"it has {MOST >> 20} MiB")
            return
        while text:
            text = text[file.write(text) :]

    def _stop(self, why: str) -> None:
        self._full = True
        log.warning("no more searches are recorded in %s: %s", self._path, why)


@asynccontextmanager
async def opened(path: str) -> AsyncIterator[Record | None]:
    """The record, if there is to be one. Raises SettingsError when the file cannot be opened."""
    if not path:
        yield None
        return
    try:
        record = Record(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), path)
    except OSError as error:
        raise SettingsError(f"{PREFIX}RECORD: cannot write to {path}: {error.strerror}") from error
    # No executor's thread: Python would wait for it at the end, and nothing ends a write to a disk that hangs.
    writing = Thread(target=record.write, name="record", daemon=True)
    writing.start()
    try:
        yield record
    finally:
        record.leave()
        await asyncio.to_thread(writing.join, FAREWELL)
        if writing.is_alive():
            log.warning("searches are missing in %s, which is slow to write", path)


def line(search: Search) -> bytes:
    """A body that is JSON stands there as it was sent, but on one line; any other, and a JSON string, as a text."""
    head = json.dumps({"method": search.method, "path": search.path}).encode()
    body = search.body.translate(None, b"\r\n") if _is_json(search.body) else _text(search.body)
    return b'%b,"body":%b}\n' % (head[:-1], body)


def _is_json(body: bytes) -> bool:
    """Whether it is a JSON value other than a string."""
    try:
        body.decode()
        return not isinstance(msgspec.json.decode(body), str)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return False


def _text(body: bytes) -> bytes:
    return json.dumps(body.decode(errors="replace")).encode() if body else b"null"
