"""The searches that came in, added to a file, one JSON line each, for `classis compare`.

A line has the method, the path and the body, no header, so no credential; but what people searched for, names too. A
thread writes; a search never waits for it, and what a slow disk cannot take in time is left out.
"""

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from io import BufferedWriter
from typing import NamedTuple

import msgspec

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

    def __init__(self, file: BufferedWriter, path: str) -> None:
        self._file = file
        self._path = path
        self._waiting: list[Search] = []
        self._held = 0
        self._come = asyncio.Event()
        self._full = self._leaving = False

    def add(self, method: str, path: str, body: bytes) -> None:
        """Notes a search."""
        search = Search(method, path, body)
        if self._full:
            return
        if self._held + search.size > WAITING:
            log.warning("a search is not recorded in %s, which is slow to write", self._path)
            return
        self._held += search.size
        self._waiting.append(search)
        self._come.set()

    def leave(self) -> None:
        self._leaving = True
        self._come.set()

    async def writing(self) -> None:
        """Writes what comes, until leaving or until no more can be written."""
        while not self._full and (self._waiting or not self._leaving):
            await self._come.wait()
            self._come.clear()
            batch, self._waiting = self._waiting, []
            try:
                await asyncio.to_thread(self._write, batch)
            except OSError as error:
                self._stop(f"{error}")
            self._held -= sum(search.size for search in batch)

    def _write(self, batch: list[Search]) -> None:
        size = os.fstat(self._file.fileno()).st_size  # others may write to it too
        for search in batch:
            text = line(search)
            size += len(text)
            if size > MOST:
                self._stop(f"it has {MOST >> 20} MiB")
                break
            self._file.write(text)
        self._file.flush()

    def _stop(self, why: str) -> None:
        self._full = True
        log.warning("no more searches are recorded in %s: %s", self._path, why)


@asynccontextmanager
async def opened(path: str) -> AsyncIterator[Record | None]:
    """The record, if there is to be one. Raises OSError when the file cannot be opened."""
    if not path:
        yield None
        return
    file = os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")
    record = Record(file, path)
    writing = asyncio.create_task(record.writing())
    try:
        yield record
    finally:
        record.leave()
        with suppress(TimeoutError):
            await asyncio.wait_for(writing, FAREWELL)
        with suppress(OSError):  # it was told of
            file.close()


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
