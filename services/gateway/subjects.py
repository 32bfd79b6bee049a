"""The door on the bus: the three searches as subjects, with the grammar, answers and errors of HTTP.

A request is JSON, or MessagePack when its Content-Type header says so; the reply is the same kind. An error has
Prefect's body, and its status in the headers that NATS's services use.
"""

import json
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import msgspec

from services.gateway import decode, problems
from services.gateway.fanout import Answering, Deadline
from services.gateway.problems import Answer
from shared import origin, tracing
from shared.bus import Bus
from shared.contract import (
    CONTENT_TYPE,
    COUNT,
    ERROR_CODE,
    ERROR_NAME,
    FILTER,
    MSGPACK,
    PAGINATE,
    REQUEST_ID,
    TRACEPARENT,
    WITHIN,
)
from shared.filters import Count
from shared.line import Message
from shared.serving import Answer as OnBus
from shared.settings import Settings

log = logging.getLogger(__name__)


@asynccontextmanager
async def serving(bus: Bus, answering: Answering, settings: Settings) -> AsyncIterator[None]:
    """Serves the public subjects until the block is left."""
    async with AsyncExitStack() as stack:
        for endpoint in (FILTER, PAGINATE, COUNT):
            answer = searching(answering, endpoint.request, settings)
            await stack.enter_async_context(bus.listen(endpoint, answer, settings.max_body))
        yield


def searching(answering: Answering, kind: type[Count], settings: Settings) -> OnBus:
    async def answer(message: Message) -> Message:
        headers = {name.lower(): value for name, value in message.headers.items()}
        packed = headers.get(CONTENT_TYPE.lower(), "").partition(";")[0].strip().lower() == MSGPACK
        origin.request_id.set(origin.named(headers.get(REQUEST_ID.lower())))
        with tracing.span(f"search {kind.__name__}", parent=headers.get(TRACEPARENT, ""), kind="server"):
            try:
                return await found(message.payload, packed, headers.get(WITHIN.lower(), "inf"))
            except Exception as error:  # this is a door: every error gets its answer in problems
                refusal = await decode.aside(len(message.payload), problems.answer_to, error)
                if refusal.status == 500:
                    log.exception("a search on the bus failed")
                return await _reply(refusal, packed)

    async def found(payload: bytes, packed: bool, within: str) -> Message:
        largest = settings.default_limit
        if len(payload) > settings.max_body:
            raise problems.Problem(413, "Request Entity Too Large")
        read = partial(decode.read_msgpack, kind) if packed else partial(decode.read, kind, largest_limit=largest)
        sent = await decode.aside(len(payload), read, payload)
        search = await decode.aside(len(payload), decode.settled, sent, largest)
        deadline = Deadline(min(settings.deadline, _within(within)))
        return await _reply(Answer((await answering(search, deadline)).body), packed)

    return answer


def _within(seconds: str) -> float:
    try:
        return max(0.0, float(seconds))
    except ValueError:
        raise problems.Problem(400, f"{WITHIN} is not a number of seconds") from None


async def _reply(answer: Answer, packed: bool) -> Message:
    headers = {CONTENT_TYPE: MSGPACK} if packed else {}
    if answer.status != 200:
        headers |= {
            ERROR_CODE: str(answer.status),
            ERROR_NAME: "Search refused" if answer.status < 500 else "Search failed",
        }
    body = await decode.aside(len(answer.body), _as_msgpack, answer.body) if packed else answer.body
    return Message(body, headers)


def _as_msgpack(body: bytes) -> bytes:
    """The same document; an integer beyond 64 bits, which MessagePack does not know, becomes a float."""
    return msgspec.msgpack.encode(json.loads(body, parse_int=_integer))


def _integer(digits: str) -> Any:
    number = int(digits) if len(digits) <= 20 else 2**64
    return number if -(2**63) <= number < 2**64 else float(digits)
