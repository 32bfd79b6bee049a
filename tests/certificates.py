"""Certificates for the tests, and a line that speaks TLS to one side and plain text to the other."""

import asyncio
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import trustme

SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # how a client of PostgreSQL asks for TLS


class Pair(NamedTuple):
    """A certificate and its key, as files."""

    certificate: Path
    key: Path


class Authority:
    """Who issues certificates; `ca` is the file to trust it by."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._made = trustme.CA(organization_name=name)
        self._folder = folder
        self._name = name
        self.ca = folder / f"{name}.pem"
        self._made.cert_pem.write_to_path(self.ca)
        self.ca.chmod(0o644)

    def issue(self, host: str) -> Pair:
        made = self._made.issue_cert(host)
        pair = Pair(self._folder / f"{self._name}-{host}.crt", self._folder / f"{self._name}-{host}.key")
        pair.certificate.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        made.private_key_pem.write_to_path(pair.key)
        for path in pair:
            path.chmod(0o644)  # a server under test runs as another user
        return pair


class TlsFront:
    """Stands before a PostgreSQL that has no TLS, in a thread of its own: TLS outside, plain text inside."""

    def __init__(self, dsn: str, pair: Pair, asking: Path | None = None) -> None:
        self._address = urlsplit(dsn)
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(*pair)
        if asking:  # for certificates of this authority
            self._context.load_verify_locations(asking)
            self._context.verify_mode = ssl.CERT_REQUIRED
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._passing: set[asyncio.Task[None]] = set()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        self.port = self._server.sockets[0].getsockname()[1]

    def dsn(self, host: str = "127.0.0.1", **parameters: str | Path) -> str:
        """The DSN of the way through here."""
        login = self._address.netloc.rpartition("@")[0]
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        return self._address._replace(netloc=f"{login}@{host}:{self.port}", query=query).geturl()

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def _stop(self) -> None:
        self._server.close()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                if await reader.readexactly(8) == SSL_REQUEST:
                    writer.write(b"S")
                    await writer.start_tls(self._context)
                    await self._pass_on(reader, writer)
        finally:
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._address.hostname, self._address.port)
        try:
            there = asyncio.create_task(_pump(reader, far_writer))
            back = asyncio.create_task(_pump(far_reader, writer))
            await asyncio.wait([there, back], return_when=asyncio.FIRST_COMPLETED)
            there.cancel()
            back.cancel()
            await asyncio.wait([there, back])
        finally:
            far_writer.transport.abort()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()


@contextmanager
def tls_front(dsn: str, pair: Pair, asking: Path | None = None) -> Iterator[TlsFront]:
    front = TlsFront(dsn, pair, asking)
    try:
        yield front
    finally:
        front.close()
