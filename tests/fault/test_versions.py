"""Replicas of another version on the same bus: what they ask is refused, what they refuse is asked elsewhere."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import msgspec
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from shared import contract
from shared.calling import DETOUR
from shared.contract import BY_ID, ENDPOINTS, ERROR_CODE, ERROR_NAME, FLOWS, READY, Endpoint
from shared.natsclient import SteadyClient
from tests.fault.stage import Stage

INTERNAL = tuple(endpoint for endpoint in ENDPOINTS if not endpoint.public)
WORKING = tuple(endpoint for endpoint in INTERNAL if endpoint not in READY.values())
MISREAD = {
    "unknown field": {"within": 5.0, "invented": True},
    "other type": {"within": "soon"},
    "no object": [5.0],
    "a number": 7,
}


@asynccontextmanager
async def connected(stage: Stage) -> AsyncIterator[Client]:
    mistakes: list[Exception] = []

    async def on_error(error: Exception) -> None:
        mistakes.append(error)

    client = SteadyClient()
    await client.connect(stage.node.url, error_cb=on_error)
    try:
        yield client
    finally:
        await client.close()
    assert not mistakes


@pytest.mark.parametrize("endpoint", INTERNAL, ids=lambda endpoint: endpoint.subject)
async def test_a_message_of_another_version_is_refused(stage: Stage, endpoint: Endpoint[Any, Any]) -> None:
    bodies = {name: msgspec.msgpack.encode(body) for name, body in MISREAD.items()}
    bodies |= {"empty": b"", "no msgpack": b"\xc1", "cut short": bodies["unknown field"][:-3]}
    if endpoint in {FLOWS, BY_ID}:
        bodies["missing field"] = msgspec.msgpack.encode({"within": 5.0})
    async with connected(stage) as client:
        for name, body in bodies.items():
            reply = await client.request(endpoint.subject, body, timeout=5)
            assert reply.headers, name
            assert (reply.headers[ERROR_CODE], reply.headers[ERROR_NAME]) == ("400", "Malformed"), name


async def test_what_an_older_replica_refuses_is_asked_elsewhere(stage: Stage) -> None:
    def older(client: Client) -> Callable[[Msg], Awaitable[None]]:
        async def refuse(msg: Msg) -> None:
            await client.publish(msg.reply, b"{}", headers={ERROR_CODE: "400", ERROR_NAME: "Malformed"})

        return refuse

    assert await beside(stage, "a replica that refuses every message", older)


async def test_what_a_newer_replica_adds_to_its_replies_is_ignored(stage: Stage) -> None:
    def newer(client: Client) -> Callable[[Msg], Awaitable[None]]:
        async def answer(msg: Msg) -> None:
            subject = contract.direct(msg.subject, replicas[msg.subject.split(".")[2]])
            reply = await client.request(subject, msg.data, timeout=10, headers=msg.headers)
            found = {**msgspec.msgpack.decode(reply.data), "invented": [1, {"x": None}]}
            await client.publish(msg.reply, msgspec.msgpack.encode(found))

        return answer

    async with connected(stage) as client:
        replicas = {service: await _a_replica(client, service) for service in contract.SERVICES[:-1]}
    assert await beside(stage, "a newer replica, whose replies have grown", newer)


async def _a_replica(client: Client, service: str) -> str:
    reply = await client.request(f"$SRV.PING.classis-{service}", b"", timeout=5)
    return str(msgspec.json.decode(reply.data)["id"])


Answering = Callable[[Client], Callable[[Msg], Awaitable[None]]]


async def beside(stage: Stage, fault: str, answering: Answering) -> int:
    """Such a replica joins every queue group for a while: no request fails or is misread. Gives how many it answered."""
    assert await asyncio.to_thread(lambda: stage.learned)
    answered = 0
    async with connected(stage) as client:
        answer = answering(client)

        async def counted(msg: Msg) -> None:
            nonlocal answered
            await answer(msg)
            answered += 1

        for endpoint in WORKING:
            await client.subscribe(endpoint.subject, endpoint.service, cb=counted)
        await client.flush()
        with stage.load() as load:
            for _ in stage.repeated(fault):
                load.mark()
                await asyncio.to_thread(load.run, stage.lasting(2, 10))
                until = monotonic() + 2 * DETOUR
                while not answered and monotonic() < until:  # an earlier trouble may still be given a wide berth
                    await asyncio.to_thread(load.run, 1)
            await asyncio.to_thread(load.steady, 10)
    found = stage.noted(load, fault, f"it answered {answered}")
    assert not found.failures
    assert not found.wrong
    return answered
