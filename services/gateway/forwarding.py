"""The heads of what is passed on: which headers a request and an answer keep on their way through, and what is added.

What concerns one connection only (RFC 9110, 7.6.1) is left out, and who asked is told in `Forwarded`, `X-Forwarded-*`
and `Via`. `Host` stays, so that the server's redirects lead back here.
"""

from collections.abc import Iterable

from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from services.gateway import problems
from services.gateway.problems import Problem

HOP_BY_HOP = {
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade",
}  # fmt: skip


def check(request: web.BaseRequest) -> None:
    """Raises Problem for what is not for the upstream, would name another host, or could not be told as it is."""
    if request.method == "CONNECT":
        raise Problem(405, "Method Not Allowed")
    if not request.raw_path.startswith("/"):
        raise problems.not_found()
    if "#" in request.raw_path:  # it would be cut off there, and so be another request than was decided about
        raise Problem(400, "Invalid HTTP request received.")
    if request.headers.get("transfer-encoding", "chunked").strip().lower() != "chunked":
        raise Problem(501, "Not Implemented")


def upgrade(request: web.BaseRequest) -> str:
    """`websocket` when the client wants to change to it. No other protocol is passed on."""
    wanted = ", ".join(request.headers.getall("connection", ())).lower()
    asked = request.headers.get("upgrade", "")
    return asked if "upgrade" in wanted and asked.lower() == "websocket" else ""


def request_headers(request: web.BaseRequest, name: str, protocol: str) -> CIMultiDict[str]:
    """The client's headers as the upstream gets them, with the name of this process and a protocol to change to."""
    headers = _end_to_end(request.headers.items(), protocol)
    if not _is_text(headers):
        raise Problem(400, "A header is not UTF-8")
    host, peer = request.headers.get("host", ""), request.remote or "unknown"
    headers.add("via", f"1.{request.version.minor} {name}")
    headers.add("forwarded", f'for={_node(peer)};host="{_quoted(host)}";proto={request.scheme}')
    headers["x-forwarded-for"] = ", ".join([*request.headers.getall("x-forwarded-for", ()), peer])
    headers.setdefault("x-forwarded-host", host)
    headers.setdefault("x-forwarded-proto", request.scheme)
    return headers


def answer_headers(given: CIMultiDictProxy[str], protocol: str) -> CIMultiDict[str]:
    """The upstream's headers as the client gets them."""
    headers = _end_to_end(given.items(), protocol)
    if not _is_text(headers):
        headers = CIMultiDict((name, _from_latin_1(value)) for name, value in headers.items())
    headers.setdefault("Server", "classis")  # else aiohttp names itself
    return headers


def _end_to_end(headers: Iterable[tuple[str, str]], protocol: str) -> CIMultiDict[str]:
    """The headers that are not about one connection only, repeated ones repeated; and a change of protocol."""
    given = list(headers)
    named = {name.strip().lower() for key, value in given if key.lower() == "connection" for name in value.split(",")}
    left_out = (HOP_BY_HOP | named) - {"host"}
    kept = CIMultiDict((key.lower(), value) for key, value in given if key.lower() not in left_out)
    if protocol:
        kept.update({"Connection": "Upgrade", "Upgrade": protocol})
    return kept


def _is_text(headers: CIMultiDict[str]) -> bool:
    """Whether all is UTF-8. aiohttp would send the rest without the bytes that are not."""
    try:
        "".join(headers.values()).encode()
    except UnicodeEncodeError:
        return False
    return True


def _from_latin_1(value: str) -> str:
    """What Prefect's server says in Latin-1 in a header, such as the name of a file, is sent on in UTF-8."""
    given = value.encode(errors="surrogateescape")
    try:
        return given.decode()
    except UnicodeDecodeError:
        return given.decode("latin-1")


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _node(peer: str) -> str:
    """A client's address as `Forwarded` has it: quoted, and in brackets, when it is one of IPv6."""
    return f'"[{peer}]"' if ":" in peer else peer
