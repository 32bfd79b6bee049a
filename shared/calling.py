"""The asking side of the bus: one call, answered by whichever replica can, within its deadline.

Searches only read, so a call may be sent again. A replica that refuses names itself, and another one is asked. One that
says nothing for a while is not trusted to be at work: all replicas are asked who holds the call. If nobody does (it was
killed, hangs, or its reply was lost), the call goes to one that replied. What is sent again is paid from a budget;
where that is empty, one goes on listening. (docs/decisions/0010-a-call-is-sent-again.md)
"""

import asyncio
import logging
import random
from collections.abc import Callable
from functools import cache
from time import monotonic
from typing import Any, TypeVar

import msgspec
from nats.aio.msg import Msg

from shared import contract, errors, metrics, origin, parts, tracing
from shared.contract import ERROR_NAME, REPLICA, Call, Endpoint, Peer
from shared.fetching import Fetching
from shared.inbox import Inbox
from shared.line import Line, Message, raise_for

log = logging.getLogger(__name__)

Q = TypeVar("Q", bound=Call)
R = TypeVar("R")

PATIENCE = 0.25  # seconds of silence until all replicas are asked who holds the call
AGAIN = 1.0  # seconds until they are asked again, while one does
ROLL_CALL = 0.2  # seconds they get to reply
OTHERS = 0.02  # seconds the others get to reply when one has refused
UNHEARD = 4  # roll calls to which none replies until the service is given up
DETOUR = 5.0  # seconds in which calls go straight to the replicas that replied, past one that did not; or give up soon
ATTEMPTS = 4  # times one call is sent, at most
BACK_WITHIN = 1.5  # seconds a lost connection gets to come back before calls fail
SETTLING = 2.0  # seconds after a connection is back in which an absent service may be on its way back too
PAUSE = 0.05  # seconds between two looks then
ELSEWHERE = {"Busy", "DatabaseDown", "Malformed"}  # refusals that another replica may not share

encode = msgspec.msgpack.Encoder(uuid_format="bytes").encode
_timed = cache(metrics.CALLS.labels)  # prometheus_client takes longer to find it
_peer = msgspec.msgpack.Decoder(Peer).decode


class Budget:
    """Keeps repeated calls a small part of all, so that trouble does not multiply the load."""

    RESERVE = 200.0
    SHARE = 0.1  # of the calls

    def __init__(self) -> None:
        self._left = self.RESERVE

    def earn(self) -> None:
        self._left = min(self.RESERVE, self._left + self.SHARE)

    def spend(self) -> bool:
        """Whether one more is allowed."""
        if self._left < 1:
            return False
        self._left -= 1
        return True


class _Refusal(Exception):
    """A reply that says no, of a replica that is not alone in its service."""

    def __init__(self, reply: Message) -> None:
        self.reply = reply
        self.name = reply.headers[ERROR_NAME]
        self.replica = reply.headers.get(REPLICA)


class _Silence(Exception):
    """Nobody holds the call. `peers` are the replicas that said so; none when all of them are silent."""

    def __init__(self, peers: list[Peer]) -> None:
        self.peers = peers


class _Lost(Exception):
    """The large payload of a reply cannot be had of the replica that offered it."""

    def __init__(self, replica: str | None) -> None:
        self.replica = replica


class Caller:
    """Asks services over one line."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._fetching = Fetching(line)
        self._budget = Budget()
        self._given_up: dict[str, float] = {}  # services of which nothing was heard: when one call gets more time again
        self._detours: dict[str, tuple[list[str], float]] = {}  # by service: the replicas to ask, and until when

    async def call(self, endpoint: Endpoint[Q, R], request: Q, within: float) -> R:
        """Asks a service. `within` is what is left of the deadline, in seconds, and is told to the service.

        Raises what the service raised, and what `ask` raises.
        """
        with tracing.span(f"call {endpoint.subject}", kind="client", **traced(endpoint.subject)):
            request = msgspec.structs.replace(
                request, within=within, request_id=origin.request_id.get(), traceparent=tracing.traceparent()
            )
            try:
                reply = await self.ask(endpoint, Message(encode(request)), within)
                raise_for(reply.headers, endpoint.subject)
                return msgspec.msgpack.decode(reply.payload, type=endpoint.reply)  # type: ignore[no-any-return]
            except errors.Unacceptable:
                raise
            except (errors.Refused, msgspec.DecodeError, UnicodeDecodeError) as error:
                raise errors.OtherVersion(f"{endpoint.subject}: {error}") from error

    async def ask(self, endpoint: Endpoint[Any, Any], message: Message, within: float) -> Message:
        """Sends one message and gives the reply to it, be it an error.

        Raises Absent when none listens, Disconnected, DeadlineSpent, or Busy when too much is on its way already.
        """
        began, outcome = monotonic(), "Cancelled"
        try:
            async with asyncio.timeout(within):
                with self._line.offered(message, within) as sent:
                    reply = await self._answered(endpoint, sent)
            outcome = _outcome(reply)
        except TimeoutError:
            outcome = "DeadlineSpent"
            raise errors.DeadlineSpent(f"{endpoint.subject} did not answer within {within:.1f} s") from None
        except errors.FleetError as error:
            outcome = type(error).__name__
            raise
        finally:
            _timed(endpoint.subject, outcome).observe(monotonic() - began)
        return reply

    async def _answered(self, endpoint: Endpoint[Any, Any], message: Message) -> Message:
        """The whole reply of whichever replica answers."""
        self._budget.earn()
        subject: str | None = self._detour(endpoint)  # where to send next; None: listen on
        sent, patience = 0, PATIENCE
        async with self._line.inbox() as inbox:
            try:
                while True:
                    try:
                        if subject:
                            await self._line.send(subject, message, inbox)
                            sent += 1
                        return await self._heard(endpoint, inbox, patience)
                    except _Refusal as refusal:
                        if sent >= ATTEMPTS or not self._budget.spend():
                            return refusal.reply
                        if not (subject := await self._elsewhere(endpoint, refusal.replica, refusal.name)):
                            return refusal.reply
                        metrics.RETRIED.labels(endpoint.service, refusal.name).inc()
                    except _Silence as silence:
                        subject, patience = self._around(endpoint, silence) if sent < ATTEMPTS else None, AGAIN
                    except _Lost as lost:
                        if sent >= ATTEMPTS or not self._budget.spend():
                            raise errors.Disconnected(f"a large reply on {endpoint.subject} was lost") from lost
                        subject = await self._elsewhere(endpoint, lost.replica, "Lost") or endpoint.subject
                        metrics.RETRIED.labels(endpoint.service, "Lost").inc()
                    except errors.Absent as absent:
                        subject = await self._settled(endpoint, subject, absent)
                    except errors.Disconnected as trouble:
                        subject = await self._back(subject if not sent else None, inbox, trouble)
            finally:
                if inbox.unanswered:
                    await self._line.tell(contract.released(endpoint.service), inbox.address.encode())

    async def _heard(self, endpoint: Endpoint[Any, Any], inbox: Inbox, patience: float) -> Message:
        """The next reply, whole. Raises _Refusal, _Silence, _Lost, Absent or Disconnected."""
        unheard, most = 0, 0
        while (reply := await inbox.next(patience)) is None:
            address = inbox.address.encode()
            peers = await self._roll_call(endpoint.service, address, lambda peer: peer.holds)
            most = most or self._most_unheard(endpoint.service)
            unheard = 0 if peers else unheard + 1
            if peers:
                self._given_up.pop(endpoint.service, None)
            if inbox.empty and (unheard >= most or (peers and not any(peer.holds for peer in peers))):
                raise _Silence(peers)
            patience = AGAIN
        self._given_up.pop(endpoint.service, None)
        if not reply.headers:
            return Message(reply.data)
        if reply.headers.get(ERROR_NAME) in ELSEWHERE:
            raise _Refusal(Message(reply.data, reply.headers))
        try:
            async with self._fetching.whole(reply, parts.LARGEST) as message:
                return message
        except errors.Busy:  # it is we who have no room for it
            raise
        except errors.Unavailable as error:
            raise _Lost(parts.read(reply.headers[parts.HEADER], parts.LARGEST).replica) from error

    def _most_unheard(self, service: str) -> int:
        """Roll calls to which none replies until a call gives a service up: one is enough where others have.

        Now and then one call waits as long as at first: what is merely slow answers it.
        """
        again = self._given_up.get(service)
        if again is not None and monotonic() < again:
            return 1
        if again is not None:
            self._given_up[service] = monotonic() + DETOUR
        return UNHEARD

    async def _settled(self, endpoint: Endpoint[Any, Any], subject: str | None, absent: errors.Absent) -> str:
        """Where to send when nobody listened. Raises Absent, unless one replica has left, or all are on their way."""
        if subject == endpoint.subject or not subject:
            if monotonic() > self._line.back_since + SETTLING:
                raise absent
            await asyncio.sleep(PAUSE)
        self._detours.pop(endpoint.service, None)
        return endpoint.subject

    async def _back(self, subject: str | None, inbox: Inbox, trouble: errors.Disconnected) -> str | None:
        """Waits for the connection. Raises the trouble when it is gone for too long."""
        left = self._line.down_since + BACK_WITHIN - monotonic()
        try:
            await self._line.up(max(0.0, left))
        except errors.DeadlineSpent:
            raise trouble from None
        if not self._line.connected:  # and nobody has been told yet
            if left <= 0:
                raise trouble
            await asyncio.sleep(PAUSE)
        inbox.forget_losses()
        return subject

    async def _elsewhere(self, endpoint: Endpoint[Any, Any], replica: str | None, reason: str) -> str | None:
        """The subject of another replica than the one that failed; None when there is none."""
        try:
            peers = await self._roll_call(endpoint.service, b"", lambda _: False, OTHERS)
        except errors.FleetError:
            return None
        others = [peer.id for peer in peers if peer.id != replica]
        if not others:
            return None
        if reason != "Busy":  # which passes
            self._detours[endpoint.service] = others, monotonic() + DETOUR
        return contract.direct(endpoint.subject, random.choice(others))  # noqa: S311 — spreads the load

    def _around(self, endpoint: Endpoint[Any, Any], silence: _Silence) -> str | None:
        """The subject of a replica that replied; None when too many calls were sent again, and one has to listen on.

        Raises DeadlineSpent when none has replied.
        """
        if not silence.peers:
            self._given_up[endpoint.service] = monotonic() + DETOUR
            raise errors.DeadlineSpent(f"no replica of {endpoint.service} says anything")
        if not self._budget.spend():
            return None
        metrics.HEDGED.labels(endpoint.service).inc()
        log.info("nobody works on a call of %s: it is sent again", endpoint.subject)
        self._detours[endpoint.service] = [peer.id for peer in silence.peers], monotonic() + DETOUR
        return self._detour(endpoint)

    def _detour(self, endpoint: Endpoint[Any, Any]) -> str:
        """Where to send: to the queue group, or past a replica that has lately fallen silent."""
        replicas, until = self._detours.get(endpoint.service, ([], 0.0))
        if not replicas:
            return endpoint.subject
        if monotonic() > until:
            del self._detours[endpoint.service]
            return endpoint.subject
        return contract.direct(endpoint.subject, random.choice(replicas))  # noqa: S311 — spreads the load

    async def _roll_call(
        self, service: str, address: bytes, enough: Callable[[Peer], bool], within: float = ROLL_CALL
    ) -> list[Peer]:
        """The replicas that reply in time, until one is enough. Raises Absent or Disconnected."""
        found: list[Peer] = []
        until = monotonic() + within
        async with self._line.inbox() as inbox:
            await self._line.send(contract.peers(service), Message(address), inbox)
            while (left := until - monotonic()) > 0 and (reply := await inbox.next(left)):
                if peer := _peer_in(reply):
                    found.append(peer)
                    if enough(peer):
                        break
        return found


def _outcome(reply: Message) -> str:
    """How metrics call a reply: ok, or an error's name; one that others made up is none of theirs."""
    name = reply.headers.get(ERROR_NAME) if reply.headers else None
    return "ok" if name is None else name if name in errors.BY_NAME else "Refused"


def traced(subject: str) -> dict[str, str]:
    """What spans on the bus tell, in OpenTelemetry's names."""
    return {"messaging.system": "nats", "messaging.destination.name": subject}


def _peer_in(reply: Msg) -> Peer | None:
    """What a replica says of itself; nothing, if it is of a version that says it otherwise."""
    try:
        return _peer(reply.data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
