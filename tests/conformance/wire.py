"""Requests and answers as they are on the wire: what a case says is what is sent, nothing added or repaired."""

import asyncio
import gzip
import http.client
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

JSON_TYPE = {"content-type": "application/json"}
TIMEOUT = 60.0  # seconds; the oracle is slow on a busy machine


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @cached_property
    def json(self) -> Any:
        """The body as a server reads it, or None."""
        try:
            return json.loads(self.body or b"null")
        except ValueError:
            return None

    def __str__(self) -> str:
        body = "" if self.body is None else self.body[:2000].decode(errors="backslashreplace")
        return f"{self.method} {self.path} {self.headers or ''} {body}"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    raw: bytes

    @cached_property
    def body(self) -> bytes:
        return gzip.decompress(self.raw) if self.headers.get("content-encoding") == "gzip" else self.raw

    @cached_property
    def json(self) -> Any:
        """The decoded body; a body that is no JSON is its own bytes."""
        try:
            return json.loads(self.body)
        except ValueError:
            return self.body

    def __str__(self) -> str:
        return f"{self.status} {self.body[:1500].decode(errors='backslashreplace')}"


def search(method: str, path: str, body: object = None) -> Request:
    """A request with a JSON body."""
    return Request(method, path, json.dumps(body, ensure_ascii=False).encode(), JSON_TYPE)


def _lowered(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for key, value in pairs:
        name = key.lower()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def send(base: str, request: Request) -> Answer:
    """One request on a connection of its own, byte for byte."""
    address = urlsplit(base)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=TIMEOUT)
    try:
        connection.putrequest(request.method, request.path, skip_accept_encoding=True)
        for name, value in request.headers.items():
            for each in value.split("\n"):  # a repeated header is written as lines
                connection.putheader(name, each.encode())
        connection.endheaders(_framed(connection, request))
        response = connection.getresponse()
        return Answer(response.status, _lowered(response.getheaders()), response.read())
    finally:
        connection.close()


def _framed(connection: http.client.HTTPConnection, request: Request) -> bytes | None:
    if "transfer-encoding" in request.headers:
        body = request.body or b""
        return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    if request.body is not None or request.method == "POST":
        connection.putheader("content-length", str(len(request.body or b"")))
    return request.body


async def send_to_all(bases: Sequence[str], requests: Sequence[Request], in_flight: int) -> list[list[Answer]]:
    """Every request to every server, a few at a time; the answers in the order of the requests."""
    answers: list[list[Answer]] = [[] for _ in requests]
    waiting = iter(enumerate(requests))
    # A connection each: the oracle closes one without a word after some errors.
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    skipped = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")
    async with aiohttp.ClientSession(
        connector=connector,
        skip_auto_headers=skipped,
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=TIMEOUT),
    ) as session:

        async def work() -> None:
            for index, request in waiting:
                answers[index] = list(await asyncio.gather(*(_one(session, base, request) for base in bases)))

        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(work())
    return answers


async def _one(session: aiohttp.ClientSession, base: str, request: Request) -> Answer:
    url = URL(base + request.path, encoded=True)
    async with session.request(
        request.method, url, data=request.body, headers=request.headers, allow_redirects=False
    ) as response:
        return Answer(response.status, _lowered(list(response.headers.items())), await response.read())
