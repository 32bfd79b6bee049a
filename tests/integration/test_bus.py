"""The bus on a real NATS: calls, deadlines, errors, and work that was accepted."""

import asyncio

import msgspec
import nats
import pytest

from shared import bus, contract, errors
from shared.calling import encode
from shared.contract import (
    ERROR_CODE,
    ERROR_NAME,
    RUNS,
    WITHIN,
    Owners,
    Peer,
    RunLeg,
)
from shared.line import Message
from shared.settings import Settings
from tests.buses import Connect, never, one_owner


async def test_a_call_is_answered(connect: Connect) -> None:
    server, caller = await connect(), await connect()
    async with server.serve(RUNS, one_owner):
        assert await caller.call(RUNS, RunLeg(), 5) == Owners(bytes(16), 1)


async def test_nobody_listening_is_absent_at_once(connect: Connect) -> None:
    caller = await connect()
    async with asyncio.timeout(2):
        with pytest.raises(errors.Absent):
            await caller.call(RUNS, RunLeg(), 60)


async def test_the_deadline_ends_the_call(connect: Connect) -> None:
    server, caller = await connect(), await connect()

    async def forever(_: RunLeg) -> Owners:
        return await never()

    async with server.serve(RUNS, forever):
        with pytest.raises(errors.DeadlineSpent):
            await caller.call(RUNS, RunLeg(), 0.2)


@pytest.mark.parametrize(
    ("deadline", "within", "headers"), [(10, 0.2, {}), (10, 60, {WITHIN: "0.2"}), (0.2, 60, {})]
)  # fmt: skip
async def test_the_work_for_a_killed_caller_ends_in_time(
    connect: Connect, nats_url: str, deadline: float, within: float, headers: dict[str, str]
) -> None:
    """It cannot say that it has left. Its own deadline ends the work, told in the request or beside it, or ours."""
    server = await connect(deadline=deadline)
    begun, ended = asyncio.Event(), asyncio.Event()

    async def forever(_: RunLeg) -> Owners:
        begun.set()
        try:
            return await never()
        finally:
            ended.set()

    async with server.serve(RUNS, forever):
        killed = await nats.connect(nats_url)
        await killed.publish(RUNS.subject, encode(RunLeg(within=within)), "nobody", headers=headers)
        await killed.close()
        async with asyncio.timeout(5):
            await begun.wait()
            await ended.wait()


@pytest.mark.parametrize("error", [errors.DatabaseDown, errors.Unacceptable, errors.DeadlineSpent])
async def test_an_error_of_the_service_is_raised_again_without_its_text(
    connect: Connect, error: type[errors.FleetError]
) -> None:
    server, caller = await connect(), await connect()

    async def failing(_: RunLeg) -> Owners:
        raise error("secret host name")

    async with server.serve(RUNS, failing):
        with pytest.raises(error) as raised:
            await caller.call(RUNS, RunLeg(), 5)
    assert "secret" not in str(raised.value)


async def test_a_mistake_of_ours_is_broken_and_tells_nothing(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    server, caller = await connect(), await connect()

    async def mistaken(_: RunLeg) -> Owners:
        raise KeyError("secret")

    async with server.serve(RUNS, mistaken):
        reply = await caller.ask(RUNS, Message(encode(RunLeg(within=5))), 5)
    assert (reply.headers[ERROR_CODE], reply.headers[ERROR_NAME]) == ("500", "Broken")
    assert b"secret" not in reply.payload
    assert "secret" in caplog.text


async def test_a_field_of_another_version_is_refused(connect: Connect) -> None:
    server, caller = await connect(), await connect()
    newer = msgspec.msgpack.encode({"within": 5.0, "flow_runs": {"invented": {}}})
    async with server.serve(RUNS, one_owner):
        reply = await caller.ask(RUNS, Message(newer), 5)
    assert reply.headers[ERROR_NAME] == "Malformed"


async def test_requests_are_answered_side_by_side(connect: Connect) -> None:
    server, caller = await connect(), await connect()
    everybody_is_here = asyncio.Barrier(20)

    async def meet(_: RunLeg) -> Owners:
        await everybody_is_here.wait()
        return Owners(b"", 0)

    async with server.serve(RUNS, meet):
        await asyncio.gather(*(caller.call(RUNS, RunLeg(), 10) for _ in range(20)))


async def test_more_than_a_service_takes_is_refused_at_once(connect: Connect) -> None:
    server, caller = await connect(concurrency=2), await connect()
    release = asyncio.Event()

    async def waiting(_: RunLeg) -> Owners:
        await release.wait()
        return Owners(b"", 0)

    async with server.serve(RUNS, waiting):
        calls = [asyncio.ensure_future(caller.call(RUNS, RunLeg(), 10)) for _ in range(3)]
        done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        [refused] = done
        assert isinstance(refused.exception(), errors.Busy)
        release.set()
        results = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(result == Owners(b"", 0) for result in results) == 2


async def test_accepted_work_is_finished_before_leaving(connect: Connect, nats_url: str) -> None:
    caller = await connect()
    accepted, leaving = asyncio.Event(), asyncio.Event()

    async def slow(request: RunLeg) -> Owners:
        accepted.set()
        await leaving.wait()
        for _ in range(50):  # far more than who leaves without it needs to close
            await caller.line.client.flush()
        return Owners(bytes(16), 1)

    async with bus.connect(Settings(nats_url=nats_url), "leaving") as server:
        await server.up(10)
        async with server.serve(RUNS, slow):
            call = asyncio.ensure_future(caller.call(RUNS, RunLeg(), 10))
            await accepted.wait()
        leaving.set()
    assert await call == Owners(bytes(16), 1)


async def test_a_replica_that_leaves_replies_to_a_roll_call_only_for_what_it_holds(connect: Connect) -> None:
    server, client = await connect(), (await connect()).line.client
    accepted, release = asyncio.Event(), asyncio.Event()

    async def slow(_: RunLeg) -> Owners:
        accepted.set()
        await release.wait()
        return Owners(bytes(16), 1)

    async with server.serve(RUNS, slow):
        await client.publish(RUNS.subject, encode(RunLeg(within=5)), "its.call")
        await accepted.wait()
    heard = await client.subscribe("test.replies")
    for call in (b"another.call", b"", b"its.call"):  # heard in this order, so the first reply tells of all
        await client.publish(contract.peers("runs"), call, "test.replies")
    reply = await heard.next_msg(5)
    assert msgspec.msgpack.decode(reply.data, type=Peer) == Peer(server.line.id, holds=True)
    release.set()
