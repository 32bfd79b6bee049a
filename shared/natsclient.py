"""nats-py's client, mended where it loses things or time. Each override says what happens without it."""

import asyncio
import re
from contextlib import suppress
from typing import Any, cast

from nats.aio.client import PING_PROTO, Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.protocol import parser

# NATS takes a subject with a vertical tab or a form feed in it; to nats-py's own expressions these are blanks, so that
# one such message, from anybody who may publish anywhere, costs the connection.
_WORD = rb"([^ \t\r\n]+)"
_GAP = rb"[ \t]+"
_TO = rb"\A%b" + _GAP + _WORD + _GAP + _WORD + _GAP + rb"(" + _WORD + _GAP + rb")?"
parser.MSG_RE = re.compile(_TO % b"MSG" + rb"(\d+)\r\n")
parser.HMSG_RE = re.compile(_TO % b"HMSG" + rb"(\d+)" + _GAP + rb"(\d+)\r\n")

COPIED_BELOW = 16 * 1024  # bytes; below, one piece is written faster than three


class SteadyClient(Client):
    """A client that keeps its order, always comes back, and lets go of what hangs."""

    async def _send_ping(self, future: "asyncio.Future[Any] | None" = None) -> None:
        """Sends PING in line. nats-py's overtakes what waits to be written, so that the PONG that ends a `flush` or a
        `drain` proves nothing: a caller finds nobody behind a new subscription, a drained one loses requests.
        """
        self._pongs.append(future or asyncio.get_running_loop().create_future())
        await self._send_command(PING_PROTO)
        await self._flush_pending()

    async def _process_pong(self) -> None:
        """Takes a PONG that nobody awaits any more; nats-py's read loop ends on a `flush` that was given up."""
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()

    async def _process_headers(self, headers: Any) -> dict[str, str] | None:
        """Takes a message whose headers cannot be read as one without any; nats-py's read loop ends on it."""
        try:
            return await super()._process_headers(headers)
        except Exception as error:  # a door: anybody may have sent it
            await self._error_cb(NatsError(f"nats: headers that cannot be read ({type(error).__name__})"))
            return None

    def _build_message(self, *parts: Any) -> Msg | None:
        """Passes over a message whose subjects are no text; nats-py's read loop ends on it."""
        with suppress(UnicodeDecodeError):
            return cast(Msg | None, super()._build_message(*parts))
        return None

    async def _process_err(self, err_msg: str) -> None:
        """Reconnects after an error of the server; nats-py closes for good when a password or a limit changes."""
        if self.is_connected and "permissions" not in err_msg.lower():
            await self._process_op_err(NatsError(f"nats: {err_msg}"))
        else:
            await super()._process_err(err_msg)

    async def _process_op_err(self, e: Exception) -> None:
        """Drops a broken connection at once; nats-py waits until the other side has taken what is unsent."""
        self.abort()
        await super()._process_op_err(e)

    async def _connect_to_server(self, s: Any) -> None:
        """Lets go of an attempt that failed; nats-py leaves its connection open when it tries to come back."""
        self._drop()
        await super()._connect_to_server(s)

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        """Ends a first attempt that failed without a wait, which nats-py never ends when the TLS handshake failed."""
        if status == self.DISCONNECTED:
            self._drop()
        await super()._close(status, do_cbs)

    def _connect_command(self) -> bytes:
        """Sends no password in the clear where TLS is asked for; nats-py leaves it to the server to ask for TLS."""
        writer = getattr(self._transport, "_io_writer", None)
        if "tls" in self.options and not (writer and writer.get_extra_info("ssl_object")):
            raise NatsError("nats: the server offers no TLS")
        return super()._connect_command()

    async def _send_publish(
        self, subject: str, reply: str, payload: bytes, payload_size: int, headers: dict[str, Any] | None
    ) -> None:
        """Sends a large payload as it is; nats-py copies it twice to put a line before and after it."""
        if headers or payload_size < COPIED_BELOW:
            await super()._send_publish(subject, reply, payload, payload_size, headers)
            return
        self._pending += (f"PUB {subject} {reply} {payload_size}\r\n".encode(), payload)
        self._pending_data_size += payload_size
        await self._send_command(b"\r\n")
        if self._flush_queue is not None and self._flush_queue.empty():
            await self._flush_pending()

    def _drop(self) -> None:
        """Cuts the connection, and forgets it."""
        self.abort()
        self._transport = None

    def abort(self) -> None:
        """Cuts the connection without a word."""
        writer = getattr(self._transport, "_io_writer", None)
        if writer:
            writer.transport.abort()
