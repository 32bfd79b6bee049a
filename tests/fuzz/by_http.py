"""HTTP: odd bodies, odd envelopes around good bodies, and what is no HTTP at all."""

import http.client
import json
import socket
from collections.abc import Sequence
from contextlib import closing, suppress
from typing import Any
from urllib.parse import quote_from_bytes

import jsonschema_rs
from hypothesis import strategies as st

from services import openapi
from tests.fuzz import bodies, chance
from tests.fuzz.bodies import Draw, Searches
from tests.fuzz.ground import MAX_BODY, Ground
from tests.fuzz.tally import Finding, Tally
from tests.fuzz.wire import Answer, Http, read_all, statuses

Request = tuple[str, str, list[tuple[bytes, bytes]], bytes]  # method, path, headers, body
SEARCHES = ["/api/deployments/filter", "/api/deployments/paginate", "/api/deployments/count"]
PATHS = [
    *SEARCHES,
    "/api/health",
    "/api/ready",
    "/api/version",
    "/api/csrf-token",
    "/api/deployments/name",
    "/api",
    "/",
]
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "get", "P0ST", "!"]
PIECES = [
    b"%00", b"%0a", b"%0D%0A", b"%2F", b"%2e%2e", b"..", b".", b"%ff", b"%C0%AF", b"%", b"%zz", b"%25", b"+", b";a=b", b"//",
    b"name", b"filter", b"00000000-0000-4000-8000-000000000001", b"0" * 32, b"{id}", b"%F0%9F%98%80", b"%ED%A0%80", b"*",
    b"?", b"?limit=1", b"#", b"@", b":80", b"\\", b"a" * 3000, b"/", b"", b"api", b"deployments",
]  # fmt: skip
NAMES = [
    b"content-type", b"Content-Type", b"accept-encoding", b"x-prefect-api-version", b"if-none-match", b"origin", b"accept",
    b"x-request-id", b"traceparent", b"authorization", b"expect", b"connection", b"cookie", b"range", b"te", b"upgrade",
    b"access-control-request-method", b"access-control-request-headers", b"x-http-method-override", b"forwarded", b"x" * 300,
    b"content-encoding", b"if-match", b"if-modified-since", b"prefect-csrf-token", b"sec-websocket-key", b"baggage",
]  # fmt: skip
VALUES = [
    b"", b" ", b"application/json", b"application/json; charset=utf-16", b"text/plain", b"application/x+json", b"/", b"a/b/c+json",
    b"gzip", b"gzip;q=0", b"*", b"identity", b'W/"', b'"a", W/"b"', b"0.8.4", b"0.7.9", b"1.2", b"-1.-1.-1", b"9" * 5000 + b".1.1",
    "\u0661.8.4".encode(), b"\xff\xfe", b"\xe9", b"null", b"https://a.example", b"POST", b"x-a, x-b", b"Basic", b"Basic YTpi",
    b"Basic " + b"=" * 9, b"Bearer x", b"100-continue", b"close", b"keep-alive", b"websocket", b"deflate", b"br",
    b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-00",
    b"bytes=0-1", b"a" * 60_000, b"\t", b"a\tb", b",,,", b'";\\', b"Wed, 21 Oct 2015 07:28:00 GMT", b"%s%n", b"${jndi}", b"{{7*7}}",
]  # fmt: skip
GARBAGE = [
    b"", b"\r\n", b"\n", b"\r", b"\0", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/2.0\r\nhost: x\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET  /  HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / HTTP/1.1\r\nhost\r\n\r\n", b"host: x\r\n",
    b"GET http://x/api/health HTTP/1.1\r\nhost: x\r\n\r\n", b"CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n", b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /api/health HTTP/1.0\r\n\r\n", b"GET /api/health\r\n\r\n", b"A" * 100_000, b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
    b"GET /api/health HTTP/1.1\r\n" + b"".join(b"h%d: x\r\n" % n for n in range(3000)) + b"\r\n", b" : x\r\n", b"x\xff: y\r\n", b"a: b\r\n c\r\n",
    b"GET //x HTTP/1.1\r\nhost: x\r\n\r\n", b"GET http://[::1 HTTP/1.1\r\nhost: x\r\n\r\n", b"GET ?x HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET http://a:99999999/ HTTP/1.1\r\nhost: x\r\n\r\n", b"GET /api/health HTTP/1.1\r\nhost: \xff\r\n\r\n",
]  # fmt: skip
LENGTHS = [
    b"content-length: 2", b"content-length: 0", b"content-length: 1", b"content-length: 99", b"content-length: -1", b"content-length: x",
    b"content-length: +2", b"content-length: 2, 2", b"content-length: 2\r\ncontent-length: 3", b"content-length: 99999999999999999999",
    b"content-length: 2\r\ntransfer-encoding: chunked", b"transfer-encoding: chunked", b"transfer-encoding: gzip, chunked",
    b"transfer-encoding: chunked, gzip", b"transfer-encoding: chunked\r\ntransfer-encoding: chunked", b"transfer-encoding: x", b"x: y",
    b"content-length : 2", b"transfer-encoding:\x0bchunked", b"content-length: 1_0", b"content-length: 0x2",
]  # fmt: skip
CHUNKS = [
    b"{}", b"2\r\n{}\r\n0\r\n\r\n", b"2;a=b\r\n{}\r\n0\r\nx: y\r\n\r\n", b"02\r\n{}\r\n0\r\n\r\n", b"-2\r\n{}\r\n", b"x\r\n", b"2\n{}\n0\n\n",
    b"ffffffffffffffffff\r\n{}", b"2\r\n{}0\r\n\r\n", b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", b"0\r\n\r\n", b"\r\n", b"2\r\n{}\r\n", b"",
    b"2;" + b"a" * 70_000 + b"\r\n{}\r\n0\r\n\r\n", b"0\r\n" + b"t: x\r\n" * 500 + b"\r\n", b"f4241\r\n" + b" " * 1_000_001 + b"\r\n0\r\n\r\n",
]  # fmt: skip
VARIANTS = 10  # of one body
SILENCE = 0.03  # seconds without a byte, after which no more is waited for


# --- odd bodies


def with_bodies(ground: Ground, tally: Tally, number: int, seed: int) -> None:
    """Odd bodies to the three searches. Every answer is one that the document tells of."""
    line, told = Http(ground.address), Told()

    def one(path: str, body: bytes) -> None:
        head = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        answer = answered(line, head % (path.encode(), len(body)) + body, "POST", tally, ground)
        if (answer.status == 413) is not (len(body) > MAX_BODY):
            raise Finding(f"{len(body)} bytes are answered with {answer.status}")
        told.check(path, "post", answer)

    def check(case: tuple[str, bytes, int]) -> None:
        path, body, start = case
        for variant in chance.variants(body, start, VARIANTS):
            one(path, variant)

    cases = st.tuples(st.sampled_from(SEARCHES), bodies.texts(ground.searches), st.integers(0, 2**32))
    with closing(line):
        chance.examples(cases, number // VARIANTS, seed, check)


def answered(line: Http, request: bytes, method: str, tally: Tally, ground: Ground) -> Answer:
    """The answer to a request that must have one, and by HTTP never one of 500 or 503."""
    try:
        answer = line.ask(request, method)
    except (OSError, http.client.HTTPException) as error:
        tally.crashes += 1
        ground.check()
        raise Finding(f"no answer: {error!r} {request[:2000]!r}") from error
    tally.add(answer.status, answer.told, ground.leaks)
    if answer.status == 503:
        raise Finding(f"503: {answer.body[:300]!r}")
    return answer


class Told:
    """Whether an answer is one that the OpenAPI document tells of."""

    def __init__(self) -> None:
        self._document = openapi.made()
        self._known: dict[tuple[str, str, int], jsonschema_rs.Draft202012Validator | None] = {}

    def check(self, path: str, method: str, answer: Answer) -> None:
        """Raises Finding."""
        key = path, method, answer.status
        if key not in self._known:
            self._known[key] = self._validator(*key)
        validator = self._known[key]
        if validator is None:
            if answer.body:
                raise Finding(f"{answer.status} has a body: {answer.body[:300]!r}")
        elif errors := [str(error) for error in validator.iter_errors(json.loads(answer.body))]:
            raise Finding(f"{answer.status} is not as documented: {errors[:3]} {answer.body[:300]!r}")

    def _validator(self, path: str, method: str, status: int) -> jsonschema_rs.Draft202012Validator | None:
        responses = self._document["paths"][path][method]["responses"]
        if str(status) not in responses:
            raise Finding(f"{status} is not documented")
        response = responses[str(status)]
        if "$ref" in response:
            response = self._document["components"]["responses"][response["$ref"].rpartition("/")[2]]
        if "content" not in response:
            return None
        schema = response["content"]["application/json"]["schema"]
        return jsonschema_rs.Draft202012Validator({**schema, "components": self._document["components"]})


# --- odd envelopes: every one is HTTP, and has an answer


@st.composite
def envelopes(draw: Draw, found: Searches) -> Request:
    method = draw(st.sampled_from(["POST"] * 6 + ["GET"] * 4 + METHODS))
    path = draw(
        st.sampled_from(SEARCHES)
        | st.builds(_path, st.lists(st.sampled_from(PIECES) | st.binary(max_size=6), max_size=5))
    )
    headers = draw(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES) | _header_values()), max_size=5))
    body = draw(st.sampled_from([b"", b"{}", b"null", b'{"limit":1}', b"x"]) | bodies.texts(found))
    return method, path, headers, body[:100_000]


def _header_values() -> st.SearchStrategy[bytes]:
    return st.binary(max_size=30).map(lambda value: bytes(byte for byte in value if byte >= 32 and byte != 127).strip())


def _path(pieces: Sequence[bytes]) -> str:
    """A path of pieces; what cannot stand in a request line is percent-encoded."""
    safe = "/%?#;@:*{}\\+"
    return "/" + "/".join(["api/deployments", *(quote_from_bytes(piece, safe) for piece in pieces)])


def with_envelopes(ground: Ground, tally: Tally, number: int, seed: int) -> None:
    """Odd methods, paths and headers around bodies of all kinds."""
    line = Http(ground.address)

    def check(case: Request) -> None:
        method, path, headers, body = case
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        head = f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n".encode()
        answered(line, head + lines + b"\r\n" + body, method, tally, ground)

    strategy = st.one_of(envelopes(ground.searches), envelopes(ground.searches).map(_at_a_known_path))
    with closing(line):
        chance.examples(strategy, number, seed, check)


def _at_a_known_path(request: Request) -> Request:
    method, path, headers, body = request
    return method, PATHS[len(path) % len(PATHS)], headers, body


# --- what is no HTTP


@st.composite
def frames(draw: Draw) -> bytes:
    """Garbage, requests whose body is framed oddly, several requests at once, and damaged ones."""
    parts = draw(st.lists(st.sampled_from([_framed, _framed, _garbage, _good]), min_size=1, max_size=3))
    made = b"".join(part(draw) for part in parts)
    return bodies.damaged(draw, made) if draw(st.integers(0, 2)) == 0 else made


def _framed(draw: Draw) -> bytes:
    kind = draw(st.sampled_from([b"application/json", b"text/plain"]))
    head = b"POST /api/deployments/count HTTP/1.1\r\nhost: x\r\ncontent-type: %b\r\n%b\r\n\r\n"
    return head % (kind, draw(st.sampled_from(LENGTHS))) + bytes(draw(st.sampled_from(CHUNKS)))


def _garbage(draw: Draw) -> bytes:
    return bytes(draw(st.sampled_from(GARBAGE) | st.binary(max_size=50)))


def _good(draw: Draw) -> bytes:
    return b"GET /api/version HTTP/1.1\r\nhost: x\r\n\r\n"


def with_frames(ground: Ground, tally: Tally, number: int, seed: int) -> None:
    """Bytes on a connection of their own. Whatever is answered is no 500, and the next request is answered as ever."""
    line = Http(ground.address)

    def check(sent: bytes) -> None:
        with socket.create_connection(ground.address) as connection:
            connection.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
            )  # leave no port in TIME_WAIT
            with suppress(OSError):  # it had enough
                connection.sendall(sent)
            found = read_all(connection, SILENCE)
        found_statuses = statuses(found)
        for status in found_statuses:
            tally.add(status, found, ground.leaks)
        if not found_statuses:
            tally.add(None)
        request = b"GET /api/health HTTP/1.1\r\nhost: x\r\n\r\n"
        if answered(line, request, "GET", Tally(""), ground).body != b"true":
            raise Finding("it is not healthy any more")

    with closing(line):
        chance.examples(frames(), number, seed, check)


def hygiene(ground: Ground) -> list[tuple[str, int]]:
    """Bodies above the largest, each in a way of its own, with the status of the answer."""
    large = b" " * (MAX_BODY + 1)
    kinds: dict[str, Any] = {
        "with its length": (b"content-type: application/json\r\ncontent-length: %d" % len(large), large),
        "in one chunk": (
            b"content-type: application/json\r\ntransfer-encoding: chunked",
            b"%x\r\n%b\r\n0\r\n\r\n" % (len(large), large),
        ),
        "in many chunks": (
            b"content-type: application/json\r\ntransfer-encoding: chunked",
            (b"10000\r\n" + b" " * 65536 + b"\r\n") * 20 + b"0\r\n\r\n",
        ),
    }
    found = []
    for kind, (headers, body) in kinds.items():
        line = Http(ground.address)
        answer = line.ask(b"POST /api/deployments/count HTTP/1.1\r\nhost: x\r\n%b\r\n\r\n" % headers + body, "POST")
        line.close()
        found.append((kind, answer.status))
    return found
