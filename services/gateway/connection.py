"""One client's connection: how long it may take to send a head and to take an answer, and what is no HTTP at all.

aiohttp calls a connection idle until the head of a request is complete, so its keep-alive limit ends those too that
say nothing or dribble, the first head as well as any later one. It has no limit for a client that does not read.
"""

import asyncio
import logging
import socket
import struct
from functools import partial
from typing import Any, cast

from aiohttp import web
from aiohttp.http import RawRequestMessage

from services.gateway import problems
from services.gateway.problems import Problem
from shared import metrics, origin
from shared.errors import FleetError
from shared.settings import Settings

log = logging.getLogger(__name__)

KEEPALIVE = 5.0  # seconds, as Prefect's server
AT_ONCE = struct.pack("ii", 1, 0)  # the kernel's `linger`: on, for no time
LINGERING = 2.0  # seconds in which a client may notice that the rest of its body is not wanted
UNTAKEN = 256 * 1024 * 1024  # bytes of answers that wait for their clients, in all
LONGEST_HEAD = 512 * 1024  # bytes that may arrive while no request is known yet
LONGEST_LINE = 64 * 1024  # bytes of a request line or header, as uvicorn's parser
NOT_HTTP = "Invalid HTTP request received."


class Connection(web.RequestHandler):
    """aiohttp's, with a limit on the time a client takes for an answer, and with our words for broken requests."""

    __slots__ = ("_head", "_patience", "_server", "_waiting")

    def __init__(self, server: "Server", patience: float, **told: Any) -> None:
        super().__init__(server, **told)
        self._patience = patience
        self._server = server
        self._waiting: asyncio.TimerHandle | None = None
        self._head = 0

    def data_received(self, data: bytes) -> None:
        """Cuts off whose head does not end; aiohttp bounds each of its lines, not all of them."""
        if self._awaits_head():
            self._head += len(data)
        if self._head > LONGEST_HEAD and self.transport is not None:
            _cut_off(self.transport)
            return
        super().data_received(data)
        if not self._awaits_head():
            self._head = 0
        request = self._current_request
        if request is not None and self._messages and not isinstance(self._messages[-1][0], RawRequestMessage):
            request.content.set_exception(Problem(400, NOT_HTTP))  # aiohttp tells in the next request's place only

    def _awaits_head(self) -> bool:
        return self._waiter is not None and not self._waiter.done()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """An answer counts as sent when the kernel has all of it, so a connection that closes leaves nothing behind."""
        super().connection_made(transport)
        cast(asyncio.Transport, transport).set_write_buffer_limits(0)
        if len(self._server.connections) > self._server.most:
            metrics.TURNED_AWAY.inc()
            transport.abort()  # type: ignore[attr-defined]

    def pause_writing(self) -> None:
        """The kernel takes no more, because the client does not read."""
        super().pause_writing()
        if self.transport is not None:
            self._waiting = asyncio.get_running_loop().call_later(self._patience, _cut_off, self.transport)
            self._server.hold(self, self.transport)

    def resume_writing(self) -> None:
        self._stop_waiting()
        super().resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def log_exception(self, *args: Any, **told: Any) -> None:
        """Leaves out what has been answered: aiohttp stumbles over a broken body again when it passes over the rest."""
        if not isinstance(told.get("exc_info"), Problem):
            super().log_exception(*args, **told)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
            self._server.let_go(self)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 — the parser's words stay here
    ) -> web.StreamResponse:
        """The answer to what is no request, or when an answer fails to be made. What was sent is not repeated."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun already")
        if status == 400:
            log.debug("not HTTP: %s", type(exc).__name__)  # its text holds what was sent
            body = problems.printed({"detail": NOT_HTTP})
        else:
            log.error("an answer could not be made", exc_info=exc)
            status, body = 500, problems.printed({"exception_message": FleetError.public})
        metrics.REQUESTS.labels("other", str(status)).observe(0)
        headers = {"server": "classis", "x-request-id": origin.named(None)}
        answer = web.Response(body=body, status=status, headers=headers, content_type="application/json")
        answer.force_close()
        return answer


def _cut_off(transport: asyncio.Transport) -> None:
    """Ends a connection without a farewell; neither we nor the kernel keep what was not sent."""
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
    transport.abort()


class Server(web.Server):
    """Makes the connections, and bounds the memory of answers that their clients do not take."""

    def __init__(self, respond: Any, settings: Settings) -> None:
        super().__init__(respond, handler_cancellation=True)
        self._made = partial(
            Connection,
            self,
            settings.slow_client,
            loop=asyncio.get_running_loop(),
            access_log=None,
            keepalive_timeout=min(KEEPALIVE, settings.slow_client),
            lingering_time=min(LINGERING, settings.slow_client),
            auto_decompress=False,
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
        )
        self.most = settings.max_connections
        self._untaken: dict[Connection, tuple[asyncio.Transport, int]] = {}  # the oldest first
        self._held = 0

    def hold(self, connection: Connection, transport: asyncio.Transport) -> None:
        """Counts what a connection has yet to send. When that is too much in all, who has waited longest is cut off."""
        size = transport.get_write_buffer_size()
        self._untaken[connection] = transport, size
        self._held += size
        while self._held > UNTAKEN and len(self._untaken) > 1:
            oldest = next(iter(self._untaken))
            _cut_off(self._untaken[oldest][0])
            self.let_go(oldest)

    def let_go(self, connection: Connection) -> None:
        """All was sent, or nothing will be."""
        self._held -= self._untaken.pop(connection, (None, 0))[1]

    def __call__(self) -> Connection:
        return self._made()
