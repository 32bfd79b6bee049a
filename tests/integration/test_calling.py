"""Calls that another replica answers: one hangs, refuses, is of another version, or lost the message."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from time import monotonic

import msgspec
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NatsTimeout

from services import embedded
from shared import bus, calling, contract, errors
from shared.bus import Bus
from shared.calling import UNHEARD, Budget, encode
from shared.contract import ERROR_CODE, ERROR_NAME, RUNS, Owners, Peer, RunLeg
from shared.line import Line
from shared.natsclient import SteadyClient
from shared.settings import Settings
from tests.buses import Connect, one_owner
from tests.relay import relay

Raw = Callable[[], Awaitable[Client]]
FOUND = Owners(bytes(16), 1)


@pytest.fixture
async def raw(nats_url: str) -> AsyncIterator[Raw]:
    """Connections of the test's own, to be a replica that misbehaves."""
    async with AsyncExitStack() as stack:

        async def made() -> Client:
            client = SteadyClient()  # whose flush is a promise that what came before it has been seen
            await client.connect(nats_url)
            stack.push_async_callback(client.close)
            return client

        yield made


async def call_often(caller: Bus, times: int = 20) -> None:
    """Enough that the queue group surely picks each of two replicas."""
    for _ in range(times):
        assert await caller.call(RUNS, RunLeg(), 10) == FOUND


async def hang(client: Client) -> list[Msg]:
    """Takes a share of the messages, and says nothing; gives those it took."""
    taken: list[Msg] = []

    async def take(msg: Msg) -> None:
        taken.append(msg)

    await client.subscribe(RUNS.subject, RUNS.service, cb=take)
    await client.flush()
    return taken


async def test_a_replica_that_says_nothing_is_passed_by(connect: Connect, raw: Raw) -> None:
    server, caller = await connect(), await connect()
    taken = await hang(await raw())
    async with server.serve(RUNS, one_owner):
        async with asyncio.timeout(5):
            while not taken:
                assert await caller.call(RUNS, RunLeg(), 10) == FOUND
        before = len(taken)
        await call_often(caller)
        assert len(taken) == before, "calls go straight to the replica that replied"


async def test_a_service_that_hangs_as_a_whole_is_given_up_before_the_deadline(connect: Connect, raw: Raw) -> None:
    caller, hung = await connect(), await raw()
    taken = await hang(hung)
    await hung.subscribe(contract.peers("runs"))  # and never reads it
    await hung.flush()
    async with asyncio.timeout(5):
        with pytest.raises(errors.DeadlineSpent):
            await caller.call(RUNS, RunLeg(), 60)
    assert len(taken) == 1, "what hangs is not given more to do"


async def test_a_service_that_was_given_up_is_given_up_sooner_until_it_speaks(
    connect: Connect, raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, caller, hung = await connect(), await connect(), await raw()
    await hang(hung)
    peers = await hung.subscribe(contract.peers("runs"))  # and never reads it
    await hung.flush()
    for asked, detour in ((UNHEARD, 60.0), (1, 60.0), (1, -1.0), (UNHEARD, 60.0), (1, 60.0)):
        monkeypatch.setattr(calling, "DETOUR", detour)  # how long from this call on; at the fourth that time has passed
        with pytest.raises(errors.DeadlineSpent):
            await caller.call(RUNS, RunLeg(), 60)
        for _ in range(asked):
            await peers.next_msg(0.1)
        assert not peers.pending_msgs
    async with server.serve(RUNS, one_owner):
        await call_often(caller)


async def test_a_service_that_was_killed_while_it_worked_is_absent(connect: Connect, raw: Raw) -> None:
    caller, killed = await connect(), await raw()
    taken = await hang(killed)
    call = asyncio.ensure_future(caller.call(RUNS, RunLeg(), 60))
    async with asyncio.timeout(5):
        while not taken:
            await killed.flush()
        await killed.close()
        with pytest.raises(errors.Absent):
            await call


async def test_the_log_names_who_does_not_listen_and_who_refuses(connect: Connect) -> None:
    caller = await connect("gateway")
    with pytest.raises(errors.Absent, match=rf"^nobody listens on {re.escape(RUNS.subject)}$"):
        await caller.call(RUNS, RunLeg(), 10)

    async def refusing(_: RunLeg) -> Owners:
        raise errors.DatabaseDown("the password of x")

    async with (await connect("runs")).serve(RUNS, refusing):
        with pytest.raises(errors.DatabaseDown, match=rf"^told on {re.escape(RUNS.subject)}$"):
            await caller.call(RUNS, RunLeg(), 10)


async def test_slow_work_is_done_once(connect: Connect) -> None:
    first, second, caller = await connect(), await connect(), await connect()
    asked, worked = asyncio.Event(), []

    async def slow(_: RunLeg) -> Owners:
        worked.append(1)
        await asked.wait()
        return FOUND

    async def seen(_: Msg) -> None:
        asked.set()

    await caller.line.client.subscribe(contract.peers("runs"), cb=seen)
    await caller.line.client.flush()
    async with first.serve(RUNS, slow), second.serve(RUNS, slow):
        assert await caller.call(RUNS, RunLeg(), 10) == FOUND
    assert asked.is_set()
    assert worked == [1]


async def test_a_message_sent_again_to_who_works_on_it_is_not_worked_on_twice(connect: Connect) -> None:
    server, caller = await connect(), await connect()
    begun, go, worked = asyncio.Event(), asyncio.Event(), []

    async def slow(_: RunLeg) -> Owners:
        worked.append(1)
        begun.set()
        await go.wait()
        return FOUND

    async with server.serve(RUNS, slow):
        client = caller.line.client
        replies = await client.subscribe("test.replies")
        for _ in range(2):
            await client.publish(RUNS.subject, encode(RunLeg(within=5)), "test.replies")
        await begun.wait()
        await client.flush()
        go.set()
        await replies.next_msg(5)
        with pytest.raises(NatsTimeout):
            await replies.next_msg(0.1)
    assert worked == [1]


@pytest.mark.parametrize("error", [errors.DatabaseDown, errors.Busy, errors.Malformed])
async def test_what_one_replica_refuses_another_answers(connect: Connect, error: type[errors.FleetError]) -> None:
    good, bad, caller = await connect(), await connect(), await connect()
    refused = []

    async def refuse(_: RunLeg) -> Owners:
        refused.append(1)
        raise error

    async with good.serve(RUNS, one_owner), bad.serve(RUNS, refuse):
        await call_often(caller)
    assert refused


@pytest.mark.parametrize("error", [errors.Unacceptable, errors.Broken, errors.DeadlineSpent])
async def test_what_all_would_refuse_is_asked_once(connect: Connect, error: type[errors.FleetError]) -> None:
    first, second, caller = await connect(), await connect(), await connect()
    refused = []

    async def refuse(_: RunLeg) -> Owners:
        refused.append(1)
        raise error

    async with first.serve(RUNS, refuse), second.serve(RUNS, refuse):
        with pytest.raises(error):
            await caller.call(RUNS, RunLeg(), 5)
    assert refused == [1]


async def test_when_all_refuse_the_refusal_is_told(connect: Connect) -> None:
    first, second, caller = await connect(), await connect(), await connect()

    async def refuse(_: RunLeg) -> Owners:
        raise errors.DatabaseDown

    async with asyncio.timeout(5), first.serve(RUNS, refuse), second.serve(RUNS, refuse):
        with pytest.raises(errors.DatabaseDown):
            await caller.call(RUNS, RunLeg(), 5)


# --- other versions


async def old(client: Client, reply: bytes, headers: dict[str, str] | None = None) -> None:
    """A replica of another version: it replies the same to every message, and knows of no peers."""

    async def answer(msg: Msg) -> None:
        await msg.respond(reply) if headers is None else await client.publish(msg.reply, reply, headers=headers)

    await client.subscribe(RUNS.subject, RUNS.service, cb=answer)
    await client.subscribe(contract.peers(RUNS.service))  # where it says nothing; on a slow machine it may be asked
    await client.flush()


async def test_a_replica_of_another_version_that_refuses_is_passed_by(connect: Connect, raw: Raw) -> None:
    server, caller = await connect(), await connect()
    await old(await raw(), b"", {ERROR_CODE: "400", ERROR_NAME: "Malformed"})
    async with server.serve(RUNS, one_owner):
        await call_often(caller)


@pytest.mark.parametrize("reply", [b"", b"\xc1", msgspec.msgpack.encode([1]), msgspec.msgpack.encode({"packed": 1})])
async def test_a_reply_that_cannot_be_read_is_trouble_that_passes(connect: Connect, raw: Raw, reply: bytes) -> None:
    caller = await connect()
    await old(await raw(), reply)
    with pytest.raises(errors.OtherVersion):
        await caller.call(RUNS, RunLeg(), 5)


async def test_a_refusal_of_the_only_version_there_is_is_trouble_that_passes(connect: Connect, raw: Raw) -> None:
    caller = await connect()
    await old(await raw(), b"", {ERROR_CODE: "400", ERROR_NAME: "Malformed"})
    with pytest.raises(errors.OtherVersion):
        await caller.call(RUNS, RunLeg(), 5)


async def test_a_reply_of_a_newer_version_is_read(connect: Connect, raw: Raw) -> None:
    caller = await connect()
    await old(await raw(), msgspec.msgpack.encode({"packed": bytes(16), "count": 1, "invented": [1]}))
    assert await caller.call(RUNS, RunLeg(), 5) == FOUND


# --- callers that leave, and connections that come back


async def test_work_stops_when_its_caller_goes_away(connect: Connect) -> None:
    server, caller = await connect(), await connect()
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def forever(_: RunLeg) -> Owners:
        begun.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            stopped.set()
        return FOUND

    async with server.serve(RUNS, forever):
        call = asyncio.ensure_future(caller.call(RUNS, RunLeg(), 60))
        await begun.wait()
        call.cancel()
        async with asyncio.timeout(2):
            await stopped.wait()


async def test_a_call_survives_a_connection_that_comes_back(home: Path) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow(_: RunLeg) -> Owners:
        begun.set()
        await go.wait()
        return FOUND

    with embedded.nats(home) as url, relay(url) as line:
        async with (
            bus.connect(Settings(nats_url=line.url), "runs") as server,
            bus.connect(Settings(nats_url=line.url), "gateway") as caller,
            server.serve(RUNS, slow),
        ):
            await asyncio.gather(server.up(10), caller.up(10))
            call = asyncio.ensure_future(caller.call(RUNS, RunLeg(), 10))
            await begun.wait()
            cut = monotonic()
            line.cut()
            line.mend()
            await asyncio.gather(back(server, cut), back(caller, cut))
            go.set()
            assert await call == FOUND


async def back(line: Bus, since: float) -> None:
    """Returns when a connection that was lost is there again."""
    async with asyncio.timeout(10):
        while line.line.back_since < since:
            await asyncio.wait([asyncio.ensure_future(line.up())], timeout=0.05)
            await asyncio.sleep(0)


async def test_a_call_made_while_the_connection_is_on_its_way_back_waits_for_it(home: Path) -> None:
    with embedded.nats(home) as url, relay(url) as line:
        async with (
            bus.connect(Settings(nats_url=line.url), "runs") as server,
            bus.connect(Settings(nats_url=line.url), "gateway") as caller,
            server.serve(RUNS, one_owner),
        ):
            await asyncio.gather(server.up(10), caller.up(10))
            for _ in range(3):
                line.cut()
                line.mend()
                assert await caller.call(RUNS, RunLeg(), 10) == FOUND


async def test_who_leaves_as_the_connection_comes_back_has_left() -> None:
    line = Line(SteadyClient(), "runs")
    waiting = asyncio.create_task(line.up(10))
    await asyncio.sleep(0)  # it waits now
    line._up.set()
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()


def test_repeats_are_a_small_part_of_all_calls() -> None:
    budget = Budget()
    while budget.spend():
        pass
    repeats = 0
    for _ in range(1000):
        budget.earn()
        repeats += budget.spend()
    assert 90 <= repeats <= 100


# --- what NATS's own tools see


@pytest.mark.parametrize("address", ["", ".classis-runs", ".classis-runs.{id}"])
async def test_the_services_protocol_is_answered(connect: Connect, raw: Raw, address: str) -> None:
    server, caller, client = await connect(), await connect(), await raw()

    async def fail(_: RunLeg) -> Owners:
        raise errors.Unacceptable

    async with server.serve(RUNS, fail):
        with pytest.raises(errors.Unacceptable):
            await caller.call(RUNS, RunLeg(), 5)
        place = address.format(id=server.line.id)
        ping, info, stats = [
            json.loads((await client.request(f"$SRV.{verb}{place}", timeout=5)).data)
            for verb in ("PING", "INFO", "STATS")
        ]
    assert ping == {"type": "io.nats.micro.v1.ping_response", "name": "classis-runs", "id": server.line.id,
                    "version": ping["version"], "metadata": {}}  # fmt: skip
    from nats.micro.service import ServiceInfo, ServicePing, ServiceStats  # noqa: PLC0415 — the framework as the judge

    assert ServicePing.from_dict(ping).name == ServiceInfo.from_dict(info).name == "classis-runs"
    [endpoint] = ServiceStats.from_dict(stats).endpoints
    assert (endpoint.subject, endpoint.num_requests, endpoint.num_errors, endpoint.last_error) == (
        RUNS.subject, 1, 1, "Unacceptable"
    )  # fmt: skip
    assert [e.subject for e in ServiceInfo.from_dict(info).endpoints] == [RUNS.subject]


async def test_replicas_say_who_holds_a_call(connect: Connect, raw: Raw) -> None:
    server, client = await connect(), await raw()
    begun = asyncio.Event()

    async def forever(_: RunLeg) -> Owners:
        begun.set()
        await asyncio.get_running_loop().create_future()
        return FOUND

    async with server.serve(RUNS, forever):
        await client.publish(RUNS.subject, encode(RunLeg(within=5)), "my.address")
        await begun.wait()
        for address, holds in ((b"my.address", True), (b"other", False), (b"\xff\x00", False), (b"", False)):
            reply = await client.request(contract.peers("runs"), address, timeout=5)
            assert msgspec.msgpack.decode(reply.data, type=Peer) == Peer(server.line.id, holds)
        await client.publish(contract.released("runs"), b"my.address")
